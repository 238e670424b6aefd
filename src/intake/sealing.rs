//! Plaintext in, an age file in the vault's spool out.
//!
//! Must never write a byte that is not sealed. Blocking. Called by `pipeline`.

use super::pipeline::Broken;
use super::segments::Segment;
use crate::seal::{CHUNK, Recipient, RunKey, Sealer, TAG};
use crate::types::UploadId;
use crate::vault::{Spool, Vault};

/// Sealed chunks that are written at once.
const CHUNKS_A_WRITE: usize = 4;
/// Room for them and for a header of a few recipients; more recipients only make the first write longer.
const OUT: usize = CHUNKS_A_WRITE * (CHUNK + TAG) + 4096;

/// What an upload's files are made from.
pub(super) struct Origin {
    pub vault: Vault,
    pub upload: UploadId,
    pub recipients: Vec<Recipient>,
    /// Of the next file.
    pub number: u32,
}

/// One age file.
pub(super) struct Sealing {
    vault: Vault,
    upload: UploadId,
    number: u32,
    sealer: Sealer,
    header: u64,
    /// Plaintext bytes pushed.
    len: u64,
    /// The header at first, sealed chunks, and behind them the plaintext of the open chunk: each is copied here once
    /// and sealed in place. Only what is before `open` is ever written.
    out: Vec<u8>,
    /// Where the open chunk begins. It is sealed when it is full and more comes, or at the end.
    open: usize,
    /// Made when there is something to write: a small file that is refused never touches the disk.
    spool: Option<Spool>,
}

/// A sealed file that is whole: an object that was not kept yet, or a draft's only segment.
#[derive(Debug)]
pub(super) struct Sealed {
    pub spool: Spool,
    header: u64,
    key: RunKey,
    len: u64,
}

impl Sealed {
    /// It becomes a draft's first segment.
    pub(super) fn into_segment(self) -> Result<Segment, Broken> {
        let Self { spool, header, key, len } = self;
        Ok(Segment { run: spool.into_run()?, header, key, start: 0, len, shown: len, ended: true })
    }
    pub(super) fn number(&self) -> u32 {
        self.spool.number()
    }
    pub(super) fn facts(&self) -> (u64, &RunKey, u64) {
        (self.header, &self.key, self.len)
    }
}

impl Sealing {
    pub(super) fn begin(origin: &mut Origin) -> Result<Self, Broken> {
        let (header, sealer) = Sealer::begin(&origin.recipients)?;
        let (number, open) = (origin.number, header.len());
        origin.number += 1;
        let (vault, upload) = (origin.vault.clone(), origin.upload);
        Ok(Self { vault, upload, number, sealer, header: open as u64, len: 0, out: header, open, spool: None })
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        while !bytes.is_empty() {
            if self.out.len() - self.open == CHUNK {
                self.seal(false)?;
                if self.open >= CHUNKS_A_WRITE * (CHUNK + TAG) {
                    self.write()?;
                }
            }
            let room = CHUNK - (self.out.len() - self.open);
            let (now, rest) = bytes.split_at(bytes.len().min(room));
            self.make_room(now.len() + TAG);
            self.out.extend_from_slice(now);
            self.len += now.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// Small for a small file, all at once for one that goes on.
    fn make_room(&mut self, more: usize) {
        let needed = self.out.len() + more;
        if needed > self.out.capacity() {
            let size = if needed <= CHUNK { needed.next_power_of_two() } else { needed.max(OUT) };
            self.out.reserve_exact(size - self.out.len());
        }
    }

    fn seal(&mut self, last: bool) -> Result<(), Broken> {
        let tag = self.sealer.seal_in_place(&mut self.out[self.open..], last)?;
        self.make_room(TAG);
        self.out.extend_from_slice(&tag);
        self.open = self.out.len();
        Ok(())
    }

    /// Writes what is sealed; the open chunk moves to the front.
    fn write(&mut self) -> Result<(), Broken> {
        let open = std::mem::take(&mut self.open);
        if open > 0 {
            self.spool()?;
            if let Some(spool) = &mut self.spool {
                spool.write(&self.out[..open])?;
            }
            self.out.drain(..open);
        }
        Ok(())
    }

    /// Brings all whole chunks to the disk.
    pub(super) fn sync(&mut self) -> Result<(), Broken> {
        self.write()?;
        Ok(self.spool()?.sync()?)
    }

    fn spool(&mut self) -> Result<&mut Spool, Broken> {
        let spool = match self.spool.take() {
            Some(spool) => spool,
            None => self.vault.create(self.upload, self.number)?,
        };
        Ok(self.spool.insert(spool))
    }

    /// Plaintext bytes in whole chunks that are sealed.
    pub(super) fn sealed(&self) -> u64 {
        self.len - (self.out.len() - self.open) as u64
    }

    /// Its number, header and key, once it has a file.
    pub(super) fn file(&self) -> Option<(u32, u64, RunKey)> {
        self.spool.as_ref().map(|_| (self.number, self.header, self.sealer.key()))
    }

    /// Seals and writes the last chunk; not synced.
    pub(super) fn finish(mut self) -> Result<Sealed, Broken> {
        self.seal(true)?;
        self.write()?;
        let (header, key, len) = (self.header, self.sealer.key(), self.len);
        match self.spool {
            Some(spool) => Ok(Sealed { spool, header, key, len }),
            // There is always a header to write.
            None => Err(Broken::store("nothing was written")),
        }
    }

    /// Ends it as a segment of a draft: all that was pushed.
    pub(super) fn end(self, start: u64) -> Result<Segment, Broken> {
        Ok(Segment { start, ..self.finish()?.into_segment()? })
    }

    /// Ends it as a segment of a draft whose connection was lost: the chunks that are sealed. None of them, and nothing
    /// is left.
    pub(super) fn cut(mut self, start: u64) -> Result<Option<Segment>, Broken> {
        let len = self.sealed();
        if len == 0 {
            return Ok(None);
        }
        self.write()?;
        let Some(spool) = self.spool.take() else { return Ok(None) };
        let (header, key) = (self.header, self.sealer.key());
        Ok(Some(Segment { run: spool.into_run()?, header, key, start, len, shown: len, ended: false }))
    }
}
