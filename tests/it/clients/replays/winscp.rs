//! WinSCP, after its `SftpFileSystem.cpp` (`Source`, `SFTPOpenRemote`): version 3, as it speaks with a server like this.
//!
//! Files over 100 KiB go under the name `NAME.filepart`, which is gone on with when it is found, and renamed at the end;
//! a file of the final name is removed before. Smaller ones are opened exclusively first, to learn whether to ask the user.
//! The time is set after the CLOSE (its answer not awaited for small files), or after the RENAME.

use std::path::{Path, PathBuf};

use super::{EXCLUSIVE, Said, Talk, done, lost, session, size, times};
use crate::clients::matrix::{Did, Program};
use crate::clients::site::Way;
use crate::harness::{flag, kind, string};

pub struct WinScp;

/// Preferences, Endurance: "Enable transfer resume for files above".
const RESUMABLE: u64 = 100 * 1024;

fn upload(talk: &mut Talk, local: &Path, remote: &str) -> Said<String> {
    let length = std::fs::metadata(local).unwrap().len();
    if length > RESUMABLE {
        resumable(talk, local, remote, length)?
    } else {
        plain(talk, local, remote, length)?
    }
    Ok(String::new())
}

fn resumable(talk: &mut Talk, local: &Path, remote: &str, length: u64) -> Said<()> {
    let part = format!("{remote}.filepart");
    let exists = talk.size_of(remote)?.is_some();
    let from = match talk.size_of(&part)? {
        Some(larger) if larger > length => {
            talk.remove(&part)?;
            None
        }
        found => found,
    };
    let handle = match from {
        Some(_) => talk.open(&part, flag::WRITE | flag::CREATE, &[0; 4])?,
        None => talk.open(&part, flag::WRITE | flag::CREATE | flag::TRUNCATE, &size(length))?,
    };
    let sent = talk.send(&handle, local, from.unwrap_or(0));
    let closed = talk.close(&handle);
    sent?;
    closed?;
    if exists {
        talk.remove(remote)?;
    }
    talk.rename(&part, remote)?;
    talk.set(remote, &times(local))
}

fn plain(talk: &mut Talk, local: &Path, remote: &str, length: u64) -> Said<()> {
    let flags = flag::WRITE | flag::CREATE | flag::TRUNCATE;
    let handle = match talk.open(remote, flags | EXCLUSIVE, &size(length)) {
        Err(_) if talk.size_of(remote)?.is_some() => talk.open(remote, flags, &size(length))?,
        opened => opened?,
    };
    if let Err(refused) = talk.send(&handle, local, 0) {
        let _ = talk.close(&handle);
        let _ = talk.remove(remote);
        return Err(refused);
    }
    let close = talk.raw.try_post(kind::CLOSE, &string(&handle)).ok_or_else(lost)?;
    let properties = [&string(remote.as_bytes())[..], &times(local)].concat();
    let set = talk.raw.try_post(kind::SETSTAT, &properties).ok_or_else(lost)?;
    done(&talk.raw.try_reply(close).ok_or_else(lost)?)?;
    done(&talk.raw.try_reply(set).ok_or_else(lost)?)
}

impl Program for WinScp {
    fn title(&self) -> &'static str {
        "WinSCP (replayed)"
    }
    fn version(&self) -> String {
        "6".into()
    }
    fn put(&self, way: &Way<'_>, local: &Path, remote: &str) -> Did {
        session(way, |talk| upload(talk, local, remote))
    }
    fn put_many(&self, way: &Way<'_>, locals: &[PathBuf], directory: &str) -> Did {
        session(way, |talk| {
            for local in locals {
                upload(talk, local, &format!("{directory}/{}", local.file_name().unwrap().to_str().unwrap()))?;
            }
            Ok(String::new())
        })
    }
    fn resume(&self, way: &Way<'_>, local: &Path, remote: &str) -> Option<Did> {
        Some(session(way, |talk| {
            let part = format!("{remote}.filepart");
            talk.size_of(&part)?.ok_or(format!("{part} is not there to be gone on with"))?;
            upload(talk, local, remote)
        }))
    }
    /// Its own working name, whatever the matrix would choose.
    fn put_and_rename(&self, way: &Way<'_>, local: &Path, _: &str, remote: &str) -> Option<Did> {
        assert!(std::fs::metadata(local).unwrap().len() > RESUMABLE);
        Some(self.put(way, local, remote))
    }
    fn put_with_times(&self, way: &Way<'_>, local: &Path, remote: &str) -> Option<Did> {
        Some(self.put(way, local, remote))
    }
    fn list(&self, way: &Way<'_>, directory: &str) -> Option<Did> {
        Some(session(way, |talk| talk.list(directory)))
    }
    fn get(&self, way: &Way<'_>, remote: &str, local: &Path) -> Did {
        session(way, |talk| talk.get(remote, local).map(|()| String::new()))
    }
}
