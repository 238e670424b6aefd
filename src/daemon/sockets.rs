//! Listening sockets: from systemd's socket activation, or bound here.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use tokio::net::TcpListener;

use crate::config::{Config, Listener};
use crate::ssh;

/// A socket for each listener of the configuration, with its real address. Under socket activation the passed sockets
/// are matched to `[[server.listeners]]` by address; none may be left over on either side.
///
/// # Errors
/// An address that cannot be bound, or a passed socket and a listener that do not match.
pub async fn open(config: &Config) -> anyhow::Result<Vec<(TcpListener, Listener, SocketAddr)>> {
    let passed = passed()?;
    let mut open = Vec::new();
    if passed.is_empty() {
        for listener in &config.server.listeners {
            let (socket, address) = ssh::bind(listener).await?;
            open.push((socket, listener.clone(), address));
        }
        return Ok(open);
    }
    for socket in passed {
        let address = socket.local_addr().context("a socket passed by systemd has no address")?;
        let Some(listener) = config.server.listeners.iter().find(|l| same(l.address, address)) else {
            bail!(
                "systemd passed a socket on {address}, which no [[server.listeners]] names: make ListenStream= and the configuration agree"
            );
        };
        socket.set_nonblocking(true)?;
        open.push((TcpListener::from_std(socket)?, listener.clone(), address));
    }
    for listener in &config.server.listeners {
        if !open.iter().any(|(_, l, _)| l == listener) {
            bail!(
                "systemd passed no socket for the listener {}: add ListenStream={} to nightsafe.socket",
                listener.address,
                listener.address
            );
        }
    }
    Ok(open)
}

fn passed() -> anyhow::Result<Vec<std::net::TcpListener>> {
    let mut fds = listenfd::ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..fds.len() {
        match fds.take_tcp_listener(index).context("systemd passed something that is no TCP listener")? {
            Some(socket) => sockets.push(socket),
            None => bail!("systemd passed no usable socket at position {index}"),
        }
    }
    Ok(sockets)
}

/// `ListenStream=2222` listens on `[::]:2222`, which takes IPv4 too: it serves a listener on 0.0.0.0 as well.
fn same(configured: SocketAddr, passed: SocketAddr) -> bool {
    configured == passed
        || (configured.port() == passed.port() && configured.ip().is_unspecified() && passed.ip().is_unspecified())
}
