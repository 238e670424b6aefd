//! Whether the ledger keeps its promises, looked at from outside the code that keeps them: everything is recomputed from
//! the leaves.
//!
//! Must never change anything. Finds what somebody with write access to the file, but without the signing key, changed; and
//! with a checkpoint or a copy that was kept elsewhere, what somebody with the key did. Two threads share the work, each
//! with a connection of its own. Called by the facade, for `nightsafe audit verify` and the tests.

mod facts;
mod log;
mod model;
mod records;
mod shape;
mod tree;

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use rusqlite::Connection;

use super::{LedgerError, Result, events, file};
use crate::audit::{Checkpoint, Hash, VerifierKey};
use log::{STRETCH, Stretch, Sums};
pub use model::{Finding, LeafCopy, Verification, Verified};

/// Most findings shown of one check.
const SHOWN: usize = 20;

/// Threads that read; the one that called joins what they read.
const THREADS: usize = 2;

/// How often two connections are tried to be brought to the same moment, while others commit.
const TRIES: usize = 1000;

fn found(check: &'static str, what: String, event: Option<u64>) -> Finding {
    Finding { check, what, event }
}

/// One piece of the work.
#[derive(Clone, Copy)]
enum Task {
    Stretch(u64),
    Index(usize),
    Fact(usize),
    Whole(&'static str),
    Shape(&'static str, fn(&Connection, u64) -> Result<Vec<Finding>>),
}

enum Done {
    Stretch(u64, Stretch),
    Index(Sums),
    /// Those of the task with this number.
    Findings(usize, Vec<Finding>),
}

/// # Errors
/// The file cannot be read at all. What is wrong with it, or cannot be read of it, is no error, but a finding.
pub(super) fn verify(file: &Path, verification: Verification) -> Result<Verified> {
    let Verification { keys, kept, copy, progress } = verification;
    let mut verified = Verified::default();
    let kept = read_kept(&kept, &keys, &mut verified.findings);
    let mut connections = at_one_moment(file)?;
    let Some(main) = connections.pop() else { return Err(LedgerError::Closed) };
    let (last, beyond) = shape::extent(&main)?;
    verified.events = last;
    verified.findings.extend(beyond);

    let tasks = tasks(last);
    let work = Work { tasks: &tasks, next: AtomicUsize::new(0), last, key: RandomState::new(), signers: &keys };
    let mut growth = tree::Growth::new(&main, kept, copy);
    let mut joined = Joined::default();
    let (mut table, mut indexes) = (Sums::default(), Sums::default());
    let mut others = BTreeMap::new();
    std::thread::scope(|scope| {
        let (done, finished) = sync_channel(THREADS);
        for connection in connections {
            let (done, work) = (done.clone(), &work);
            scope.spawn(move || work.run(&connection, &done));
        }
        drop(done);
        // Stretches come nearly in order; those that come early wait for the ones before.
        let (mut early, mut awaited) = (BTreeMap::new(), 0);
        for (count, done) in (1u64..).zip(finished) {
            match done {
                Done::Stretch(number, stretch) => {
                    early.insert(number, stretch);
                }
                Done::Index(sums) => indexes.add(sums),
                Done::Findings(task, findings) => {
                    others.insert(task, findings);
                }
            }
            while let Some(stretch) = early.remove(&awaited) {
                awaited += 1;
                table.add(stretch.sums);
                growth.take(&stretch)?;
                joined.take(&stretch);
                growth.findings.extend(stretch.findings);
            }
            if let Some(progress) = &progress {
                progress(count, tasks.len() as u64);
            }
        }
        Ok::<_, LedgerError>(())
    })?;
    let newest = tree::newest(&main, &keys).unwrap_or_else(|error| {
        growth.findings.push(unread("the newest checkpoint", &error));
        None
    });
    growth.end(newest.as_ref())?;
    verified.newest = newest.map(|newest| newest.note);
    verified.checkpoints = growth.checkpoints;
    verified.erased = joined.bare.len() as u64;
    verified.findings.extend(growth.findings);
    verified.findings.extend(joined.compare(last));
    verified.findings.extend(table.compare(&indexes));
    verified.findings.extend(others.into_values().flatten());
    verified.findings = cut(verified.findings);
    Ok(verified)
}

/// A part that could not be read was not found to be right.
fn unread(what: &str, error: &LedgerError) -> Finding {
    found(facts::WHOLE, format!("{what} cannot be read: {error}"), None)
}

/// Connections of the threads and one for the caller, all in one snapshot of the log: what is committed meanwhile is not
/// half seen.
fn at_one_moment(file: &Path) -> Result<Vec<Connection>> {
    let connections = (0..=THREADS).map(|_| file::open_whole_reader(file)).collect::<Result<Vec<_>>>()?;
    for _ in 0..TRIES {
        let mut ends = Vec::with_capacity(connections.len());
        for connection in &connections {
            connection.execute_batch("BEGIN")?;
            ends.push(events::last(connection)?);
        }
        // Whatever changes the log appends to it.
        if ends.iter().all(|end| *end == ends[0]) {
            return Ok(connections);
        }
        connections.iter().try_for_each(|connection| connection.execute_batch("ROLLBACK"))?;
    }
    Err(LedgerError::Storage("it is written to without a pause: try again when there is less to do".into()))
}

fn tasks(last: u64) -> Vec<Task> {
    let stretches = (0..last.div_ceil(STRETCH)).map(Task::Stretch);
    let indexes = (0..Sums::COUNT).map(Task::Index);
    let facts = (0..facts::CHECKS.len()).map(Task::Fact);
    let tables = facts::TABLES.iter().copied().map(Task::Whole);
    let shapes = [
        Task::Shape("the schema", |connection, _| shape::schema(connection)),
        Task::Shape("the log's tables", shape::strays),
        Task::Shape("the table of cosignatures", |connection, _| shape::cosignatures(connection)),
    ];
    stretches.chain(indexes).chain(tables).chain(facts).chain(shapes).collect()
}

/// What the threads take from.
struct Work<'a> {
    tasks: &'a [Task],
    next: AtomicUsize,
    last: u64,
    key: RandomState,
    signers: &'a [VerifierKey],
}

impl Work<'_> {
    fn run(&self, connection: &Connection, done: &SyncSender<Done>) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = self.tasks.get(number) else { return };
            // Nobody takes it any more: another part failed.
            if done.send(self.one(connection, *task, number)).is_err() {
                return;
            }
        }
    }

    fn one(&self, connection: &Connection, task: Task, number: usize) -> Done {
        let (outcome, what) = match task {
            Task::Stretch(stretch) => {
                let first = stretch * STRETCH + 1;
                let range = (first, (first + STRETCH - 1).min(self.last));
                let read = log::read(connection, range, &self.key, self.signers);
                let read = read.unwrap_or_else(|error| {
                    Stretch::unread(range, format!("events {} to {} cannot be read: {error}", range.0, range.1))
                });
                return Done::Stretch(stretch, read);
            }
            Task::Index(index) => match Sums::of_index(connection, &self.key, index) {
                Ok(sums) => return Done::Index(sums),
                Err(error) => (Err(error), "an index of the log".to_owned()),
            },
            Task::Fact(fact) => {
                (facts::run(connection, fact), format!("what shows that {}", facts::CHECKS[fact].promise))
            }
            Task::Whole(table) => (facts::whole(connection, table), format!("the table {table}")),
            Task::Shape(what, look) => (look(connection, self.last), what.to_owned()),
        };
        Done::Findings(number, outcome.unwrap_or_else(|error| vec![unread(&what, &error)]))
    }
}

/// Checkpoints kept elsewhere that can be compared with; what is wrong with the others is a finding.
fn read_kept(notes: &[String], keys: &[VerifierKey], findings: &mut Vec<Finding>) -> Vec<(u64, Hash)> {
    let mut kept = Vec::new();
    for note in notes {
        match Checkpoint::verify_by_any(note, keys) {
            Ok(checkpoint) => kept.push((checkpoint.size, checkpoint.root)),
            Err(why) => {
                let what = format!("the checkpoint kept elsewhere cannot be used: {why}");
                findings.push(found(tree::KEPT, what, None));
            }
        }
    }
    kept
}

const ERASED: &str = "every private part that is missing was erased";
const ORDER: &str = "uploads and deliveries stand in the order of the log";

/// What is told of all stretches together: which private parts are missing and which erasures say that they took them, and
/// the order of the records.
#[derive(Default)]
struct Joined {
    bare: Vec<u64>,
    erased: Vec<(u64, u64)>,
    upload: Option<i64>,
    delivery: Option<i64>,
    findings: Vec<Finding>,
}

impl Joined {
    fn take(&mut self, stretch: &Stretch) {
        self.bare.extend(&stretch.bare);
        self.erased.extend(&stretch.erased);
        for ends in &stretch.ends {
            let numbers =
                [(&mut self.upload, Some(ends.upload), "upload"), (&mut self.delivery, ends.delivery, "delivery")];
            for (before, number, what) in numbers {
                // A rejection has no delivery.
                let Some(number) = number else { continue };
                if before.is_some_and(|before| number <= before) {
                    let what = format!(
                        "event {}: its {what} is recorded as number {number}, before an earlier one",
                        ends.event
                    );
                    self.findings.push(found(ORDER, what, Some(ends.event)));
                }
                *before = Some(number);
            }
        }
    }

    fn compare(mut self, last: u64) -> Vec<Finding> {
        self.erased.sort_unstable();
        let mut told: Vec<u64> = Vec::new();
        for (from, to) in &self.erased {
            let next = told.last().map_or(1, |last| last + 1);
            told.extend((*from).max(next)..=(*to).min(last));
        }
        let one = |event: &u64, what: &str| found(ERASED, format!("event {event}: {what}"), Some(*event));
        let taken = self.bare.iter().filter(|event| told.binary_search(event).is_err());
        let missing = taken.map(|event| one(event, "its private part is missing, and no erasure tells of it"));
        let back = told.iter().filter(|event| self.bare.binary_search(event).is_err());
        let back = back.map(|event| one(event, "its private part was erased, and is there again"));
        self.findings.extend(missing.chain(back));
        self.findings
    }
}

/// Of each check as many as are shown, and how many more there are.
fn cut(findings: Vec<Finding>) -> Vec<Finding> {
    let mut counts = BTreeMap::<&str, usize>::new();
    let mut shown: Vec<Finding> = Vec::new();
    for finding in findings {
        let count = counts.entry(finding.check).or_default();
        *count += 1;
        if *count <= SHOWN || finding.what.starts_with("and ") {
            shown.push(finding);
        }
    }
    for (check, count) in counts {
        if count > SHOWN + 1 {
            shown.push(found(check, format!("and {} more", count - SHOWN), None));
        }
    }
    shown
}

#[cfg(test)]
mod tests;
