//! Whether a dm-verity hash tree belongs to a root hash (kernel documentation, "dm-verity"; veritysetup's format 1).
//!
//! Looks at the superblock and the topmost block only: enough to notice that a wrong file was packed. What each block
//! of the root is worth, the kernel finds out when it reads it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use jingui_trust::{Sha256, Sha256Stream};

const SUPERBLOCK_BYTES: usize = 512;
const SIGNATURE: &[u8] = b"verity\0\0";
const ALGORITHM: &[u8] = b"sha256\0";
const SALT_BYTES_MAX: usize = 256;
/// The block size of our images, for data and tree.
pub(super) const BLOCK_BYTES: u32 = 4096;

/// Checks `tree` against the root hash and the size of the root it covers.
pub(super) fn check(tree: &File, root_bytes: u64, roothash: &Sha256) -> Result<(), &'static str> {
    let mut head = [0; SUPERBLOCK_BYTES];
    tree.read_exact_at(&mut head, 0)
        .map_err(|_| "it is too short for a superblock")?;
    if !head.starts_with(SIGNATURE) || number(&head, 8) != Some(1) || number(&head, 12) != Some(1) {
        return Err("it has no superblock of version 1");
    }
    if !head.get(32..).is_some_and(|name| name.starts_with(ALGORITHM)) {
        return Err("it is not made with SHA-256");
    }
    if number(&head, 64) != Some(BLOCK_BYTES) || number(&head, 68) != Some(BLOCK_BYTES) {
        return Err("its blocks are not of 4096 bytes");
    }
    let (low, high) = (
        number(&head, 72).unwrap_or_default(),
        number(&head, 76).unwrap_or_default(),
    );
    let covered = (u64::from(high) << 32 | u64::from(low)).checked_mul(u64::from(BLOCK_BYTES));
    if !covered.is_some_and(|covered| covered > 0 && covered <= root_bytes) {
        return Err("it covers more bytes than the root has");
    }
    let salt_bytes = number(&head, 80).map_or(usize::MAX, |word| (word & 0xffff) as usize);
    let salt = head
        .get(88..)
        .and_then(|rest| rest.get(..salt_bytes))
        .filter(|salt| salt.len() <= SALT_BYTES_MAX)
        .ok_or("its salt is too long")?;
    let mut top = [0; BLOCK_BYTES as usize];
    tree.read_exact_at(&mut top, u64::from(BLOCK_BYTES))
        .map_err(|_| "it has no topmost block")?;
    let mut digest = Sha256Stream::new();
    digest.update(salt);
    digest.update(&top);
    if digest.finish() == *roothash {
        Ok(())
    } else {
        Err("its topmost block has another hash")
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*field))
}

/// A tree for tests, whose one block of hashes is anything: superblock and topmost block are consistent.
#[cfg(test)]
pub(super) fn made_up(root_bytes: u64) -> (Vec<u8>, Sha256) {
    let mut bytes = vec![0; 2 * BLOCK_BYTES as usize];
    bytes[..8].copy_from_slice(SIGNATURE);
    bytes[8] = 1;
    bytes[12] = 1;
    bytes[32..39].copy_from_slice(ALGORITHM);
    bytes[64..68].copy_from_slice(&BLOCK_BYTES.to_le_bytes());
    bytes[68..72].copy_from_slice(&BLOCK_BYTES.to_le_bytes());
    bytes[72..80].copy_from_slice(&(root_bytes / u64::from(BLOCK_BYTES)).to_le_bytes());
    bytes[80] = 32;
    bytes[88..120].fill(7);
    bytes[BLOCK_BYTES as usize..].fill(9);
    let hashed = [&bytes[88..120], &bytes[BLOCK_BYTES as usize..]].concat();
    let roothash = Sha256::of(&hashed);
    (bytes, roothash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn checked(bytes: &[u8], root_bytes: u64, roothash: &Sha256) -> Result<(), &'static str> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        check(&file, root_bytes, roothash)
    }

    #[test]
    fn a_tree_fits_its_own_root_hash_and_no_shorter_root() {
        let (tree, roothash) = made_up(40_960);
        assert_eq!(checked(&tree, 40_960, &roothash), Ok(()));
        assert!(checked(&tree, 36_864, &roothash).is_err());
        assert!(checked(&tree, 40_960, &Sha256::of(b"other")).is_err());
        for position in [0, 8, 12, 32, 64, 68, 73, 81, 100, 4096, 8191] {
            let mut bad = tree.clone();
            bad[position] ^= 1;
            assert!(checked(&bad, 40_960, &roothash).is_err(), "{position}");
        }
        assert!(checked(&tree[..100], 40_960, &roothash).is_err());
        assert!(checked(&tree[..5000], 40_960, &roothash).is_err());
    }
}
