//! The published log as a stranger reads it: with Cloudflare's `signed_note` and `tlog_tiles` and the log's key, and
//! nothing of Nightsafe.

use std::path::{Path, PathBuf};

use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{
    Checkpoint, Error, Hash, HashReader, Tile, TileHashReader, TileReader, check_tree, prove_tree, record_hash,
    stored_hash_index, tree_hash,
};

use crate::harness::keys;

pub struct Published {
    pub size: u64,
    pub root: Hash,
    pub entries: Vec<String>,
    directory: PathBuf,
}

struct Files<'a>(&'a Path);

impl Files<'_> {
    /// A partial tile may have gone since the checkpoint was read; the full one then begins with it.
    fn read(&self, tile: &Tile) -> Option<Vec<u8>> {
        let path = tile.path().replace("tile/8/data/", "tile/entries/").replace("tile/8/", "tile/");
        let full = path.split(".p/").next().unwrap();
        std::fs::read(self.0.join(&path)).or_else(|_| std::fs::read(self.0.join(full))).ok()
    }
}

impl TileReader for Files<'_> {
    fn height(&self) -> u8 {
        8
    }
    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        let read = |tile: &Tile| {
            let mut bytes = self.read(tile).unwrap_or_else(|| panic!("{} is not published", tile.path()));
            bytes.truncate(tile.width() as usize * 32);
            bytes
        };
        Ok(tiles.iter().map(read).collect())
    }
    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

/// Verifies a checkpoint's signature by the log's key.
pub fn checkpoint(note: &[u8], key: &str) -> Result<Checkpoint, String> {
    let note = Note::from_bytes(note).map_err(|error| error.to_string())?;
    let verifier = StandardVerifier::new(key).map_err(|error| error.to_string())?;
    note.verify(&VerifierList::new(vec![Box::new(verifier)])).map_err(|error| error.to_string())?;
    Checkpoint::from_bytes(note.text()).map_err(|error| error.to_string())
}

impl Published {
    /// Reads and verifies all of it; none while nothing is published.
    pub fn read(directory: &Path) -> Option<Self> {
        let note = std::fs::read(directory.join("checkpoint")).ok()?;
        let checkpoint = checkpoint(&note, &keys().verifier()).unwrap();
        let (size, root) = (checkpoint.size(), *checkpoint.hash());
        let files = Files(directory);
        let hashes = TileHashReader::new(size, root, &files);
        assert_eq!(tree_hash(size, &hashes).unwrap().0, root.0);
        let mut entries = Vec::new();
        while (entries.len() as u64) < size {
            let n = entries.len() as u64 / 256;
            let width = (size - n * 256).min(256) as u32;
            let bundle = files.read(&Tile::new(8, 0, n, width, true)).expect("the entries are published");
            let mut rest = &bundle[..];
            for _ in 0..width {
                let (length, behind) = rest.split_first_chunk::<2>().unwrap();
                let (entry, behind) = behind.split_at(usize::from(u16::from_be_bytes(*length)));
                let index = stored_hash_index(0, entries.len() as u64);
                // Proven to be in the checkpoint's tree before it is given out.
                assert_eq!(hashes.read_hashes(&[index]).unwrap()[0].0, record_hash(entry).0);
                entries.push(String::from_utf8(entry.to_vec()).unwrap());
                rest = behind;
            }
        }
        Some(Self { size, root, entries, directory: directory.to_owned() })
    }

    /// This log begins with what was published before.
    pub fn continues(&self, before: &Published) {
        assert!(self.size > before.size);
        assert_eq!(self.entries[..before.entries.len()], before.entries);
        let files = Files(&self.directory);
        let proof = prove_tree(self.size, before.size, &TileHashReader::new(self.size, self.root, &files)).unwrap();
        check_tree(&proof, self.size, self.root, before.size, before.root).unwrap();
    }
}
