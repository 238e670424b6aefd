//! The loader's commands: claim, extend, ack, nack; JSON lines out. What a loader may see of the queue.
//!
//! Must never show a delivery that the account's `take` does not cover. Called by `ssh` (exec); calls `ledger`.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::access::Principal;
use crate::config::Live;
use crate::ledger::Ledger;
use crate::types::Clock;

pub struct Services {
    pub config: Live,
    pub ledger: Ledger,
    pub clock: Clock,
}

/// A line for the client, without line end.
#[derive(Debug)]
pub enum Out {
    Line(String),
    Error(String),
}

/// Whether `command` names one of these commands (its first word), for this account's role.
pub fn knows(_principal: &Principal, _command: &str) -> bool {
    unimplemented!()
}

/// Runs one command line; returns its exit status (0 done, 1 the answer is no, 2 usage, 3 failed). Cancel-safe: dropping
/// the future while `claim --wait` waits claims nothing.
pub async fn run(_command: &str, _principal: &Principal, _services: &Arc<Services>, _out: &mpsc::Sender<Out>) -> u32 {
    unimplemented!()
}
