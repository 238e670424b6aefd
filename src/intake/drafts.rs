//! What sessions do with drafts: list, go on with, cut, rename, remove.
//!
//! Must never complete what a lost connection cut off. Called by `sftp`.

use super::admit::{Admitted, admit};
use super::facts::Facts;
use super::lane::Lane;
use super::pieces::Pieces;
use super::pipeline::{Broken, Finished, Stored};
use super::registry::{Body, Draft, Found};
use super::sealing::Origin;
use super::segments::Segments;
use super::upload::{Upload, failure_of_draft};
use super::vouching::waits;
use super::writes::Append;
use super::{Closed, Intake, completing, ending, joining, no_such_draft};
use crate::access::Principal;
use crate::audit::Kind;
use crate::config::Config;
use crate::types::*;

impl Intake {
    /// Goes on with a draft, at the size that was last told of it. One that another session still writes is taken from
    /// it: that is nearly always a connection that was lost, and not yet noticed. `append`: the client asked for that.
    ///
    /// # Errors
    /// There is none of that name, it is being completed, or it may not be sent any more.
    pub async fn resume(
        &self,
        principal: &Principal,
        place: &Place,
        name: &FileName,
        append: bool,
    ) -> Result<Upload, Refusal> {
        self.0.takes(principal)?;
        let (intake, principal, place, name) = (self.clone(), principal.clone(), place.clone(), name.clone());
        // A task of its own: a draft that was taken out must be put back, whoever waits for this or not.
        let task = tokio::spawn(async move { intake.go_on(&principal, &place, &name, append).await });
        task.await.unwrap_or_else(|_| Err(Refusal::failure("the gateway is stopping: try again later")))
    }

    async fn go_on(
        &self,
        principal: &Principal,
        place: &Place,
        name: &FileName,
        append: bool,
    ) -> Result<Upload, Refusal> {
        let config = self.0.config.borrow().clone();
        let admitted = admit(&config, principal.org(), place, name)?;
        self.0.room(principal.org(), admitted.org.quota, config.intake.reserve, None).await?;
        let draft = self.take(principal, place, name).await?;
        if draft.facts.dataset != admitted.dataset.name || admitted.vouches.is_some() {
            self.0.registry.keep(draft);
            return Err(Refusal::denied("this draft cannot be gone on with: send the file again from its beginning"));
        }
        let mut upload = self.reopen(principal, &config, &admitted, draft).await?;
        upload.append = append.then_some(Append::New);
        let now = self.0.clock.now();
        self.0.recorder.record(ending::event(&upload.facts, Kind::DraftResumed, principal.actor().clone(), now)).await;
        Ok(upload)
    }

    /// Takes a draft out of the registry, from the session that writes it if there is one.
    async fn take(&self, principal: &Principal, place: &Place, name: &FileName) -> Result<Draft, Refusal> {
        loop {
            match self.0.registry.find(principal.org(), place, name) {
                None => return Err(no_such_draft(name)),
                Some(Found::Completing) => return Err(completing(name)),
                Some(Found::UnderWay(facts, handle)) => {
                    let why = format!("{} goes on with it in another session", principal.account());
                    drop(ending::leave(&self.0, &facts, handle, &why));
                    // Also when it is being closed just now: then what that comes to is what there is.
                    facts.over.cancelled().await;
                }
                Some(Found::Kept { facts, .. }) => {
                    if let Some(draft) = self.0.registry.complete(facts.upload) {
                        return Ok(draft);
                    }
                }
            }
        }
    }

    async fn reopen(
        &self,
        principal: &Principal,
        config: &Config,
        admitted: &Admitted<'_>,
        draft: Draft,
    ) -> Result<Upload, Refusal> {
        let Draft { facts: before, body, closed, .. } = draft;
        let mut entry = ending::Entry { intake: self.0.clone(), upload: before.upload, stays: false };
        let mut segments = match pieces(body).await {
            Ok(segments) => segments,
            Err(broken) => return Err(self.0.broken(&before, &broken).await),
        };
        let told = before.told();
        if !closed && told > 0 && told < segments.size() {
            before.set_size(told);
            segments = self.0.cut(&before, segments, told, closed).await;
        }
        let most = config.intake.segments;
        if joining::is_due(&segments, most) {
            let origin = self.0.origin(admitted.org, before.upload);
            let (joined, outcome) = joining::join(&self.0.tickets, &before, origin, segments, closed).await;
            segments = joined;
            if let Err(broken) = outcome {
                tracing::error!(upload.id = %before.upload, org = %before.org, error = broken.detail, "a draft's segments could not be joined");
                entry.stays = true;
                self.0.keep(&before, Body::Pieces(segments), closed).await;
                return Err(failure_of_draft(&broken));
            }
        }
        if segments.all().len() >= most {
            entry.stays = true;
            self.0.keep(&before, Body::Pieces(segments), closed).await;
            return Err(Refusal::unsupported(format!(
                "this draft has gaps in {} places or more, and this gateway keeps no more apart: send the file again in \
                 order, from its beginning",
                most - 1
            )));
        }
        let facts = Facts::new(principal, before.upload, before.began, admitted, before.label(), before.old);
        if let Some(modified) = before.modified() {
            facts.set_modified(modified);
        }
        facts.set_widest(before.widest());
        // One that was closed may end in a gap.
        let size = if closed { before.size() } else { segments.size() };
        facts.set_size(size);
        facts.set_due(before.due());
        facts.set_sealed(if closed { size } else { segments.whole() });
        facts.set_held(segments.held());
        facts.set_as_closed(closed);
        // What was kept of a lost one is less than its client has.
        facts.set_reached(size + u64::from(!closed));
        // What is written now is a segment of its own.
        let count = segments.all().len() + 1;
        let origin: Origin = self.0.origin(admitted.org, before.upload);
        let lane = Lane::resume(Pieces::resume(origin, Some(self.0.keeper(&facts)), segments, size));
        self.0.registry.resume(&facts, lane.handle());
        let mut upload = self.upload(config, admitted, facts, lane, size);
        (upload.pieces, upload.resumed) = (Some(count), Some(closed));
        entry.stays = true;
        Ok(upload)
    }

    /// SETSTAT of a waiting draft's size: it is cut to it. A draft is not stretched.
    ///
    /// # Errors
    /// It is being written or completed, or the size is not smaller.
    pub async fn cut(&self, principal: &Principal, place: &Place, name: &FileName, size: u64) -> Result<(), Refusal> {
        let (facts, closed) = match self.0.registry.find(principal.org(), place, name) {
            None => return Err(no_such_draft(name)),
            Some(Found::Completing) => return Err(completing(name)),
            Some(Found::UnderWay(..)) => {
                return Err(Refusal::denied(format!("{:?} is being uploaded in another session", name.as_str())));
            }
            Some(Found::Kept { facts, closed, .. }) => (facts, closed),
        };
        if size == facts.size() {
            return Ok(());
        }
        if size > facts.size() {
            return Err(Refusal::denied("a draft cannot be stretched here: open it, and write what is missing"));
        }
        let Some(draft) = self.0.registry.complete(facts.upload) else { return Err(completing(name)) };
        let segments = match pieces(draft.body).await {
            Ok(segments) => segments,
            Err(broken) => {
                let refusal = self.0.broken(&facts, &broken).await;
                self.0.registry.leave(facts.upload);
                return Err(refusal);
            }
        };
        facts.resize(size);
        let segments = self.0.cut(&facts, segments, size, closed).await;
        self.0.keep(&facts, Body::Pieces(segments), closed).await;
        Ok(())
    }

    /// Empties an accepted file's name, as a client does that writes over it in place: a draft of no bytes stands there,
    /// to be gone on with. The accepted upload itself stays.
    ///
    /// # Errors
    /// As for [`Intake::begin`].
    pub async fn empty(&self, principal: &Principal, place: &Place, name: &FileName) -> Result<(), Refusal> {
        let mut upload = self.begin(principal, place, name, 0).await?;
        let facts = upload.facts.clone();
        if upload.lane.take().is_none() || !facts.end() {
            return Err(Refusal::failure("this upload is over"));
        }
        self.0.keep(&facts, Body::Pieces(Segments::default()), false).await;
        let event = ending::event(&facts, Kind::DraftKept, facts.actor.clone(), self.0.clock.now());
        self.0.recorder.record(event.with("reason", "its size was set to 0")).await;
        Ok(())
    }

    /// Completes a closed draft under its final name (in the same place, or another directory of the same dataset).
    /// Resolves when the ledger has committed, or to the reason why not; goes on when the future is dropped. A rename
    /// from one working name to another is answered with `Closed::Draft`.
    ///
    /// # Errors
    /// The draft stays when the new name is refused, and is gone when the gateway failed.
    pub async fn rename(
        &self,
        principal: &Principal,
        from: (&Place, &FileName),
        to: (&Place, &FileName),
    ) -> Result<Closed, Refusal> {
        let (facts, closed, judged) = match self.0.registry.find(principal.org(), from.0, from.1) {
            None => return Err(no_such_draft(from.1)),
            Some(Found::Completing) => return Err(completing(from.1)),
            Some(Found::UnderWay(..)) => {
                let name = from.1.as_str();
                return Err(Refusal::denied(format!("{name:?} is still being uploaded: rename it when it is closed")));
            }
            Some(Found::Kept { facts, closed, judged }) => (facts, closed, judged),
        };
        let config = self.0.config.borrow().clone();
        let admitted = admit(&config, principal.org(), to.0, to.1)?;
        if admitted.dataset.name != facts.dataset {
            return Err(Refusal::denied(format!(
                "this upload was begun as {}, under {:?} it would be {}: upload it again under its final name",
                facts.dataset,
                to.1.as_str(),
                admitted.dataset.name
            )));
        }
        if admitted.vouches != facts.demands.vouches
            || (judged && !admitted.working && admitted.parts != facts.demands.parts)
        {
            return Err(Refusal::denied(format!(
                "this upload was checked under a name that says something else than {:?}: upload it again under its final \
                 name",
                to.1.as_str()
            )));
        }
        let to = (to.0.clone(), to.1.clone());
        let actor = principal.actor().clone();
        if !closed && !admitted.working {
            return Err(Refusal::denied(format!(
                "the connection was lost before {:?} was whole: go on with it first (at byte {}), or send it again from its \
                 beginning, then rename it",
                from.1.as_str(),
                facts.size()
            )));
        }
        let waits = !admitted.working && waits(&self.0, &facts, &to.0, &to.1).await?;
        if admitted.working || waits {
            let event = ending::renamed(&facts, actor, &to.0, &to.1, self.0.clock.now());
            let Some(replaced) = self.0.registry.relabel(&facts, to.0, to.1) else { return Err(completing(from.1)) };
            self.0.recorder.record(event).await;
            self.0.replaced(replaced, principal.actor()).await;
            self.0.rewrite(facts.upload).await;
            self.0.displaced(&facts).await;
            return Ok(Closed::Draft { size: facts.size() });
        }
        let Some(draft) = self.0.registry.complete(facts.upload) else { return Err(completing(from.1)) };
        let gateway = config.server.name.clone();
        let intake = self.0.clone();
        let task = tokio::spawn(async move {
            let completed = ending::complete(intake.clone(), draft, actor, gateway, to).await;
            if completed.is_ok() {
                intake.displaced(&facts).await;
            }
            completed
        });
        task.await.unwrap_or_else(|_| Err(Refusal::failure("the gateway is stopping: send the file again later")))
    }

    /// Removes a draft: closed, or under way in another session of the same organisation (which then fails).
    ///
    /// # Errors
    /// There is none of that name, or it is being completed.
    pub async fn remove(&self, principal: &Principal, place: &Place, name: &FileName) -> Result<(), Refusal> {
        let account = principal.account();
        match self.0.registry.find(principal.org(), place, name) {
            None => Err(no_such_draft(name)),
            Some(Found::Completing) => Err(completing(name)),
            Some(Found::UnderWay(facts, handle)) => {
                let why = format!("{account} removed it");
                let told = ending::abort(&self.0, &facts, Some(handle), &why).ok_or_else(|| completing(name))?;
                let _ = told.await;
                Ok(())
            }
            Some(Found::Kept { facts, .. }) => {
                let draft = self.0.registry.take_draft(facts.upload).ok_or_else(|| completing(name))?;
                let why = format!("{account} removed it");
                self.0.discard(draft, Kind::DraftRemoved, principal.actor().clone(), &why).await;
                Ok(())
            }
        }
    }
}

/// A draft's segments, whether or not it is one whole file already.
pub(super) async fn pieces(body: Body) -> Result<Segments, Broken> {
    match body {
        Body::Pieces(segments) => Ok(segments),
        Body::Whole(Finished { stored: Stored::Draft(sealed), .. }) => {
            let segment = tokio::task::spawn_blocking(move || sealed.into_segment()).await;
            let segment = segment.map_err(|error| Broken::store(error.to_string()))??;
            let mut segments = Segments::default();
            segments.push(segment);
            Ok(segments)
        }
        Body::Whole(_) => Err(Broken::store("a draft has nothing sealed")),
    }
}
