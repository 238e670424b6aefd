//! An upload's life: begun, written, checked, scanned and sealed in one pass, kept, recorded. Drafts under working names;
//! companion files that vouch for extracts; the quarantine.
//!
//! Must never let plaintext reach a disk, nor say that an upload is done before the ledger has committed. Called by
//! `sftp`; calls `check`, `scan`, `seal`, `vault`, `ledger`.
//!
//! # A byte's way
//! [`Upload::write`] copies it once into a buffer of the `lane`; full buffers wait in a short queue for the worker, on a
//! blocking thread, where the `pipeline` digests and checks them, sends them to the malware scanner where the dataset
//! asks for it, seals them and gives them to the vault's spool. When all slots of the queue are taken, `write` waits:
//! that is the back-pressure, also when it is the scanner that is slow.
//!
//! # Memory of one upload, at most
//! | what | bytes |
//! |---|---|
//! | buffers: one being filled, 3 with the worker or waiting (`lane::BUFFER`, `lane::SLOTS`) | 4 x 256 KiB |
//! | sealed chunks to be written (`pipeline::OUT`) | 260 KiB |
//! | writes that came early (`intake.reorder_window`) | 1 MiB by default |
//! | the record under way and the header, at most (the dataset's `limits.row`) | 1088 KiB, twice while a packed file is opened |
//! | keys of all rows (the dataset's `limits.keys`) | 32 bytes a row and key, 512 MiB at most |
//! | the report: single errors (`limits.errors`), errors and remarks by rule and field | a few 100 KiB when much is wrong |
//! | runs of restricted rows | 16 bytes each, 16 MiB at most |
//! | a companion file's text | 64 KiB, instead of all but the first line |
//! | facts, the start of the file for its type, tables | 8 KiB |
//!
//! An upload that was only opened holds the last line; one that sent little holds little more. The number of uploads is
//! bounded by `limits.handles_per_session` and `intake.uploads_per_org`. A closed draft holds the last line, its remarks and
//! restricted rows, or a companion's text.

mod admit;
mod companion;
mod ending;
mod lane;
mod pipeline;
mod recording;
mod recovery;
mod registry;
mod reorder;
mod scanning;
mod sealing;
#[cfg(test)]
mod tests;
mod upload;
mod vouching;
mod working;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use companion::judge_companion;

pub use admit::directories;
pub use recovery::{Recovered, recover};
pub use upload::Upload;

use crate::access::Principal;
use crate::audit::{Kind, Receipt, Recorder};
use crate::config::{CompanionKind, Config, Live};
use crate::ledger::Ledger;
use crate::types::*;
use crate::vault::Vault;
use admit::{Admitted, admit};
use lane::Lane;
use registry::{Draft, Facts, Found, Progress, Registry};
use reorder::Reorder;
use scanning::Scanning;

/// Cheap to clone.
#[derive(Clone)]
pub struct Intake(Arc<Inner>);

struct Inner {
    config: Live,
    vault: Vault,
    ledger: Ledger,
    recorder: Recorder,
    clock: Clock,
    registry: Registry,
    /// The gateway is stopping.
    no_more: AtomicBool,
}

/// What CLOSE came to.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "made once for each upload, and matched at once")]
pub enum Closed {
    /// Stored, sealed, audited and queued.
    Accepted(Receipt),
    /// Under a working name: a draft, waiting for the RENAME to its final name.
    Draft { size: u64 },
    /// A companion file: recorded, for the extract that it vouches for.
    Companion,
}

/// A draft as directories list it: under way or closed under a working name.
#[derive(Debug, Clone)]
pub struct DraftView {
    pub upload: UploadId,
    pub name: FileName,
    pub size: u64,
    pub modified: Timestamp,
    /// Closed, waiting for its RENAME.
    pub closed: bool,
    /// Of its content, once it is closed and they are known.
    pub digests: Option<Digests>,
}

/// The day, as rules about dates see it.
fn today(now: Timestamp) -> jiff::civil::Date {
    jiff::tz::Offset::UTC.to_datetime(now).date()
}

fn no_such_draft(name: &FileName) -> Refusal {
    Refusal::not_found(format!("there is no upload {:?} that is not finished here", name.as_str()))
}

fn completing(name: &FileName) -> Refusal {
    Refusal::denied(format!("{:?} is being completed just now: look again in a moment", name.as_str()))
}

impl Intake {
    pub fn new(config: Live, vault: Vault, ledger: Ledger, clock: Clock) -> Self {
        let recorder = ledger.recorder();
        Self(Arc::new(Inner {
            config,
            vault,
            ledger,
            recorder,
            clock,
            registry: Registry::default(),
            no_more: AtomicBool::new(false),
        }))
    }

    /// Begins an upload of `name` in `place`: decides the dataset, checks name, quota and space, audits. A working name
    /// (`x.csv.part`) is checked by the name it stands for.
    ///
    /// # Errors
    /// Why it may not begin, with what to do. Nothing was begun, and no event written: the caller audits the refusal.
    pub async fn begin(&self, principal: &Principal, place: &Place, name: &FileName) -> Result<Upload, Refusal> {
        if principal.role() != Role::Provider {
            return Err(Refusal::denied("this account takes files, it does not send any"));
        }
        if self.0.no_more.load(Ordering::Relaxed) {
            return Err(Refusal::failure(
                "the gateway is stopping and takes no new files: send it again in a few minutes",
            ));
        }
        let config = self.0.config.borrow().clone();
        let admitted = admit(&config, principal.org(), place, name)?;
        let (quota, reserve) = (admitted.org.quota, config.intake.reserve);
        self.0.room(principal.org(), quota, reserve).await?;

        let began = self.0.clock.now();
        let facts = Arc::new(Facts {
            upload: UploadId::new(began),
            org: principal.org().clone(),
            account: principal.account().clone(),
            fingerprint: principal.fingerprint().clone(),
            actor: principal.actor().clone(),
            dataset: admitted.dataset.name.clone(),
            demands: admitted.demands(),
            began,
            label: Mutex::new((place.clone(), name.clone())),
            progress: Progress::default(),
        });
        let lane = Lane::new(self.0.seed(&config, &admitted, &facts).await?);
        if !self.0.registry.enter(&facts, lane.handle(), config.intake.uploads_per_org) {
            return Err(Refusal::denied(format!(
                "your organisation has {} unfinished uploads, the most that may be: finish, rename or remove some of them",
                config.intake.uploads_per_org
            )));
        }
        // From here on, dropping it is an abort.
        let upload = Upload {
            intake: self.0.clone(),
            facts,
            lane: Some(lane),
            reorder: Reorder::new(config.intake.reorder_window),
            final_name: admitted.final_name,
            working: admitted.working,
            gateway: config.server.name.clone(),
            stopped: None,
            torn: false,
            quota,
            reserve,
            checked: 0,
        };
        let event = ending::event(&upload.facts, Kind::UploadBegun, principal.actor().clone(), began);
        self.0.recorder.record(event).await;
        Ok(upload)
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
        let facts = match self.0.registry.find(principal.org(), from.0, from.1) {
            None => return Err(no_such_draft(from.1)),
            Some(Found::Completing) => return Err(completing(from.1)),
            Some(Found::UnderWay(..)) => {
                let name = from.1.as_str();
                return Err(Refusal::denied(format!("{name:?} is still being uploaded: rename it when it is closed")));
            }
            Some(Found::Closed(facts)) => facts,
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
        if admitted.vouches != facts.demands.vouches || (!admitted.working && admitted.parts != facts.demands.parts) {
            return Err(Refusal::denied(format!(
                "this upload was checked under a name that says something else than {:?}: upload it again under its final \
                 name",
                to.1.as_str()
            )));
        }
        let to = (to.0.clone(), to.1.clone());
        let actor = principal.actor().clone();
        if admitted.working {
            let event = ending::renamed(&facts, actor, &to.0, &to.1, self.0.clock.now());
            let Some(replaced) = self.0.registry.relabel(&facts, to.0, to.1) else { return Err(completing(from.1)) };
            self.0.recorder.record(event).await;
            self.0.replaced(replaced, principal.actor()).await;
            return Ok(Closed::Draft { size: facts.size() });
        }
        let Some(draft) = self.0.registry.complete(facts.upload) else { return Err(completing(from.1)) };
        let gateway = config.server.name.clone();
        let task = tokio::spawn(ending::complete(self.0.clone(), draft, actor, gateway, to));
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
            Some(Found::Closed(facts)) => {
                let draft = self.0.registry.take_draft(facts.upload).ok_or_else(|| completing(name))?;
                let why = format!("{account} removed it");
                self.0.discard(draft, principal.actor().clone(), &why).await;
                Ok(())
            }
        }
    }

    /// Drafts of an organisation in a place, the newest of each name, by name.
    pub fn drafts(&self, org: &OrgId, place: &Place) -> Vec<DraftView> {
        self.0.registry.views(org, place)
    }

    pub fn draft(&self, org: &OrgId, place: &Place, name: &FileName) -> Option<DraftView> {
        self.drafts(org, place).into_iter().find(|view| view.name == *name)
    }

    /// Keeps the time that a client wants its draft to have; nothing, when it is gone meanwhile.
    pub fn set_modified(&self, org: &OrgId, upload: UploadId, modified: Timestamp) {
        self.0.registry.set_modified(org, upload, modified);
    }

    /// Removes closed drafts past their time, with their events. Called now and then by the daemon.
    pub async fn expire_drafts(&self) {
        let before = self.0.ago(self.0.config.borrow().intake.drafts_expire);
        for upload in before.map(|before| self.0.registry.closed_before(before)).unwrap_or_default() {
            if let Some(draft) = self.0.registry.take_draft(upload) {
                self.0.discard(draft, Actor::gateway(), "nobody renamed it to its final name in time").await;
            }
        }
    }

    /// Bytes that the organisation's uploads under way and drafts hold, for its quota.
    pub fn bytes_under_way(&self, org: &OrgId) -> u64 {
        self.0.registry.bytes(org)
    }

    /// Aborts all that is under way and removes all drafts, audited; for the end of the drain. What is being closed at
    /// this moment is left to its end.
    pub async fn abandon_all(&self, why: &str) {
        for (facts, handle) in self.0.registry.running() {
            if let Some(told) = ending::abort(&self.0, &facts, Some(handle), why) {
                let _ = told.await;
            }
        }
        for upload in self.0.registry.closed_before(Timestamp::MAX) {
            if let Some(draft) = self.0.registry.take_draft(upload) {
                self.0.discard(draft, Actor::gateway(), why).await;
            }
        }
    }

    /// Refuses every further upload; those under way go on, and drafts may still be renamed. For the drain.
    pub fn begin_no_more(&self) {
        self.0.no_more.store(true, Ordering::Relaxed);
    }

    /// Uploads that are not ended yet (closed drafts not counted).
    pub fn under_way(&self) -> usize {
        self.0.registry.under_way()
    }

    /// Uploads under way, and drafts closed so lately that their client may be about to rename them; the drain waits for
    /// zero.
    pub fn unsettled(&self, lately: Duration) -> usize {
        let drafts = self.0.ago(lately).map_or(0, |since| self.0.registry.closed_after(since));
        self.0.registry.under_way() + drafts
    }
}

impl Inner {
    /// What an upload's pipeline is made of.
    async fn seed(&self, config: &Config, admitted: &Admitted<'_>, facts: &Facts) -> Result<pipeline::Seed, Refusal> {
        let (org, dataset) = (admitted.org, admitted.dataset);
        let (vault, upload, recipients) = (self.vault.clone(), facts.upload, org.recipients.clone());
        if admitted.vouches.is_some() {
            let content = pipeline::Content::Companion(Vec::new());
            return Ok(pipeline::Seed {
                vault,
                upload,
                recipients,
                content,
                quarantine: None,
                md5: false,
                sha1: false,
            });
        }
        let scan = match (dataset.scan, &config.scan) {
            (false, _) => None,
            (true, Some(scan)) => Some(Scanning::by_clamd(scan)),
            // The configuration sees to it that this cannot be; never taken unscanned all the same.
            (true, None) => {
                return Err(Refusal::failure("this gateway has no malware scanner at the moment: try again later"));
            }
        };
        let last_rows = match dataset.rules.table.is_some() {
            false => None,
            true => self.ledger.last_rows(&org.id, &dataset.name).await.map_err(|error| {
                tracing::error!(org = %org.id, %error, "the ledger did not say how many rows the last upload had");
                Refusal::failure("the gateway's records cannot be read at the moment: try again later")
            })?,
        };
        let check = Box::new(dataset.rules.begin(&admitted.final_name, today(facts.began), last_rows));
        let quarantine = facts.demands.quarantine.then_some(dataset.rules.max_size);
        let md5 = dataset.companion.kinds.contains(&CompanionKind::Md5) || org.digests.contains(&DigestKind::Md5);
        let sha1 = org.digests.contains(&DigestKind::Sha1);
        let content = pipeline::Content::Extract { check, scan };
        Ok(pipeline::Seed { vault, upload, recipients, content, quarantine, md5, sha1 })
    }

    /// That long before now; none before time began.
    fn ago(&self, age: Duration) -> Option<Timestamp> {
        self.clock.now().checked_sub(jiff::SignedDuration::try_from(age).ok()?).ok()
    }

    /// Removes drafts whose name another draft took.
    async fn replaced(&self, drafts: Vec<Draft>, actor: &Actor) {
        for draft in drafts {
            self.discard(draft, actor.clone(), "another draft took its name").await;
        }
    }

    /// Removes a closed draft, with its event.
    async fn discard(&self, draft: Draft, actor: Actor, why: &str) {
        let event = ending::event(&draft.facts, Kind::DraftRemoved, actor, self.clock.now()).with("reason", why);
        tracing::info!(upload.id = %draft.facts.upload, org = %draft.facts.org, reason = why, "draft removed");
        // Dropping the spool removes its file.
        let _ = tokio::task::spawn_blocking(move || drop(draft)).await;
        self.recorder.record(event).await;
    }
}
