//! SFTP version 3 (draft-ietf-secsh-filexfer-02) as an account sees it: frames, one table of operations, a virtual tree.
//!
//! Must never turn a client's path into one of the operating system, nor let one session hold up another. Called by
//! `ssh` from `Handler::data`; calls `intake` for uploads, and reads `ledger` and `vault`.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::access::Principal;
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

/// One SFTP channel.
pub struct Session {}

impl Session {
    /// `late` carries answers to operations that wait for the disk. The session and each such operation hold a sender:
    /// when all are gone, every answer was sent, and the channel can be ended.
    /// `openssh` says whether the client shows lines on standard error (it identified itself as OpenSSH).
    pub fn new(_principal: Principal, _services: Arc<Services>, _late: mpsc::Sender<Out>, _openssh: bool) -> Self {
        unimplemented!()
    }
    /// Takes the channel's next bytes, cut anywhere; pushes what can be answered at once to `out`. `room` is how many
    /// bytes the client's window can take now: READs wait for it, other replies count as debt past it.
    pub async fn data(&mut self, _bytes: &[u8], _room: usize, _out: &mut Vec<Out>) -> Result<(), Broken> {
        unimplemented!()
    }
    /// The client made room: serves waiting READs.
    pub async fn writable(&mut self, _room: usize, _out: &mut Vec<Out>) -> Result<(), Broken> {
        unimplemented!()
    }
    /// The client will send no more: waiting READs are served as room comes, open uploads are aborted. True when
    /// nothing waits here any more and the session may be dropped.
    pub async fn eof(&mut self, _room: usize, _out: &mut Vec<Out>) -> Result<bool, Broken> {
        unimplemented!()
    }
}
