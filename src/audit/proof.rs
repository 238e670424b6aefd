//! Proofs as files (c2sp.org/tlog-proof@v1): an entry's place in the log, its inclusion proof and the checkpoint.
//!
//! Strict: each proof has one spelling, and a file that differs from it in one bit is none. What `extra` holds in a proof of
//! this gateway is `evidence`'s. Does no input or output.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;

use super::checkpoint::{Checkpoint, parse_number};
use super::note::{NOTE_MAX, VerifierKey};
use super::tree::{Hash, Wrong, verify_inclusion};
use crate::types::Invalid;

/// The first line of each proof.
pub const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// Most bytes in a proof file that is parsed.
pub const PROOF_MAX: usize = EXTRA_MAX / 3 * 4 + NOTE_MAX + 8 * 1024;
/// Most bytes of extra data.
pub const EXTRA_MAX: usize = 384 * 1024;
/// Most hashes in an inclusion proof: the tree's height.
const HASHES_MAX: usize = 64;

/// A proof, parsed and not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Not authenticated by itself.
    pub extra: Option<Vec<u8>>,
    /// The entry's number, from 0.
    pub index: u64,
    /// From the entry's sibling up to the root's child.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint, as it was issued.
    pub checkpoint: String,
}

impl Proof {
    /// Verifies the checkpoint's signature by the log's key, and that the entry is in its tree.
    ///
    /// # Errors
    /// Says what does not hold.
    pub fn verify(&self, leaf: &Hash, key: &VerifierKey) -> Result<Checkpoint, Wrong> {
        let checkpoint = Checkpoint::verify(&self.checkpoint, key)?;
        verify_inclusion(leaf, self.index, checkpoint.size, &self.hashes, &checkpoint.root)?;
        Ok(checkpoint)
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", BASE64.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for Proof {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = |what: String| Invalid(format!("this is no proof (c2sp.org/tlog-proof@v1): {what}"));
        if text.len() > PROOF_MAX {
            return Err(wrong(format!("it has more than {PROOF_MAX} bytes")));
        }
        let (head, checkpoint) =
            text.split_once("\n\n").ok_or_else(|| wrong("no empty line stands before a checkpoint".into()))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(wrong(format!("its first line is not {HEADER}")));
        }
        let extra = match lines.next_if(|line| line.starts_with("extra ")) {
            None => None,
            Some(line) => {
                let extra = BASE64.decode(&line.as_bytes()["extra ".len()..]);
                let extra = extra.ok().filter(|extra| !extra.is_empty() && extra.len() <= EXTRA_MAX);
                Some(extra.ok_or_else(|| wrong("its extra data is not base64, empty, or too much".into()))?)
            }
        };
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index =
            parse_number(index.ok_or_else(|| wrong("the line with the index is not where it belongs".into()))?)?;
        let hashes = lines.take(HASHES_MAX + 1).map(str::parse).collect::<Result<Vec<Hash>, _>>()?;
        if hashes.len() > HASHES_MAX {
            return Err(wrong(format!("it has more than {HASHES_MAX} hashes")));
        }
        Checkpoint::read(checkpoint)?;
        Ok(Self { extra, index, hashes, checkpoint: checkpoint.to_owned() })
    }
}
