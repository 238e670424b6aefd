//! Uploads: recording their end, and listing them for providers and operators.
//!
//! Must never record an upload without its event (an accepted one without its object and delivery, a quarantined one
//! without its object), nor show an organisation another's. Called by the facade.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::filter::{Where, bound};
use super::rows::{self, Count, Json, Micros, RECEIPT, all, json_list, rows_at_most, whole_micros};
use super::writer::Tx;
use super::{Ended, Filter, LedgerError, Listed, Result, UploadRow, companions};
use crate::audit::{Event, Kind, Receipt, Restricted, Verdict};
use crate::types::*;

/// A page of a directory, by key: the primary key of `names` leads straight to its beginning.
pub(super) const LIST: &str = "SELECT n.name, n.upload, n.modified, u.dataset, u.size
     FROM names n JOIN uploads u ON u.id = n.upload
     WHERE n.org = ? AND n.place = ? AND n.name > ? AND n.accepted > ?
     ORDER BY n.name LIMIT ?";

/// Rules that an event names at most; a dataset has no more by far.
const RULES_TOLD: usize = 100;

/// A page of an organisation's receipts, by id.
const RECEIPTS: &str = "u.org = ? AND u.id > ? AND u.time > ? AND u.erased IS NULL ORDER BY u.id LIMIT ?";

pub(super) fn accept(tx: &Tx<'_>, ended: Ended) -> Result<(Receipt, DeliveryId)> {
    let Ended { mut receipt, place, sealed_size, restricted, md5, sha1, vouched, envelope, actor } = ended;
    receipt.verdict = Verdict::Accepted;
    receipt.time = whole_micros(receipt.time);
    let at = receipt.time;
    let place = place.path();
    let kept = Kept::new(&restricted, md5, sha1);
    let upload = receipt.upload.to_string();
    let (org, name) = (receipt.organisation.as_str(), receipt.name.as_str());
    let delivery = DeliveryId::new(at);

    let mut earlier =
        tx.connection.prepare_cached("SELECT upload FROM names WHERE org = ? AND place = ? AND name = ?")?;
    let earlier = earlier.query_row(params![org, place, name], |row| rows::parsed(row, "upload")).optional()?;
    receipt.supersedes = earlier;

    insert(tx, &receipt, &place, sealed_size, &kept)?;
    insert_object(tx, &receipt, sealed_size)?;
    let companions = companions::used(tx, &vouched, receipt.upload)?;
    tx.connection
        .prepare_cached(
            "INSERT INTO names (org, place, name, upload, accepted, modified) VALUES (?1, ?2, ?3, ?4, ?5, ?5)
             ON CONFLICT DO UPDATE SET upload = excluded.upload, accepted = excluded.accepted, modified = excluded.modified",
        )?
        .execute(params![org, place, name, upload, Micros(at)])?;
    tx.connection
        .prepare_cached(
            "INSERT INTO deliveries (id, upload, org, dataset, state, available) VALUES (?, ?, ?, ?, 'ready', ?)",
        )?
        .execute(params![delivery.to_string(), upload, org, receipt.dataset.as_str(), Micros(at)])?;

    let event = event_of(Kind::UploadAccepted, &receipt, &place, kept, envelope, actor)?
        .delivery(delivery)
        .with("sealed_size", sealed_size)
        .with("supersedes", receipt.supersedes.map(|id| id.to_string()))
        .with("companions", companions);
    tx.record(&event)?;
    tx.wake();
    Ok((receipt, delivery))
}

/// Errors by rule: names and counts alone.
fn rules_broken(receipt: &Receipt) -> serde_json::Map<String, serde_json::Value> {
    let mut rules = BTreeMap::<&str, u64>::new();
    for group in &receipt.report.groups {
        *rules.entry(group.rule.as_str()).or_default() += group.count;
    }
    rules.into_iter().take(RULES_TOLD).map(|(rule, count)| (rule.to_owned(), count.into())).collect()
}

fn insert_object(tx: &Tx<'_>, receipt: &Receipt, sealed_size: u64) -> Result<()> {
    tx.connection
        .prepare_cached("INSERT INTO objects (upload, org, sealed_size) VALUES (?, ?, ?)")?
        .execute(params![receipt.upload.to_string(), receipt.organisation.as_str(), Count(sealed_size)])?;
    Ok(())
}

pub(super) fn reject(tx: &Tx<'_>, ended: Ended) -> Result<Receipt> {
    let Ended { mut receipt, place, sealed_size, restricted, md5, sha1, envelope, actor, vouched: _ } = ended;
    receipt.verdict = Verdict::Rejected;
    receipt.time = whole_micros(receipt.time);
    receipt.supersedes = None;
    let place = place.path();
    let kept = Kept::new(&restricted, md5, sha1);
    let sealed_size = if receipt.quarantined { sealed_size } else { 0 };
    insert(tx, &receipt, &place, sealed_size, &kept)?;
    if receipt.quarantined {
        insert_object(tx, &receipt, sealed_size)?;
    }
    let envelope = envelope.filter(|_| receipt.quarantined);
    let event = event_of(Kind::UploadRejected, &receipt, &place, kept, envelope, actor)?
        .with("errors", receipt.report.errors)
        .with("rules", rules_broken(&receipt))
        .with("quarantined", receipt.quarantined)
        .with("sealed_size", sealed_size);
    tx.record(&event)?;
    Ok(receipt)
}

fn insert(tx: &Tx<'_>, receipt: &Receipt, place: &str, sealed_size: u64, kept: &Kept) -> Result<()> {
    let mut statement = tx.connection.prepare_cached(
        "INSERT INTO uploads (id, verdict, gateway, org, dataset, place, name, size, sha256, sealed_size, time, account,
             fingerprint, supersedes, reasons, report, scan, quarantined, restricted, md5, sha1)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    statement.execute(params![
        receipt.upload.to_string(),
        receipt.verdict.as_str(),
        receipt.gateway,
        receipt.organisation.as_str(),
        receipt.dataset.as_str(),
        place,
        receipt.name.as_str(),
        Count(receipt.size),
        receipt.sha256.to_string(),
        Count(sealed_size),
        Micros(receipt.time),
        receipt.account.as_str(),
        receipt.fingerprint.0,
        receipt.supersedes.map(|id| id.to_string()),
        json_list(&receipt.reasons),
        receipt.report_text().map_err(|error| LedgerError::Storage(error.0))?,
        receipt.scan.as_ref().map(Json),
        receipt.quarantined,
        kept.restricted,
        kept.md5,
        kept.sha1,
    ])?;
    Ok(())
}

/// What the record of an upload has besides its receipt.
struct Kept {
    /// Lines of record numbers.
    restricted: Option<String>,
    md5: Option<String>,
    sha1: Option<String>,
}

impl Kept {
    fn new(restricted: &Restricted, md5: Option<String>, sha1: Option<String>) -> Self {
        Self { restricted: (restricted.count > 0).then(|| restricted.text()), md5, sha1 }
    }
}

/// The event of an upload's end. It says all that the receipt says, so that its leaf and private part prove a receipt; the
/// report by its digest. And all else that is recorded, the rows that are restricted by their digest.
fn event_of(
    kind: Kind,
    receipt: &Receipt,
    place: &str,
    kept: Kept,
    envelope: Option<Envelope>,
    actor: Actor,
) -> Result<Event> {
    let json = |value: serde_json::Result<serde_json::Value>| {
        value.map_err(|error| LedgerError::Storage(format!("what was found cannot be written as JSON: {error}")))
    };
    let mut event = Event::new(receipt.time, kind, actor)
        .org(&receipt.organisation)
        .dataset(&receipt.dataset)
        .upload(receipt.upload)
        .with("gateway", receipt.gateway.clone())
        .with("account", receipt.account.as_str())
        .with("fingerprint", receipt.fingerprint.0.clone())
        .with("place", place)
        .with("name", receipt.name.as_str())
        .with("size", receipt.size)
        .with("sha256", receipt.sha256.to_string())
        .with("reasons", receipt.reasons.clone())
        .with("rows", receipt.report.rows)
        .with("restricted", receipt.report.restricted)
        .with("flags", receipt.report.flag_names())
        .with("scan", json(receipt.scan.as_ref().map(serde_json::to_value).transpose().map(Option::unwrap_or_default))?)
        .with("report", receipt.report_digest().map_err(|error| LedgerError::Storage(error.0))?.to_string())
        .with("restricted_rows", kept.restricted.map(|text| Sha256::of(text.as_bytes()).to_string()))
        .with("md5", kept.md5)
        .with("sha1", kept.sha1);
    if let Some(Envelope { header, recipients }) = envelope {
        let recipients: Vec<String> = recipients.iter().map(ToString::to_string).collect();
        event = event.with("header", header.to_string()).with("recipients", recipients);
    }
    Ok(event)
}

pub(super) fn touch(tx: &Tx<'_>, upload: UploadId, modified: Timestamp) -> Result<()> {
    // Only what is listed: when a later upload took the name, there is nothing to touch.
    let mut statement = tx.connection.prepare_cached(
        "UPDATE names SET modified = ?2 WHERE upload = ?1
         AND (org, place, name) = (SELECT org, place, name FROM uploads WHERE id = ?1)",
    )?;
    statement.execute(params![upload.to_string(), Micros(modified)])?;
    Ok(())
}

/// What is listed is what was accepted after a time: nothing was at 0. The row stays, so that the next upload of the name
/// knows which one it supersedes.
pub(super) fn unlist(tx: &Tx<'_>, upload: UploadId, actor: Actor, now: Timestamp) -> Result<bool> {
    let mut statement = tx.connection.prepare_cached(
        "UPDATE names SET accepted = 0 WHERE upload = ?1 AND accepted > 0
         AND (org, place, name) = (SELECT org, place, name FROM uploads WHERE id = ?1)
         RETURNING org, place, name",
    )?;
    let row = statement.query_row([upload.to_string()], |row| {
        Ok((rows::parsed::<OrgId>(row, "org")?, row.get::<_, String>("place")?, row.get::<_, String>("name")?))
    });
    let Some((org, place, name)) = row.optional()? else { return Ok(false) };
    let event = Event::new(now, Kind::UploadUnlisted, actor).org(&org).upload(upload);
    tx.record(&event.with("place", place).with("name", name))?;
    Ok(true)
}

pub(super) fn find(
    connection: &Connection,
    org: &OrgId,
    place: &Place,
    name: &FileName,
    since: Timestamp,
) -> Result<Option<Listed>> {
    let mut statement = connection.prepare_cached(
        "SELECT n.name, n.upload, n.modified, u.dataset, u.size FROM names n JOIN uploads u ON u.id = n.upload
         WHERE n.org = ? AND n.place = ? AND n.name = ? AND n.accepted > ?",
    )?;
    let params = params![org.as_str(), place.path(), name.as_str(), Micros(since)];
    Ok(statement.query_row(params, rows::listed).optional()?)
}

/// The digests of an organisation's upload.
pub(super) fn digests(connection: &Connection, org: &OrgId, upload: UploadId) -> Result<Option<Digests>> {
    let mut statement = connection.prepare_cached("SELECT sha256, sha1, md5 FROM uploads WHERE id = ? AND org = ?")?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Digests { sha256: rows::parsed(row, "sha256")?, sha1: row.get("sha1")?, md5: row.get("md5")? })
    };
    Ok(statement.query_row(params![upload.to_string(), org.as_str()], read).optional()?)
}

pub(super) fn list(
    connection: &Connection,
    org: &OrgId,
    place: &Place,
    since: Timestamp,
    after: Option<&FileName>,
    limit: usize,
) -> Result<Vec<Listed>> {
    let mut statement = connection.prepare_cached(LIST)?;
    // No name is empty: all come after it.
    let after = after.map_or("", FileName::as_str);
    all(&mut statement, params![org.as_str(), place.path(), after, Micros(since), rows_at_most(limit)], rows::listed)
}

pub(super) fn receipt(
    connection: &Connection,
    org: &OrgId,
    upload: UploadId,
    since: Timestamp,
) -> Result<Option<Receipt>> {
    let sql =
        format!("SELECT {RECEIPT} FROM uploads u WHERE u.id = ? AND u.org = ? AND u.time > ? AND u.erased IS NULL");
    let mut statement = connection.prepare_cached(&sql)?;
    let params = params![upload.to_string(), org.as_str(), Micros(since)];
    Ok(statement.query_row(params, rows::receipt).optional()?)
}

pub(super) fn receipts(
    connection: &Connection,
    org: &OrgId,
    since: Timestamp,
    after: Option<UploadId>,
    limit: usize,
) -> Result<Vec<Receipt>> {
    let sql = format!("SELECT {RECEIPT} FROM uploads u WHERE {RECEIPTS}");
    let mut statement = connection.prepare_cached(&sql)?;
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    all(&mut statement, params![org.as_str(), after, Micros(since), rows_at_most(limit)], rows::receipt)
}

pub(super) fn restricted(connection: &Connection, upload: UploadId) -> Result<Option<String>> {
    let mut statement = connection.prepare_cached("SELECT restricted FROM uploads WHERE id = ?")?;
    let found = statement.query_row([upload.to_string()], |row| row.get::<_, Option<String>>("restricted"));
    Ok(found.optional()?.flatten())
}

/// For operators: in the order of recording, the newest `limit`.
pub(super) fn select(connection: &Connection, filter: &Filter) -> Result<Vec<UploadRow>> {
    let conditions = Where::new()
        .text("u.org = ?", filter.org.as_ref())
        .text("u.dataset = ?", filter.dataset.as_ref())
        .text("u.account = ?", filter.account.as_ref())
        .text("u.id = ?", filter.upload)
        .text("u.id = (SELECT upload FROM deliveries WHERE id = ?)", filter.delivery)
        .text("u.verdict = ?", filter.verdict.map(Verdict::as_str))
        .moment("u.time >= ?", filter.since);
    let conditions = match filter.quarantined {
        true => conditions.fixed("u.quarantined = 1 AND o.removed IS NULL"),
        false => conditions,
    };
    let (conditions, values) = conditions.limit(filter.limit.unwrap_or(usize::MAX));
    let sql = format!(
        "SELECT {RECEIPT}, u.place, u.sealed_size, u.erased, o.removed FROM uploads u LEFT JOIN objects o ON o.upload = u.id
         {conditions} ORDER BY u.number DESC LIMIT ?"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut uploads = all(&mut statement, bound(&values), rows::upload_row)?;
    uploads.reverse();
    Ok(uploads)
}

#[cfg(test)]
mod tests;
