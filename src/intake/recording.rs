//! What the ledger and the logs are told of an upload's end.
//!
//! Must never say accepted, or rejected, before the ledger has committed it. Called by `ending` and `vouching`.

use super::Inner;
use super::ending::{End, event, renamed};
use super::facts::Facts;
use super::pipeline::{Broken, Cause, Finished};
use super::upload::failure;
use crate::audit::{Event, Kind, REASONS, Receipt, Report, Verdict};
use crate::ledger::Ended;
use crate::types::*;

/// Kinds of errors and of remarks that are recorded: a session that lists receipts holds a page of them.
const GROUPS_RECORDED: usize = 1000;

impl End {
    /// It goes by its final name, now that it comes to its end under it.
    pub(super) async fn take_name(&self) {
        let (place, name) = (self.place.clone(), self.name.clone());
        if self.renamed && self.facts.label() != (place.clone(), name.clone()) {
            let event = renamed(&self.facts, self.actor.clone(), &place, &name, self.intake.clock.now());
            self.intake.recorder.record(event).await;
        }
        self.facts.relabel(place, name);
    }

    /// The receipt as far as intake knows it; `ledger` completes it.
    pub(super) fn receipt(&self, finished: Finished, quarantined: bool) -> Receipt {
        let facts = &self.facts;
        let report = recorded(finished.outcome.report);
        let verdict = if report.acceptable() { Verdict::Accepted } else { Verdict::Rejected };
        let mut reasons = report.reasons(REASONS);
        if verdict == Verdict::Rejected && !quarantined {
            reasons.extend(finished.unkept.map(str::to_owned));
        }
        Receipt {
            gateway: self.gateway.clone(),
            upload: facts.upload,
            verdict,
            reasons,
            name: self.name.clone(),
            size: finished.size,
            sha256: finished.sha256,
            time: self.intake.clock.now(),
            organisation: facts.org.clone(),
            dataset: facts.dataset.clone(),
            account: facts.account.clone(),
            fingerprint: facts.fingerprint.clone(),
            supersedes: None,
            report,
            scan: finished.scan,
            quarantined,
        }
    }
}

fn recorded(mut report: Report) -> Report {
    report.groups.truncate(GROUPS_RECORDED);
    report.flags.truncate(GROUPS_RECORDED);
    report
}

impl Inner {
    /// Records an upload whose object is in the vault. The receipt means that the ledger has committed.
    pub(super) async fn accept(&self, facts: &Facts, ended: Ended) -> Result<Receipt, Refusal> {
        let receipt = match self.ledger.accept(ended).await {
            Ok((receipt, _)) => receipt,
            Err(error) => {
                tracing::error!(upload.id = %facts.upload, org = %facts.org, %error, "the ledger did not record an upload");
                match self.recorded_after_all(facts).await {
                    Some(receipt) => receipt,
                    None => {
                        self.aborted(facts, "the gateway could not record it").await;
                        return Err(Refusal::failure(
                            "the gateway could not record the file, so it was not taken: send it again later",
                        ));
                    }
                }
            }
        };
        if let Some(modified) = facts.modified()
            && let Err(error) = self.ledger.touch(facts.upload, modified).await
        {
            tracing::warn!(upload.id = %facts.upload, %error, "the time that the client set was not recorded");
        }
        self.settled(facts).await;
        self.log(facts, receipt.time, "upload accepted", None);
        Ok(receipt)
    }

    /// The ledger answered with an error. What it holds decides: an object is removed only when the ledger certainly does
    /// not expect it; if that cannot be known, the next start decides.
    async fn recorded_after_all(&self, facts: &Facts) -> Option<Receipt> {
        match self.ledger.receipt(&facts.org, facts.upload, Timestamp::UNIX_EPOCH).await {
            Ok(Some(receipt)) => return Some(receipt),
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
        None
    }

    /// Records a rejection; the answer has its reasons.
    pub(super) async fn reject(&self, facts: &Facts, ended: Ended) -> Refusal {
        let reasons = ended.receipt.status();
        let receipt = match self.ledger.reject(ended).await {
            Ok(receipt) => Some(receipt),
            Err(error) => {
                tracing::error!(upload.id = %facts.upload, org = %facts.org, %error, "the ledger did not record a rejection");
                self.recorded_after_all(facts).await
            }
        };
        let Some(receipt) = receipt else {
            self.aborted(facts, "it was rejected, and the gateway could not record that").await;
            let what = "the file was not taken, and the gateway could not record why";
            return Refusal::failure(format!("{what}: {reasons}"));
        };
        self.settled(facts).await;
        self.log(facts, receipt.time, "upload rejected", Some(&reasons));
        Refusal::rejected(reasons)
    }

    pub(super) async fn broken(&self, facts: &Facts, broken: &Broken) -> Refusal {
        tracing::error!(upload.id = %facts.upload, org = %facts.org, error = broken.detail, "an upload could not be stored");
        let why = match broken.cause {
            Cause::DiskFull => "the gateway's disk is full",
            Cause::Store => "the gateway could not store it",
            Cause::Scan => "it could not be scanned for malware",
        };
        self.aborted(facts, why).await;
        failure(broken)
    }

    /// Tells the audit log of an upload that came to nothing.
    pub(super) async fn aborted(&self, facts: &Facts, why: &str) {
        let now = self.clock.now();
        self.log(facts, now, "upload aborted", Some(why));
        self.end_with(facts, event(facts, Kind::UploadAborted, facts.actor.clone(), now).with("reason", why)).await;
    }

    /// The ledger has the end of an upload: what is left of its ticket goes.
    async fn settled(&self, facts: &Facts) {
        if facts.old {
            self.forget(facts.upload).await;
        }
    }

    /// Tells an end, then forgets the ticket. Of an upload that began before this daemon the log must have it first: the
    /// next start would not miss it. Should the ledger fail, the ticket stays for the next start to tell.
    pub(super) async fn end_with(&self, facts: &Facts, event: Event) {
        if !facts.old {
            self.forget(facts.upload).await;
            return self.recorder.record(event).await;
        }
        match self.ledger.record(event).await {
            Ok(()) => self.forget(facts.upload).await,
            Err(error) => {
                tracing::error!(upload.id = %facts.upload, %error, "an upload's end was not recorded; the next start will");
            }
        }
    }

    pub(super) fn log(&self, facts: &Facts, now: Timestamp, what: &str, reason: Option<&str>) {
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
