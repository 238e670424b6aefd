//! This daemon's presence on the machine: the lock on the state directory, and `listening.json` in the runtime directory.
//!
//! Must never let two daemons share a state directory. Called by the composition root;
//! commands ask whether it is there.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};

use super::private_dir;
use crate::config::Paths;

pub struct Presence {
    /// Held for as long as it is open; the kernel lets go of it whatever way the process ends.
    _lock: File,
    listening: PathBuf,
}

/// Whether a daemon has that state directory. One that starts at this very moment may be overlooked.
///
/// # Errors
/// The lock's file is there, and cannot be opened.
pub fn runs_on(state: &Path) -> std::io::Result<bool> {
    let lock = match File::open(state.join("lock")) {
        Ok(lock) => lock,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    // Shared, and let go of at once: who looks is in nobody's way but a start's, which tries again.
    Ok(flock(&lock, FlockOperation::NonBlockingLockShared).is_err())
}

/// How often a start tries for the lock, and the pause between: somebody may be looking whether it is held.
const TRIES: usize = 5;
const PAUSE: Duration = Duration::from_millis(20);

impl Presence {
    /// Makes the state and runtime directories, and takes the lock.
    ///
    /// # Errors
    /// Another daemon has the state directory, or it cannot be made.
    pub fn claim(paths: &Paths) -> anyhow::Result<Self> {
        private_dir(&paths.state)?;
        private_dir(&paths.runtime)?;
        let path = paths.state.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot open {}: run this as the user that owns it", path.display()))?;
        let mut tries = 1;
        while flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            if tries < TRIES {
                tries += 1;
                std::thread::sleep(PAUSE);
                continue;
            }
            bail!(
                "another nightsafe has the state directory {}: stop it first, or give this one a directory of its own ([paths] state)",
                paths.state.display()
            );
        }
        Ok(Self { _lock: lock, listening: paths.runtime.join("listening.json") })
    }

    /// Writes `listening.json`, `{"pid":…,"addresses":[…]}`, for scripts: a listener on port 0 has its real port here.
    pub fn announce(&self, addresses: &[SocketAddr]) -> anyhow::Result<()> {
        let text = serde_json::json!({ "pid": std::process::id(), "addresses": addresses }).to_string();
        std::fs::write(&self.listening, text + "\n")
            .with_context(|| format!("cannot write {}", self.listening.display()))
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        // A stale file misleads nobody for long: the next start writes it anew.
        let _ = std::fs::remove_file(&self.listening);
    }
}
