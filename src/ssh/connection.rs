//! Watches over one peer, from accept to farewell: deadlines, ends from outside, and the audit of the end.
//!
//! The session itself runs in a task that russh spawns: a panic there ends that session alone and is told here.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use russh::{Disconnect, server};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::behind::{Behind, Door};
use super::handler::Handler;
use super::listener::Settings;
use super::socket::{Socket, Wire, peek_openssh, prepare};
use super::visit::Visit;
use crate::access::{Arrival, Farewell, Principal, Why};
use crate::config::Listener;

/// One read from the socket takes up to this much: a quarter of a second of CPU saved on each gigabyte.
const READ_BUFFER: usize = 128 * 1024;
/// What a peer gets to read the words with which it is sent away, before the stream is cut.
const GRACE: Duration = Duration::from_millis(500);
/// What a session gets to notice that its stream was cut.
const CUT: Duration = Duration::from_secs(2);

type Running<B> = server::RunningSession<Handler<B>>;

/// Serves one connection to its end.
pub(super) async fn run<B: Behind>(
    door: Arc<Door<B>>,
    listener: Arc<Listener>,
    stream: TcpStream,
    arrival: Arrival,
    settings: Settings,
    end: CancellationToken,
) {
    let limits = &settings.of.limits;
    let deadline = Instant::now() + limits.authentication;
    let peer = arrival.from();
    if let Err(error) = prepare(&stream) {
        tracing::debug!(peer.address = %peer, reason = %error, "the connection's socket options could not be set");
    }
    let ssh = settings.for_client(peek_openssh(&stream).await);
    let wire = Arc::new(Wire::default());
    let visit = Arc::new(Visit::new(peer, listener, wire.clone()));
    let socket = BufReader::with_capacity(READ_BUFFER, Socket::new(stream, wire.clone()));
    let handler = Handler::new(door.clone(), visit.clone(), arrival);

    // Waits for the peer's identification, so it is under the deadline too.
    let begun = tokio::select! {
        begun = timeout_at(deadline, server::run_stream(ssh, socket, handler)) => begun,
        () = end.cancelled() => return,
    };
    let mut running = match begun {
        Ok(Ok(running)) => running,
        Ok(Err(error)) => return tracing::debug!(peer.address = %peer, reason = %error, "no SSH connection came of it"),
        Err(_) => return door.access.gave_up(peer, wire.identification(), Why::NotInTime).await,
    };
    let principal = tokio::select! {
        biased;
        principal = visit.admitted() => principal,
        result = &mut running => return broke_off(&door, &visit, result).await,
        () = sleep_until(deadline) => {
            wire.cut.cancel();
            return door.access.gave_up(peer, wire.identification(), Why::NotInTime).await;
        }
        () = end.cancelled() => return wire.cut.cancel(),
    };

    let reason = until_the_end(&visit, &principal, &mut running, limits.idle, &end).await;
    wire.cut.cancel();
    let refused_requests = visit.refused.load(Ordering::Relaxed);
    principal.leave(Farewell { reason, received: wire.received(), sent: wire.sent(), refused_requests }).await;
}

/// Waits for the session's end, or brings it about; says why it ended.
async fn until_the_end<B: Behind>(
    visit: &Visit,
    principal: &Principal,
    running: &mut Running<B>,
    idle: Duration,
    end: &CancellationToken,
) -> String {
    let (code, words) = tokio::select! {
        result = &mut *running => return ended(visit, result),
        () = principal.ended().cancelled() => {
            let why = principal.why_ended().unwrap_or("the account's rights were changed");
            (Disconnect::ByApplication, why.to_owned())
        }
        () = end.cancelled() => {
            (Disconnect::ByApplication, "the gateway is stopping: connect again in a moment".to_owned())
        }
        words = visit.over() => (Disconnect::ByApplication, words),
        () = visit.idle(idle) => (Disconnect::ByApplication, format!("nothing was done for {} seconds", idle.as_secs())),
    };
    let handle = running.handle();
    let farewell = async {
        // Fails only when the session is already gone.
        let _gone = handle.disconnect(code, words.clone(), String::new()).await;
        let _ended = (&mut *running).await;
    };
    if timeout(GRACE, farewell).await.is_err() {
        visit.wire.cut.cancel();
        if timeout(CUT, &mut *running).await.is_err() {
            tracing::error!(session.id = %principal.session(), "a session did not end when its stream was cut");
        }
    }
    words
}

/// Why a session ended by itself.
fn ended(visit: &Visit, result: Result<(), russh::Error>) -> String {
    match result {
        Ok(()) => "the client left".into(),
        Err(russh::Error::IO(_) | russh::Error::HUP | russh::Error::Disconnect) => "the connection was lost".into(),
        Err(russh::Error::KeepaliveTimeout) => "the client did not answer keepalives".into(),
        Err(russh::Error::InactivityTimeout) => "the client took no data".into(),
        Err(russh::Error::Join(_)) => {
            tracing::error!(peer.address = %visit.peer, "a session panicked; the others go on. Please report it");
            "internal error".into()
        }
        // May quote the peer: for logs, and cut.
        Err(error) => format!("protocol error: {error}").chars().filter(|c| matches!(c, ' '..='~')).take(200).collect(),
    }
}

/// Tells of a connection that ended before anyone was admitted. A peer that just leaves is no event: port scans and load
/// balancers do so all day.
async fn broke_off<B: Behind>(door: &Door<B>, visit: &Visit, result: Result<(), russh::Error>) {
    if let Err(russh::Error::NoCommonAlgo { kind, theirs, .. }) = &result {
        let theirs: String = theirs.join(",").chars().filter(|c| c.is_ascii_graphic()).take(200).collect();
        tracing::info!(peer.address = %visit.peer, algorithm.kind = ?kind, algorithm.offered = theirs, "no algorithm in common");
        return door.access.gave_up(visit.peer, visit.wire.identification(), Why::NoCommonAlgorithm).await;
    }
    let reason = ended(visit, result);
    tracing::debug!(peer.address = %visit.peer, reason, "the connection ended before authentication");
}
