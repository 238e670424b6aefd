//! Companion files: what they said, until their file comes; which upload they vouched for.
//!
//! Must never forget one that waits without an event. Their content is intake's: this room stores it as it came. Called
//! by the facade, and by `uploads` when a file is accepted.

use rusqlite::{Connection, params};

use super::rows::{self, Count, Json, Micros, all};
use super::writer::Tx;
use super::{Companion, Result, Vouched};
use crate::audit::{Event, Kind};
use crate::types::*;

/// Companions of an organisation that may wait for their files.
const WAITING: u64 = 1000;

pub(super) const WAITING_COUNT: &str = "SELECT count(*) AS waiting FROM companions WHERE org = ? AND used IS NULL";

pub(super) const OF: &str = "SELECT upload, kind, content, received, used FROM companions
     WHERE org = ? AND dataset = ? AND place = ? AND name = ? ORDER BY kind";

pub(super) const EXPIRE: &str = "DELETE FROM companions WHERE org = ? AND used IS NULL AND received < ?
     RETURNING dataset, place, name, kind, upload";

/// Records a companion in the place of an earlier one of its kind, with its event, which ends the upload that brought
/// it. False when too many wait already.
pub(super) fn record(tx: &Tx<'_>, about: &Vouched, companion: &Companion, event: Event) -> Result<bool> {
    let org = about.org.as_str();
    if companion.used.is_none() {
        let mut waiting = tx.connection.prepare_cached(WAITING_COUNT)?;
        if waiting.query_row([org], |row| row.get::<_, Count>("waiting"))?.0 >= WAITING {
            return Ok(false);
        }
    }
    let mut statement = tx.connection.prepare_cached(
        "INSERT INTO companions (org, dataset, place, name, kind, upload, content, received, used)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (org, dataset, place, name, kind) DO UPDATE SET upload = excluded.upload,
             content = excluded.content, received = excluded.received, used = excluded.used",
    )?;
    statement.execute(params![
        org,
        about.dataset.as_str(),
        about.place.path(),
        about.name.as_str(),
        companion.kind,
        companion.upload.to_string(),
        Json(&companion.content),
        Micros(companion.received),
        companion.used.map(|id| id.to_string()),
    ])?;
    tx.record(&event)?;
    Ok(true)
}

/// The newest of each kind.
pub(super) fn of(connection: &Connection, about: &Vouched) -> Result<Vec<Companion>> {
    let mut statement = connection.prepare_cached(OF)?;
    let (place, name) = (about.place.path(), about.name.as_str());
    all(&mut statement, params![about.org.as_str(), about.dataset.as_str(), place, name], |row| {
        Ok(Companion {
            upload: rows::parsed(row, "upload")?,
            kind: row.get("kind")?,
            content: row.get::<_, Json<serde_json::Value>>("content")?.0,
            received: rows::moment(row, "received")?,
            used: rows::parsed_if_any(row, "used")?,
        })
    })
}

/// Those that vouched for an accepted upload wait no longer; returns their kinds. One that another took the place of
/// meanwhile is left to wait.
pub(super) fn used(tx: &Tx<'_>, vouched: &[UploadId], by: UploadId) -> Result<Vec<String>> {
    let mut kinds = Vec::new();
    for companion in vouched {
        let mut statement =
            tx.connection.prepare_cached("UPDATE companions SET used = ? WHERE upload = ? RETURNING kind")?;
        kinds.extend(all(&mut statement, params![by.to_string(), companion.to_string()], |row| row.get("kind"))?);
    }
    Ok(kinds)
}

/// Forgets those of an organisation that wait since before then; returns how many.
pub(super) fn expire(tx: &Tx<'_>, org: &OrgId, before: Timestamp, now: Timestamp) -> Result<usize> {
    let mut statement = tx.connection.prepare_cached(EXPIRE)?;
    let events = all(&mut statement, params![org.as_str(), Micros(before)], |row| {
        let event = Event::new(now, Kind::CompanionRemoved, Actor::gateway())
            .org(org)
            .dataset(&rows::parsed(row, "dataset")?)
            .upload(rows::parsed(row, "upload")?)
            .with("place", row.get::<_, String>("place")?)
            .with("about", row.get::<_, String>("name")?)
            .with("kind", row.get::<_, String>("kind")?)
            .with("reason", "its file did not come in time");
        Ok(event)
    })?;
    for event in &events {
        tx.record(event)?;
    }
    Ok(events.len())
}
