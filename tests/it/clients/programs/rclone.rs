//! rclone with its sftp backend: sets times, and compares digests by `md5sum` over exec, each time.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::version_of;
use crate::clients::matrix::{Did, Program};
use crate::clients::site::Way;

pub struct Rclone;

fn command(way: &Way<'_>, words: &[&str]) -> Command {
    let config = format!(
        "[gateway]\ntype = sftp\nhost = 127.0.0.1\nport = {}\nuser = harbour-nightly\nkey_file = {}\nknown_hosts_file = {}\n",
        way.port,
        way.site.path("key").display(),
        way.site.known_hosts().display()
    );
    let file = way.site.path(&format!("rclone-{}.conf", way.port));
    std::fs::write(&file, config).unwrap();
    let mut command = way.command("rclone");
    command.arg("--config").arg(file).args(["--retries", "3", "--low-level-retries", "3"]).args(words);
    command
}

pub fn rclone(way: &Way<'_>, words: &[&str]) -> Did {
    way.run(command(way, words), "")
}

/// An upload.
pub fn putting(way: &Way<'_>, local: &Path, remote: &str) -> Command {
    command(way, &["copyto", text(local), &format!("gateway:{remote}")])
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl Program for Rclone {
    fn title(&self) -> &'static str {
        "rclone"
    }
    fn version(&self) -> String {
        version_of("rclone", &["--version"])
    }
    fn put(&self, way: &Way<'_>, local: &Path, remote: &str) -> Did {
        rclone(way, &["copyto", text(local), &format!("gateway:{remote}")])
    }
    fn put_many(&self, way: &Way<'_>, locals: &[PathBuf], directory: &str) -> Did {
        rclone(way, &["copy", text(locals[0].parent().unwrap()), &format!("gateway:{directory}")])
    }
    /// It has no resumption over SFTP: it begins anew, by itself.
    fn resume(&self, _: &Way<'_>, _: &Path, _: &str) -> Option<Did> {
        None
    }
    fn put_and_rename(&self, way: &Way<'_>, local: &Path, working: &str, remote: &str) -> Option<Did> {
        let (working, remote) = (format!("gateway:{working}"), format!("gateway:{remote}"));
        let put = rclone(way, &["copyto", text(local), &working]);
        Some(if put.ok { rclone(way, &["moveto", &working, &remote]) } else { put })
    }
    fn put_with_times(&self, way: &Way<'_>, local: &Path, remote: &str) -> Option<Did> {
        Some(self.put(way, local, remote))
    }
    fn list(&self, way: &Way<'_>, directory: &str) -> Option<Did> {
        Some(rclone(way, &["lsf", &format!("gateway:{directory}")]))
    }
    fn get(&self, way: &Way<'_>, remote: &str, local: &Path) -> Did {
        rclone(way, &["copyto", &format!("gateway:{remote}"), text(local)])
    }
}
