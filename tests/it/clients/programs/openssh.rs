//! OpenSSH: `sftp`, and `scp` of 9.0 or later, which speaks SFTP.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::version_of;
use crate::clients::matrix::{Did, Program};
use crate::clients::site::Way;

pub struct Sftp;
pub struct Scp;

fn sftp(way: &Way<'_>, batch: &str) -> Did {
    let mut command = way.command("sftp");
    command.arg("-F").arg(way.site.path("ssh_config")).args(["-P", &way.port.to_string(), "-b", "-", "127.0.0.1"]);
    way.run(command, batch)
}

/// A name in a batch: quoted, and nothing in it a pattern.
fn name(path: impl AsRef<Path>) -> String {
    let path = path.as_ref().to_str().unwrap();
    format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Program for Sftp {
    fn title(&self) -> &'static str {
        "OpenSSH sftp"
    }
    fn version(&self) -> String {
        version_of("ssh", &["-V"])
    }
    fn put(&self, way: &Way<'_>, local: &Path, remote: &str) -> Did {
        sftp(way, &format!("put {} {}\n", name(local), name(remote)))
    }
    fn put_many(&self, way: &Way<'_>, locals: &[PathBuf], directory: &str) -> Did {
        let mut batch = format!("cd {directory}\n");
        for local in locals {
            let _ = writeln!(batch, "put {}", name(local));
        }
        sftp(way, &batch)
    }
    fn resume(&self, way: &Way<'_>, local: &Path, remote: &str) -> Option<Did> {
        Some(sftp(way, &format!("reput {} {}\n", name(local), name(remote))))
    }
    fn put_and_rename(&self, way: &Way<'_>, local: &Path, working: &str, remote: &str) -> Option<Did> {
        Some(sftp(way, &format!("put {} {working}\nrename {working} {remote}\n", name(local))))
    }
    fn put_with_times(&self, way: &Way<'_>, local: &Path, remote: &str) -> Option<Did> {
        Some(sftp(way, &format!("put -p {} {}\n", name(local), name(remote))))
    }
    fn list(&self, way: &Way<'_>, directory: &str) -> Option<Did> {
        Some(sftp(way, &format!("cd {directory}\npwd\nls -l\ndf -h\n")))
    }
    fn get(&self, way: &Way<'_>, remote: &str, local: &Path) -> Did {
        sftp(way, &format!("get {} {}\n", name(remote), name(local)))
    }
}

fn scp(way: &Way<'_>, options: &[&str], words: &[&Path]) -> Did {
    let mut command = way.command("scp");
    command.arg("-F").arg(way.site.path("ssh_config")).args(["-P", &way.port.to_string()]).args(options).args(words);
    way.run(command, "")
}

fn at(remote: &str) -> PathBuf {
    format!("127.0.0.1:{remote}").into()
}

impl Program for Scp {
    fn title(&self) -> &'static str {
        "OpenSSH scp"
    }
    fn version(&self) -> String {
        version_of("ssh", &["-V"])
    }
    fn put(&self, way: &Way<'_>, local: &Path, remote: &str) -> Did {
        scp(way, &[], &[local, &at(remote)])
    }
    fn put_many(&self, way: &Way<'_>, locals: &[PathBuf], directory: &str) -> Did {
        let directory = at(&format!("{directory}/"));
        let words: Vec<&Path> = locals.iter().chain([&directory]).map(PathBuf::as_path).collect();
        scp(way, &[], &words)
    }
    fn resume(&self, _: &Way<'_>, _: &Path, _: &str) -> Option<Did> {
        None
    }
    fn put_and_rename(&self, _: &Way<'_>, _: &Path, _: &str, _: &str) -> Option<Did> {
        None
    }
    fn put_with_times(&self, way: &Way<'_>, local: &Path, remote: &str) -> Option<Did> {
        Some(scp(way, &["-p"], &[local, &at(remote)]))
    }
    fn list(&self, _: &Way<'_>, _: &str) -> Option<Did> {
        None
    }
    fn get(&self, way: &Way<'_>, remote: &str, local: &Path) -> Did {
        scp(way, &[], &[&at(remote), local])
    }
}
