//! Proof files and tiles: what is written reads back, and nothing else reads.

use super::Grove;
use crate::audit::tiles::{Content, Tile, decode_entries, decode_hashes, encode_entries, encode_hashes};
use crate::audit::{Checkpoint, Proof, Signer, tree};

fn a_proof(extra: Option<&[u8]>) -> (Proof, Signer, tree::Hash) {
    let grove = Grove::of(1000);
    let (signer, _) = Signer::generate("example.com/log").unwrap();
    let root = tree::root(&grove, 1000).unwrap();
    let checkpoint = Checkpoint { origin: "example.com/log".into(), size: 1000, root, extension: String::new() };
    let hashes = tree::inclusion(&grove, 738, 1000).unwrap();
    let extra = extra.map(<[u8]>::to_vec);
    (Proof { extra, index: 738, hashes, checkpoint: checkpoint.sign(&signer) }, signer, grove.leaves[738])
}

#[test]
fn a_proof_reads_back_and_verifies() {
    for extra in [None, Some(b"anything at all".as_slice())] {
        let (proof, signer, leaf) = a_proof(extra);
        let text = proof.to_string();
        assert!(text.starts_with("c2sp.org/tlog-proof@v1\n") && text.contains("\nindex 738\n"));
        assert_eq!(text.parse::<Proof>().unwrap(), proof);
        assert_eq!(proof.verify(&leaf, signer.verifier_key()).unwrap().size, 1000);
        assert!(proof.verify(&tree::empty_root(), signer.verifier_key()).is_err());
        assert!(proof.verify(&leaf, Signer::generate("example.com/log").unwrap().0.verifier_key()).is_err());
    }
}

#[test]
fn other_spellings_of_a_proof_are_refused() {
    let text = a_proof(Some(b"ab")).0.to_string();
    let hash = text.lines().nth(3).unwrap().to_owned();
    for bad in [
        text.replace("@v1", "@v2"),
        text.replace("extra YWI=", "extra YWJ="),
        text.replace("extra YWI=", "extra YWI"),
        text.replace("extra YWI=", "extra "),
        text.replace("extra YWI=", "Extra YWI="),
        text.replace("extra YWI=", "extra YWI=\nextra YWI="),
        text.replace("index 738", "index 0738"),
        text.replace("index 738", "index  738"),
        text.replace("index 738", "index 738 "),
        text.replace("index 738\n", ""),
        text.replace("index 738\n", "index 738\nindex 738\n"),
        text.replace("index 738\n", "index 738\n\n"),
        text.replace(&hash, &format!(" {hash}")),
        text.replace(&format!("{hash}\n"), &format!("{hash}\n").repeat(80)),
        text.replace('\n', "\r\n"),
        text.trim_end().to_owned(),
        format!("{text}\n"),
        format!("\n{text}"),
        format!("\u{feff}{text}"),
        String::new(),
    ] {
        assert_ne!(bad, text);
        assert!(bad.parse::<Proof>().is_err(), "{bad}");
    }
}

#[test]
fn tiles_are_called_as_the_specification_shows() {
    let hashes = |level, n, width| Tile { content: Content::Hashes { level }, n, width };
    assert_eq!(hashes(0, 1_234_067, 256).path(), "tile/0/x001/x234/067");
    assert_eq!(hashes(3, 0, 256).path(), "tile/3/000");
    assert_eq!(hashes(1, 999, 17).path(), "tile/1/999.p/17");
    assert_eq!(hashes(1, 1000, 1).path(), "tile/1/x001/000.p/1");
    assert_eq!(Tile { content: Content::Entries, n: 273, width: 112 }.path(), "tile/entries/273.p/112");
}

#[test]
fn a_tree_of_70_000_has_the_tiles_that_the_specification_counts() {
    let all: Vec<Tile> = Tile::between(0, 70_000).collect();
    let of = |content| all.iter().filter(|tile| tile.content == content).copied().collect::<Vec<_>>();
    let level = |level| of(Content::Hashes { level });
    assert_eq!(level(0).len(), 274);
    assert!(level(0)[..273].iter().all(|tile| tile.is_full()));
    assert_eq!((level(0)[273].n, level(0)[273].width), (273, 112));
    assert_eq!(level(1).iter().map(|tile| tile.width).collect::<Vec<_>>(), [256, 17]);
    assert_eq!(level(2).iter().map(|tile| tile.width).collect::<Vec<_>>(), [1]);
    assert!(level(3).is_empty());
    assert_eq!(of(Content::Entries).len(), 274);
    // A tree of 256 has a full tile and one of width 1 above it.
    let paths: Vec<_> = Tile::between(0, 256).map(Tile::path).collect();
    assert_eq!(paths, ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]);
    assert_eq!(Tile::between(0, 0).count(), 0);
    assert_eq!(Tile::between(300, 300).count(), 0);
    let paths: Vec<_> = Tile::between(300, 513).map(Tile::path).collect();
    let expected = ["tile/entries/001", "tile/entries/002.p/1", "tile/0/001", "tile/0/002.p/1", "tile/1/000.p/2"];
    assert_eq!(paths, expected);
}

#[test]
fn bundles_and_tiles_read_back_and_bent_ones_do_not() {
    let entries: [&[u8]; 3] = [b"one", b"", b"three"];
    let bundle = encode_entries(entries).unwrap();
    assert_eq!(bundle, b"\0\x03one\0\0\0\x05three");
    assert_eq!(decode_entries(&bundle, 3).unwrap(), entries);
    assert!(decode_entries(&bundle, 2).is_err() && decode_entries(&bundle, 4).is_err());
    for end in 0..bundle.len() {
        assert!(decode_entries(&bundle[..end], 3).is_err());
    }
    assert!(decode_entries(&[&bundle[..], &[0]].concat(), 3).is_err());
    let long = vec![7; 65_535];
    assert_eq!(decode_entries(&encode_entries([&long[..]]).unwrap(), 1).unwrap(), [&long[..]]);
    assert!(encode_entries([&vec![7; 65_536][..]]).is_err());
    let hashes = [tree::empty_root(), tree::leaf_hash(b"x")];
    assert_eq!(decode_hashes(&encode_hashes(&hashes), 2).unwrap(), hashes);
    assert!(decode_hashes(&encode_hashes(&hashes), 1).is_err());
}
