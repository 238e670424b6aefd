//! PuTTY's `psftp` and `pscp`, the same code as on Windows.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::version_of;
use crate::clients::matrix::{Did, Program};
use crate::clients::site::Way;

pub struct Psftp;
pub struct Pscp;

fn putty(way: &Way<'_>, program: &str) -> Command {
    let mut command = way.command(program);
    command.args(["-batch", "-P", &way.port.to_string(), "-i"]).arg(way.site.path("key.ppk"));
    for fingerprint in way.site.fingerprints() {
        command.args(["-hostkey", &fingerprint]);
    }
    command
}

fn command(way: &Way<'_>, commands: &str) -> Command {
    let script = way.site.path("psftp-script");
    std::fs::write(&script, commands).unwrap();
    let mut command = putty(way, "psftp");
    command.arg("-b").arg(script).arg("harbour-nightly@127.0.0.1");
    command
}

fn psftp(way: &Way<'_>, commands: &str) -> Did {
    way.run(command(way, commands), "")
}

/// An upload with `psftp`.
pub fn putting(way: &Way<'_>, local: &Path, remote: &str) -> Command {
    command(way, &format!("put {} {}\n", name(local), name(remote)))
}

fn name(path: impl AsRef<Path>) -> String {
    format!("\"{}\"", path.as_ref().to_str().unwrap())
}

impl Program for Psftp {
    fn title(&self) -> &'static str {
        "PuTTY psftp"
    }
    fn version(&self) -> String {
        version_of("psftp", &["-V"])
    }
    fn put(&self, way: &Way<'_>, local: &Path, remote: &str) -> Did {
        psftp(way, &format!("put {} {}\n", name(local), name(remote)))
    }
    fn put_many(&self, way: &Way<'_>, locals: &[PathBuf], directory: &str) -> Did {
        let mut commands = format!("cd {directory}\nmput");
        for local in locals {
            let _ = write!(commands, " {}", name(local));
        }
        psftp(way, &(commands + "\n"))
    }
    fn resume(&self, way: &Way<'_>, local: &Path, remote: &str) -> Option<Did> {
        Some(psftp(way, &format!("reput {} {}\n", name(local), name(remote))))
    }
    fn put_and_rename(&self, way: &Way<'_>, local: &Path, working: &str, remote: &str) -> Option<Did> {
        Some(psftp(way, &format!("put {} {working}\nmv {working} {remote}\n", name(local))))
    }
    fn put_with_times(&self, _: &Way<'_>, _: &Path, _: &str) -> Option<Did> {
        None
    }
    fn list(&self, way: &Way<'_>, directory: &str) -> Option<Did> {
        Some(psftp(way, &format!("cd {directory}\npwd\nls\n")))
    }
    fn get(&self, way: &Way<'_>, remote: &str, local: &Path) -> Did {
        psftp(way, &format!("get {} {}\n", name(remote), name(local)))
    }
}

fn pscp(way: &Way<'_>, options: &[&str], words: &[&Path]) -> Did {
    let mut command = putty(way, "pscp");
    command.arg("-q").args(options).args(words);
    way.run(command, "")
}

fn at(remote: &str) -> PathBuf {
    format!("harbour-nightly@127.0.0.1:{remote}").into()
}

impl Program for Pscp {
    fn title(&self) -> &'static str {
        "PuTTY pscp"
    }
    fn version(&self) -> String {
        version_of("pscp", &["-V"])
    }
    fn put(&self, way: &Way<'_>, local: &Path, remote: &str) -> Did {
        pscp(way, &[], &[local, &at(remote)])
    }
    fn put_many(&self, way: &Way<'_>, locals: &[PathBuf], directory: &str) -> Did {
        let directory = at(&format!("{directory}/"));
        let words: Vec<&Path> = locals.iter().chain([&directory]).map(PathBuf::as_path).collect();
        pscp(way, &[], &words)
    }
    fn resume(&self, _: &Way<'_>, _: &Path, _: &str) -> Option<Did> {
        None
    }
    fn put_and_rename(&self, _: &Way<'_>, _: &Path, _: &str, _: &str) -> Option<Did> {
        None
    }
    fn put_with_times(&self, way: &Way<'_>, local: &Path, remote: &str) -> Option<Did> {
        Some(pscp(way, &["-p"], &[local, &at(remote)]))
    }
    fn list(&self, way: &Way<'_>, directory: &str) -> Option<Did> {
        Some(pscp(way, &["-ls"], &[&at(directory)]))
    }
    fn get(&self, way: &Way<'_>, remote: &str, local: &Path) -> Did {
        pscp(way, &[], &[&at(remote), local])
    }
}
