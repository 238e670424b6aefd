//! What is worth proving later: events of the audit log, receipts, and the formats that make both proof. The ledger stores
//! them, in the transaction of the fact that they tell.
//!
//! Does no input or output. Everyone may describe an event; only the ledger writes one.

pub mod canonical;
mod checkpoint;
mod event;
pub mod evidence;
pub mod leaf;
pub mod note;
mod proof;
mod receipt;
pub mod tiles;
pub mod tree;

#[cfg(test)]
mod tests;

pub use checkpoint::{Checkpoint, LogKeys};
pub use event::{Event, Kind, Recorder};
pub use note::{Note, Signature, Signed, Signer, VerifierKey};
pub use proof::{PROOF_MAX, Proof};
pub use receipt::{Form, ProofFile, REASONS, Receipt, ScanVerdict, Verdict, grouped};
pub use tree::{Frontier, Hash, Nodes, Wrong};

/// What the check found, as a receipt carries it.
pub use crate::check::{Report, Restricted};
