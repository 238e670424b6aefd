//! The audit log's table: appending events, and reading them.
//!
//! Must never change or delete one; triggers see to it too. Called by the writer and the facade.

use rusqlite::{Connection, Row};

use super::filter::{Where, bound};
use super::rows::{Count, Micros, all};
use super::{Filter, Logged, Result};
use crate::audit::Event;

/// Appends an event. The sequence is counted here, inside the write transaction, and not by AUTOINCREMENT: that leaves
/// a gap behind what was undone.
pub(super) fn insert(connection: &Connection, event: &Event) -> rusqlite::Result<()> {
    let body = serde_json::to_string(event).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let mut statement = connection.prepare_cached(
        "INSERT INTO events (sequence, at, kind, org, dataset, account, upload, delivery, body)
         VALUES ((SELECT coalesce(max(sequence), 0) + 1 FROM events), ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    statement.execute(rusqlite::params![
        Micros(event.at),
        event.kind.as_str(),
        event.org.as_ref().map(|org| org.as_str()),
        event.dataset.as_ref().map(|dataset| dataset.as_str()),
        event.actor.account,
        event.upload.map(|upload| upload.to_string()),
        event.delivery.map(|delivery| delivery.to_string()),
        body,
    ])?;
    Ok(())
}

/// Events that match, in order of sequence: the newest `limit`, or the first `limit` past `after`.
pub(super) fn select(connection: &Connection, filter: &Filter) -> Result<Vec<Logged>> {
    let newest = filter.after.is_none();
    let (conditions, values) = Where::new()
        .number("sequence > ?", filter.after)
        .moment("at >= ?", filter.since)
        .text("kind = ?", filter.kind.map(|kind| kind.as_str()))
        .text("org = ?", filter.org.as_ref())
        .text("dataset = ?", filter.dataset.as_ref())
        .text("account = ?", filter.account.as_ref())
        .text("upload = ?", filter.upload)
        .text("delivery = ?", filter.delivery)
        .limit(filter.limit.unwrap_or(usize::MAX));
    let order = if newest { "DESC" } else { "ASC" };
    let sql = format!("SELECT sequence, body FROM events{conditions} ORDER BY sequence {order} LIMIT ?");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut events = all(&mut statement, bound(&values), |row| {
        Ok(Logged { sequence: row.get::<_, Count>("sequence")?.0, event: body(row)? })
    })?;
    if newest {
        events.reverse();
    }
    Ok(events)
}

/// Beginnings without an end since the latest start.
pub(super) fn unfinished(connection: &Connection) -> Result<Vec<Event>> {
    let mut statement = connection.prepare_cached(
        "SELECT b.body FROM events b
         WHERE b.sequence > coalesce(
                   (SELECT sequence FROM events WHERE kind = 'daemon.started' ORDER BY sequence DESC LIMIT 1), 0)
           AND b.kind = 'upload.begun'
           AND NOT EXISTS (SELECT 1 FROM events e WHERE e.upload = b.upload AND e.kind IN
                   ('upload.accepted', 'upload.rejected', 'upload.aborted', 'draft.removed',
                    'draft.expired', 'draft.discarded', 'companion.received'))
         ORDER BY b.sequence",
    )?;
    all(&mut statement, [], body)
}

fn body(row: &Row<'_>) -> rusqlite::Result<Event> {
    let body = row.get_ref("body")?.as_str()?;
    Ok(serde_json::from_str(body).map_err(rusqlite::types::FromSqlError::other)?)
}
