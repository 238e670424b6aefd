//! No copy of what was erased is left in a byte of the ledger's files: they are searched, and rebuilt where need be.
//!
//! Runs after the commit, without a transaction; until it is done, a row of `scrubs` says that it is owed. Must never hold
//! the write lock while it waits for others: a reader that is idle would stop the gateway. Called by the facade.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use regex::bytes::{Regex, RegexBuilder};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::super::rows::all;
use super::super::{ErasureStep, LedgerError, Result, file};
use super::Taken;

/// How long others may go on reading what the write-ahead log has, until the scrub is given up.
pub(in crate::ledger) const PATIENCE: Duration = Duration::from_secs(60);

/// From then on it is told that others are waited for.
const NOTICED: Duration = Duration::from_secs(1);

/// How long one attempt at the write-ahead log may take, which holds the write lock; and the pause between two, in which
/// others write.
const ATTEMPT: Duration = Duration::from_millis(50);
const PAUSE: Duration = Duration::from_millis(200);

/// Whether an erasure's copies have not been sought out yet.
pub(super) fn is_owed(connection: &Connection) -> Result<bool> {
    Ok(connection.prepare_cached("SELECT 1 FROM scrubs LIMIT 1")?.exists([])?)
}

/// Sees to it that no byte of what was erased is left in the ledger's files. Blocking.
///
/// # Errors
/// Others read all the time; or something is left all the same. What is owed stays owed.
pub(in crate::ledger) fn scrub(
    ledger: &Path,
    taken: &Taken,
    patience: Duration,
    step: &mut dyn FnMut(ErasureStep),
) -> Result<()> {
    let connection = file::open_writer(ledger)?;
    take_in(&connection, patience, step)?;
    if !taken.rebuild {
        step(ErasureStep::Searching);
        if search(ledger, &still_gone(&connection, &taken.needles)?)?.is_none() {
            let done = "DELETE FROM scrubs WHERE upload = ?";
            connection.execute(done, [taken.erased.upload.to_string()])?;
            return Ok(());
        }
    }
    rebuild(&connection, ledger, &taken.needles, patience, step)
}

/// Finishes erasures that were cut short, if there are such: what they looked for is not known any more. Whether there
/// were. Blocking.
///
/// # Errors
/// As [`scrub`].
pub(in crate::ledger) fn finish(ledger: &Path, patience: Duration) -> Result<bool> {
    let connection = file::open_writer(ledger)?;
    if !is_owed(&connection)? {
        return Ok(false);
    }
    take_in(&connection, patience, &mut |_| ())?;
    rebuild(&connection, ledger, &BTreeSet::new(), patience, &mut |_| ())?;
    Ok(true)
}

/// Writes the file anew, with what its rows say and nothing else.
fn rebuild(
    connection: &Connection,
    ledger: &Path,
    needles: &BTreeSet<Vec<u8>>,
    patience: Duration,
    step: &mut dyn FnMut(ErasureStep),
) -> Result<()> {
    step(ErasureStep::Rebuilding);
    let mut owed = connection.prepare("SELECT upload FROM scrubs")?;
    let owed = all(&mut owed, [], |row| row.get::<_, String>(0))?;
    connection.execute_batch("VACUUM")?;
    take_in(connection, patience, step)?;
    if let Some(file) = search(ledger, &still_gone(connection, needles)?)? {
        return Err(LedgerError::Storage(format!(
            "something of what was erased is still in {}: stop the daemon and erase the upload again",
            file.display()
        )));
    }
    for upload in owed {
        connection.execute("DELETE FROM scrubs WHERE upload = ?", [upload])?;
    }
    Ok(())
}

/// Brings the write-ahead log into the file and empties it.
fn take_in(connection: &Connection, patience: Duration, step: &mut dyn FnMut(ErasureStep)) -> Result<()> {
    let began = Instant::now();
    let mut told = false;
    connection.busy_timeout(ATTEMPT)?;
    loop {
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        if connection.query_row(sql, [], |row| row.get::<_, i64>(0))? == 0 {
            connection.busy_timeout(file::BUSY)?;
            return Ok(());
        }
        if began.elapsed() >= patience {
            return Err(LedgerError::Storage(
                "another process has been reading its file all the time (a backup, a sqlite3 shell, a long listing): end \
                 that, and erase the upload again"
                    .into(),
            ));
        }
        if began.elapsed() >= NOTICED && !std::mem::replace(&mut told, true) {
            step(ErasureStep::Waiting);
        }
        std::thread::sleep(PAUSE);
    }
}

/// The needles that no row has: a text that other uploads have too (an account's name, a client's) stays with them.
fn still_gone(connection: &Connection, needles: &BTreeSet<Vec<u8>>) -> Result<Option<Regex>> {
    let mut gone: BTreeSet<Vec<u8>> = needles.clone();
    let mut tables = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let mut tables = all(&mut tables, [], |row| row.get::<_, String>(0))?;
    // A file may be called as a table is.
    tables.push("sqlite_schema".into());
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

pub(super) fn contains(bytes: &[u8], needle: &[u8]) -> bool {
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
