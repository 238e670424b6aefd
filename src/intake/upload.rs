//! An upload under way, as the session holds it: takes writes, and ends by close, abort or drop.
//!
//! Must never accept an upload from which a write was refused or lost. Called by `sftp`.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::facts::Facts;
use super::lane::Lane;
use super::order::{Order, Taken};
use super::pipeline::{Broken, Cause, Stop};
use super::writes::{Append, Writes};
use super::{Closed, Inner, ending};
use crate::config::units::format_size;
use crate::types::*;

/// Bytes after which quota and free space are asked for again.
const GROWTH: u64 = 16 << 20;

/// An upload under way. Dropping it leaves a draft of what came, or is an abort when nothing did; the audit log is told.
pub struct Upload {
    pub(super) intake: Arc<Inner>,
    pub(super) facts: Arc<Facts>,
    /// None once it ended.
    pub(super) lane: Option<Lane>,
    pub(super) order: Order,
    pub(super) final_name: FileName,
    /// It has a working name: CLOSE leaves a draft.
    pub(super) working: bool,
    /// The gateway's name, for the receipt.
    pub(super) gateway: String,
    /// Why it can no longer be accepted, as far as this side knows.
    pub(super) stopped: Option<Refusal>,
    /// It was where a write belongs, and no more.
    pub(super) spared: bool,
    /// A write was begun and not finished: its caller went away in the middle.
    pub(super) torn: bool,
    pub(super) limits: Limits,
    /// The size at which there was room.
    pub(super) checked: u64,
    /// None while it is one clean sequence; else the number of its segments, at most.
    pub(super) pieces: Option<usize>,
    pub(super) append: Option<Append>,
    pub(super) writes: Writes,
    /// A draft that is gone on with, and whether it was closed; none for a new upload.
    pub(super) resumed: Option<bool>,
    /// Its size was set to something else.
    pub(super) resized: bool,
}

/// The numbers that bound it.
pub(super) struct Limits {
    pub quota: u64,
    pub reserve: u64,
    /// Of the dataset, in bytes.
    pub size: u64,
    /// Segments of one draft.
    pub segments: usize,
}

/// What a client is told when the gateway fails; the detail is logged.
pub(super) fn failure(broken: &Broken) -> Refusal {
    Refusal::failure(match broken.cause {
        Cause::DiskFull => {
            "the gateway's disk is full, nothing is wrong with your file: nothing of it was kept, send it again later"
        }
        Cause::Store => "the gateway could not store the file: nothing of it was kept, send it again later",
        Cause::Scan => {
            "the file could not be scanned for malware, nothing is wrong with it: nothing of it was kept, send it again later"
        }
    })
}

/// The same, when what came is kept.
pub(super) fn failure_of_draft(broken: &Broken) -> Refusal {
    Refusal::failure(match broken.cause {
        Cause::DiskFull => {
            "the gateway's disk is full, nothing is wrong with your file: what came of it is kept as a draft, finish it later"
        }
        Cause::Store => "the gateway could not store the file: what came of it is kept as a draft, finish it later",
        Cause::Scan => {
            "the file could not be scanned for malware, nothing is wrong with it: it is kept as a draft, finish it later"
        }
    })
}

impl Upload {
    pub fn id(&self) -> UploadId {
        self.facts.upload
    }

    /// The file's size as its client sees it.
    pub fn size(&self) -> u64 {
        self.facts.size()
    }

    /// Takes bytes at an offset. Waits while the worker is behind: that is the back-pressure. A future that is dropped
    /// before its end makes the upload fail.
    ///
    /// # Errors
    /// A final fault (the client may stop now), or an offset that cannot be taken, with what to do. Every further write
    /// gets it too, and CLOSE does not accept: but a draft that was gone on with stays one when it was an offset.
    pub async fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.fault()?;
        if bytes.is_empty() {
            return Ok(());
        }
        let offset = match &mut self.append {
            None => offset,
            Some(append) => match append.place(offset, self.facts.size()) {
                Ok(offset) => offset,
                Err(refusal) => return self.spare(refusal),
            },
        };
        let passed = self.order.passed();
        let taken = self.order.take(offset, bytes);
        if let Taken::Refused(why) = taken {
            return self.spare(Refusal::unsupported(why));
        }
        if taken == Taken::Elsewhere
            && let Err(refusal) = self.may_jump(self.order.jumps() + 1)
        {
            return self.spare(refusal);
        }
        self.touch().await;
        self.writes.part(offset, bytes.len());
        self.facts.grow(offset.saturating_add(bytes.len() as u64));
        self.facts.set_widest(self.writes.widest());
        self.facts.set_held(self.facts.held() + bytes.len() as u64);
        match taken {
            Taken::Now => {
                self.torn = true;
                if let Some(lane) = &mut self.lane {
                    lane.push(bytes).await;
                    if offset < passed {
                        lane.flush().await;
                    }
                    while let Some(piece) = self.order.ready() {
                        lane.push(&piece).await;
                    }
                }
                self.torn = false;
            }
            Taken::Elsewhere => {
                self.torn = true;
                self.spill().await;
                self.go(offset, bytes).await;
                self.torn = false;
            }
            Taken::Held | Taken::Refused(_) => {}
        }
        if self.pieces.is_some() && self.size() > self.limits.size {
            let most = format_size(self.limits.size);
            let why = format!(
                "the file is larger than {most}, the most that this dataset takes: split it, or ask for a higher limit"
            );
            return self.stop(Refusal::rejected(why));
        }
        let held = self.facts.held();
        if held.saturating_sub(self.checked) >= GROWTH {
            self.checked = held;
            if let Err(refusal) = self.intake.room(&self.facts.org, self.limits.quota, self.limits.reserve, None).await
            {
                return self.stop(refusal);
            }
        }
        self.fault()
    }

    /// One WRITE of the client ended; [`Upload::write`] may have had it in parts.
    pub fn end_write(&mut self) {
        self.writes.end();
    }

    /// What waits for its turn goes where it belongs, gaps or not.
    pub(super) async fn spill(&mut self) {
        while let Some((at, piece)) = self.order.spill() {
            self.go(at, &piece).await;
        }
    }

    /// From the first that is written to a draft on, it is not what its ticket says: before the client is answered, the
    /// ticket is another.
    async fn touch(&mut self) {
        let first = self.resumed.is_some() && !self.writes.any() && !self.resized;
        self.facts.set_as_closed(false);
        if let (true, Some(lane)) = (first, &mut self.lane) {
            self.torn = true;
            lane.note().await;
            self.torn = false;
        }
    }

    /// The same at a CLOSE; what is more than the places there may be is refused.
    pub(super) async fn spill_the_rest(&mut self) {
        match self.may_jump(self.order.jumps()) {
            Ok(()) => self.spill().await,
            Err(refusal) => drop(self.spare(refusal)),
        }
    }

    async fn go(&mut self, at: u64, bytes: &[u8]) {
        let passed = self.order.passed();
        let jump = self.order.go(at, bytes.len());
        let Some(lane) = &mut self.lane else { return };
        if jump {
            self.pieces = Some(self.pieces.unwrap_or(1) + 1);
            lane.jump(at).await;
        }
        lane.push(bytes).await;
        if at < passed {
            // What is written over must not come back, whoever ends this session.
            lane.flush().await;
        }
    }

    fn may_jump(&self, jumps: usize) -> Result<(), Refusal> {
        if self.facts.demands.vouches.is_some() {
            return Err(Refusal::unsupported(
                "a file as small as this is taken in order: send it again from its beginning",
            ));
        }
        if self.pieces.unwrap_or(1) + jumps <= self.limits.segments {
            return Ok(());
        }
        Err(Refusal::unsupported(format!(
            "the file's parts came out of order in more than {} places, and this gateway keeps no more apart: send it again \
             in order, from its beginning, with one connection",
            self.limits.segments
        )))
    }

    /// SETSTAT of the size: cuts the file, or says how long it will be (what is not written until CLOSE is a gap then).
    ///
    /// # Errors
    /// The upload has failed, or is one that is not cut.
    pub async fn set_size(&mut self, size: u64) -> Result<(), Refusal> {
        self.fault()?;
        // An interrupted OpenSSH sets the size that there is: after a loss that does not make the file whole.
        if size == self.size() {
            return Ok(());
        }
        // Of what is held nothing is with the worker yet.
        let handed = size < self.order.passed();
        if handed {
            self.may_jump(1).or_else(|refusal| self.spare(refusal))?;
        }
        self.order.truncate(size);
        self.facts.set_as_closed(false);
        self.facts.resize(size);
        self.writes.cut(size);
        self.resized = true;
        self.torn = true;
        if handed {
            self.pieces = Some(self.pieces.unwrap_or(1) + 1);
            self.order.go(size, 0);
        }
        match &mut self.lane {
            Some(lane) if handed => lane.truncate(size).await,
            Some(lane) => lane.note().await,
            None => {}
        }
        self.torn = false;
        self.fault()
    }

    /// Its content was found not to be acceptable: only CLOSE can make something of it, a rejection with its report.
    pub fn is_rejected(&self) -> bool {
        let found = self.lane.as_ref().and_then(Lane::stop);
        matches!(found, Some(Stop::Fault(_))) && self.stopped.is_none() && !self.torn && !self.facts.ended()
    }

    /// The modification time the client wants kept.
    pub fn set_modified(&mut self, modified: Timestamp) {
        self.facts.set_modified(modified);
    }

    /// Pushes what was received to the disk (fsync@openssh.com), as far as it is sealed: up to the last whole buffer and
    /// chunk, since plaintext never goes there. The future is independent of the upload.
    ///
    /// # Errors
    /// The upload has failed.
    pub fn sync(&mut self) -> impl Future<Output = Result<(), Refusal>> + Send + 'static + use<> {
        let begun = self.fault().map(|()| self.lane.as_ref().and_then(Lane::sync));
        async move {
            match begun? {
                None => Ok(()),
                Some(answer) => match answer.await {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(broken)) => Err(failure(&broken)),
                    Err(_) => Err(Refusal::failure("the upload ended before it was on the disk: send it again")),
                },
            }
        }
    }

    /// Ends the upload. The work goes on whether or not the future is polled, or dropped with its session: a broken
    /// connection does not stop what CLOSE began.
    ///
    /// # Errors
    /// `Rejected` with the reasons and what to do, when a report was recorded; `Failure` when the gateway failed, and
    /// nothing was kept.
    pub fn close(self) -> impl Future<Output = Result<Closed, Refusal>> + Send + 'static + use<> {
        let task = Handle::try_current().ok().map(|runtime| runtime.spawn(ending::close(self)));
        async move {
            let stopping = || Refusal::failure("the gateway is stopping: send the file again later");
            match task {
                Some(task) => task.await.unwrap_or_else(|_| Err(stopping())),
                None => Err(stopping()),
            }
        }
    }

    /// Ends the session's part: what came is kept as a draft, to be gone on with. Done whether or not the future is
    /// polled; it resolves when the event is on its way.
    pub fn leave(mut self, why: &str) -> impl Future<Output = ()> + Send + 'static + use<> {
        told(self.left(why))
    }

    fn left(&mut self, why: &str) -> Option<tokio::task::JoinHandle<()>> {
        let (spared, lane) = (self.is_spared(), self.lane.as_mut());
        let unfit = (self.torn || self.stopped.is_some()) && !spared;
        if unfit || lane.as_ref().is_some_and(|lane| lane.stop().is_some()) {
            // What came is not all that the client was told was taken, or no good: it is not gone on with.
            return ending::abort(&self.intake, &self.facts, lane.map(|lane| lane.handle()), why);
        }
        let handle = lane.filter(|_| !self.facts.ended()).map(Lane::leave)?;
        ending::leave(&self.intake, &self.facts, handle, why)
    }

    /// Bytes of a clean sequence that never came, in words.
    pub(super) fn missing(&self) -> Option<String> {
        self.order.missing(self.facts.due())
    }

    /// Why it can no longer be accepted, if so.
    pub(super) fn fault(&self) -> Result<(), Refusal> {
        if self.facts.ended() {
            return Err(Refusal::failure(format!("this upload is over: {}", self.facts.why())));
        }
        if self.torn {
            return Err(Refusal::failure("a part of this upload was lost inside the gateway: send the file again"));
        }
        if let Some(refusal) = &self.stopped {
            return Err(refusal.clone());
        }
        match self.lane.as_ref().and_then(Lane::stop) {
            None => Ok(()),
            Some(Stop::Fault(fault)) => Err(Refusal::rejected(fault.0.clone())),
            Some(Stop::Broken(broken)) => Err(failure(broken)),
        }
    }

    /// A draft that was gone on with, and that is left as by a lost connection. What the worker has is a beginning of what
    /// was written, also when the last write was torn.
    pub(super) fn is_spared(&self) -> bool {
        self.resumed.is_some() && (self.spared || self.torn)
    }

    fn spare(&mut self, refusal: Refusal) -> Result<(), Refusal> {
        self.spared = true;
        self.stop(refusal)
    }

    fn stop(&mut self, refusal: Refusal) -> Result<(), Refusal> {
        self.stopped = Some(refusal.clone());
        Err(refusal)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // After a close, abort or leave there is nothing left to end.
        if self.lane.is_some() {
            drop(self.left("the connection was lost"));
        }
    }
}

async fn told(ending: Option<tokio::task::JoinHandle<()>>) {
    if let Some(ending) = ending {
        let _ = ending.await;
    }
}
