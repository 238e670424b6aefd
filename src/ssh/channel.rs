//! One SFTP channel: carries bytes between russh and an SFTP session, within what the client's window takes.
//!
//! Replies go out at once from `Handler::data`. What cannot (READs while the window is full, answers that waited for the
//! disk) is sent by a task of the channel, which russh holds back while the client takes nothing. So no reply depends on
//! the client's next packet, and nothing here grows without bound.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use russh::ChannelId;
use russh::server::{Handle, Session};
use tokio::sync::{Mutex, Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::behind::Subsystem;
use super::exec::{self, Gone, STDERR};
use crate::sftp::{Broken, Out};

/// The longest that a session may wait in one call (for the disk, or for a worker to take bytes). russh's own timers
/// stand still meanwhile.
const WAIT: Duration = Duration::from_secs(120);
/// Answers that waited for the disk, queued for the client.
const LATE: usize = 64;
/// No reply is larger, bytes: a READ of the most that `limits@openssh.com` allows, and its frame.
const REPLY_MAX: usize = 257 * 1024;
/// Bytes of replies handed over in one call, however large a window the client claims. Also taken for the window while
/// it is unknown: russh does not tell the first one, only each new one.
const ROOM_MAX: usize = 2 * REPLY_MAX;
/// Small replies are sent together up to this many bytes.
const BATCH: usize = 32 * 1024;
/// What a session may say on standard error; `sftp` stays within it by itself.
const LINES_MAX: usize = 72;
const LINE_BYTES_MAX: usize = 32 * 1024;

pub(super) struct SftpChannel<S> {
    id: ChannelId,
    shared: Arc<Shared<S>>,
    /// Kept between calls to save allocations.
    out: Vec<Out>,
    /// Bytes of replies handed to russh beyond what the client's window took.
    debt: usize,
    debt_max: usize,
}

struct Shared<S> {
    slot: Mutex<Slot<S>>,
    /// Bytes that the client's window takes; none while it is unknown.
    window: StdMutex<Option<usize>>,
    lines: StdMutex<Lines>,
    /// READs may be waiting.
    wake: Notify,
    /// The channel or the connection is gone: nothing is to be sent any more.
    gone: CancellationToken,
    over: AtomicBool,
    /// The connection's stream was cut.
    cut: CancellationToken,
}

struct Slot<S> {
    session: Option<S>,
    /// The client will send no more.
    eof: bool,
}

impl<S> Drop for SftpChannel<S> {
    fn drop(&mut self) {
        self.shared.gone.cancel();
    }
}

impl<S: Subsystem> SftpChannel<S> {
    /// `begin` makes the session, given the way for its late answers. `debt_max`: bytes of replies that a client may
    /// leave untaken.
    pub fn begin(
        id: ChannelId,
        handle: Handle,
        cut: CancellationToken,
        debt_max: usize,
        begin: impl FnOnce(mpsc::Sender<Out>) -> S,
    ) -> Self {
        let (late, answers) = mpsc::channel(LATE);
        let shared = Arc::new(Shared {
            slot: Mutex::new(Slot { session: Some(begin(late)), eof: false }),
            window: StdMutex::new(None),
            lines: StdMutex::default(),
            wake: Notify::new(),
            gone: CancellationToken::new(),
            over: AtomicBool::new(false),
            cut,
        });
        tokio::spawn(Pump { id, handle, shared: shared.clone() }.run(answers));
        Self { id, shared, out: Vec::new(), debt: 0, debt_max }
    }

    /// Whether the channel was ended from this side.
    pub fn is_over(&self) -> bool {
        self.shared.over.load(Ordering::Relaxed)
    }

    /// The client's next bytes.
    pub async fn data(&mut self, bytes: &[u8], russh: &mut Session) -> Result<(), Broken> {
        let room = self.room(russh);
        let shared = self.shared.clone();
        let out = &mut self.out;
        let asked = async {
            match &mut shared.slot.lock().await.session {
                Some(session) => session.data(bytes, room, out).await,
                // Bytes after the client's own EOF, or after the end.
                None => Ok(()),
            }
        };
        bounded(&self.shared.cut, asked).await?;
        self.send(room, russh)
    }

    /// The client's window grew to `window` bytes.
    pub async fn writable(&mut self, window: usize, russh: &mut Session) -> Result<(), Broken> {
        self.shared.set_window(window);
        let room = self.room(russh);
        if room == 0 {
            return Ok(());
        }
        let shared = self.shared.clone();
        let out = &mut self.out;
        bounded(&self.shared.cut, async { shared.slot.lock().await.serve(room, out).await }).await?;
        self.send(room, russh)
    }

    /// The client will send no more.
    pub async fn eof(&mut self, russh: &mut Session) -> Result<(), Broken> {
        let room = self.room(russh);
        let shared = self.shared.clone();
        let out = &mut self.out;
        let asked = async {
            let mut slot = shared.slot.lock().await;
            slot.eof = true;
            slot.serve(room, out).await
        };
        bounded(&self.shared.cut, asked).await?;
        self.send(room, russh)
    }

    /// Ends the channel from this side with a reason on standard error. False when the client has not even taken the
    /// replies before: then only ending the connection frees what they hold.
    pub fn break_off(&mut self, broken: &Broken, russh: &mut Session) -> Result<bool, russh::Error> {
        self.shared.gone.cancel();
        self.shared.over.store(true, Ordering::Relaxed);
        if russh.has_pending_data(self.id) {
            return Ok(false);
        }
        russh.extended_data(self.id, STDERR, line(&broken.0))?;
        russh.exit_status_request(self.id, 1)?;
        russh.eof(self.id)?;
        russh.close(self.id)?;
        Ok(true)
    }

    /// What the client's window takes now, bytes.
    fn room(&mut self, russh: &Session) -> usize {
        if russh.has_pending_data(self.id) {
            return 0;
        }
        // All that it owed was taken since: a client that reads on and on owes a little anew with each call.
        self.debt = 0;
        self.shared.window().unwrap_or(ROOM_MAX).min(ROOM_MAX)
    }

    /// Hands the answers to russh; asks the task to go on if a READ may still wait.
    fn send(&mut self, room: usize, russh: &mut Session) -> Result<(), Broken> {
        let mut sent = 0;
        for piece in pieces(self.out.drain(..), &self.shared.lines) {
            sent += piece.len();
            let handed = match piece {
                Piece::Data(bytes) => russh.data(self.id, bytes),
                Piece::Error(bytes) => russh.extended_data(self.id, STDERR, bytes),
            };
            handed.map_err(|error| Broken(format!("the answer could not be sent: {error}")))?;
        }
        self.shared.spend(sent);
        if room.saturating_sub(sent) < REPLY_MAX {
            self.shared.wake.notify_one();
        }
        // The session counts its debt as well; this is what russh really holds.
        self.debt = if russh.has_pending_data(self.id) { self.debt + sent.saturating_sub(room) } else { 0 };
        if self.debt > self.debt_max.saturating_add(REPLY_MAX) {
            return Err(Broken(format!(
                "{} bytes of replies were not taken: read them before asking for more",
                self.debt
            )));
        }
        Ok(())
    }
}

impl<S: Subsystem> Slot<S> {
    /// Lets the session go on as far as `room` goes, and ends it when it has nothing more to do.
    async fn serve(&mut self, room: usize, out: &mut Vec<Out>) -> Result<(), Broken> {
        let Some(session) = &mut self.session else { return Ok(()) };
        if !self.eof {
            return session.writable(room, out).await;
        }
        if session.eof(room, out).await? {
            self.session = None;
        }
        Ok(())
    }
}

impl<S> Shared<S> {
    fn window(&self) -> Option<usize> {
        *self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn set_window(&self, bytes: usize) {
        *self.window.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
    }
    fn spend(&self, bytes: usize) {
        if let Some(window) = &mut *self.window.lock().unwrap_or_else(PoisonError::into_inner) {
            *window = window.saturating_sub(bytes);
        }
    }
}

/// The channel's task.
struct Pump<S> {
    id: ChannelId,
    handle: Handle,
    shared: Arc<Shared<S>>,
}

impl<S: Subsystem> Pump<S> {
    async fn run(self, mut answers: mpsc::Receiver<Out>) {
        let shared = self.shared.clone();
        let ended = tokio::select! {
            ended = self.work(&mut answers) => ended,
            () = shared.gone.cancelled() => Ok(()),
        };
        // The session is dropped here at the latest: uploads under way are aborted by that.
        shared.slot.lock().await.session = None;
        if shared.gone.is_cancelled() {
            return;
        }
        let finish = async {
            let status = match ended {
                Ok(()) => 0,
                Err(broken) => {
                    let _gone = self.handle.extended_data(self.id, STDERR, line(&broken.0)).await;
                    1
                }
            };
            exec::end(&self.handle, self.id, status).await;
        };
        tokio::select! { () = finish => {}, () = shared.gone.cancelled() => {} }
        shared.over.store(true, Ordering::Relaxed);
    }

    /// Sends late answers and waiting READs until the session and all that it waits for are done.
    async fn work(&self, answers: &mut mpsc::Receiver<Out>) -> Result<(), Broken> {
        let mut out = Vec::new();
        let mut all_answered = false;
        // In a task of its own: it holds the session, for which russh's task may wait, for which sending waits.
        let mut serving = None;
        while !all_answered || serving.is_some() {
            tokio::select! {
                answer = answers.recv(), if !all_answered => {
                    all_answered = answer.is_none();
                    out.extend(answer);
                    while out.len() < LATE && let Ok(more) = answers.try_recv() {
                        out.push(more);
                    }
                }
                () = self.shared.wake.notified(), if serving.is_none() && !all_answered => {
                    serving = Some(self.serve());
                }
                served = next(&mut serving) => {
                    out.extend(served.unwrap_or_else(|_| Err(Broken("the gateway failed: tell its operator".into())))?);
                    // Where one READ waited another may.
                    serving = (!out.is_empty()).then(|| self.serve());
                }
            }
            if self.send(&mut out).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    fn serve(&self) -> AbortOnDropHandle<Result<Vec<Out>, Broken>> {
        let shared = self.shared.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            let mut out = Vec::new();
            // Whoever holds the session is bounded himself.
            let mut slot = shared.slot.lock().await;
            bounded(&shared.cut, slot.serve(REPLY_MAX, &mut out)).await?;
            Ok(out)
        }))
    }

    /// Waits while the client takes nothing.
    async fn send(&self, out: &mut Vec<Out>) -> Result<(), Gone> {
        for piece in pieces(out.drain(..), &self.shared.lines) {
            self.shared.spend(piece.len());
            let sent = match piece {
                Piece::Data(bytes) => self.handle.data(self.id, bytes).await,
                Piece::Error(bytes) => self.handle.extended_data(self.id, STDERR, bytes).await,
            };
            sent.map_err(|_| Gone)?;
        }
        Ok(())
    }
}

/// Completes with the future that is there; never, when none is.
async fn next<T>(future: &mut Option<impl Future<Output = T> + Unpin>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// One call's worth for russh.
enum Piece {
    Data(Vec<u8>),
    Error(Vec<u8>),
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Piece::Data(bytes) | Piece::Error(bytes) => bytes.len(),
        }
    }
}

/// Joins small replies that follow each other, and cuts off lines beyond the session's allowance.
fn pieces(out: impl Iterator<Item = Out>, lines: &StdMutex<Lines>) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for out in out {
        match (out, pieces.last_mut()) {
            (Out::Data(bytes), Some(Piece::Data(last))) if last.len() + bytes.len() <= BATCH => last.extend(bytes),
            (Out::Data(bytes), _) => pieces.push(Piece::Data(bytes)),
            (Out::Line(text), _) => {
                let shown = lines.lock().unwrap_or_else(PoisonError::into_inner).show(&text);
                pieces.extend(shown.map(Piece::Error));
            }
        }
    }
    pieces
}

/// What was said on standard error.
#[derive(Default)]
struct Lines {
    count: usize,
    bytes: usize,
}

impl Lines {
    /// The bytes for a line; none when the session has said enough.
    fn show(&mut self, text: &str) -> Option<Vec<u8>> {
        if self.count > LINES_MAX {
            return None;
        }
        self.count += 1;
        self.bytes = self.bytes.saturating_add(text.len());
        if self.count > LINES_MAX || self.bytes > LINE_BYTES_MAX {
            self.count = LINES_MAX + 1;
            return Some(line("Further messages are not shown in this session."));
        }
        Some(line(text))
    }
}

/// A line for a terminal: whatever it quotes, it is one line and moves no cursor.
pub(super) fn line(text: &str) -> Vec<u8> {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.push('\n');
    line.into_bytes()
}

/// Waits for a session's work, but not for ever and not beyond the connection's end.
async fn bounded<T>(cut: &CancellationToken, work: impl Future<Output = Result<T, Broken>>) -> Result<T, Broken> {
    tokio::select! {
        biased;
        done = tokio::time::timeout(WAIT, work) => done.unwrap_or_else(|_| {
            let seconds = WAIT.as_secs();
            Err(Broken(format!("the gateway could not take or give data for {seconds} seconds: try again later")))
        }),
        () = cut.cancelled() => Err(Broken("the connection is over".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_replies_are_joined_and_large_ones_are_not_copied() {
        let lines = StdMutex::default();
        let out = vec![Out::Data(vec![1; 10]), Out::Data(vec![2; 10]), Out::Data(vec![3; BATCH])];
        let sizes: Vec<_> = pieces(out.into_iter(), &lines).iter().map(Piece::len).collect();
        assert_eq!(sizes, [20, BATCH]);
    }

    #[test]
    fn a_session_says_a_bounded_number_of_lines() {
        let mut lines = Lines::default();
        let shown: Vec<_> = (0..1000).filter_map(|_| lines.show("no")).collect();
        assert_eq!(shown.len(), LINES_MAX + 1);
        assert!(shown.last().unwrap().starts_with(b"Further messages"));
        let mut lines = Lines::default();
        let shown: usize = (0..1000).filter_map(|_| lines.show(&"x".repeat(1000))).map(|line| line.len()).sum();
        assert!(shown < LINE_BYTES_MAX + 200, "{shown}");
    }

    #[test]
    fn a_line_moves_no_cursor() {
        assert_eq!(line("a\u{1b}[2J\r\nb"), b"a [2J  b\n");
    }
}
