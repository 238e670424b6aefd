//! How uploads end: accepted, rejected, a draft, or an audited abort. Each ends once.
//!
//! Must never answer OK before the ledger has committed, nor leave an object that the ledger does not know. Called by
//! `upload` and `intake`.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::pipeline::{Broken, Finished, Stop, Stored, Want};
use super::registry::{Draft, Facts};
use super::upload::{Upload, failure};
use super::{Closed, Inner, lane};
use crate::audit::{Event, Kind, Receipt, Report, Restricted, Verdict};
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
        (Some(_), _) => Want::Nothing,
        (None, false) => Want::Object,
        (None, true) => Want::Draft,
    };
    let finished = match lane.finish(want).await {
        Ok(finished) => finished,
        Err(broken) => return Err(intake.broken(&facts, &broken).await),
    };
    let place = facts.label().0;
    let Finished { size, sha256, outcome, stored } = finished;
    facts.set_size(size);
    let reasons = match unfit {
        Some(refusal) => vec![refusal.reason],
        None => outcome.report.reasons(20),
    };
    let verdict = if reasons.is_empty() { Verdict::Accepted } else { Verdict::Rejected };
    let receipt =
        receipt(&facts, &upload.gateway, verdict, reasons, upload.final_name.clone(), size, sha256, intake.clock.now());
    match stored {
        _ if verdict == Verdict::Rejected => Err(intake.reject(&facts, receipt, place).await),
        Stored::Object { sealed_size } => {
            let ended =
                Ended { receipt, place, sealed_size, restricted: Restricted::default(), actor: facts.actor.clone() };
            intake.accept(&facts, ended).await.map(Closed::Accepted)
        }
        Stored::Draft(spool) => {
            entry.stays = true;
            let closed = intake.clock.now();
            let replaced = intake.registry.close(Draft { facts: facts.clone(), spool, size, sha256, closed });
            intake.recorder.record(event(&facts, Kind::DraftClosed, facts.actor.clone(), closed)).await;
            intake.replaced(replaced, &facts.actor).await;
            Ok(Closed::Draft { size })
        }
        Stored::Nothing => {
            Err(intake.broken(&facts, &Broken { full: false, detail: "nothing was stored".into() }).await)
        }
    }
}

/// Why an upload cannot be accepted, as far as the session's side knows. What the check found comes with the verdict.
fn unfit(upload: &Upload) -> Option<Refusal> {
    match (upload.fault(), upload.lane.as_ref().and_then(lane::Lane::stop)) {
        (Err(_), Some(Stop::Fault(_))) if upload.stopped.is_none() && !upload.torn => None,
        (Err(refusal), _) => Some(refusal),
        (Ok(()), _) => upload.reorder.missing().map(Refusal::rejected),
    }
}

/// A RENAME to a final name: the draft is kept and recorded.
pub(super) async fn complete(
    intake: Arc<Inner>,
    draft: Draft,
    actor: Actor,
    gateway: String,
    (place, name): (Place, FileName),
) -> Result<Closed, Refusal> {
    let Draft { facts, spool, size, sha256, .. } = draft;
    let _entry = Entry { intake: intake.clone(), upload: facts.upload, stays: false };
    intake.recorder.record(renamed(&facts, actor.clone(), &place, &name, intake.clock.now())).await;
    facts.relabel(place.clone(), name.clone());
    let kept = tokio::task::spawn_blocking(move || spool.keep()).await;
    let sealed_size = match kept.map_err(|error| error.to_string()) {
        Ok(Ok(sealed_size)) => sealed_size,
        Ok(Err(error)) => return Err(intake.broken(&facts, &error.into()).await),
        Err(detail) => return Err(intake.broken(&facts, &Broken { full: false, detail }).await),
    };
    let receipt = receipt(&facts, &gateway, Verdict::Accepted, vec![], name, size, sha256, intake.clock.now());
    intake
        .accept(&facts, Ended { receipt, place, sealed_size, restricted: Restricted::default(), actor })
        .await
        .map(Closed::Accepted)
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

#[allow(clippy::too_many_arguments, reason = "a receipt is made of many facts, in one place")]
fn receipt(
    facts: &Facts,
    gateway: &str,
    verdict: Verdict,
    reasons: Vec<String>,
    name: FileName,
    size: u64,
    sha256: Sha256,
    time: Timestamp,
) -> Receipt {
    Receipt {
        gateway: gateway.to_owned(),
        upload: facts.upload,
        verdict,
        reasons,
        name,
        size,
        sha256,
        time,
        organisation: facts.org.clone(),
        dataset: facts.dataset.clone(),
        account: facts.account.clone(),
        fingerprint: facts.fingerprint.clone(),
        supersedes: None,
        report: Report::default(),
        scan: None,
        quarantined: false,
    }
}

impl Inner {
    /// Records an upload whose object is in the vault. The receipt means that the ledger has committed.
    async fn accept(&self, facts: &Facts, ended: Ended) -> Result<Receipt, Refusal> {
        let receipt = match self.ledger.accept(ended).await {
            Ok((receipt, _)) => receipt,
            Err(error) => {
                tracing::error!(upload.id = %facts.upload, org = %facts.org, %error, "the ledger did not record an upload");
                self.unrecorded(facts).await?
            }
        };
        if let Some(modified) = facts.modified()
            && let Err(error) = self.ledger.touch(facts.upload, modified).await
        {
            tracing::warn!(upload.id = %facts.upload, %error, "the time that the client set was not recorded");
        }
        self.log(facts, receipt.time, "upload accepted", None);
        Ok(receipt)
    }

    /// The ledger answered an acceptance with an error. What it holds decides: an object is removed only when the ledger
    /// certainly does not expect it; if that cannot be known, the next start decides.
    async fn unrecorded(&self, facts: &Facts) -> Result<Receipt, Refusal> {
        match self.ledger.receipt(&facts.org, facts.upload, Timestamp::UNIX_EPOCH).await {
            Ok(Some(receipt)) => return Ok(receipt),
            Ok(None) => {
                let (vault, upload) = (self.vault.clone(), facts.upload);
                let removed = tokio::task::spawn_blocking(move || vault.remove(upload)).await;
                if let Ok(Err(error)) = removed {
                    tracing::error!(upload.id = %upload, %error, "an object that was not recorded could not be removed");
                }
            }
            Err(error) => {
                tracing::error!(upload.id = %facts.upload, %error, "whether an upload was recorded is unknown; the next start will clear it up");
            }
        }
        self.aborted(facts, "the gateway could not record it").await;
        Err(Refusal::failure("the gateway could not record the file, so it was not taken: send it again later"))
    }

    async fn reject(&self, facts: &Facts, receipt: Receipt, place: Place) -> Refusal {
        let (reasons, time) = (receipt.reasons.join("; "), receipt.time);
        let ended =
            Ended { receipt, place, sealed_size: 0, restricted: Restricted::default(), actor: facts.actor.clone() };
        if let Err(error) = self.ledger.reject(ended).await {
            tracing::error!(upload.id = %facts.upload, org = %facts.org, %error, "the ledger did not record a rejection");
            self.aborted(facts, "it was rejected, and the gateway could not record that").await;
            return Refusal::failure(format!(
                "the file was not taken ({reasons}), and the gateway could not record that"
            ));
        }
        self.log(facts, time, "upload rejected", Some(&reasons));
        Refusal::rejected(reasons)
    }

    async fn broken(&self, facts: &Facts, broken: &Broken) -> Refusal {
        tracing::error!(upload.id = %facts.upload, org = %facts.org, error = broken.detail, "an upload could not be stored");
        let why = if broken.full { "the gateway's disk is full" } else { "the gateway could not store it" };
        self.aborted(facts, why).await;
        failure(broken)
    }

    /// Tells the audit log of an upload that came to nothing.
    pub(super) async fn aborted(&self, facts: &Facts, why: &str) {
        let now = self.clock.now();
        self.log(facts, now, "upload aborted", Some(why));
        self.recorder.record(event(facts, Kind::UploadAborted, facts.actor.clone(), now).with("reason", why)).await;
    }

    fn log(&self, facts: &Facts, now: Timestamp, what: &str, reason: Option<&str>) {
        let duration_ms = u64::try_from(now.duration_since(facts.began).as_millis()).unwrap_or(0);
        tracing::info!(
            upload.id = %facts.upload,
            org = %facts.org,
            account = %facts.account,
            dataset = %facts.dataset,
            size_bytes = facts.size(),
            duration_ms,
            reason,
            "{what}"
        );
    }
}
