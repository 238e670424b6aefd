//! lftp, which runs `ssh` and speaks SFTP itself.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::version_of;
use crate::clients::matrix::{Did, Program};
use crate::clients::site::Way;

pub struct Lftp;

fn command(way: &Way<'_>, commands: &str) -> Command {
    let script = format!(
        "set cmd:fail-exit yes\nset net:max-retries 3\nset net:reconnect-interval-base 1\nset sftp:connect-program \"ssh -a -x -F {}\"\n\
         open -p {} sftp://harbour-nightly:@127.0.0.1\n{commands}",
        way.site.path("ssh_config").display(),
        way.port
    );
    let file = way.site.path("lftp-script");
    std::fs::write(&file, script).unwrap();
    let mut command = way.command("lftp");
    command.arg("-f").arg(file);
    command
}

fn lftp(way: &Way<'_>, commands: &str) -> Did {
    way.run(command(way, commands), "")
}

/// An upload.
pub fn putting(way: &Way<'_>, local: &Path, remote: &str) -> Command {
    command(way, &format!("put {} -o {}\n", name(local), name(remote)))
}

fn name(path: impl AsRef<Path>) -> String {
    format!("\"{}\"", path.as_ref().to_str().unwrap().replace('\\', "\\\\").replace('"', "\\\""))
}

impl Program for Lftp {
    fn title(&self) -> &'static str {
        "lftp"
    }
    fn version(&self) -> String {
        version_of("lftp", &["--version"])
    }
    fn put(&self, way: &Way<'_>, local: &Path, remote: &str) -> Did {
        lftp(way, &format!("put {} -o {}\n", name(local), name(remote)))
    }
    fn put_many(&self, way: &Way<'_>, locals: &[PathBuf], directory: &str) -> Did {
        let mut commands = format!("mput -O {directory}");
        for local in locals {
            let _ = write!(commands, " {}", name(local));
        }
        lftp(way, &(commands + "\n"))
    }
    fn resume(&self, way: &Way<'_>, local: &Path, remote: &str) -> Option<Did> {
        Some(lftp(way, &format!("put -c {} -o {}\n", name(local), name(remote))))
    }
    /// Under lftp's own working name, `.in.NAME.`.
    fn put_and_rename(&self, way: &Way<'_>, local: &Path, _: &str, remote: &str) -> Option<Did> {
        Some(lftp(way, &format!("set xfer:use-temp-file yes\nput {} -o {}\n", name(local), name(remote))))
    }
    /// `mirror -R` sets times, `put` does not.
    fn put_with_times(&self, way: &Way<'_>, local: &Path, remote: &str) -> Option<Did> {
        let (directory, file) = (local.parent().unwrap(), local.file_name().unwrap().to_str().unwrap());
        let to = remote.rsplit_once('/').unwrap().0;
        Some(lftp(way, &format!("mirror -R -r --no-perms -i '^{file}$' {} {to}\n", name(directory))))
    }
    fn list(&self, way: &Way<'_>, directory: &str) -> Option<Did> {
        Some(lftp(way, &format!("cd {directory}\npwd\nls\n")))
    }
    fn get(&self, way: &Way<'_>, remote: &str, local: &Path) -> Did {
        lftp(way, &format!("set xfer:clobber yes\nget {} -o {}\n", name(remote), name(local)))
    }
}
