//! sshfs: the gateway as a directory of this machine, mounted for each task as a person would for a job.
//!
//! Needs FUSE: where there is no /dev/fuse the row fails, and says so.

use std::path::{Path, PathBuf};

use super::version_of;
use crate::clients::matrix::{Did, Program};
use crate::clients::site::Way;

pub struct Sshfs;

/// Mounts, and runs `script` with `words` (`$1` and on).
///
/// A program's `close` does not wait for sshfs, and unmounting drops what sshfs has not taken yet, so who unmounts at once
/// may lose the CLOSE. With `-s` sshfs takes one request after another: when a look at a name that nothing remembers was
/// answered, each CLOSE before it has been sent.
const MOUNTED: &str = r#"
mnt=mnt; script=$1; config=$2; port=$3; shift 3
mkdir -p "$mnt"
sshfs -s -F "$config" -o Port="$port" 127.0.0.1:/ "$mnt" || exit
eval "$script"
status=$?
stat "$mnt/all-closed" >/dev/null 2>&1
exit "$status"
"#;

fn mounted(way: &Way<'_>, script: &str, words: &[&Path]) -> Did {
    assert!(Path::new("/dev/fuse").exists(), "not possible on this machine: no /dev/fuse (modprobe fuse, or mknod it)");
    let mut command = way.command("bash");
    command.args(["-c", MOUNTED, "sshfs", script]);
    command.arg(way.site.path("ssh_config")).arg(way.port.to_string()).args(words);
    let did = way.run(command, "");
    // Where the connection was cut: the gateway has noticed, and kept the draft.
    way.site.await_nothing_under_way();
    let mut unmount = way.command("fusermount3");
    unmount.args(["-uz", "mnt"]);
    way.run(unmount, "");
    did
}

impl Program for Sshfs {
    fn title(&self) -> &'static str {
        "sshfs"
    }
    fn version(&self) -> String {
        version_of("bash", &["-c", "sshfs --version | grep -i 'sshfs version'"])
    }
    fn put(&self, way: &Way<'_>, local: &Path, remote: &str) -> Did {
        mounted(way, r#"cp "$1" "$mnt$2""#, &[local, Path::new(remote)])
    }
    fn put_many(&self, way: &Way<'_>, locals: &[PathBuf], directory: &str) -> Did {
        let words: Vec<&Path> = [Path::new(directory)].into_iter().chain(locals.iter().map(PathBuf::as_path)).collect();
        mounted(way, r#"to=$mnt$1; shift; cp "$@" "$to""#, &words)
    }
    fn resume(&self, way: &Way<'_>, local: &Path, remote: &str) -> Option<Did> {
        let script = r#"size=$(stat -c %s "$mnt$2") && tail -c +$((size + 1)) "$1" >>"$mnt$2""#;
        Some(mounted(way, script, &[local, Path::new(remote)]))
    }
    fn put_and_rename(&self, way: &Way<'_>, local: &Path, working: &str, remote: &str) -> Option<Did> {
        let script = r#"cp "$1" "$mnt$2" && mv "$mnt$2" "$mnt$3""#;
        Some(mounted(way, script, &[local, Path::new(working), Path::new(remote)]))
    }
    fn put_with_times(&self, way: &Way<'_>, local: &Path, remote: &str) -> Option<Did> {
        Some(mounted(way, r#"mkdir -p "$mnt/bulk" && cp -p "$1" "$mnt$2""#, &[local, Path::new(remote)]))
    }
    fn list(&self, way: &Way<'_>, directory: &str) -> Option<Did> {
        Some(mounted(way, r#"ls -la "$mnt$1" && df "$mnt""#, &[Path::new(directory)]))
    }
    fn get(&self, way: &Way<'_>, remote: &str, local: &Path) -> Did {
        mounted(way, r#"cp "$mnt$1" "$2""#, &[Path::new(remote), local])
    }
}
