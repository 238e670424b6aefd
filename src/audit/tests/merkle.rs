//! The tree: the vectors of Certificate Transparency, and a naive reading of RFC 6962 for every small tree.

use super::{Dice, Grove, largest_power_below, naive_root};
use crate::audit::tree::*;

fn hex(text: &str) -> Hash {
    Hash(data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap().try_into().unwrap())
}

/// The eight leaves that every implementation of Certificate Transparency tests with.
fn reference_leaves() -> Vec<Hash> {
    let leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    leaves.iter().map(|leaf| leaf_hash(&data_encoding::HEXLOWER.decode(leaf.as_bytes()).unwrap())).collect()
}

/// Roots of the trees of 0 to 8 of those leaves.
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

#[test]
fn the_reference_roots_come_out() {
    let leaves = reference_leaves();
    let mut frontier = Frontier::new();
    for (size, expected) in ROOTS.iter().enumerate() {
        let grove = Grove::new(leaves[..size].to_vec());
        assert_eq!(root(&grove, size as u64).unwrap(), hex(expected), "{size}");
        assert_eq!(frontier.root(), hex(expected), "{size}");
        if let Some(leaf) = leaves.get(size) {
            frontier.push(*leaf, |_, _, _| {});
        }
    }
}

#[test]
fn the_reference_inclusion_proofs_come_out_and_verify() {
    // Leaf and size as they count from 1 in the reference's tables.
    let vectors: [(u64, u64, &[&str]); 5] = [
        (1, 1, &[]),
        (
            1,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            &[
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (3, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
        (
            2,
            5,
            &[
                "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ];
    let leaves = reference_leaves();
    for (leaf, size, expected) in vectors {
        let expected: Vec<Hash> = expected.iter().map(|hash| hex(hash)).collect();
        let grove = Grove::new(leaves[..size as usize].to_vec());
        assert_eq!(inclusion(&grove, leaf - 1, size).unwrap(), expected);
        let root = hex(ROOTS[size as usize]);
        verify_inclusion(&leaves[leaf as usize - 1], leaf - 1, size, &expected, &root).unwrap();
        bent_inclusion_proofs_fail(&leaves[leaf as usize - 1], leaf - 1, size, &expected, &root);
    }
}

#[test]
fn the_reference_consistency_proofs_come_out_and_verify() {
    let vectors: [(u64, u64, &[&str]); 5] = [
        (1, 1, &[]),
        (
            1,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            &[
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            2,
            5,
            &[
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
        (
            6,
            7,
            &[
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
    ];
    let leaves = reference_leaves();
    for (old, new, expected) in vectors {
        let expected: Vec<Hash> = expected.iter().map(|hash| hex(hash)).collect();
        let grove = Grove::new(leaves[..new as usize].to_vec());
        assert_eq!(consistency(&grove, old, new).unwrap(), expected);
        let (old_root, new_root) = (hex(ROOTS[old as usize]), hex(ROOTS[new as usize]));
        verify_consistency(old, &old_root, new, &new_root, &expected).unwrap();
        bent_consistency_proofs_fail(old, &old_root, new, &new_root, &expected);
    }
}

/// PATH, word for word from RFC 6962, section 2.1.1.
fn naive_path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = largest_power_below(leaves.len());
    let (mut path, last) = match m < k {
        true => (naive_path(m, &leaves[..k]), naive_root(&leaves[k..])),
        false => (naive_path(m - k, &leaves[k..]), naive_root(&leaves[..k])),
    };
    path.push(last);
    path
}

/// SUBPROOF, word for word from RFC 6962, section 2.1.2.
fn naive_subproof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if whole { Vec::new() } else { vec![naive_root(leaves)] };
    }
    let k = largest_power_below(leaves.len());
    let (mut proof, last) = match m <= k {
        true => (naive_subproof(m, &leaves[..k], whole), naive_root(&leaves[k..])),
        false => (naive_subproof(m - k, &leaves[k..], false), naive_root(&leaves[..k])),
    };
    proof.push(last);
    proof
}

#[test]
fn every_small_tree_agrees_with_the_naive_reading_of_the_rfc() {
    let all = Grove::of(300);
    let mut frontier = Frontier::new();
    for size in 1..=300usize {
        frontier.push(all.leaves[size - 1], |level, n, root| {
            let (from, width) = ((n as usize) << level, 1usize << level);
            assert_eq!(root, naive_root(&all.leaves[from..from + width]));
        });
        let leaves = &all.leaves[..size];
        let expected = naive_root(leaves);
        assert_eq!(frontier.root(), expected);
        assert_eq!(Frontier::from_bytes(size as u64, &frontier.to_bytes()).unwrap(), frontier);
        // Every tree is read out of the largest one, as the ledger's is.
        let n = size as u64;
        assert_eq!(root(&all, n).unwrap(), expected);
        // All leaves of some sizes, a few of all sizes: the naive reading is slow.
        let step = if size % 61 == 0 || size < 40 || (size & (size - 1)) == 0 { 1 } else { 37 };
        for other in (0..size).step_by(step) {
            let path = inclusion(&all, other as u64, n).unwrap();
            assert_eq!(path, naive_path(other, leaves), "leaf {other} of {size}");
            assert_eq!(path.len(), inclusion_length(other as u64, n));
            verify_inclusion(&leaves[other], other as u64, n, &path, &expected).unwrap();
            let proof = consistency(&all, other as u64 + 1, n).unwrap();
            assert_eq!(proof, naive_subproof(other + 1, leaves, true), "from {} to {size}", other + 1);
            let old = naive_root(&leaves[..=other]);
            verify_consistency(other as u64 + 1, &old, n, &expected, &proof).unwrap();
        }
    }
}

#[test]
fn a_proof_in_a_tree_of_a_million_leaves_reads_three_tiles() {
    let size = 1_000_003;
    let grove = Grove::of(size);
    let mut frontier = Frontier::new();
    grove.leaves.iter().for_each(|leaf| frontier.push(*leaf, |_, _, _| {}));
    let (size, mut dice) = (size as u64, Dice(7));
    for _ in 0..200 {
        let (index, end) = (dice.below(size), dice.below(size) + 1);
        let (index, end) = (index.min(end - 1), if dice.below(2) == 0 { size } else { end });
        grove.reads.set(0);
        let proof = inclusion(&grove, index, end).unwrap();
        // The leaf's tile, the one above, the root's; and the tree's right edge.
        assert!(grove.reads.get() <= 5, "{}", grove.reads.get());
        let root = if end == size { frontier.root() } else { root(&grove, end).unwrap() };
        verify_inclusion(&grove.leaves[index as usize], index, end, &proof, &root).unwrap();
        let old = dice.below(end) + 1;
        let proof = consistency(&grove, old, end).unwrap();
        let old_root = crate::audit::tree::root(&grove, old).unwrap();
        verify_consistency(old, &old_root, end, &root, &proof).unwrap();
        if old < end {
            bent_consistency_proofs_fail(old, &old_root, end, &root, &proof);
        }
    }
    grove.reads.set(0);
    assert_eq!(root(&grove, size).unwrap(), frontier.root());
    assert!(grove.reads.get() <= 3);
}

fn bent_inclusion_proofs_fail(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) {
    let fails = |leaf: &Hash, index, size, proof: &[Hash], root: &Hash, what: &str| {
        assert!(verify_inclusion(leaf, index, size, proof, root).is_err(), "{what}: {index} of {size}");
    };
    for other in [index.wrapping_sub(1), index + 1, index ^ 2] {
        fails(leaf, other, size, proof, root, "another index");
    }
    fails(leaf, index, size * 2, proof, root, "twice the size");
    fails(leaf, index, size / 2, proof, root, "half the size");
    fails(leaf, index, size, proof, &empty_root(), "another root");
    if size > 1 {
        fails(root, index, size, proof, root, "another leaf");
        fails(leaf, index, size, &proof[1..], root, "the first hash gone");
        fails(leaf, index, size, &proof[..proof.len() - 1], root, "the last hash gone");
    }
    fails(leaf, index, size, &[proof, &[*root]].concat(), root, "a hash more");
    fails(leaf, index, size, &[&[*root], proof].concat(), root, "a hash before");
    for place in 0..proof.len() {
        let mut bent = proof.to_vec();
        bent[place].0[0] ^= 8;
        fails(leaf, index, size, &bent, root, "a bit flipped");
    }
}

fn bent_consistency_proofs_fail(old: u64, old_root: &Hash, new: u64, new_root: &Hash, proof: &[Hash]) {
    let fails = |old, old_root: &Hash, new, new_root: &Hash, proof: &[Hash], what: &str| {
        assert!(verify_consistency(old, old_root, new, new_root, proof).is_err(), "{what}: {old} to {new}");
    };
    fails(old, &empty_root(), new, new_root, proof, "another old root");
    fails(old, old_root, new, &empty_root(), proof, "another new root");
    fails(old, old_root, new, new_root, &[proof, &[*old_root]].concat(), "a hash more");
    fails(old, old_root, new, new_root, &[&[*old_root], proof].concat(), "a hash before");
    if proof.is_empty() {
        return;
    }
    for other in [old - 1, old + 1, old ^ 2] {
        fails(other, old_root, new, new_root, proof, "another old size");
    }
    fails(old, old_root, new * 2, new_root, proof, "twice the size");
    fails(old, old_root, new / 2, new_root, proof, "half the size");
    fails(old, new_root, new, old_root, proof, "the roots exchanged");
    fails(old, old_root, new, new_root, &[], "no proof");
    fails(old, old_root, new, new_root, &proof[..proof.len() - 1], "the last hash gone");
    for place in 0..proof.len() {
        let mut bent = proof.to_vec();
        bent[place].0[0] ^= 16;
        fails(old, old_root, new, new_root, &bent, "a bit flipped");
    }
}

#[test]
fn proofs_that_cannot_be_are_refused() {
    let grove = Grove::of(10);
    assert!(inclusion(&grove, 10, 10).is_err());
    assert!(consistency(&grove, 9, 8).is_err());
    assert!(consistency(&grove, 0, 8).unwrap().is_empty() && consistency(&grove, 8, 8).unwrap().is_empty());
    let (root, empty) = (root(&grove, 10).unwrap(), empty_root());
    verify_consistency(0, &empty, 10, &root, &[]).unwrap();
    verify_consistency(10, &root, 10, &root, &[]).unwrap();
    assert!(verify_consistency(0, &root, 10, &root, &[]).is_err());
    assert!(verify_consistency(0, &empty, 10, &root, &[root]).is_err());
    assert!(verify_consistency(10, &empty, 10, &root, &[]).is_err());
    assert!(verify_consistency(1, &root, 2, &root, &[]).is_err());
    assert!(verify_inclusion(&root, 0, 0, &[], &root).is_err());
    assert!(Frontier::from_bytes(3, &[0; 32]).is_err() && Frontier::from_bytes(1, &[0; 33]).is_err());
    // A source that has lost hashes is told so, and does not end in a wrong proof.
    struct Short;
    impl Nodes for Short {
        type Error = Wrong;
        fn hashes(&self, _: u32, _: u64, count: usize) -> Result<Vec<Hash>, Wrong> {
            Ok(vec![empty_root(); count / 2])
        }
    }
    assert!(inclusion(&Short, 1, 200).unwrap_err().0.contains("100 of 200"));
}
