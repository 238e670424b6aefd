//! Whether the file has the shape of a ledger: the schema that this program makes, and no row where no fact can be.
//!
//! Called by `mod`, as pieces of the work.

use rusqlite::Connection;

use super::super::rows::Count;
use super::super::{Result, file};
use super::facts::WHOLE;
use super::tree::TREE;
use super::{Finding, found};
use crate::audit::Checkpoint;
use crate::audit::tree::TILE_HEIGHT;

const COSIGNED: &str = "every cosignature is one of its witness";

/// Tables, indexes and triggers against those of a new ledger.
pub(super) fn schema(connection: &Connection) -> Result<Vec<Finding>> {
    let fresh = file::in_memory()?;
    let (theirs, ours) = (objects(connection)?, objects(&fresh)?);
    let mut findings = Vec::new();
    for (name, sql) in &ours {
        match theirs.iter().find(|(other, _)| other == name) {
            None => findings.push(found(WHOLE, format!("the {name} is missing"), None)),
            Some((_, other)) if other != sql => findings.push(found(WHOLE, format!("the {name} was changed"), None)),
            Some(_) => {}
        }
    }
    let foreign = theirs.iter().filter(|(name, _)| !ours.iter().any(|(other, _)| other == name));
    findings.extend(foreign.map(|(name, _)| found(WHOLE, format!("the {name} is none of a ledger's"), None)));
    Ok(findings)
}

/// `trigger events_keep`, and what it says.
fn objects(connection: &Connection) -> Result<Vec<(String, String)>> {
    // SQLite's own notes on how to plan are no part of the schema.
    let query = "SELECT type || ' ' || name, coalesce(sql, '') || ' ON ' || tbl_name FROM sqlite_schema
                 WHERE name NOT LIKE 'sqlite_stat%'";
    let mut statement = connection.prepare(query)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// How far the events go that are read, and what lies beyond.
pub(super) fn extent(connection: &Connection) -> Result<(u64, Vec<Finding>)> {
    let (count, least, most): (i64, i64, i64) = connection.query_row(
        "SELECT (SELECT count(*) FROM events), (SELECT coalesce(min(sequence), 1) FROM events),
             (SELECT coalesce(max(sequence), 0) FROM events)",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    let mut findings = Vec::new();
    if least < 1 {
        let what = format!("there are events before the first, from number {least} on");
        findings.push(found(super::log::SEQUENCE, what, None));
    }
    // Gaps are gone through number by number: of a number beyond reason only this is told.
    let reason = count.saturating_mul(4).saturating_add(1 << 16);
    if most <= reason {
        return Ok((u64::try_from(most).unwrap_or_default(), findings));
    }
    let last: i64 =
        connection.query_row("SELECT coalesce(max(sequence), 0) FROM events WHERE sequence <= ?", [reason], |row| {
            row.get(0)
        })?;
    let last = u64::try_from(last).unwrap_or_default();
    let what =
        format!("event {most} is far beyond the end: the log has {count} in all, and those after {last} are missing");
    findings.push(found(super::log::SEQUENCE, what, Some(last + 1)));
    Ok((last, findings))
}

/// Rows of the log's tables that are of no event.
pub(super) fn strays(connection: &Connection, last: u64) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let details: i64 = connection.query_row(
        "SELECT (SELECT count(*) FROM details WHERE sequence < 1) + (SELECT count(*) FROM details WHERE sequence > ?)",
        [Count(last)],
        |row| row.get(0),
    )?;
    if details > 0 {
        findings.push(found(super::log::PRIVATE, format!("there are {details} private parts of no event"), None));
    }
    let mut statement = connection.prepare("SELECT level, count(*) FROM nodes GROUP BY level")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (level, count): (i64, i64) = (row.get(0)?, row.get(1)?);
        let of_tiles = u32::try_from(level).ok().filter(|level| *level > 0 && level % TILE_HEIGHT == 0);
        let due = of_tiles.and_then(|level| last.checked_shr(level)).unwrap_or_default();
        // Those that are missing are named where the tree is grown.
        if u64::try_from(count).unwrap_or(u64::MAX) > due {
            let what = format!("there are {count} stored hashes of level {level}, and {last} events have {due}");
            findings.push(found(TREE, what, None));
        }
    }
    Ok(findings)
}

/// Every cosignature over the checkpoint that it is of, by the key that stands with it.
pub(super) fn cosignatures(connection: &Connection) -> Result<Vec<Finding>> {
    let mut statement = connection.prepare(
        "SELECT s.size, s.witness, s.signature, c.note FROM cosignatures s LEFT JOIN checkpoints c ON c.size = s.size",
    )?;
    let mut rows = statement.query([])?;
    let mut findings = Vec::new();
    while let Some(row) = rows.next()? {
        let text = |column: usize| -> Result<&str> {
            Ok(row.get_ref(column)?.as_str_or_null().unwrap_or_default().unwrap_or_default())
        };
        let (size, witness) = (row.get::<_, i64>(0)?, text(1)?);
        let note = format!("{}{}\n", text(3)?, text(2)?);
        let holds = witness.parse().is_ok_and(|key| {
            let signed = Checkpoint::read(&note).map(|(_, note)| note.signed(std::slice::from_ref(&key)));
            signed.is_ok_and(|signed| signed.is_ok_and(|signed| !signed.is_empty()))
        });
        if !holds {
            let name = witness.split('+').next().unwrap_or_default();
            let what = format!("that of {size} events by {name} does not hold");
            findings.push(found(COSIGNED, what, None));
        }
    }
    Ok(findings)
}
