//! The accept loop: nothing that a peer or the system does ends it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use russh::server;
use russh::{MethodKind, MethodSet, SshId};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::algorithms;
use super::behind::{Behind, Door};
use super::connection;
use super::keys::HostKeys;
use crate::config::{Config, Listener};

/// Wait after a failed accept (no descriptors left, say): doubles from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Receive window of a channel, bytes: enough for a gigabit at 16 ms; more helps only longer fat links.
const WINDOW: u32 = 2 << 20;
/// Largest SSH packet that a client may send, bytes; russh takes no more.
const PACKET: u32 = 65_535;
/// Messages of other tasks that wait for a session's attention; each may hold one large reply.
const EVENTS: usize = 4;
/// Rejected attempts before the connection ends: six keys, and the `none` with which clients ask for the methods.
const ATTEMPTS: usize = 7;
/// When a rejection is answered, whatever it was and however long deciding took.
const REJECTION: Duration = Duration::from_secs(1);

/// Binds a listener's address; returns the socket and the address it really has.
///
/// # Errors
/// Why the address cannot be listened on, and what to do.
pub async fn bind(listener: &Listener) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let address = listener.address;
    let socket = TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on {address}: another program may have the port (see 'ss -ltnp'), the address may not be \
             this machine's, or the port is below 1024 (use the systemd socket or another port)"
        )
    })?;
    let real = socket.local_addr().with_context(|| format!("cannot tell the address of the listener {address}"))?;
    Ok((socket, real))
}

/// Where connections come from: a seam, so that accepts can be made to fail.
pub(super) trait Source: Send {
    fn next(&mut self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

impl Source for TcpListener {
    async fn next(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        self.accept().await
    }
}

/// Accepts until `stop` or `end`; each connection lives in a task of its own, until `end`.
pub(super) async fn accept<B: Behind>(
    mut source: impl Source,
    listener: Arc<Listener>,
    door: Arc<Door<B>>,
    keys: Arc<HostKeys>,
    stop: CancellationToken,
    end: CancellationToken,
) {
    let mut settings: Option<Settings> = None;
    let mut wait = BACKOFF.0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = end.cancelled() => return,
            accepted = source.next() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::error!(listener.address = %listener.address, reason = %error, "cannot accept a connection: going on");
                tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(wait) => {} }
                wait = (wait * 2).min(BACKOFF.1);
                continue;
            }
        };
        wait = BACKOFF.0;
        // Refused for limits: closed without a byte, so that a flood costs nothing.
        let Ok(arrival) = door.access.arrive(peer).await else { continue };
        let config = door.config.borrow().clone();
        if settings.as_ref().is_none_or(|settings| !Arc::ptr_eq(&settings.of, &config)) {
            settings = Some(Settings::new(config, &keys));
        }
        if let Some(settings) = &settings {
            let connection =
                connection::run(door.clone(), listener.clone(), stream, arrival, settings.clone(), end.clone());
            tokio::spawn(connection);
        }
    }
}

/// What russh is told, made once for each configuration.
#[derive(Clone)]
pub(super) struct Settings {
    pub of: Arc<Config>,
    openssh: Arc<server::Config>,
    others: Arc<server::Config>,
}

impl Settings {
    fn new(config: Arc<Config>, keys: &HostKeys) -> Self {
        let for_client = |openssh| {
            let some = |duration: Duration| (!duration.is_zero()).then_some(duration);
            Arc::new(server::Config {
                // Without a version: what a peer need not know helps only attackers.
                server_id: SshId::Standard("SSH-2.0-Nightsafe".into()),
                methods: MethodSet::from(&[MethodKind::PublicKey][..]),
                auth_rejection_time: REJECTION,
                // The answer to `none` decides nothing, and every login begins with it.
                auth_rejection_time_initial: Some(Duration::ZERO),
                keys: keys.keys.clone(),
                window_size: WINDOW,
                maximum_packet_size: PACKET,
                event_buffer_size: EVENTS,
                channel_buffer_size: 1,
                preferred: algorithms::offer(config.server.algorithms, openssh),
                max_auth_attempts: ATTEMPTS,
                // Bounds what our own watch does not see: a write that the peer does not take.
                inactivity_timeout: some(config.limits.idle),
                keepalive_interval: some(config.limits.keepalive),
                keepalive_max: 3,
                nodelay: true,
                ..server::Config::default()
            })
        };
        Self { openssh: for_client(true), others: for_client(false), of: config }
    }

    pub fn for_client(&self, openssh: bool) -> Arc<server::Config> {
        if openssh { self.openssh.clone() } else { self.others.clone() }
    }
}
