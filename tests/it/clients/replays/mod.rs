//! Clients of Windows: what they send, packet by packet, as their sources have it. Real packets to a real gateway; only
//! the window is missing.

pub mod filezilla;
pub mod winscp;

use std::io::Read;
use std::path::Path;

use super::matrix::Did;
use super::site::Way;
use crate::harness::{Raw, Reply, code, kind, string};

/// Data of one WRITE.
const CHUNK: usize = 32 * 1024;
/// WRITEs on their way at once.
const AHEAD: usize = 16;

/// Flags of OPEN that the harness has no use for.
const EXCLUSIVE: u32 = 0x20;

/// A session, and what was refused in it: the message that the client's window would show.
struct Talk {
    raw: Raw,
}

type Said<T> = Result<T, String>;

fn lost() -> String {
    "the connection was lost".to_owned()
}

/// Runs one task in a session of its own.
fn session(way: &Way<'_>, task: impl FnOnce(&mut Talk) -> Said<String>) -> Did {
    let mut talk = Talk { raw: way.site.raw(way.port) };
    let told = task(&mut talk);
    if told.as_ref().err() != Some(&lost()) {
        // It says goodbye, and must not be kept waiting.
        talk.raw.close_input();
        talk.raw.await_end();
    }
    match told {
        Ok(words) => Did { ok: true, words },
        Err(words) => Did { ok: false, words },
    }
}

/// An OK, or what the status says.
fn done(reply: &Reply) -> Said<()> {
    let status = reply.status();
    if status.code == code::OK { Ok(()) } else { Err(status.message) }
}

/// Attributes with times alone.
fn times(local: &Path) -> Vec<u8> {
    let modified = std::fs::metadata(local).unwrap().modified().unwrap();
    let seconds = modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let seconds = u32::try_from(seconds).unwrap().to_be_bytes();
    [&8u32.to_be_bytes()[..], &seconds, &seconds].concat()
}

/// Attributes with the size alone.
fn size(bytes: u64) -> Vec<u8> {
    [&1u32.to_be_bytes()[..], &bytes.to_be_bytes()].concat()
}

fn no_attributes() -> Vec<u8> {
    vec![0; 4]
}

impl Talk {
    fn ask(&mut self, kind: u8, body: &[u8]) -> Said<Reply> {
        self.raw.try_request(kind, body).ok_or_else(lost)
    }

    fn open(&mut self, path: &str, flags: u32, attributes: &[u8]) -> Said<Vec<u8>> {
        let body = [&string(path.as_bytes())[..], &flags.to_be_bytes(), attributes].concat();
        self.ask(kind::OPEN, &body)?.handle().map_err(|status| status.message)
    }

    /// The size of what is at a path, by LSTAT; none when nothing is.
    fn size_of(&mut self, path: &str) -> Said<Option<u64>> {
        let reply = self.ask(kind::LSTAT, &string(path.as_bytes()))?;
        Ok((reply.kind == kind::ATTRS).then(|| u64::from_be_bytes(reply.body[4..12].try_into().unwrap())))
    }

    /// Sends a file from `offset` on, many WRITEs ahead of their answers; ends at the first refusal.
    fn send(&mut self, handle: &[u8], local: &Path, mut offset: u64) -> Said<()> {
        let mut file = std::fs::File::open(local).unwrap();
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(offset)).unwrap();
        let (mut waiting, mut buffer) = (std::collections::VecDeque::new(), vec![0; CHUNK]);
        loop {
            let count = file.read(&mut buffer).unwrap();
            if count == 0 || waiting.len() == AHEAD {
                let Some(first) = waiting.pop_front() else { return Ok(()) };
                done(&self.raw.try_reply(first).ok_or_else(lost)?)?;
            }
            if count > 0 {
                let body = [&string(handle)[..], &offset.to_be_bytes(), &string(&buffer[..count])].concat();
                waiting.push_back(self.raw.try_post(kind::WRITE, &body).ok_or_else(lost)?);
                offset += count as u64;
            }
        }
    }

    fn close(&mut self, handle: &[u8]) -> Said<()> {
        done(&self.ask(kind::CLOSE, &string(handle))?)
    }

    fn set(&mut self, path: &str, attributes: &[u8]) -> Said<()> {
        done(&self.ask(kind::SETSTAT, &[&string(path.as_bytes())[..], attributes].concat())?)
    }

    fn rename(&mut self, from: &str, to: &str) -> Said<()> {
        done(&self.ask(kind::RENAME, &[string(from.as_bytes()), string(to.as_bytes())].concat())?)
    }

    fn remove(&mut self, path: &str) -> Said<()> {
        done(&self.ask(kind::REMOVE, &string(path.as_bytes()))?)
    }

    /// All names of a directory, as their long lines.
    fn list(&mut self, directory: &str) -> Said<String> {
        let path = self.ask(kind::REALPATH, &string(directory.as_bytes()))?;
        assert_eq!(path.kind, kind::NAME);
        let handle = self.ask(kind::OPENDIR, &string(directory.as_bytes()))?.handle().map_err(|s| s.message)?;
        let mut names = String::new();
        loop {
            let page = self.ask(kind::READDIR, &string(&handle))?;
            if page.kind != kind::NAME {
                break;
            }
            names.push_str(&String::from_utf8_lossy(&page.body));
        }
        self.close(&handle)?;
        Ok(names)
    }

    fn get(&mut self, remote: &str, local: &Path) -> Said<()> {
        let handle = self.open(remote, crate::harness::flag::READ, &no_attributes())?;
        let mut bytes = Vec::new();
        loop {
            let body =
                [&string(&handle)[..], &(bytes.len() as u64).to_be_bytes(), &(CHUNK as u32).to_be_bytes()].concat();
            let reply = self.ask(kind::READ, &body)?;
            if reply.kind != kind::DATA {
                break;
            }
            bytes.extend_from_slice(&reply.body[4..]);
        }
        std::fs::write(local, bytes).unwrap();
        self.close(&handle)
    }
}
