//! Changes to the configuration by command: the same files that a person edits, changed whole or not at all.
//!
//! Must never leave a configuration behind that does not load, edit one that did not load before, or change anything
//! that the audit log is not told of. Called by the commands `org`, `account` and `key`; the texts themselves are
//! edited in [`document`] and [`keyfile`], the files in [`files`].

pub mod document;
pub mod files;
pub mod keyfile;

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::FlockOperation;

pub use files::FileChange;

use super::config_file::ConfigFile;
use super::operator::operator;
use super::outcome::Stop;
use crate::audit::{Event, Kind};
use crate::config::{self, Config};
use crate::ledger::{Filter, Ledger};
use crate::types::{Clock, OrgId, Timestamp};

/// How often, and how long each time, a command waits for another one.
const WAITS: u32 = if cfg!(test) { 2 } else { 100 };
const WAIT: std::time::Duration = std::time::Duration::from_millis(50);

/// What a command changes: files in an order in which each step leaves a valid configuration.
#[derive(Debug, Default)]
pub struct Change {
    pub files: Vec<FileChange>,
    /// Folders to remove afterwards, if they are empty by then.
    pub folders: Vec<PathBuf>,
    /// The organisation that the change is about.
    pub org: Option<OrgId>,
    /// Facts for the audit event, by name. Never a secret.
    pub facts: Vec<(&'static str, String)>,
}

impl Change {
    pub fn about(org: &OrgId) -> Self {
        Self { org: Some(org.clone()), ..Self::default() }
    }
    pub fn fact(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.facts.push((name, value.into()));
        self
    }
    pub fn file(mut self, file: FileChange) -> Self {
        if file.before != file.after {
            self.files.push(file);
        }
        self
    }
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

/// One command's hold on the configuration: valid when taken, no other command edits meanwhile, the ledger is open.
pub struct Editor {
    pub config: Config,
    file: ConfigFile,
    now: Timestamp,
    ledger: Ledger,
    runtime: tokio::runtime::Runtime,
    /// Held until the command ends.
    _lock: File,
}

impl Editor {
    /// # Errors
    /// When another command is at it, the configuration is not valid, or the ledger cannot be opened: nothing is edited
    /// then, since it could not be audited.
    pub fn open(file: &ConfigFile) -> anyhow::Result<Self> {
        let lock = lock(&file.path)?;
        let config = file.load()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let state = &config.paths.state;
        files::make_private_folder(state)
            .with_context(|| format!("the state folder {} cannot be made; nothing was changed", state.display()))?;
        let keys = config::log_keys(&config.audit)?;
        let ledger_file = state.join("ledger.sqlite");
        let ledger = {
            let _inside = runtime.enter();
            Ledger::open(&ledger_file, keys).with_context(|| {
                format!(
                    "{} cannot be opened, so the change could not be audited; nothing was changed: run this as root or \
                     as the gateway's user",
                    ledger_file.display()
                )
            })?
        };
        // Made by root in a folder of the gateway's user, it would shut the gateway out.
        files::hand_over(state, &["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"]);
        Ok(Self { config, file: file.clone(), now: Clock::system().now(), ledger, runtime, _lock: lock })
    }

    /// When the command began.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// `orgs/<org>.toml`
    pub fn org_file(&self, org: &OrgId) -> PathBuf {
        org_file(&self.config, org)
    }

    /// How many deliveries of an organisation are not loaded yet.
    ///
    /// # Errors
    /// When the ledger fails.
    pub fn waiting(&self, org: &OrgId) -> anyhow::Result<usize> {
        let filter = Filter { org: Some(org.clone()), ..Filter::default() };
        let deliveries = self.runtime.block_on(self.ledger.deliveries(&filter))?;
        Ok(deliveries.iter().filter(|delivery| delivery.state != crate::ledger::DeliveryState::Loaded).count())
    }

    /// Makes the change: files written, configuration loaded, event recorded; or everything as it was.
    ///
    /// # Errors
    /// The faults that the change would have brought in, or what failed.
    pub fn apply(self, command: &str, change: &Change) -> anyhow::Result<()> {
        let mut event = Event::new(self.now, Kind::OperatorCommand, operator()).with("command", command);
        if let Some(org) = &change.org {
            event = event.org(org);
        }
        for (name, value) in &change.facts {
            event = event.with(name, value.as_str());
        }
        let changed: Vec<String> = change.files.iter().map(|file| file.path.display().to_string()).collect();
        let event = event.with("changed", changed);
        files::replace(&change.files, || {
            self.file.load().context("the change was not made, since with it the configuration would not be valid")?;
            self.runtime
                .block_on(self.ledger.record(event))
                .context("the change could not be audited, so it was taken back")
        })?;
        for folder in &change.folders {
            // Not empty, or gone: either is as it should be.
            let _ = std::fs::remove_dir(folder);
        }
        self.runtime
            .block_on(self.ledger.close())
            .context("the change was made and audited, but the ledger did not close")
    }
}

/// `orgs/<org>.toml`
pub fn org_file(config: &Config, org: &OrgId) -> PathBuf {
    config.file.with_file_name("orgs").join(format!("{org}.toml"))
}

/// `keys/<org>/`
pub fn key_folder(config: &Config, org: &OrgId) -> PathBuf {
    config.paths.keys.join(org.as_str())
}

/// `keys/<org>/authorized_keys`
pub fn key_file(config: &Config, org: &OrgId) -> PathBuf {
    key_folder(config, org).join("authorized_keys")
}

/// The organisation of that id.
pub fn find_org<'c>(config: &'c Config, org: &OrgId) -> Result<&'c config::Org, Stop> {
    config.orgs.get(org).ok_or_else(|| {
        Stop::No(format!("there is no organisation {:?}{}", org.as_str(), nearest(org.as_str(), config.orgs.keys())))
    })
}

/// `: did you mean "x"?`, or nothing when nothing is near.
pub fn nearest<T: std::fmt::Display>(wanted: &str, known: impl IntoIterator<Item = T>) -> String {
    let scored = known.into_iter().map(|name| name.to_string()).map(|name| (strsim::jaro_winkler(wanted, &name), name));
    match scored.max_by(|(a, _), (b, _)| a.total_cmp(b)) {
        Some((score, name)) if score > 0.8 => format!(": did you mean {name:?}?"),
        _ => String::new(),
    }
}

/// One command edits at a time: an exclusive lock on the folder of nightsafe.toml, which no editor of text would take.
fn lock(file: &Path) -> anyhow::Result<File> {
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let lock = File::open(folder).map_err(|error| {
        Stop::Usage(format!(
            "{} cannot be opened ({error}): name the configuration with --config FILE, or make one with `nightsafe init`",
            folder.display()
        ))
    })?;
    // Another command takes milliseconds, unless it waits for a person's answer.
    for _ in 0..WAITS {
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(lock);
        }
        std::thread::sleep(WAIT);
    }
    Err(Stop::No(format!("another nightsafe command is editing {} right now: try again", folder.display())).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_and_a_far_one_is_not() {
        assert_eq!(nearest("harbor", ["harbour", "datateam"]), ": did you mean \"harbour\"?");
        assert_eq!(nearest("zzz", ["harbour"]), "");
    }

    #[test]
    fn a_second_command_at_the_same_time_is_told_to_wait() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nightsafe.toml");
        let held = lock(&file).unwrap();
        assert!(lock(&file).unwrap_err().to_string().contains("try again"));
        drop(held);
        lock(&file).unwrap();
    }
}
