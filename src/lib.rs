//! Nightsafe: a night safe for data. See docs/ARCHITECTURE.md for the tour.

pub mod access;
pub mod audit;
pub mod check;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod intake;
pub mod ledger;
pub mod loader;
pub mod publish;
pub mod queue;
pub mod scan;
pub mod seal;
pub mod sftp;
pub mod ssh;
pub mod types;
pub mod vault;
