//! Drafts that wait: kept with their tickets, expired, removed, left for the next start.
//!
//! Must never lose a draft without its event. Called by `drafts`, `ending` and `daemon`.

use std::sync::Arc;
use std::time::Duration;

use super::drafts::pieces;
use super::facts::Facts;
use super::pipeline::{Broken, Finished};
use super::registry::{Body, Draft};
use super::segments::Segments;
use super::{Inner, Intake, Recovered, ending};
use crate::audit::{Kind, Restricted};
use crate::types::*;

/// Runs of restricted rows that all closed drafts may hold together: 64 MiB.
pub(super) const RESTRICTED: usize = 4 * Restricted::MOST;

impl Intake {
    /// Takes over the drafts that a recovery found, before anybody comes in.
    pub async fn adopt(&self, recovered: &mut Recovered) {
        for draft in recovered.drafts.drain(..) {
            // Two of one name: the newer counts, as when they were made.
            let replaced = self.0.registry.keep(draft);
            self.0.replaced(replaced, &Actor::gateway()).await;
        }
    }

    /// Drafts of an organisation in a place, the newest of each name, by name.
    pub fn drafts(&self, org: &OrgId, place: &Place) -> Vec<super::DraftView> {
        self.0.registry.views(org, place)
    }

    pub fn draft(&self, org: &OrgId, place: &Place, name: &FileName) -> Option<super::DraftView> {
        self.drafts(org, place).into_iter().find(|view| view.name == *name)
    }

    /// Keeps the time that a client wants its draft to have; nothing, when it is gone meanwhile.
    pub fn set_modified(&self, org: &OrgId, upload: UploadId, modified: Timestamp) {
        self.0.registry.set_modified(org, upload, modified);
    }

    /// Removes drafts past their time, with their events. Called now and then by the daemon.
    pub async fn expire_drafts(&self) {
        let before = self.0.ago(self.0.config.borrow().intake.drafts_expire);
        for upload in before.map(|before| self.0.registry.kept_before(before)).unwrap_or_default() {
            if let Some(draft) = self.0.registry.take_draft(upload) {
                let why = match draft.closed {
                    true => "nothing completed it in time",
                    false => "nobody went on with it in time",
                };
                self.0.discard(draft, Kind::DraftExpired, Actor::gateway(), why).await;
            }
        }
    }

    /// Ends all that is under way, and leaves the drafts for the next start, audited; for the end of the drain. What is
    /// being closed at this moment is left to its end.
    pub async fn leave_all(&self, why: &str) {
        for (facts, handle) in self.0.registry.running() {
            if let Some(told) = ending::leave(&self.0, &facts, handle, why) {
                let _ = told.await;
            }
        }
        for upload in self.0.registry.kept_before(Timestamp::MAX) {
            if self.0.registry.with_draft(upload, Draft::leave) == Some(false)
                && let Some(draft) = self.0.registry.take_draft(upload)
            {
                self.0.discard(draft, Kind::DraftRemoved, Actor::gateway(), why).await;
            }
        }
    }

    /// Waits until what sessions handed over is done; for a kill that leaves nothing behind that still writes.
    #[cfg(test)]
    pub(crate) async fn workers_rest(&self) {
        for (_, handle) in self.0.registry.running() {
            handle.rests().await;
        }
    }

    /// Uploads under way, and drafts closed so lately that their client may be about to rename them; the drain waits for
    /// zero.
    pub fn unsettled(&self, lately: Duration) -> usize {
        let drafts = self.0.ago(lately).map_or(0, |since| self.0.registry.closed_after(since));
        self.0.registry.under_way() + drafts
    }
}

impl Inner {
    /// That long before now; none before time began.
    fn ago(&self, age: Duration) -> Option<Timestamp> {
        self.clock.now().checked_sub(jiff::SignedDuration::try_from(age).ok()?).ok()
    }

    /// What a lost connection left becomes a draft: the part of it that has no gap, and less than its client has; a closed
    /// one that nothing was written to stays as it was. False when there is nothing to keep, or a newer upload has its name.
    pub(super) async fn kept(&self, facts: &Arc<Facts>, segments: Segments) -> bool {
        let (closed, whole) = (facts.is_as_closed(), facts.left_of(segments.whole()));
        let (place, name) = facts.label();
        let newer = self.ledger.find(&facts.org, &place, &name, facts.began).await;
        if (whole == 0 && !closed) || self.registry.is_outdated(facts) || matches!(newer, Ok(Some(_))) {
            let _ = tokio::task::spawn_blocking(move || drop(segments)).await;
            return false;
        }
        let segments = match closed {
            true => segments,
            false => {
                facts.set_size(whole);
                self.cut(facts, segments, whole, closed).await
            }
        };
        self.keep(facts, Body::Pieces(segments), closed).await;
        true
    }

    /// A closed draft as it waits: judged. One whose restricted rows would be too many, beside those of the others, holds
    /// none, and is judged again when it is completed.
    pub(super) async fn at_rest(&self, finished: Finished) -> Result<Body, Broken> {
        let runs = finished.outcome.restricted.ranges.len();
        let body = Body::Whole(finished);
        match runs > 0 && self.registry.restricted() + runs > RESTRICTED {
            true => pieces(body).await.map(Body::Pieces),
            false => Ok(body),
        }
    }

    /// Cuts a draft's segments, its ticket first.
    pub(super) async fn cut(&self, facts: &Arc<Facts>, segments: Segments, size: u64, closed: bool) -> Segments {
        let (tickets, facts) = (self.tickets.clone(), facts.clone());
        let work = move || {
            let mut segments = segments;
            let gone = segments.truncate(size);
            let body = Body::Pieces(segments);
            tickets.keep(&facts, &body, closed);
            drop(gone);
            body
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Body::Pieces(segments)) => segments,
            _ => Segments::default(),
        }
    }

    /// It waits from now on.
    pub(super) async fn keep(&self, facts: &Arc<Facts>, body: Body, closed: bool) {
        if let Body::Pieces(segments) = &body {
            facts.set_held(segments.held());
        }
        let since = self.clock.now();
        facts.set_since(since);
        let (tickets, shared) = (self.tickets.clone(), facts.clone());
        let written = tokio::task::spawn_blocking(move || {
            tickets.keep(&shared, &body, closed);
            body
        });
        // It cannot panic; should it, the draft is gone, and the next start tells of it.
        let Ok(body) = written.await else { return };
        let replaced = self.registry.keep(Draft { facts: facts.clone(), body, closed, since });
        self.replaced(replaced, &facts.actor).await;
    }

    /// Writes a waiting draft's ticket anew: its name changed.
    pub(super) async fn rewrite(&self, upload: UploadId) {
        if let Some(Draft { facts, body, closed, .. }) = self.registry.complete(upload) {
            self.keep(&facts, body, closed).await;
        }
    }

    /// Forgets the keys of an upload that has ended.
    pub(super) async fn forget(&self, upload: UploadId) {
        let tickets = self.tickets.clone();
        let removed = tokio::task::spawn_blocking(move || tickets.remove(upload)).await;
        if let Ok(Err(error)) = removed {
            tracing::error!(upload.id = %upload, %error, "a draft's ticket could not be removed; the next start will");
        }
    }

    /// Another upload was renamed to the name of what is under way: as with a plain file, that is nowhere from then on.
    pub(super) async fn displaced(self: &Arc<Self>, by: &Facts) {
        let label = by.label();
        for (facts, handle) in self.registry.running() {
            if facts.upload != by.upload
                && facts.org == by.org
                && facts.label() == label
                && let Some(told) = ending::abort(self, &facts, Some(handle), "another upload was renamed to its name")
            {
                let _ = told.await;
            }
        }
    }

    /// Removes drafts whose name another upload took.
    pub(super) async fn replaced(&self, drafts: Vec<Draft>, actor: &Actor) {
        for draft in drafts {
            self.discard(draft, Kind::DraftRemoved, actor.clone(), "another upload took its name").await;
        }
    }

    /// Removes a draft, with its event.
    pub(super) async fn discard(&self, draft: Draft, kind: Kind, actor: Actor, why: &str) {
        let event = ending::event(&draft.facts, kind, actor, self.clock.now()).with("reason", why);
        tracing::info!(upload.id = %draft.facts.upload, org = %draft.facts.org, reason = why, "draft removed");
        self.end_with(&draft.facts, event).await;
        // Dropping it removes its files.
        let _ = tokio::task::spawn_blocking(move || drop(draft)).await;
    }
}
