//! An upload's life: begun, written, checked and sealed in one pass, kept, recorded. Drafts under working names.
//!
//! Must never let plaintext reach a disk, nor say that an upload is done before the ledger has committed. Called by
//! `sftp`; calls `check`, `seal`, `vault`, `ledger`.

mod lane;
mod pipeline;
mod registry;
mod reorder;
mod working;

use crate::access::Principal;
use crate::audit::Receipt;
use crate::config::Live;
use crate::ledger::Ledger;
use crate::types::*;
use crate::vault::Vault;

#[derive(Clone)]
pub struct Intake {}

/// An upload under way. Dropping it is an abort: the spool is removed, and the audit log told.
pub struct Upload {}

/// What CLOSE came to.
#[derive(Debug, Clone)]
pub enum Closed {
    /// Stored, sealed, audited and queued.
    Accepted(Receipt),
    /// Under a working name: a draft, waiting for the RENAME to its final name.
    Draft { size: u64 },
}

/// A draft as directories list it: under way or closed under a working name.
#[derive(Debug, Clone)]
pub struct DraftView {
    pub upload: UploadId,
    pub name: FileName,
    pub size: u64,
    pub modified: Timestamp,
    /// Closed, waiting for its RENAME.
    pub closed: bool,
}

impl Intake {
    pub fn new(_config: Live, _vault: Vault, _ledger: Ledger, _clock: Clock) -> Self {
        unimplemented!()
    }
    /// Begins an upload of `name` in `place`: decides the dataset, checks name, quota and space, audits. A working name
    /// (`x.csv.part`) is checked by the name it stands for.
    pub async fn begin(&self, _principal: &Principal, _place: &Place, _name: &FileName) -> Result<Upload, Refusal> {
        unimplemented!()
    }
    /// Completes a closed draft under its final name (in the same place, or another directory of the same dataset).
    /// Resolves when the ledger has committed, or to the reason why not. A rename from one working name to another is
    /// answered with `Closed::Draft`.
    pub async fn rename(
        &self,
        _principal: &Principal,
        _from: (&Place, &FileName),
        _to: (&Place, &FileName),
    ) -> Result<Closed, Refusal> {
        unimplemented!()
    }
    /// Removes a draft: closed, or under way in another session of the same organisation (which then fails).
    pub async fn remove(&self, _principal: &Principal, _place: &Place, _name: &FileName) -> Result<(), Refusal> {
        unimplemented!()
    }
    /// Drafts of an organisation in a place, the newest of each name, by name.
    pub fn drafts(&self, _org: &OrgId, _place: &Place) -> Vec<DraftView> {
        unimplemented!()
    }
    pub fn draft(&self, _org: &OrgId, _place: &Place, _name: &FileName) -> Option<DraftView> {
        unimplemented!()
    }
    /// Removes closed drafts past their time, with their events. Called now and then by the daemon.
    pub async fn expire_drafts(&self) {
        unimplemented!()
    }
    /// Bytes that the organisation's uploads under way and drafts hold, for its quota.
    pub fn bytes_under_way(&self, _org: &OrgId) -> u64 {
        unimplemented!()
    }
    /// Aborts all that is under way and removes all drafts, audited; for the end of the drain.
    pub async fn abandon_all(&self, _why: &str) {
        unimplemented!()
    }
    /// Uploads that are not ended yet (closed drafts not counted); the drain waits for zero.
    pub fn under_way(&self) -> usize {
        unimplemented!()
    }
}

impl Upload {
    pub fn id(&self) -> UploadId {
        unimplemented!()
    }
    /// Bytes received so far: the highest contiguous end.
    pub fn size(&self) -> u64 {
        unimplemented!()
    }
    /// Takes bytes at an offset. Waits while the worker is behind: that is the back-pressure.
    ///
    /// # Errors
    /// A final fault (the client may stop now), or an offset that cannot be taken, with what to do.
    pub async fn write(&mut self, _offset: u64, _bytes: &[u8]) -> Result<(), Refusal> {
        unimplemented!()
    }
    /// The modification time the client wants kept.
    pub fn set_modified(&mut self, _modified: Timestamp) {
        unimplemented!()
    }
    /// Pushes what was received to the disk (fsync@openssh.com); the future is independent of the upload.
    pub fn sync(&mut self) -> impl Future<Output = Result<(), Refusal>> + Send + 'static + use<> {
        async { unimplemented!() }
    }
    /// Ends the upload. The future does the work whether or not it is polled to its end in the session's task: the
    /// caller spawns it, and a broken connection does not stop what CLOSE began.
    pub fn close(self) -> impl Future<Output = Result<Closed, Refusal>> + Send + 'static + use<> {
        async { unimplemented!() }
    }
    /// Ends the upload without completing it, with the reason for the audit log.
    pub fn abort(self, _why: &str) -> impl Future<Output = ()> + Send + 'static + use<> {
        async { unimplemented!() }
    }
}
