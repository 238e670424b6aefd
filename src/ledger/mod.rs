//! Uploads, audit events and deliveries in SQLite; each verb is one transaction, durable when it returns. The only place
//! that knows SQL.
//!
//! Must never record a fact without its event, nor change or delete an event. Verbs take the time as a parameter. One
//! writer thread commits waiting verbs in groups, each in a savepoint of its own; readers have connections of their own.
//! Other processes (operator commands) may open the same file. Called by `intake`, `queue`, `sftp` (reads), `daemon`
//! and `cli`.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::audit::{Event, Kind, Receipt, Recorder};
use crate::types::*;

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
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
    /// Bytes of the object in the vault; 0 for a rejection.
    pub sealed_size: u64,
    pub actor: Actor,
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

/// A queue entry with all that a loader needs to know.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Delivery {
    pub delivery: DeliveryId,
    pub state: DeliveryState,
    pub receipt: Receipt,
    /// Bytes of the object.
    pub sealed_size: u64,
    /// Claims so far.
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
    pub attempts: u32,
    pub backoff: Duration,
    pub backoff_max: Duration,
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

/// Filter for listings on the box; all that are given must match.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub org: Option<OrgId>,
    pub dataset: Option<DatasetName>,
    pub account: Option<String>,
    pub upload: Option<UploadId>,
    pub delivery: Option<DeliveryId>,
    pub kind: Option<Kind>,
    pub state: Option<DeliveryState>,
    pub since: Option<Timestamp>,
    /// At most this many, the newest.
    pub limit: Option<usize>,
}

/// An event with its place in the log; sequence numbers start at 1 and have no gaps.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Logged {
    pub sequence: u64,
    #[serde(flatten)]
    pub event: Event,
}

/// A row of the uploads, for operators and recovery.
#[derive(Debug, Clone, serde::Serialize)]
pub struct UploadRow {
    #[serde(flatten)]
    pub receipt: Receipt,
    pub place: String,
    pub sealed_size: u64,
    /// When the object left the vault (loaded and past its retention).
    pub removed: Option<Timestamp>,
}

#[derive(Clone)]
pub struct Ledger {}

impl Ledger {
    /// Opens `file`, making it (mode 0600) or migrating it as needed. Starts the writer thread.
    pub fn open(_file: &Path) -> Result<Self> {
        unimplemented!()
    }
    /// The way in for events that are no change of the ledger's own.
    pub fn recorder(&self) -> Recorder {
        unimplemented!()
    }
    /// Writes one event, durable when this returns.
    pub async fn record(&self, _event: Event) -> Result<()> {
        unimplemented!()
    }
    /// Waits for everything handed over so far (verbs and recorded events), then stops the writer.
    pub async fn close(&self) -> Result<()> {
        unimplemented!()
    }
    /// Changes whenever a delivery may have become claimable: a commit here or in another process.
    pub fn deliveries_changed(&self) -> tokio::sync::watch::Receiver<u64> {
        unimplemented!()
    }

    // -- uploads --

    /// Records an accepted upload, its event and its delivery. Returns the final receipt and the delivery's id.
    pub async fn accept(&self, _ended: Ended) -> Result<(Receipt, DeliveryId)> {
        unimplemented!()
    }
    /// Records a rejected upload and its event.
    pub async fn reject(&self, _ended: Ended) -> Result<Receipt> {
        unimplemented!()
    }
    /// The client's SETSTAT of an accepted upload's time.
    pub async fn touch(&self, _upload: UploadId, _modified: Timestamp) -> Result<()> {
        unimplemented!()
    }
    /// The newest accepted upload of that name in that place, if accepted after `since`.
    pub async fn find(
        &self,
        _org: &OrgId,
        _place: &Place,
        _name: &FileName,
        _since: Timestamp,
    ) -> Result<Option<Listed>> {
        unimplemented!()
    }
    /// Accepted uploads by name (the newest of each), after `after` in byte order, at most `limit`.
    pub async fn list(
        &self,
        _org: &OrgId,
        _place: &Place,
        _since: Timestamp,
        _after: Option<&FileName>,
        _limit: usize,
    ) -> Result<Vec<Listed>> {
        unimplemented!()
    }
    pub async fn receipt(&self, _org: &OrgId, _upload: UploadId, _since: Timestamp) -> Result<Option<Receipt>> {
        unimplemented!()
    }
    /// Receipts and reports, by id, after `after`, at most `limit`.
    pub async fn receipts(
        &self,
        _org: &OrgId,
        _since: Timestamp,
        _after: Option<UploadId>,
        _limit: usize,
    ) -> Result<Vec<Receipt>> {
        unimplemented!()
    }
    /// Sealed bytes of an organisation in the vault.
    pub async fn stored_bytes(&self, _org: &OrgId) -> Result<u64> {
        unimplemented!()
    }
    /// Accepted uploads whose object must be in the vault.
    pub async fn expected_objects(&self) -> Result<BTreeSet<UploadId>> {
        unimplemented!()
    }
    /// Loaded uploads of `org` acknowledged before `before` whose object is still there.
    pub async fn loaded_before(&self, _org: &OrgId, _before: Timestamp) -> Result<Vec<UploadId>> {
        unimplemented!()
    }
    /// Records that an object leaves the vault, with its event; the caller then removes the file.
    pub async fn object_removed(&self, _upload: UploadId, _why: &str, _now: Timestamp) -> Result<()> {
        unimplemented!()
    }

    // -- deliveries --

    /// Leases up to `max` claimable deliveries, oldest first. Expired leases are put back first.
    pub async fn claim(&self, _claim: Claim, _policy: Policy, _now: Timestamp) -> Result<Vec<Delivery>> {
        unimplemented!()
    }
    pub async fn extend(
        &self,
        _delivery: DeliveryId,
        _lease: LeaseId,
        _by: Duration,
        _actor: Actor,
        _now: Timestamp,
    ) -> Result<std::result::Result<Timestamp, LeaseError>> {
        unimplemented!()
    }
    pub async fn acknowledge(
        &self,
        _delivery: DeliveryId,
        _lease: LeaseId,
        _actor: Actor,
        _now: Timestamp,
    ) -> Result<std::result::Result<(), LeaseError>> {
        unimplemented!()
    }
    /// Gives a delivery back with a reason; returns its state afterwards (ready after a backoff, or dead).
    pub async fn give_back(
        &self,
        _delivery: DeliveryId,
        _lease: LeaseId,
        _reason: &str,
        _actor: Actor,
        _policy: Policy,
        _now: Timestamp,
    ) -> Result<std::result::Result<DeliveryState, LeaseError>> {
        unimplemented!()
    }
    /// Puts back every delivery whose lease ran out; returns how many.
    pub async fn expire(&self, _policy: Policy, _now: Timestamp) -> Result<usize> {
        unimplemented!()
    }
    /// When the next lease expires or the next backoff ends, if any; for whoever waits.
    pub async fn next_change(&self) -> Result<Option<Timestamp>> {
        unimplemented!()
    }
    /// Operator: a dead (or waiting) delivery may be claimed at once, with its attempts forgotten. False if there is none such.
    pub async fn retry(&self, _delivery: DeliveryId, _actor: Actor, _now: Timestamp) -> Result<bool> {
        unimplemented!()
    }
    /// Operator: takes a lease away, the delivery may be claimed at once. False if it was not leased.
    pub async fn release(&self, _delivery: DeliveryId, _actor: Actor, _now: Timestamp) -> Result<bool> {
        unimplemented!()
    }
    pub async fn delivery(&self, _delivery: DeliveryId) -> Result<Option<Delivery>> {
        unimplemented!()
    }
    /// Deliveries that `take` covers and that are ready or leased, by id, after `after`.
    pub async fn queue(&self, _take: &Take, _after: Option<DeliveryId>, _limit: usize) -> Result<Vec<Delivery>> {
        unimplemented!()
    }

    // -- for operators --

    pub async fn uploads(&self, _filter: &Filter) -> Result<Vec<UploadRow>> {
        unimplemented!()
    }
    pub async fn deliveries(&self, _filter: &Filter) -> Result<Vec<Delivery>> {
        unimplemented!()
    }
    /// Events in order of sequence.
    pub async fn events(&self, _filter: &Filter) -> Result<Vec<Logged>> {
        unimplemented!()
    }
}
