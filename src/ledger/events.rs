//! The audit log's tables: appending events, each as a leaf with its private part, and reading them.
//!
//! Must never change or delete one; triggers see to it too. What is appended here joins the tree when its transaction is
//! committed (`tree`). Called by the writer and the facade.

use ring::rand::SecureRandom;
use rusqlite::types::FromSqlError;
use rusqlite::{Connection, Row, params};

use super::filter::{Where, bound};
use super::rows::{Count, Micros, all};
use super::{Filter, LeafRow, Logged, Result};
use crate::audit::{Event, leaf};
use crate::types::{Timestamp, UploadId};

/// What is read of an event: from the tables `events e` and `details d`.
const EVENT: &str = "e.sequence, e.leaf, d.body";

/// Appends an event. The sequence is counted here, inside the write transaction, and not by AUTOINCREMENT: that leaves
/// a gap behind what was undone.
///
/// # Errors
/// Those of the storage. One that never will be stored is a `ToSqlConversionFailure`.
pub(super) fn insert(connection: &Connection, event: &Event) -> rusqlite::Result<u64> {
    let last = connection
        .prepare_cached("SELECT coalesce(max(sequence), 0) AS last FROM events")?
        .query_row([], |row| row.get::<_, Count>("last"))?;
    let sequence = last.0 + 1;
    let mut salt = [0; 32];
    let random = ring::rand::SystemRandom::new();
    let unfit = |why: Box<dyn std::error::Error + Send + Sync>| rusqlite::Error::ToSqlConversionFailure(why);
    random.fill(&mut salt).map_err(|_| unfit("the system gives no random bytes".into()))?;
    let (leaf, private) = leaf::divide(event, sequence, salt).map_err(|error| unfit(error.into()))?;
    let mut statement = connection.prepare_cached(
        "INSERT INTO events (sequence, at, kind, org, dataset, upload, delivery, leaf, hash)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    statement.execute(params![
        Count(sequence),
        Micros(event.at),
        event.kind.as_str(),
        event.org.as_ref().map(|org| org.as_str()),
        event.dataset.as_ref().map(|dataset| dataset.as_str()),
        event.upload.map(|upload| upload.to_string()),
        event.delivery.map(|delivery| delivery.to_string()),
        leaf.text,
        leaf.hash.0,
    ])?;
    connection
        .prepare_cached("INSERT INTO details (sequence, account, salt, body) VALUES (?, ?, ?, ?)")?
        .execute(params![Count(sequence), event.actor.account, private.salt, private.body])?;
    Ok(sequence)
}

/// Events that match, in order of sequence: the newest `limit`, or the first `limit` past `after`.
pub(super) fn select(connection: &Connection, filter: &Filter) -> Result<Vec<Logged>> {
    let (sql, values) = select_sql(connection, filter)?;
    let mut statement = connection.prepare_cached(&sql)?;
    let mut events = all(&mut statement, bound(&values), logged)?;
    if filter.after.is_none() {
        events.reverse();
    }
    Ok(events)
}

/// One condition alone is looked up in an index, the one that most likely leaves least; all indexes end in the sequence,
/// so nothing is sorted. The others (with a `+`) judge what it finds, within the numbers that the times leave.
pub(super) fn select_sql(connection: &Connection, filter: &Filter) -> Result<(String, Vec<rusqlite::types::Value>)> {
    let newest = filter.after.is_none();
    // By account from the private parts, which have one.
    let tables = match filter.account.is_some() && filter.upload.is_none() && filter.delivery.is_none() {
        true => "details d CROSS JOIN events e ON e.sequence = d.sequence",
        false => "events e LEFT JOIN details d ON d.sequence = e.sequence",
    };
    let key = if tables.starts_with("details") { "d.sequence" } else { "e.sequence" };
    let (first, last) = numbers_between(connection, filter.since, filter.until)?;
    let after = filter.after.unwrap_or(0).max(first.saturating_sub(1));
    let mut used = false;
    // The condition as it is for the first that has a value, and after it the one that no index serves.
    let mut pick = |has: bool, indexed: &'static str, judged: &'static str| {
        let chosen = if has && !used { indexed } else { judged };
        used |= has;
        chosen
    };
    let upload = pick(filter.upload.is_some(), "e.upload = ?", "+e.upload = ?");
    let delivery = pick(filter.delivery.is_some(), "e.delivery = ?", "+e.delivery = ?");
    let account = pick(filter.account.is_some(), "d.account = ?", "+d.account = ?");
    // The index of deliveries has the kind too; the few events of one are sorted.
    let kind = match delivery {
        "e.delivery = ?" if filter.delivery.is_some() => "e.kind = ?",
        _ => pick(filter.kind.is_some(), "e.kind = ?", "+e.kind = ?"),
    };
    let org = pick(filter.org.is_some(), "e.org = ?", "+e.org = ?");
    let (past, until) = match key {
        "d.sequence" => ("d.sequence > ?", "d.sequence <= ?"),
        _ => ("e.sequence > ?", "e.sequence <= ?"),
    };
    let (conditions, values) = Where::new()
        .text(upload, filter.upload)
        .text(delivery, filter.delivery)
        .text(account, filter.account.as_ref())
        .text(kind, filter.kind.map(|kind| kind.as_str()))
        .text(org, filter.org.as_ref())
        .text("+e.dataset = ?", filter.dataset.as_ref())
        .number(past, Some(after))
        .number(until, Some(last))
        .moment("+e.at >= ?", filter.since)
        .moment("+e.at < ?", filter.until)
        .limit(filter.limit.unwrap_or(usize::MAX));
    let order = if newest { "DESC" } else { "ASC" };
    Ok((format!("SELECT {EVENT} FROM {tables}{conditions} ORDER BY {key} {order} LIMIT ?"), values))
}

// With a `+`: the index of times is read, rather than the table from one end until a time fits.
pub(super) const FIRST_SINCE: &str = "SELECT min(+sequence) FROM events WHERE at >= ?";
pub(super) const LAST_UNTIL: &str = "SELECT max(+sequence) FROM events WHERE at < ?";

/// The first and the last number among events of that time: they are told nearly, but not quite, in the order of time.
fn numbers_between(connection: &Connection, since: Option<Timestamp>, until: Option<Timestamp>) -> Result<(u64, u64)> {
    let bound = |sql: &str, at: Timestamp| -> Result<Option<u64>> {
        let mut statement = connection.prepare_cached(sql)?;
        Ok(statement.query_row([Micros(at)], |row| row.get::<_, Option<Count>>(0))?.map(|count| count.0))
    };
    let nothing = (1, 0);
    let first = match since {
        Some(since) => match bound(FIRST_SINCE, since)? {
            Some(first) => first,
            None => return Ok(nothing),
        },
        None => 1,
    };
    let last = match until {
        Some(until) => match bound(LAST_UNTIL, until)? {
            Some(last) => last,
            None => return Ok(nothing),
        },
        None => i64::MAX as u64,
    };
    Ok((first, last))
}

/// Beginnings without an end since the latest start.
pub(super) fn unfinished(connection: &Connection) -> Result<Vec<Event>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {EVENT} FROM events e LEFT JOIN details d ON d.sequence = e.sequence
         WHERE e.sequence > coalesce(
                   (SELECT sequence FROM events WHERE kind = 'daemon.started' ORDER BY sequence DESC LIMIT 1), 0)
           AND +e.kind = 'upload.begun'
           AND NOT EXISTS (SELECT 1 FROM events o WHERE o.upload = e.upload AND +o.kind IN
                   ('upload.accepted', 'upload.rejected', 'upload.aborted', 'draft.removed',
                    'draft.expired', 'draft.discarded', 'companion.received'))
         ORDER BY e.sequence",
    ))?;
    all(&mut statement, [], |row| Ok(logged(row)?.event))
}

/// The same ends as above.
pub(super) fn has_ended(connection: &Connection, upload: UploadId) -> Result<bool> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM events WHERE upload = ? AND +kind IN
             ('upload.accepted', 'upload.rejected', 'upload.aborted', 'draft.removed', 'draft.expired', 'draft.discarded',
              'companion.received'))",
    )?;
    Ok(statement.query_row([upload.to_string()], |row| row.get(0))?)
}

/// The number of the newest event; 0 for none.
pub(super) fn last(connection: &Connection) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached("SELECT coalesce(max(sequence), 0) FROM events")?;
    statement.query_row([], |row| Ok(row.get::<_, Count>(0)?.0))
}

/// Leaves with their hashes, in order, from event number `from` on.
pub(super) fn leaves(connection: &Connection, from: u64, limit: usize) -> Result<Vec<LeafRow>> {
    let mut statement = connection
        .prepare_cached("SELECT sequence, leaf, hash FROM events WHERE sequence >= ? ORDER BY sequence LIMIT ?")?;
    all(&mut statement, params![Count(from), super::rows::rows_at_most(limit)], |row| {
        Ok(LeafRow {
            sequence: row.get::<_, Count>("sequence")?.0,
            leaf: row.get("leaf")?,
            hash: crate::audit::Hash(row.get("hash")?),
        })
    })
}

/// Reads the columns [`EVENT`].
fn logged(row: &Row<'_>) -> rusqlite::Result<Logged> {
    let private = row.get_ref("body")?.as_str_or_null()?;
    let (_, event) = leaf::join(row.get_ref("leaf")?.as_str()?, private).map_err(FromSqlError::other)?;
    Ok(Logged { sequence: row.get::<_, Count>("sequence")?.0, event })
}
