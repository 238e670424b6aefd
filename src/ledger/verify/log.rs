//! The audit log, read event by event: each leaf against its hash, its columns and its private part.
//!
//! A stretch of the log at a time, so that two threads share the work and nobody holds all of it. What can be told of one
//! event alone is judged here; `tree` joins the stretches.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use serde::Deserialize;

use super::super::rows::Count;
use super::super::tree::has_a_receipt;
use super::super::{Finding, Result};
use super::found;
use super::records::{Numbers, Records, Told};
use crate::audit::leaf::{self, Fields};
use crate::audit::tree::leaf_hash;
use crate::audit::{Checkpoint, Hash, Kind, VerifierKey};
use crate::types::{Invalid, Timestamp};

pub(super) const SEQUENCE: &str = "the sequence of events has no gaps";
const LEAVES: &str = "every leaf is the one that was hashed when it was recorded";
const COPIES: &str = "every event is searched by what it says";
pub(super) const PRIVATE: &str = "every private part is the one that its leaf commits to";
const INDEXED: &str = "every event is found under what it says";

/// Events in one stretch: whole tiles.
pub(super) const STRETCH: u64 = 1 << 14;

/// What an index holds, whatever the order: the sum of keyed hashes of its entries. A key of each run's own, so that
/// nobody can make up entries that cancel out.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sums([u64; INDEXES.len()]);

/// The indexes of the log, and how all of each is read: its key, then the number.
const INDEXES: [(&str, &str); 6] = [
    ("time", "SELECT at, sequence FROM events INDEXED BY events_by_time"),
    ("kind", "SELECT kind, sequence FROM events INDEXED BY events_of_kind"),
    ("organisation", "SELECT org, sequence FROM events INDEXED BY events_of_org WHERE org IS NOT NULL"),
    ("upload", "SELECT upload, sequence FROM events INDEXED BY events_of_upload WHERE upload IS NOT NULL"),
    ("delivery", "SELECT delivery, sequence FROM events INDEXED BY events_of_delivery WHERE delivery IS NOT NULL"),
    ("account", "SELECT account, sequence FROM details INDEXED BY details_of_account"),
];
const ACCOUNT: usize = 5;

impl Sums {
    pub fn add(&mut self, other: Sums) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum = sum.wrapping_add(more);
        }
    }

    fn entry(&mut self, key: &RandomState, index: usize, value: ValueRef<'_>, sequence: i64) {
        let hash = match value {
            ValueRef::Null => return,
            ValueRef::Integer(number) => key.hash_one((index, number, sequence)),
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => key.hash_one((index, bytes, sequence)),
            ValueRef::Real(_) => 1,
        };
        self.0[index] = self.0[index].wrapping_add(hash);
    }

    pub const COUNT: usize = INDEXES.len();

    /// What index number `index` holds; nothing if it is not there, or another one.
    pub fn of_index(connection: &Connection, key: &RandomState, index: usize) -> Result<Self> {
        let mut sums = Self::default();
        let Ok(mut statement) = connection.prepare(INDEXES[index].1) else { return Ok(sums) };
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            sums.entry(key, index, row.get_ref(0)?, row.get(1)?);
        }
        Ok(sums)
    }

    /// `self` is what the tables hold.
    pub fn compare(&self, indexes: &Sums) -> Vec<Finding> {
        let differing = (0..INDEXES.len()).filter(|index| self.0[*index] != indexes.0[*index]);
        let what =
            |index: usize| format!("the index by {} has not exactly the events that there are", INDEXES[index].0);
        differing.map(|index| found(INDEXED, what(index), None)).collect()
    }
}

/// What was read of a stretch.
#[derive(Default)]
pub(super) struct Stretch {
    /// As the table has them, one for each event; zeroes for one that is missing.
    pub hashes: Vec<Hash>,
    pub findings: Vec<Finding>,
    pub sums: Sums,
    /// Events without a private part.
    pub bare: Vec<u64>,
    /// Private parts that erasures say they took: runs of numbers.
    pub erased: Vec<(u64, u64)>,
    pub checkpoints: Vec<Signed>,
    /// Of the ends of uploads, in the order of their events.
    pub ends: Vec<Numbers>,
    /// The last event whose proof is handed out.
    pub proven: Option<u64>,
}

impl Stretch {
    /// One of which nothing could be read.
    pub fn unread((first, last): (u64, u64), what: String) -> Self {
        let findings = vec![found(super::facts::WHOLE, what, Some(first))];
        Self { hashes: vec![Hash([0; 32]); (last - first + 1) as usize], findings, ..Self::default() }
    }
}

/// A stored checkpoint.
pub(super) struct Signed {
    pub size: u64,
    pub root: Option<Hash>,
    /// Of the last event that it covers.
    pub at: Option<Timestamp>,
    /// Why its signature does not count.
    pub unsigned: Option<String>,
}

/// Reads events `first` to `last`.
pub(super) fn read(
    connection: &Connection,
    (first, last): (u64, u64),
    key: &RandomState,
    signers: &[VerifierKey],
) -> Result<Stretch> {
    let mut stretch = Stretch::default();
    let mut times = Vec::with_capacity((last - first + 1) as usize);
    {
        let range = [Count(first), Count(last)];
        let mut events = connection.prepare_cached(
            "SELECT sequence, at, kind, org, dataset, upload, delivery, leaf, hash FROM events
             WHERE sequence BETWEEN ? AND ? ORDER BY sequence",
        )?;
        let mut events = events.query(rusqlite::params![range[0], range[1]])?;
        let mut details = connection.prepare_cached(
            "SELECT sequence, account, salt, body FROM details WHERE sequence BETWEEN ? AND ? ORDER BY sequence",
        )?;
        let mut details = details.query(rusqlite::params![range[0], range[1]])?;
        let mut detail = details.next()?;
        let mut records = Records::new(connection)?;
        let mut expected = first;
        while let Some(event) = events.next()? {
            let sequence = event.get::<_, Count>(0)?.0;
            if sequence > expected {
                stretch.missing(expected, sequence - 1);
                times.resize((sequence - first) as usize, None);
            }
            expected = sequence + 1;
            times.push(Timestamp::from_microsecond(event.get(1)?).ok());
            for (index, column) in [(0, 1), (1, 2), (2, 3), (3, 5), (4, 6)] {
                stretch.sums.entry(key, index, event.get_ref(column)?, sequence as i64);
            }
            let fields = stretch.event(event, sequence)?;
            while let Some(part) = detail
                && part.get::<_, Count>(0)?.0 < sequence
            {
                stretch.orphan(part, key)?;
                detail = details.next()?;
            }
            let part = detail.filter(|part| part.get::<_, Count>(0).is_ok_and(|of| of.0 == sequence));
            let mut body = None;
            match part {
                Some(part) => {
                    stretch.sums.entry(key, ACCOUNT, part.get_ref(1)?, sequence as i64);
                    body = Some(part.get_ref(3)?.as_str().unwrap_or_default());
                    stretch.private(part, sequence, fields.as_ref().and_then(committed))?;
                }
                None => stretch.bare.push(sequence),
            }
            if let Some(fields) = &fields {
                let leaf = event.get_ref(7)?.as_str().unwrap_or_default();
                records.compare(&Told { fields, leaf, body })?;
            }
            if part.is_some() {
                detail = details.next()?;
            }
        }
        while let Some(part) = detail {
            stretch.orphan(part, key)?;
            detail = details.next()?;
        }
        if expected <= last {
            stretch.missing(expected, last);
        }
        stretch.findings.append(&mut records.findings);
        stretch.ends = records.numbers;
    }
    checkpoints(connection, &mut stretch, (first, last), &times, signers)?;
    Ok(stretch)
}

impl Stretch {
    fn find(&mut self, check: &'static str, sequence: u64, what: String) {
        self.findings.push(found(check, format!("event {sequence}: {what}"), Some(sequence)));
    }

    fn missing(&mut self, from: u64, to: u64) {
        let what = match from == to {
            true => format!("event {from} is missing"),
            false => format!("events {from} to {to} are missing"),
        };
        self.findings.push(found(SEQUENCE, what, Some(from)));
        self.hashes.resize(self.hashes.len() + (to - from + 1) as usize, Hash([0; 32]));
    }

    /// A private part without its event.
    fn orphan(&mut self, part: &Row<'_>, key: &RandomState) -> Result<()> {
        let sequence = part.get::<_, Count>(0)?.0;
        self.sums.entry(key, ACCOUNT, part.get_ref(1)?, sequence as i64);
        self.find(PRIVATE, sequence, "there is a private part without its event".into());
        Ok(())
    }

    /// One event's leaf and columns; the leaf's fields, if it is one.
    fn event<'r>(&mut self, row: &'r Row<'_>, sequence: u64) -> Result<Option<Fields<'r>>> {
        let hash = row.get_ref(8)?.as_blob().ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        self.hashes.push(Hash(hash.unwrap_or_default()));
        let Ok(text) = row.get_ref(7)?.as_str() else {
            self.find(LEAVES, sequence, "its leaf is no text".into());
            return Ok(None);
        };
        if hash != Some(leaf_hash(text.as_bytes()).0) {
            self.find(LEAVES, sequence, "its leaf was changed: it is not the one of its hash".into());
        }
        let fields = match Fields::of(text) {
            Ok(fields) => fields,
            Err(Invalid(why)) => {
                self.find(LEAVES, sequence, why);
                return Ok(None);
            }
        };
        if fields.sequence != sequence {
            let what = format!("it stands at this number, and its leaf says {}", fields.sequence);
            self.find(SEQUENCE, sequence, what);
        }
        let at = row.get_ref(1)?.as_i64().ok().and_then(|at| Timestamp::from_microsecond(at).ok());
        if at.map(leaf::moment).as_deref() != Some(fields.at) {
            let at = at.map_or("something else".into(), leaf::moment);
            self.find(COPIES, sequence, format!("its time is {at}, and its leaf says {}", fields.at));
        }
        let copies = [
            (2, "kind", Some(fields.kind)),
            (3, "organisation", fields.org),
            (4, "dataset", fields.dataset),
            (5, "upload", fields.upload),
            (6, "delivery", fields.delivery),
        ];
        for (column, name, said) in copies {
            let copy = row.get_ref(column)?.as_str_or_null().unwrap_or(Some("something else"));
            if copy != said {
                let (copy, said) = (copy.unwrap_or("none"), said.unwrap_or("none"));
                self.find(COPIES, sequence, format!("its {name} is {copy}, and its leaf says {said}"));
            }
        }
        if fields.kind == Kind::UploadErased.as_str() {
            self.erased.extend(parts(text));
        }
        if has_a_receipt(fields.kind) {
            self.proven = Some(sequence);
        }
        Ok(Some(fields))
    }

    fn private(&mut self, part: &Row<'_>, sequence: u64, commitment: Option<[u8; 32]>) -> Result<()> {
        let (salt, body) =
            (part.get_ref(2)?.as_blob().unwrap_or_default(), part.get_ref(3)?.as_str().unwrap_or_default());
        if commitment.is_none_or(|commitment| leaf::commitment(salt, body.as_bytes()).0 != commitment) {
            self.find(PRIVATE, sequence, "its private part is not the one that its leaf commits to".into());
            return Ok(());
        }
        let account = part.get_ref(1)?.as_str().unwrap_or_default();
        let said = serde_json::from_str::<Hidden<'_>>(body).map(|hidden| hidden.actor.account);
        if said.as_deref().ok() != Some(account) {
            let said = said.as_deref().unwrap_or("none").to_owned();
            self.find(COPIES, sequence, format!("its account is {account}, and its private part says {said}"));
        }
        Ok(())
    }
}

/// The commitment that a leaf has.
fn committed(fields: &Fields<'_>) -> Option<[u8; 32]> {
    let mut commitment = [0; 32];
    (fields.private.len() == 64).then_some(())?;
    data_encoding::HEXLOWER.decode_mut(fields.private.as_bytes(), &mut commitment).ok()?;
    Some(commitment)
}

#[derive(Deserialize)]
struct Hidden<'a> {
    #[serde(borrow)]
    actor: Who<'a>,
}

#[derive(Deserialize)]
struct Who<'a> {
    #[serde(borrow)]
    account: std::borrow::Cow<'a, str>,
}

/// The runs of numbers that a tombstone says were erased: `17-24,30`.
fn parts(leaf: &str) -> Vec<(u64, u64)> {
    #[derive(Deserialize)]
    struct Tombstone<'a> {
        parts: Option<&'a str>,
    }
    let runs =
        serde_json::from_str::<Tombstone<'_>>(leaf).ok().and_then(|tombstone| tombstone.parts).unwrap_or_default();
    let run = |run: &str| {
        let (from, to) = run.split_once('-').unwrap_or((run, run));
        Some((from.parse().ok()?, to.parse().ok()?))
    };
    runs.split(',').filter_map(run).collect()
}

/// The checkpoints that cover up to an event of this stretch.
fn checkpoints(
    connection: &Connection,
    stretch: &mut Stretch,
    (first, last): (u64, u64),
    times: &[Option<Timestamp>],
    signers: &[VerifierKey],
) -> Result<()> {
    let mut statement =
        connection.prepare_cached("SELECT size, note FROM checkpoints WHERE size BETWEEN ? AND ? ORDER BY size")?;
    let mut rows = statement.query(rusqlite::params![Count(first), Count(last)])?;
    while let Some(row) = rows.next()? {
        let size = row.get::<_, Count>(0)?.0;
        let at = times.get((size - first) as usize).copied().flatten();
        stretch.checkpoints.push(signed(size, row.get_ref(1)?.as_str().unwrap_or_default(), at, signers));
    }
    Ok(())
}

/// Verifies the signature of a checkpoint that is stored as that of `size` events.
pub(super) fn signed(size: u64, note: &str, at: Option<Timestamp>, signers: &[VerifierKey]) -> Signed {
    let judged = || -> std::result::Result<Hash, (Option<Hash>, String)> {
        let (checkpoint, note) = Checkpoint::read(note).map_err(|error| (None, error.0))?;
        let root = Some(checkpoint.root);
        note.verify(signers).map_err(|wrong| (root, wrong.0))?;
        if checkpoint.size != size {
            return Err((root, format!("it says that it is of {} events", checkpoint.size)));
        }
        match signers.iter().any(|key| key.name() == checkpoint.origin) {
            true => Ok(checkpoint.root),
            false => Err((root, format!("it is of another log, {}", checkpoint.origin))),
        }
    };
    match judged() {
        Ok(root) => Signed { size, root: Some(root), at, unsigned: None },
        Err((root, why)) => Signed { size, root, at, unsigned: Some(why) },
    }
}
