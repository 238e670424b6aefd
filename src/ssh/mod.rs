//! The door: listeners, algorithms, one connection. The server half of russh (its client half is in `loader`).
//!
//! Must never let one connection's fault end another, nor the accept loop. Called by `daemon`; calls `access`, `sftp`,
//! `queue`.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::config::{Config, Listener, Live};
use crate::types::Clock;
use crate::{queue, sftp};

pub struct Services {
    pub config: Live,
    pub access: Access,
    pub recorder: crate::audit::Recorder,
    pub sftp: Arc<sftp::Services>,
    pub queue: Arc<queue::Services>,
    pub clock: Clock,
}

/// The private host keys of a configuration, read and parsed.
pub struct HostKeys {}

impl HostKeys {
    /// # Errors
    /// Which file cannot be read or parsed, or is readable by others, and what to do.
    pub fn read(_config: &Config) -> anyhow::Result<Self> {
        unimplemented!()
    }
    /// Public halves in OpenSSH form, for known_hosts lines.
    pub fn public(&self) -> Vec<String> {
        unimplemented!()
    }
}

/// Accepts until `stop` (no new connections), then returns; connections go on until `end` is cancelled.
pub async fn serve(
    _socket: tokio::net::TcpListener,
    _listener: Listener,
    _services: Arc<Services>,
    _keys: Arc<HostKeys>,
    _stop: CancellationToken,
    _end: CancellationToken,
) {
    unimplemented!()
}

/// Binds a listener's address; returns the socket and the address it really has.
pub async fn bind(_listener: &Listener) -> anyhow::Result<(tokio::net::TcpListener, SocketAddr)> {
    unimplemented!()
}
