//! What is known of an upload from its beginning, and what changes about it.
//!
//! Its locks are held for moments, never across an await. Whoever ends an upload claims that with [`Facts::end`], so that
//! each ends once, whichever of close, abort, remove, takeover and drain comes first. Called by the rest of `intake`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio_util::sync::CancellationToken;

use super::admit::Admitted;
use crate::access::Principal;
use crate::config::{Companion, CompanionKind, Completion, Severity};
use crate::types::*;

/// What is known of an upload from its beginning.
#[derive(Debug)]
pub(super) struct Facts {
    /// Later sessions have larger ones: ids of one millisecond have no order.
    pub turn: u64,
    pub upload: UploadId,
    pub org: OrgId,
    pub account: AccountName,
    pub fingerprint: Fingerprint,
    pub actor: Actor,
    pub dataset: DatasetName,
    pub demands: Demands,
    pub began: Timestamp,
    /// Where and under which name it is listed; a draft may be renamed.
    pub label: Mutex<(Place, FileName)>,
    pub progress: Progress,
    /// It began before this daemon did: at the next start only its ticket tells that it has no end yet.
    pub old: bool,
    /// Cancelled when the session's part is over: it is a draft, or nothing.
    pub over: CancellationToken,
}

/// What is asked of an upload besides its content, as it was when the upload began.
#[derive(Debug, Clone)]
pub(super) struct Demands {
    /// What is rejected is kept, sealed.
    pub quarantine: bool,
    /// The same bytes were accepted before.
    pub repeated: Severity,
    pub companion: Companion,
    pub complete: Completion,
    /// It looks broken off.
    pub interrupted: Severity,
    /// It is a small file that vouches for an extract; none for an extract.
    pub vouches: Option<Vouches>,
    /// The named parts of the final name that its content is checked with.
    pub parts: BTreeMap<String, String>,
}

/// What a small file beside an extract is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vouches {
    Companion(CompanionKind),
    /// It says that the extract is whole.
    Marker,
}

/// What changes about an upload.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Its size, as its client is shown it: that of a plain file, which is behind the last byte that was written or where
    /// the size was set; after a loss, what can be gone on with.
    size: AtomicU64,
    /// The size that it must have to be complete: that of a plain file, which no loss makes smaller.
    due: AtomicU64,
    /// Bytes that are sealed without a gap from the start: what would be left if the connection were lost now.
    sealed: AtomicU64,
    /// Behind the last byte that its client is known to have.
    reached: AtomicU64,
    /// Bytes that it takes in the spool.
    held: AtomicU64,
    /// The size that was last told to somebody who may go on with it; none yet is 0.
    told: AtomicU64,
    /// Bytes of the longest WRITE.
    widest: AtomicU64,
    /// It is a closed draft that was opened again, and nothing was written yet.
    as_closed: AtomicBool,
    /// The time that the client wants kept.
    modified: Mutex<Option<Timestamp>>,
    /// Since when it waits as a draft.
    since: Mutex<Option<Timestamp>>,
    ended: AtomicBool,
    /// Why somebody else ended it, for the one who holds it.
    why: OnceLock<String>,
}

impl Facts {
    pub(super) fn new(
        principal: &Principal,
        upload: UploadId,
        began: Timestamp,
        admitted: &Admitted<'_>,
        label: (Place, FileName),
        old: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            turn: Self::next_turn(),
            upload,
            org: principal.org().clone(),
            account: principal.account().clone(),
            fingerprint: principal.fingerprint().clone(),
            actor: principal.actor().clone(),
            dataset: admitted.dataset.name.clone(),
            demands: admitted.demands(),
            began,
            label: Mutex::new(label),
            progress: Progress::default(),
            old,
            over: CancellationToken::new(),
        })
    }

    pub(super) fn next_turn() -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn label(&self) -> (Place, FileName) {
        lock(&self.label).clone()
    }
    pub(super) fn is_labelled(&self, place: &Place, name: &FileName) -> bool {
        let label = lock(&self.label);
        label.0 == *place && label.1 == *name
    }
    pub(super) fn relabel(&self, place: Place, name: FileName) {
        *lock(&self.label) = (place, name);
    }
    pub(super) fn size(&self) -> u64 {
        self.progress.size.load(Ordering::Relaxed)
    }
    pub(super) fn set_size(&self, size: u64) {
        self.progress.size.store(size, Ordering::Relaxed);
    }
    pub(super) fn due(&self) -> u64 {
        self.progress.due.load(Ordering::Relaxed)
    }
    pub(super) fn set_due(&self, size: u64) {
        self.progress.due.store(size, Ordering::Relaxed);
    }
    /// Bytes were written, up to before `end`.
    pub(super) fn grow(&self, end: u64) {
        for size in [&self.progress.size, &self.progress.due, &self.progress.reached] {
            size.fetch_max(end, Ordering::Relaxed);
        }
    }
    /// Somebody set its size.
    pub(super) fn resize(&self, size: u64) {
        self.set_size(size);
        self.set_due(size);
        self.progress.reached.fetch_min(size, Ordering::Relaxed);
    }
    pub(super) fn sealed(&self) -> u64 {
        self.progress.sealed.load(Ordering::Relaxed)
    }
    pub(super) fn set_sealed(&self, size: u64) {
        self.progress.sealed.store(size, Ordering::Relaxed);
    }
    pub(super) fn set_reached(&self, end: u64) {
        self.progress.reached.store(end, Ordering::Relaxed);
    }
    /// How much a lost connection leaves of `whole` bytes without a gap: always less than what its client has, who finds
    /// something left to send then, and to close. A closed draft that nothing was written to is whole as it is.
    pub(super) fn left_of(&self, whole: u64) -> u64 {
        match self.is_as_closed() {
            true => whole,
            false => whole.min(self.progress.reached.load(Ordering::Relaxed).saturating_sub(1)),
        }
    }
    pub(super) fn held(&self) -> u64 {
        self.progress.held.load(Ordering::Relaxed)
    }
    pub(super) fn set_held(&self, bytes: u64) {
        self.progress.held.store(bytes, Ordering::Relaxed);
    }
    pub(super) fn told(&self) -> u64 {
        self.progress.told.load(Ordering::Relaxed)
    }
    pub(super) fn tell(&self, size: u64) -> u64 {
        self.progress.told.store(size, Ordering::Relaxed);
        size
    }
    pub(super) fn widest(&self) -> u64 {
        self.progress.widest.load(Ordering::Relaxed)
    }
    pub(super) fn set_widest(&self, bytes: u64) {
        self.progress.widest.store(bytes, Ordering::Relaxed);
    }
    pub(super) fn is_as_closed(&self) -> bool {
        self.progress.as_closed.load(Ordering::Relaxed)
    }
    pub(super) fn set_as_closed(&self, closed: bool) {
        self.progress.as_closed.store(closed, Ordering::Relaxed);
    }
    pub(super) fn modified(&self) -> Option<Timestamp> {
        *lock(&self.progress.modified)
    }
    pub(super) fn set_modified(&self, modified: Timestamp) {
        *lock(&self.progress.modified) = Some(modified);
    }
    pub(super) fn since(&self) -> Option<Timestamp> {
        *lock(&self.progress.since)
    }
    pub(super) fn set_since(&self, since: Timestamp) {
        *lock(&self.progress.since) = Some(since);
    }

    /// Claims the right to end this upload; true for the first only.
    pub(super) fn end(&self) -> bool {
        !self.progress.ended.swap(true, Ordering::AcqRel)
    }
    pub(super) fn end_because(&self, why: &str) -> bool {
        let first = self.end();
        if first {
            let _ = self.progress.why.set(why.to_owned());
        }
        first
    }
    pub(super) fn ended(&self) -> bool {
        self.progress.ended.load(Ordering::Acquire)
    }
    pub(super) fn why(&self) -> &str {
        self.progress.why.get().map_or("it was ended", String::as_str)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
