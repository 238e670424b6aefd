//! Sealed objects at rest: `<state>/vault/<2 hex>/<upload>.age`; uploads under way and drafts in `<state>/spool/`, as
//! `<upload>.<number>.age`, each draft with its ticket, `<upload>.ticket`. What `keep` returned from is durable.
//!
//! Names files by ids of our own making, never by anything a client said. Holds ciphertext only. Called by `intake`
//! (writing), `sftp` (reading for loaders) and `daemon` (recovery, retention).
//!
//! # What happens on the disk, in order
//! ```text
//! open      mkdir(state, state/vault, state/spool; 0700), fsync of each parent
//!           mkdir(vault/00 .. vault/ff, 0700), fsync(vault)
//! create    open(spool/ID.N.age, O_CREAT|O_EXCL|O_WRONLY, 0600)
//! write     write(256 KiB) ...;  every 16 MiB fdatasync(a second descriptor) in a thread, one at a time;
//!           with 64 MiB not yet on the disk the writer waits for it
//! keep      wait for that thread
//!           fdatasync(spool/ID.N.age)             the data, and the size it needs
//!           rename(spool/ID.N.age, vault/XX/ID.age)
//!           fsync(vault/XX)                       the name; should the old one come back, start-up clears the spool
//! remove    unlink(vault/XX/ID.age), fsync(vault/XX)
//! drop      unlink(spool/ID.N.age)                not synced: start-up clears the spool
//! ticket    write(spool/ID.ticket.new), rename(spool/ID.ticket)   not synced: the key to it does not outlive the power
//! ```
//! XX are the last two digits of the id, which are random (the first ones are a time).
//!
//! A write or sync that failed is remembered: the kernel reports a failed write-back once, and after it a sync that
//! succeeds proves nothing. Such a spool is never kept.
//!
//! Not covered: a disk that answers a flush before the data is safe, bytes that rot later (the loader's verification
//! finds those), a file system without atomic rename, and anybody else who changes files under `state`.

mod durable;
mod object;
mod run;
mod spool;
mod tickets;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use object::Object;
pub use run::Run;
pub use spool::Spool;

use crate::types::UploadId;
use durable::{context, make_directory, make_unsynced, sync_directory};

const SUFFIX: &str = ".age";

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Vault(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    vault: PathBuf,
    spool: PathBuf,
}

impl Vault {
    /// Opens or makes the vault under `state`, directories with mode 0700. Blocking.
    ///
    /// # Errors
    /// A directory that cannot be made or synced, or `vault` and `spool` on two file systems: a rename must do.
    pub fn open(state: &Path) -> io::Result<Self> {
        let (vault, spool) = (state.join("vault"), state.join("spool"));
        make_directory(state)?;
        make_directory(&vault)?;
        make_directory(&spool)?;
        if device(&vault)? != device(&spool)? {
            return Err(io::Error::new(
                io::ErrorKind::CrossesDevices,
                format!(
                    "{} and {} are on different file systems: an upload is kept by renaming it, put both on one",
                    spool.display(),
                    vault.display()
                ),
            ));
        }
        // All at once: nobody can put an object into a directory that a power cut could take away.
        for shard in 0..=u8::MAX {
            make_unsynced(&vault.join(format!("{shard:02x}")))?;
        }
        sync_directory(&vault)?;
        Ok(Self(Arc::new(Inner { vault, spool })))
    }

    /// Begins the file `number` of an upload. Blocking.
    ///
    /// # Errors
    /// The file cannot be made; it exists already, say.
    pub fn create(&self, upload: UploadId, number: u32) -> io::Result<Spool> {
        Spool::create(self.clone(), upload, number)
    }

    /// A file that a ticket names; whether it is there shows when it is read.
    pub fn run(&self, upload: UploadId, number: u32) -> Run {
        Run::new(self.clone(), upload, number)
    }

    /// Opens an object for reading. Blocking.
    ///
    /// # Errors
    /// `NotFound` when the vault does not hold it.
    pub fn read(&self, upload: UploadId) -> io::Result<Object> {
        Object::open(&self.object_path(upload))
    }

    /// Removes an object, durably; not there is fine. Blocking.
    ///
    /// # Errors
    /// It may still be there, or come back after a power cut.
    pub fn remove(&self, upload: UploadId) -> io::Result<()> {
        let path = self.object_path(upload);
        match fs::remove_file(&path) {
            Ok(()) => sync_directory(&self.shard_path(upload)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(context(&path)(error)),
        }
    }

    /// Every object in the vault; for recovery. Files that are none are left alone and logged. Blocking.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn objects(&self) -> io::Result<Vec<UploadId>> {
        let mut objects = vec![];
        for entry in fs::read_dir(&self.0.vault).map_err(context(&self.0.vault))? {
            let entry = entry.map_err(context(&self.0.vault))?;
            let path = entry.path();
            if !entry.file_name().to_str().is_some_and(is_shard) || !entry.file_type().map_err(context(&path))?.is_dir()
            {
                foreign(&path);
                continue;
            }
            for file in fs::read_dir(&path).map_err(context(&path))? {
                let file = file.map_err(context(&path))?.path();
                match upload_of(&file).filter(|upload| self.object_path(*upload) == file) {
                    Some(upload) => objects.push(upload),
                    None => foreign(&file),
                }
            }
        }
        objects.sort_unstable();
        Ok(objects)
    }

    /// What is in the spool: the files of each upload by number, in order. Blocking.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn spooled(&self) -> io::Result<BTreeMap<UploadId, Vec<u32>>> {
        let mut spooled = BTreeMap::<_, Vec<u32>>::new();
        for entry in fs::read_dir(&self.0.spool).map_err(context(&self.0.spool))? {
            let path = entry.map_err(context(&self.0.spool))?.path();
            match spooled_of(&path) {
                Some((upload, number)) => spooled.entry(upload).or_default().push(number),
                None if tickets::is_ticket(&path) => {}
                None => foreign(&path),
            }
        }
        spooled.values_mut().for_each(|numbers| numbers.sort_unstable());
        Ok(spooled)
    }

    /// Removes a file of the spool that belongs to no draft; for recovery, before any upload begins. Blocking.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn clear(&self, upload: UploadId, number: u32) -> io::Result<()> {
        let path = self.spool_path(upload, number);
        fs::remove_file(&path).map_err(context(&path))
    }

    /// (free, total) bytes of the file system, as an unprivileged user may use them. Blocking.
    ///
    /// # Errors
    /// The file system does not answer.
    pub fn space(&self) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::statvfs(&self.0.vault).map_err(|error| context(&self.0.vault)(error.into()))?;
        Ok((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
    }

    fn spool_path(&self, upload: UploadId, number: u32) -> PathBuf {
        self.0.spool.join(format!("{upload}.{number}{SUFFIX}"))
    }

    fn shard_path(&self, upload: UploadId) -> PathBuf {
        self.0.vault.join(format!("{:02x}", upload.as_bytes()[15]))
    }

    /// Where an object lies, or would; for an operator who is to open it elsewhere.
    pub fn object_path(&self, upload: UploadId) -> PathBuf {
        self.shard_path(upload).join(format!("{upload}{SUFFIX}"))
    }
}

fn is_shard(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn upload_of(path: &Path) -> Option<UploadId> {
    path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.parse().ok()
}

fn spooled_of(path: &Path) -> Option<(UploadId, u32)> {
    let (upload, number) = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.split_once('.')?;
    let spooled = (upload.parse().ok()?, number.parse().ok()?);
    (format!("{}.{}", spooled.0, spooled.1) == format!("{upload}.{number}")).then_some(spooled)
}

fn foreign(path: &Path) {
    tracing::warn!(path = %path.display(), "a file that is not the gateway's lies in its state directory; it is left alone");
}

fn device(path: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    File::open(path).and_then(|file| file.metadata()).map(|meta| meta.dev()).map_err(context(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::types::Timestamp;

    fn id(n: i64) -> UploadId {
        UploadId::new(Timestamp::from_second(n).unwrap())
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_kept_can_be_read_listed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(&dir.path().join("state")).unwrap();
        let upload = id(1);
        let mut spool = vault.create(upload, 0).unwrap();
        spool.write(b"sealed ").unwrap();
        spool.write(b"bytes").unwrap();
        assert_eq!(spool.size(), 12);
        assert_eq!(mode(&vault.spool_path(upload, 0)), 0o600);
        assert_eq!(spool.keep().unwrap(), 12);

        assert!(!vault.spool_path(upload, 0).exists());
        assert_eq!(vault.objects().unwrap(), [upload]);
        let object = vault.read(upload).unwrap();
        let mut buffer = [0; 8];
        assert_eq!((object.size(), object.read_at(7, &mut buffer).unwrap()), (12, 5));
        assert_eq!(&buffer[..5], b"bytes");
        assert_eq!(object.read_at(100, &mut buffer).unwrap(), 0);
        for path in [dir.path().join("state"), vault.0.vault.clone(), vault.0.spool.clone(), vault.shard_path(upload)] {
            assert_eq!(mode(&path), 0o700, "{}", path.display());
        }

        vault.remove(upload).unwrap();
        vault.remove(upload).unwrap();
        assert_eq!(vault.read(upload).err().unwrap().kind(), io::ErrorKind::NotFound);
        assert_eq!(vault.objects().unwrap(), []);
    }

    #[test]
    fn a_dropped_spool_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        let mut spool = vault.create(id(1), 0).unwrap();
        spool.write(&[7; 100_000]).unwrap();
        drop(spool);
        assert_eq!(fs::read_dir(&vault.0.spool).unwrap().count(), 0);
        assert_eq!(vault.objects().unwrap(), []);
    }

    #[test]
    fn a_run_stays_as_long_as_it_is_held_or_when_it_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        let upload = id(1);
        let run = |number, bytes: &[u8]| {
            let mut spool = vault.create(upload, number).unwrap();
            spool.write(bytes).unwrap();
            spool.into_run().unwrap()
        };
        let (gone, mut left) = (run(0, b"a"), run(1, b"bc"));
        assert_eq!((gone.size().unwrap(), left.size().unwrap(), left.number()), (1, 2, 1));
        drop(gone);
        left.leave();
        drop(left);
        assert_eq!(vault.spooled().unwrap(), BTreeMap::from([(upload, vec![1])]));
        assert_eq!(vault.run(upload, 1).size().unwrap(), 2, "and now it is gone");
        assert!(vault.spooled().unwrap().is_empty() && vault.run(upload, 1).open().is_err());
    }

    #[test]
    fn a_file_of_the_spool_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        let _spool = vault.create(id(1), 0);
        let upload = id(2);
        let first = vault.create(upload, 0).unwrap();
        assert_eq!(vault.create(upload, 0).err().unwrap().kind(), io::ErrorKind::AlreadyExists);
        assert!(vault.spool_path(upload, 0).exists(), "the one that failed must not remove the other's file");
        drop(first);
    }

    #[test]
    fn a_reopened_vault_clears_its_spool_and_leaves_foreign_files_alone() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        let (left, kept) = (id(1), id(2));
        vault.create(kept, 0).unwrap().keep().unwrap();
        fs::write(vault.spool_path(left, 3), b"half").unwrap();
        let foreign = [
            vault.0.spool.join("notes.txt"),
            vault.0.spool.join(format!("{left}.03.age")),
            vault.shard_path(kept).join("x.age"),
            vault.0.vault.join("zz"),
        ];
        for path in &foreign {
            fs::write(path, b"?").unwrap();
        }
        let vault = Vault::open(dir.path()).unwrap();
        assert_eq!(vault.spooled().unwrap(), BTreeMap::from([(left, vec![3])]));
        vault.clear(left, 3).unwrap();
        assert!(vault.spooled().unwrap().is_empty() && vault.clear(left, 3).is_err());
        assert_eq!(vault.objects().unwrap(), [kept]);
        assert!(foreign.iter().all(|path| path.exists()));
    }

    #[test]
    fn a_spool_that_cannot_be_renamed_is_not_kept_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        let upload = id(1);
        let mut spool = vault.create(upload, 0).unwrap();
        spool.write(b"x").unwrap();
        fs::remove_dir(vault.shard_path(upload)).unwrap();
        fs::write(vault.shard_path(upload), b"in the way").unwrap();
        let error = spool.keep().unwrap_err();
        assert!(error.to_string().contains("vault"), "{error}");
        assert_eq!(fs::read_dir(&vault.0.spool).unwrap().count(), 0);
    }

    #[test]
    fn free_space_is_less_than_all_space() {
        let dir = tempfile::tempdir().unwrap();
        let (free, total) = Vault::open(dir.path()).unwrap().space().unwrap();
        assert!(0 < free && free <= total);
    }
}
