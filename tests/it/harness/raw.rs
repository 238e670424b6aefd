//! A raw SFTP client: packets as the test builds them, through a real `ssh -s ... sftp`.
//!
//! SFTP version 3, draft-ietf-secsh-filexfer-02. Knows no manners: it sends what it is told, when it is told.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::PATIENCE;

/// Packet types.
pub mod kind {
    pub const INIT: u8 = 1;
    pub const VERSION: u8 = 2;
    pub const OPEN: u8 = 3;
    pub const CLOSE: u8 = 4;
    pub const READ: u8 = 5;
    pub const WRITE: u8 = 6;
    pub const LSTAT: u8 = 7;
    pub const FSTAT: u8 = 8;
    pub const SETSTAT: u8 = 9;
    pub const OPENDIR: u8 = 11;
    pub const READDIR: u8 = 12;
    pub const REMOVE: u8 = 13;
    pub const REALPATH: u8 = 16;
    pub const STAT: u8 = 17;
    pub const RENAME: u8 = 18;
    pub const STATUS: u8 = 101;
    pub const HANDLE: u8 = 102;
    pub const DATA: u8 = 103;
    pub const NAME: u8 = 104;
    pub const ATTRS: u8 = 105;
    pub const EXTENDED: u8 = 200;
    pub const EXTENDED_REPLY: u8 = 201;
}

/// Flags of OPEN.
pub mod flag {
    pub const READ: u32 = 1;
    pub const WRITE: u32 = 2;
    pub const CREATE: u32 = 8;
    pub const TRUNCATE: u32 = 16;
}

/// Status codes.
pub mod code {
    pub const OK: u32 = 0;
}

/// How long one raw session may live; bounds every blocking write in here.
const LIFETIME: Duration = Duration::from_secs(240);

#[derive(Debug, Clone)]
pub struct Reply {
    pub kind: u8,
    pub id: u32,
    /// What follows the id.
    pub body: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub code: u32,
    pub message: String,
}

pub struct Raw {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Before the first read.
    stdout: Option<ChildStdout>,
    replies: Option<Receiver<Reply>>,
    /// Replies that came while another was awaited.
    early: HashMap<u32, Reply>,
    next: u32,
    /// Past INIT.
    greeted: bool,
    /// Dropped with the session, which calls the watchdog off.
    _alive: std::sync::mpsc::Sender<()>,
}

/// A whole packet: length, type, body.
pub fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 1).unwrap();
    [&length.to_be_bytes(), &[kind][..], body].concat()
}

/// A string field: length and bytes.
pub fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

impl Reply {
    pub fn status(&self) -> Status {
        assert_eq!(self.kind, kind::STATUS, "not a status: {self:?}");
        let code = u32::from_be_bytes(self.body[..4].try_into().unwrap());
        let length = u32::from_be_bytes(self.body[4..8].try_into().unwrap()) as usize;
        Status { code, message: String::from_utf8(self.body[8..8 + length].to_vec()).unwrap() }
    }

    /// A handle, or the status that came in its place.
    pub fn handle(&self) -> Result<Vec<u8>, Status> {
        if self.kind != kind::HANDLE {
            return Err(self.status());
        }
        Ok(self.body[4..].to_vec())
    }
}

impl Raw {
    pub fn connect(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().unwrap();
        let (alive, call_off) = channel::<()>();
        let group = Pid::from_child(&child);
        std::thread::spawn(move || {
            if call_off.recv_timeout(LIFETIME) == Err(RecvTimeoutError::Timeout) {
                kill_process_group(group, Signal::KILL).ok();
            }
        });
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        Self { child, stdin, stdout, replies: None, early: HashMap::new(), next: 1, greeted: false, _alive: alive }
    }

    // -- bytes --

    /// Sends bytes as they are; an error when the session is over.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let stdin = self.stdin.as_mut().expect("not closed by the test itself");
        stdin.write_all(bytes).and_then(|()| stdin.flush())
    }

    /// The way in, for a writer in a thread of its own.
    pub fn take_input(&mut self) -> ChildStdin {
        self.stdin.take().unwrap()
    }

    /// Says EOF.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// The next reply in the order of arrival; none when the gateway ended the channel. Fails the test when neither comes.
    pub fn next_reply(&mut self) -> Option<Reply> {
        match self.replies().recv_timeout(PATIENCE) {
            Ok(reply) => Some(reply),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("neither a reply nor an end within {PATIENCE:?}"),
        }
    }

    /// Waits for the end of the channel, returning how many replies came before it.
    pub fn await_end(&mut self) -> usize {
        self.await_end_within(PATIENCE)
    }

    pub fn await_end_within(&mut self, limit: Duration) -> usize {
        let deadline = Instant::now() + limit;
        let mut count = 0;
        loop {
            match self.replies().recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(_) => count += 1,
                Err(RecvTimeoutError::Disconnected) => return count,
                Err(RecvTimeoutError::Timeout) => panic!("the session goes on after {limit:?}"),
            }
        }
    }

    /// Starts to read at the first call only, so that a test can leave replies unread.
    fn replies(&mut self) -> &Receiver<Reply> {
        let stdout = &mut self.stdout;
        self.replies.get_or_insert_with(|| {
            let mut from = stdout.take().unwrap();
            let (send, receive) = channel();
            std::thread::spawn(move || {
                while let Some(reply) = read_reply(&mut from) {
                    if send.send(reply).is_err() {
                        return;
                    }
                }
            });
            receive
        })
    }

    // -- requests --

    pub fn init(&mut self) {
        self.try_init().expect("an answer to INIT");
    }

    /// INIT, if this session has not had it yet; none when the session broke.
    pub fn try_init(&mut self) -> Option<()> {
        if !self.greeted {
            self.send(&packet(kind::INIT, &3u32.to_be_bytes())).ok()?;
            let version = self.next_reply()?;
            // VERSION has no id: where one would be, it has the version.
            assert_eq!((version.kind, version.id), (kind::VERSION, 3));
            self.greeted = true;
        }
        Some(())
    }

    /// A request and its reply; none when the session broke before.
    pub fn try_request(&mut self, kind: u8, body: &[u8]) -> Option<Reply> {
        let id = self.try_post(kind, body)?;
        self.try_reply(id)
    }

    /// Sends a request without waiting; returns its id, or none when the session broke before.
    pub fn try_post(&mut self, kind: u8, body: &[u8]) -> Option<u32> {
        let id = self.next;
        self.next += 1;
        self.send(&packet(kind, &[&id.to_be_bytes(), body].concat())).ok()?;
        Some(id)
    }

    /// The reply to a request posted before, whatever order replies come in; none when the session broke before.
    pub fn try_reply(&mut self, id: u32) -> Option<Reply> {
        loop {
            if let Some(reply) = self.early.remove(&id) {
                return Some(reply);
            }
            let reply = self.next_reply()?;
            self.early.insert(reply.id, reply);
        }
    }

    /// Sends a request without waiting; returns its id.
    pub fn post(&mut self, kind: u8, body: &[u8]) -> u32 {
        self.try_post(kind, body).unwrap()
    }

    /// The reply to a request posted before, whatever order replies come in.
    #[track_caller]
    pub fn reply(&mut self, id: u32) -> Reply {
        self.try_reply(id).expect("the session ended before its reply")
    }

    #[track_caller]
    pub fn request(&mut self, kind: u8, body: &[u8]) -> Reply {
        let id = self.post(kind, body);
        self.reply(id)
    }

    #[track_caller]
    pub fn open(&mut self, path: &[u8], flags: u32) -> Result<Vec<u8>, Status> {
        // No attributes: flags 0.
        let body = [&string(path)[..], &flags.to_be_bytes(), &0u32.to_be_bytes()].concat();
        self.request(kind::OPEN, &body).handle()
    }

    /// Opens for writing as OpenSSH's `put` does.
    #[track_caller]
    pub fn create(&mut self, path: &str) -> Vec<u8> {
        self.open(path.as_bytes(), flag::WRITE | flag::CREATE | flag::TRUNCATE)
            .unwrap_or_else(|s| panic!("{path}: {s:?}"))
    }

    /// Writes all of `bytes` from `offset` on, many requests under way at once; the first refusal ends it.
    #[track_caller]
    pub fn write(&mut self, handle: &[u8], mut offset: u64, bytes: &[u8]) -> Result<(), Status> {
        let mut waiting = std::collections::VecDeque::new();
        for part in bytes.chunks(32 * 1024) {
            let body = [&string(handle)[..], &offset.to_be_bytes(), &string(part)].concat();
            waiting.push_back(self.post(kind::WRITE, &body));
            offset = offset.wrapping_add(part.len() as u64);
            if waiting.len() == 64 {
                let first = waiting.pop_front().unwrap();
                done(self.reply(first).status())?;
            }
        }
        waiting.into_iter().try_for_each(|id| done(self.reply(id).status()))
    }

    #[track_caller]
    pub fn close(&mut self, handle: &[u8]) -> Status {
        self.request(kind::CLOSE, &string(handle)).status()
    }

    #[track_caller]
    pub fn rename(&mut self, from: &str, to: &str) -> Status {
        self.request(kind::RENAME, &[string(from.as_bytes()), string(to.as_bytes())].concat()).status()
    }

    // -- ends --

    /// SIGSTOP: the machine at the other end hangs, its connection stays.
    pub fn freeze(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
    }

    /// SIGKILL: the connection breaks.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn done(status: Status) -> Result<(), Status> {
    if status.code == code::OK { Ok(()) } else { Err(status) }
}

fn read_reply(from: &mut impl Read) -> Option<Reply> {
    let mut head = [0; 9];
    from.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
    let mut body = vec![0; length.checked_sub(5)?];
    from.read_exact(&mut body).ok()?;
    Some(Reply { kind: head[4], id: u32::from_be_bytes(head[5..9].try_into().unwrap()), body })
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A frozen process does not even notice SIGTERM; SIGKILL it does.
        kill_process_group(Pid::from_child(&self.child), Signal::KILL).ok();
        self.child.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The oracle for this client itself: OpenSSH's own server understands what it sends.
    #[test]
    fn the_raw_client_speaks_as_openssh_understands_it() {
        let dir = super::super::fresh_dir("raw");
        let mut raw = Raw::connect(Command::new("/usr/lib/openssh/sftp-server"));
        raw.init();
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        let (first, second) = (first.to_str().unwrap(), second.to_str().unwrap());
        let handle = raw.create(first);
        let content: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
        raw.write(&handle, 0, &content).unwrap();
        assert_eq!(raw.close(&handle).code, code::OK);
        assert_eq!(raw.rename(first, second).code, code::OK);
        assert!(raw.open(first.as_bytes(), flag::READ).is_err());
        assert!(raw.open(second.as_bytes(), flag::READ).is_ok());
        assert_eq!(std::fs::read(second).unwrap(), content);
        raw.close_input();
        raw.await_end();
    }
}
