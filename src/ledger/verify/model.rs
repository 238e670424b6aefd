//! What a verification is given, and what it tells.
//!
//! Used by everyone who calls `Ledger::verify`.

use crate::audit::{Hash, VerifierKey};
use crate::types::Invalid;

/// Something that contradicts what the ledger promises.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// Which promise, in a few words.
    pub check: &'static str,
    /// What is wrong with what.
    pub what: String,
    /// The first event that it concerns, where that is known.
    pub event: Option<u64>,
}

/// What `Ledger::verify` is to compare the log with, besides itself.
#[derive(Default)]
pub struct Verification {
    /// The log's present key, and those that signed before it.
    pub keys: Vec<VerifierKey>,
    /// Checkpoints that were kept elsewhere, as signed notes.
    pub kept: Vec<String>,
    /// A copy of the log that was kept elsewhere.
    pub copy: Option<LeafCopy>,
    /// Told how many pieces of the work are done, and of how many.
    pub progress: Option<Box<dyn Fn(u64, u64) + Send>>,
}

/// Hashes of leaves as a copy of the published log has them.
pub struct LeafCopy {
    /// How many leaves it has.
    pub size: u64,
    /// Hashes of so many leaves from that number (from 0) on, a multiple of 256; at most 256.
    pub hashes: Box<dyn FnMut(u64, usize) -> std::result::Result<Vec<Hash>, Invalid> + Send>,
}

/// What was verified, and what was found wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    /// Empty when all is well.
    pub findings: Vec<Finding>,
    /// Events in the log.
    pub events: u64,
    /// Of these, without their private part, by erasures.
    pub erased: u64,
    /// Checkpoints whose root and signature were verified; the newest is the log's head.
    pub checkpoints: u64,
    /// The newest checkpoint, to be kept elsewhere.
    pub newest: Option<String>,
}
