//! Uploads, audit events and deliveries in SQLite; each verb is one transaction, durable when it returns. The only place
//! that knows SQL.
//!
//! Must never record a fact without its event, nor change or delete an event. Verbs take the time as a parameter. One
//! writer thread commits waiting verbs in groups, each in a savepoint of its own; readers have connections of their own.
//! Other processes (operator commands) may open the same file. Called by `intake`, `queue`, `sftp` (reads), `daemon`
//! and `cli`.

mod companions;
mod deliveries;
mod earlier;
mod erase;
mod events;
mod file;
mod filter;
mod leases;
mod model;
mod objects;
mod proving;
mod readers;
mod rows;
#[cfg(test)]
pub(crate) mod testing;
mod tree;
mod uploads;
mod verify;
mod writer;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub use erase::Taken;
pub use model::*;
use rusqlite::ErrorCode;
use tokio::sync::{mpsc, oneshot, watch};
pub use verify::{Finding, LeafCopy, Verification, Verified};

use crate::audit::{Event, Hash, LogKeys, Receipt, Recorder, Signature, VerifierKey};
use crate::types::*;
use readers::Readers;
use writer::{Job, Message, Tx, Verb, Writer};

/// Verbs that may wait for the writer; further callers wait to hand theirs over.
const VERBS: usize = 1024;

/// What SQLite said, in words that name no table, path or tenant; the log has the rest.
fn fault(error: &rusqlite::Error) -> LedgerError {
    tracing::error!(%error, "the ledger's database reported an error");
    let words = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "its disk is full",
        Some(ErrorCode::SystemIoFailure) => "its disk reported an error",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "another process holds it for too long",
        Some(ErrorCode::ConstraintViolation) => "this contradicts what is recorded",
        Some(ErrorCode::DatabaseCorrupt) => "its file is damaged",
        Some(ErrorCode::NotADatabase) => "its file is not a database",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => "its file may not be written",
        Some(ErrorCode::CannotOpen) => "its file cannot be opened",
        Some(ErrorCode::OutOfMemory) => "there is not enough memory",
        _ if matches!(error, rusqlite::Error::FromSqlConversionFailure(..)) => "a record in it cannot be read",
        _ => "an unexpected error; the gateway's log tells more",
    };
    LedgerError::Storage(words.into())
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        fault(&error)
    }
}

#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    verbs: mpsc::Sender<Message>,
    recorder: Recorder,
    readers: Readers,
    changed: watch::Sender<u64>,
    commits: Arc<AtomicU64>,
    /// Taken by the first `close`.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Ledger {
    /// Opens `file`, making it (mode 0600) or migrating it as needed. Starts the writer thread, which ends with `close`,
    /// or when the last clone is dropped. `keys` has the key that signs each commit; its name is the log's origin. Verbs
    /// that write refuse a log that is not signed by one of them, or does not continue what this ledger saw of it.
    ///
    /// # Errors
    /// When the file cannot be opened, is no ledger, or is one of a newer version.
    pub fn open(file: &Path, keys: impl Into<LogKeys>) -> Result<Self> {
        let connection = file::open_writer(file)?;
        let (verbs, messages) = mpsc::channel(VERBS);
        let (recorder, events) = Recorder::new(writer::EVENTS);
        let changed = watch::Sender::new(0);
        let commits = Arc::new(AtomicU64::new(0));
        let keys = keys.into();
        let writer =
            Writer { connection, keys, messages, events, changed: changed.clone(), commits: Arc::clone(&commits) };
        let thread = Mutex::new(Some(writer::start(writer)?));
        Ok(Self(Arc::new(Inner { verbs, recorder, readers: Readers::new(file), changed, commits, thread })))
    }

    /// Opens a ledger that is there for reading alone, which needs nobody's key: verbs that write answer
    /// [`LedgerError::Closed`], and recorded events go to the process's log.
    ///
    /// # Errors
    /// As [`Ledger::open`]; and when the file is not there, or of an older version.
    pub fn open_to_read(file: &Path) -> Result<Self> {
        file::check_readable(file)?;
        let (verbs, _) = mpsc::channel(1);
        let (recorder, _) = Recorder::new(1);
        let (changed, commits) = (watch::Sender::new(0), Arc::default());
        let (readers, thread) = (Readers::new(file), Mutex::new(None));
        Ok(Self(Arc::new(Inner { verbs, recorder, readers, changed, commits, thread })))
    }

    /// The way in for events that are no change of the ledger's own.
    pub fn recorder(&self) -> Recorder {
        self.0.recorder.clone()
    }

    /// Writes one event, durable when this returns.
    pub async fn record(&self, event: Event) -> Result<()> {
        self.write(move |tx| tx.record(&event)).await
    }

    /// Asks the writer for a sign of life: a turn in a transaction, which writes nothing.
    ///
    /// # Errors
    /// Those that a verb would have met now.
    pub async fn answers(&self) -> Result<()> {
        self.write(|_| Ok(())).await
    }

    /// Waits for everything handed over so far (verbs and recorded events), then stops the writer. Again is fine.
    ///
    /// # Errors
    /// When recorded events could not be stored in the end; the process's log has them.
    pub async fn close(&self) -> Result<()> {
        let (closer, closed) = oneshot::channel();
        let outcome = match self.0.verbs.send(Message::Close(closer)).await {
            Ok(()) => closed.await.unwrap_or(Ok(())),
            Err(_) => Ok(()),
        };
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It has answered, or is gone: nothing is left to wait for.
        if thread.is_some_and(|thread| thread.join().is_err()) {
            return Err(LedgerError::Storage("its writer ended by a fault; the gateway's log tells more".into()));
        }
        self.0.readers.close().await;
        outcome
    }

    /// Changes whenever a delivery may have become claimable: a commit here or (within half a second) in another process.
    pub fn deliveries_changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Transactions committed by this ledger since it was opened, for metrics: verbs share them.
    pub fn commits(&self) -> u64 {
        self.0.commits.load(Ordering::Relaxed)
    }

    /// Hands a verb to the writer; answered after the commit. A caller that goes away before does not undo it.
    async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T> + Send + 'static,
    {
        let (verb, answered) = Verb::new(work);
        self.hand_over(verb, answered).await
    }

    async fn hand_over<T>(&self, job: Box<dyn Job>, answered: oneshot::Receiver<Result<T>>) -> Result<T> {
        self.0.verbs.send(Message::Job(job)).await.map_err(|_| LedgerError::Closed)?;
        answered.await.map_err(|_| LedgerError::Closed)?
    }

    // -- uploads --

    /// Records an accepted upload, its event, its object and its delivery. Returns the final receipt and the
    /// delivery's id.
    pub async fn accept(&self, ended: Ended) -> Result<(Receipt, DeliveryId)> {
        self.write(move |tx| uploads::accept(tx, ended)).await
    }

    /// Records a rejected upload and its event; its object too when the receipt says that it is quarantined.
    pub async fn reject(&self, ended: Ended) -> Result<Receipt> {
        self.write(move |tx| uploads::reject(tx, ended)).await
    }

    /// The client's SETSTAT of an accepted upload's time: changes the listing only, not what was recorded.
    pub async fn touch(&self, upload: UploadId, modified: Timestamp) -> Result<()> {
        self.write(move |tx| uploads::touch(tx, upload, modified)).await
    }

    /// The provider removed an accepted upload: its directory lists it no more, with the event; nothing else changes. False
    /// when it is not the newest of its name, or listed no more.
    pub async fn unlist(&self, upload: UploadId, actor: Actor, now: Timestamp) -> Result<bool> {
        self.write(move |tx| uploads::unlist(tx, upload, actor, now)).await
    }

    /// The newest accepted upload of that name in that place, if accepted after `since`.
    pub async fn find(&self, org: &OrgId, place: &Place, name: &FileName, since: Timestamp) -> Result<Option<Listed>> {
        let (org, place, name) = (org.clone(), place.clone(), name.clone());
        self.0.readers.read(move |connection| uploads::find(connection, &org, &place, &name, since)).await
    }

    /// The digests that were recorded of an organisation's upload.
    pub async fn digests(&self, org: &OrgId, upload: UploadId) -> Result<Option<Digests>> {
        let org = org.clone();
        self.0.readers.read(move |connection| uploads::digests(connection, &org, upload)).await
    }

    /// Accepted uploads by name (the newest of each), after `after` in byte order, at most `limit`.
    pub async fn list(
        &self,
        org: &OrgId,
        place: &Place,
        since: Timestamp,
        after: Option<&FileName>,
        limit: usize,
    ) -> Result<Vec<Listed>> {
        let (org, place, after) = (org.clone(), place.clone(), after.cloned());
        self.0
            .readers
            .read(move |connection| uploads::list(connection, &org, &place, since, after.as_ref(), limit))
            .await
    }

    /// The receipt or report of one of the organisation's uploads, if recorded after `since`.
    pub async fn receipt(&self, org: &OrgId, upload: UploadId, since: Timestamp) -> Result<Option<Receipt>> {
        let org = org.clone();
        self.0.readers.read(move |connection| uploads::receipt(connection, &org, upload, since)).await
    }

    /// Receipts and reports recorded after `since`, by id, after `after`, at most `limit`.
    pub async fn receipts(
        &self,
        org: &OrgId,
        since: Timestamp,
        after: Option<UploadId>,
        limit: usize,
    ) -> Result<Vec<Receipt>> {
        let org = org.clone();
        self.0.readers.read(move |connection| uploads::receipts(connection, &org, since, after, limit)).await
    }

    /// Record numbers of an upload's restricted rows, a line for each run (`17` or `20-24`); none when it has none, or is
    /// unknown. Whoever shows it must have seen that the upload is the reader's to know.
    pub async fn restricted(&self, upload: UploadId) -> Result<Option<String>> {
        self.0.readers.read(move |connection| uploads::restricted(connection, upload)).await
    }

    /// Sealed bytes of an organisation in the vault.
    pub async fn stored_bytes(&self, org: &OrgId) -> Result<u64> {
        let org = org.clone();
        self.0.readers.read(move |connection| objects::stored_bytes(connection, &org)).await
    }

    /// Uploads whose object must be in the vault: accepted or quarantined.
    pub async fn expected_objects(&self) -> Result<BTreeSet<UploadId>> {
        self.0.readers.read(objects::expected_objects).await
    }

    /// Loaded uploads of `org` acknowledged before `before` whose object is still there, the oldest first.
    pub async fn loaded_before(&self, org: &OrgId, before: Timestamp) -> Result<Vec<UploadId>> {
        let org = org.clone();
        self.0.readers.read(move |connection| objects::loaded_before(connection, &org, before)).await
    }

    /// Records that an object leaves the vault, with its event; the caller then removes the file. Again is fine.
    ///
    /// # Errors
    /// Also when the upload has no object on record.
    pub async fn object_removed(&self, upload: UploadId, why: &str, now: Timestamp) -> Result<()> {
        let why = why.to_owned();
        self.write(move |tx| objects::removed(tx, upload, &why, now)).await
    }

    /// Quarantined uploads of `org` recorded before `before` whose object is still there.
    pub async fn quarantined_before(&self, org: &OrgId, before: Timestamp) -> Result<Vec<UploadId>> {
        let org = org.clone();
        self.0.readers.read(move |connection| objects::quarantined_before(connection, &org, before)).await
    }

    /// Operator: records that a quarantined upload's object leaves the vault before its time; the caller then removes the
    /// file. False if it is none, or has left.
    pub async fn discard(&self, upload: UploadId, actor: Actor, why: &str, now: Timestamp) -> Result<bool> {
        let why = why.to_owned();
        self.write(move |tx| objects::discard(tx, upload, actor, &why, now)).await
    }

    // -- what new uploads are compared with --

    /// Data rows of the organisation's last accepted upload of a dataset, if there is one and they were counted.
    pub async fn last_rows(&self, org: &OrgId, dataset: &DatasetName) -> Result<Option<u64>> {
        let (org, dataset) = (org.clone(), dataset.clone());
        self.0.readers.read(move |connection| earlier::last_rows(connection, &org, &dataset)).await
    }

    /// The newest accepted upload of this organisation and dataset with the same bytes.
    pub async fn same_bytes(&self, org: &OrgId, dataset: &DatasetName, sha256: Sha256) -> Result<Option<Earlier>> {
        let (org, dataset) = (org.clone(), dataset.clone());
        self.0.readers.read(move |connection| earlier::same_bytes(connection, &org, &dataset, sha256)).await
    }

    /// The newest accepted upload of a name, and what its companions said, the newest of each kind.
    pub async fn companions(&self, about: &Vouched) -> Result<(Option<Earlier>, Vec<Companion>)> {
        let about = about.clone();
        let read =
            move |connection: &_| Ok((earlier::under_name(connection, &about)?, companions::of(connection, &about)?));
        self.0.readers.read(read).await
    }

    /// Records a companion in the place of an earlier one of its kind, and `event`, which ends its upload. False, with
    /// nothing recorded, when the organisation has too many (1000) whose files have not come.
    pub async fn companion(&self, about: Vouched, companion: Companion, event: Event) -> Result<bool> {
        self.write(move |tx| companions::record(tx, &about, &companion, event)).await
    }

    /// Forgets companions that wait since before `before`, with their events; returns how many.
    pub async fn expire_companions(&self, org: &OrgId, before: Timestamp, now: Timestamp) -> Result<usize> {
        let org = org.clone();
        self.write(move |tx| companions::expire(tx, &org, before, now)).await
    }

    // -- deliveries --

    /// Leases up to `max` claimable deliveries, oldest first. Expired leases are put back first. A caller that goes
    /// away before its turn claims nothing; one that goes away later leaves leases to expire.
    pub async fn claim(&self, claim: Claim, policy: Policy, now: Timestamp) -> Result<Vec<Delivery>> {
        let (verb, answered) = Verb::new(move |tx: &Tx<'_>| leases::claim(tx, &claim, policy, now));
        self.hand_over(verb.only_if_awaited(), answered).await
    }

    /// Makes a lease of the actor's account last until `by` after `now`, at least; returns when it ends.
    pub async fn extend(
        &self,
        delivery: DeliveryId,
        lease: LeaseId,
        by: Duration,
        actor: Actor,
        policy: Policy,
        now: Timestamp,
    ) -> Result<std::result::Result<Timestamp, LeaseError>> {
        self.write(move |tx| leases::extend(tx, (delivery, lease), by, actor, policy, now)).await
    }

    /// Records that the delivery was loaded, by the actor's account under this lease.
    pub async fn acknowledge(
        &self,
        delivery: DeliveryId,
        lease: LeaseId,
        actor: Actor,
        policy: Policy,
        now: Timestamp,
    ) -> Result<std::result::Result<(), LeaseError>> {
        self.write(move |tx| leases::acknowledge(tx, (delivery, lease), actor, policy, now)).await
    }

    /// Gives a delivery back with a reason (500 characters of it are kept): ready after a backoff, or dead.
    pub async fn give_back(
        &self,
        delivery: DeliveryId,
        lease: LeaseId,
        reason: &str,
        actor: Actor,
        policy: Policy,
        now: Timestamp,
    ) -> Result<std::result::Result<Returned, LeaseError>> {
        let reason = reason.to_owned();
        self.write(move |tx| leases::give_back(tx, (delivery, lease), &reason, actor, policy, now)).await
    }

    /// Puts back every delivery whose lease ran out; returns how many.
    pub async fn expire(&self, policy: Policy, now: Timestamp) -> Result<usize> {
        self.write(move |tx| leases::expire(tx, policy, now)).await
    }

    /// When the next lease expires (in the past, if nobody put it back yet) or the next backoff ends after `now`, if
    /// any; for whoever waits.
    pub async fn next_change(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        self.0.readers.read(move |connection| deliveries::next_change(connection, now)).await
    }

    /// Operator: a dead (or waiting) delivery may be claimed at once, with its attempts forgotten. False if there is none such.
    pub async fn retry(&self, delivery: DeliveryId, actor: Actor, now: Timestamp) -> Result<bool> {
        self.write(move |tx| deliveries::retry(tx, delivery, actor, now)).await
    }

    /// Operator: takes a lease away, the delivery may be claimed at once. False if it was not leased.
    pub async fn release(&self, delivery: DeliveryId, actor: Actor, now: Timestamp) -> Result<bool> {
        self.write(move |tx| deliveries::release(tx, delivery, actor, now)).await
    }

    pub async fn delivery(&self, delivery: DeliveryId) -> Result<Option<Delivery>> {
        self.0.readers.read(move |connection| deliveries::by_id(connection, delivery)).await
    }

    /// Deliveries that `take` covers and that are ready or leased, by id, after `after`.
    pub async fn queue(&self, take: &Take, after: Option<DeliveryId>, limit: usize) -> Result<Vec<Delivery>> {
        let take = take.clone();
        self.0.readers.read(move |connection| deliveries::queue(connection, &take, after, limit)).await
    }

    // -- for operators --

    /// Uploads in the order of recording.
    pub async fn uploads(&self, filter: &Filter) -> Result<Vec<UploadRow>> {
        let filter = filter.clone();
        self.0.readers.read(move |connection| uploads::select(connection, &filter)).await
    }

    /// Deliveries in the order of acceptance.
    pub async fn deliveries(&self, filter: &Filter) -> Result<Vec<Delivery>> {
        let filter = filter.clone();
        self.0.readers.read(move |connection| deliveries::select(connection, &filter)).await
    }

    /// Events in order of sequence.
    pub async fn events(&self, filter: &Filter) -> Result<Vec<Logged>> {
        let filter = filter.clone();
        self.0.readers.read(move |connection| events::select(connection, &filter)).await
    }

    /// The number of the newest event that is committed; 0 for none.
    pub async fn last_event(&self) -> Result<u64> {
        self.0.readers.read(|connection| Ok(events::last(connection)?)).await
    }

    /// The beginnings of uploads that have no end in the audit log; for recovery. Looks back to the latest
    /// `daemon.started`, before which a recovery has told all ends.
    pub async fn unfinished(&self) -> Result<Vec<Event>> {
        self.0.readers.read(events::unfinished).await
    }

    /// Whether an upload has its end in the audit log, whatever it was; for recovery.
    pub async fn has_ended(&self, upload: UploadId) -> Result<bool> {
        self.0.readers.read(move |connection| events::has_ended(connection, upload)).await
    }
}
