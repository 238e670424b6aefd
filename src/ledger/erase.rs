//! Erasure: what is private of one upload goes, in one transaction, and a tombstone says so.
//!
//! The facts keep their public part, which the leaves prove; the tombstone tells which private parts went. Must never take a
//! private part without a tombstone, nor what a loader may be reading or somebody still writes. `parts` finds what goes,
//! `scrub` sees to it that no copy is left in the file. Called by the facade.

mod parts;
pub(super) mod scrub;

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use super::rows::{self, Count, Micros, all};
use super::writer::Tx;
use super::{DeliveryState, Erased, Erasure, Loading, NotErased, Result, events, objects};
use crate::audit::leaf::ERASED;
use crate::audit::{Event, Kind, Report};
use crate::types::*;
use parts::{Parts, has_overflow};

/// Most characters of a tombstone's list of parts; what does not fit goes into a further one.
const PARTS_MAX: usize = 32 * 1024;

/// Texts shorter than this are in every file by chance.
const TELLING: usize = 4;

/// What the transaction erased: to be handed to [`super::Ledger::scrub`].
pub struct Taken {
    pub erased: Erased,
    /// What must be nowhere in the file any more: salts, and private texts.
    needles: BTreeSet<Vec<u8>>,
    /// Whether searching is not enough, and the file must be written anew.
    rebuild: bool,
}

/// What is known of an upload, recorded or not.
struct Known {
    org: Option<OrgId>,
    dataset: Option<DatasetName>,
    sha256: Option<Sha256>,
    /// When it was erased first.
    before: Option<Timestamp>,
    /// Place and name, while the upload's row has them.
    label: Option<(String, String)>,
}

pub(super) fn erase(tx: &Tx<'_>, erasure: Erasure, now: Timestamp) -> Result<std::result::Result<Taken, NotErased>> {
    let connection = tx.connection;
    if let Some(why) = refusal(connection, erasure.upload, erasure.daemon_runs, now)? {
        return Ok(Err(why));
    }
    let Erasure { upload, actor, why, .. } = erasure;
    let id = upload.to_string();
    let Known { org, dataset, sha256, before, label } = known(connection, &id)?;
    let mut parts = Parts::of(connection, &id, org.as_ref(), label)?;
    if parts.is_told_by(&why) {
        return Ok(Err(NotErased::NamedByReason));
    }
    let told_before = before.is_some() && parts.sequences.is_empty();
    let object = !told_before && objects::erase(tx, upload, actor.clone(), now)?;
    let mut erased = Erased {
        upload,
        org,
        sha256,
        parts: parts.sequences.len() as u64,
        object,
        at: before.unwrap_or(now),
        sequence: 0,
        loading: loading(connection, &id)?,
        named: parts.named,
        others: parts.others.iter().filter_map(|other| other.parse().ok()).collect(),
        sessions: parts.sessions,
    };
    // What an erasure that was cut short was to look for is not known any more.
    let owed = scrub::is_owed(connection)?;
    if told_before {
        erased.sequence = tombstone(connection, &id)?;
        return Ok(Ok(Taken { erased, needles: parts.needles, rebuild: owed }));
    }
    for runs in runs(&parts.sequences) {
        let event = Event::new(now, Kind::UploadErased, actor.clone())
            .upload(upload)
            .with("sha256", erased.sha256.map(|sha256| sha256.to_string()))
            .with("erased", erased.parts)
            .with("parts", runs)
            .with("reason", why.as_str());
        let event = Event { org: erased.org.clone(), dataset: dataset.clone(), ..event };
        erased.sequence = events::insert(connection, &event)?;
    }
    let mut delete = connection.prepare_cached("DELETE FROM details WHERE sequence = ?")?;
    for sequence in &parts.sequences {
        delete.execute([Count(*sequence)])?;
    }
    forget_facts(connection, &id, now, &mut parts)?;
    parts.needles.retain(|needle| needle.len() >= TELLING);
    connection.prepare_cached("INSERT OR IGNORE INTO scrubs (upload) VALUES (?)")?.execute([&id])?;
    Ok(Ok(Taken { erased, needles: parts.needles, rebuild: owed || parts.overflow }))
}

/// Why an upload cannot be erased now; none when it can.
pub(super) fn refusal(
    connection: &Connection,
    upload: UploadId,
    daemon_runs: bool,
    now: Timestamp,
) -> Result<Option<NotErased>> {
    let id = upload.to_string();
    if !connection.prepare_cached("SELECT 1 FROM events WHERE upload = ? LIMIT 1")?.exists([&id])? {
        return Ok(Some(NotErased::Unknown));
    }
    let begun = "SELECT 1 FROM events WHERE upload = ? AND +kind = 'upload.begun'";
    if connection.prepare_cached(begun)?.exists([&id])? && !events::has_ended(connection, upload)? {
        return Ok(Some(NotErased::NotEnded));
    }
    let leased = connection
        .prepare_cached(
            "SELECT id, holder, lease_expires FROM deliveries WHERE upload = ? AND state = 'leased' AND lease_expires > ?",
        )?
        .query_row(params![id, Micros(now)], |row| {
            let (delivery, until) = (rows::parsed(row, "id")?, rows::moment(row, "lease_expires")?);
            Ok(NotErased::InHand { delivery, holder: row.get("holder")?, until })
        })
        .optional()?;
    if leased.is_some() || !daemon_runs {
        return Ok(leased);
    }
    parts::open_session(connection, &id)
}

fn known(connection: &Connection, upload: &str) -> Result<Known> {
    let row = connection
        .prepare_cached("SELECT org, dataset, sha256, erased, place, name FROM uploads WHERE id = ?")?
        .query_row([upload], |row| {
            let before = rows::moment_if_any(row, "erased")?;
            let label = (row.get("place")?, row.get("name")?);
            Ok(Known {
                org: Some(rows::parsed(row, "org")?),
                dataset: Some(rows::parsed(row, "dataset")?),
                sha256: Some(rows::parsed(row, "sha256")?),
                label: before.is_none().then_some(label),
                before,
            })
        })
        .optional()?;
    if let Some(known) = row {
        return Ok(known);
    }
    // It was aborted, removed or given up, or brought a companion: the log alone tells of it.
    let told = connection.prepare_cached(
        "SELECT max(org) AS org, max(dataset) AS dataset, min(CASE WHEN +kind = 'upload.erased' THEN at END) AS erased
         FROM events WHERE upload = ?",
    );
    Ok(told?.query_row([upload], |row| {
        Ok(Known {
            org: rows::parsed_if_any(row, "org")?,
            dataset: rows::parsed_if_any(row, "dataset")?,
            sha256: None,
            before: rows::moment_if_any(row, "erased")?,
            label: None,
        })
    })?)
}

/// What loaders had of it. A retry forgets the attempts, the log does not.
fn loading(connection: &Connection, upload: &str) -> Result<Loading> {
    let found = connection
        .prepare_cached(
            "SELECT state, EXISTS (SELECT 1 FROM events e WHERE e.delivery = d.id AND e.kind = 'delivery.claimed') AS claimed
             FROM deliveries d WHERE upload = ?",
        )?
        .query_row([upload], |row| Ok((rows::parsed(row, "state")?, row.get::<_, bool>("claimed")?)))
        .optional()?;
    Ok(match found {
        None => Loading::Never,
        Some((DeliveryState::Loaded, _)) => Loading::Loaded,
        Some((_, true)) => Loading::Claimed,
        Some((_, false)) => Loading::Queued,
    })
}

/// The newest tombstone of an upload.
fn tombstone(connection: &Connection, upload: &str) -> Result<u64> {
    let mut statement = connection
        .prepare_cached("SELECT coalesce(max(sequence), 0) FROM events WHERE upload = ? AND +kind = 'upload.erased'")?;
    Ok(statement.query_row([upload], |row| row.get::<_, Count>(0))?.0)
}

/// The numbers as runs, `17-24,30`, in as many texts as a tombstone's size asks for; one at least.
fn runs(numbers: &[u64]) -> Vec<String> {
    let mut texts = vec![String::new()];
    for run in numbers.chunk_by(|one, next| one + 1 == *next) {
        let text = match run {
            [one] => one.to_string(),
            [first, .., last] => format!("{first}-{last}"),
            [] => continue,
        };
        match texts.last_mut() {
            Some(list) if list.is_empty() => *list = text,
            Some(list) if list.len() + text.len() < PARTS_MAX => {
                list.push(',');
                list.push_str(&text);
            }
            _ => texts.push(text),
        }
    }
    texts
}

/// Empties what the tables of facts say privately of the upload; its place in the listing goes, and its companions.
fn forget_facts(connection: &Connection, upload: &str, now: Timestamp, parts: &mut Parts) -> Result<()> {
    let mut needle = |text: Option<String>| {
        let text = text.unwrap_or_default();
        parts.overflow |= has_overflow(text.len());
        if let Ok(value @ (Value::Array(_) | Value::Object(_))) = serde_json::from_str(&text) {
            parts::texts(&value, &mut parts.needles);
        } else {
            parts.needles.insert(text.into_bytes());
        }
    };
    let mut statement = connection.prepare_cached(
        "SELECT place, name, account, fingerprint, reasons, scan, restricted, md5, sha1, report FROM uploads
         WHERE id = ? AND erased IS NULL",
    )?;
    let columns = ["place", "name", "account", "fingerprint", "reasons", "scan", "restricted", "md5", "sha1", "report"];
    let texts = statement.query_row([upload], |row| {
        columns.iter().map(|column| row.get(*column)).collect::<rusqlite::Result<Vec<Option<String>>>>()
    });
    if let Some(texts) = texts.optional()? {
        let report: Report =
            texts.last().cloned().flatten().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let report = Report { rows: report.rows, ..Report::default() };
        texts.into_iter().for_each(&mut needle);
        connection
            .prepare_cached(
                "UPDATE uploads SET place = ?2, name = ?2, account = ?2, fingerprint = ?2, reasons = '[]', scan = NULL,
                     restricted = NULL, md5 = NULL, sha1 = NULL, report = ?3, erased = ?4 WHERE id = ?1",
            )?
            .execute(params![upload, ERASED, rows::Json(report), Micros(now)])?;
    }
    connection.prepare_cached("DELETE FROM names WHERE upload = ?")?.execute([upload])?;
    // Those that vouched for it; and, where it was one itself, what it said.
    let mut companions =
        connection.prepare_cached("DELETE FROM companions WHERE used = ?1 OR upload = ?1 RETURNING content")?;
    for content in all(&mut companions, [upload], |row| row.get::<_, String>(0))? {
        needle(Some(content));
    }
    let reason = connection
        .prepare_cached("SELECT last_reason FROM deliveries WHERE upload = ?")?
        .query_row([upload], |row| row.get::<_, Option<String>>(0))
        .optional()?
        .flatten();
    if reason.is_some() {
        needle(reason);
        connection.prepare_cached("UPDATE deliveries SET last_reason = NULL WHERE upload = ?")?.execute([upload])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
