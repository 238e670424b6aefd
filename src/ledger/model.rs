//! What the ledger's verbs take and give: uploads as listed, deliveries, claims, filters, and the errors.
//!
//! Knows no SQL. Used by everyone who calls the ledger.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use serde_json::json;

use crate::audit::leaf::Private;
use crate::audit::{Event, Hash, Kind, Proof, Receipt, Restricted, Verdict, VerifierKey, evidence};
use crate::types::*;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Nothing was recorded. The text is for an operator; it names no table, path or tenant.
    #[error("the ledger failed: {0}")]
    Storage(String),
    #[error("the ledger is closed")]
    Closed,
}
pub type Result<T> = std::result::Result<T, LedgerError>;

/// An upload's end, as intake tells it. `receipt.supersedes` is filled in by the ledger.
#[derive(Debug, Clone)]
pub struct Ended {
    pub receipt: Receipt,
    pub place: Place,
    /// Bytes of the object in the vault; 0 for a rejection that was not quarantined.
    pub sealed_size: u64,
    /// Rows whose subject objected or did not consent, for the loader to obey.
    pub restricted: Restricted,
    /// MD5 of the plaintext in hex, where the dataset takes `.md5` companions or the organisation's `digests` name it.
    pub md5: Option<String>,
    /// SHA-1 of the plaintext in hex, where the organisation's `digests` name it.
    pub sha1: Option<String>,
    /// Companions that vouched for it, by their own uploads: they wait no longer when it is accepted.
    pub vouched: Vec<UploadId>,
    /// What its object is sealed with; none when none is kept.
    pub envelope: Option<Envelope>,
    pub actor: Actor,
}

/// An accepted upload, as later ones of its dataset are compared with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    pub upload: UploadId,
    pub dataset: DatasetName,
    pub name: FileName,
    pub time: Timestamp,
    pub sha256: Sha256,
    pub md5: Option<String>,
    /// Data rows, if they were counted.
    pub rows: Option<u64>,
}

/// What a companion file said of the file `name` in `place`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Companion {
    /// The upload that brought it.
    pub upload: UploadId,
    /// `sha256`, `md5` or `totals`.
    pub kind: String,
    /// What it says, in the form that intake gave it.
    pub content: serde_json::Value,
    pub received: Timestamp,
    /// The accepted upload that it vouched for; none while it waits for its file.
    pub used: Option<UploadId>,
}

/// Which file companions are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    pub org: OrgId,
    pub dataset: DatasetName,
    pub place: Place,
    pub name: FileName,
}

/// One file as a provider's directory lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub upload: UploadId,
    pub name: FileName,
    pub dataset: DatasetName,
    pub size: u64,
    /// The time the client set, or of acceptance.
    pub modified: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// Waits to be claimed (from `available` on).
    Ready,
    Leased,
    Loaded,
    /// Given up after too many attempts; an operator may retry it.
    Dead,
}

impl DeliveryState {
    pub const ALL: [DeliveryState; 4] =
        [DeliveryState::Ready, DeliveryState::Leased, DeliveryState::Loaded, DeliveryState::Dead];

    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryState::Ready => "ready",
            DeliveryState::Leased => "leased",
            DeliveryState::Loaded => "loaded",
            DeliveryState::Dead => "dead",
        }
    }
}

impl FromStr for DeliveryState {
    type Err = Invalid;
    fn from_str(text: &str) -> std::result::Result<Self, Invalid> {
        let found = DeliveryState::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| Invalid(format!("{text:?} is no state of a delivery: ready, leased, loaded or dead")))
    }
}

/// A queue entry with all that a loader needs to know.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Delivery {
    pub delivery: DeliveryId,
    pub state: DeliveryState,
    pub receipt: Receipt,
    /// Bytes of the object.
    pub sealed_size: u64,
    /// Claims so far, since an operator last retried it.
    pub attempt: u32,
    pub available: Timestamp,
    /// While leased.
    pub lease: Option<LeaseId>,
    pub lease_expires: Option<Timestamp>,
    /// The account that holds or last held the lease.
    pub holder: Option<AccountName>,
    /// Why it last came back.
    pub last_reason: Option<String>,
    /// Whether the object is still in the vault.
    pub object: bool,
}

impl Delivery {
    /// What a loader is told of it: the content of /queue/<delivery>/manifest.json, and part of each claim's line. It
    /// does not change over the attempts, so that what was fetched stays what it is.
    pub fn manifest(&self) -> serde_json::Value {
        let receipt = &self.receipt;
        json!({
            "delivery": self.delivery,
            "upload": receipt.upload,
            "organisation": receipt.organisation,
            "dataset": receipt.dataset,
            "name": receipt.name,
            "size": receipt.size,
            "sha256": receipt.sha256,
            "sealed_size": self.sealed_size,
            "received": receipt.time,
            "account": receipt.account,
            "fingerprint": receipt.fingerprint,
            "gateway": receipt.gateway,
            "supersedes": receipt.supersedes,
            "rows": receipt.report.rows,
            "restricted": receipt.report.restricted,
            "flags": receipt.report.flag_names(),
            "receipt": receipt,
        })
    }
}

#[derive(Debug, Clone)]
pub struct Claim {
    pub actor: Actor,
    pub account: AccountName,
    /// What the account may take; the filters below narrow it.
    pub take: Take,
    pub orgs: Option<BTreeSet<OrgId>>,
    pub datasets: Option<BTreeSet<DatasetName>>,
    pub max: usize,
    pub lease: Duration,
}

/// When a delivery that came back may be claimed again, and when it is given up.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// A delivery that comes back after this many claims is dead.
    pub attempts: u32,
    /// Wait after the first attempt; doubles with each further one.
    pub backoff: Duration,
    pub backoff_max: Duration,
}

impl Policy {
    /// The wait after attempt number `attempt` (from 1).
    pub fn wait_after(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        self.backoff.saturating_mul(1 << doublings).min(self.backoff_max)
    }
}

/// What became of a delivery that was given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Returned {
    /// Ready or dead.
    pub state: DeliveryState,
    /// When it may be claimed again; none when dead.
    pub available: Option<Timestamp>,
}

/// Why a lease's holder cannot do what it asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// No such delivery, or not one that this account may know of.
    #[error("no such delivery")]
    Unknown,
    /// Already acknowledged under this very lease: saying it again is fine for the caller.
    #[error("already acknowledged")]
    AlreadyAcknowledged,
    #[error("this lease is over: the delivery went back to the queue")]
    NotHeld,
}

/// Filter for listings on the box; all that are given must match, as far as the thing listed has them.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The organisation that it is about.
    pub org: Option<OrgId>,
    pub dataset: Option<DatasetName>,
    /// Who uploaded; for events who acted.
    pub account: Option<String>,
    pub upload: Option<UploadId>,
    pub delivery: Option<DeliveryId>,
    pub kind: Option<Kind>,
    pub state: Option<DeliveryState>,
    /// Uploads only.
    pub verdict: Option<Verdict>,
    /// Uploads only: rejected, quarantined, and still in the vault.
    pub quarantined: bool,
    /// Recorded at or after this time.
    pub since: Option<Timestamp>,
    /// Events only: recorded before this time.
    pub until: Option<Timestamp>,
    /// Events only: past this sequence number; `limit` then counts from there on, for paging and following.
    pub after: Option<u64>,
    /// At most this many, the newest.
    pub limit: Option<usize>,
}

/// An event with its place in the log; sequence numbers start at 1 and have no gaps. Of one whose private part was erased
/// it has what is public, and the account `erased`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Logged {
    pub sequence: u64,
    #[serde(flatten)]
    pub event: Event,
}

/// A row of the uploads, for operators and recovery.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct UploadRow {
    #[serde(flatten)]
    pub receipt: Receipt,
    pub place: String,
    pub sealed_size: u64,
    /// When the object left the vault: loaded or quarantined, and past its retention, or discarded.
    pub removed: Option<Timestamp>,
    /// When what was private of it was erased.
    pub erased: Option<Timestamp>,
}

/// An event's leaf as the tree has it; leaf number `sequence - 1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafRow {
    pub sequence: u64,
    pub leaf: String,
    pub hash: Hash,
}

/// Which event a proof is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProofOf {
    /// By its number.
    Event(u64),
    /// The acceptance or rejection of an upload.
    End(UploadId),
    /// The acknowledgement of its delivery.
    Loading(UploadId),
}

/// All that proves one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// Number of the leaf, from 0: the event's number less one.
    pub index: u64,
    pub leaf: String,
    /// None once it was erased.
    pub private: Option<Private>,
    /// Leaves in the tree of `checkpoint`.
    pub size: u64,
    /// The signed checkpoint, with the cosignatures of witnesses that there are.
    pub checkpoint: String,
    /// The keys of those cosignatures.
    pub witnesses: Vec<VerifierKey>,
    /// The inclusion proof; empty in an outline, where `audit::tree::inclusion_length` tells how many there are.
    pub hashes: Vec<Hash>,
}

impl Proven {
    /// The proof as a file.
    pub fn file(&self) -> Proof {
        let (private, hashes) = (self.private.as_ref(), self.hashes.clone());
        evidence::proof(self.index, &self.leaf, private, hashes, &self.checkpoint, &self.witnesses)
    }
}

/// What a witness said of the checkpoint of that size.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Cosignature {
    pub size: u64,
    pub witness: VerifierKey,
    /// The line of the note, without a newline.
    pub signature: String,
}

/// What is to be erased, for whom.
#[derive(Debug, Clone)]
pub struct Erasure {
    pub upload: UploadId,
    pub actor: Actor,
    /// For the log, where it stays.
    pub why: String,
    /// Whether a daemon runs on this ledger: sessions may then be open, and tell of their end later.
    pub daemon_runs: bool,
}

/// Why an upload is not erased; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotErased {
    #[error("the log has no such upload")]
    Unknown,
    /// It is under way, or a draft that can be gone on with.
    #[error("it has not come to an end")]
    NotEnded,
    #[error("the loader {holder} has it in hand until {until}")]
    InHand { delivery: DeliveryId, holder: String, until: Timestamp },
    /// A session of who sent it, or one of its companions, goes on.
    #[error("the session of {account} that sent it is still open")]
    OpenSession { account: String },
    #[error("the reason names the file, and would stay in the log")]
    NamedByReason,
}

/// What loaders had of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Loading {
    /// It was never queued: rejected, or not completed.
    Never,
    /// Queued, and never claimed.
    Queued,
    /// A loader claimed it, and may have fetched it.
    Claimed,
    Loaded,
}

/// What an erasure did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Erased {
    pub upload: UploadId,
    /// None when nothing in the log says whose it was.
    pub org: Option<OrgId>,
    /// Of one that was accepted or rejected.
    pub sha256: Option<Sha256>,
    /// Private parts of events that went this time; 0 when all was erased before.
    pub parts: u64,
    /// Whether its object was still to be kept: the caller removes the file.
    pub object: bool,
    /// When what is private of the upload was erased first.
    pub at: Timestamp,
    /// The number of the tombstone, whose proof can be given to whoever asked.
    pub sequence: u64,
    pub loading: Loading,
    /// Entries that still name the file, since other uploads of its name stay: theirs, and requests that may have meant
    /// one of them.
    pub named: u64,
    pub others: Vec<UploadId>,
    /// Entries of its sessions that still tell who was there, since other uploads of the sessions stay.
    pub sessions: u64,
}

/// What an erasure is at, beyond its commit; each may take seconds in a large ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErasureStep {
    /// Others still read what was there before; they do not wait for this.
    Waiting,
    /// Every byte of the ledger's files is searched for what was erased.
    Searching,
    /// Something was left in the free space of a page: the file is written anew. Others wait meanwhile.
    Rebuilding,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_with_each_attempt_up_to_its_bound() {
        let policy = Policy { attempts: 10, backoff: Duration::from_secs(30), backoff_max: Duration::from_secs(3600) };
        let waits: Vec<u64> = (1..=9).map(|attempt| policy.wait_after(attempt).as_secs()).collect();
        assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
        assert_eq!(policy.wait_after(u32::MAX).as_secs(), 3600);
        assert_eq!(policy.wait_after(0).as_secs(), 30);
    }
}
