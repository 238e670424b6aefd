//! The directory that a web server shows: files that come whole or not at all, and never change.
//!
//! Blocking. Must never replace a tile by another one, nor leave a checkpoint whose tiles may not be on the disk. Everyone
//! may read what is written here. Called by `tiles`.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::audit::note::NOTE_MAX;
use crate::audit::tiles::Tile;
use crate::audit::tree::TILE_WIDTH;

/// What became of a file that should stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// It was there, word for word.
    Stood,
    Written,
    /// Another one was there, and still is.
    Differs,
}

#[derive(Debug, Clone)]
pub(super) struct Directory(PathBuf);

impl Directory {
    /// Makes the directory if it is missing.
    pub fn open(path: &Path) -> io::Result<Self> {
        make(path)?;
        Ok(Self(path.to_owned()))
    }

    /// The published checkpoint, if there is one.
    pub fn checkpoint(&self) -> io::Result<Option<String>> {
        let path = self.0.join("checkpoint");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(context(&path)(error)),
        };
        let mut text = Vec::new();
        file.take(NOTE_MAX as u64 + 1).read_to_end(&mut text).map_err(context(&path))?;
        // What is no text is no checkpoint either, which the caller tells.
        Ok(Some(String::from_utf8_lossy(&text).into_owned()))
    }

    /// Makes sure of a tile. Durable on return, with [`Directory::sync`].
    pub fn put(&self, tile: Tile, content: &[u8]) -> io::Result<Put> {
        let path = self.0.join(tile.path());
        match fs::read(&path) {
            Ok(there) if there == content => return Ok(Put::Stood),
            Ok(_) => return Ok(Put::Differs),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(context(&path)(error)),
        }
        write(&path, content)?;
        Ok(Put::Written)
    }

    /// The widths of the partial tiles that stand in this one's place.
    pub fn widths(&self, tile: Tile) -> io::Result<Vec<u16>> {
        let full = Tile { width: TILE_WIDTH as u16, ..tile };
        let path = self.0.join(format!("{}.p", full.path()));
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(context(&path)(error)),
        };
        let mut widths = Vec::new();
        for entry in entries {
            // Whatever else is there is no tile.
            let name = entry.map_err(context(&path))?.file_name();
            let width =
                name.to_str().and_then(|name| name.parse::<u16>().ok().filter(|width| width.to_string() == name));
            widths.extend(width.filter(|width| (1..TILE_WIDTH as u16).contains(width)));
        }
        widths.sort_unstable();
        Ok(widths)
    }

    /// Makes the names of these tiles durable.
    pub fn sync(&self, tiles: &[Tile]) -> io::Result<()> {
        let mut directories: Vec<PathBuf> = Vec::new();
        for tile in tiles {
            let path = self.0.join(tile.path());
            // Up to the root of it all: the directories between may be new too.
            directories.extend(path.ancestors().skip(1).take_while(|at| at.starts_with(&self.0)).map(Path::to_owned));
        }
        directories.sort_unstable();
        directories.dedup();
        directories.iter().try_for_each(|directory| sync_directory(directory))
    }

    /// Replaces the checkpoint, whose tiles are durable by now.
    pub fn publish(&self, checkpoint: &str) -> io::Result<()> {
        write(&self.0.join("checkpoint"), checkpoint.as_bytes())?;
        sync_directory(&self.0)
    }

    /// Removes the partial tiles that a full one has made needless.
    pub fn prune(&self, full: Tile) -> io::Result<()> {
        let path = self.0.join(format!("{}.p", full.path()));
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(context(&path)(error)),
            _ => Ok(()),
        }
    }
}

/// Adds the path to an error, keeping its kind.
fn context(path: &Path) -> impl Fn(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Writes a file beside its place and moves it there.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    make(parent)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The same name each time: what a crash left is overwritten. The dot keeps it out of web servers' listings.
    let new = parent.join(format!(".{name}.new"));
    let written = || {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o644).open(&new)?;
        file.write_all(content)?;
        // Whatever the umask says: it is there to be read.
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().map_err(context(path))
}

/// Makes a directory that everyone may enter, and those above it that are missing. One that is there stays as it is.
fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make(parent)?;
    }
    match DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(context(path)(error)),
        Err(_) => Ok(()),
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(context(path)),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(context(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tiles::Content;

    #[test]
    fn a_tile_is_written_once_readable_by_all_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(&folder.path().join("public/audit")).unwrap();
        let tile = Tile { content: Content::Hashes { level: 0 }, n: 1_234_067, width: 3 };
        assert_eq!(directory.put(tile, b"abc").unwrap(), Put::Written);
        assert_eq!(directory.put(tile, b"abc").unwrap(), Put::Stood);
        assert_eq!(directory.put(tile, b"abd").unwrap(), Put::Differs);
        directory.sync(&[tile]).unwrap();
        let path = folder.path().join("public/audit/tile/0/x001/x234/067.p/3");
        assert_eq!(fs::read(&path).unwrap(), b"abc");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::metadata(folder.path().join("public")).unwrap().permissions().mode() & 0o777, 0o755);
        // What a crash left half written is no hindrance.
        fs::write(path.with_file_name(".4.new"), b"half").unwrap();
        assert_eq!(directory.put(Tile { width: 4, ..tile }, b"abcd").unwrap(), Put::Written);
        assert_eq!(directory.widths(tile).unwrap(), [3, 4]);
        directory.prune(Tile { width: 256, ..tile }).unwrap();
        assert_eq!(directory.widths(tile).unwrap(), [0; 0]);
        directory.prune(Tile { width: 256, ..tile }).unwrap();
        assert!(!path.parent().unwrap().exists());
    }

    #[test]
    fn the_checkpoint_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        assert_eq!(directory.checkpoint().unwrap(), None);
        for text in ["one\n", "another\n"] {
            directory.publish(text).unwrap();
            assert_eq!(directory.checkpoint().unwrap().as_deref(), Some(text));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
