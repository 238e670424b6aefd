//! Which directories a configuration lives in, and how to hear that one of them changed.
//!
//! Knows no contents. Every directory is watched by itself, not the tree below it: state that somebody put beside the
//! configuration must not wake anyone. Called by [`super::reload`].

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::datasets::code_list;
use super::model::Config;

/// How often the files are looked at where the system cannot tell of changes.
const POLL: Duration = Duration::from_millis(500);

/// Hears of changes; made anew after each, since directories come and go.
pub(super) enum Watcher {
    /// Drops its watches with itself.
    System { _watcher: RecommendedWatcher },
    /// The state of the files when last looked at.
    Polling { places: Places, seen: Vec<Stamp> },
}

impl Watcher {
    /// Watches the files of `config`; `changed` is notified of each change. What happened before is not told: look at
    /// the files after this returns. `old` is dropped first.
    pub fn new(config: &Config, changed: &Arc<Notify>, old: Option<Self>) -> Self {
        let told = matches!(old, Some(Self::Polling { .. }));
        drop(old);
        let places = Places::of(config);
        match system(&places, changed.clone()) {
            Ok(watcher) => Self::System { _watcher: watcher },
            Err(error) => {
                if !told {
                    tracing::warn!(
                        error = %error,
                        "the system cannot tell of changes to the configuration (fs.inotify.max_user_watches or \
                         max_user_instances?): looking every 500 ms instead"
                    );
                }
                Self::polling(config)
            }
        }
    }

    /// The fallback.
    pub fn polling(config: &Config) -> Self {
        let places = Places::of(config);
        let seen = places.stamps();
        Self::Polling { places, seen }
    }

    /// Notifies `changed` of what polling finds; pending for ever where the system does the telling. Cancel-safe.
    pub async fn poll(&mut self, changed: &Notify) {
        let Self::Polling { places, seen } = self else { return std::future::pending().await };
        loop {
            tokio::time::sleep(POLL).await;
            let now = places.stamps();
            if *seen != now {
                *seen = now;
                changed.notify_one();
            }
        }
    }
}

fn system(places: &Places, changed: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let interesting = places.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
        Ok(event) if event.need_rescan() => changed.notify_one(),
        // Reading is no change, and the reader of the files is ourselves.
        Ok(event) if matches!(event.kind, EventKind::Access(_)) => {}
        Ok(event) if event.paths.iter().any(|path| interesting.contain(path)) => changed.notify_one(),
        Ok(_) => {}
        // Something was missed, perhaps: look.
        Err(_) => changed.notify_one(),
    })?;
    for directory in places.directories.iter().map(|(directory, _)| directory).collect::<BTreeSet<_>>() {
        match watcher.watch(directory, RecursiveMode::NonRecursive) {
            Ok(()) => {}
            // Gone since the listing; its parent is watched, too.
            Err(error) if gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(watcher)
}

fn gone(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => {
            matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
        }
        _ => false,
    }
}

/// A directory, and the one name in it that counts (none: every name does).
type Place = (PathBuf, Option<OsString>);

/// One file as it was: path, identity, size, times.
pub(super) type Stamp = (PathBuf, u64, u64, i64, i64);

/// The directories that a configuration lives in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Places {
    directories: BTreeSet<Place>,
}

impl Places {
    pub fn of(config: &Config) -> Self {
        let mut places = Self { directories: BTreeSet::new() };
        let folder = config.file.parent().unwrap_or(Path::new("/"));
        places.add(folder);
        places.add(&folder.join("orgs"));
        places.add(&folder.join("datasets"));
        for dataset in config.datasets.values() {
            let Some(schema) = &dataset.schema else { continue };
            places.add_file(schema);
            let table = dataset.rules.table.as_ref().and_then(|table| table.schema.as_ref());
            for key in table.into_iter().flat_map(|schema| &schema.foreign_keys) {
                if let Some(list) = code_list(schema, &key.resource) {
                    places.add_file(&list);
                }
            }
        }
        places.add(&config.paths.keys);
        for entry in std::fs::read_dir(&config.paths.keys).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                places.add(&entry.path());
            }
        }
        places
    }

    /// A directory with all in it; the places where it, or a link on the way to it, could be replaced; and where links
    /// in it lead to.
    fn add(&mut self, directory: &Path) {
        if !self.directories.insert((directory.to_owned(), None)) {
            return;
        }
        self.add_way(directory);
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_symlink() && !path.is_dir() {
                self.add_file(&path);
            }
        }
    }

    /// One file, and the file that it is a link to.
    fn add_file(&mut self, file: &Path) {
        self.add_way(file);
        if let Ok(target) = file.canonicalize()
            && target != file
        {
            self.add_way(&target);
        }
    }

    /// Its name in its parent, and the same for each link among its ancestors, and what the links lead to.
    fn add_way(&mut self, path: &Path) {
        let mut own = true;
        for step in path.ancestors() {
            let link = step.is_symlink();
            let (Some(parent), Some(name)) = (step.parent(), step.file_name()) else { break };
            // A name below a missing directory: its nearest ancestor that is there will tell of its making.
            if own || link || !step.exists() {
                self.directories.insert((parent.to_owned(), Some(name.to_owned())));
            }
            own = false;
            if link
                && let Ok(target) = step.canonicalize()
                && let (Some(parent), Some(name)) = (target.parent(), target.file_name())
            {
                self.directories.insert((parent.to_owned(), Some(name.to_owned())));
            }
        }
    }

    /// Whether a change of `path` counts. `path` is a watched directory, or a name in one.
    fn contain(&self, path: &Path) -> bool {
        let whole = |directory: &Path| self.directories.contains(&(directory.to_owned(), None));
        let name = path.file_name().map(ToOwned::to_owned);
        let in_parent = |parent: &Path| whole(parent) || self.directories.contains(&(parent.to_owned(), name));
        whole(path) || path.parent().is_some_and(in_parent)
    }

    /// What is there now.
    fn stamps(&self) -> Vec<Stamp> {
        let mut stamps = Vec::new();
        let mut stamp = |path: PathBuf| {
            // Through links, so that a change of what they lead to shows; a dangling one as itself.
            if let Ok(found) = std::fs::metadata(&path).or_else(|_| std::fs::symlink_metadata(&path)) {
                let size = if found.is_dir() { 0 } else { found.size() };
                stamps.push((path, found.ino(), size, found.ctime(), found.ctime_nsec()));
            }
        };
        for (directory, name) in &self.directories {
            match name {
                Some(name) => stamp(directory.join(name)),
                None => {
                    std::fs::read_dir(directory).into_iter().flatten().flatten().for_each(|entry| stamp(entry.path()))
                }
            }
        }
        stamps.sort();
        stamps
    }
}
