//! What lies behind the door, as far as a connection needs it: a seam, so that the door is tested without the house.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::access::{Access, Principal};
use crate::audit::Recorder;
use crate::config::Live;
use crate::sftp::{Broken, Input, Out, Said};
use crate::types::Clock;
use crate::{queue, sftp};

/// What every connection uses.
pub(super) struct Door<B> {
    pub config: Live,
    pub access: Access,
    pub recorder: Recorder,
    pub clock: Clock,
    pub behind: B,
}

pub(super) trait Behind: Send + Sync + 'static {
    type Sftp: Subsystem;

    /// Begins an SFTP session; see [`sftp::Session::new`].
    fn sftp(&self, principal: Principal, late: mpsc::Sender<Out>, shown: bool) -> Self::Sftp;
    /// Whether this account may run this command.
    fn knows(&self, principal: &Principal, command: &str) -> bool;
    /// Runs a command line; gives its exit status. `input` tells of its standard input.
    fn run(
        &self,
        principal: Principal,
        command: String,
        input: watch::Receiver<Input>,
        out: mpsc::Sender<queue::Out>,
    ) -> impl Future<Output = u32> + Send + 'static;
}

/// One SFTP session; each method as [`sftp::Session`] documents it.
pub(super) trait Subsystem: Send + 'static {
    fn data(
        &mut self,
        bytes: &[u8],
        room: usize,
        out: &mut Vec<Out>,
    ) -> impl Future<Output = Result<(), Broken>> + Send;
    fn writable(&mut self, room: usize, out: &mut Vec<Out>) -> impl Future<Output = Result<(), Broken>> + Send;
    fn eof(&mut self, room: usize, out: &mut Vec<Out>) -> impl Future<Output = Result<bool, Broken>> + Send;
}

/// The real thing.
pub(super) struct Rooms {
    pub sftp: Arc<sftp::Services>,
    pub queue: Arc<queue::Services>,
}

impl Behind for Rooms {
    type Sftp = sftp::Session;

    fn sftp(&self, principal: Principal, late: mpsc::Sender<Out>, shown: bool) -> sftp::Session {
        sftp::Session::new(principal, self.sftp.clone(), late, shown)
    }
    fn knows(&self, principal: &Principal, command: &str) -> bool {
        queue::knows(principal, command) || sftp::knows(principal, command)
    }
    fn run(
        &self,
        principal: Principal,
        command: String,
        input: watch::Receiver<Input>,
        out: mpsc::Sender<queue::Out>,
    ) -> impl Future<Output = u32> + Send + 'static {
        let (queue, sftp) = (self.queue.clone(), self.sftp.clone());
        async move {
            if !sftp::knows(&principal, &command) {
                return queue::run(&command, &principal, &queue, &out).await;
            }
            let (said, status) = sftp::run(&command, &principal, &sftp, input).await;
            for said in said {
                let line = match said {
                    Said::Line(line) => queue::Out::Line(line),
                    Said::Error(line) => queue::Out::Error(line),
                };
                // A client that went away hears no more.
                if out.send(line).await.is_err() {
                    break;
                }
            }
            status
        }
    }
}

impl Subsystem for sftp::Session {
    async fn data(&mut self, bytes: &[u8], room: usize, out: &mut Vec<Out>) -> Result<(), Broken> {
        sftp::Session::data(self, bytes, room, out).await
    }
    async fn writable(&mut self, room: usize, out: &mut Vec<Out>) -> Result<(), Broken> {
        sftp::Session::writable(self, room, out).await
    }
    async fn eof(&mut self, room: usize, out: &mut Vec<Out>) -> Result<bool, Broken> {
        sftp::Session::eof(self, room, out).await
    }
}
