//! How uploads end: accepted, rejected, a draft, a companion noted, or an audited abort. Each ends once.
//!
//! Must never answer OK before the ledger has committed, nor leave an object that the ledger does not know. Called by
//! `upload` and `intake`; `recording` tells the ledger.

use std::pin::Pin;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::consolidation::consolidate;
use super::facts::{Facts, Vouches};
use super::lane;
use super::pipeline::{Broken, Finished, Stop, Stored, Want};
use super::registry::{Body, Draft};
use super::segments::Segments;
use super::upload::Upload;
use super::vouching::waits;
use super::work::Ended as Came;
use super::{Closed, Inner, order};
use crate::audit::{Event, Kind, Restricted};
use crate::check::{ErrorType, Outcome};
use crate::ledger::Ended;
use crate::types::*;

/// An upload's entry in the registry goes when this does, whatever ends the task that holds it.
pub(super) struct Entry {
    pub intake: Arc<Inner>,
    pub upload: UploadId,
    pub stays: bool,
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.stays {
            self.intake.registry.leave(self.upload);
        }
    }
}

/// An upload whose bytes are all there, under its final name: what it comes to.
pub(super) struct End {
    pub intake: Arc<Inner>,
    pub facts: Arc<Facts>,
    /// Who closed or renamed it.
    pub actor: Actor,
    /// The gateway's name, for the receipt.
    pub gateway: String,
    pub place: Place,
    pub name: FileName,
    /// It ends as a broken off upload does, and was not renamed or marked as whole.
    pub interrupted: bool,
    /// It gets its name by this, which is told when it has.
    pub renamed: bool,
    /// What it was put together from: gone, with its keys, before the ledger is asked to accept it.
    pub segments: Option<Segments>,
}

/// CLOSE: the verdict, and what follows from it.
pub(super) async fn close(mut upload: Upload) -> Result<Closed, Refusal> {
    let (intake, facts) = (upload.intake.clone(), upload.facts.clone());
    let waits = !upload.working && waits(&intake, &facts, &facts.label().0, &upload.final_name).await?;
    if let (Some(closed), Ok(()), false) = (upload.resumed, upload.fault(), upload.writes.any() || upload.resized)
        && (!closed || upload.working || waits)
    {
        return untouched(upload, closed).await;
    }
    let waits = waits || upload.working;
    if upload.pieces.is_some() && upload.fault().is_ok() {
        upload.spill_the_rest().await;
    }
    if let (true, Err(refusal)) = (upload.is_spared(), upload.fault()) {
        upload.leave(&refusal.reason).await;
        return Err(refusal);
    }
    if upload.fault().is_ok() && upload.size() < facts.due() {
        // A loss has shown its client less than there was, and not even that came again.
        upload.leave("it was closed before it was whole").await;
        return Err(not_whole(facts.size(), "Go"));
    }
    let unfit = unfit(&upload);
    if !facts.end() {
        return Err(Refusal::failure(format!("this upload is over: {}", facts.why())));
    }
    let mut entry = Entry { intake: intake.clone(), upload: facts.upload, stays: false };
    let Some(lane) = upload.lane.take() else { return Err(Refusal::failure("this upload is over")) };
    if let Some(refusal) = unfit.as_ref().filter(|refusal| refusal.kind == RefusalKind::Failure) {
        lane.handle().abort();
        if let Some(Stop::Broken(broken)) = lane.stop() {
            return Err(intake.broken(&facts, broken).await);
        }
        intake.aborted(&facts, &refusal.reason).await;
        return Err(refusal.clone());
    }
    let want = match (&unfit, waits) {
        // It went over the quota: nothing more may be kept.
        (Some(refusal), _) if refusal.kind == RefusalKind::Denied => Want::Nothing,
        (Some(_), _) => Want::Rejected,
        (None, false) => Want::Object,
        (None, true) => Want::Draft,
    };
    let came = match lane.finish(want).await {
        Ok(came) => came,
        Err(broken) => return Err(intake.broken(&facts, &broken).await),
    };
    let end = End {
        intake: intake.clone(),
        facts: facts.clone(),
        actor: facts.actor.clone(),
        gateway: upload.gateway.clone(),
        place: facts.label().0,
        name: upload.final_name.clone(),
        interrupted: upload.writes.look_interrupted(),
        renamed: false,
        segments: None,
    };
    let finished = match came {
        Came::Whole(finished) => finished,
        Came::Pieces(segments) if waits && unfit.is_none() => {
            entry.stays = true;
            return Ok(end.keep_closed(Body::Pieces(segments)).await);
        }
        Came::Pieces(segments) => {
            entry.stays = true;
            return end.put_together(segments, unfit).await;
        }
    };
    facts.set_size(finished.size);
    if let Some(refusal) = unfit {
        return end.comes_to(unfit_for(finished, refusal)).await;
    }
    if waits && finished.outcome.report.acceptable() {
        let body = match intake.at_rest(finished).await {
            Ok(body) => body,
            Err(broken) => return Err(intake.broken(&facts, &broken).await),
        };
        entry.stays = true;
        return Ok(end.keep_closed(body).await);
    }
    end.comes_to(finished).await
}

/// A draft was opened and closed, and nothing was written: it stays what it was.
async fn untouched(mut upload: Upload, closed: bool) -> Result<Closed, Refusal> {
    let (intake, facts) = (upload.intake.clone(), upload.facts.clone());
    if !facts.end() {
        return Err(Refusal::failure(format!("this upload is over: {}", facts.why())));
    }
    let Some(lane) = upload.lane.take() else { return Err(Refusal::failure("this upload is over")) };
    let mut entry = Entry { intake: intake.clone(), upload: facts.upload, stays: false };
    let segments = match lane.finish(Want::Nothing).await {
        Ok(Came::Pieces(segments)) => segments,
        Ok(Came::Whole(_)) => return Err(Refusal::failure("this upload is over")),
        Err(broken) => return Err(intake.broken(&facts, &broken).await),
    };
    entry.stays = true;
    let size = facts.size();
    intake.keep(&facts, Body::Pieces(segments), closed).await;
    if closed {
        return Ok(Closed::Draft { size });
    }
    Err(not_whole(size, "Nothing was written now; go"))
}

fn not_whole(size: u64, go: &str) -> Refusal {
    Refusal::failure(format!(
        "the upload is not whole: its connection was lost, and {size} bytes of it are here. {go} on from there, or send it \
         again from its beginning"
    ))
}

/// What else the check found in a part of a file may be a consequence of why it is unfit.
fn unfit_for(mut finished: Finished, refusal: Refusal) -> Finished {
    finished.outcome = Outcome::default();
    finished.outcome.report.add(ErrorType::SourceError, "transfer", refusal.reason);
    finished
}

/// Why an upload cannot be accepted, as far as the session's side knows. What the check found comes with the verdict.
fn unfit(upload: &Upload) -> Option<Refusal> {
    match (upload.fault(), upload.lane.as_ref().and_then(lane::Lane::stop)) {
        (Err(_), Some(Stop::Fault(_))) if upload.stopped.is_none() && !upload.torn => None,
        (Err(refusal), _) => Some(refusal),
        (Ok(()), _) if upload.pieces.is_some() => None,
        (Ok(()), _) => upload.missing().map(Refusal::rejected),
    }
}

/// A RENAME to a final name, a marker or a companion: the draft comes to its end under its name.
pub(super) fn complete(
    intake: Arc<Inner>,
    draft: Draft,
    actor: Actor,
    gateway: String,
    to: (Place, FileName),
) -> Pin<Box<dyn Future<Output = Result<Closed, Refusal>> + Send>> {
    Box::pin(completed(intake, draft, actor, gateway, to))
}

async fn completed(
    intake: Arc<Inner>,
    draft: Draft,
    actor: Actor,
    gateway: String,
    (place, name): (Place, FileName),
) -> Result<Closed, Refusal> {
    let Draft { facts, body, .. } = draft;
    let mut entry = Entry { intake: intake.clone(), upload: facts.upload, stays: false };
    let (interrupted, renamed, segments) = (false, true, None);
    let end = End { intake, facts, actor, gateway, place, name, interrupted, renamed, segments };
    match body {
        Body::Whole(finished) => {
            end.take_name().await;
            end.comes_to(finished).await
        }
        Body::Pieces(segments) => {
            entry.stays = true;
            end.put_together(segments, None).await
        }
    }
}

impl End {
    /// It waits for what completes it.
    async fn keep_closed(self, body: Body) -> Closed {
        let Self { intake, facts, .. } = self;
        let size = match &body {
            Body::Whole(finished) => finished.size,
            Body::Pieces(_) => facts.size(),
        };
        facts.set_size(size);
        intake.keep(&facts, body, true).await;
        intake.recorder.record(event(&facts, Kind::DraftClosed, facts.actor.clone(), intake.clock.now())).await;
        Closed::Draft { size }
    }

    /// A draft of several segments is read once more, and comes to its end; when the gateway fails over that, it stays a
    /// draft.
    async fn put_together(mut self, segments: Segments, mut unfit: Option<Refusal>) -> Result<Closed, Refusal> {
        let mut entry = Entry { intake: self.intake.clone(), upload: self.facts.upload, stays: false };
        let refused = unfit.clone();
        let mut read = self.facts.due();
        if let Some((from, to)) = segments.gap(read) {
            unfit.get_or_insert_with(|| Refusal::rejected(order::missing(from, to)));
            read = from;
        }
        let want = match &unfit {
            None => Want::Object,
            Some(refusal) if refusal.kind == RefusalKind::Denied => Want::Nothing,
            Some(_) => Want::Rejected,
        };
        let (segments, came) = consolidate(&self, segments, read, want).await;
        let finished = match came {
            Ok(finished) => finished,
            Err(_) if let Some(refused) = refused => {
                // Something of it was not taken, which nobody would know of the draft that it were.
                self.intake.aborted(&self.facts, &refused.reason).await;
                let _ = tokio::task::spawn_blocking(move || drop(segments)).await;
                let what = "the file was not taken, and the gateway could not record why";
                return Err(Refusal::failure(format!("{what}: {}", refused.reason)));
            }
            Err(refusal) => {
                entry.stays = true;
                self.intake.keep(&self.facts, Body::Pieces(segments), true).await;
                return Err(refusal);
            }
        };
        self.take_name().await;
        self.segments = Some(segments);
        self.facts.set_size(finished.size);
        let finished = match unfit {
            None => finished,
            Some(refusal) => unfit_for(finished, refusal),
        };
        self.comes_to(finished).await
    }

    /// Accepted, rejected, or noted as a companion.
    pub(super) async fn comes_to(mut self, mut finished: Finished) -> Result<Closed, Refusal> {
        match self.facts.demands.vouches {
            None => {}
            Some(Vouches::Companion(_)) => return self.note_companion(finished).await,
            Some(Vouches::Marker) => return self.mark(finished).await,
        }
        let intake = self.intake.clone();
        let vouched = match self.vouched(&mut finished).await {
            Ok(vouched) => vouched,
            Err(error) => {
                let error = format!("what it is compared with could not be read: {error}");
                let _ = self.keep(finished.stored, false).await;
                return Err(intake.broken(&self.facts, &Broken::store(error)).await);
            }
        };
        let acceptable = finished.outcome.report.acceptable();
        let stored = std::mem::replace(&mut finished.stored, Stored::Nothing);
        match self.keep(stored, acceptable || self.facts.demands.quarantine).await {
            Ok(Some(sealed_size)) if acceptable => {
                let restricted = std::mem::take(&mut finished.outcome.restricted);
                let (md5, sha1, envelope) = (finished.md5.clone(), finished.sha1.clone(), finished.envelope.take());
                let receipt = self.receipt(finished, false);
                let (place, actor) = (self.place, self.actor);
                let ended = Ended { receipt, place, sealed_size, restricted, md5, sha1, vouched, envelope, actor };
                let accepted = intake.accept(&self.facts, ended).await.map(Closed::Accepted);
                if accepted.is_ok() {
                    intake.replaced(intake.registry.take_namesakes(&self.facts), &self.facts.actor).await;
                }
                accepted
            }
            Ok(None) if acceptable => Err(intake.broken(&self.facts, &Broken::store("nothing was stored")).await),
            Err(broken) if acceptable => Err(intake.broken(&self.facts, &broken).await),
            Ok(sealed_size) => Err(self.reject(finished, sealed_size).await),
            Err(broken) => {
                tracing::error!(upload.id = %self.facts.upload, error = broken.detail, "a rejected upload could not be quarantined");
                finished.unkept = Some("it could not be quarantined, nothing of it was kept");
                Err(self.reject(finished, None).await)
            }
        }
    }

    /// Records a rejection, with its object when it is quarantined.
    pub(super) async fn reject(self, finished: Finished, sealed_size: Option<u64>) -> Refusal {
        let intake = self.intake.clone();
        let (md5, sha1) = (finished.md5.clone(), finished.sha1.clone());
        let envelope = finished.envelope.clone().filter(|_| sealed_size.is_some());
        let receipt = self.receipt(finished, sealed_size.is_some());
        let (place, actor, sealed_size) = (self.place, self.actor, sealed_size.unwrap_or(0));
        // Which rows are restricted is for loaders, and none will see it.
        let restricted = Restricted::default();
        let vouched = Vec::new();
        let ended = Ended { receipt, place, sealed_size, restricted, md5, sha1, vouched, envelope, actor };
        intake.reject(&self.facts, ended).await
    }

    /// Keeps what the pass left, or removes it; the size of the object that is kept. From then on nothing here opens it:
    /// the keys of the draft that it was are gone, with its other files.
    async fn keep(&mut self, stored: Stored, wanted: bool) -> Result<Option<u64>, Broken> {
        let (tickets, facts, segments) = (self.intake.tickets.clone(), self.facts.clone(), self.segments.take());
        let upload = facts.upload;
        let work = move || -> std::io::Result<Option<u64>> {
            let forgotten = tickets.end(&facts);
            drop(segments);
            if let (Err(_), Stored::Object { .. }) = (&forgotten, &stored) {
                tickets.vault.remove(upload)?;
            }
            forgotten?;
            match stored {
                Stored::Draft(sealed) if wanted => sealed.spool.keep().map(Some),
                // Dropping the spool removes its file.
                Stored::Draft(_) | Stored::Nothing | Stored::Text(_) => Ok(None),
                Stored::Object { sealed_size } if wanted => Ok(Some(sealed_size)),
                Stored::Object { .. } => tickets.vault.remove(upload).map(|()| None),
            }
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(kept) => Ok(kept?),
            Err(error) => Err(Broken::store(error.to_string())),
        }
    }
}

/// A session is lost, or another goes on with what it wrote: what came stays as a draft. At once; the rest is done by a
/// task of its own. None when the upload had ended, or there is no runtime.
pub(super) fn leave(
    intake: &Arc<Inner>,
    facts: &Arc<Facts>,
    handle: lane::Handle,
    why: &str,
) -> Option<JoinHandle<()>> {
    if !facts.end_because(why) {
        return None;
    }
    let runtime = tokio::runtime::Handle::try_current().ok()?;
    let (intake, facts, why) = (intake.clone(), facts.clone(), why.to_owned());
    Some(runtime.spawn(async move {
        let mut entry = Entry { intake: intake.clone(), upload: facts.upload, stays: false };
        let segments = match facts.demands.vouches {
            Some(_) => None,
            None => handle.cut().await,
        };
        let kept = match segments {
            Some(segments) => intake.kept(&facts, segments).await,
            None => false,
        };
        if kept {
            entry.stays = true;
            let now = intake.clock.now();
            intake.log(&facts, now, "draft kept", Some(&why));
            let event = event(&facts, Kind::DraftKept, facts.actor.clone(), now).with("reason", why.as_str());
            intake.recorder.record(event).await;
        } else {
            handle.abort();
            intake.aborted(&facts, &why).await;
        }
        drop(entry);
    }))
}

/// Ends an upload that is not to be completed, unless it has ended: at once, with the event recorded by a task of its
/// own. None when there was nothing to do, or no runtime to do it.
pub(super) fn abort(
    intake: &Arc<Inner>,
    facts: &Arc<Facts>,
    handle: Option<lane::Handle>,
    why: &str,
) -> Option<JoinHandle<()>> {
    if !facts.end_because(why) {
        return None;
    }
    if let Some(handle) = handle {
        handle.abort();
    }
    let runtime = tokio::runtime::Handle::try_current().ok()?;
    let entry = Entry { intake: intake.clone(), upload: facts.upload, stays: false };
    let (intake, facts, why) = (intake.clone(), facts.clone(), why.to_owned());
    Some(runtime.spawn(async move {
        // The entry goes last: a drain that sees none left has its events.
        intake.aborted(&facts, &why).await;
        drop(entry);
    }))
}

/// An event about an upload, with what is known of it.
pub(super) fn event(facts: &Facts, kind: Kind, actor: Actor, now: Timestamp) -> Event {
    let (place, name) = facts.label();
    Event::new(now, kind, actor)
        .org(&facts.org)
        .dataset(&facts.dataset)
        .upload(facts.upload)
        .with("place", place.path())
        .with("name", name.as_str())
        .with("size", facts.size())
}

pub(super) fn renamed(facts: &Facts, actor: Actor, place: &Place, name: &FileName, now: Timestamp) -> Event {
    let event = event(facts, Kind::DraftRenamed, actor, now);
    event.with("to_place", place.path()).with("to_name", name.as_str())
}
