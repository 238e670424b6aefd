//! Directories whose entries survive a power cut, and errors that name their path. Called by the vault only.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// Adds the path to an error, keeping its kind.
pub(super) fn context(path: &Path) -> impl Fn(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Makes sure of a directory with mode 0700, and of its name in its parent. One that others could read is closed to them.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    make_unsynced(path)?;
    // Also when it was there: whoever made it may have been killed before this.
    sync_directory(parent(path))
}

/// The same, but its name may not survive a power cut until the caller synced its parent.
pub(super) fn make_unsynced(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {
            let mode = fs::metadata(path).map_err(context(path))?.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                tracing::warn!(path = %path.display(), mode = format!("{mode:o}"), "others could enter this directory; it is closed to them");
                fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(context(path))?;
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && !parent(path).exists() => {
            make_directory(parent(path))?;
            return make_unsynced(path);
        }
        Err(error) => return Err(context(path)(error)),
    }
    Ok(())
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// fsync of a directory: its entries are on the disk when this returns.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(context(path))
}
