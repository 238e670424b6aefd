//! What a session has open, by the handles that its client holds.
//!
//! Must never hold more than the configured number. Called by `session` and the operations.

use std::sync::Arc;

use super::attrs::{Stat, Wanted};
use super::provider::Spot;
use super::reads::Source;
use super::tree::Listing;
use crate::intake::Upload;
use crate::types::{DeliveryId, Refusal, Timestamp};

/// Bytes of files made by the gateway (receipts, lists, help) that one session may have open at once.
const MEMORY: usize = 32 << 20;

/// A handle as the client knows it. A closed one never names a later file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HandleId {
    slot: u32,
    serial: u32,
}

impl HandleId {
    /// A handle that was never given out.
    const NONE: Self = Self { slot: u32::MAX, serial: 0 };

    pub fn from_wire(bytes: &[u8]) -> Self {
        let Ok(bytes) = <[u8; 8]>::try_from(bytes) else { return Self::NONE };
        let both = u64::from_be_bytes(bytes);
        Self { slot: (both >> 32) as u32, serial: both as u32 }
    }
    pub fn to_wire(self) -> [u8; 8] {
        (u64::from(self.slot) << 32 | u64::from(self.serial)).to_be_bytes()
    }
}

pub(super) enum Open {
    Upload(Box<Incoming>),
    File(File),
    Directory(Box<Listing>),
}

/// A file open for reading.
pub(super) struct File {
    pub source: Source,
    pub stat: Stat,
    /// For a delivery's object: what must hold for it to be read.
    pub lease: Option<Lease>,
}

/// The lease that lets an object be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    pub delivery: DeliveryId,
    /// From here on the ledger is asked again.
    pub until: Timestamp,
}

/// An upload that a client writes.
pub(super) struct Incoming {
    /// None once a write was given up half-way: what the worker has is unknown then.
    pub upload: Option<Upload>,
    pub spot: Spot,
    /// Why a write failed; later ones fail alike.
    pub failed: Option<Refusal>,
    pub modified: Option<Timestamp>,
}

impl Incoming {
    pub fn size(&self) -> u64 {
        self.upload.as_ref().map_or(0, Upload::size)
    }

    /// SETSTAT of an upload under way.
    ///
    /// # Errors
    /// The upload has failed, or cannot be cut so.
    pub async fn set(&mut self, wanted: Wanted) -> Result<(), Refusal> {
        let Some(upload) = &mut self.upload else { return self.failed.clone().map_or(Ok(()), Err) };
        if let Some(size) = wanted.size {
            upload.set_size(size).await?;
        }
        if let Some(modified) = wanted.modified_at() {
            upload.set_modified(modified);
            self.modified = Some(modified);
        }
        Ok(())
    }

    /// Its content was found not to be acceptable, whatever else comes.
    pub fn is_rejected(&self) -> bool {
        self.upload.as_ref().is_some_and(Upload::is_rejected)
    }

    /// What its own session is shown of it.
    pub fn stat(&self, now: Timestamp) -> Stat {
        Stat::file(self.size(), self.modified.unwrap_or(now))
    }
}

impl Drop for Incoming {
    /// Many clients leave without a CLOSE once a WRITE was refused: what was found wrong is a rejection all the same, with
    /// its report.
    fn drop(&mut self) {
        if self.is_rejected()
            && let Some(upload) = self.upload.take()
        {
            // Its work goes on by itself.
            drop(upload.close());
        }
    }
}

/// # Errors
/// A wanted size other than `size`: nothing here is cut or stretched.
pub(super) fn fits_size(wanted: Wanted, size: u64) -> Result<(), Refusal> {
    if wanted.size.is_none_or(|wanted| wanted == size) {
        return Ok(());
    }
    Err(Refusal::denied("a file cannot be cut or stretched here: upload it again from its beginning"))
}

/// The refusal of a question about the content of an upload that is still open.
pub(super) fn is_under_way() -> Refusal {
    Refusal::rejected("the upload is under way: ask for its digest by name, after it was closed")
}

/// The refusal of a handle that the session does not hold.
pub(super) fn unknown() -> Refusal {
    Refusal::rejected("no such handle: it was closed, or never given")
}

pub(super) struct Handles<T = Open> {
    slots: Vec<Option<(u32, T)>>,
    serial: u32,
}

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), serial: 0 }
    }
}

impl<T> Handles<T> {
    /// # Errors
    /// When `cap` handles are open.
    pub fn room(&self, cap: usize) -> Result<(), Refusal> {
        if self.slots.iter().flatten().count() < cap {
            return Ok(());
        }
        Err(Refusal::rejected(format!(
            "{cap} files and directories are open in this session, and more are not allowed: close some first"
        )))
    }

    pub fn insert(&mut self, open: T) -> HandleId {
        self.serial = self.serial.wrapping_add(1);
        let slot = self.slots.iter().position(Option::is_none).unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some((self.serial, open));
        HandleId { slot: slot as u32, serial: self.serial }
    }

    pub fn find(&mut self, id: HandleId) -> Option<&mut T> {
        match self.slots.get_mut(id.slot as usize) {
            Some(Some((serial, open))) if *serial == id.serial => Some(open),
            _ => None,
        }
    }

    pub fn remove(&mut self, id: HandleId) -> Option<T> {
        self.find(id)?;
        Some(self.slots.get_mut(id.slot as usize)?.take()?.1)
    }

    /// Everything open, taken out.
    pub fn drain(&mut self) -> impl Iterator<Item = T> {
        std::mem::take(&mut self.slots).into_iter().flatten().map(|(_, open)| open)
    }

    fn iter(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().flatten().map(|(_, open)| open)
    }
}

impl Handles<Open> {
    /// # Errors
    /// When the files open for reading would hold more than [`MEMORY`] together. One alone is always let in: the largest,
    /// a list of restricted rows, is bounded by the check.
    pub fn memory(&mut self, file: &File) -> Result<(), Refusal> {
        let held = |open: &mut Open| if let Open::File(file) = open { file.held() } else { 0 };
        let held: usize = self.iter().map(held).sum();
        if file.held() == 0 || held == 0 || held + file.held() <= MEMORY {
            return Ok(());
        }
        Err(Refusal::rejected("the files that are open in this session are too large together: close some first"))
    }

    /// The upload under way at a place, if this session writes it.
    pub fn upload_at(&mut self, spot: &Spot) -> Option<&mut Incoming> {
        self.iter().find_map(|open| match open {
            Open::Upload(incoming) if incoming.spot == *spot => Some(&mut **incoming),
            _ => None,
        })
    }
}

impl File {
    pub fn text(text: String, modified: Timestamp) -> Self {
        Self::shared(Arc::from(text.into_bytes()), modified)
    }

    /// A file whose bytes others may hold as well.
    pub fn shared(bytes: Arc<[u8]>, modified: Timestamp) -> Self {
        let stat = Stat::file(bytes.len() as u64, modified);
        Self { source: Source::Bytes(bytes), stat, lease: None }
    }

    /// Bytes that it holds in memory.
    fn held(&self) -> usize {
        match &self.source {
            Source::Bytes(bytes) => bytes.len(),
            Source::Object(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_handle_never_names_a_later_file() {
        let mut handles = Handles::default();
        let first = handles.insert("first");
        assert_eq!(handles.remove(first), Some("first"));
        let second = handles.insert("second");
        assert_eq!(first.slot, second.slot, "the place is used again");
        assert!(handles.find(first).is_none());
        assert!(handles.remove(first).is_none());
        assert_eq!(handles.find(second), Some(&mut "second"));
    }

    #[test]
    fn only_handles_of_our_making_are_found() {
        let mut handles = Handles::default();
        let id = handles.insert(());
        assert_eq!(HandleId::from_wire(&id.to_wire()), id);
        for foreign in [&b""[..], &[0; 8], &[0xff; 8], &[0; 7], &[0; 256], b"../../etc"] {
            assert!(handles.find(HandleId::from_wire(foreign)).is_none(), "{foreign:?}");
        }
    }

    #[test]
    fn past_the_cap_there_is_no_room_until_one_is_closed() {
        let mut handles = Handles::default();
        let first = handles.insert(());
        handles.room(2).unwrap();
        handles.insert(());
        assert!(handles.room(2).is_err());
        handles.remove(first);
        handles.room(2).unwrap();
    }
}
