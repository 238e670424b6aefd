//! Erasure: what is private of one upload is forgotten, and the log says so.
//!
//! The facts keep their public part, which the leaves prove; a tombstone event tells which private parts went. Must never
//! take a private part without a tombstone, nor leave a copy of one in the file: after the commit the file is searched for
//! what was erased, and rebuilt if a copy is left in the free space of a page. Called by the facade.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use regex::bytes::{Regex, RegexBuilder};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use super::objects;
use super::rows::{self, Count, Micros, all};
use super::writer::Tx;
use super::{Erased, ErasureStep, LedgerError, Result, file};
use crate::audit::leaf::ERASED;
use crate::audit::{Event, Kind, Report};
use crate::types::*;

/// Most characters of a tombstone's list of parts; what does not fit goes into a further one.
const PARTS_MAX: usize = 32 * 1024;

/// Texts shorter than this are in every file by chance.
const TELLING: usize = 4;

/// What the transaction erased.
pub(super) struct Taken {
    pub erased: Erased,
    /// What must be nowhere in the file any more: salts, and private texts.
    needles: BTreeSet<Vec<u8>>,
}

/// None when there is no such upload that came to an end.
pub(super) fn erase(tx: &Tx<'_>, upload: UploadId, actor: Actor, why: &str, now: Timestamp) -> Result<Option<Taken>> {
    let connection = tx.connection;
    let id = upload.to_string();
    let found = connection
        .prepare_cached("SELECT org, dataset, sha256, erased FROM uploads WHERE id = ?")?
        .query_row([&id], |row| {
            let erased = rows::moment_if_any(row, "erased")?;
            Ok((rows::parsed(row, "org")?, rows::parsed(row, "dataset")?, rows::parsed(row, "sha256")?, erased))
        })
        .optional()?;
    let Some((org, dataset, sha256, before)): Option<(OrgId, DatasetName, Sha256, Option<Timestamp>)> = found else {
        return Ok(None);
    };
    let mut needles = BTreeSet::new();
    let parts = parts(connection, &id, &mut needles)?;
    let told_before = before.is_some() && parts.is_empty();
    let object = !told_before && objects::erase(tx, upload, actor.clone(), now)?;
    let mut erased =
        Erased { upload, org, sha256, parts: parts.len() as u64, object, at: before.unwrap_or(now), sequence: 0 };
    if told_before {
        erased.sequence = tombstone(connection, &id)?;
        return Ok(Some(Taken { erased, needles }));
    }
    for runs in runs(&parts) {
        let event = Event::new(now, Kind::UploadErased, actor.clone())
            .org(&erased.org)
            .dataset(&dataset)
            .upload(upload)
            .with("sha256", sha256.to_string())
            .with("erased", erased.parts)
            .with("parts", runs)
            .with("reason", why);
        erased.sequence = super::events::insert(connection, &event)?;
    }
    let mut delete = connection.prepare_cached("DELETE FROM details WHERE sequence = ?")?;
    for sequence in parts {
        delete.execute([Count(sequence)])?;
    }
    forget_facts(connection, &id, before.is_none().then_some(now), &mut needles)?;
    needles.retain(|needle| needle.len() >= TELLING);
    Ok(Some(Taken { erased, needles }))
}

/// The newest tombstone of an upload.
fn tombstone(connection: &Connection, upload: &str) -> Result<u64> {
    let mut statement = connection
        .prepare_cached("SELECT coalesce(max(sequence), 0) FROM events WHERE upload = ? AND +kind = 'upload.erased'")?;
    Ok(statement.query_row([upload], |row| row.get::<_, Count>(0))?.0)
}

/// Uploads that brought a companion of this one's name. Which file one was for, when another of its kind has taken its
/// place since, is not recorded: all go but those that wait, or stand beside another upload.
const COMPANIONS: &str = "SELECT upload FROM companions WHERE used = ?1 UNION SELECT e.upload FROM uploads u
     JOIN events e ON e.kind = 'companion.received' AND +e.org = u.org AND +e.dataset = u.dataset
     JOIN details d ON d.sequence = e.sequence
     WHERE u.id = ?1 AND u.erased IS NULL AND e.upload IS NOT NULL
       AND d.body ->> '$.detail.about' = u.name AND d.body ->> '$.detail.place' = u.place
       AND NOT EXISTS (SELECT 1 FROM companions c WHERE c.upload = e.upload AND c.used IS NOT ?1)";

/// Events whose private parts tell of the upload: those that name it or one of its companions, but for tombstones; and
/// those of its sessions that name no upload, where no other upload of the session stays. Their salts and texts become
/// needles.
fn parts(connection: &Connection, upload: &str, needles: &mut BTreeSet<Vec<u8>>) -> Result<Vec<u64>> {
    let mut uploads = vec![upload.to_owned()];
    let mut companions = connection.prepare_cached(COMPANIONS)?;
    uploads.extend(all(&mut companions, [upload], |row| row.get::<_, String>(0))?);

    let mut found = BTreeSet::new();
    let mut sessions = BTreeSet::new();
    for upload in &uploads {
        let mut statement = connection.prepare_cached(
            "SELECT e.sequence, e.kind, d.salt, d.body FROM events e JOIN details d ON d.sequence = e.sequence
             WHERE e.upload = ? AND +e.kind <> 'upload.erased'",
        )?;
        let mut rows = statement.query([upload])?;
        while let Some(row) = rows.next()? {
            let (kind, body): (String, String) = (row.get("kind")?, row.get("body")?);
            let read: Value = serde_json::from_str(&body).unwrap_or_default();
            if kind == Kind::ObjectRemoved.as_str() && read["detail"]["reason"] == ERASED {
                // An earlier erasure's own.
                continue;
            }
            found.insert(row.get::<_, Count>("sequence")?.0);
            let body = remember(row.get("salt")?, body, needles);
            // A loader's session is about what it takes, not about who sent it.
            let of_sender = ["upload.", "draft.", "companion."].iter().any(|sender| kind.starts_with(sender));
            if let Some(session) = body["actor"]["session"].as_str().filter(|_| of_sender) {
                sessions.insert(session.to_owned());
            }
        }
    }
    for session in sessions {
        found.extend(of_session(connection, &session, &uploads, needles)?);
    }
    Ok(found.into_iter().collect())
}

/// Events of a session without an upload; none when the session sent another upload, which stays.
fn of_session(
    connection: &Connection,
    session: &str,
    uploads: &[String],
    needles: &mut BTreeSet<Vec<u8>>,
) -> Result<Vec<u64>> {
    // Ids tell their time: nothing of the session is older, but for a clock that was set meanwhile.
    let begun = session.parse::<SessionId>().ok().and_then(|session| session.time());
    let since = begun.and_then(|begun| begun.checked_sub(std::time::Duration::from_secs(3600)).ok());
    let first = match since {
        Some(since) => connection
            .prepare_cached(super::events::FIRST_SINCE)?
            .query_row([Micros(since)], |row| row.get::<_, Option<Count>>(0))?
            .unwrap_or(Count(0)),
        None => Count(0),
    };
    let mut statement = connection.prepare_cached(
        "SELECT d.sequence, d.salt, d.body, e.upload FROM details d JOIN events e ON e.sequence = d.sequence
         WHERE d.sequence >= ? AND instr(d.body, ?) > 0",
    )?;
    let mut rows = statement.query(params![first, session])?;
    let mut of_session = Vec::new();
    let mut parts = Vec::new();
    while let Some(row) = rows.next()? {
        let (salt, body): ([u8; 32], String) = (row.get("salt")?, row.get("body")?);
        let read: Value = serde_json::from_str(&body).unwrap_or_default();
        if read["actor"]["session"].as_str() != Some(session) {
            continue;
        }
        match row.get::<_, Option<String>>("upload")? {
            Some(upload) if !uploads.contains(&upload) => return Ok(Vec::new()),
            Some(_) => {}
            None => {
                of_session.push(row.get::<_, Count>("sequence")?.0);
                parts.push((salt, body));
            }
        }
    }
    for (salt, body) in parts {
        remember(salt, body, needles);
    }
    Ok(of_session)
}

/// Adds a private part's salt and all its texts to the needles; its JSON.
fn remember(salt: [u8; 32], body: String, needles: &mut BTreeSet<Vec<u8>>) -> Value {
    needles.insert(salt.to_vec());
    let value = serde_json::from_str(&body).unwrap_or_default();
    texts(&value, needles);
    value
}

/// Every text in a value, as it stands in JSON and as it is.
fn texts(value: &Value, needles: &mut BTreeSet<Vec<u8>>) {
    match value {
        Value::String(text) => {
            needles.insert(text.clone().into_bytes());
            let quoted = value.to_string();
            needles.insert(quoted.as_bytes()[1..quoted.len() - 1].to_vec());
        }
        Value::Array(list) => list.iter().for_each(|item| texts(item, needles)),
        Value::Object(fields) => fields.values().for_each(|item| texts(item, needles)),
        _ => {}
    }
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
fn forget_facts(
    connection: &Connection,
    upload: &str,
    now: Option<Timestamp>,
    needles: &mut BTreeSet<Vec<u8>>,
) -> Result<()> {
    let needle = |text: Option<String>, needles: &mut BTreeSet<Vec<u8>>| {
        let text = text.unwrap_or_default();
        if let Ok(value @ (Value::Array(_) | Value::Object(_))) = serde_json::from_str(&text) {
            texts(&value, needles);
        } else {
            needles.insert(text.into_bytes());
        }
    };
    if let Some(now) = now {
        let mut statement = connection.prepare_cached(
            "SELECT place, name, account, fingerprint, reasons, scan, restricted, md5, sha1, report ->> '$.rows' AS rows
             FROM uploads WHERE id = ?",
        )?;
        let rows = statement.query_row([upload], |row| {
            for column in ["place", "name", "account", "fingerprint", "reasons", "scan", "restricted", "md5", "sha1"] {
                needle(row.get(column)?, needles);
            }
            Ok(row.get::<_, Option<Count>>("rows")?.map(|rows| rows.0))
        })?;
        let report = Report { rows, ..Report::default() };
        connection
            .prepare_cached(
                "UPDATE uploads SET place = ?2, name = ?2, account = ?2, fingerprint = ?2, reasons = '[]', scan = NULL,
                     restricted = NULL, md5 = NULL, sha1 = NULL, report = ?3, erased = ?4 WHERE id = ?1",
            )?
            .execute(params![upload, ERASED, rows::Json(report), Micros(now)])?;
    }
    connection.prepare_cached("DELETE FROM names WHERE upload = ?")?.execute([upload])?;
    let mut companions = connection.prepare_cached("DELETE FROM companions WHERE used = ? RETURNING content")?;
    for content in all(&mut companions, [upload], |row| row.get::<_, String>(0))? {
        needle(Some(content), needles);
    }
    let reason = connection
        .prepare_cached("SELECT last_reason FROM deliveries WHERE upload = ?")?
        .query_row([upload], |row| row.get::<_, Option<String>>(0))
        .optional()?
        .flatten();
    if reason.is_some() {
        needle(reason, needles);
        connection.prepare_cached("UPDATE deliveries SET last_reason = NULL WHERE upload = ?")?.execute([upload])?;
    }
    Ok(())
}

/// Sees to it that no byte of what was erased is left in the ledger's files. Blocking; run without a transaction.
///
/// # Errors
/// The files cannot be rewritten, because others read or write all the time; or something is left all the same.
pub(super) fn scrub(ledger: &Path, taken: &Taken, step: &mut dyn FnMut(ErasureStep)) -> Result<()> {
    let connection = file::open_writer(ledger)?;
    take_in(&connection)?;
    let mut needles = None;
    // Nothing new was erased: an erasure before may have been cut short, and what it looked for is not known any more.
    if !taken.needles.is_empty() {
        step(ErasureStep::Searching);
        needles = still_gone(&connection, &taken.needles)?;
        if search(ledger, &needles)?.is_none() {
            return Ok(());
        }
    }
    step(ErasureStep::Rebuilding);
    connection.execute_batch("VACUUM")?;
    take_in(&connection)?;
    match search(ledger, &needles)? {
        None => Ok(()),
        Some(file) => Err(LedgerError::Storage(format!(
            "something of what was erased is still in {}: stop the daemon and erase the upload again",
            file.display()
        ))),
    }
}

/// Brings the write-ahead log into the file and empties it.
fn take_in(connection: &Connection) -> Result<()> {
    let busy = || -> Result<bool> {
        Ok(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))? != 0)
    };
    for _ in 0..TAKES {
        if !busy()? {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    Err(LedgerError::Storage("its write-ahead log is in use all the time: erase the upload again".into()))
}

/// How often the write-ahead log is tried to be taken in, and the pause between: a long listing may read meanwhile.
const TAKES: usize = 100;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// The needles that no row has: a text that other uploads have too (an account's name, a client's) stays with them.
fn still_gone(connection: &Connection, needles: &BTreeSet<Vec<u8>>) -> Result<Option<Regex>> {
    let mut gone: BTreeSet<Vec<u8>> = needles.clone();
    let mut tables = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let tables = all(&mut tables, [], |row| row.get::<_, String>(0))?;
    for table in tables {
        let Some(pattern) = pattern(&gone)? else { return Ok(None) };
        let mut statement = connection.prepare(&format!("SELECT * FROM {table}"))?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                let (ValueRef::Text(bytes) | ValueRef::Blob(bytes)) = row.get_ref(column)? else { continue };
                // Rare, and then there may be several: each is looked for by itself.
                if pattern.is_match(bytes) {
                    gone.retain(|needle| !contains(bytes, needle));
                }
            }
        }
    }
    pattern(&gone)
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// One pattern for all needles; none for none.
fn pattern(needles: &BTreeSet<Vec<u8>>) -> Result<Option<Regex>> {
    if needles.is_empty() {
        return Ok(None);
    }
    let escaped = |needle: &Vec<u8>| needle.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let text = needles.iter().map(escaped).collect::<Vec<_>>().join("|");
    let pattern = RegexBuilder::new(&text).unicode(false).size_limit(usize::MAX).build();
    pattern.map(Some).map_err(|error| LedgerError::Storage(format!("what was erased cannot be searched for: {error}")))
}

/// The first of the ledger's files that has one of the needles.
fn search(ledger: &Path, needles: &Option<Regex>) -> Result<Option<PathBuf>> {
    let Some(pattern) = needles else { return Ok(None) };
    let failed = |error: std::io::Error| LedgerError::Storage(format!("its file cannot be searched: {error}"));
    for suffix in ["", "-wal"] {
        let mut name = ledger.as_os_str().to_owned();
        name.push(suffix);
        let path = PathBuf::from(name);
        match found_in(&path, pattern) {
            Ok(true) => return Ok(Some(path)),
            Ok(false) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(None)
}

/// Reads a file in pieces that overlap by more than any needle is long.
fn found_in(path: &Path, pattern: &Regex) -> std::io::Result<bool> {
    const PIECE: u64 = 1 << 20;
    const OVERLAP: u64 = 64 * 1024;
    let file = opened(path)?;
    let size = file.metadata()?.len();
    let mut piece = Vec::new();
    for start in (0..size).step_by(PIECE as usize) {
        piece.resize((size - start).min(PIECE + OVERLAP) as usize, 0);
        let mut read = 0;
        while read < piece.len() {
            match file.read_at(&mut piece[read..], start + read as u64)? {
                0 => break,
                more => read += more,
            }
        }
        if pattern.is_match(&piece[..read]) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Opens a file of the ledger for reading, once in the life of the process: closing a descriptor of the database would
/// drop the locks that SQLite holds on it for this process (POSIX fcntl).
fn opened(path: &Path) -> std::io::Result<Arc<File>> {
    /// Device and number of a file, and the file.
    type Opened = ((u64, u64), Arc<File>);
    static OPENED: Mutex<Vec<Opened>> = Mutex::new(Vec::new());
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let metadata = std::fs::metadata(path)?;
    let inode = (metadata.dev(), metadata.ino());
    if let Some((_, file)) = opened.iter().find(|(known, _)| *known == inode) {
        return Ok(Arc::clone(file));
    }
    let file = Arc::new(File::open(path)?);
    opened.push((inode, Arc::clone(&file)));
    Ok(file)
}

#[cfg(test)]
mod tests;
