//! Notes, keys, checkpoints, proofs and tile names: one right form, and no bytes that make a reader panic.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use jingui_audit::note::{Algorithm, Cosigner, NOTE_BYTES_MAX, NoteRefusal, SIGNATURES_MAX, VkeyRefusal};
use jingui_audit::proof::prove;
use jingui_audit::tile::{Kind, TileName, push_entry, split_entries, split_hashes};
use jingui_audit::{CODES, Checkpoint, Note, Signer, TlogProof, VerifierKey};
use jingui_trust::Sha256;
use jingui_trust::log_key::LogKey;
use proptest::prelude::*;

use support::{ORIGIN, log_of, signer, vkey};

fn note(text: &str) -> Note {
    Note {
        text: text.to_owned(),
        signatures: Vec::new(),
    }
}

fn signed(text: &str) -> Note {
    let mut note = note(text);
    note.sign(&signer());
    note
}

fn witness(number: u8) -> Cosigner {
    Cosigner::new(
        &format!("witness.example/w{number}"),
        LogKey::from_seed(&[number; 32]).unwrap(),
    )
    .unwrap()
}

#[test]
fn a_note_with_16_signatures_and_with_the_most_is_read_and_one_more_is_not() {
    for (count, is_read) in [
        (1, true),
        (16, true),
        (SIGNATURES_MAX, true),
        (SIGNATURES_MAX + 1, false),
    ] {
        let mut note = note("text\n");
        (1..count).for_each(|number| note.cosign(&witness(u8::try_from(number).unwrap()), 5));
        note.sign(&signer());
        let read = Note::parse(note.to_string().as_bytes());
        assert_eq!(read.is_ok(), is_read, "{count}");
        if let Ok(read) = read {
            assert_eq!(read, note);
            assert_eq!(
                read.verify(&[vkey()]).unwrap().len(),
                1,
                "the last line is the known one"
            );
        }
    }
}

#[test]
fn lines_of_unknown_keys_are_ignored_and_one_bad_line_of_a_known_key_refuses_the_note() {
    let mut note = signed("text\n");
    note.cosign(&witness(1), 5);
    assert_eq!(note.verify(&[vkey()]).unwrap().len(), 1);
    assert_eq!(
        note.verify(&[witness(1).vkey().clone()]).unwrap()[0].time,
        Some(5)
    );
    assert_eq!(
        note.verify(&[witness(2).vkey().clone()]),
        Err(NoteRefusal::NotSigned)
    );
    assert_eq!(note.verify(&[]), Err(NoteRefusal::NotSigned));
    // A good line, and then a bad one of the same key.
    let mut bad = note.signatures[0].clone();
    bad.payload[5] ^= 1;
    note.signatures.push(bad);
    assert_eq!(
        note.verify(&[vkey()]),
        Err(NoteRefusal::BadSignature {
            name: ORIGIN.to_owned()
        })
    );
    assert!(note.verify(&[witness(1).vkey().clone()]).is_ok());
}

#[test]
fn a_line_with_another_key_id_or_name_is_of_an_unknown_key() {
    let mut note = signed("text\n");
    note.signatures[0].id.0[0] ^= 1;
    assert_eq!(note.verify(&[vkey()]), Err(NoteRefusal::NotSigned));
    let mut note = signed("text\n");
    note.signatures[0].name.push('x');
    assert_eq!(note.verify(&[vkey()]), Err(NoteRefusal::NotSigned));
}

#[test]
fn a_cosignature_does_not_pass_as_a_logs_signature_and_its_time_is_signed() {
    let key = || LogKey::from_seed(&[7; 32]).unwrap();
    let cosigner = Cosigner::new(ORIGIN, key()).unwrap();
    let mut note = note("text\n");
    note.cosign(&cosigner, 5);
    assert_eq!(note.verify(&[vkey()]), Err(NoteRefusal::NotSigned));
    note.signatures[0].payload[7] ^= 1;
    assert!(matches!(
        note.verify(&[cosigner.vkey().clone()]),
        Err(NoteRefusal::BadSignature { .. })
    ));
    // The same bytes, claimed to be of the log's key.
    note.signatures[0].id = vkey().id();
    assert!(matches!(
        note.verify(&[vkey()]),
        Err(NoteRefusal::BadSignature { .. })
    ));
}

#[test]
fn a_note_whose_text_has_empty_lines_splits_at_the_last_one() {
    let note = signed("one\n\ntwo\n\n\nthree\n");
    let read = Note::parse(note.to_string().as_bytes()).unwrap();
    assert_eq!(read, note);
    assert!(read.verify(&[vkey()]).is_ok());
}

#[test]
fn what_is_no_note_is_refused_with_its_reason() {
    let good = signed("text\n").to_string();
    let line = good.lines().last().unwrap();
    let cases: Vec<(String, NoteRefusal)> = vec![
        (String::new(), NoteRefusal::NoSignatures),
        ("text\n".to_owned(), NoteRefusal::NoSignatures),
        ("text\n\n".to_owned(), NoteRefusal::NoSignatures),
        (good.trim_end().to_owned(), NoteRefusal::NoSignatures),
        (good.replace("text", "te\txt"), NoteRefusal::NotText),
        (good.replace("text", "te\rxt"), NoteRefusal::NotText),
        (good.replace("text", "te\u{7f}xt"), NoteRefusal::NotText),
        (good.replace("— ", "- "), NoteRefusal::BadLine { line: 1 }),
        (good.replace("— ", "—  "), NoteRefusal::BadLine { line: 1 }),
        (good.replace(ORIGIN, "a+b"), NoteRefusal::BadLine { line: 1 }),
        (
            good.replace(ORIGIN, "a\u{3000}b"),
            NoteRefusal::BadLine { line: 1 },
        ),
        (
            good.replace(&format!("{ORIGIN} "), " "),
            NoteRefusal::BadLine { line: 1 },
        ),
        (good.replace("=\n", "\n"), NoteRefusal::BadLine { line: 1 }),
        (good.replace("=\n", "= \n"), NoteRefusal::BadLine { line: 1 }),
        (
            format!("{good}\u{2014} name AAAA\n"),
            NoteRefusal::BadLine { line: 2 },
        ),
        (
            format!("{good}\u{2014} name AAAAAA==\n"),
            NoteRefusal::BadLine { line: 2 },
        ),
        (format!("{good}{line}x\n"), NoteRefusal::BadLine { line: 2 }),
        (
            format!("{}{good}", "x".repeat(NOTE_BYTES_MAX)),
            NoteRefusal::TooLong,
        ),
    ];
    for (bad, reason) in cases {
        assert_eq!(
            Note::parse(bad.as_bytes()),
            Err(reason),
            "{}",
            bad.get(..60).unwrap_or(&bad)
        );
    }
    assert_eq!(
        Note::parse(b"\xff\n\n\xe2\x80\x94 a AAAAAAA=\n"),
        Err(NoteRefusal::NotText)
    );
}

#[test]
fn what_is_no_verifier_key_is_refused_with_its_reason() {
    let good = vkey().to_string();
    assert_eq!(good.parse(), Ok(vkey()));
    let (name, rest) = good.split_once('+').unwrap();
    let (hash, key) = rest.split_once('+').unwrap();
    for (bad, reason) in [
        (String::new(), VkeyRefusal::Form),
        (name.to_owned(), VkeyRefusal::Form),
        (format!("{name}+{hash}"), VkeyRefusal::Form),
        (format!("{name}+{hash}+"), VkeyRefusal::Form),
        (format!("{name}+{hash}+{key}="), VkeyRefusal::Form),
        (format!("{name}+{hash}+AYqI"), VkeyRefusal::Form),
        (format!("+{hash}+{key}"), VkeyRefusal::Name),
        (format!("a b+{hash}+{key}"), VkeyRefusal::Name),
        (format!("{name}x+{hash}+{key}"), VkeyRefusal::Hash),
        (format!("{name}+{}+{key}", hash.to_uppercase()), VkeyRefusal::Hash),
        (format!("{name}+0{hash}+{key}"), VkeyRefusal::Hash),
        (format!("{name}+{hash}+Aqq="), VkeyRefusal::Form),
        (format!("{name}+{hash}+Ag=="), VkeyRefusal::Type(2)),
    ] {
        assert_eq!(bad.parse::<VerifierKey>(), Err(reason), "{bad}");
    }
    assert_eq!(
        Signer::new("a b", LogKey::from_seed(&[1; 32]).unwrap()).err(),
        Some(VkeyRefusal::Name)
    );
}

#[test]
fn a_checkpoint_has_exactly_three_lines_in_one_form() {
    let checkpoint = Checkpoint {
        origin: ORIGIN.to_owned(),
        size: 12,
        root: Sha256::of(b""),
    };
    let good = checkpoint.to_string();
    assert_eq!(Checkpoint::parse(&good), Ok(checkpoint));
    for bad in [
        good.replace("12", "012"),
        good.replace("12", "+12"),
        good.replace("12", "-1"),
        good.replace("12", "1 2"),
        good.replace("12", "18446744073709551616"),
        good.replace("12", ""),
        good.replace("=\n", "\n"),
        good.replace("=\n", "==\n"),
        good.trim_end().to_owned(),
        format!("{good}extension\n"),
        format!("{good}\n"),
        good.replace(ORIGIN, ""),
        format!("\n{good}"),
        good.replace('\n', "\r\n"),
        String::new(),
    ] {
        assert!(Checkpoint::parse(&bad).is_err(), "{bad}");
    }
}

#[test]
fn a_checkpoint_of_another_origin_is_refused_though_the_key_signed_it() {
    let checkpoint = Checkpoint {
        origin: "other.example/audit/1".to_owned(),
        size: 0,
        root: Sha256::of(b""),
    };
    let refusal = Checkpoint::open(&checkpoint.sign(&signer()), &vkey()).unwrap_err();
    assert!(!refusal.is_bad_signature());
    assert!(refusal.to_string().contains("other.example"));
}

#[test]
fn a_proof_has_one_form() {
    let mut proof = prove(&log_of(5), &vkey(), 3).unwrap().proof;
    for extra in [None, Some(Vec::new()), Some(b"anything".to_vec())] {
        proof.extra = extra;
        assert_eq!(
            TlogProof::parse(proof.to_string().as_bytes()).as_ref(),
            Ok(&proof)
        );
    }
    let good = proof.to_string();
    let hash = good.lines().nth(3).unwrap();
    for bad in [
        String::new(),
        good.replace("@v1", "@v2"),
        good.replace("index 3", "index 03"),
        good.replace("index 3", "index -3"),
        good.replace("index 3\n", ""),
        good.replace("index 3", "Index 3"),
        good.replace("extra ", "extra  "),
        good.replace("extra ", "more "),
        good.replace(hash, &hash[..40]),
        good.replace(
            hash,
            &format!("{hash}\n{}", format!("{hash}\n").repeat(64).trim_end()),
        ),
        good.replacen("\n\n", "\n", 1),
        format!("\n{good}"),
    ] {
        assert!(TlogProof::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn tile_names_are_those_of_the_specification() {
    let name = |kind, index, width| TileName { kind, index, width };
    for (name, path) in [
        (name(Kind::Hashes(0), 0, 256), "tile/0/000"),
        (name(Kind::Hashes(0), 0, 3), "tile/0/000.p/3"),
        (name(Kind::Hashes(1), 999, 255), "tile/1/999.p/255"),
        (name(Kind::Entries, 1000, 256), "tile/entries/x001/000"),
        (
            name(Kind::Entries, 1_234_067, 1),
            "tile/entries/x001/x234/067.p/1",
        ),
        (name(Kind::Hashes(63), 1_234_067, 256), "tile/63/x001/x234/067"),
    ] {
        assert_eq!(name.to_string(), path);
        assert_eq!(TileName::parse(path), Some(name));
    }
    for bad in [
        "",
        "checkpoint",
        "tile/0/0",
        "tile/0/0000",
        "tile/00/000",
        "tile/64/000",
        "tile/0/x000/000",
        "tile/0/001/000",
        "tile/0/x001/x000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/03",
        "tile/0/000.p",
        "tile/0/000.p/3/",
        "tile/data/000",
        "tile/8/0/000",
        "/tile/0/000",
        "tile/0/../000",
        "tile/0/+00",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
    ] {
        assert_eq!(TileName::parse(bad), None, "{bad}");
    }
}

#[test]
fn a_bundle_has_at_most_256_entries_of_at_most_65535_bytes() {
    let mut bundle = Vec::new();
    assert!(!push_entry(&mut bundle, &vec![0; 65_536]));
    assert!(bundle.is_empty());
    assert!(push_entry(&mut bundle, &vec![0; 65_535]));
    (1..256).for_each(|_| assert!(push_entry(&mut bundle, b"")));
    assert_eq!(split_entries(&bundle).unwrap().len(), 256);
    assert!(push_entry(&mut bundle, b""));
    assert_eq!(split_entries(&bundle), None);
    assert_eq!(split_entries(b"\x00"), None);
    assert_eq!(split_entries(b"\x00\x02a"), None);
}

#[test]
fn every_code_is_in_the_catalogue_in_both_languages() {
    let catalogue = include_str!("../../messages/catalogue/audit.json");
    let catalogue: serde_json::Value = serde_json::from_str(catalogue).unwrap();
    for code in CODES {
        for language in ["zh-CN", "en"] {
            for part in ["what", "why", "do"] {
                let words = catalogue[code][language][part].as_str().unwrap_or_default();
                assert!(!words.is_empty(), "{code} {language} {part}");
            }
        }
    }
    let mut found: Vec<_> = catalogue
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let mut codes = CODES.to_vec();
    found.sort_unstable();
    codes.sort_unstable();
    assert_eq!(found, codes);
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), width: u16) {
        let _ = Note::parse(&bytes);
        let _ = TlogProof::parse(&bytes);
        let _ = Checkpoint::open(&bytes, &vkey());
        let _ = split_entries(&bytes);
        let _ = split_hashes(&bytes, width);
        let text = String::from_utf8_lossy(&bytes);
        let _ = Checkpoint::parse(&text);
        let _ = TileName::parse(&text);
        let _ = text.parse::<VerifierKey>();
    }

    #[test]
    fn no_text_of_the_right_words_makes_a_reader_panic(
        words in proptest::collection::vec(proptest::sample::select(vec![
            "\n", "\n\n", "\u{2014} ", "a", " ", "+", "AAAAAAA=", "=", "index ", "extra ", "c2sp.org/tlog-proof@v1\n",
            "tile/", "entries/", "0/", "x001/", "000", ".p/", "3", "你", "\u{3000}",
        ]), 0..20)
    ) {
        let text = words.concat();
        if let Ok(note) = Note::parse(text.as_bytes()) {
            prop_assert_eq!(note.to_string(), text.clone());
        }
        if let Ok(proof) = TlogProof::parse(text.as_bytes()) {
            prop_assert_eq!(proof.to_string(), text.clone());
        }
        if let Some(name) = TileName::parse(&text) {
            prop_assert_eq!(name.to_string(), text.clone());
        }
    }

    #[test]
    fn a_signed_note_round_trips_and_any_other_text_under_its_lines_does_not(
        text in "(\\PC{0,20}\n){1,4}", other in "(\\PC{0,20}\n){1,4}"
    ) {
        let note = signed(&text);
        let read = Note::parse(note.to_string().as_bytes()).unwrap();
        prop_assert_eq!(&read, &note);
        prop_assert!(read.verify(&[vkey()]).is_ok());
        let moved = Note { text: other.clone(), signatures: note.signatures };
        prop_assert_eq!(moved.verify(&[vkey()]).is_ok(), other == text);
    }

    #[test]
    fn keys_and_tile_names_round_trip(public: [u8; 32], index: u64, level in 0u8..64, width in 1u16..=256) {
        for algorithm in [Algorithm::Ed25519, Algorithm::CosignatureV1] {
            let key = VerifierKey::new("name.example/1", algorithm, public).unwrap();
            prop_assert_eq!(key.to_string().parse(), Ok(key));
        }
        for kind in [Kind::Entries, Kind::Hashes(level)] {
            let name = TileName { kind, index, width };
            prop_assert_eq!(TileName::parse(&name.to_string()), Some(name));
        }
    }

    #[test]
    fn a_bundle_round_trips(entries in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20)) {
        let mut bundle = Vec::new();
        for entry in &entries {
            prop_assert!(push_entry(&mut bundle, entry));
        }
        prop_assert_eq!(split_entries(&bundle).unwrap(), entries);
    }
}
