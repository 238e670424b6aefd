//! One peer's TCP stream: counts bytes, catches the peer's identification as it passes, and can be cut from outside.
//!
//! The session that russh runs on it cannot be aborted by its handle: cutting the stream is what ends it for sure.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Longest identification line, its line end included (RFC 4253, section 4.2).
const IDENTIFICATION_MAX: usize = 255;
/// How long a peer may take to send its identification first; one that waits for ours is not kept longer.
const PEEK: Duration = Duration::from_millis(40);
const PEEK_AGAIN: Duration = Duration::from_millis(5);

/// What is known of a stream while others use it.
#[derive(Default)]
pub(super) struct Wire {
    received: AtomicU64,
    sent: AtomicU64,
    identification: OnceLock<String>,
    /// Cuts the stream: every read and write fails from then on.
    pub cut: CancellationToken,
}

impl Wire {
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
    /// The peer's identification line, once it came; empty before.
    pub fn identification(&self) -> &str {
        self.identification.get().map_or("", String::as_str)
    }
    /// Whether the client shows what comes on the standard error of its SFTP channel, and not what a status says.
    pub fn shows_lines(&self) -> bool {
        self.openssh() || self.identification().starts_with("SSH-2.0-PuTTY")
    }
    pub fn openssh(&self) -> bool {
        self.identification().starts_with("SSH-2.0-OpenSSH")
    }
}

pub(super) struct Socket {
    stream: TcpStream,
    wire: Arc<Wire>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The first line as far as it came; none once it is whole.
    line: Option<Vec<u8>>,
}

impl Socket {
    pub fn new(stream: TcpStream, wire: Arc<Wire>) -> Self {
        let cut = Box::pin(wire.cut.clone().cancelled_owned());
        Self { stream, wire, cut, line: Some(Vec::new()) }
    }

    /// Fails once the stream is cut; registers the task to be woken then.
    fn intact(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }

    fn note_identification(&mut self, bytes: &[u8]) {
        let Some(line) = &mut self.line else { return };
        let end = bytes.iter().position(|&b| b == b'\n');
        let room = IDENTIFICATION_MAX - line.len();
        line.extend_from_slice(&bytes[..end.unwrap_or(bytes.len()).min(room)]);
        if end.is_some() || line.len() == IDENTIFICATION_MAX {
            let text = String::from_utf8_lossy(line).trim_end().to_owned();
            let _set_only_here = self.wire.identification.set(text);
            self.line = None;
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.intact(cx)?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let fresh = &buf.filled()[before..];
        self.wire.received.fetch_add(fresh.len() as u64, Ordering::Relaxed);
        if self.line.is_some() {
            self.note_identification(fresh);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.intact(cx)?;
        let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.wire.sent.fetch_add(sent as u64, Ordering::Relaxed);
        Poll::Ready(Ok(sent))
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Whether the peer identifies itself as OpenSSH, as far as it says so at once. Takes nothing from the stream.
pub(super) async fn peek_openssh(stream: &TcpStream) -> bool {
    const OPENSSH: &[u8] = b"SSH-2.0-OpenSSH";
    let looking = async {
        let mut seen = [0; OPENSSH.len()];
        loop {
            match stream.peek(&mut seen).await {
                Ok(n) if n == OPENSSH.len() => return seen == OPENSSH,
                Ok(n) if n == 0 || seen[..n] != OPENSSH[..n] => return false,
                // A part of it: peek returns at once with the same bytes until more come.
                Ok(_) => tokio::time::sleep(PEEK_AGAIN).await,
                Err(_) => return false,
            }
        }
    };
    tokio::time::timeout(PEEK, looking).await.unwrap_or(false)
}

/// What a long-lived stream needs of the system: no delay for small packets, and probes that find a dead peer.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(stream, Duration::from_secs(60))?;
    rustix::net::sockopt::set_tcp_keepintvl(stream, Duration::from_secs(15))?;
    rustix::net::sockopt::set_tcp_keepcnt(stream, 4)?;
    Ok(())
}
