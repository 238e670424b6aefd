//! What falls due by itself: leases that ran out, drafts that nobody completed, loaded and quarantined objects past their
//! retention, companions whose files never came, the ledger's mark.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::mark::Mark;
use crate::config::Live;
use crate::intake::Intake;
use crate::ledger::{Ledger, Policy};
use crate::types::{Clock, OrgId, Timestamp, UploadId};
use crate::vault::Vault;

const LEASES: Duration = Duration::from_secs(1);
const DRAFTS: Duration = Duration::from_secs(10);
const RETENTION: Duration = Duration::from_secs(60);
const MARK: Duration = Duration::from_secs(60);

/// Runs until `quit`. A failure of one round is logged and tried again with the next: a full disk must not end it.
pub async fn run(
    config: Live,
    ledger: Ledger,
    vault: Vault,
    intake: Intake,
    mark: Mark,
    clock: Clock,
    quit: CancellationToken,
) -> anyhow::Result<()> {
    let mut leases = tokio::time::interval(LEASES);
    let mut drafts = tokio::time::interval(DRAFTS);
    let mut retention = tokio::time::interval(RETENTION);
    let mut marks = tokio::time::interval(MARK);
    for interval in [&mut leases, &mut drafts, &mut retention, &mut marks] {
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    }
    loop {
        tokio::select! {
            () = quit.cancelled() => return Ok(()),
            _ = leases.tick() => {
                let queue = config.borrow().queue.clone();
                let policy = Policy { attempts: queue.attempts, backoff: queue.backoff, backoff_max: queue.backoff_max };
                if let Err(error) = ledger.expire(policy, clock.now()).await {
                    tracing::error!(reason = %error, "leases that ran out could not be put back");
                }
            }
            _ = drafts.tick() => intake.expire_drafts().await,
            _ = marks.tick() => super::note(&mark, &ledger).await,
            _ = retention.tick() => {
                if let Err(error) = retain(&config, &ledger, &vault, &clock).await {
                    tracing::error!(reason = format!("{error:#}"), "what is past its retention could not be removed");
                }
            }
        }
    }
}

async fn retain(config: &Live, ledger: &Ledger, vault: &Vault, clock: &Clock) -> anyhow::Result<()> {
    let orgs: Vec<_> = config.borrow().orgs.values().map(|org| (org.id.clone(), org.retention.clone())).collect();
    for (org, retention) in orgs {
        let now = clock.now();
        if let Some(before) = ago(now, retention.loaded) {
            let due = ledger.loaded_before(&org, before).await?;
            remove(due, "loaded, and past its retention", &org, ledger, vault, now).await?;
        }
        if let Some(before) = ago(now, retention.quarantined) {
            let due = ledger.quarantined_before(&org, before).await?;
            remove(due, "quarantined, and past its retention", &org, ledger, vault, now).await?;
        }
        // A companion is of use as long as its file may come: as long as receipts are shown.
        if let Some(before) = ago(now, retention.listed) {
            let forgotten = ledger.expire_companions(&org, before, now).await?;
            if forgotten > 0 {
                tracing::info!(org = %org, count = forgotten, "companion files forgotten: their files did not come");
            }
        }
    }
    Ok(())
}

/// That long before now; none before time began.
fn ago(now: Timestamp, age: Duration) -> Option<Timestamp> {
    now.checked_sub(jiff::SignedDuration::try_from(age).ok()?).ok()
}

/// The ledger says first that an object leaves, then it leaves: a crash in between leaves a file that recovery removes.
async fn remove(
    due: Vec<UploadId>,
    why: &'static str,
    org: &OrgId,
    ledger: &Ledger,
    vault: &Vault,
    now: Timestamp,
) -> anyhow::Result<()> {
    for upload in due {
        ledger.object_removed(upload, why, now).await?;
        let vault = vault.clone();
        tokio::task::spawn_blocking(move || vault.remove(upload)).await??;
        tracing::info!(upload.id = %upload, org = %org, reason = why, "object removed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::access::fixture;
    use crate::audit::Kind;
    use crate::ledger::Filter;
    use crate::ledger::testing::{Desk, at, ended, rejected};
    use crate::types::Role;

    #[tokio::test]
    async fn quarantined_objects_leave_when_their_time_is_over_and_not_before() {
        let desk = Desk::new();
        let vault = Vault::open(desk._dir.path()).unwrap();
        let key = fixture::key().public_key().clone();
        let mut config = fixture::config([fixture::account("harbour-nightly", "harbour", Role::Provider, &[&key])]);
        config.orgs.values_mut().for_each(|org| org.retention.quarantined = Duration::from_secs(100));
        let (_sender, live) = tokio::sync::watch::channel(Arc::new(config));
        let old = desk.ledger.reject(rejected("harbour", "old.csv", at(0), true)).await.unwrap().upload;
        let young = desk.ledger.reject(rejected("harbour", "young.csv", at(50), true)).await.unwrap().upload;
        let accepted = desk.ledger.accept(ended("harbour", "good.csv", at(0))).await.unwrap().0.upload;
        for upload in [old, young, accepted] {
            vault.create(upload, 0).unwrap().keep().unwrap();
        }

        let clock = Clock::fixed(at(100));
        retain(&live, &desk.ledger, &vault, &clock).await.unwrap();
        assert_eq!(vault.objects().unwrap().len(), 3, "exactly on its time it is not past it");
        clock.advance(Duration::from_secs(1));
        retain(&live, &desk.ledger, &vault, &clock).await.unwrap();
        let mut left = vec![young, accepted];
        left.sort_unstable();
        assert_eq!(vault.objects().unwrap(), left);
        let gone = Filter { kind: Some(Kind::ObjectRemoved), ..Filter::default() };
        let events = desk.ledger.events(&gone).await.unwrap();
        assert_eq!((events.len(), events[0].event.upload), (1, Some(old)));
        desk.assert_whole().await;
    }
}
