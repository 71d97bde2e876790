//! The published test vector, byte for byte. Three independent programs gave the same bytes.

use jingui_trust::log_key::LogKey;
use jingui_trust::{Sha256, Sha256Stream};

use crate::leaf::commitment;
use crate::note::{Cosigner, Note, Signer, VerifierKey};
use crate::proof::{TlogProof, prove};
use crate::support::{Disk, MemoryGuard, MemoryStorage};
use crate::tile::StoredTree;
use crate::tree::{is_consistent, leaf_hash, prove_consistency, prove_inclusion, root_at};
use crate::verify::{verify, verify_with};
use crate::writer::Writer;

const LOG_VKEY: &str = "appliance.example/audit/0001+844a7c73+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c";
const WITNESS_VKEY: &str = "auditor.example/w1+2a09e825+BIE5dw6ofRdfVqNUZsNMfszLjYqRtO43ol32D1uPybOU";
const WITNESS_TIME: u64 = 1_764_000_000;
const CHECKPOINT: &str = "\
appliance.example/audit/0001
3
PbZ2Ze6owm3jQWaMHTGZ9h3kt4CoKFaaiYzkjCjZMfM=

— appliance.example/audit/0001 hEp8c9YWXOSqG0PggSbm4qnbIr3KrL0Hai5pmFdmdvPLfuXJwVae6cx1ppEvcc88zeuSZMAA7UuGJAMJKTLxEQxdpgc=
— auditor.example/w1 KgnoJQAAAABpJIEAse8t+ktUCiY7Sj1Xq40F8ysRrVBnW8IZpKuF4C8Qm8Ps+W3p1wTb0y74PglK+Pvg6bOK7j3zC+naxRk/dgRZAw==
";
const LEAVES: [&str; 3] = [
    "a402b0e36f5aae85457360fcf00a2545b87dd47f310553e7b0d32d6d0ac4400d",
    "b119a77a4864308c481efb947ff723d6bd4ea1e7fab902eb8ca98bd759e46aee",
    "d3e0a62a8f7a9256c8beb715afded83e4326d2c47379d259b1709a840ad2f11d",
];

fn log_signer() -> Signer {
    Signer::new(
        "appliance.example/audit/0001",
        LogKey::from_seed(&[1; 32]).unwrap(),
    )
    .unwrap()
}

fn witness() -> Cosigner {
    Cosigner::new("auditor.example/w1", LogKey::from_seed(&[2; 32]).unwrap()).unwrap()
}

fn entries() -> Vec<Vec<u8>> {
    (0..3)
        .map(|seq| format!("{{\"seq\":{seq}}}").into_bytes())
        .collect()
}

fn digest(text: &str) -> Sha256 {
    text.parse().unwrap()
}

/// The log of the vector, with the witness's line added to its checkpoint.
fn vector_log() -> Disk {
    let disk = Disk::default();
    let (mut writer, _) = Writer::open(
        MemoryStorage(disk.clone()),
        MemoryGuard(disk.clone()),
        log_signer(),
    )
    .unwrap();
    writer.append_entries(&entries()).unwrap();
    let mut note = Note::parse(&disk.file("checkpoint")).unwrap();
    note.cosign(&witness(), WITNESS_TIME);
    disk.put("checkpoint", note.to_string());
    disk
}

#[test]
fn the_keys_have_the_published_names() {
    assert_eq!(log_signer().vkey().to_string(), LOG_VKEY);
    assert_eq!(witness().vkey().to_string(), WITNESS_VKEY);
    assert_eq!(LOG_VKEY.parse::<VerifierKey>().unwrap().to_string(), LOG_VKEY);
    assert_eq!(
        WITNESS_VKEY.parse::<VerifierKey>().unwrap().to_string(),
        WITNESS_VKEY
    );
}

#[test]
fn the_leaves_have_the_published_hashes() {
    for (entry, hash) in entries().iter().zip(LEAVES) {
        assert_eq!(leaf_hash(entry), digest(hash));
    }
}

#[test]
fn the_roots_and_proofs_are_the_published_ones() {
    let disk = vector_log();
    let tree = StoredTree::new(&disk, 3);
    let leaves: Vec<_> = LEAVES.into_iter().map(digest).collect();
    let (two, three) = (
        digest("fc52d71a368a798fd96ec7e5b7ee5f8f9fdd10c7ff9ab146c4eac1e6a0a1b10a"),
        digest("3db67665eea8c26de341668c1d3199f61de4b780a828569a898ce48c28d931f3"),
    );
    assert_eq!(root_at(&tree, 2).unwrap(), two);
    assert_eq!(root_at(&tree, 3).unwrap(), three);
    assert_eq!(prove_inclusion(&tree, 1, 3).unwrap(), [leaves[0], leaves[2]]);
    let consistency = prove_consistency(&tree, 2, 3).unwrap();
    assert_eq!(consistency, [leaves[2]]);
    assert!(is_consistent(2, &two, 3, &three, &consistency));
    assert_eq!(prove_consistency(&tree, 1, 3).unwrap(), [leaves[1], leaves[2]]);
}

#[test]
fn the_files_are_the_published_bytes() {
    let disk = vector_log();
    let paths: Vec<_> = disk.files().into_keys().collect();
    assert_eq!(paths, ["checkpoint", "tile/0/000.p/3", "tile/entries/000.p/3"]);
    let tile = disk.file("tile/0/000.p/3");
    assert_eq!(tile.len(), 96);
    assert_eq!(
        Sha256::of(&tile),
        digest("fada37c4d648e815549933af9be9f316c37670f5018192abc65c37f3d8d02517")
    );
    let bundle: String = disk
        .file("tile/entries/000.p/3")
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        bundle,
        "00097b22736571223a307d00097b22736571223a317d00097b22736571223a327d"
    );
    let checkpoint = disk.file("checkpoint");
    assert_eq!(String::from_utf8(checkpoint.clone()).unwrap(), CHECKPOINT);
    assert_eq!(
        Sha256::of(&checkpoint),
        digest("6ae8d229db4fff3c0016cd1289e82f7b8bbef6fda716d38cd23fdc1a82e018f7")
    );
}

#[test]
fn the_proof_of_leaf_1_is_the_published_file() {
    let disk = vector_log();
    let evidence = prove(&disk, &LOG_VKEY.parse().unwrap(), 1).unwrap();
    let text = evidence.proof.to_string();
    assert_eq!(
        Sha256::of(text.as_bytes()),
        digest("55e5cfa60b15143fda0057973c3a5d0cf0ed44823297f538d1b35797115d2c7d")
    );
    let read = TlogProof::parse(text.as_bytes()).unwrap();
    assert_eq!(read, evidence.proof);
    assert_eq!(
        read.verify(&entries()[1], &LOG_VKEY.parse().unwrap())
            .unwrap()
            .size,
        3
    );
    assert!(read.verify(&entries()[2], &LOG_VKEY.parse().unwrap()).is_err());
}

#[test]
fn log_and_witness_signatures_are_both_checked() {
    let note = Note::parse(CHECKPOINT.as_bytes()).unwrap();
    let keys = [LOG_VKEY.parse().unwrap(), WITNESS_VKEY.parse().unwrap()];
    let verified = note.verify(&keys).unwrap();
    assert_eq!(verified.len(), 2);
    assert_eq!((verified[0].key_index, verified[0].time), (0, None));
    assert_eq!((verified[1].key_index, verified[1].time), (1, Some(WITNESS_TIME)));
}

#[test]
fn the_log_of_the_vector_is_intact_and_with_its_3_made_a_4_is_not() {
    let disk = vector_log();
    let check = |disk: &Disk| verify_with(disk, &LOG_VKEY.parse().unwrap(), None, |_, _| Ok(()), &mut |_| {});
    assert_eq!(check(&disk).unwrap().checkpoint.size, 3);
    disk.put("checkpoint", CHECKPOINT.replace("\n3\n", "\n4\n"));
    assert_eq!(check(&disk).unwrap_err().code(), "audit.bad-signature");
}

#[test]
fn a_log_whose_signed_entries_are_no_leaves_is_called_malformed() {
    let failure = verify(&vector_log(), &LOG_VKEY.parse().unwrap(), None).unwrap_err();
    assert_eq!(failure.code(), "audit.malformed");
    assert_eq!(failure.facts(), [("place", "leaf 0".to_owned())]);
}

#[test]
fn a_commitment_is_the_digest_of_prefix_salt_and_content() {
    // Python: hashlib.sha256(b"auditcommit/v1\n" + bytes(range(32)) + "你好".encode()).hexdigest()
    let salt: [u8; 32] = std::array::from_fn(|index| u8::try_from(index).unwrap());
    let expected = "cbddc5887d5e811b6e068149de78de1d5401315cf7d38776e2f5f1c1bb4f9252";
    assert_eq!(commitment(&salt, "你好".as_bytes()), digest(expected));
    let mut stream = Sha256Stream::new();
    stream.update(b"auditcommit/v1\n");
    stream.update(&salt);
    assert_eq!(commitment(&salt, b""), stream.finish());
}
