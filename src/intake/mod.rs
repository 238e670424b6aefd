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
//! restricted rows (those of all of them 64 MiB at most), or a companion's text.

mod admit;
mod companion;
mod consolidation;
mod drafts;
mod ending;
mod facts;
mod joining;
mod keeping;
mod lane;
mod order;
mod pieces;
mod pipeline;
mod recording;
mod recovery;
mod registry;
mod scanning;
mod sealing;
mod segments;
#[cfg(test)]
mod tests;
mod ticket;
mod upload;
mod vouching;
mod work;
mod working;
mod writes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use companion::judge_companion;

pub use admit::directories;
pub use recovery::{Recovered, recover};
pub use ticket::{SpoolKey, State, Waiting, waiting};
pub use upload::Upload;

use crate::access::Principal;
use crate::audit::{Kind, Receipt, Recorder};
use crate::config::{CompanionKind, Config, Live, Org};
use crate::ledger::Ledger;
use crate::types::*;
use crate::vault::Vault;
use admit::{Admitted, admit};
use facts::Facts;
use lane::Lane;
use order::Order;
use registry::Registry;
use scanning::Scanning;
use sealing::Origin;
use ticket::{Keeper, Tickets};
use upload::Limits;
use writes::Writes;

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
    tickets: Tickets,
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
    pub fn new(config: Live, vault: Vault, ledger: Ledger, clock: Clock, key: SpoolKey) -> Self {
        let recorder = ledger.recorder();
        let tickets = Tickets { vault: vault.clone(), key, clock: clock.clone() };
        Self(Arc::new(Inner {
            config,
            vault,
            ledger,
            recorder,
            clock,
            registry: Registry::default(),
            tickets,
            no_more: AtomicBool::new(false),
        }))
    }

    /// Begins an upload of `name` in `place`: decides the dataset, checks name, quota and space, audits. A working name
    /// (`x.csv.part`) is checked by the name it stands for. A draft of that name is gone then. `over`: the size of the
    /// accepted file of that name, when the client did not ask to empty it; it must write all of it then.
    ///
    /// # Errors
    /// Why it may not begin, with what to do. Nothing was begun, and no event written: the caller audits the refusal.
    pub async fn begin(
        &self,
        principal: &Principal,
        place: &Place,
        name: &FileName,
        over: u64,
    ) -> Result<Upload, Refusal> {
        self.0.takes(principal)?;
        let config = self.0.config.borrow().clone();
        let admitted = admit(&config, principal.org(), place, name)?;
        let label = (place.clone(), name.clone());
        self.0.room(principal.org(), admitted.org.quota, config.intake.reserve, Some(&label)).await?;

        let began = self.0.clock.now();
        let facts = Facts::new(principal, UploadId::new(began), began, &admitted, label, false);
        let lane = Lane::new(self.0.seed(&config, &admitted, &facts, 0, true).await?);
        if !self.0.registry.enter(&facts, lane.handle(), config.intake.uploads_per_org) {
            return Err(Refusal::denied(format!(
                "your organisation has {} unfinished uploads, the most that may be: finish, rename or remove some of them",
                config.intake.uploads_per_org
            )));
        }
        // From here on, dropping it ends it.
        let upload = self.upload(&config, &admitted, facts, lane, 0);
        let event = ending::event(&upload.facts, Kind::UploadBegun, principal.actor().clone(), began);
        self.0.recorder.record(event).await;
        self.0.replaced(self.0.registry.take_namesakes(&upload.facts), principal.actor()).await;
        upload.facts.resize(over);
        Ok(upload)
    }

    /// An upload as a session holds it, of which `size` bytes are there.
    fn upload(&self, config: &Config, admitted: &Admitted<'_>, facts: Arc<Facts>, lane: Lane, size: u64) -> Upload {
        Upload {
            intake: self.0.clone(),
            lane: Some(lane),
            order: Order::new(size, config.intake.reorder_window),
            final_name: admitted.final_name.clone(),
            working: admitted.working,
            gateway: config.server.name.clone(),
            stopped: None,
            spared: false,
            torn: false,
            limits: Limits {
                quota: admitted.org.quota,
                reserve: config.intake.reserve,
                size: admitted.dataset.rules.max_size,
                segments: config.intake.segments,
            },
            checked: facts.held(),
            pieces: None,
            append: None,
            writes: Writes::after(facts.widest()),
            resumed: None,
            resized: false,
            facts,
        }
    }

    /// Bytes that the organisation's uploads under way and drafts hold, for its quota.
    pub fn bytes_under_way(&self, org: &OrgId) -> u64 {
        self.0.registry.bytes(org, None)
    }

    /// Refuses every further upload; those under way go on, and drafts may still be renamed. For the drain.
    pub fn begin_no_more(&self) {
        self.0.no_more.store(true, Ordering::Relaxed);
    }

    /// Uploads that are not ended yet (closed drafts not counted).
    pub fn under_way(&self) -> usize {
        self.0.registry.under_way()
    }
}

impl Inner {
    /// Whether this account may send now.
    fn takes(&self, principal: &Principal) -> Result<(), Refusal> {
        if principal.role() != Role::Provider {
            return Err(Refusal::denied("this account takes files, it does not send any"));
        }
        if self.no_more.load(Ordering::Relaxed) {
            return Err(Refusal::failure(
                "the gateway is stopping and takes no new files: send it again in a few minutes",
            ));
        }
        Ok(())
    }

    /// What an upload's pipeline is made of. `number`: of its file. `ticket`: whether what it seals may become a draft.
    async fn seed(
        &self,
        config: &Config,
        admitted: &Admitted<'_>,
        facts: &Arc<Facts>,
        number: u32,
        ticket: bool,
    ) -> Result<pipeline::Seed, Refusal> {
        let (org, dataset) = (admitted.org, admitted.dataset);
        let origin = Origin { number, ..self.origin(org, facts.upload) };
        if admitted.vouches.is_some() {
            let content = pipeline::Content::Companion(Vec::new());
            return Ok(pipeline::Seed { origin, content, quarantine: None, md5: false, sha1: false, keeper: None });
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
        let keeper = ticket.then(|| self.keeper(facts));
        Ok(pipeline::Seed { origin, content, quarantine, md5, sha1, keeper })
    }

    fn origin(&self, org: &Org, upload: UploadId) -> Origin {
        Origin { vault: self.vault.clone(), upload, recipients: org.recipients.clone(), number: 0 }
    }

    fn keeper(&self, facts: &Arc<Facts>) -> Keeper {
        Keeper { tickets: self.tickets.clone(), facts: facts.clone() }
    }
}
