//! How uploads end: accepted, rejected, a draft, a companion noted, or an audited abort. Each ends once.
//!
//! Must never answer OK before the ledger has committed, nor leave an object that the ledger does not know. Called by
//! `upload` and `intake`; `recording` tells the ledger.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::pipeline::{Broken, Finished, Stop, Stored, Want};
use super::registry::{Draft, Facts};
use super::upload::Upload;
use super::{Closed, Inner, lane};
use crate::audit::{Event, Kind, Restricted};
use crate::check::{ErrorType, Outcome};
use crate::ledger::Ended;
use crate::types::*;

/// An upload's entry in the registry goes when this does, whatever ends the task that holds it.
struct Entry {
    intake: Arc<Inner>,
    upload: UploadId,
    stays: bool,
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
}

/// CLOSE: the verdict, and what follows from it.
pub(super) async fn close(mut upload: Upload) -> Result<Closed, Refusal> {
    let (intake, facts) = (upload.intake.clone(), upload.facts.clone());
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
    let want = match (&unfit, upload.working) {
        // It went over the quota: nothing more may be kept.
        (Some(refusal), _) if refusal.kind == RefusalKind::Denied => Want::Nothing,
        (Some(_), _) => Want::Rejected,
        (None, false) => Want::Object,
        (None, true) => Want::Draft,
    };
    let mut finished = match lane.finish(want).await {
        Ok(finished) => finished,
        Err(broken) => return Err(intake.broken(&facts, &broken).await),
    };
    facts.set_size(finished.size);
    if let Some(refusal) = unfit {
        // What else the check found in a part of a file may be a consequence of this.
        finished.outcome = Outcome::default();
        finished.outcome.report.add(ErrorType::SourceError, "transfer", refusal.reason);
    }
    if upload.working && finished.outcome.report.acceptable() {
        entry.stays = true;
        let (size, closed) = (finished.size, intake.clock.now());
        let replaced = intake.registry.close(Draft { facts: facts.clone(), finished, closed });
        intake.recorder.record(event(&facts, Kind::DraftClosed, facts.actor.clone(), closed)).await;
        intake.replaced(replaced, &facts.actor).await;
        return Ok(Closed::Draft { size });
    }
    let (actor, place) = (facts.actor.clone(), facts.label().0);
    let (gateway, name) = (upload.gateway.clone(), upload.final_name.clone());
    End { intake, facts, actor, gateway, place, name }.comes_to(finished).await
}

/// Why an upload cannot be accepted, as far as the session's side knows. What the check found comes with the verdict.
fn unfit(upload: &Upload) -> Option<Refusal> {
    match (upload.fault(), upload.lane.as_ref().and_then(lane::Lane::stop)) {
        (Err(_), Some(Stop::Fault(_))) if upload.stopped.is_none() && !upload.torn => None,
        (Err(refusal), _) => Some(refusal),
        (Ok(()), _) => upload.reorder.missing().map(Refusal::rejected),
    }
}

/// A RENAME to a final name: the draft comes to its end under it.
pub(super) async fn complete(
    intake: Arc<Inner>,
    draft: Draft,
    actor: Actor,
    gateway: String,
    (place, name): (Place, FileName),
) -> Result<Closed, Refusal> {
    let Draft { facts, finished, .. } = draft;
    let _entry = Entry { intake: intake.clone(), upload: facts.upload, stays: false };
    intake.recorder.record(renamed(&facts, actor.clone(), &place, &name, intake.clock.now())).await;
    facts.relabel(place.clone(), name.clone());
    End { intake, facts, actor, gateway, place, name }.comes_to(finished).await
}

impl End {
    /// Accepted, rejected, or noted as a companion.
    pub(super) async fn comes_to(self, mut finished: Finished) -> Result<Closed, Refusal> {
        if self.facts.demands.vouches.is_some() {
            return self.note_companion(finished).await;
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
                let (md5, sha1) = (finished.md5.clone(), finished.sha1.clone());
                let receipt = self.receipt(finished, false);
                let (place, actor) = (self.place, self.actor);
                let ended = Ended { receipt, place, sealed_size, restricted, md5, sha1, vouched, actor };
                intake.accept(&self.facts, ended).await.map(Closed::Accepted)
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
        let receipt = self.receipt(finished, sealed_size.is_some());
        let (place, actor, sealed_size) = (self.place, self.actor, sealed_size.unwrap_or(0));
        // Which rows are restricted is for loaders, and none will see it.
        let restricted = Restricted::default();
        let ended = Ended { receipt, place, sealed_size, restricted, md5, sha1, vouched: Vec::new(), actor };
        intake.reject(&self.facts, ended).await
    }

    /// Keeps what the pass left, or removes it; the size of the object that is kept.
    async fn keep(&self, stored: Stored, wanted: bool) -> Result<Option<u64>, Broken> {
        let (vault, upload) = (self.intake.vault.clone(), self.facts.upload);
        let work = move || -> std::io::Result<Option<u64>> {
            match stored {
                Stored::Draft(spool) if wanted => spool.keep().map(Some),
                // Dropping the spool removes its file.
                Stored::Draft(_) | Stored::Nothing | Stored::Text(_) => Ok(None),
                Stored::Object { sealed_size } if wanted => Ok(Some(sealed_size)),
                Stored::Object { .. } => vault.remove(upload).map(|()| None),
            }
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(kept) => Ok(kept?),
            Err(error) => Err(Broken::store(error.to_string())),
        }
    }
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
