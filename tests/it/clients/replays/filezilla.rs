//! FileZilla, whose `fzsftp` is PuTTY's `psftp` with a window before it: `put` and `reput` as psftp.c has them, then the
//! time by SETSTAT ("Preserve timestamps of transferred files"), after the directory was read again.

use std::path::{Path, PathBuf};

use super::{Said, Talk, done, no_attributes, session, times};
use crate::clients::matrix::{Did, Program};
use crate::clients::site::Way;
use crate::harness::{flag, kind, string};

pub struct FileZilla;

fn upload(talk: &mut Talk, local: &Path, remote: &str) -> Said<String> {
    let handle = talk.open(remote, flag::WRITE | flag::CREATE | flag::TRUNCATE, &no_attributes())?;
    let sent = talk.send(&handle, local, 0);
    let closed = talk.close(&handle);
    sent?;
    closed?;
    talk.set(remote, &times(local))?;
    Ok(String::new())
}

/// Opens without CREAT and TRUNC, asks for the size, and goes on from there.
fn go_on(talk: &mut Talk, local: &Path, remote: &str) -> Said<String> {
    let handle = talk.open(remote, flag::WRITE, &no_attributes())?;
    let attributes = talk.ask(kind::FSTAT, &string(&handle))?;
    if attributes.kind != kind::ATTRS {
        done(&attributes)?;
    }
    let from = u64::from_be_bytes(attributes.body[4..12].try_into().unwrap());
    if from == 0 {
        return Err("nothing is there to be gone on with".into());
    }
    let sent = talk.send(&handle, local, from);
    let closed = talk.close(&handle);
    sent?;
    closed?;
    talk.set(remote, &times(local))?;
    Ok(String::new())
}

impl Program for FileZilla {
    fn title(&self) -> &'static str {
        "FileZilla (replayed)"
    }
    fn version(&self) -> String {
        "3".into()
    }
    fn put(&self, way: &Way<'_>, local: &Path, remote: &str) -> Did {
        session(way, |talk| {
            talk.list(remote.rsplit_once('/').unwrap().0)?;
            upload(talk, local, remote)
        })
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
        Some(session(way, |talk| go_on(talk, local, remote)))
    }
    fn put_and_rename(&self, way: &Way<'_>, local: &Path, working: &str, remote: &str) -> Option<Did> {
        Some(session(way, |talk| {
            upload(talk, local, working)?;
            talk.rename(working, remote)?;
            Ok(String::new())
        }))
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
