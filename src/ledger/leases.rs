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

pub(super) const HELD_BEFORE: &str = "SELECT 1 FROM events e JOIN details d ON d.sequence = e.sequence
     WHERE e.delivery = ? AND e.kind = ? AND +d.account = ? LIMIT 1";

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
        let mut statement = tx.connection.prepare_cached(HELD_BEFORE)?;
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
mod tests;
