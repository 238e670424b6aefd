//! Leases: claiming deliveries, and what their holders do with them; expiry, backoff and dead letters.
//!
//! Must never let an account act on a lease that is not its own, nor count a delivery as loaded twice. Time comes from
//! the caller. Called by the facade.

use std::time::Duration;

use rusqlite::{OptionalExtension, Row, params};

use super::deliveries::by_number;
use super::filter::{Where, bound, narrowed};
use super::rows::{Micros, all, moment_if_any, parsed, parsed_if_any, whole_micros};
use super::writer::Tx;
use super::{Claim, Delivery, DeliveryState, LeaseError, Policy, Result, Returned};
use crate::audit::{Event, Kind};
use crate::types::*;

/// Most characters kept of a loader's reason.
const REASON_MAX: usize = 500;

/// What the verbs need of a row of the deliveries.
pub(super) struct Entry {
    number: i64,
    id: DeliveryId,
    upload: UploadId,
    org: OrgId,
    dataset: DatasetName,
    pub(super) state: DeliveryState,
    pub(super) attempt: u32,
    lease: Option<LeaseId>,
    lease_expires: Option<Timestamp>,
    holder: Option<String>,
    /// Whether the object is still in the vault.
    pub(super) object: bool,
}

const ENTRY: &str = "SELECT d.number, d.id, d.upload, d.org, d.dataset, d.state, d.attempt, d.lease, d.lease_expires,
     d.holder, o.removed FROM deliveries d JOIN objects o ON o.upload = d.upload";

impl Entry {
    pub(super) fn find(tx: &Tx<'_>, delivery: DeliveryId) -> Result<Option<Self>> {
        let mut statement = tx.connection.prepare_cached(&format!("{ENTRY} WHERE d.id = ?"))?;
        Ok(statement.query_row([delivery.to_string()], Self::read).optional()?)
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            number: row.get("number")?,
            id: parsed(row, "id")?,
            upload: parsed(row, "upload")?,
            org: parsed(row, "org")?,
            dataset: parsed(row, "dataset")?,
            state: parsed(row, "state")?,
            attempt: row.get("attempt")?,
            lease: parsed_if_any(row, "lease")?,
            lease_expires: moment_if_any(row, "lease_expires")?,
            holder: row.get("holder")?,
            object: moment_if_any(row, "removed")?.is_none(),
        })
    }

    /// An event about this delivery, with the lease that it stood under.
    pub(super) fn event(&self, kind: Kind, actor: Actor, now: Timestamp) -> Event {
        Event::new(now, kind, actor)
            .org(&self.org)
            .dataset(&self.dataset)
            .upload(self.upload)
            .delivery(self.id)
            .with("attempt", self.attempt)
            .with("lease", self.lease.map(|lease| lease.to_string()))
            .with("holder", self.holder.clone())
    }

    /// Makes it claimable from `available` on, with that many attempts behind it.
    pub(super) fn make_ready(
        &self,
        tx: &Tx<'_>,
        available: Timestamp,
        attempt: u32,
        reason: Option<&str>,
    ) -> Result<()> {
        let mut statement = tx.connection.prepare_cached(
            "UPDATE deliveries SET state = 'ready', lease = NULL, lease_expires = NULL, available = ?, attempt = ?,
                 last_reason = coalesce(?, last_reason) WHERE number = ?",
        )?;
        statement.execute(params![Micros(available), attempt, reason, self.number])?;
        tx.wake();
        Ok(())
    }

    /// The attempt failed at `failed`: it waits its backoff, or is dead when its attempts are used up.
    fn put_back(&self, tx: &Tx<'_>, how: Event, reason: &str, failed: Timestamp, policy: Policy) -> Result<Returned> {
        let now = how.at;
        let how = how.with("reason", reason);
        if self.attempt < policy.attempts {
            let available = later(failed, policy.wait_after(self.attempt));
            self.make_ready(tx, available, self.attempt, Some(reason))?;
            tx.record(&how.with("available", available.to_string()))?;
            return Ok(Returned { state: DeliveryState::Ready, available: Some(available) });
        }
        let mut statement = tx.connection.prepare_cached(
            "UPDATE deliveries SET state = 'dead', lease = NULL, lease_expires = NULL, last_reason = ? WHERE number = ?",
        )?;
        statement.execute(params![reason, self.number])?;
        tx.record(&how)?;
        tx.record(&self.event(Kind::DeliveryDead, Actor::gateway(), now).with("reason", reason))?;
        Ok(Returned { state: DeliveryState::Dead, available: None })
    }

    /// The lease ran out without a word of its holder. The backoff counts from then, whenever it is noticed.
    fn lapse(&self, tx: &Tx<'_>, policy: Policy, now: Timestamp) -> Result<()> {
        let event = self.event(Kind::DeliveryExpired, Actor::gateway(), now);
        self.put_back(tx, event, "the lease ran out", self.lease_expires.unwrap_or(now), policy).map(drop)
    }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_add(by).map_or(Timestamp::MAX, whole_micros)
}

pub(super) fn claim(tx: &Tx<'_>, claim: &Claim, policy: Policy, now: Timestamp) -> Result<Vec<Delivery>> {
    expire(tx, policy, now)?;
    let take = narrowed(&claim.take, claim.orgs.as_ref(), claim.datasets.as_ref());
    let (conditions, values) = Where::new()
        .fixed("d.state = 'ready' AND o.removed IS NULL")
        .moment("d.available <= ?", Some(now))
        .covered(&take)
        .limit(claim.max);
    let sql = format!("{ENTRY}{conditions} ORDER BY d.number LIMIT ?");
    let found = all(&mut *tx.connection.prepare_cached(&sql)?, bound(&values), Entry::read)?;

    let expires = later(now, claim.lease);
    let mut claimed = Vec::with_capacity(found.len());
    for mut entry in found {
        let lease = LeaseId::new(now);
        entry.attempt += 1;
        entry.lease = Some(lease);
        entry.holder = Some(claim.account.to_string());
        let mut statement = tx.connection.prepare_cached(
            "UPDATE deliveries SET state = 'leased', attempt = ?, lease = ?, lease_expires = ?, holder = ? WHERE number = ?",
        )?;
        let lease = lease.to_string();
        statement.execute(params![entry.attempt, lease, Micros(expires), entry.holder, entry.number])?;
        let event = entry.event(Kind::DeliveryClaimed, claim.actor.clone(), now);
        tx.record(&event.with("lease_expires", expires.to_string()))?;
        claimed.extend(by_number(tx.connection, entry.number)?);
        // Others that wait learn when this lease ends.
        tx.wake();
    }
    Ok(claimed)
}

pub(super) fn expire(tx: &Tx<'_>, policy: Policy, now: Timestamp) -> Result<usize> {
    let sql = format!("{ENTRY} WHERE d.state = 'leased' AND d.lease_expires <= ? ORDER BY d.lease_expires");
    let due = all(&mut *tx.connection.prepare_cached(&sql)?, [Micros(now)], Entry::read)?;
    for entry in &due {
        entry.lapse(tx, policy, now)?;
    }
    Ok(due.len())
}

/// The delivery, if `actor`'s account holds it under `lease` and the lease is not over.
fn held(
    tx: &Tx<'_>,
    delivery: DeliveryId,
    lease: LeaseId,
    actor: &Actor,
    policy: Policy,
    now: Timestamp,
) -> Result<std::result::Result<Entry, LeaseError>> {
    let Some(entry) = Entry::find(tx, delivery)? else { return Ok(Err(LeaseError::Unknown)) };
    if entry.holder.as_ref() != Some(&actor.account) {
        // Who held it before may learn that it is over; to others it does not exist.
        let mut statement = tx
            .connection
            .prepare_cached("SELECT 1 FROM events WHERE delivery = ? AND kind = ? AND account = ? LIMIT 1")?;
        let before = statement.exists(params![delivery.to_string(), Kind::DeliveryClaimed.as_str(), actor.account])?;
        return Ok(Err(if before { LeaseError::NotHeld } else { LeaseError::Unknown }));
    }
    if entry.lease != Some(lease) {
        return Ok(Err(LeaseError::NotHeld));
    }
    match (entry.state, entry.lease_expires) {
        (DeliveryState::Loaded, _) => Ok(Err(LeaseError::AlreadyAcknowledged)),
        (DeliveryState::Leased, Some(expires)) if expires > now => Ok(Ok(entry)),
        (DeliveryState::Leased, _) => {
            entry.lapse(tx, policy, now)?;
            Ok(Err(LeaseError::NotHeld))
        }
        _ => Ok(Err(LeaseError::NotHeld)),
    }
}

/// Makes the lease end `by` after `now`; never earlier than it would have.
pub(super) fn extend(
    tx: &Tx<'_>,
    (delivery, lease): (DeliveryId, LeaseId),
    by: Duration,
    actor: Actor,
    policy: Policy,
    now: Timestamp,
) -> Result<std::result::Result<Timestamp, LeaseError>> {
    let entry = match held(tx, delivery, lease, &actor, policy, now)? {
        Ok(entry) => entry,
        Err(refused) => return Ok(Err(refused)),
    };
    let expires = later(now, by).max(entry.lease_expires.unwrap_or(now));
    let mut statement = tx.connection.prepare_cached("UPDATE deliveries SET lease_expires = ? WHERE number = ?")?;
    statement.execute(params![Micros(expires), entry.number])?;
    tx.record(&entry.event(Kind::DeliveryExtended, actor, now).with("lease_expires", expires.to_string()))?;
    Ok(Ok(expires))
}

pub(super) fn acknowledge(
    tx: &Tx<'_>,
    (delivery, lease): (DeliveryId, LeaseId),
    actor: Actor,
    policy: Policy,
    now: Timestamp,
) -> Result<std::result::Result<(), LeaseError>> {
    let entry = match held(tx, delivery, lease, &actor, policy, now)? {
        Ok(entry) => entry,
        Err(refused) => return Ok(Err(refused)),
    };
    // The lease stays: it tells a repetition from another's claim.
    let mut statement = tx
        .connection
        .prepare_cached("UPDATE deliveries SET state = 'loaded', lease_expires = NULL, loaded = ? WHERE number = ?")?;
    statement.execute(params![Micros(now), entry.number])?;
    tx.record(&entry.event(Kind::DeliveryAcknowledged, actor, now))?;
    Ok(Ok(()))
}

pub(super) fn give_back(
    tx: &Tx<'_>,
    (delivery, lease): (DeliveryId, LeaseId),
    reason: &str,
    actor: Actor,
    policy: Policy,
    now: Timestamp,
) -> Result<std::result::Result<Returned, LeaseError>> {
    let entry = match held(tx, delivery, lease, &actor, policy, now)? {
        Ok(entry) => entry,
        Err(refused) => return Ok(Err(refused)),
    };
    let plain = |c: char| if c.is_control() || deceives(c) { ' ' } else { c };
    let reason: String = reason.chars().map(plain).take(REASON_MAX).collect();
    let event = entry.event(Kind::DeliveryReturned, actor, now);
    entry.put_back(tx, event, reason.trim(), now, policy).map(Ok)
}

#[cfg(test)]
mod tests {
    use super::super::Filter;
    use super::super::testing::{Desk, POLICY, actor, at, claim as claim_as, ended, org};
    use super::*;

    #[tokio::test]
    async fn the_oldest_are_claimed_first_and_none_twice() {
        let desk = Desk::new();
        let mut expected = Vec::new();
        for i in 0..5 {
            expected.push(desk.accept(&format!("{i}.csv"), at(i)).await.1);
        }
        let mut claimed = Vec::new();
        for account in ["loader", "second", "loader"] {
            let got = desk.claim(account, 2, at(10)).await;
            assert!(got.iter().all(|delivery| delivery.holder.as_ref().unwrap().as_str() == account));
            claimed.extend(got);
        }
        assert_eq!(claimed.iter().map(|delivery| delivery.delivery).collect::<Vec<_>>(), expected);
        assert!(claimed.iter().all(|d| d.attempt == 1 && d.lease_expires == Some(at(70)) && d.lease.is_some()));
        assert_eq!(desk.claim("loader", 9, at(10)).await, []);
        desk.assert_whole().await;
    }

    #[tokio::test]
    async fn nothing_is_claimed_before_its_time_or_past_what_the_account_may_take() {
        let desk = Desk::new();
        desk.accept("later.csv", at(100)).await;
        assert_eq!(desk.claim("loader", 9, at(99)).await, []);
        desk.ledger.accept(ended("mill-lane", "m.csv", at(1))).await.unwrap();
        let set = |ids: &[&str]| Some(ids.iter().map(|id| org(id)).collect());
        for (may, wants, orgs) in [
            (set(&["harbour"]), set(&["mill-lane"]), 0),
            (set(&["harbour"]), None, 1),
            (None, set(&["nowhere"]), 0),
            (set(&[]), None, 0),
            (None, set(&["mill-lane", "nowhere"]), 1),
        ] {
            let mut claim = claim_as("loader", 9);
            claim.take.orgs = may;
            claim.orgs = wants;
            assert_eq!(desk.ledger.claim(claim, POLICY, at(200)).await.unwrap().len(), orgs);
        }
        let mut claim = claim_as("loader", 9);
        claim.datasets = Some(["other".parse().unwrap()].into());
        assert_eq!(desk.ledger.claim(claim, POLICY, at(900)).await.unwrap(), []);
    }

    #[tokio::test]
    async fn acknowledging_loads_once_and_may_be_repeated_under_the_same_lease() {
        let desk = Desk::new();
        let (_, id) = desk.accept("a.csv", at(0)).await;
        let lease = desk.claim("loader", 1, at(1)).await[0].lease.unwrap();
        let ack = |account, lease, now| desk.ledger.acknowledge(id, lease, actor(account), POLICY, now);
        assert_eq!(ack("other", lease, at(2)).await.unwrap(), Err(LeaseError::Unknown));
        assert_eq!(ack("loader", LeaseId::new(at(1)), at(2)).await.unwrap(), Err(LeaseError::NotHeld));
        assert_eq!(ack("loader", lease, at(2)).await.unwrap(), Ok(()));
        assert_eq!(ack("loader", lease, at(999)).await.unwrap(), Err(LeaseError::AlreadyAcknowledged));
        assert_eq!(ack("other", lease, at(3)).await.unwrap(), Err(LeaseError::Unknown));
        assert_eq!(ack("loader", LeaseId::new(at(1)), at(3)).await.unwrap(), Err(LeaseError::NotHeld));
        let loaded = desk.ledger.delivery(id).await.unwrap().unwrap();
        assert_eq!((loaded.state, loaded.lease), (DeliveryState::Loaded, None));
        assert_eq!(desk.claim("loader", 9, at(9999)).await, []);
        assert_eq!(desk.kinds().await, ["upload.accepted", "delivery.claimed", "delivery.acknowledged"]);
        desk.assert_whole().await;
    }

    #[tokio::test]
    async fn a_lease_that_ran_out_is_over_for_its_holder_before_any_sweep() {
        for verb in ["extend", "ack", "nack"] {
            let desk = Desk::new();
            let (_, id) = desk.accept("a.csv", at(0)).await;
            let lease = desk.claim("loader", 1, at(0)).await[0].lease.unwrap();
            let (ledger, loader) = (&desk.ledger, actor("loader"));
            let refused = match verb {
                "extend" => {
                    let by = Duration::from_secs(60);
                    ledger.extend(id, lease, by, loader, POLICY, at(60)).await.unwrap().map(drop)
                }
                "ack" => ledger.acknowledge(id, lease, loader, POLICY, at(60)).await.unwrap(),
                _ => ledger.give_back(id, lease, "x", loader, POLICY, at(60)).await.unwrap().map(drop),
            };
            assert_eq!(refused, Err(LeaseError::NotHeld), "{verb}");
            let back = ledger.delivery(id).await.unwrap().unwrap();
            assert_eq!((back.state, back.available), (DeliveryState::Ready, at(90)), "{verb}");
            assert_eq!(desk.kinds().await.last(), Some(&"delivery.expired"));
            desk.assert_whole().await;
        }
    }

    #[tokio::test]
    async fn extending_moves_the_end_and_never_back() {
        let desk = Desk::new();
        let (_, id) = desk.accept("a.csv", at(0)).await;
        let lease = desk.claim("loader", 1, at(0)).await[0].lease.unwrap();
        let extend = |by, now| desk.ledger.extend(id, lease, Duration::from_secs(by), actor("loader"), POLICY, now);
        assert_eq!(extend(60, at(59)).await.unwrap(), Ok(at(119)));
        assert_eq!(extend(1, at(60)).await.unwrap(), Ok(at(119)));
        assert_eq!(desk.ledger.next_change(at(60)).await.unwrap(), Some(at(119)));
        assert_eq!(desk.claim("other", 1, at(118)).await, []);
        let other = extend(60, at(119)).await.unwrap();
        assert_eq!(other, Err(LeaseError::NotHeld));
    }

    #[tokio::test]
    async fn what_fails_waits_longer_each_time_and_ends_in_the_dead_letters() {
        let desk = Desk::new();
        let (_, id) = desk.accept("a.csv", at(0)).await;
        let mut now = 0;
        for (attempt, wait) in [(1, 30), (2, 40)] {
            let got = desk.claim("loader", 1, at(now)).await;
            assert_eq!(got[0].attempt, attempt);
            let lease = got[0].lease.unwrap();
            let back = desk.ledger.give_back(id, lease, "no\nroom\u{202E}", actor("loader"), POLICY, at(now + 1));
            let available = at(now + 1 + wait);
            let expected = Returned { state: DeliveryState::Ready, available: Some(available) };
            assert_eq!(back.await.unwrap(), Ok(expected));
            assert_eq!(desk.ledger.next_change(at(now + 1)).await.unwrap(), Some(available));
            assert_eq!(desk.claim("loader", 1, at(now + wait)).await, []);
            now += 1 + wait;
        }
        // The last attempt is lost to a loader that never came back.
        assert_eq!(desk.claim("loader", 1, at(now)).await[0].attempt, 3);
        assert_eq!(desk.ledger.expire(POLICY, at(now + 59)).await.unwrap(), 0);
        assert_eq!(desk.ledger.expire(POLICY, at(now + 60)).await.unwrap(), 1);
        let dead = desk.ledger.delivery(id).await.unwrap().unwrap();
        assert_eq!((dead.state, dead.last_reason.as_deref()), (DeliveryState::Dead, Some("the lease ran out")));
        assert_eq!(desk.claim("loader", 1, at(99_999)).await, []);
        assert_eq!(desk.ledger.next_change(at(now)).await.unwrap(), None);
        let kinds = desk.kinds().await;
        assert_eq!(kinds[kinds.len() - 2..], ["delivery.expired", "delivery.dead"]);
        let returned = Filter { kind: Some(Kind::DeliveryReturned), ..Filter::default() };
        assert_eq!(desk.ledger.events(&returned).await.unwrap()[0].event.detail["reason"], "no room");
        desk.assert_whole().await;

        assert!(desk.ledger.retry(id, Actor::operator("eve"), at(now + 100)).await.unwrap());
        assert_eq!(desk.claim("loader", 1, at(now + 100)).await[0].attempt, 1);
        desk.assert_whole().await;
    }

    #[tokio::test]
    async fn a_claim_puts_back_what_ran_out_and_the_old_holder_is_told() {
        let desk = Desk::new();
        let (_, id) = desk.accept("a.csv", at(0)).await;
        let first = desk.claim("loader", 1, at(0)).await[0].lease.unwrap();
        assert_eq!(desk.claim("other", 1, at(60)).await, []);
        let second = desk.claim("other", 1, at(90)).await;
        assert_eq!((second[0].delivery, second[0].attempt), (id, 2));
        assert_ne!(second[0].lease, Some(first));
        let ack = |account| desk.ledger.acknowledge(id, first, actor(account), POLICY, at(91));
        assert_eq!(ack("loader").await.unwrap(), Err(LeaseError::NotHeld));
        assert_eq!(ack("other").await.unwrap(), Err(LeaseError::NotHeld));
        assert_eq!(ack("stranger").await.unwrap(), Err(LeaseError::Unknown));
        desk.assert_whole().await;
    }

    #[tokio::test]
    async fn an_operator_releases_leases_and_retries_what_is_dead_or_waits() {
        let desk = Desk::new();
        let (_, id) = desk.accept("a.csv", at(0)).await;
        let eve = || Actor::operator("eve");
        assert!(!desk.ledger.release(id, eve(), at(1)).await.unwrap());
        let lease = desk.claim("loader", 1, at(1)).await[0].lease.unwrap();
        assert!(!desk.ledger.retry(id, eve(), at(2)).await.unwrap());
        assert!(desk.ledger.release(id, eve(), at(2)).await.unwrap());
        let late = desk.ledger.acknowledge(id, lease, actor("loader"), POLICY, at(2)).await.unwrap();
        assert_eq!(late, Err(LeaseError::NotHeld));
        let lease = desk.claim("loader", 1, at(2)).await[0].lease.unwrap();
        desk.ledger.give_back(id, lease, "x", actor("loader"), POLICY, at(3)).await.unwrap().unwrap();
        assert!(desk.ledger.retry(id, eve(), at(3)).await.unwrap());
        assert_eq!(desk.claim("loader", 1, at(3)).await[0].attempt, 1);
        assert!(!desk.ledger.retry(DeliveryId::new(at(0)), eve(), at(3)).await.unwrap());
        let by_eve = Filter { account: Some("operator:eve".into()), ..Filter::default() };
        let kinds: Vec<Kind> =
            desk.ledger.events(&by_eve).await.unwrap().iter().map(|logged| logged.event.kind).collect();
        assert_eq!(kinds, [Kind::DeliveryReleased, Kind::DeliveryRetried]);
        desk.assert_whole().await;
    }

    #[tokio::test]
    async fn who_waits_hears_of_new_work_here_and_in_another_process() {
        let desk = Desk::new();
        let other = super::super::Ledger::open(&desk.file).unwrap();
        let mut here = desk.ledger.deliveries_changed();
        let mut there = other.deliveries_changed();
        desk.accept("a.csv", at(0)).await;
        assert!(here.has_changed().unwrap());
        there.changed().await.unwrap();
        here.borrow_and_update();
        let got = other.claim(claim_as("loader", 1), POLICY, at(1)).await.unwrap();
        assert_eq!(got.len(), 1);
        here.changed().await.unwrap();
        assert_eq!(desk.claim("loader", 1, at(1)).await, []);
    }

    #[tokio::test]
    async fn two_ledgers_on_one_file_never_lease_the_same_delivery() {
        let desk = Desk::new();
        let other = super::super::Ledger::open(&desk.file).unwrap();
        for i in 0..100 {
            desk.accept(&format!("{i}.csv"), at(0)).await;
        }
        let claimer = |ledger: super::super::Ledger| {
            tokio::spawn(async move {
                let mut mine = Vec::new();
                loop {
                    let got = ledger.claim(claim_as("loader", 3), POLICY, at(1)).await.unwrap();
                    if got.is_empty() {
                        return mine;
                    }
                    mine.extend(got.iter().map(|delivery| delivery.delivery));
                }
            })
        };
        let (one, two) = (claimer(desk.ledger.clone()), claimer(other.clone()));
        let mut all = one.await.unwrap();
        all.extend(two.await.unwrap());
        all.sort();
        let claims = all.len();
        all.dedup();
        assert_eq!((claims, all.len()), (100, 100));
        other.close().await.unwrap();
        desk.assert_whole().await;
    }
}
