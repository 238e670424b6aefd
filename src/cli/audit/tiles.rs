//! A copy of the published log in a folder (c2sp.org/tlog-tiles), read for `verify --tiles`.

use std::path::{Path, PathBuf};

use super::super::outcome::Stop;
use crate::audit::tiles::{Content, Tile, decode_hashes};
use crate::audit::{Checkpoint, Hash};
use crate::ledger::LeafCopy;
use crate::types::Invalid;

/// Leaves in a tile.
const WIDTH: u64 = 256;

pub(super) struct Copy {
    folder: PathBuf,
    /// The checkpoint beside the tiles, as it stands.
    pub note: String,
    /// Leaves that it says there are.
    pub size: u64,
}

impl Copy {
    /// # Errors
    /// There is no published log in the folder.
    pub fn open(folder: &Path) -> Result<Self, Stop> {
        let file = folder.join("checkpoint");
        let note = std::fs::read_to_string(&file).map_err(|error| {
            Stop::Usage(format!("{} cannot be read: {error}; name the folder that `tiles` names", file.display()))
        })?;
        let (checkpoint, _) =
            Checkpoint::read(&note).map_err(|error| Stop::Usage(format!("{}: {error}", file.display())))?;
        Ok(Self { folder: folder.to_owned(), note, size: checkpoint.size })
    }

    pub fn leaves(self) -> LeafCopy {
        let Self { folder, size, .. } = self;
        LeafCopy { size, hashes: Box::new(move |first, count| read(&folder, size, first, count)) }
    }
}

/// Leaf hashes from a multiple of 256 on, at most 256 of them.
fn read(folder: &Path, size: u64, first: u64, count: usize) -> Result<Vec<Hash>, Invalid> {
    // At most 256, which fits.
    let width = size.saturating_sub(first).min(WIDTH) as u16;
    let tile = Tile { content: Content::Hashes { level: 0 }, n: first / WIDTH, width };
    let file = folder.join(tile.path());
    let bytes = match std::fs::read(&file) {
        Ok(bytes) => bytes,
        // A copy that was made while the log grew may have the tile whole already.
        Err(_) if width < WIDTH as u16 => {
            let whole = folder.join(Tile { width: WIDTH as u16, ..tile }.path());
            let mut bytes = std::fs::read(&whole).map_err(|error| Invalid(format!("{}: {error}", file.display())))?;
            bytes.truncate(usize::from(width) * 32);
            bytes
        }
        Err(error) => return Err(Invalid(format!("{}: {error}", file.display()))),
    };
    let mut hashes =
        decode_hashes(&bytes, width).map_err(|Invalid(why)| Invalid(format!("{}: {why}", file.display())))?;
    hashes.truncate(count);
    Ok(hashes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tiles::encode_hashes;

    #[test]
    fn hashes_are_read_from_whole_and_partial_tiles() {
        let folder = tempfile::tempdir().unwrap();
        let hashes: Vec<Hash> = (0..300u16).map(|n| Hash([(n % 251) as u8; 32])).collect();
        let put = |n, width: u16, hashes: &[Hash]| {
            let file = folder.path().join(Tile { content: Content::Hashes { level: 0 }, n, width }.path());
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, encode_hashes(hashes)).unwrap();
        };
        put(0, 256, &hashes[..256]);
        put(1, 44, &hashes[256..]);
        assert_eq!(read(folder.path(), 300, 0, 256).unwrap(), hashes[..256]);
        assert_eq!(read(folder.path(), 300, 256, 44).unwrap(), hashes[256..]);
        assert_eq!(read(folder.path(), 300, 256, 10).unwrap(), hashes[256..266]);
        assert_eq!(read(folder.path(), 100, 0, 100).unwrap(), hashes[..100], "a whole tile serves for a part");
        assert!(read(folder.path(), 600, 512, 88).unwrap_err().0.contains("tile/0/002.p/88"));
        assert!(Copy::open(folder.path()).is_err_and(|stop| stop.to_string().contains("checkpoint")));
    }
}
