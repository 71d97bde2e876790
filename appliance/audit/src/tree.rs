//! The Merkle tree of RFC 6962 with SHA-256: hashes, roots and proofs.
//!
//! Nothing here knows where hashes are kept: makers of proofs ask a [`Nodes`] for complete subtrees, checkers
//! need only the proof itself.

use jingui_trust::{Sha256, Sha256Stream};

/// Most hashes in a proof: one per level of the largest tree.
pub const PROOF_HASHES_MAX: usize = 64;

/// Hash of an entry: `SHA256(0x00 || entry)`.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Sha256 {
    let mut stream = Sha256Stream::new();
    stream.update(&[0]);
    stream.update(entry);
    stream.finish()
}

/// Hash of two subtrees: `SHA256(0x01 || left || right)`.
#[must_use]
pub fn node_hash(left: &Sha256, right: &Sha256) -> Sha256 {
    let mut stream = Sha256Stream::new();
    stream.update(&[1]);
    stream.update(left.as_bytes());
    stream.update(right.as_bytes());
    stream.finish()
}

/// Root of the tree with no leaves: `SHA256("")`.
#[must_use]
pub fn empty_root() -> Sha256 {
    Sha256::of(b"")
}

/// Root of a list of hashes of equal level.
#[must_use]
pub fn root_of(hashes: &[Sha256]) -> Sha256 {
    let mut frontier = Frontier::default();
    for hash in hashes {
        frontier.push(*hash);
    }
    frontier.root()
}

/// The right edge of a growing tree: the root of each complete subtree, largest first, one per set bit of the size.
///
/// Enough to append and to give the root in `O(log n)`, and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    subtrees: Vec<Sha256>,
}

impl Frontier {
    /// Leaves so far.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf by its hash.
    pub fn push(&mut self, hash: Sha256) {
        self.push_subtree(hash, 0);
    }

    /// Adds a complete subtree of `2^level` leaves, on whose border the tree must end.
    pub(crate) fn push_subtree(&mut self, mut hash: Sha256, level: u32) {
        debug_assert!(
            self.size.trailing_zeros() >= level,
            "a subtree starts on its own border"
        );
        let mut bits = self.size >> level;
        while bits & 1 == 1 {
            let Some(left) = self.subtrees.pop() else { break };
            hash = node_hash(&left, &hash);
            bits >>= 1;
        }
        self.subtrees.push(hash);
        self.size += 1 << level;
    }

    /// Root of the whole tree.
    #[must_use]
    pub fn root(&self) -> Sha256 {
        let mut from_right = self.subtrees.iter().rev();
        let Some(last) = from_right.next() else {
            return empty_root();
        };
        from_right.fold(*last, |right, left| node_hash(left, &right))
    }
}

/// Somewhere that holds the root of each complete subtree.
pub trait Nodes {
    /// Why a root could not be given.
    type Error;

    /// Root of the `2^level` leaves from `index * 2^level` on.
    ///
    /// # Errors
    /// As the implementation says; never for a subtree inside the tree, if its store is whole.
    fn node(&self, level: u32, index: u64) -> Result<Sha256, Self::Error>;
}

/// Root of the tree of the first `size` leaves.
///
/// # Errors
/// As [`Nodes::node`].
pub fn root_at<N: Nodes + ?Sized>(nodes: &N, size: u64) -> Result<Sha256, N::Error> {
    if size == 0 {
        Ok(empty_root())
    } else {
        range_root(nodes, 0, size)
    }
}

/// Inclusion proof of a leaf, sibling of the leaf first. Empty when `index` is outside of the tree.
///
/// # Errors
/// As [`Nodes::node`].
pub fn prove_inclusion<N: Nodes + ?Sized>(nodes: &N, index: u64, size: u64) -> Result<Vec<Sha256>, N::Error> {
    let mut proof = Vec::new();
    if index >= size {
        return Ok(proof);
    }
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split_point(end - start);
        if index < middle {
            proof.push(range_root(nodes, middle, end)?);
            end = middle;
        } else {
            proof.push(range_root(nodes, start, middle)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Proof that the tree of `old_size` leaves is the beginning of the tree of `new_size` leaves.
///
/// Empty when there is nothing to prove (equal sizes, or from the empty tree), and when `old_size` is larger.
///
/// # Errors
/// As [`Nodes::node`].
pub fn prove_consistency<N: Nodes + ?Sized>(
    nodes: &N,
    old_size: u64,
    new_size: u64,
) -> Result<Vec<Sha256>, N::Error> {
    let mut proof = Vec::new();
    if old_size == 0 || old_size >= new_size {
        return Ok(proof);
    }
    let (mut start, mut end) = (0, new_size);
    while old_size != end {
        let middle = start + split_point(end - start);
        if old_size <= middle {
            proof.push(range_root(nodes, middle, end)?);
            end = middle;
        } else {
            proof.push(range_root(nodes, start, middle)?);
            start = middle;
        }
    }
    // A checker knows the root of the whole old tree already; of a part of it, it does not.
    if start != 0 {
        proof.push(range_root(nodes, start, end)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `proof` leads from the leaf at `index` to `root` (RFC 9162, 2.1.3.2).
#[must_use]
pub fn is_included(index: u64, size: u64, leaf: &Sha256, proof: &[Sha256], root: &Sha256) -> bool {
    if index >= size {
        return false;
    }
    let mut path = Path {
        node: index,
        last: size - 1,
    };
    let mut hash = *leaf;
    for sibling in proof {
        match path.climb() {
            None => return false,
            Some(Side::Left) => hash = node_hash(sibling, &hash),
            Some(Side::Right) => hash = node_hash(&hash, sibling),
        }
    }
    path.last == 0 && hash == *root
}

/// Whether `proof` shows that the older tree is the beginning of the newer one (RFC 9162, 2.1.4.2).
#[must_use]
pub fn is_consistent(
    old_size: u64,
    old_root: &Sha256,
    new_size: u64,
    new_root: &Sha256,
    proof: &[Sha256],
) -> bool {
    if old_size > new_size {
        return false;
    }
    if old_size == new_size {
        return proof.is_empty() && old_root == new_root;
    }
    if old_size == 0 {
        return proof.is_empty() && *old_root == empty_root();
    }
    let mut hashes = proof.iter();
    let first = if old_size.is_power_of_two() {
        Some(old_root)
    } else {
        hashes.next()
    };
    let Some(first) = first else { return false };
    let mut path = Path {
        node: old_size - 1,
        last: new_size - 1,
    };
    while path.node & 1 == 1 {
        path.shift();
    }
    let (mut old, mut new) = (*first, *first);
    for sibling in hashes {
        match path.climb() {
            None => return false,
            Some(Side::Left) => {
                old = node_hash(sibling, &old);
                new = node_hash(sibling, &new);
            }
            Some(Side::Right) => new = node_hash(&new, sibling),
        }
    }
    path.last == 0 && old == *old_root && new == *new_root
}

/// On which side of the path a sibling stands.
enum Side {
    Left,
    Right,
}

/// A walk from a node to the root: the node's index on its level, and the index of the last node there.
struct Path {
    node: u64,
    last: u64,
}

impl Path {
    fn shift(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }

    /// One step up; says on which side the next sibling is. `None` at the root: the proof is too long.
    fn climb(&mut self) -> Option<Side> {
        if self.last == 0 {
            return None;
        }
        if self.node & 1 == 0 && self.node != self.last {
            self.shift();
            return Some(Side::Right);
        }
        // The last node of a level without a right sibling is its own parent: such levels have no hash in the proof.
        while self.node & 1 == 0 && self.node != 0 {
            self.shift();
        }
        self.shift();
        Some(Side::Left)
    }
}

/// Largest power of two smaller than `count`, which is at least 2.
fn split_point(count: u64) -> u64 {
    debug_assert!(count >= 2);
    1 << (63 - (count - 1).leading_zeros())
}

fn range_root<N: Nodes + ?Sized>(nodes: &N, start: u64, end: u64) -> Result<Sha256, N::Error> {
    let count = end - start;
    if count.is_power_of_two() {
        return nodes.node(count.trailing_zeros(), start / count);
    }
    let middle = start + split_point(count);
    Ok(node_hash(
        &range_root(nodes, start, middle)?,
        &range_root(nodes, middle, end)?,
    ))
}
