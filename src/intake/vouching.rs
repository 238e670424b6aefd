//! What an extract is compared with besides its dataset's demands: its companions, and what was accepted before.
//!
//! A companion that comes first waits in the ledger, and goes with the extract that it vouches for when that is accepted;
//! one whose extract is rejected waits on, for the mended file. One that comes after its extract is compared with what
//! was recorded of it, at once: then it waits for nothing. It is taken for a coming extract's, whatever was accepted
//! before, where the dataset demands companions (they always come first there), when the accepted one was vouched for
//! already, or when it states what is no longer known (sums are never recorded). Companions are listed nowhere, and have
//! no receipt: the OK is the answer. One that cannot be read or does not agree is a rejected upload, with a report.
//!
//! Must never put a sum or a digest into words. Called by `ending` and `drafts`.

use super::companion::{self, Disagreement, Known, Said};
use super::ending::{End, complete, event};
use super::facts::Facts;
use super::pipeline::{Broken, Finished, Stored};
use super::{Closed, Inner};
use crate::audit::Kind;
use crate::check::ErrorType;
use crate::config::{CompanionKind, Completion, Severity};
use crate::ledger::{Companion, Earlier, LedgerError, Vouched};
use crate::types::*;

/// Whether a file that is closed, or renamed, under a final name waits for what completes it: its marker, or its companion
/// if that has not come.
///
/// # Errors
/// The ledger does not say.
pub(super) async fn waits(intake: &Inner, facts: &Facts, place: &Place, name: &FileName) -> Result<bool, Refusal> {
    if facts.demands.vouches.is_some() {
        return Ok(false);
    }
    match facts.demands.complete {
        Completion::Close => Ok(false),
        Completion::Marker(_) => Ok(true),
        Completion::Companion => {
            let (org, dataset) = (facts.org.clone(), facts.dataset.clone());
            let about = Vouched { org, dataset, place: place.clone(), name: name.clone() };
            let (_, companions) = intake.ledger.companions(&about).await.map_err(|error| {
                tracing::error!(upload.id = %facts.upload, %error, "the ledger did not say whether a companion waits");
                Refusal::failure("the gateway's records cannot be read at the moment: try again later")
            })?;
            Ok(!companions.iter().any(|companion| companion.used.is_none()))
        }
    }
}

impl End {
    /// Adds to the report of an extract what its companions and earlier uploads make of it; returns the companions that
    /// vouch for it.
    pub(super) async fn vouched(&self, finished: &mut Finished) -> Result<Vec<UploadId>, LedgerError> {
        // In a part of a file all else would be a consequence.
        if !finished.outcome.report.complete {
            return Ok(Vec::new());
        }
        let vouched = self.compare_companions(finished).await?;
        if self.interrupted && vouched.is_empty() {
            self.doubt_the_end(finished);
        }
        if finished.outcome.report.acceptable() {
            self.compare_bytes(finished).await?;
        }
        Ok(vouched)
    }

    async fn compare_companions(&self, finished: &mut Finished) -> Result<Vec<UploadId>, LedgerError> {
        let demanded = &self.facts.demands.companion;
        if demanded.kinds.is_empty() {
            return Ok(Vec::new());
        }
        let (_, companions) = self.intake.ledger.companions(&self.about(&self.name)).await?;
        let mut vouched = Vec::new();
        let report = &mut finished.outcome.report;
        let known = Known {
            sha256: finished.sha256.to_string(),
            md5: finished.md5.as_deref(),
            rows: report.rows,
            sums: Some(&finished.outcome.sums),
        };
        for kind in &demanded.kinds {
            let waits = |companion: &&Companion| companion.used.is_none() && companion.kind == companion::as_str(*kind);
            let Some(companion) = companions.iter().find(waits) else { continue };
            vouched.push(companion.upload);
            let name = format!("{}.{}", self.name, companion.kind);
            let said: Option<Said> = serde_json::from_value(companion.content.clone()).ok();
            let compared = said.and_then(|said| companion::compare(*kind, &said, &name, &known));
            let wrong = compared.unwrap_or_else(|| {
                let message = format!("it could not be compared with {name:?}: send that again, then the file");
                vec![Disagreement { kind: ErrorType::HashCount, rule: "companion", message }]
            });
            wrong.into_iter().for_each(|wrong| report.add(wrong.kind, wrong.rule, wrong.message));
        }
        if vouched.is_empty() && demanded.required {
            let names: Vec<String> = demanded
                .kinds
                .iter()
                .map(|kind| format!("{:?}", format!("{}.{}", self.name, companion::as_str(*kind))))
                .collect();
            let message = format!(
                "nothing vouches for the file: send {} beside it first, then the file again",
                names.join(" or ")
            );
            report.add(ErrorType::HashCount, "companion", message);
        }
        Ok(vouched)
    }

    /// An interrupted `sftp` closes what it sent, as if that were all.
    fn doubt_the_end(&self, finished: &mut Finished) {
        let report = &mut finished.outcome.report;
        let end =
            "it ends where a full-size write or a buffer of the client ends, as an upload that was broken off does";
        match self.facts.demands.interrupted {
            Severity::Accept => {}
            Severity::Flag => {
                let message = format!("{end}: compare its size with that of the file that was sent");
                report.remark(ErrorType::SourceError, "interrupted", message);
            }
            Severity::Reject => {
                let message = format!(
                    "{end}, and nothing vouches for it: send it under a working name such as {:?} and rename it, or send what \
                     vouches for it first",
                    format!("{}.part", self.name)
                );
                report.add(ErrorType::SourceError, "interrupted", message);
            }
        }
    }

    /// A marker: the extract that waits for it is whole, and comes to its end. What the marker's CLOSE is answered is the
    /// extract's verdict.
    pub(super) async fn mark(self, mut finished: Finished) -> Result<Closed, Refusal> {
        let Completion::Marker(marker) = self.facts.demands.complete.clone() else {
            return Err(self.not_agreeing(finished, "no file waits for a marker here".into()).await);
        };
        finished.stored = Stored::Nothing;
        if !finished.outcome.report.acceptable() {
            return Err(self.reject(finished, None).await);
        }
        let Some((about, draft)) = marker.about(&self.name).and_then(|about| {
            let draft = self.intake.registry.complete_named(&self.facts.org, &self.place, &about)?;
            Some((about, draft))
        }) else {
            let why = "there is no file here that waits for this marker: send the file first, then its marker";
            return Err(self.not_agreeing(finished, why.into()).await);
        };
        let received = self.intake.clock.now();
        let event = event(&self.facts, Kind::CompanionReceived, self.actor.clone(), received)
            .with("kind", "marker")
            .with("about", about.as_str())
            .with("vouches_for", draft.facts.upload.to_string());
        self.intake.log(&self.facts, received, "marker received", None);
        self.intake.recorder.record(event).await;
        let Self { intake, actor, gateway, place, .. } = self;
        about_the_file(&about, complete(intake, draft, actor, gateway, (place, about.clone())).await)
    }

    /// Two that are sent at the same moment may both pass: this is against mistakes, which come later.
    async fn compare_bytes(&self, finished: &mut Finished) -> Result<(), LedgerError> {
        let (facts, report) = (&self.facts, &mut finished.outcome.report);
        if facts.demands.repeated == Severity::Accept {
            return Ok(());
        }
        let ledger = &self.intake.ledger;
        let Some(earlier) = ledger.same_bytes(&facts.org, &facts.dataset, finished.sha256).await? else {
            return Ok(());
        };
        let message = format!(
            "the same bytes were accepted before, as {:?} on {}: check that this is the export it should be",
            earlier.name.as_str(),
            moment(earlier.time)
        );
        match facts.demands.repeated {
            Severity::Accept => {}
            Severity::Flag => report.remark(ErrorType::HashCount, "repeated", message),
            Severity::Reject => report.add(ErrorType::HashCount, "repeated", message),
        }
        Ok(())
    }

    /// The end of a companion's own upload.
    pub(super) async fn note_companion(self, mut finished: Finished) -> Result<Closed, Refusal> {
        let Stored::Text(text) = std::mem::replace(&mut finished.stored, Stored::Nothing) else {
            return Err(self.intake.broken(&self.facts, &Broken::store("a companion's text is gone")).await);
        };
        if !finished.outcome.report.acceptable() {
            return Err(self.reject(finished, None).await);
        }
        let Some((about, kind)) = companion::split(&self.name) else {
            return Err(self.not_agreeing(finished, "this is not the name of a companion file".into()).await);
        };
        let said = match companion::parse(kind, &about, &text) {
            Ok(said) => said,
            Err(why) => return Err(self.not_agreeing(finished, why).await),
        };
        let (file, about) = (about.clone(), self.about(&about));
        let (intake, facts) = (self.intake.clone(), self.facts.clone());
        let (earlier, companions) = match intake.ledger.companions(&about).await {
            Ok(known) => known,
            Err(error) => return Err(intake.broken(&facts, &Broken::store(error.to_string())).await),
        };
        let used = match self.vouches_for(kind, &said, earlier.as_ref(), &companions) {
            Ok(used) => used,
            Err(why) => return Err(self.not_agreeing(finished, why).await),
        };
        let received = intake.clock.now();
        let event = event(&facts, Kind::CompanionReceived, self.actor.clone(), received)
            .with("sha256", finished.sha256.to_string())
            .with("kind", companion::as_str(kind))
            .with("about", about.name.as_str())
            .with("vouches_for", used.map(|upload| upload.to_string()));
        // Its own form always has a JSON form.
        let content = serde_json::to_value(&said).unwrap_or_default();
        let (upload, kind) = (facts.upload, companion::as_str(kind).to_owned());
        match intake.ledger.companion(about, Companion { upload, kind, content, received, used }, event).await {
            Ok(true) => {
                intake.log(&facts, received, "companion received", None);
                let waiting = match facts.demands.complete {
                    Completion::Companion if used.is_none() => {
                        intake.registry.complete_named(&facts.org, &self.place, &file)
                    }
                    _ => None,
                };
                let Some(draft) = waiting else { return Ok(Closed::Companion) };
                let to = (self.place, file.clone());
                about_the_file(&file, complete(intake, draft, self.actor, self.gateway, to).await)
            }
            Ok(false) => {
                let why = "too many companion files of your organisation wait for their files: send those first";
                Err(self.not_agreeing(finished, why.into()).await)
            }
            Err(error) => Err(intake.broken(&facts, &Broken::store(error.to_string())).await),
        }
    }

    /// The accepted upload that a companion is late for; none when its file is still to come.
    fn vouches_for(
        &self,
        kind: CompanionKind,
        said: &Said,
        earlier: Option<&Earlier>,
        companions: &[Companion],
    ) -> Result<Option<UploadId>, String> {
        let Some(earlier) = earlier.filter(|_| !self.facts.demands.companion.required) else { return Ok(None) };
        let of_kind = companions.iter().find(|companion| companion.kind == companion::as_str(kind));
        // The accepted file has its own, or this one mends one that waits: either is for a file to come.
        if of_kind.is_some_and(|companion| companion.used.is_none_or(|used| used == earlier.upload)) {
            return Ok(None);
        }
        let (sha256, md5) = (earlier.sha256.to_string(), earlier.md5.as_deref());
        let known = Known { sha256, md5, rows: earlier.rows, sums: None };
        match companion::compare(kind, said, self.name.as_str(), &known) {
            None => Ok(None),
            Some(wrong) => match wrong.into_iter().next() {
                None => Ok(Some(earlier.upload)),
                Some(wrong) => Err(format!(
                    "{} (the file was accepted on {}; if this is for a newer one, send that one first)",
                    wrong.message,
                    moment(earlier.time)
                )),
            },
        }
    }

    async fn not_agreeing(self, mut finished: Finished, why: String) -> Refusal {
        finished.outcome.report.add(ErrorType::HashCount, "companion", why);
        self.reject(finished, None).await
    }

    fn about(&self, name: &FileName) -> Vouched {
        let (org, dataset) = (self.facts.org.clone(), self.facts.dataset.clone());
        Vouched { org, dataset, place: self.place.clone(), name: name.clone() }
    }
}

/// Why the file was not accepted is answered to the CLOSE of another.
fn about_the_file(name: &FileName, verdict: Result<Closed, Refusal>) -> Result<Closed, Refusal> {
    verdict.map_err(|refusal| Refusal { reason: format!("{:?}: {}", name.as_str(), refusal.reason), ..refusal })
}

/// `2026-03-01 12:00:00 UTC`
fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
