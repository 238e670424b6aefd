//! The other side of the vault: claims through the door, fetches, verifies whole, hands over, acknowledges.
//!
//! Must never hand on a byte before the whole object verified, nor acknowledge before the work is done. Runs on the data
//! team's machine, never in the daemon. Called by `cli` (`load`, `quickstart`).

pub mod gateway;
