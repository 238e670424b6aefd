//! The spool key: what seals the tickets of drafts. In `<runtime>/spool.key`, so that a daemon that was killed, or started
//! anew, goes on with its drafts.
//!
//! Must never reach a disk: it is kept only where the runtime directory is in memory. Called by the composition root.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, bail};
use rustix::fs::statfs;

use crate::intake::SpoolKey;

/// `f_type` of file systems that live in memory (statfs(2)).
const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;

/// Whether a directory is in memory: gone with the power, and on no disk (but for swap).
///
/// # Errors
/// It is not there, or does not say.
pub fn is_in_memory(directory: &Path) -> std::io::Result<bool> {
    let kind = statfs(directory)?.f_type;
    #[allow(
        clippy::cast_sign_loss,
        reason = "the kernel's number of a file system, whatever type the platform gives it"
    )]
    let kind = kind as u64 & 0xffff_ffff;
    Ok(kind == TMPFS || kind == RAMFS)
}

/// The key that was kept by an earlier start, or a new one, kept for the next.
///
/// # Errors
/// The file is not what this makes, or cannot be read or written.
pub fn keep(runtime: &Path) -> anyhow::Result<SpoolKey> {
    let path = runtime.join("spool.key");
    if !is_in_memory(runtime).with_context(|| format!("cannot look at {}", runtime.display()))? {
        tracing::warn!(
            path = %runtime.display(),
            "the runtime directory is on a disk, where the key to unfinished uploads must never be: they will not outlive \
             this process. Put [paths] runtime on a tmpfs, such as /run/nightsafe"
        );
        // One that lies there from a time when it was a tmpfs, or was copied there.
        let _ = std::fs::remove_file(&path);
        return Ok(SpoolKey::generate()?);
    }
    match File::open(&path) {
        Ok(file) => read(file)
            .with_context(|| format!("{} cannot be used: remove it, and unfinished uploads with it", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let key = SpoolKey::generate()?;
            write(&path, &key).with_context(|| format!("cannot write {}", path.display()))?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn read(mut file: File) -> anyhow::Result<SpoolKey> {
    let about = file.metadata()?;
    if about.mode() & 0o077 != 0 || about.uid() != rustix::process::geteuid().as_raw() {
        bail!("others may have read it");
    }
    let mut key = zeroize::Zeroizing::new([0; SpoolKey::LEN]);
    if about.len() != SpoolKey::LEN as u64 {
        bail!("it is no spool key");
    }
    file.read_exact(&mut key[..])?;
    Ok(SpoolKey::new(key))
}

/// Whole or not at all: half a key would be taken for one that was lost.
fn write(path: &Path, key: &SpoolKey) -> std::io::Result<()> {
    let new = path.with_extension("key.new");
    let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    file.write_all(key.bytes())?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn in_memory_the_key_is_kept_and_on_a_disk_it_never_is() {
        let shm = Path::new("/dev/shm");
        assert!(is_in_memory(shm).unwrap() && !is_in_memory(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap());
        let memory = tempfile::tempdir_in(shm).unwrap();
        let first = keep(memory.path()).unwrap();
        let file = memory.path().join("spool.key");
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert!(first.bytes() == keep(memory.path()).unwrap().bytes());
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(keep(memory.path()).is_err(), "others may have read it");
        std::fs::write(&file, b"short").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(keep(memory.path()).is_err());

        let disk = tempfile::tempdir_in(concat!(env!("CARGO_MANIFEST_DIR"), "/target")).unwrap();
        std::fs::write(disk.path().join("spool.key"), [1; SpoolKey::LEN]).unwrap();
        let (one, other) = (keep(disk.path()).unwrap(), keep(disk.path()).unwrap());
        assert!(one.bytes() != other.bytes());
        assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 0);
    }
}
