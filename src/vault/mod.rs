//! Sealed objects at rest: `<state>/vault/<2 hex>/<upload>.age`, and uploads under way in `<state>/spool/`. What `keep`
//! returned from is durable.
//!
//! Names files by ids of our own making, never by anything a client said. Holds ciphertext only. Called by `intake`
//! (writing), `sftp` (reading for loaders) and `daemon` (recovery, retention).

use std::io;
use std::path::Path;

use crate::types::UploadId;

#[derive(Debug, Clone)]
pub struct Vault {}

/// An object being written. Dropping it removes it.
pub struct Spool {}

/// An object open for reading at any offset.
pub struct Object {}

impl Vault {
    /// Opens or makes the vault under `state`, directories with mode 0700.
    pub fn open(_state: &Path) -> io::Result<Self> {
        unimplemented!()
    }
    pub fn create(&self, _upload: UploadId) -> io::Result<Spool> {
        unimplemented!()
    }
    pub fn read(&self, _upload: UploadId) -> io::Result<Object> {
        unimplemented!()
    }
    /// Removes an object, durably; not there is fine.
    pub fn remove(&self, _upload: UploadId) -> io::Result<()> {
        unimplemented!()
    }
    /// Every object in the vault; for recovery.
    pub fn objects(&self) -> io::Result<Vec<UploadId>> {
        unimplemented!()
    }
    /// Removes everything in the spool, returning whose it was; for recovery.
    pub fn clear_spool(&self) -> io::Result<Vec<UploadId>> {
        unimplemented!()
    }
    /// (free, total) bytes of the file system, as an unprivileged user may use them.
    pub fn space(&self) -> io::Result<(u64, u64)> {
        unimplemented!()
    }
}

impl Spool {
    /// Appends. Written back to the disk as it goes, so that `keep` has little left to wait for.
    pub fn write(&mut self, _bytes: &[u8]) -> io::Result<()> {
        unimplemented!()
    }
    /// Sealed bytes so far.
    pub fn size(&self) -> u64 {
        unimplemented!()
    }
    /// Makes it an object: data, then name, on the disk when this returns. Blocking.
    pub fn keep(self) -> io::Result<u64> {
        unimplemented!()
    }
}

impl Object {
    pub fn size(&self) -> u64 {
        unimplemented!()
    }
    /// Reads at `offset`; short only at the end. Blocking.
    pub fn read_at(&self, _offset: u64, _buffer: &mut [u8]) -> io::Result<usize> {
        unimplemented!()
    }
}
