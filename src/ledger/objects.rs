//! Objects: what the vault must hold, for whom, and how it leaves.
//!
//! Must never let an object go without its event, nor one that a loader may still want. The ledger says first that an
//! object leaves; its file goes after. Called by the facade.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{self, Count, Micros, all};
use super::writer::Tx;
use super::{LedgerError, Result};
use crate::audit::leaf::ERASED;
use crate::audit::{Event, Kind};
use crate::types::*;

pub(super) fn stored_bytes(connection: &Connection, org: &OrgId) -> Result<u64> {
    let mut statement = connection.prepare_cached("SELECT bytes FROM stored WHERE org = ?")?;
    let bytes = statement.query_row([org.as_str()], |row| row.get::<_, Count>("bytes")).optional()?;
    Ok(bytes.map_or(0, |bytes| bytes.0))
}

pub(super) fn expected_objects(connection: &Connection) -> Result<BTreeSet<UploadId>> {
    let mut statement = connection.prepare_cached("SELECT upload FROM objects WHERE removed IS NULL")?;
    Ok(all(&mut statement, [], |row| rows::parsed(row, "upload"))?.into_iter().collect())
}

pub(super) fn loaded_before(connection: &Connection, org: &OrgId, before: Timestamp) -> Result<Vec<UploadId>> {
    // From the objects that are there, which the quota bounds, rather than from all that was ever loaded.
    let mut statement = connection.prepare_cached(
        "SELECT o.upload FROM objects o JOIN deliveries d ON d.upload = o.upload
         WHERE o.org = ? AND o.removed IS NULL AND d.state = 'loaded' AND d.loaded < ? ORDER BY d.loaded",
    )?;
    all(&mut statement, params![org.as_str(), Micros(before)], |row| rows::parsed(row, "upload"))
}

/// Quarantined uploads recorded before then whose object is still there, the oldest first.
pub(super) fn quarantined_before(connection: &Connection, org: &OrgId, before: Timestamp) -> Result<Vec<UploadId>> {
    // As above: from the objects that are there.
    let mut statement = connection.prepare_cached(QUARANTINED)?;
    all(&mut statement, params![org.as_str(), Micros(before)], |row| rows::parsed(row, "upload"))
}

pub(super) const QUARANTINED: &str = "SELECT o.upload FROM objects o JOIN uploads u ON u.id = o.upload
     WHERE o.org = ? AND o.removed IS NULL AND u.quarantined = 1 AND u.time < ?";

pub(super) fn removed(tx: &Tx<'_>, upload: UploadId, why: &str, now: Timestamp) -> Result<()> {
    match Kept::find(tx, upload)? {
        None => Err(LedgerError::Storage(format!("no object of the upload {upload} is recorded"))),
        // Said before, and interrupted before the file was gone: once is enough.
        Some(kept) if kept.removed => Ok(()),
        Some(kept) => kept.remove(tx, upload, Actor::gateway(), why, now),
    }
}

/// False when it is not a quarantined upload that is still kept.
pub(super) fn discard(tx: &Tx<'_>, upload: UploadId, actor: Actor, why: &str, now: Timestamp) -> Result<bool> {
    match Kept::find(tx, upload)? {
        Some(kept) if kept.quarantined && !kept.removed => {
            kept.remove(tx, upload, actor, why, now)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Marks the object of an upload that is erased as removed, if it is still there; whether it was. The caller then removes
/// the file.
pub(super) fn erase(tx: &Tx<'_>, upload: UploadId, actor: Actor, now: Timestamp) -> Result<bool> {
    match Kept::find(tx, upload)? {
        Some(kept) if !kept.removed => kept.remove(tx, upload, actor, ERASED, now).map(|()| true),
        _ => Ok(false),
    }
}

/// An object and what its removal's event says of it.
struct Kept {
    org: OrgId,
    dataset: DatasetName,
    /// None when it is quarantined.
    delivery: Option<DeliveryId>,
    sealed_size: u64,
    quarantined: bool,
    removed: bool,
}

impl Kept {
    fn find(tx: &Tx<'_>, upload: UploadId) -> Result<Option<Self>> {
        let mut statement = tx.connection.prepare_cached(
            "SELECT o.org, u.dataset, d.id AS delivery, o.sealed_size, u.quarantined, o.removed
             FROM objects o JOIN uploads u ON u.id = o.upload LEFT JOIN deliveries d ON d.upload = o.upload
             WHERE o.upload = ?",
        )?;
        let found = statement.query_row([upload.to_string()], |row| {
            Ok(Self {
                org: rows::parsed(row, "org")?,
                dataset: rows::parsed(row, "dataset")?,
                delivery: rows::parsed_if_any(row, "delivery")?,
                sealed_size: row.get::<_, Count>("sealed_size")?.0,
                quarantined: row.get("quarantined")?,
                removed: rows::moment_if_any(row, "removed")?.is_some(),
            })
        });
        Ok(found.optional()?)
    }

    fn remove(self, tx: &Tx<'_>, upload: UploadId, actor: Actor, why: &str, now: Timestamp) -> Result<()> {
        tx.connection
            .prepare_cached("UPDATE objects SET removed = ? WHERE upload = ?")?
            .execute(params![Micros(now), upload.to_string()])?;
        let event = Event::new(now, Kind::ObjectRemoved, actor)
            .org(&self.org)
            .dataset(&self.dataset)
            .upload(upload)
            .with("sealed_size", self.sealed_size)
            .with("quarantined", self.quarantined)
            .with("reason", why);
        tx.record(&Event { delivery: self.delivery, ..event })
    }
}
