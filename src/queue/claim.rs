//! `claim`: leases on deliveries, at once or when there is work.
//!
//! Must never hold a lease while it waits, nor poll busily: it sleeps until the ledger changes or something comes due.
//! Called by `mod`.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::parse::{Ask, Wait};
use super::{Desk, No, Out};
use crate::config::units::format_duration;
use crate::ledger::{Claim, Delivery};

/// Longest sleep without a look: a clock that was set, say, must not let work lie. It costs one empty claim.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Shortest sleep: what comes due this very moment does not make it spin.
const BREATH: Duration = Duration::from_millis(20);

impl Desk<'_> {
    /// One line for each delivery; none when there is no work (by the end of the wait).
    pub(super) async fn claim(&self, ask: Ask, out: &mpsc::Sender<Out>) -> Result<Vec<Value>, No> {
        let lease = ask.lease.unwrap_or(self.settings.lease);
        if lease > self.settings.lease_max {
            return Err(No::usage(self.too_long("--lease")));
        }
        let claim = Claim {
            actor: self.caller.actor.clone(),
            account: self.caller.account.clone(),
            take: self.caller.take.clone(),
            orgs: ask.orgs,
            datasets: ask.datasets,
            max: ask.max,
            lease,
        };
        let deadline = match ask.wait {
            Wait::No | Wait::Until(Duration::ZERO) => None,
            // Past what the timer can hold is for ever.
            Wait::Until(wait) => Some(Instant::now().checked_add(wait)),
            Wait::Forever => Some(None),
        };

        let mut changed = self.ledger.deliveries_changed();
        loop {
            // Before the look: what changes from now on is seen by the next.
            changed.borrow_and_update();
            let claimed = self.ledger.claim(claim.clone(), self.policy(), self.clock.now()).await?;
            let Some(deadline) = deadline.filter(|_| claimed.is_empty()) else {
                return Ok(claimed.iter().map(line).collect());
            };
            let due = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            let pause = self.until_next_change().await?;
            tokio::select! {
                changed = changed.changed() => {
                    if changed.is_err() {
                        return Err(crate::ledger::LedgerError::Closed.into());
                    }
                }
                () = tokio::time::sleep(pause) => {}
                () = due => return Ok(Vec::new()),
                () = self.caller.ended.cancelled() => return Err(No::new("this session ends: the account was changed")),
                () = out.closed() => return Ok(Vec::new()),
            }
        }
    }

    async fn until_next_change(&self) -> Result<Duration, No> {
        let now = self.clock.now();
        let next = self.ledger.next_change(now).await?;
        let pause = next.map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default());
        Ok(pause.unwrap_or(LOOK_AGAIN).clamp(BREATH, LOOK_AGAIN))
    }

    /// What to say of a lease that is longer than may be.
    pub(super) fn too_long(&self, option: &str) -> String {
        format!("{option} may be {} at most", format_duration(self.settings.lease_max))
    }
}

/// The answer for one delivery: its manifest, its lease, and where its files are.
fn line(delivery: &Delivery) -> Value {
    let mut line = delivery.manifest();
    let id = delivery.delivery;
    line["lease"] = json!(delivery.lease);
    line["lease_expires"] = json!(delivery.lease_expires);
    line["attempt"] = json!(delivery.attempt);
    line["manifest"] = json!(format!("/queue/{id}/manifest.json"));
    line["object"] = json!(format!("/queue/{id}/object.age"));
    line["proof"] = json!(format!("/queue/{id}/receipt.tlog-proof"));
    // Where the rows are named that must not be loaded like the others; null when there are none.
    line["restricted_rows"] = match delivery.receipt.report.restricted {
        0 => Value::Null,
        _ => json!(format!("/queue/{id}/restricted.txt")),
    };
    line
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Counter, at, ended, heard, org};
    use super::*;
    use crate::types::{Take, Timestamp};

    #[tokio::test]
    async fn a_claim_tells_the_manifest_the_lease_and_where_the_files_are() {
        let counter = Counter::new();
        let delivery = counter.put("harbour", "a.csv").await.to_string();
        let (status, lines, errors) = counter.ask("loader", "claim --lease 10m").await;
        assert_eq!((status, lines.len(), errors.len()), (0, 1, 0));
        let line = &lines[0];
        assert_eq!(line["delivery"], delivery);
        assert_eq!(line["object"], format!("/queue/{delivery}/object.age"));
        assert_eq!(line["proof"], format!("/queue/{delivery}/receipt.tlog-proof"));
        assert_eq!(line["manifest"], format!("/queue/{delivery}/manifest.json"));
        assert_eq!((&line["restricted"], &line["restricted_rows"]), (&0.into(), &Value::Null));
        assert_eq!((&line["attempt"], &line["size"], &line["sealed_size"]), (&1.into(), &10.into(), &200.into()));
        assert_eq!((&line["name"], &line["organisation"]), (&"a.csv".into(), &"harbour".into()));
        assert_eq!(line["receipt"]["sha256"], line["sha256"]);
        assert_eq!(line["lease_expires"].as_str().unwrap().parse::<Timestamp>().unwrap(), at(1600));
        assert!(line["lease"].is_string());
    }

    #[tokio::test]
    async fn a_claim_says_how_many_rows_are_restricted_and_where_they_are_named() {
        let counter = Counter::new();
        let mut ended = ended("harbour", "a.csv", at(0));
        ended.receipt.report.rows = Some(40);
        ended.receipt.report.restricted = 6;
        ended.restricted = crate::audit::Restricted { ranges: vec![(17, 17), (20, 24)], count: 6 };
        counter.books.ledger.accept(ended).await.unwrap();
        let (_, lines, _) = counter.ask("loader", "claim").await;
        assert_eq!((&lines[0]["rows"], &lines[0]["restricted"]), (&40.into(), &6.into()));
        let delivery = lines[0]["delivery"].as_str().unwrap();
        assert_eq!(lines[0]["restricted_rows"], format!("/queue/{delivery}/restricted.txt"));
    }

    #[tokio::test]
    async fn no_work_is_no_error() {
        let counter = Counter::new();
        assert_eq!(counter.ask("loader", "claim").await, (0, vec![], vec![]));
        assert_eq!(counter.ask("loader", "claim --wait 0s").await, (0, vec![], vec![]));
        assert_eq!(counter.ask("loader", "claim --wait 20ms").await, (0, vec![], vec![]));
    }

    #[tokio::test]
    async fn a_foreign_organisation_answers_like_one_that_is_not_there() {
        let counter = Counter::new();
        counter.put("harbour", "a.csv").await;
        counter.put("mill-lane", "b.csv").await;
        let take = Take { orgs: Some([org("mill-lane")].into()), datasets: None };
        let desk = counter.desk("loader", take);
        let foreign = heard(&desk, "claim --org harbour").await;
        assert_eq!(foreign, heard(&desk, "claim --org nowhere").await);
        assert_eq!(foreign, (0, vec![], vec![]));
        let (_, lines, _) = heard(&desk, "claim --max 9").await;
        assert_eq!(lines.iter().map(|line| line["name"].as_str().unwrap()).collect::<Vec<_>>(), ["b.csv"]);
    }

    #[tokio::test]
    async fn a_lease_past_the_bound_is_refused_as_usage() {
        let counter = Counter::new();
        counter.put("harbour", "a.csv").await;
        let (status, lines, errors) = counter.ask("loader", "claim --lease 2h").await;
        assert_eq!((status, lines.len()), (2, 0));
        assert_eq!(errors[0]["error"], "--lease may be 1h at most");
    }

    #[tokio::test]
    async fn waiting_ends_when_work_comes() {
        let counter = Counter::new();
        let desk = counter.desk("loader", Take::default());
        let (waited, delivery) = tokio::join!(heard(&desk, "claim --wait"), async {
            tokio::task::yield_now().await;
            counter.put("harbour", "a.csv").await
        });
        assert_eq!((waited.0, &waited.1[0]["delivery"]), (0, &delivery.to_string().into()));
    }

    #[tokio::test]
    async fn waiting_ends_when_work_comes_from_another_process() {
        let counter = Counter::new();
        let other = crate::ledger::Ledger::open(&counter.books.file, crate::ledger::testing::signer()).unwrap();
        let desk = counter.desk("loader", Take::default());
        let ((status, lines, _), put) =
            tokio::join!(heard(&desk, "claim --wait 20s"), other.accept(ended("harbour", "a.csv", at(0))));
        put.unwrap();
        assert_eq!((status, lines.len()), (0, 1));
    }

    #[tokio::test]
    async fn waiting_ends_when_a_lease_of_another_runs_out() {
        let mut counter = Counter::new();
        counter.clock = crate::types::Clock::system();
        counter.settings.backoff = Duration::ZERO;
        counter.put("harbour", "a.csv").await;
        assert_eq!(counter.ask("gone", "claim --lease 50ms").await.1.len(), 1);
        let (status, lines, _) = counter.ask("loader", "claim --wait 20s").await;
        assert_eq!((status, &lines[0]["attempt"]), (0, &2.into()));
    }

    #[tokio::test]
    async fn dropping_a_waiting_claim_claims_nothing() {
        let counter = Counter::new();
        let desk = counter.desk("loader", Take::default());
        let waiting = tokio::time::timeout(Duration::from_millis(50), heard(&desk, "claim --wait"));
        assert!(waiting.await.is_err());
        counter.put("harbour", "a.csv").await;
        assert_eq!(counter.ask("other", "claim").await.1.len(), 1);
    }

    #[tokio::test]
    async fn waiting_ends_with_the_session_and_with_the_client() {
        let counter = Counter::new();
        let desk = counter.desk("loader", Take::default());
        desk.caller.ended.cancel();
        assert_eq!(heard(&desk, "claim --wait").await.0, 1);

        let desk = counter.desk("loader", Take::default());
        let (out, client) = mpsc::channel(1);
        drop(client);
        assert_eq!(desk.serve("claim --wait", &out).await, 0);
    }
}
