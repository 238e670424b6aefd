//! A socket to clamd with deadlines: nothing here waits longer than it was told to.
//!
//! Speaks bytes, not clamd's protocol. Used by `scan` alone.

use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use super::Address;

/// Bytes of an answer. clamd's are short; the longest part is a signature's name.
const ANSWER: usize = 4096;

pub(super) struct Line {
    socket: OwnedFd,
    /// What came of the answer.
    answer: Vec<u8>,
    timeout: Duration,
}

/// What came without waiting for it.
pub(super) enum Early {
    Nothing,
    /// An answer, or the end of the connection.
    Something,
}

impl Line {
    pub(super) fn connect(address: &Address, timeout: Duration) -> io::Result<Self> {
        let socket = match address {
            Address::Path(path) => {
                let kind = (AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC);
                let socket = rustix::net::socket_with(kind.0, kind.1, kind.2, None)?;
                // A full backlog makes connect wait, as long as the time to send.
                set_socket_timeout(&socket, Timeout::Send, Some(timeout))?;
                rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
                socket
            }
            Address::Tcp(address) => TcpStream::connect_timeout(address, timeout)?.into(),
        };
        Ok(Self { socket, answer: Vec::new(), timeout })
    }

    /// Sends all of it, within the timeout as a whole.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let deadline = Instant::now() + self.timeout;
        let mut rest = bytes;
        while !rest.is_empty() {
            self.until(Timeout::Send, deadline)?;
            match rustix::net::send(&self.socket, rest, SendFlags::NOSIGNAL) {
                Ok(sent) => rest = &rest[sent..],
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Whether something came from the other side already.
    pub(super) fn early(&mut self) -> Early {
        let mut byte = [0u8];
        match rustix::net::recv(&self.socket, &mut byte, RecvFlags::DONTWAIT | RecvFlags::PEEK) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Early::Nothing,
            // The end, a byte of an answer, or an error: reading the answer will tell.
            Ok(_) | Err(_) => Early::Something,
        }
    }

    /// Reads the one answer: what stands before its NUL, and nothing after it.
    ///
    /// # Errors
    /// Too late, too long, or ended before its NUL: the bytes that came stay in [`Line::received`].
    pub(super) fn answer(&mut self) -> io::Result<&[u8]> {
        let deadline = Instant::now() + self.timeout;
        loop {
            if let Some(end) = self.answer.iter().position(|byte| *byte == 0) {
                return match end + 1 == self.answer.len() {
                    true => Ok(&self.answer[..end]),
                    false => Err(io::Error::new(io::ErrorKind::InvalidData, "more than one answer")),
                };
            }
            if self.answer.len() >= ANSWER {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is too long"));
            }
            self.until(Timeout::Recv, deadline)?;
            let mut bytes = [0u8; ANSWER];
            let read = match rustix::net::recv(&self.socket, &mut bytes, RecvFlags::empty()) {
                Ok((read, _)) => read,
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            if read == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended before an answer"));
            }
            self.answer.extend_from_slice(&bytes[..read]);
        }
    }

    /// The answer so far.
    pub(super) fn received(&self) -> &[u8] {
        &self.answer
    }

    /// Lets the next call wait until the deadline and no longer.
    fn until(&self, which: Timeout, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // A microsecond is the smallest that is not "for ever".
        Ok(set_socket_timeout(&self.socket, which, Some(left.max(Duration::from_micros(1))))?)
    }
}

/// What happened, in words for the log.
pub(super) fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer within the time set for it".into(),
        _ => error.to_string(),
    }
}
