//! The real clamd, with one signature of the tests' own: what it finds is [`MARK`], and nothing harmful.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{TempDir, eventually};

/// What the signature matches, anywhere in a file.
pub const MARK: &str = "NIGHTSAFE-TEST-MALWARE-MARK-6f1d";

/// A clamd of the test's own; killed when it goes out of scope.
pub struct Clamd {
    child: Child,
    socket: PathBuf,
    _dir: TempDir,
}

impl Clamd {
    /// Starts one that takes streams of up to `most` bytes (StreamMaxLength), and waits until it answers.
    pub fn start(most: u64) -> Self {
        // In the short temporary directory: a socket's path has at most 107 bytes.
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        let database = at.join("signatures");
        std::fs::create_dir(&database).unwrap();
        let hex = data_encoding::HEXLOWER.encode(MARK.as_bytes());
        std::fs::write(database.join("tests.ndb"), format!("Nightsafe.Test.Mark:0:*:{hex}\n")).unwrap();
        let socket = at.join("clamd.ctl");
        let shown =
            [("LocalSocket", &socket), ("DatabaseDirectory", &database), ("TemporaryDirectory", &at.to_path_buf())];
        let mut config: String = shown.iter().map(|(key, path)| format!("{key} {}\n", path.display())).collect();
        // Run as root it would change to a user who may not read the directory.
        config += &format!("User {}\nForeground yes\nStreamMaxLength {most}\nAlertExceedsMax yes\n", user());
        std::fs::write(at.join("clamd.conf"), config).unwrap();
        let log = std::fs::File::create(at.join("log")).unwrap();
        let mut child = Command::new("/usr/sbin/clamd")
            .arg("--config-file")
            .arg(at.join("clamd.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("clamd starts: tests/run installs Debian's clamav-daemon");
        eventually("clamd answers", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("clamd ended, {status}: {}", std::fs::read_to_string(at.join("log")).unwrap());
            }
            answers(&socket).then_some(())
        });
        Self { child, socket, _dir: dir }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// SIGKILL, in the middle of whatever it does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Clamd {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn answers(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut answer = Vec::new();
    stream.write_all(b"zPING\0").is_ok() && stream.read_to_end(&mut answer).is_ok() && answer == b"PONG\0"
}
