//! Plaintext in, an age file in the vault's spool out.
//!
//! Must never write a byte that is not sealed. Blocking. Called by `pipeline`.

use super::pipeline::Broken;
use crate::seal::{CHUNK, Recipient, Sealer, TAG, envelope};
use crate::types::{Envelope, UploadId};
use crate::vault::{Spool, Vault};

/// Sealed chunks that are written at once.
const CHUNKS_A_WRITE: usize = 4;
/// Room for them and for a header of a few recipients; more recipients only make the first write longer.
const OUT: usize = CHUNKS_A_WRITE * (CHUNK + TAG) + 4096;

/// One upload's age file.
pub(super) struct Sealing {
    vault: Vault,
    upload: UploadId,
    sealer: Sealer,
    /// The header at first, sealed chunks, and behind them the plaintext of the open chunk: each is copied here once
    /// and sealed in place. Only what is before `open` is ever written.
    out: Vec<u8>,
    /// Where the open chunk begins. It is sealed when it is full and more comes, or at the end.
    open: usize,
    /// Made when there is something to write: a small file that is refused never touches the disk.
    spool: Option<Spool>,
    envelope: Envelope,
}

impl Sealing {
    pub(super) fn begin(vault: Vault, upload: UploadId, recipients: &[Recipient]) -> Result<Self, Broken> {
        let (header, sealer) = Sealer::begin(recipients)?;
        let (open, envelope) = (header.len(), envelope(&header, recipients));
        Ok(Self { vault, upload, sealer, out: header, open, spool: None, envelope })
    }

    pub(super) fn envelope(&self) -> Envelope {
        self.envelope.clone()
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
            None => self.vault.create(self.upload)?,
        };
        Ok(self.spool.insert(spool))
    }

    /// Seals and writes the last chunk; not synced.
    pub(super) fn finish(mut self) -> Result<Spool, Broken> {
        self.seal(true)?;
        self.write()?;
        match self.spool {
            Some(spool) => Ok(spool),
            // There is always a header to write.
            None => Err(Broken::store("nothing was written")),
        }
    }
}
