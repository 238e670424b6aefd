//! A file of the spool that is written no more: one run of a draft's sealed bytes, read again when the draft is completed.

use std::fs::File;
use std::io;

use super::Vault;
use super::durable::context;
use crate::types::UploadId;

/// One file of a draft. Dropping it removes it, unless it was left for the next start. Holds no descriptor.
#[derive(Debug)]
pub struct Run {
    vault: Vault,
    upload: UploadId,
    number: u32,
    left: bool,
}

impl Run {
    pub(super) fn new(vault: Vault, upload: UploadId, number: u32) -> Self {
        Self { vault, upload, number, left: false }
    }

    /// Which of its upload's files it is.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Bytes of the file. Blocking.
    ///
    /// # Errors
    /// It is not there, say.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.open()?.metadata()?.len())
    }

    /// Opens it for reading. Blocking.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(&self) -> io::Result<File> {
        let path = self.vault.spool_path(self.upload, self.number);
        File::open(&path).map_err(context(&path))
    }

    /// From now on the file outlives this: the next start goes on with its draft.
    pub fn leave(&mut self) {
        self.left = true;
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        let path = self.vault.spool_path(self.upload, self.number);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(upload.id = %self.upload, %error, "a draft's file could not be removed; the next start will");
            }
            _ => {}
        }
    }
}
