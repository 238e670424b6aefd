//! SFTP version 3 (draft-ietf-secsh-filexfer-02) as an account sees it: frames, one table of operations, a virtual tree.
//!
//! Must never turn a client's path into one of the operating system, nor let one session hold up another. Called by
//! `ssh` from `Handler::data`; calls `intake` for uploads, and reads `ledger` and `vault`.
//!
//! The way of a request: `wire` cuts it out of the stream, `session` takes it in, `dispatch` finds its row in the table,
//! `files`, `paths`, `directories` or `extensions` do what it asks for on the `tree` of the account (`provider`,
//! `loader`), and `reply` answers at once, `later` when the disk is done, or `reads` when the client has room. `commands`
//! answers what providers' programs ask over exec about the same tree.

mod attrs;
mod commands;
mod contract;
mod digests;
mod directories;
mod dispatch;
mod extensions;
mod files;
mod handles;
mod help;
mod later;
mod lines;
mod loader;
mod names;
mod paths;
mod proofs;
mod provider;
mod reads;
mod rejections;
mod reply;
mod session;
mod shared;
mod status;
#[cfg(test)]
mod tests;
mod tree;
mod wire;

pub use commands::{Input, Said, knows, run};
pub use contract::Since as ContractSince;
pub use session::Session;

use crate::audit::Recorder;
use crate::config::Live;
use crate::intake::Intake;
use crate::ledger::Ledger;
use crate::types::Clock;
use crate::vault::Vault;

/// What every session uses.
pub struct Services {
    pub config: Live,
    pub intake: Intake,
    pub ledger: Ledger,
    pub vault: Vault,
    pub recorder: Recorder,
    pub clock: Clock,
    /// For the times of the files under /contract.
    pub contract: ContractSince,
}

/// What goes back to the client.
#[derive(Debug)]
pub enum Out {
    /// Whole SFTP packets.
    Data(Vec<u8>),
    /// A short line for the channel's standard error, without line end.
    Line(String),
}

/// Why a session ends before its client wants to: malformed or over-long packet, reply debt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken(pub String);
