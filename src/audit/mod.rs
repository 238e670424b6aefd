//! What is worth proving later: events of the audit log, and receipts. The ledger stores them, in the transaction of the
//! fact that they tell.
//!
//! Does no input or output. Everyone may describe an event; only the ledger writes one.

mod event;
mod receipt;

pub use event::{Event, Kind, Recorder};
pub use receipt::{Form, REASONS, Receipt, ScanVerdict, Verdict, grouped};

/// What the check found, as a receipt carries it.
pub use crate::check::{Report, Restricted};
