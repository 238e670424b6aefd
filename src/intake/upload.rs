//! An upload under way, as the session holds it: takes writes, and ends by close, abort or drop.
//!
//! Must never accept an upload from which a write was refused or lost. Called by `sftp`.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::lane::Lane;
use super::pipeline::{Broken, Cause, Stop};
use super::registry::Facts;
use super::reorder::{Reorder, Taken};
use super::{Closed, Inner, ending};
use crate::types::*;

/// Bytes after which quota and free space are asked for again.
const GROWTH: u64 = 16 << 20;

/// An upload under way. Dropping it is an abort: the spool is removed, and the audit log told.
pub struct Upload {
    pub(super) intake: Arc<Inner>,
    pub(super) facts: Arc<Facts>,
    /// None once it ended.
    pub(super) lane: Option<Lane>,
    pub(super) reorder: Reorder,
    pub(super) final_name: FileName,
    /// It has a working name: CLOSE leaves a draft.
    pub(super) working: bool,
    /// The gateway's name, for the receipt.
    pub(super) gateway: String,
    /// Why it can no longer be accepted, as far as this side knows.
    pub(super) stopped: Option<Refusal>,
    /// A write was begun and not finished: its caller went away in the middle.
    pub(super) torn: bool,
    pub(super) quota: u64,
    pub(super) reserve: u64,
    /// The size at which there was room.
    pub(super) checked: u64,
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

impl Upload {
    pub fn id(&self) -> UploadId {
        self.facts.upload
    }

    /// Bytes received so far: the highest contiguous end.
    pub fn size(&self) -> u64 {
        self.reorder.next()
    }

    /// Takes bytes at an offset. Waits while the worker is behind: that is the back-pressure. A future that is dropped
    /// before its end makes the upload fail.
    ///
    /// # Errors
    /// A final fault (the client may stop now), or an offset that cannot be taken, with what to do. Every further write
    /// gets it too, and CLOSE does not accept.
    pub async fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.fault()?;
        match self.reorder.take(offset, bytes) {
            Taken::Held => return Ok(()),
            Taken::Refused(why) => return self.stop(Refusal::unsupported(why)),
            Taken::Now => {}
        }
        self.torn = true;
        if let Some(lane) = &mut self.lane {
            lane.push(bytes).await;
            while let Some(piece) = self.reorder.ready() {
                lane.push(&piece).await;
            }
        }
        self.torn = false;
        let size = self.reorder.next();
        self.facts.set_size(size);
        if size - self.checked >= GROWTH {
            self.checked = size;
            if let Err(refusal) = self.intake.room(&self.facts.org, self.quota, self.reserve).await {
                return self.stop(refusal);
            }
        }
        self.fault()
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

    /// Ends the upload without completing it, with the reason for the audit log. Done whether or not the future is
    /// polled; it resolves when the event is on its way.
    pub fn abort(self, why: &str) -> impl Future<Output = ()> + Send + 'static + use<> {
        let told = ending::abort(&self.intake, &self.facts, self.lane.as_ref().map(Lane::handle), why);
        async move {
            if let Some(told) = told {
                let _ = told.await;
            }
        }
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

    fn stop(&mut self, refusal: Refusal) -> Result<(), Refusal> {
        self.stopped = Some(refusal.clone());
        Err(refusal)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // After a close or abort there is nothing left to end.
        let handle = self.lane.as_ref().map(Lane::handle);
        drop(ending::abort(&self.intake, &self.facts, handle, "the connection was lost"));
    }
}
