//! curl, which speaks SFTP with libssh2: a URL for each task.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::version_of;
use crate::clients::matrix::{Did, Program};
use crate::clients::site::Way;

pub struct Curl;

fn url(way: &Way<'_>, remote: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    let encoded: String = remote
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    format!("sftp://127.0.0.1:{}{encoded}", way.port)
}

/// Host keys are looked up in ~/.ssh/known_hosts.
fn command(way: &Way<'_>, words: &[&str]) -> Command {
    let (key, public) = (way.site.path("key"), way.site.path("key.pub"));
    let mut command = way.command("curl");
    command.args(["-sS", "--user", "harbour-nightly:", "--key"]).arg(key).arg("--pubkey").arg(public).args(words);
    command
}

fn curl(way: &Way<'_>, words: &[&str]) -> Did {
    way.run(command(way, words), "")
}

/// An upload with more options.
pub fn putting(way: &Way<'_>, options: &[&str], local: &Path, remote: &str) -> Command {
    command(way, &[options, &["-T", text(local), &url(way, remote)]].concat())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl Program for Curl {
    fn title(&self) -> &'static str {
        "curl (libssh2)"
    }
    fn version(&self) -> String {
        version_of("curl", &["--version"])
    }
    fn put(&self, way: &Way<'_>, local: &Path, remote: &str) -> Did {
        curl(way, &["-T", text(local), &url(way, remote)])
    }
    fn put_many(&self, way: &Way<'_>, locals: &[PathBuf], directory: &str) -> Did {
        let to = url(way, &format!("{directory}/"));
        let words: Vec<&str> = locals.iter().flat_map(|local| ["-T", text(local), to.as_str()]).collect();
        curl(way, &words)
    }
    fn resume(&self, way: &Way<'_>, local: &Path, remote: &str) -> Option<Did> {
        Some(curl(way, &["-C", "-", "-T", text(local), &url(way, remote)]))
    }
    fn put_and_rename(&self, way: &Way<'_>, local: &Path, working: &str, remote: &str) -> Option<Did> {
        let rename = format!("-rename {working} {remote}");
        Some(curl(way, &["-Q", &rename, "-T", text(local), &url(way, working)]))
    }
    fn put_with_times(&self, _: &Way<'_>, _: &Path, _: &str) -> Option<Did> {
        None
    }
    fn list(&self, way: &Way<'_>, directory: &str) -> Option<Did> {
        let directory = format!("{}/", directory.trim_end_matches('/'));
        Some(curl(way, &[&url(way, &directory)]))
    }
    fn get(&self, way: &Way<'_>, remote: &str, local: &Path) -> Did {
        curl(way, &["-o", text(local), &url(way, remote)])
    }
}
