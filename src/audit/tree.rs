//! The Merkle tree of RFC 6962, section 2.1 (SHA-256): roots, inclusion and consistency proofs, made and verified.
//!
//! Pure: hashes come from whoever implements [`Nodes`], the ledger or a directory of tiles. A proof in a tree of a
//! million leaves reads three tiles. Nothing here knows what a leaf says.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use ring::digest;

use crate::types::Invalid;

/// Levels of the tree between one level of tiles and the next (c2sp.org/tlog-tiles): 256 hashes to a tile.
pub const TILE_HEIGHT: u32 = 8;
/// Hashes in a full tile.
pub const TILE_WIDTH: u64 = 1 << TILE_HEIGHT;
/// The largest tree: what SQLite's integers count. Its proofs have at most 63 hashes.
pub const SIZE_MAX: u64 = i64::MAX as u64;

/// Why something well-formed does not hold, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Wrong(pub String);

/// The hash of a leaf, of an inner node, or of the whole tree. Its text is standard base64, 44 characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(&self.0))
    }
}
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for Hash {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bytes = BASE64.decode(text.as_bytes()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        bytes.map(Self).ok_or_else(|| Invalid(format!("{text:?} is not a hash: 44 characters of base64")))
    }
}

fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    Hash(hash)
}

/// The hash of a leaf's bytes.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    sha256(&[&[0], leaf])
}

/// The hash of the node above two others.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], &left.0, &right.0])
}

/// The root of the tree without leaves.
pub fn empty_root() -> Hash {
    sha256(&[])
}

/// What a growing tree must remember: the roots of its complete subtrees, the largest first, one for each bit of the size
/// that is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    roots: Vec<Hash>,
}

impl Default for Frontier {
    fn default() -> Self {
        Self::new()
    }
}

impl Frontier {
    /// The empty tree.
    pub fn new() -> Self {
        Self { size: 0, roots: Vec::new() }
    }

    /// How many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf. `complete` is told of each subtree of two or more leaves that this completes, the smallest first:
    /// its level (it has 2^level leaves), its number among those of its level, its root.
    pub fn push(&mut self, leaf: Hash, mut complete: impl FnMut(u32, u64, Hash)) {
        let mut root = leaf;
        for level in 0..self.size.trailing_ones() {
            // There is a root for each bit that is set.
            let Some(left) = self.roots.pop() else { break };
            root = node_hash(&left, &root);
            complete(level + 1, self.size >> (level + 1), root);
        }
        self.roots.push(root);
        self.size += 1;
    }

    /// The root of the whole tree.
    pub fn root(&self) -> Hash {
        let joined = self.roots.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
        joined.unwrap_or_else(empty_root)
    }

    /// The roots, 32 bytes each, as [`Frontier::from_bytes`] takes them.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.roots.iter().flat_map(|root| root.0).collect()
    }

    /// # Errors
    /// The bytes are not those of a tree of this size.
    pub fn from_bytes(size: u64, bytes: &[u8]) -> Result<Self, Invalid> {
        let (roots, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() || roots.len() != size.count_ones() as usize || size > SIZE_MAX {
            let roots = size.count_ones();
            return Err(Invalid(format!(
                "a tree of {size} leaves has {roots} complete subtrees of 32 bytes each; there are {} bytes",
                bytes.len()
            )));
        }
        Ok(Self { size, roots: roots.iter().copied().map(Hash).collect() })
    }
}

/// A source of hashes of complete subtrees.
pub trait Nodes {
    /// It has [`Wrong`] for what is asked beyond the tree, and for a source that answers with too few hashes.
    type Error: From<Wrong>;

    /// The roots of `count` (1 to 256) neighbouring complete subtrees of 2^level leaves each, from number `first` on.
    /// Only levels 0 (leaf hashes), 8, 16, ... are asked for, and always one tile from its beginning: `first` is a
    /// multiple of 256.
    ///
    /// # Errors
    /// The source cannot be read, or has not got them all.
    fn hashes(&self, level: u32, first: u64, count: usize) -> Result<Vec<Hash>, Self::Error>;
}

/// The root of the tree's first `size` leaves.
///
/// # Errors
/// Those of the source.
pub fn root<N: Nodes + ?Sized>(nodes: &N, size: u64) -> Result<Hash, N::Error> {
    match size {
        0 => Ok(empty_root()),
        size => Reader::new(nodes, size).range(0, size),
    }
}

/// The proof that leaf number `index` (from 0) is in the tree of `size` leaves (RFC 6962, section 2.1.1): from the leaf's
/// sibling up to the root's child.
///
/// # Errors
/// There is no such leaf, and those of the source.
pub fn inclusion<N: Nodes + ?Sized>(nodes: &N, index: u64, size: u64) -> Result<Vec<Hash>, N::Error> {
    if index >= size {
        return Err(Wrong(format!("a tree of {size} leaves has no leaf number {index}")).into());
    }
    let mut reader = Reader::new(nodes, size);
    let mut proof = Vec::new();
    let (mut from, mut to) = (0, size);
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            proof.push(reader.range(middle, to)?);
            to = middle;
        } else {
            proof.push(reader.range(from, middle)?);
            from = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of `new` leaves begins with the tree of `old` leaves (RFC 6962, section 2.1.2). Empty when
/// they are the same, or `old` is 0.
///
/// # Errors
/// `old` is larger than `new`, and those of the source.
pub fn consistency<N: Nodes + ?Sized>(nodes: &N, old: u64, new: u64) -> Result<Vec<Hash>, N::Error> {
    if old > new {
        return Err(Wrong(format!("a tree of {new} leaves cannot begin with one of {old}")).into());
    }
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let mut reader = Reader::new(nodes, new);
    let mut proof = Vec::new();
    let (mut from, mut to) = (0, new);
    // Down to the subtree whose end is that of the old tree.
    while old != to {
        let middle = from + split(to - from);
        if old <= middle {
            proof.push(reader.range(middle, to)?);
            to = middle;
        } else {
            proof.push(reader.range(from, middle)?);
            from = middle;
        }
    }
    // The verifier knows the old root: it needs the subtree only where that is another one.
    if from > 0 {
        proof.push(reader.range(from, to)?);
    }
    proof.reverse();
    Ok(proof)
}

/// How many hashes the proof of a leaf has: known without reading any.
pub fn inclusion_length(index: u64, size: u64) -> usize {
    if index >= size {
        return 0;
    }
    let inner = u64::BITS - (index ^ (size - 1)).leading_zeros();
    (inner + (index >> inner).count_ones()) as usize
}

/// Verifies an inclusion proof (RFC 9162, section 2.1.3.2).
///
/// # Errors
/// Says what does not fit.
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> Result<(), Wrong> {
    if index >= size {
        return Err(Wrong(format!("the checkpoint's tree has {size} leaves: leaf number {index} is not in it")));
    }
    let length = inclusion_length(index, size);
    if proof.len() != length {
        let found = proof.len();
        return Err(Wrong(format!(
            "the proof has {found} hashes, where leaf {index} of a tree of {size} needs {length}"
        )));
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            // A node without a right neighbour stands for itself some levels up.
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    match hash == *root {
        true => Ok(()),
        false => Err(Wrong(format!("the proof does not lead from leaf {index} to the root of the checkpoint"))),
    }
}

/// Verifies a consistency proof (RFC 9162, section 2.1.4.2); the empty tree is the beginning of every tree.
///
/// # Errors
/// Says what does not fit.
pub fn verify_consistency(old: u64, old_root: &Hash, new: u64, new_root: &Hash, proof: &[Hash]) -> Result<(), Wrong> {
    let wrong = |what: String| Err(Wrong(what));
    if old > new {
        return wrong(format!("a tree of {new} leaves cannot begin with one of {old}"));
    }
    if old == 0 || old == new {
        let known = if old == 0 { empty_root() } else { *new_root };
        return match (proof.is_empty(), known == *old_root) {
            (true, true) => Ok(()),
            (false, _) => wrong(format!("the proof from {old} to {new} leaves must be empty")),
            (true, false) => wrong(format!("two trees of {old} leaves have different roots")),
        };
    }
    let mut hashes = proof.iter();
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    // A complete old tree is a subtree of the new one: the proof leaves its root out.
    let first = if old.is_power_of_two() { Some(old_root) } else { hashes.next() };
    let Some(first) = first else { return wrong(format!("the proof from {old} to {new} leaves is too short")) };
    let (mut from_old, mut from_new) = (*first, *first);
    for hash in hashes {
        if last == 0 {
            return wrong(format!("the proof from {old} to {new} leaves is too long"));
        }
        if node & 1 == 1 || node == last {
            from_old = node_hash(hash, &from_old);
            from_new = node_hash(hash, &from_new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            from_new = node_hash(&from_new, hash);
        }
        node >>= 1;
        last >>= 1;
    }
    match (last == 0, from_old == *old_root, from_new == *new_root) {
        (false, _, _) => wrong(format!("the proof from {old} to {new} leaves is too short")),
        (true, true, true) => Ok(()),
        (true, false, _) => wrong(format!("the tree of {new} leaves does not begin with the tree of {old} leaves")),
        (true, true, false) => wrong(format!("the proof does not lead to the root of the tree of {new} leaves")),
    }
}

/// Where a tree of two or more leaves divides: the largest power of two below its size.
fn split(size: u64) -> u64 {
    1 << (u64::BITS - 1 - (size - 1).leading_zeros())
}

/// Reads each tile at most once, and computes the levels between tiles.
struct Reader<'a, N: Nodes + ?Sized> {
    nodes: &'a N,
    size: u64,
    tiles: HashMap<(u32, u64), Vec<Hash>>,
}

impl<'a, N: Nodes + ?Sized> Reader<'a, N> {
    fn new(nodes: &'a N, size: u64) -> Self {
        Self { nodes, size, tiles: HashMap::new() }
    }

    /// The hash over leaves `from..to`, where `from` begins a subtree that `to - from` leaves would fit.
    fn range(&mut self, from: u64, to: u64) -> Result<Hash, N::Error> {
        let mut roots = Vec::new();
        let mut at = from;
        while at < to {
            let level = (u64::BITS - 1 - (to - at).leading_zeros()).min(at.trailing_zeros());
            roots.push(self.subtree(level, at >> level)?);
            at += 1 << level;
        }
        let joined = roots.into_iter().rev().reduce(|right, left| node_hash(&left, &right));
        joined.ok_or_else(|| Wrong(format!("there are no leaves from {from} to {to}")).into())
    }

    /// The root of complete subtree number `n` of those with 2^level leaves.
    fn subtree(&mut self, level: u32, n: u64) -> Result<Hash, N::Error> {
        let base = level / TILE_HEIGHT * TILE_HEIGHT;
        let count = 1u64 << (level - base);
        let first = n * count;
        let number = first / TILE_WIDTH;
        let start = number * TILE_WIDTH;
        let width = ((self.size >> base) - start).min(TILE_WIDTH) as usize;
        let tile = match self.tiles.entry((base, number)) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => place.insert(self.nodes.hashes(base, start, width)?),
        };
        let offset = (first - start) as usize;
        let Some(hashes) = tile.get(offset..offset + count as usize) else {
            let (found, last) = (tile.len(), start + width as u64 - 1);
            return Err(Wrong(format!(
                "the tree's hashes {start} to {last} of level {base} were asked for, and {found} of {width} are there"
            ))
            .into());
        };
        let mut hashes = hashes.to_vec();
        while hashes.len() > 1 {
            hashes = hashes.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
        }
        Ok(hashes[0])
    }
}
