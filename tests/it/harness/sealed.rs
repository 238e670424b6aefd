//! Whether a pair of key and nonce was ever used twice: seen from the disk, over time.
//!
//! Each age file is known by its header, which holds its file key wrapped. A chunk's nonce is its number: so a chunk that
//! was seen must stay what it was, for ever, wherever its file went. And no two files may have one key: tickets tell the
//! keys of drafts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};

use super::files_under;

const CHUNK: usize = 64 * 1024 + 16;

type Hash = [u8; 32];

#[derive(Default)]
pub struct Sealed {
    /// By header: the whole chunks that were seen.
    chunks: BTreeMap<Hash, Vec<Hash>>,
    /// By key: whose file it is.
    keys: BTreeMap<Vec<u8>, String>,
    /// Objects of the vault that were looked at: once is enough until the end.
    objects: BTreeSet<String>,
}

fn hash(bytes: &[u8]) -> Hash {
    digest(&SHA256, bytes).as_ref().try_into().unwrap()
}

impl Sealed {
    /// Looks at the files of a state directory, and at the tickets' keys.
    pub fn look(&mut self, state: &Path, spool_key: &Path) {
        let mut now = BTreeMap::new();
        for file in files_under(state) {
            // A running daemon removes and renames.
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            if self.objects.contains(&name) {
                continue;
            }
            let Ok(bytes) = std::fs::read(&file) else { continue };
            if file.starts_with(state.join("vault")) {
                self.objects.insert(name.clone());
            }
            match name.rsplit('.').next() {
                Some("age") => {
                    let Some(header) = header(&bytes) else { continue };
                    let key = hash(&bytes[..header]);
                    if let Some(other) = now.insert(key, name.clone()) {
                        panic!("{name} and {other} have one header");
                    }
                    let seen = self.chunks.entry(key).or_default();
                    for (index, chunk) in bytes[header..].chunks_exact(CHUNK).enumerate() {
                        let chunk = hash(chunk);
                        match seen.get(index) {
                            Some(before) => assert!(*before == chunk, "chunk {index} of {name} was sealed twice"),
                            None => seen.push(chunk),
                        }
                    }
                }
                Some("ticket") => self.ticket(&bytes, &std::fs::read(spool_key).unwrap()),
                _ => {}
            }
        }
    }

    fn ticket(&mut self, ticket: &[u8], spool_key: &[u8]) {
        let line = ticket.iter().position(|byte| *byte == b'\n').unwrap();
        let (line, rest) = (&ticket[..line], &ticket[line + 1..]);
        let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, spool_key).unwrap());
        let nonce = Nonce::assume_unique_for_key(rest[..12].try_into().unwrap());
        let mut keys = rest[12..].to_vec();
        let keys = key.open_in_place(nonce, Aad::from(line), &mut keys).expect("the ticket opens");
        let facts: serde_json::Value = serde_json::from_slice(line).unwrap();
        let segments = facts["segments"].as_array().unwrap();
        assert_eq!(keys.len(), segments.len() * 32);
        for (segment, key) in segments.iter().zip(keys.chunks(32)) {
            let file = format!("{}.{}", facts["upload"].as_str().unwrap(), segment["number"]);
            let before = self.keys.entry(key.to_vec()).or_insert_with(|| file.clone());
            assert_eq!(*before, file, "two files have one key");
        }
    }

    /// The same, with every object of the vault once more.
    pub fn look_again(&mut self, state: &Path, spool_key: &Path) {
        self.objects.clear();
        self.look(state, spool_key);
    }

    pub fn files(&self) -> usize {
        self.chunks.len()
    }
    pub fn chunks(&self) -> usize {
        self.chunks.values().map(Vec::len).sum()
    }
}

/// Bytes before the first chunk: the header ends with the line of its MAC, then come 16 bytes of nonce (age v1).
fn header(bytes: &[u8]) -> Option<usize> {
    let mac = bytes.windows(4).position(|window| window == b"\n---")?;
    let end = mac + 1 + bytes[mac + 1..].iter().position(|byte| *byte == b'\n')? + 1 + 16;
    (end <= bytes.len()).then_some(end)
}
