//! The one writer: a thread that commits waiting verbs and recorded events in groups, so that many share one sync.
//!
//! Each verb runs in a savepoint of its own: its error undoes only its own part. What the group appended to the audit log
//! joins the tree just before the commit, under one signature. Nobody is answered before the commit.
//! Must never lose a recorded event: those that cannot be stored are kept and tried again, and while they wait nothing
//! more is taken from the recorders' queue. Started by `Ledger::open`.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::{LedgerError, Result, events, fault, tree};
use crate::audit::{Event, Kind, LogKeys};

/// Most verbs in one transaction.
const GROUP: usize = 256;

/// The recorders' queue. A group takes all of it, so that an event recorded before a verb was asked for is also stored
/// before it.
pub(super) const EVENTS: usize = 1024;

/// How long the beginning of an upload waits for a commit to share: mostly that of its own end.
const COMPANY: Duration = Duration::from_millis(25);

/// How often the commits of other processes are looked for.
const POLL: Duration = Duration::from_millis(500);

/// Wait before events that could not be stored are tried again.
const RETRY: Duration = Duration::from_millis(500);

/// How often that is tried when the ledger closes.
const LAST_TRIES: usize = 4;

/// The open transaction, as a verb sees it.
pub(super) struct Tx<'c> {
    pub connection: &'c Connection,
    woken: Cell<bool>,
}

impl Tx<'_> {
    /// Writes an event into the audit log.
    pub fn record(&self, event: &Event) -> Result<()> {
        events::insert(self.connection, event)?;
        Ok(())
    }

    /// Tells those who wait for deliveries, once the commit is done.
    pub fn wake(&self) {
        self.woken.set(true);
    }
}

/// A verb on its way through a group.
pub(super) trait Job: Send {
    /// Runs inside its savepoint; false undoes it.
    fn run(&mut self, tx: &Tx<'_>) -> bool;
    /// Tells the caller, after the commit (or instead of it).
    fn answer(self: Box<Self>, group: Result<()>);
}

pub(super) struct Verb<T, F> {
    work: Option<F>,
    done: Option<Result<T>>,
    answer: oneshot::Sender<Result<T>>,
    /// Whether it is left out when its caller has gone before its turn.
    only_if_awaited: bool,
}

impl<T, F> Verb<T, F>
where
    F: FnOnce(&Tx<'_>) -> Result<T> + Send,
{
    pub fn new(work: F) -> (Box<Self>, oneshot::Receiver<Result<T>>) {
        let (answer, answered) = oneshot::channel();
        (Box::new(Self { work: Some(work), done: None, answer, only_if_awaited: false }), answered)
    }

    /// For what is of use to its caller alone.
    pub fn only_if_awaited(mut self: Box<Self>) -> Box<Self> {
        self.only_if_awaited = true;
        self
    }
}

impl<T, F> Job for Verb<T, F>
where
    T: Send,
    F: FnOnce(&Tx<'_>) -> Result<T> + Send,
{
    fn run(&mut self, tx: &Tx<'_>) -> bool {
        if self.only_if_awaited && self.answer.is_closed() {
            return false;
        }
        let Some(work) = self.work.take() else { return false };
        // A panic undoes this verb alone; the writer serves everybody else.
        let done = catch_unwind(AssertUnwindSafe(|| work(tx))).unwrap_or_else(|_| {
            tracing::error!("a verb of the ledger panicked");
            Err(LedgerError::Storage("a fault of the gateway itself; its log tells more".into()))
        });
        self.done.insert(done).is_ok()
    }

    fn answer(self: Box<Self>, group: Result<()>) {
        let answer = match (self.done, group) {
            (Some(Err(own)), _) => Err(own),
            (_, Err(group)) => Err(group),
            (Some(done), Ok(())) => done,
            (None, Ok(())) => Err(LedgerError::Closed),
        };
        // The caller may have gone; what was committed stays.
        let _ = self.answer.send(answer);
    }
}

pub(super) enum Message {
    Job(Box<dyn Job>),
    /// Answered when everything handed over is stored and the connection closed.
    Close(oneshot::Sender<Result<()>>),
}

pub(super) struct Writer {
    pub connection: Connection,
    pub keys: LogKeys,
    pub messages: mpsc::Receiver<Message>,
    pub events: mpsc::Receiver<Event>,
    pub changed: watch::Sender<u64>,
    pub commits: Arc<AtomicU64>,
}

/// Starts the thread. It ends when told to close, or when the last `Ledger` is gone.
pub(super) fn start(writer: Writer) -> Result<thread::JoinHandle<()>> {
    let failed = |error: std::io::Error| LedgerError::Storage(format!("its writer cannot be started: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(failed)?;
    let running = Running { writer, waiting: Vec::new(), pending: Vec::new(), known: None, told: None };
    let thread = thread::Builder::new().name("ledger-writer".into());
    thread.spawn(move || runtime.block_on(running.run())).map_err(failed)
}

struct Running {
    writer: Writer,
    /// Taken from the queue, not yet in a group.
    waiting: Vec<Message>,
    /// Taken from the recorders' queue, not yet stored.
    pending: Vec<Event>,
    /// The log's tree as of the last commit here: what the file says later must continue it.
    known: Option<tree::State>,
    /// Why commits fail at the moment, as the process's log has it.
    told: Option<LedgerError>,
}

impl Running {
    async fn run(mut self) {
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = self.version_of_others();
        let mut closers = Vec::new();
        while closers.is_empty() {
            // Still there from last time: they could not be stored.
            let stuck = !self.pending.is_empty();
            tokio::select! {
                taken = self.writer.messages.recv_many(&mut self.waiting, GROUP) => {
                    if taken == 0 {
                        break;
                    }
                }
                _ = self.writer.events.recv_many(&mut self.pending, EVENTS), if !stuck => {}
                () = tokio::time::sleep(RETRY), if stuck => {}
                _ = poll.tick() => {
                    let version = self.version_of_others();
                    if version != seen {
                        seen = version;
                        self.writer.changed.send_modify(|count| *count += 1);
                    }
                    continue;
                }
            }
            self.fill_up(stuck);
            if !stuck {
                self.wait_for_company().await;
            }
            closers = self.commit_waiting();
        }
        self.end(closers).await;
    }

    /// While nothing but beginnings of uploads is to be stored, waits a moment for more. One that a crash takes away began
    /// nothing that is kept; everything else is stored at once.
    async fn wait_for_company(&mut self) {
        let deadline = Instant::now() + COMPANY;
        let alone = |event: &Event| event.kind == Kind::UploadBegun;
        while self.waiting.is_empty() && self.pending.len() < EVENTS && self.pending.iter().all(alone) {
            let taken = tokio::select! {
                taken = self.writer.messages.recv_many(&mut self.waiting, GROUP) => taken,
                taken = self.writer.events.recv_many(&mut self.pending, EVENTS) => taken,
                () = tokio::time::sleep_until(deadline) => return,
            };
            if taken == 0 {
                return;
            }
        }
        self.fill_up(false);
    }

    /// A number that changes with each commit of another connection, and with none of this one
    /// (<https://www.sqlite.org/pragma.html#pragma_data_version>). Zero when it cannot be read.
    fn version_of_others(&self) -> i64 {
        let connection = &self.writer.connection;
        let version =
            connection.prepare_cached("PRAGMA data_version").and_then(|mut s| s.query_row([], |row| row.get(0)));
        version.unwrap_or(0)
    }

    /// Takes along what else waits. Verbs first, then a whole queue of events: an event that a caller recorded before it
    /// asked for a verb is then in the same group at the latest, and events are stored first. While events are stuck
    /// no more are taken, so that their number stays bounded.
    fn fill_up(&mut self, stuck: bool) {
        while self.waiting.len() < GROUP
            && let Ok(message) = self.writer.messages.try_recv()
        {
            self.waiting.push(message);
        }
        let bound = if stuck { 0 } else { self.pending.len() + EVENTS };
        while self.pending.len() < bound
            && let Ok(event) = self.writer.events.try_recv()
        {
            self.pending.push(event);
        }
    }

    /// One transaction for all that was taken; then every caller has its answer. Returns who asked to close.
    fn commit_waiting(&mut self) -> Vec<oneshot::Sender<Result<()>>> {
        let mut jobs = Vec::with_capacity(self.waiting.len());
        let mut closers = Vec::new();
        for message in self.waiting.drain(..) {
            match message {
                Message::Job(job) => jobs.push(job),
                Message::Close(closer) => closers.push(closer),
            }
        }
        if jobs.is_empty() && self.pending.is_empty() {
            return closers;
        }
        let outcome = self.transact(&mut jobs);
        // Once for each reason until it is over: stuck events are tried again twice a second, and callers tell their own.
        if let Err(error) = &outcome
            && self.told.as_ref() != Some(error)
        {
            tracing::error!(ledger.verbs = jobs.len(), ledger.events = self.pending.len(), %error, "a commit failed");
        }
        self.told = outcome.as_ref().err().cloned();
        for job in jobs {
            job.answer(outcome.clone());
        }
        closers
    }

    fn transact(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<()> {
        let connection = &self.writer.connection;
        let tx = Tx { connection, woken: Cell::new(false) };
        execute(connection, "BEGIN IMMEDIATE")?;
        let inside = || -> Result<(usize, tree::State)> {
            let tree = tree::begin(connection, &self.writer.keys, self.known.as_ref())?;
            let stored = store_events(connection, &self.pending)?;
            for job in jobs {
                run_apart(connection, || job.run(&tx))?;
            }
            let tree = tree::append(connection, tree, &self.writer.keys.signer)?;
            execute(connection, "COMMIT")?;
            Ok((stored, tree))
        };
        let (stored, tree) = inside().inspect_err(|_| {
            // After some errors (a full disk, say) SQLite has undone everything already.
            if !connection.is_autocommit() {
                let _ = execute(connection, "ROLLBACK");
            }
        })?;
        self.known = Some(tree);
        self.pending.drain(..stored);
        self.writer.commits.fetch_add(1, Ordering::Relaxed);
        if tx.woken.get() {
            self.writer.changed.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    /// Stores what was handed over before the end, then lets go of the file.
    async fn end(mut self, closers: Vec<oneshot::Sender<Result<()>>>) {
        self.writer.messages.close();
        self.writer.events.close();
        let mut closers = closers;
        while let Some(message) = self.writer.messages.recv().await {
            self.waiting.push(message);
        }
        while let Some(event) = self.writer.events.recv().await {
            self.pending.push(event);
        }
        closers.extend(self.commit_waiting());
        for _ in 1..LAST_TRIES {
            if self.pending.is_empty() {
                break;
            }
            tokio::time::sleep(RETRY).await;
            self.commit_waiting();
        }
        for event in &self.pending {
            let body = serde_json::to_string(event).unwrap_or_default();
            tracing::error!(event.kind = event.kind.as_str(), event.body = body, "an audit event could not be stored");
        }
        let outcome = match self.pending.len() {
            0 => Ok(()),
            lost => Err(LedgerError::Storage(format!("{lost} audit events could not be stored; the log has them"))),
        };
        drop(self.writer);
        for closer in closers {
            let _ = closer.send(outcome.clone());
        }
    }
}

/// Stores recorded events in their order; returns how many are done with. An error of the storage ends it there: the
/// rest is tried again. An event that the log itself refuses can never be stored: it goes to the process's log.
fn store_events(connection: &Connection, events: &[Event]) -> Result<usize> {
    for (stored, event) in events.iter().enumerate() {
        let mut failed = None;
        run_apart(connection, || match events::insert(connection, event) {
            Ok(_) => true,
            Err(error) => {
                failed = Some(error);
                false
            }
        })?;
        let Some(error) = failed else { continue };
        let refused = matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch)
        ) || matches!(error, rusqlite::Error::ToSqlConversionFailure(_));
        let reason = fault(&error);
        if !refused {
            return Ok(stored);
        }
        let body = serde_json::to_string(event).unwrap_or_default();
        tracing::error!(event.kind = event.kind.as_str(), event.body = body, %reason, "an audit event was refused");
    }
    Ok(events.len())
}

/// Runs `work` in a savepoint, undone when it returns false. An error means that the whole group is lost: the
/// transaction is gone, or its savepoints do not work.
fn run_apart(connection: &Connection, work: impl FnOnce() -> bool) -> Result<()> {
    execute(connection, "SAVEPOINT one")?;
    let keep = work();
    if connection.is_autocommit() {
        return Err(LedgerError::Storage("the transaction was undone by the failure of a part of it".into()));
    }
    if !keep {
        execute(connection, "ROLLBACK TO one")?;
    }
    execute(connection, "RELEASE one")
}

fn execute(connection: &Connection, sql: &str) -> Result<()> {
    let run = || connection.prepare_cached(sql)?.execute([]);
    run().map(drop).map_err(|error| fault(&error))
}

#[cfg(test)]
mod tests;
