//! What a session shares with the operations it spawned: who it is, what it uses, and the bounded ways in which it speaks
//! to the client beside the answers (`lines` on standard error) and to the audit log (refused requests).
//!
//! Must never let one session flood either. Called by everything in `sftp`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};

use super::dispatch::{Operation, Told};
use super::lines::Lines;
use super::rejections::Rejections;
use super::{Out, Services};
use crate::access::Principal;
use crate::audit::{Event, Kind};
use crate::config::Config;
use crate::ledger::LedgerError;
use crate::types::{FileName, Refusal, RefusalKind, Timestamp};

/// Operations of one session that may wait for the disk at once.
const OPERATIONS: usize = 64;
/// Refused requests of one session that get an event each; the rest are counted in one at the end.
const REFUSALS: u64 = 100;
/// What a late answer costs in memory beside its bytes: the task that waits to send it.
const LATE_COST: usize = 512;
/// Most bytes of a path in an event.
pub(super) const SUBJECT_MAX: usize = 512;
/// What any one request may take before it is answered that it failed. Closing an upload takes as long as it takes.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// What a request is about, for whoever hears that it was refused.
#[derive(Debug, Default)]
pub(super) struct About {
    /// As the client wrote it, cut.
    pub path: Vec<u8>,
    /// The upload whose handle it names.
    pub upload: Option<FileName>,
}

pub(super) struct Shared {
    pub principal: Principal,
    pub services: Arc<Services>,
    /// The time of files that are made as they are asked for.
    pub begun: Timestamp,
    /// Places for operations that wait for the disk.
    pub operations: Arc<Semaphore>,
    /// What is said on the client's standard error.
    pub lines: Lines,
    pub rejections: Rejections,
    late: mpsc::Sender<Out>,
    refusals: AtomicU64,
    /// Bytes of late answers that wait for the channel to take them.
    queued: AtomicUsize,
    /// Bytes of late answers since the client last had room.
    sent: AtomicUsize,
}

impl Shared {
    pub fn new(principal: Principal, services: Arc<Services>, late: mpsc::Sender<Out>, shown: bool) -> Self {
        Self {
            begun: services.clock.now(),
            principal,
            services,
            operations: Arc::new(Semaphore::new(OPERATIONS)),
            lines: Lines::new(shown),
            rejections: Rejections::default(),
            late,
            refusals: AtomicU64::new(0),
            queued: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
        }
    }

    pub fn config(&self) -> Arc<Config> {
        self.services.config.borrow().clone()
    }
    pub fn now(&self) -> Timestamp {
        self.services.clock.now()
    }

    /// Sends what is answered later; waits while the connection is behind.
    pub async fn send_late(&self, out: Out) {
        let size = LATE_COST
            + match &out {
                Out::Data(bytes) => bytes.len(),
                Out::Line(line) => line.len(),
            };
        self.queued.fetch_add(size, Relaxed);
        // Nobody listens any more: the connection is gone, and the answer with it.
        let _ = self.late.send(out).await;
        self.sent.fetch_add(size, Relaxed);
        self.queued.fetch_sub(size, Relaxed);
    }

    /// Bytes of late answers that the client has not made room for; `room` is what it has now.
    pub fn late_debt(&self, room: usize) -> usize {
        if room > 0 {
            self.sent.store(0, Relaxed);
        }
        self.sent.load(Relaxed) + self.queued.load(Relaxed)
    }

    /// Tells of a refused request where it must be told: the audit log, and the returned lines.
    pub async fn refused(&self, operation: &Operation, about: &About, refusal: &Refusal) -> Vec<String> {
        if operation.told == Told::UnlessMissing && refusal.kind == RefusalKind::NotFound {
            return Vec::new();
        }
        if operation.told != Told::ByIntake {
            self.audit_refusal(operation.name, &about.path, &refusal.reason).await;
        }
        self.lines.refused(about.upload.as_ref(), refusal)
    }

    async fn audit_refusal(&self, operation: &str, subject: &[u8], reason: &str) {
        if self.refusals.fetch_add(1, Relaxed) >= REFUSALS {
            return;
        }
        let mut event = Event::new(self.now(), Kind::RequestRefused, self.principal.actor().clone())
            .with("request", operation)
            .with("reason", reason);
        if !subject.is_empty() {
            event = event.with("path", String::from_utf8_lossy(subject));
        }
        self.services.recorder.record(event).await;
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let more = self.refusals.load(Relaxed).saturating_sub(REFUSALS);
        if more == 0 {
            return;
        }
        // Without a runtime the daemon is gone, and the ledger with it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let recorder = self.services.recorder.clone();
        let event = Event::new(self.now(), Kind::RequestRefused, self.principal.actor().clone())
            .with("request", "more of them")
            .with("count", more);
        runtime.spawn(async move { recorder.record(event).await });
    }
}

/// What a client is told when the ledger fails it; the cause is for the operator.
pub(super) fn ledger_failed(error: LedgerError) -> Refusal {
    tracing::error!(error = %error, "a request could not read or write the ledger");
    Refusal::failure("the gateway cannot get at its records now: try again later")
}
