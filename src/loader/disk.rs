//! The loader's own disk: sealed objects on their way, manifests, lists of row numbers, proofs. Never plaintext.
//!
//! One file for each delivery, locked while it is in use, so that a loader whose lease ran out and its successor do not
//! write over each other. Called by `deliver` and `run`.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::types::{DeliveryId, Timestamp};

/// What nobody fetched on for this long is removed at start.
const STALE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const SEALED: &str = ".age.part";
const MANIFEST: &str = ".manifest.json";
const RESTRICTED: &str = ".restricted.txt";
const PROOF: &str = ".tlog-proof";

/// A folder for sealed objects and manifests; mode 0700 if made here.
#[derive(Debug, Clone)]
pub struct Disk {
    folder: PathBuf,
}

/// The sealed object of one delivery, as far as it was fetched; locked until dropped.
#[derive(Debug)]
pub struct Part {
    file: File,
    path: PathBuf,
    manifest: PathBuf,
    restricted: PathBuf,
    proof: PathBuf,
}

/// A file beside the object that is removed when this is dropped.
#[derive(Debug)]
pub struct Beside(PathBuf);

impl Beside {
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Failing to costs disk, and `clean` tries again.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Disk {
    /// # Errors
    /// Says which folder cannot be made.
    pub fn open(folder: &Path) -> Result<Self, String> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|e| format!("cannot make the folder {}: {e}; name another with --work", folder.display()))?;
        // The command gets the manifest's path, and may run elsewhere.
        let folder = std::path::absolute(folder).map_err(|e| format!("cannot find {}: {e}", folder.display()))?;
        Ok(Self { folder })
    }

    /// Opens the part of `delivery`, with what was fetched before.
    ///
    /// # Errors
    /// Another process holds it, or the disk fails.
    pub fn part(&self, delivery: DeliveryId) -> Result<Part, String> {
        let path = self.folder.join(format!("{delivery}{SEALED}"));
        let broken = |e: std::io::Error| format!("cannot open {}: {e}", path.display());
        // Between open and lock the former holder may remove the file: then what we hold is no longer it.
        for _ in 0..3 {
            let mut options = OpenOptions::new();
            let file =
                options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(broken)?;
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                return Err(format!("another loader on this machine still works on {}", path.display()));
            }
            if file.metadata().map_err(broken)?.nlink() > 0 {
                let manifest = self.folder.join(format!("{delivery}{MANIFEST}"));
                let restricted = self.folder.join(format!("{delivery}{RESTRICTED}"));
                let proof = self.folder.join(format!("{delivery}{PROOF}"));
                return Ok(Part { file, path, manifest, restricted, proof });
            }
        }
        Err(format!("{} keeps vanishing", path.display()))
    }

    /// Removes what broken loaders left behind a week ago and nobody holds. Failing to is no failure.
    pub fn clean(&self, now: Timestamp) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let suffixes = [SEALED, MANIFEST, RESTRICTED, PROOF];
            let ours = name.to_str().and_then(|name| suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)));
            if ours.is_none_or(|id| id.parse::<DeliveryId>().is_err()) {
                continue;
            }
            let modified = entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| Timestamp::try_from(t).ok());
            let age = modified.and_then(|then| Duration::try_from(now.duration_since(then)).ok());
            if age.is_none_or(|age| age < STALE) {
                continue;
            }
            let held = File::open(entry.path())
                .map(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_err())
                .unwrap_or(true);
            if !held {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

impl Part {
    pub fn len(&self) -> std::io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Throws away what was fetched.
    pub fn restart(&self) -> std::io::Result<()> {
        self.file.set_len(0)
    }

    /// Another handle on the same file. All handles share one position: use one at a time.
    pub fn handle(&self, at: u64) -> std::io::Result<File> {
        let mut file = self.file.try_clone()?;
        file.seek(std::io::SeekFrom::Start(at))?;
        Ok(file)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the manifest beside the object; returns its path.
    pub fn write_manifest(&self, content: &str) -> std::io::Result<PathBuf> {
        write(&self.manifest, content.as_bytes())?;
        Ok(self.manifest.clone())
    }

    /// Writes the list of restricted rows beside the object; there for as long as the result lives.
    pub fn write_restricted(&self, content: &str) -> std::io::Result<Beside> {
        let beside = Beside(self.restricted.clone());
        write(&self.restricted, content.as_bytes())?;
        Ok(beside)
    }

    /// Writes the proof beside the object; there for as long as the result lives.
    pub fn write_proof(&self, content: &[u8]) -> std::io::Result<Beside> {
        let beside = Beside(self.proof.clone());
        write(&self.proof, content)?;
        Ok(beside)
    }

    /// Removes object and manifest: the delivery was acknowledged. Failing to costs disk, and `clean` tries again.
    pub fn remove(self) {
        let _ = std::fs::remove_file(&self.manifest);
        let _ = std::fs::remove_file(&self.path);
    }
}

fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn id() -> DeliveryId {
        DeliveryId::new("2025-07-10T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn what_was_fetched_is_there_after_a_restart_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(&folder.path().join("a/b")).unwrap();
        let id = id();
        let part = disk.part(id).unwrap();
        part.handle(0).unwrap().write_all(b"half").unwrap();
        let path = part.path().to_owned();
        drop(part);
        let part = disk.part(id).unwrap();
        assert_eq!(part.len().unwrap(), 4);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_part_is_held_by_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path()).unwrap();
        let id = id();
        let part = disk.part(id).unwrap();
        assert!(disk.part(id).unwrap_err().contains("another loader"));
        part.remove();
        assert_eq!(disk.part(id).unwrap().len().unwrap(), 0);
    }

    #[test]
    fn what_goes_with_a_delivery_is_private_and_goes_when_it_is_not_needed_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let part = Disk::open(folder.path()).unwrap().part(id()).unwrap();
        for (beside, content) in
            [(part.write_restricted("17\n").unwrap(), "17\n"), (part.write_proof(b"proof\n").unwrap(), "proof\n")]
        {
            let path = beside.path().to_owned();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            drop(beside);
            assert!(!path.exists());
        }
    }

    #[test]
    fn only_own_files_older_than_a_week_are_cleaned() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path()).unwrap();
        let (left, held) = (id(), id());
        drop(disk.part(left).unwrap());
        let holder = disk.part(held).unwrap();
        holder.write_manifest("{}").unwrap();
        std::fs::write(folder.path().join(format!("{left}.restricted.txt")), "17\n").unwrap();
        std::fs::write(folder.path().join(format!("{left}.tlog-proof")), "").unwrap();
        std::fs::write(folder.path().join("mine.age.part"), "x").unwrap();
        let written = Timestamp::try_from(std::fs::metadata(holder.path()).unwrap().modified().unwrap()).unwrap();
        disk.clean(written + jiff::SignedDuration::from_hours(24 * 6));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 6);
        disk.clean(written + jiff::SignedDuration::from_hours(24 * 8));
        let mut names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, [format!("{held}.age.part"), "mine.age.part".to_owned()]);
    }
}
