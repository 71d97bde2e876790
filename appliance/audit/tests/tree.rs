//! Roots and proofs against the recursive definitions of RFC 6962, written down once more in the plainest way.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::convert::Infallible;

use jingui_audit::tree::{
    Frontier, Nodes, empty_root, is_consistent, is_included, leaf_hash, node_hash, prove_consistency,
    prove_inclusion, root_at, root_of,
};
use jingui_trust::Sha256;
use proptest::prelude::*;

/// MTH of RFC 6962, 2.1.
fn naive_root(leaves: &[Sha256]) -> Sha256 {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&naive_root(left), &naive_root(right))
        }
    }
}

/// PATH of RFC 6962, 2.1.1.
fn naive_inclusion(index: usize, leaves: &[Sha256]) -> Vec<Sha256> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    let (mut proof, sibling) = if index < left.len() {
        (naive_inclusion(index, left), naive_root(right))
    } else {
        (naive_inclusion(index - left.len(), right), naive_root(left))
    };
    proof.push(sibling);
    proof
}

/// SUBPROOF of RFC 6962, 2.1.2.
fn naive_consistency(old: usize, leaves: &[Sha256], is_whole: bool) -> Vec<Sha256> {
    if old == leaves.len() {
        return if is_whole {
            Vec::new()
        } else {
            vec![naive_root(leaves)]
        };
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    let (mut proof, sibling) = if old <= left.len() {
        (naive_consistency(old, left, is_whole), naive_root(right))
    } else {
        (
            naive_consistency(old - left.len(), right, false),
            naive_root(left),
        )
    };
    proof.push(sibling);
    proof
}

/// Leaves, and above them the complete subtrees of each level.
struct Plain(Vec<Sha256>, Vec<Vec<Sha256>>);

impl Plain {
    fn new(leaves: Vec<Sha256>) -> Self {
        let mut levels = vec![leaves.clone()];
        while levels[levels.len() - 1].len() > 1 {
            let below = &levels[levels.len() - 1];
            levels.push(below.chunks_exact(2).map(naive_root).collect());
        }
        Self(leaves, levels)
    }
}

impl Nodes for Plain {
    type Error = Infallible;

    fn node(&self, level: u32, index: u64) -> Result<Sha256, Infallible> {
        Ok(self.1[usize::try_from(level).unwrap()][usize::try_from(index).unwrap()])
    }
}

fn leaves(count: usize) -> Vec<Sha256> {
    (0..count).map(|index| leaf_hash(&index.to_be_bytes())).collect()
}

#[test]
fn the_frontier_gives_the_root_of_every_size() {
    let leaves = leaves(600);
    let mut frontier = Frontier::default();
    for size in 0..=leaves.len() {
        assert_eq!(frontier.root(), naive_root(&leaves[..size]), "{size}");
        if let Some(leaf) = leaves.get(size) {
            frontier.push(*leaf);
        }
    }
    assert_eq!(root_of(&leaves), naive_root(&leaves));
}

#[test]
fn inclusion_proofs_of_every_leaf_are_those_of_the_rfc_for_sizes_1_to_300() {
    let nodes = Plain::new(leaves(300));
    for size in 1..=300u64 {
        let leaves = &nodes.0[..usize::try_from(size).unwrap()];
        let root = naive_root(leaves);
        for (index, leaf) in (0..size).zip(leaves) {
            let proof = prove_inclusion(&nodes, index, size).unwrap();
            assert!(is_included(index, size, leaf, &proof, &root), "{index} in {size}");
            if size <= 70 {
                assert_eq!(
                    proof,
                    naive_inclusion(usize::try_from(index).unwrap(), leaves),
                    "{index} in {size}"
                );
            }
        }
    }
}

#[test]
fn consistency_proofs_of_all_pairs_are_those_of_the_rfc_for_sizes_1_to_300() {
    let nodes = Plain::new(leaves(300));
    let roots: Vec<_> = (0..=300).map(|size| naive_root(&nodes.0[..size])).collect();
    for new in 1..=300u64 {
        let new_root = roots[usize::try_from(new).unwrap()];
        for old in 0..=new {
            let old_root = roots[usize::try_from(old).unwrap()];
            let proof = prove_consistency(&nodes, old, new).unwrap();
            assert!(
                is_consistent(old, &old_root, new, &new_root, &proof),
                "{old} to {new}"
            );
            if new <= 70 && old > 0 {
                let leaves = &nodes.0[..usize::try_from(new).unwrap()];
                assert_eq!(
                    proof,
                    naive_consistency(usize::try_from(old).unwrap(), leaves, true),
                    "{old} to {new}"
                );
            }
        }
        assert_eq!(root_at(&nodes, new).unwrap(), new_root);
    }
}

#[test]
fn no_inclusion_proof_holds_for_another_index_size_leaf_or_root() {
    let nodes = Plain::new(leaves(40));
    for size in 1..=33u64 {
        let root = root_at(&nodes, size).unwrap();
        for index in 0..size {
            let leaf = nodes.0[usize::try_from(index).unwrap()];
            let proof = prove_inclusion(&nodes, index, size).unwrap();
            for other in (0..=size + 2).filter(|other| *other != index) {
                assert!(
                    !is_included(other, size, &leaf, &proof, &root),
                    "{index} as {other} in {size}"
                );
            }
            assert!(!is_included(index, size, &leaf_hash(b"other"), &proof, &root));
            assert!(!is_included(index, size, &leaf, &proof, &leaf_hash(b"other")));
            assert!(!is_included(index, 0, &leaf, &proof, &root));
            for position in 0..proof.len() {
                let mut changed = proof.clone();
                changed[position] = leaf_hash(b"other");
                assert!(!is_included(index, size, &leaf, &changed, &root));
                let mut shorter = proof.clone();
                shorter.remove(position);
                assert!(!is_included(index, size, &leaf, &shorter, &root));
            }
            let mut longer = proof.clone();
            longer.push(leaf);
            assert!(!is_included(index, size, &leaf, &longer, &root));
        }
    }
}

#[test]
fn no_consistency_proof_holds_for_another_history() {
    let nodes = Plain::new(leaves(40));
    let other = leaf_hash(b"other");
    for new in 1..=33u64 {
        let new_root = root_at(&nodes, new).unwrap();
        for old in 1..new {
            let old_root = root_at(&nodes, old).unwrap();
            let proof = prove_consistency(&nodes, old, new).unwrap();
            assert!(
                !is_consistent(old, &other, new, &new_root, &proof),
                "{old} to {new}"
            );
            assert!(
                !is_consistent(old, &old_root, new, &other, &proof),
                "{old} to {new}"
            );
            assert!(
                !is_consistent(new, &new_root, old, &old_root, &proof),
                "{old} to {new}"
            );
            assert!(
                !is_consistent(old, &old_root, new, &new_root, &[]),
                "{old} to {new}"
            );
            for position in 0..proof.len() {
                let mut changed = proof.clone();
                changed[position] = other;
                assert!(
                    !is_consistent(old, &old_root, new, &new_root, &changed),
                    "{old} to {new}"
                );
            }
            let mut longer = proof.clone();
            longer.push(other);
            assert!(
                !is_consistent(old, &old_root, new, &new_root, &longer),
                "{old} to {new}"
            );
        }
        assert!(!is_consistent(0, &other, new, &new_root, &[]));
        assert!(!is_consistent(new, &other, new, &new_root, &[]));
    }
}

proptest! {
    #[test]
    fn checking_never_panics_on_any_proof(
        old: u64, new: u64, index: u64, hashes in proptest::collection::vec(any::<[u8; 32]>(), 0..70)
    ) {
        let hashes: Vec<_> = hashes.into_iter().map(Sha256::from_bytes).collect();
        let root = empty_root();
        prop_assert!(!is_included(index, new, &root, &hashes, &root) || hashes.is_empty());
        let _ = is_consistent(old, &root, new, &root, &hashes);
    }
}
