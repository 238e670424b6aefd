//! The ledger's file: making it, its mode, its connections and their settings, its schema's version.
//!
//! Must never open a file that is not a ledger of this version or older. Called by `mod`, `writer` and `readers`.

use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{LedgerError, Result, fault};

/// How long a writer waits for another process's transaction: an erasure may have to write the file anew. Less than half of
/// the watchdog's interval in systemd/nightsafe.service, which asks the writer for a sign of life.
pub(super) const BUSY: Duration = Duration::from_secs(10);

/// "NSaf": tells a ledger from any other SQLite file (`PRAGMA application_id`).
const APPLICATION: i32 = 0x4e53_6166;

/// The schema's versions (`PRAGMA user_version`) before the first release: ledgers that no log proves.
const UNRELEASED: usize = 1;

/// Each step brings the schema from version `UNRELEASED + index` to the next; the first one from nothing. Released steps
/// never change.
const STEPS: &[&str] = &[include_str!("schema.sql")];

/// What this Nightsafe reads and writes.
const VERSION: usize = UNRELEASED + STEPS.len();

/// The page cache of each connection that verification uses, at most, in KiB.
const WHOLE_CACHE: i64 = 128 << 10;

/// The writer's page cache, in KiB: the pages of a million events' indexes that one burst touches.
const CACHE: i64 = 16 << 10;

/// Statements kept prepared in each connection.
const STATEMENTS: usize = 128;

/// Opens the connection that writes; makes the file or brings its schema up to date first.
pub(super) fn open_writer(file: &Path) -> Result<Connection> {
    claim_file(file)?;
    let mut connection = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    set_up(&mut connection)?;
    Ok(connection)
}

/// Looks whether the file is a ledger of this version, without a change to it.
pub(super) fn check_readable(file: &Path) -> Result<()> {
    match known_version(&open_reader(file)?)? {
        Some(VERSION) => Ok(()),
        Some(version) => Err(LedgerError::Storage(format!(
            "the file is of an older version (schema {version}, this one knows {VERSION}): the daemon brings it up to date \
             when it starts"
        ))),
        None => Err(LedgerError::Storage("the file is empty: the daemon makes a ledger of it when it starts".into())),
    }
}

/// Opens a connection that cannot write. The file must have been opened for writing before: that made it a ledger.
pub(super) fn open_reader(file: &Path) -> Result<Connection> {
    let connection = connect(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.pragma_update(None, "query_only", true).map_err(|error| fault(&error))?;
    Ok(connection)
}

/// Opens a connection that reads everything, for verification: with a cache in which a page that is looked at again is
/// still there. A page that is read anew is also checked anew (`cell_size_check`), which costs more than reading it.
pub(super) fn open_whole_reader(file: &Path) -> Result<Connection> {
    let connection = open_reader(file)?;
    connection.pragma_update(None, "cache_size", -WHOLE_CACHE).map_err(|error| fault(&error))?;
    Ok(connection)
}

/// An empty ledger that is no file: what the schema of one must be.
pub(super) fn in_memory() -> Result<Connection> {
    let connection = Connection::open_in_memory().map_err(|error| fault(&error))?;
    STEPS.iter().try_for_each(|step| connection.execute_batch(step)).map_err(|error| fault(&error))?;
    Ok(connection)
}

fn connect(file: &Path, mode: OpenFlags) -> Result<Connection> {
    let open = || {
        let connection = Connection::open_with_flags(file, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY)?;
        // A schema that somebody tampered with must not run anything, nor a statement damage the file.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "recursive_triggers", true)?;
        // Names of files must not end up in a temporary directory.
        connection.pragma_update(None, "temp_store", "memory")?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(connection)
    };
    open().map_err(|error: rusqlite::Error| fault(&error))
}

/// Makes the file if it is missing, readable by nobody else from its first moment on (SQLite gives its companions the
/// same mode), and tightens one that was loosened.
///
/// An existing file is never opened here but by its path: closing a second descriptor of it would drop the locks that
/// SQLite holds for this process (POSIX fcntl).
fn claim_file(file: &Path) -> Result<()> {
    let storage = |error: std::io::Error| LedgerError::Storage(format!("the file cannot be opened: {error}"));
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(storage(error)),
    }
    let metadata = std::fs::metadata(file).map_err(storage)?;
    if !metadata.is_file() {
        return Err(LedgerError::Storage("there is something else than a file in the ledger's place".into()));
    }
    if metadata.mode() & 0o077 != 0 {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).map_err(storage)?;
    }
    Ok(())
}

enum SetUp {
    Sqlite(rusqlite::Error),
    NotOurs,
    Newer(i64),
    Unreleased,
}

impl From<SetUp> for LedgerError {
    fn from(error: SetUp) -> Self {
        match error {
            SetUp::Sqlite(error) => fault(&error),
            SetUp::NotOurs => LedgerError::Storage("the file is a database, but not a ledger of Nightsafe".into()),
            SetUp::Newer(version) => LedgerError::Storage(format!(
                "the file was written by a newer Nightsafe (schema {version}, this one knows {VERSION}): use that one"
            )),
            SetUp::Unreleased => LedgerError::Storage(
                "the file was written before the first release, without a log that can be proven, and cannot be taken \
                 over: load what is queued with the Nightsafe that wrote it, then move the state directory away and \
                 start anew"
                    .into(),
            ),
        }
    }
}

impl From<rusqlite::Error> for SetUp {
    fn from(error: rusqlite::Error) -> Self {
        SetUp::Sqlite(error)
    }
}

fn set_up(connection: &mut Connection) -> std::result::Result<(), SetUp> {
    let journal: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    if journal != "wal" {
        // An exclusive moment of a new file; two processes that race here wait for each other.
        connection.pragma_update(None, "journal_mode", "wal")?;
    }
    // A commit is on the disk when it returns, not merely ordered.
    connection.pragma_update(None, "synchronous", "full")?;
    // What is deleted is overwritten: an erasure must not leave a copy in a page's free space.
    connection.pragma_update(None, "secure_delete", true)?;
    // A negative size is in KiB (<https://www.sqlite.org/pragma.html#pragma_cache_size>).
    connection.pragma_update(None, "cache_size", -CACHE)?;
    // The log of a burst does not keep its size for ever. 16 MiB.
    connection.pragma_update(None, "journal_size_limit", 16 << 20)?;

    // Read without the write lock first: an operator's listing must not wait for the daemon, nor hold it up.
    if known_version(connection)? == Some(VERSION) {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = known_version(&transaction)?.map_or(0, |version| version - UNRELEASED);
    for step in &STEPS[done..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", i64::try_from(VERSION).unwrap_or(i64::MAX))?;
    transaction.commit()?;
    Ok(())
}

/// The schema's version in the file, from the first released one to `VERSION`; none in a new file.
fn known_version(connection: &Connection) -> std::result::Result<Option<usize>, SetUp> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let fresh = version == 0 && application == 0 && tables == 0;
    if fresh {
        return Ok(None);
    }
    if application != APPLICATION {
        return Err(SetUp::NotOurs);
    }
    match usize::try_from(version) {
        Ok(0..=UNRELEASED) => Err(SetUp::Unreleased),
        Ok(version) if version <= VERSION => Ok(Some(version)),
        _ => Err(SetUp::Newer(version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_ledger_and_its_companions_are_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ledger.sqlite");
        let connection = open_writer(&file).unwrap();
        connection.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().mode() & 0o777, 0o600, "{:?}", entry.file_name());
        }
    }

    #[test]
    fn a_loosened_mode_is_tightened() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ledger.sqlite");
        drop(open_writer(&file).unwrap());
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        drop(open_writer(&file).unwrap());
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_settings_that_durability_stands_on_are_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let connection = open_writer(&dir.path().join("ledger.sqlite")).unwrap();
        let text = |name| connection.pragma_query_value(None, name, |row| row.get::<_, String>(0)).unwrap();
        let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(text("journal_mode"), "wal");
        assert_eq!(number("synchronous"), 2);
        assert_eq!(number("foreign_keys"), 1);
        assert_eq!(number("trusted_schema"), 0);
        assert_eq!(number("secure_delete"), 1);
        assert_eq!(number("user_version"), 2);
    }

    #[test]
    fn another_database_a_newer_ledger_and_no_database_are_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("other.sqlite");
        Connection::open(&file).unwrap().execute_batch("CREATE TABLE precious (x)").unwrap();
        assert!(open_writer(&file).unwrap_err().to_string().contains("not a ledger"));

        let file = dir.path().join("newer.sqlite");
        open_writer(&file).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert!(open_writer(&file).unwrap_err().to_string().contains("newer Nightsafe (schema 99"));

        let file = dir.path().join("older.sqlite");
        open_writer(&file).unwrap().pragma_update(None, "user_version", 1).unwrap();
        assert!(open_writer(&file).unwrap_err().to_string().contains("before the first release"));

        let file = dir.path().join("text.sqlite");
        std::fs::write(&file, "x".repeat(8192)).unwrap();
        assert!(open_writer(&file).unwrap_err().to_string().contains("not a database"));
        assert_eq!(std::fs::read_to_string(&file).unwrap().len(), 8192);
    }

    #[test]
    fn a_reader_cannot_write() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ledger.sqlite");
        let _writer = open_writer(&file).unwrap();
        let reader = open_reader(&file).unwrap();
        assert!(reader.execute("DELETE FROM names", []).is_err());
    }
}
