//! An object open for reading: by loaders, in any order, while it may be removed beside.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::durable::context;

/// An object open for reading at any offset. It stays readable until it is dropped, even when it is removed.
#[derive(Debug)]
pub struct Object {
    file: File,
    size: u64,
}

impl Object {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path).map_err(context(path))?;
        let size = file.metadata().map_err(context(path))?.len();
        Ok(Self { file, size })
    }

    /// Sealed bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads at `offset`; short only at the end. Blocking.
    ///
    /// # Errors
    /// The disk's.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.file.read_at(&mut buffer[read..], offset.saturating_add(read as u64)) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }
}
