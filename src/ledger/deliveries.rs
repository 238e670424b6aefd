//! Deliveries: reading the queue, and what an operator does with its entries.
//!
//! Must never show a loader what its `take` does not cover. Called by the facade; `leases` has the loaders' verbs.

use rusqlite::{Connection, OptionalExtension};

use super::filter::{Where, bound};
use super::leases::Entry;
use super::rows::{self, DELIVERY, DELIVERY_TABLES, Micros, RECEIPT, all};
use super::writer::Tx;
use super::{Delivery, DeliveryState, Filter, Result};
use crate::audit::Kind;
use crate::types::*;

pub(super) fn by_number(connection: &Connection, number: i64) -> Result<Option<Delivery>> {
    let sql = format!("SELECT {DELIVERY}, {RECEIPT} FROM {DELIVERY_TABLES} WHERE d.number = ?");
    Ok(connection.prepare_cached(&sql)?.query_row([number], rows::delivery).optional()?)
}

pub(super) fn by_id(connection: &Connection, delivery: DeliveryId) -> Result<Option<Delivery>> {
    let sql = format!("SELECT {DELIVERY}, {RECEIPT} FROM {DELIVERY_TABLES} WHERE d.id = ?");
    Ok(connection.prepare_cached(&sql)?.query_row([delivery.to_string()], rows::delivery).optional()?)
}

pub(super) fn queue(
    connection: &Connection,
    take: &Take,
    after: Option<DeliveryId>,
    limit: usize,
) -> Result<Vec<Delivery>> {
    let (conditions, values) = Where::new()
        .fixed("d.state IN ('ready', 'leased') AND o.removed IS NULL")
        .text("d.id > ?", Some(after.map(|id| id.to_string()).unwrap_or_default()))
        .covered(take)
        .limit(limit);
    let sql = format!("SELECT {DELIVERY}, {RECEIPT} FROM {DELIVERY_TABLES}{conditions} ORDER BY d.id LIMIT ?");
    all(&mut *connection.prepare_cached(&sql)?, bound(&values), rows::delivery)
}

pub(super) fn next_change(connection: &Connection, now: Timestamp) -> Result<Option<Timestamp>> {
    let mut statement = connection.prepare_cached(
        "SELECT min(at) AS at FROM (
             SELECT min(lease_expires) AS at FROM deliveries WHERE state = 'leased'
             UNION ALL
             SELECT min(available) FROM deliveries WHERE state = 'ready' AND available > ?)",
    )?;
    Ok(statement.query_row([Micros(now)], |row| rows::moment_if_any(row, "at"))?)
}

pub(super) fn retry(tx: &Tx<'_>, delivery: DeliveryId, actor: Actor, now: Timestamp) -> Result<bool> {
    let Some(entry) = Entry::find(tx, delivery)? else { return Ok(false) };
    let waits = matches!(entry.state, DeliveryState::Dead | DeliveryState::Ready);
    if !waits || !entry.object {
        return Ok(false);
    }
    entry.make_ready(tx, rows::whole_micros(now), 0, None)?;
    tx.record(&entry.event(Kind::DeliveryRetried, actor, now).with("state", entry.state.as_str()))?;
    Ok(true)
}

pub(super) fn release(tx: &Tx<'_>, delivery: DeliveryId, actor: Actor, now: Timestamp) -> Result<bool> {
    let Some(entry) = Entry::find(tx, delivery)? else { return Ok(false) };
    if entry.state != DeliveryState::Leased {
        return Ok(false);
    }
    entry.make_ready(tx, rows::whole_micros(now), entry.attempt, Some("an operator took the lease away"))?;
    tx.record(&entry.event(Kind::DeliveryReleased, actor, now))?;
    Ok(true)
}

/// For operators: in the order of acceptance, the newest `limit`.
pub(super) fn select(connection: &Connection, filter: &Filter) -> Result<Vec<Delivery>> {
    // Spelt out, so that the partial indexes serve. One that is not loaded and has no object was erased: it waits for
    // nobody.
    let of_state = filter.state.map(|state| match state {
        DeliveryState::Ready => "d.state = 'ready' AND o.removed IS NULL",
        DeliveryState::Leased => "d.state = 'leased' AND o.removed IS NULL",
        DeliveryState::Loaded => "d.state = 'loaded'",
        DeliveryState::Dead => "d.state = 'dead' AND o.removed IS NULL",
    });
    let (conditions, values) = of_state
        .map_or_else(Where::new, |condition| Where::new().fixed(condition))
        .text("d.org = ?", filter.org.as_ref())
        .text("d.dataset = ?", filter.dataset.as_ref())
        .text("u.account = ?", filter.account.as_ref())
        .text("d.upload = ?", filter.upload)
        .text("d.id = ?", filter.delivery)
        .moment("u.time >= ?", filter.since)
        .limit(filter.limit.unwrap_or(usize::MAX));
    let sql = format!("SELECT {DELIVERY}, {RECEIPT} FROM {DELIVERY_TABLES}{conditions} ORDER BY d.number DESC LIMIT ?");
    let mut deliveries = all(&mut *connection.prepare_cached(&sql)?, bound(&values), rows::delivery)?;
    deliveries.reverse();
    Ok(deliveries)
}
