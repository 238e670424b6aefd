//! The clients: how each is told what to do. A file for a family; what differs between two of a family is one line.

pub mod curl;
pub mod jsch;
pub mod lftp;
pub mod node;
pub mod openssh;
pub mod paramiko;
pub mod putty;
pub mod rclone;
mod scripted;
pub mod sshfs;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{PATIENCE, run};

/// The first thing of a program's output that looks like a version.
fn version_of(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C.UTF-8").env_remove("DISPLAY");
    let done = run(command, b"", PATIENCE);
    let text = format!("{}\n{}", done.stdout, done.stderr);
    let version = regex::Regex::new(r"\d+\.\d+(\.\d+)?(p\d+)?").unwrap();
    version.find(&text).unwrap_or_else(|| panic!("no version: {text}")).as_str().to_owned()
}

/// What `tests/clients --install` brought.
fn installed(inside: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("clients").join(inside);
    assert!(path.exists(), "{} is missing: run tests/clients --install first", path.display());
    path
}

/// A script or program beside this file.
fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients/programs").join(name)
}
