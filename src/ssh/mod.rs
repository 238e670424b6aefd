//! The door: listeners, algorithms, one connection. The server half of russh (its client half is in `loader`).
//!
//! Must never let one connection's fault end another, nor the accept loop. Called by `daemon`; calls `access`, `sftp`,
//! `queue`.
//!
//! `listener` accepts, `connection` watches over one peer from accept to farewell, `handler` answers what russh hears from
//! it, `channel` and `exec` are the two things that a channel can be used for, `behind` is the seam to those who do them.

mod algorithms;
mod behind;
mod channel;
mod connection;
mod exec;
mod handler;
mod keys;
mod listener;
mod socket;
#[cfg(test)]
mod tests;
mod visit;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::config::{Listener, Live};
use crate::types::Clock;
use crate::{queue, sftp};

use behind::{Door, Rooms};
pub use keys::HostKeys;
pub use listener::bind;

pub struct Services {
    pub config: Live,
    pub access: Access,
    pub recorder: crate::audit::Recorder,
    pub sftp: Arc<sftp::Services>,
    pub queue: Arc<queue::Services>,
    pub clock: Clock,
}

/// Accepts until `stop` (no new connections), then returns; connections go on until `end` is cancelled.
pub async fn serve(
    socket: tokio::net::TcpListener,
    listener: Listener,
    services: Arc<Services>,
    keys: Arc<HostKeys>,
    stop: CancellationToken,
    end: CancellationToken,
) {
    let door = Door {
        config: services.config.clone(),
        access: services.access.clone(),
        recorder: services.recorder.clone(),
        clock: services.clock.clone(),
        behind: Rooms { sftp: services.sftp.clone(), queue: services.queue.clone() },
    };
    listener::accept(socket, Arc::new(listener), Arc::new(door), keys, stop, end).await;
}
