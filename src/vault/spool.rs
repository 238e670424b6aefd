//! A file of the spool being written: appended to, written back as it goes; then an object, a draft's run, or gone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::thread::JoinHandle;

use super::durable::{context, sync_directory};
use super::{Run, Vault};
use crate::types::UploadId;

/// Bytes after which the next write-back begins.
const WRITE_BACK: u64 = 16 << 20;
/// Bytes that may not be on the disk yet; more wait for the disk.
const DIRTY_MAX: u64 = 64 << 20;

/// A file being written. Dropping it removes it.
#[derive(Debug)]
pub struct Spool {
    vault: Vault,
    upload: UploadId,
    number: u32,
    path: PathBuf,
    file: File,
    size: u64,
    /// Where the last write-back that was begun ends.
    written_back: u64,
    /// Where the last write-back that was waited for ends.
    synced: u64,
    /// The write-back under way.
    syncing: Option<JoinHandle<io::Result<()>>>,
    /// The first error; the file is not trusted after it.
    broken: Option<(io::ErrorKind, String)>,
    kept: bool,
}

impl Spool {
    pub(super) fn create(vault: Vault, upload: UploadId, number: u32) -> io::Result<Self> {
        let path = vault.spool_path(upload, number);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(context(&path))?;
        let (size, written_back, synced) = (0, 0, 0);
        let (syncing, broken) = (None, None);
        Ok(Self { vault, upload, number, path, file, size, written_back, synced, syncing, broken, kept: false })
    }

    /// Appends. Written back to the disk as it goes, so that `keep` has little left to wait for. Blocking.
    ///
    /// # Errors
    /// The disk's: `StorageFull`, say. The first one is final, later calls give it again.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.unbroken()?;
        self.file.write_all(bytes).or_else(|error| self.fail(error))?;
        self.size += bytes.len() as u64;
        if self.size - self.written_back >= WRITE_BACK {
            self.write_back()?;
        }
        Ok(())
    }

    /// Sealed bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Which of its upload's files it is.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// From now on the file outlives this: the next start goes on with its draft.
    pub fn leave(&mut self) {
        self.kept = true;
    }

    /// Ends the writing: what is there stays, for a draft. Not synced, and closed: drafts may be many.
    ///
    /// # Errors
    /// A write or sync failed before; the file is gone then.
    pub fn into_run(mut self) -> io::Result<Run> {
        self.unbroken()?;
        self.join()?;
        self.kept = true;
        Ok(Run::new(self.vault.clone(), self.upload, self.number))
    }

    /// Waits until all that was written is on the disk. Blocking.
    ///
    /// # Errors
    /// The disk's; final.
    pub fn sync(&mut self) -> io::Result<()> {
        self.unbroken()?;
        self.join()?;
        self.file.sync_data().or_else(|error| self.fail(error))?;
        (self.written_back, self.synced) = (self.size, self.size);
        Ok(())
    }

    /// Makes it an object: data, then name, on the disk when this returns. Returns its size. Blocking.
    ///
    /// # Errors
    /// The disk's; then neither the spool's file nor the object is there any more.
    pub fn keep(mut self) -> io::Result<u64> {
        self.sync()?;
        let object = self.vault.object_path(self.upload);
        fs::rename(&self.path, &object).map_err(context(&object))?;
        self.kept = true;
        if let Err(error) = sync_directory(&self.vault.shard_path(self.upload)) {
            // Its name may not survive a power cut: it is not kept, and must not be found by a recovery either.
            if let Err(error) = self.vault.remove(self.upload) {
                tracing::error!(upload.id = %self.upload, %error, "an object that was not kept could not be removed");
            }
            return Err(error);
        }
        Ok(self.size)
    }

    /// Begins a write-back in the background, unless one runs; with too much outstanding, waits for that one first.
    fn write_back(&mut self) -> io::Result<()> {
        if self.syncing.as_ref().is_some_and(|sync| !sync.is_finished()) && self.size - self.synced < DIRTY_MAX {
            return Ok(());
        }
        self.join()?;
        let second = self.file.try_clone().or_else(|error| self.fail(error))?;
        self.written_back = self.size;
        // A thread of its own: the wait may be long, and no pool should be full of such waits.
        match std::thread::Builder::new().name("write-back".into()).spawn(move || second.sync_data()) {
            Ok(sync) => self.syncing = Some(sync),
            Err(_) => {
                self.file.sync_data().or_else(|error| self.fail(error))?;
                self.synced = self.written_back;
            }
        }
        Ok(())
    }

    fn join(&mut self) -> io::Result<()> {
        if let Some(sync) = self.syncing.take() {
            let result = sync.join().unwrap_or_else(|_| Err(io::Error::other("the write-back's thread failed")));
            result.or_else(|error| self.fail(error))?;
            self.synced = self.written_back;
        }
        Ok(())
    }

    fn unbroken(&self) -> io::Result<()> {
        match &self.broken {
            None => Ok(()),
            Some((kind, words)) => Err(io::Error::new(*kind, words.clone())),
        }
    }

    fn fail<T>(&mut self, error: io::Error) -> io::Result<T> {
        let error = context(&self.path)(error);
        self.broken = Some((error.kind(), error.to_string()));
        Err(error)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(upload.id = %self.upload, %error, "a spool file could not be removed; the next start will");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Timestamp;

    fn spool(dir: &tempfile::TempDir) -> (Vault, Spool) {
        let vault = Vault::open(dir.path()).unwrap();
        let spool = vault.create(UploadId::new(Timestamp::UNIX_EPOCH), 0).unwrap();
        (vault, spool)
    }

    #[test]
    fn a_long_object_is_written_back_as_it_goes_with_bounded_dirt() {
        let dir = tempfile::tempdir().unwrap();
        let (_vault, mut spool) = spool(&dir);
        let piece = vec![1; 1 << 20];
        for _ in 0..100 {
            spool.write(&piece).unwrap();
            assert!(spool.size - spool.synced <= DIRTY_MAX);
        }
        assert!(spool.size - spool.written_back < DIRTY_MAX, "{}", spool.written_back);
        assert_eq!(spool.keep().unwrap(), 100 << 20);
    }

    #[test]
    fn after_a_failed_write_back_nothing_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (vault, mut spool) = spool(&dir);
        spool.write(b"x").unwrap();
        spool.syncing = Some(std::thread::spawn(|| Err(io::Error::from(io::ErrorKind::StorageFull))));
        assert_eq!(spool.sync().unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(spool.write(b"y").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(spool.keep().unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(vault.objects().unwrap(), []);
        assert!(vault.spooled().unwrap().is_empty());
    }

    #[test]
    fn a_failed_write_is_final() {
        let dir = tempfile::tempdir().unwrap();
        let (vault, mut spool) = spool(&dir);
        // A descriptor that cannot be written stands for a disk that fails.
        spool.file = File::open(&spool.path).unwrap();
        assert!(spool.write(b"x").is_err());
        spool.file = OpenOptions::new().append(true).open(&spool.path).unwrap();
        assert!(spool.write(b"x").is_err() && spool.keep().is_err());
        assert_eq!(vault.objects().unwrap(), []);
    }
}
