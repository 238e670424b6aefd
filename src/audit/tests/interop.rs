//! Cloudflare's `signed_note` and `tlog_tiles`, ported from Go's: they verify what is written here, and the other way.

use signed_note::{Note as TheirNote, StandardSigner, StandardVerifier, VerifierList};
use tlog_tiles as theirs;

use super::{Dice, Grove};
use crate::audit::tiles::{Content, Tile};
use crate::audit::{Checkpoint, Hash, Note, Signer, VerifierKey, tree};

fn verifiers(key: &str) -> VerifierList {
    VerifierList::new(vec![Box::new(StandardVerifier::new(key).unwrap())])
}

#[test]
fn they_verify_our_notes_and_we_theirs() {
    let text = "example.com/log\n5\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let (signer, secret) = Signer::generate("example.com/log").unwrap();
    let ours = Note { text: text.into(), signatures: vec![signer.sign(text)] }.to_string();
    let key = signer.verifier_key().to_string();
    let (verified, others) = TheirNote::from_bytes(ours.as_bytes()).unwrap().verify(&verifiers(&key)).unwrap();
    assert_eq!((verified.len(), others.len()), (1, 0));
    // Their signer takes our secret, and we take what it signs.
    let mut note = TheirNote::new(text.as_bytes(), &[]).unwrap();
    note.add_sigs(&[&StandardSigner::new(&secret).unwrap()]).unwrap();
    let written = String::from_utf8(note.to_bytes()).unwrap();
    assert_eq!(written, ours, "Ed25519 signatures have one value");
    let checkpoint = Checkpoint::verify(&written, signer.verifier_key()).unwrap();
    // And our checkpoint is one to them.
    let their = theirs::Checkpoint::from_bytes(checkpoint.to_string().as_bytes()).unwrap();
    assert_eq!((their.origin(), their.size()), ("example.com/log", 5));
    assert_eq!(their.to_bytes(), checkpoint.to_string().as_bytes());
    // A key of theirs is a key of ours.
    let seed = ed25519_seed();
    let (their_secret, their_key) = their_generate(&seed);
    let signer: Signer = their_secret.parse().unwrap();
    assert_eq!(signer.verifier_key(), &their_key.parse::<VerifierKey>().unwrap());
}

fn ed25519_seed() -> [u8; 32] {
    std::array::from_fn(|place| place as u8)
}

/// A key pair as `signed_note` writes it, without a random generator of the right vintage.
fn their_generate(seed: &[u8; 32]) -> (String, String) {
    use ring::signature::KeyPair;
    let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(seed).unwrap();
    let encoded = [&[1], pair.public_key().as_ref()].concat();
    let id = signed_note::key_id("example.com/theirs", &encoded);
    let base64 = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
    let secret = format!("PRIVATE+KEY+example.com/theirs+{id:08x}+{}", base64(&[&[1], &seed[..]].concat()));
    StandardSigner::new(&secret).unwrap();
    let key = format!("example.com/theirs+{id:08x}+{}", base64(&encoded));
    StandardVerifier::new(&key).unwrap();
    (secret, key)
}

/// Their way of storing a tree, filled with our leaves.
struct Stored(Vec<theirs::Hash>);

impl theirs::HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<theirs::Hash>, theirs::Error> {
        Ok(indexes.iter().map(|index| self.0[*index as usize]).collect())
    }
}

fn stored(leaves: &[Hash]) -> Stored {
    let mut stored = Stored(Vec::new());
    for (n, leaf) in leaves.iter().enumerate() {
        let hashes = theirs::stored_hashes_for_record_hash(n as u64, theirs::Hash(leaf.0), &stored).unwrap();
        stored.0.extend(hashes);
    }
    stored
}

fn to_theirs(hashes: &[Hash]) -> Vec<theirs::Hash> {
    hashes.iter().map(|hash| theirs::Hash(hash.0)).collect()
}

#[test]
fn roots_and_proofs_are_the_same_and_each_verifies_the_others() {
    let grove = Grove::of(5000);
    assert_eq!(theirs::record_hash(b"leaf 7").0, grove.leaves[7].0);
    let stored = stored(&grove.leaves);
    let mut dice = Dice(42);
    for round in 0..400 {
        let size = if round < 200 { round + 1 } else { dice.below(5000) + 1 };
        let (index, old) = (dice.below(size), dice.below(size) + 1);
        let root = tree::root(&grove, size).unwrap();
        let their_root = theirs::tree_hash(size, &stored).unwrap();
        assert_eq!(their_root.0, root.0, "{size}");
        let leaf = grove.leaves[index as usize];

        let ours = tree::inclusion(&grove, index, size).unwrap();
        theirs::check_record(&to_theirs(&ours), size, their_root, index, theirs::Hash(leaf.0)).unwrap();
        let their = theirs::prove_record(size, index, &stored).unwrap();
        let their: Vec<Hash> = their.iter().map(|hash| Hash(hash.0)).collect();
        tree::verify_inclusion(&leaf, index, size, &their, &root).unwrap();
        assert_eq!(ours, their);

        let old_root = tree::root(&grove, old).unwrap();
        let ours = tree::consistency(&grove, old, size).unwrap();
        theirs::check_tree(&to_theirs(&ours), size, their_root, old, theirs::Hash(old_root.0)).unwrap();
        let their = theirs::prove_tree(size, old, &stored).unwrap();
        let their: Vec<Hash> = their.iter().map(|hash| Hash(hash.0)).collect();
        tree::verify_consistency(old, &old_root, size, &root, &their).unwrap();
        assert_eq!(ours, their);
    }
}

#[test]
fn tiles_are_called_the_same_and_needed_at_the_same_time() {
    let mut dice = Dice(3);
    for _ in 0..300 {
        let new = dice.below(300_000);
        let old = if dice.below(3) == 0 { 0 } else { dice.below(new + 1) };
        let key = |tile: &theirs::Tile| (tile.level(), tile.level_index(), tile.width());
        let mut their: Vec<_> = theirs::Tile::new_tiles(8, old, new).iter().map(key).collect();
        their.sort_unstable();
        let hashes = |tile: &Tile| match tile.content {
            Content::Hashes { level } => Some((level, tile.n, u32::from(tile.width))),
            Content::Entries => None,
        };
        let mut ours: Vec<_> = Tile::between(old, new).filter_map(|tile| hashes(&tile)).collect();
        ours.sort_unstable();
        assert_eq!(ours, their, "from {old} to {new}");
        for tile in Tile::between(old, new).take(50) {
            let entries = tile.content == Content::Entries;
            let level = hashes(&tile).map_or(0, |(level, _, _)| level);
            let their = theirs::Tile::new(8, level, tile.n, u32::from(tile.width), entries);
            // Theirs writes the height too, as Go's checksum database does, and `data` for entries.
            let name = their.path().replace("tile/8/data/", "tile/entries/").replace("tile/8/", "tile/");
            assert_eq!(tile.path(), name);
        }
    }
}
