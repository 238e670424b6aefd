//! The tree, grown anew from the hashes of the leaves, against everything that was signed or kept.
//!
//! Takes stretch after stretch in order; holds the frontier alone.

use rusqlite::{Connection, OptionalExtension, params};

use super::super::rows::Count;
use super::super::{Finding, LeafCopy, Result};
use super::found;
use super::log::{Signed, Stretch};
use crate::audit::tree::{TILE_HEIGHT, TILE_WIDTH};
use crate::audit::{Frontier, Hash, VerifierKey};
use crate::types::{Invalid, Timestamp};

pub(super) const TREE: &str = "the tree is that of the leaves";
const SIGNED: &str = "every checkpoint is signed by the log's key";
const ROOTS: &str = "every checkpoint covers the log as it is";
pub(super) const KEPT: &str = "the log continues what was kept elsewhere";

/// Growing the tree.
pub(super) struct Growth<'a> {
    connection: &'a Connection,
    frontier: Frontier,
    /// Checkpoints kept elsewhere, by size.
    kept: Vec<(u64, Hash)>,
    copy: Option<LeafCopy>,
    /// The newest checkpoint that covers the log as it is: its size, and the time of its last event.
    good: (u64, Option<Timestamp>),
    /// The first that does not.
    broken: Option<(u64, Option<Timestamp>)>,
    later: u64,
    /// The last event whose proof is handed out.
    proven: u64,
    pub findings: Vec<Finding>,
    pub checkpoints: u64,
}

impl<'a> Growth<'a> {
    /// `kept` need not be sorted.
    pub fn new(connection: &'a Connection, mut kept: Vec<(u64, Hash)>, copy: Option<LeafCopy>) -> Self {
        kept.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
        let mut growth = Self {
            connection,
            frontier: Frontier::new(),
            kept,
            copy,
            good: (0, None),
            broken: None,
            later: 0,
            proven: 0,
            findings: Vec::new(),
            checkpoints: 0,
        };
        // Of a log that had nothing yet.
        growth.judge_all_kept();
        growth
    }

    fn find(&mut self, check: &'static str, what: String, event: Option<u64>) {
        self.findings.push(found(check, what, event));
    }

    /// Takes the next stretch.
    pub fn take(&mut self, stretch: &Stretch) -> Result<()> {
        let mut checkpoints = stretch.checkpoints.iter().peekable();
        self.proven = stretch.proven.unwrap_or(self.proven);
        let mut complete = Vec::new();
        let first = self.frontier.size();
        for (tile, hashes) in stretch.hashes.chunks(TILE_WIDTH as usize).enumerate() {
            self.compare_copy(first + tile as u64 * TILE_WIDTH, hashes);
            for hash in hashes {
                self.frontier.push(*hash, |level, n, root| {
                    if level % TILE_HEIGHT == 0 {
                        complete.push((level, n, root));
                    }
                });
                let size = self.frontier.size();
                while let Some(signed) = checkpoints.next_if(|signed| signed.size <= size) {
                    self.judge(signed);
                }
                self.judge_all_kept();
            }
        }
        let mut statement = self.connection.prepare_cached("SELECT hash FROM nodes WHERE level = ? AND n = ?")?;
        for (level, n, root) in complete {
            let stored =
                statement.query_row(params![level, Count(n)], |row| row.get::<_, [u8; 32]>("hash")).optional()?;
            if stored != Some(root.0) {
                let width = 1u64 << level;
                let (from, to) = (n * width + 1, (n + 1) * width);
                let what = if stored.is_some() { "is another" } else { "is missing" };
                self.find(TREE, format!("the stored hash over events {from} to {to} {what}"), Some(from));
            }
        }
        Ok(())
    }

    /// Hashes of leaves from number `first` on, at most a tile, against the copy.
    fn compare_copy(&mut self, first: u64, hashes: &[Hash]) {
        let Some(copy) = &mut self.copy else { return };
        let count = copy.size.saturating_sub(first).min(hashes.len() as u64) as usize;
        if count == 0 {
            return;
        }
        let finding = match (copy.hashes)(first, count) {
            Ok(theirs) => match theirs.iter().zip(hashes).position(|(theirs, ours)| theirs != ours) {
                Some(place) => {
                    let event = first + place as u64 + 1;
                    let what = "is the first that differs from the copy kept elsewhere";
                    found(KEPT, format!("event {event} {what}"), Some(event))
                }
                None if theirs.len() < count => {
                    let event = first + theirs.len() as u64 + 1;
                    found(KEPT, format!("the copy kept elsewhere has not got event {event}"), None)
                }
                None => return,
            },
            Err(Invalid(why)) => found(KEPT, format!("the copy kept elsewhere cannot be read: {why}"), None),
        };
        self.findings.push(finding);
        // The first difference is the one that tells.
        self.copy = None;
    }

    /// A stored checkpoint of as many events as the tree has now.
    pub fn judge(&mut self, signed: &Signed) {
        self.checkpoints += 1;
        let (size, when) = (signed.size, when(signed.at));
        if let Some(why) = &signed.unsigned {
            self.find(SIGNED, format!("the checkpoint of {size} events{when}: {why}"), None);
        }
        if size == self.frontier.size() && signed.root == Some(self.frontier.root()) {
            self.good = (size, signed.at);
        } else if signed.unsigned.is_none() {
            match self.broken {
                None => self.broken = Some((size, signed.at)),
                Some(_) => self.later += 1,
            }
        }
    }

    /// Those of as many events as the tree has now.
    fn judge_all_kept(&mut self) {
        let size = self.frontier.size();
        while let Some((_, root)) = self.kept.pop_if(|(kept, _)| *kept == size) {
            self.judge_kept(size, root);
        }
    }

    fn judge_kept(&mut self, size: u64, root: Hash) {
        if root != self.frontier.root() {
            let what = format!(
                "the log was rewritten: its first {size} events are not those of the checkpoint of {size} events that was \
                 kept elsewhere"
            );
            self.find(KEPT, what, None);
        }
    }

    /// All stretches are taken: the stored end of the tree, and what goes beyond the log. `newest` is the newest
    /// checkpoint, and the frontier stored with it.
    pub fn end(&mut self, newest: Option<&Newest>) -> Result<()> {
        let last = self.frontier.size();
        let stored = newest.map_or(0, |newest| newest.signed.size);
        if stored > last {
            let what = match stored - last {
                1 => format!("event {stored} is missing"),
                _ => format!("events {} to {stored} are missing", last + 1),
            };
            self.find(
                super::log::SEQUENCE,
                format!("the log ends with event {last}, and {stored} were signed: {what}"),
                Some(last + 1),
            );
        } else if stored < last {
            let what = format!(
                "the log ends with event {last}, and the newest checkpoint is of {stored}: nobody signed those after it"
            );
            self.find(SIGNED, what, Some(stored + 1));
        }
        if let Some(Newest { signed, frontier, .. }) = newest {
            if stored == last && *frontier != self.frontier.to_bytes() {
                self.find(TREE, format!("the stored end of the tree is not that of {last} events"), None);
            }
            if stored <= last {
                self.judge(signed);
            }
        }
        let extent =
            "SELECT count(*) FILTER (WHERE size > ?1), max(size), count(*) FILTER (WHERE size < 1) FROM checkpoints";
        let (count, largest, below): (i64, Option<i64>, i64) =
            self.connection.query_row(extent, [Count(last)], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let largest = largest.and_then(|largest| u64::try_from(largest).ok()).unwrap_or_default();
        if below > 0 {
            self.find(ROOTS, format!("there are {below} checkpoints of no events, or of fewer"), None);
        }
        if largest < self.proven {
            let what =
                format!("the checkpoints of the proofs after event {largest} are missing, up to event {}", self.proven);
            self.find(ROOTS, what, None);
        }
        if count > 0 {
            let what = format!("there are {count} checkpoints of more events than the log has, up to {largest}");
            self.find(ROOTS, what, Some(last + 1));
        }
        if let Some((size, at)) = self.broken {
            let (good, since) = (self.good_before(size), when(at));
            let mut what = format!(
                "the checkpoint of {size} events{since} was signed over other events: between event {} and {size} the log \
                 was changed after it was signed",
                good + 1
            );
            if self.later > 0 {
                what += &format!(" ({} later checkpoints say so too)", self.later);
            }
            self.find(ROOTS, what, Some(good + 1));
        }
        let kept = std::mem::take(&mut self.kept);
        for (size, _) in kept.iter().rev() {
            let what = format!(
                "the log ends with event {last}, and the checkpoint kept elsewhere covers {size}: its end was cut off, or an \
                 older copy was put back"
            );
            self.find(KEPT, what, Some(last + 1));
        }
        if let Some(copy) = self.copy.take().filter(|copy| copy.size > last) {
            let what = format!("the log ends with event {last}, and the copy kept elsewhere has {}", copy.size);
            self.find(KEPT, what, Some(last + 1));
        }
        Ok(())
    }

    /// The newest checkpoint below that size which covers the log as it is.
    fn good_before(&self, size: u64) -> u64 {
        if self.good.0 < size { self.good.0 } else { 0 }
    }
}

/// The one row of the stored tree.
pub(super) struct Newest {
    pub note: String,
    signed: Signed,
    frontier: Vec<u8>,
}

/// Reads it; none in an empty log.
pub(super) fn newest(connection: &Connection, signers: &[VerifierKey]) -> Result<Option<Newest>> {
    let at = "(SELECT at FROM events WHERE sequence = size)";
    let row = connection
        .query_row(&format!("SELECT size, frontier, checkpoint, {at} AS at FROM tree"), [], |row| {
            let at = row.get::<_, Option<i64>>("at")?.and_then(|at| Timestamp::from_microsecond(at).ok());
            let (size, note) = (row.get::<_, Count>("size")?.0, row.get::<_, String>("checkpoint")?);
            let signed = super::log::signed(size, &note, at, signers);
            Ok(Newest { note, signed, frontier: row.get("frontier")? })
        })
        .optional()?;
    Ok(row)
}

/// ` (2025-03-01T02:03:04Z)`, if it is known.
fn when(at: Option<Timestamp>) -> String {
    at.map_or(String::new(), |at| format!(" ({at:.0})"))
}
