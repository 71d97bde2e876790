//! Packages through the crate's door: what is refused, by which name, and what an import leaves behind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and so do its helpers"
)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use jingui_pack::bundle::{Bundle, pre_authentication};
use jingui_pack::folder::{ENTRY_COUNT_MAX, OpenFile};
use jingui_pack::gguf::ReadAt;
use jingui_pack::{
    Candidate, FolderSink, ModelName, PackPath, Refusal, SecurityVersion, Sink, Verified, Version, sign,
};
use jingui_trust::Sha256;
use jingui_trust::store::TrustStore;
use jingui_trust::vendor_key::VendorKey;
use serde_json::{Value, json};
use tempfile::TempDir;

const WEIGHTS: &str = "glm4-canary-f16.gguf";

/// A signed copy of the demo model, and the key that signed it.
struct Package {
    folder: TempDir,
    key: VendorKey,
}

impl Package {
    fn unsigned() -> Self {
        let folder = TempDir::new().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../image/models/glm4-canary");
        for entry in fs::read_dir(source).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        Self {
            folder,
            key: VendorKey::generate().unwrap().0,
        }
    }

    fn signed() -> Self {
        let package = Self::unsigned();
        package.sign().unwrap();
        package
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn descriptor(&self) -> File {
        File::open(self.folder.path()).unwrap()
    }

    fn sign(&self) -> Result<jingui_pack::Signed, Refusal> {
        sign(self.descriptor().as_fd(), &self.key, &mut |_, _| ())
    }

    fn trust(&self) -> TrustStore {
        TrustStore::new(vec![self.key.public_key().unwrap()])
    }

    fn verify(&self) -> Result<Verified, Refusal> {
        self.verify_with(&self.trust(), None)
    }

    fn verify_with(&self, trust: &TrustStore, floor: Option<u64>) -> Result<Verified, Refusal> {
        let floor = floor.and_then(SecurityVersion::new);
        Candidate::open(self.descriptor().as_fd())?.verify(trust, &|_: &ModelName| floor, &mut |_, _| ())
    }

    #[track_caller]
    fn is_refused(&self, code: &str) -> Refusal {
        let refusal = self.verify().and_then(Verified::check_gguf).expect_err(code);
        assert_eq!(refusal.code(), code, "{refusal}");
        assert!(!refusal.is_failure());
        assert_words_find_their_facts(&refusal);
        refusal
    }

    /// The statement that `sign` would make for what lies in the folder now, as JSON to be bent.
    fn statement(&self) -> Value {
        let mut digests = BTreeMap::new();
        for entry in fs::read_dir(self.folder.path()).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if !name.starts_with("model.sig") && entry.file_type().unwrap().is_file() {
                digests.insert(name, Sha256::of(&fs::read(entry.path()).unwrap()));
            }
        }
        let mut statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "a package", "digest": {"sha256": ""}}],
            "predicateType": "https://model_signing/signature/v1.0",
            "predicate": {
                "resources": digests.iter().map(|(name, digest)| {
                    json!({"name": name, "algorithm": "sha256", "digest": digest.to_string()})
                }).collect::<Vec<_>>(),
                "serialization": {
                    "method": "files", "hash_type": "sha256", "allow_symlinks": false,
                    "ignore_paths": ["model.sig.sm2", ".git", ".gitignore", ".gitattributes", ".github"],
                },
            },
        });
        set_root(&mut statement);
        statement
    }

    /// Signs any payload with the good key.
    fn sign_payload(&self, payload: &[u8]) {
        let signature = self.key.sign(&pre_authentication(payload)).unwrap();
        let hint = self.key.public_key().unwrap().hint();
        let bundle = Bundle {
            hint,
            payload: payload.to_vec(),
            signature,
        };
        fs::write(self.path("model.sig"), bundle.to_bytes()).unwrap();
    }

    fn sign_bent(&self, bend: impl FnOnce(&mut Value)) {
        let mut statement = self.statement();
        bend(&mut statement);
        self.sign_payload(statement.to_string().as_bytes());
    }

    fn bend_bundle(&self, bend: impl FnOnce(&mut Value)) {
        let mut bundle: Value = serde_json::from_slice(&fs::read(self.path("model.sig")).unwrap()).unwrap();
        bend(&mut bundle);
        fs::write(self.path("model.sig"), bundle.to_string()).unwrap();
    }

    fn bend_release(&self, bend: impl FnOnce(&mut Value)) {
        let mut release: Value =
            serde_json::from_slice(&fs::read(self.path("release.json")).unwrap()).unwrap();
        bend(&mut release);
        fs::write(self.path("release.json"), release.to_string()).unwrap();
    }
}

/// No person may meet a text with a hole in it: each `{name}` of the code's words is one of the facts.
fn assert_words_find_their_facts(refusal: &Refusal) {
    let words: Value = serde_json::from_str(include_str!("../../messages/catalogue/model.json")).unwrap();
    for text in words[refusal.code()]["en"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_str)
    {
        for piece in text.split('{').skip(1) {
            let (name, _) = piece.split_once('}').unwrap();
            let is_a_fact = refusal.facts().iter().any(|(fact, _)| *fact == name);
            assert!(is_a_fact, "{} has no fact {name}", refusal.code());
        }
    }
}

/// Root digest over the resources, so that a bent statement is consistent in itself.
fn set_root(statement: &mut Value) {
    let resources = statement["predicate"]["resources"].as_array().unwrap();
    let digests: Vec<u8> = resources
        .iter()
        .filter_map(|resource| resource["digest"].as_str()?.parse::<Sha256>().ok())
        .flat_map(|digest| digest.as_bytes().to_vec())
        .collect();
    statement["subject"][0]["digest"]["sha256"] = json!(Sha256::of(&digests).to_string());
}

fn add_resource(statement: &mut Value, name: &str, bytes: &[u8]) {
    statement["predicate"]["resources"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": name, "algorithm": "sha256", "digest": Sha256::of(bytes).to_string()}));
    set_root(statement);
}

#[test]
fn a_signed_package_is_sound_and_says_what_it_is() {
    let package = Package::signed();
    let sound = package.verify().unwrap().check_gguf().unwrap();
    assert_eq!(sound.release().name.as_str(), "glm4-canary");
    assert_eq!(sound.release().version.as_str(), "1.0.0");
    assert_eq!(sound.release().security_version.get(), 1);
    assert_eq!(sound.release().golden_prompts.len(), 10);
    assert_eq!(sound.signed_by(), package.key.public_key().unwrap().hint());
    assert_eq!(sound.weights_path().as_str(), WEIGHTS);
    assert_eq!(
        sound.weights_digest().to_string(),
        "42f5cc97269a59ce4b1c1970e0f7dc95847bff3f84c08430bae60ee6aadf9460"
    );
    assert_eq!(sound.facts().kv_bytes_per_token, 1024);
    assert_eq!(sound.into_weights().unwrap().byte_count, 7_985_440);
}

/// As a later start of the box verifies: with the chunks that were kept.
fn verify_knowing(package: &Package, chunks: &jingui_pack::Chunks) -> Result<(Verified, u64), Refusal> {
    let mut told = 0;
    let authentic = Candidate::open(package.descriptor().as_fd())?
        .authenticate(&package.trust(), &|_: &ModelName| None)?;
    let verified = authentic.verify(Some(chunks), &mut |done, total| {
        assert!(told <= done && done <= total);
        told = done;
    })?;
    Ok((verified, told))
}

#[test]
fn weights_whose_chunks_are_known_are_verified_by_them_and_their_bytes_all_read() {
    let package = Package::signed();
    let first = package.verify().unwrap();
    let chunks = first
        .chunks()
        .expect("weights that were digested whole have chunks")
        .clone();
    assert_eq!((chunks.byte_count, chunks.digests.len()), (7_985_440, 2));
    let total: u64 = first.files().values().map(|file| file.byte_count).sum();
    let (again, told) = verify_knowing(&package, &chunks).unwrap();
    assert_eq!(told, total, "progress counts every byte of every file");
    assert_eq!(again.chunks(), None, "they were not digested whole again");
    let sound = again.check_gguf().unwrap();
    assert_eq!(sound.weights_digest(), chunks.sha256);
}

#[test]
fn known_chunks_never_make_altered_weights_pass() {
    let package = Package::signed();
    let chunks = package.verify().unwrap().chunks().unwrap().clone();
    let whole = fs::read(package.path(WEIGHTS)).unwrap();
    for at in [0, whole.len() / 2, whole.len() - 1] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(package.path(WEIGHTS), &changed).unwrap();
        let refusal = verify_knowing(&package, &chunks).expect_err("altered");
        assert!(
            matches!(&refusal, Refusal::Altered { found, .. } if *found == Sha256::of(&changed)),
            "{refusal}"
        );
    }
}

#[test]
fn chunks_of_other_weights_count_for_nothing() {
    let package = Package::signed();
    let chunks = package.verify().unwrap().chunks().unwrap().clone();
    let mut of_other_bytes = chunks.clone();
    of_other_bytes.digests.swap(0, 1);
    let mut of_another_digest = chunks;
    of_another_digest.sha256 = Sha256::of(b"another");
    for wrong in [of_other_bytes, of_another_digest] {
        let (verified, _) =
            verify_knowing(&package, &wrong).expect("the bytes are the signed ones all the same");
        assert!(verified.chunks().is_some(), "they were digested whole");
    }
}

#[test]
fn weights_that_the_kernel_measured_as_the_known_ones_are_not_read_and_others_are() {
    let package = Package::signed();
    let chunks = package.verify().unwrap().chunks().unwrap().clone();
    let expected = chunks
        .fs_verity
        .expect("computed while the weights were digested");
    let verify = |chunks: &jingui_pack::Chunks, measured: Sha256| {
        let authentic = Candidate::open(package.descriptor().as_fd())
            .unwrap()
            .authenticate(&package.trust(), &|_: &ModelName| None)
            .unwrap();
        authentic.verify_sealed(Some(chunks), measured, &mut |_, _| ())
    };
    assert!(verify(&chunks, expected).unwrap().is_weights_sealed());
    let other = Sha256::of(b"other");
    assert!(
        !verify(&chunks, other).unwrap().is_weights_sealed(),
        "read instead"
    );
    let mut of_before = chunks.clone();
    of_before.fs_verity = None;
    assert!(!verify(&of_before, expected).unwrap().is_weights_sealed());
    // The measurement is the kernel's promise for these bytes; where it is not given, changed bytes are found.
    let mut changed = fs::read(package.path(WEIGHTS)).unwrap();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    fs::write(package.path(WEIGHTS), &changed).unwrap();
    assert_eq!(verify(&chunks, other).unwrap_err().code(), "model.file.altered");
    // A file of another length is not the known one, whatever was measured.
    changed.push(0);
    fs::write(package.path(WEIGHTS), &changed).unwrap();
    assert_eq!(
        verify(&chunks, expected).unwrap_err().code(),
        "model.file.altered"
    );
}

#[test]
fn who_signed_is_known_before_the_weights_are_read() {
    let package = Package::signed();
    fs::write(package.path(WEIGHTS), vec![0; 7_985_440]).unwrap();
    let candidate = Candidate::open(package.descriptor().as_fd()).unwrap();
    let authentic = candidate
        .authenticate(&package.trust(), &|_: &ModelName| None)
        .unwrap();
    assert_eq!(authentic.release().name.as_str(), "glm4-canary");
    assert_eq!(authentic.weights().unwrap().byte_count, 7_985_440);
    let refusal = authentic.verify(None, &mut |_, _| ()).unwrap_err();
    assert_eq!(refusal.code(), "model.file.altered");
}

#[test]
fn the_names_of_the_statement_give_the_digest_of_the_package() {
    let package = Package::signed();
    let statement = package.statement();
    let verified = package.verify().unwrap();
    assert_eq!(
        statement["subject"][0]["digest"]["sha256"],
        json!(verified.digest().to_string())
    );
    assert_eq!(verified.statement().subject(), "glm4-canary-1.0.0");
}

#[test]
fn signing_again_gives_the_same_statement() {
    let package = Package::unsigned();
    let first = package.sign().unwrap();
    let second = package.sign().unwrap();
    assert_eq!(first.digest, second.digest);
}

#[test]
fn signing_completes_a_release_that_names_no_files() {
    let package = Package::unsigned();
    let complete = fs::read_to_string(package.path("release.json")).unwrap();
    package.bend_release(|release| {
        release.as_object_mut().unwrap().remove("files");
    });
    package.is_refused("model.signature.missing");
    package.sign().unwrap();
    let completed = fs::read_to_string(package.path("release.json")).unwrap();
    let [complete, completed]: [Value; 2] =
        [complete, completed].map(|text| serde_json::from_str(&text).unwrap());
    assert_eq!(complete, completed);
    package.verify().unwrap().check_gguf().unwrap();
}

#[test]
fn what_a_box_would_refuse_is_not_signed() {
    let package = Package::unsigned();
    package.bend_release(|release| release["files"][WEIGHTS]["context"] = json!(4096));
    assert_eq!(package.sign().unwrap_err().code(), "model.release.disagrees");
    let package = Package::unsigned();
    fs::write(package.path(WEIGHTS), b"GGUF").unwrap();
    assert_eq!(package.sign().unwrap_err().code(), "model.gguf.truncated");
    let package = Package::unsigned();
    symlink("LICENSE", package.path("LICENSE.zh")).unwrap();
    assert_eq!(package.sign().unwrap_err().code(), "model.entry.symlink");
    let package = Package::unsigned();
    fs::copy(package.path(WEIGHTS), package.path("second.gguf")).unwrap();
    assert_eq!(package.sign().unwrap_err().code(), "model.file.extra");
    let package = Package::unsigned();
    fs::write(package.path("model.sig.sm2"), b"of an older signature").unwrap();
    assert_eq!(package.sign().unwrap_err().code(), "model.file.extra");
    let package = Package::unsigned();
    fs::remove_file(package.path("release.json")).unwrap();
    assert_eq!(package.sign().unwrap_err().code(), "model.release.missing");
    assert!(!package.path("model.sig").exists());
}

#[test]
fn what_a_crash_left_beside_is_not_signed() {
    let package = Package::unsigned();
    fs::write(package.path("model.sig.new"), b"half a bund").unwrap();
    fs::write(package.path("release.json.new"), b"{").unwrap();
    package.sign().unwrap();
    assert_eq!(package.verify().unwrap().files().len(), 4);
}

#[test]
fn a_folder_that_cannot_be_written_keeps_what_it_had() {
    let package = Package::signed();
    let before = fs::read(package.path("model.sig")).unwrap();
    // A folder stands where the new signature would be written first.
    fs::create_dir_all(package.path("model.sig.new/inner")).unwrap();
    let failure = package.sign().unwrap_err();
    assert_eq!(failure.code(), "model.file.unwritable");
    assert!(failure.is_failure());
    assert_eq!(fs::read(package.path("model.sig")).unwrap(), before);
}

#[test]
fn an_unsigned_package_is_refused() {
    Package::unsigned().is_refused("model.signature.missing");
}

#[test]
fn a_changed_byte_is_refused_and_the_file_is_named() {
    for name in [WEIGHTS, "LICENSE", "MODEL_CARD.md", "release.json"] {
        let package = Package::signed();
        let mut bytes = fs::read(package.path(name)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(package.path(name), bytes).unwrap();
        let refusal = package.is_refused("model.file.altered");
        assert_eq!(refusal.facts()[0], ("file", name.to_owned()));
    }
}

#[test]
fn a_longer_or_shorter_file_is_refused() {
    let package = Package::signed();
    let bytes = fs::read(package.path(WEIGHTS)).unwrap();
    fs::write(package.path(WEIGHTS), [&bytes[..], b"\0"].concat()).unwrap();
    package.is_refused("model.file.altered");
    fs::write(package.path(WEIGHTS), &bytes[..bytes.len() - 1]).unwrap();
    package.is_refused("model.file.altered");
}

#[test]
fn an_unknown_key_is_refused_even_with_a_good_signature() {
    let package = Package::signed();
    let other = Package::unsigned();
    let refusal = package.verify_with(&other.trust(), None).unwrap_err();
    assert_eq!(refusal.code(), "model.signature.unknown-key");
    assert_eq!(
        refusal.facts(),
        [("key", package.key.public_key().unwrap().hint().to_string())]
    );
    assert_eq!(
        package
            .verify_with(&TrustStore::default(), None)
            .unwrap_err()
            .code(),
        refusal.code()
    );
}

#[test]
fn a_hint_of_a_trusted_key_does_not_make_a_signature_good() {
    let package = Package::signed();
    let other = Package::unsigned();
    let hint = other.key.public_key().unwrap().hint().to_string();
    package.bend_bundle(|bundle| bundle["verificationMaterial"]["publicKey"]["hint"] = json!(hint));
    let refusal = package.verify_with(&other.trust(), None).unwrap_err();
    assert_eq!(refusal.code(), "model.signature.wrong");
}

#[test]
fn a_signature_over_another_list_is_refused() {
    let package = Package::signed();
    let signed = fs::read(package.path("model.sig")).unwrap();
    fs::write(package.path("LICENSE"), b"other").unwrap();
    package.sign().unwrap();
    let old: Value = serde_json::from_slice(&signed).unwrap();
    package.bend_bundle(|bundle| {
        bundle["dsseEnvelope"]["signatures"] = old["dsseEnvelope"]["signatures"].clone();
    });
    package.is_refused("model.signature.wrong");
}

#[test]
fn an_extra_file_is_refused_wherever_it_lies() {
    let package = Package::signed();
    fs::write(package.path("extra.txt"), b"x").unwrap();
    assert_eq!(package.is_refused("model.file.extra").facts()[0].1, "extra.txt");
    fs::remove_file(package.path("extra.txt")).unwrap();
    fs::create_dir(package.path("docs")).unwrap();
    fs::write(package.path("docs/extra.txt"), b"x").unwrap();
    assert_eq!(
        package.is_refused("model.file.extra").facts()[0].1,
        "docs/extra.txt"
    );
}

#[test]
fn paths_that_the_statement_ignores_are_extra_all_the_same() {
    let package = Package::signed();
    fs::create_dir(package.path(".git")).unwrap();
    package.is_refused("model.name.not-allowed");
}

#[test]
fn a_sidecar_is_accepted_only_where_the_statement_ignores_it() {
    let package = Package::signed();
    fs::write(package.path("model.sig.sm2"), b"der").unwrap();
    package.verify().unwrap();
    package.sign_bent(|statement| {
        statement["predicate"]["serialization"]["ignore_paths"] = json!([]);
    });
    assert_eq!(
        package.is_refused("model.file.extra").facts()[0].1,
        "model.sig.sm2"
    );
}

#[test]
fn a_missing_file_is_refused() {
    let package = Package::signed();
    fs::remove_file(package.path("LICENSE")).unwrap();
    assert_eq!(package.is_refused("model.file.missing").facts()[0].1, "LICENSE");
}

#[test]
fn links_are_refused_at_any_place() {
    let package = Package::signed();
    let license = fs::read(package.path("LICENSE")).unwrap();
    fs::remove_file(package.path("LICENSE")).unwrap();
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("LICENSE"), license).unwrap();
    symlink(outside.path().join("LICENSE"), package.path("LICENSE")).unwrap();
    assert_eq!(package.is_refused("model.entry.symlink").facts()[0].1, "LICENSE");
    fs::remove_file(package.path("LICENSE")).unwrap();
    symlink(outside.path(), package.path("docs")).unwrap();
    assert_eq!(package.is_refused("model.entry.symlink").facts()[0].1, "docs");
}

#[test]
fn pipes_sockets_and_devices_are_refused_without_waiting_for_them() {
    use nix::sys::stat::{Mode, SFlag, mknod};
    let package = Package::signed();
    nix::unistd::mkfifo(&package.path("pipe"), Mode::S_IRWXU).unwrap();
    assert_eq!(package.is_refused("model.entry.special").facts()[0].1, "pipe");
    fs::remove_file(package.path("pipe")).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(package.path("socket")).unwrap();
    assert_eq!(package.is_refused("model.entry.special").facts()[0].1, "socket");
    fs::remove_file(package.path("socket")).unwrap();
    // Only root may make a device; the pipe and the socket above go the same way through the code.
    let null = nix::sys::stat::makedev(1, 3);
    if mknod(&package.path("device"), SFlag::S_IFCHR, Mode::S_IRWXU, null).is_ok() {
        assert_eq!(package.is_refused("model.entry.special").facts()[0].1, "device");
    }
}

#[test]
fn names_that_no_package_may_have_are_refused_in_the_folder() {
    use std::os::unix::ffi::OsStrExt;
    for (name, fault) in [
        (&b"a\\b"[..], "backslash"),
        (b"a\nb", "control"),
        (b"a b", "character"),
        (b".hidden", "hidden"),
        ("é.txt".as_bytes(), "character"),
        (b"\xff\xfe", "character"),
    ] {
        let package = Package::signed();
        fs::write(
            package.folder.path().join(std::ffi::OsStr::from_bytes(name)),
            b"x",
        )
        .unwrap();
        let refusal = package.is_refused("model.name.not-allowed");
        assert_eq!(refusal.facts()[1], ("fault", fault.to_owned()));
    }
}

#[test]
fn names_that_no_package_may_have_are_refused_in_the_statement() {
    for (name, fault) in [
        ("../LICENSE", "step"),
        ("docs/../../etc/passwd", "step"),
        ("/etc/passwd", "absolute"),
        ("docs\\LICENSE", "backslash"),
        ("LICENSE\0.txt", "control"),
        ("LICENSE\n", "control"),
        ("", "empty"),
        ("docs//LICENSE", "empty"),
    ] {
        let package = Package::unsigned();
        package.sign_bent(|statement| add_resource(statement, name, b"x"));
        let refusal = package.is_refused("model.name.not-allowed");
        assert_eq!(refusal.facts()[1], ("fault", fault.to_owned()), "{name:?}");
    }
}

#[test]
fn case_twins_are_refused_in_folder_and_statement() {
    let package = Package::signed();
    fs::write(package.path("license"), b"x").unwrap();
    package.is_refused("model.name.case-twins");

    let package = Package::unsigned();
    package.sign_bent(|statement| add_resource(statement, "license", b"x"));
    package.is_refused("model.name.case-twins");

    let package = Package::unsigned();
    for folder in ["docs", "Docs"] {
        fs::create_dir(package.path(folder)).unwrap();
        fs::write(package.path(folder).join(folder), b"x").unwrap();
    }
    package.is_refused("model.name.case-twins");
}

#[test]
fn too_many_and_too_deep_are_refused_at_their_bounds() {
    let package = Package::signed();
    let present = fs::read_dir(package.folder.path()).unwrap().count();
    for index in present..ENTRY_COUNT_MAX {
        fs::write(package.path(&format!("file{index}")), b"").unwrap();
    }
    package.is_refused("model.file.extra");
    fs::write(package.path("one-more"), b"").unwrap();
    package.is_refused("model.folder.too-many");

    let package = Package::signed();
    fs::create_dir_all(package.path("a/b/c/d")).unwrap();
    package.verify().unwrap();
    fs::create_dir_all(package.path("a/b/c/d/e")).unwrap();
    package.is_refused("model.folder.too-deep");
}

#[test]
fn an_older_release_is_refused_before_the_weights_are_read() {
    let package = Package::signed();
    package.verify_with(&package.trust(), Some(1)).unwrap();
    // Weights that cannot be what was signed: they are never looked at.
    fs::write(package.path(WEIGHTS), b"").unwrap();
    let refusal = package.verify_with(&package.trust(), Some(2)).unwrap_err();
    assert_eq!(refusal.code(), "model.version.rolled-back");
    assert_eq!(
        refusal.facts()[1..],
        [("offered", "1".to_owned()), ("floor", "2".to_owned())]
    );
}

#[test]
fn a_release_for_a_newer_appliance_is_refused() {
    let package = Package::unsigned();
    package.bend_release(|release| release["min_appliance"] = json!("2.10.0"));
    package.sign().unwrap();
    let verified = package.verify().unwrap();
    let check = |current: &str| {
        verified
            .release()
            .check_appliance(&Version::parse(current).unwrap())
    };
    assert_eq!(
        check("2.9.9").unwrap_err().code(),
        "model.release.appliance-too-old"
    );
    check("2.10.0").unwrap();
    check("3.0.0-rc.1").unwrap();
}

#[test]
fn bundles_of_another_form_are_refused() {
    type Bend = fn(&mut Value);
    let cases: [(&str, Bend); 12] = [
        ("model.signature.several", |bundle| {
            let signature = bundle["dsseEnvelope"]["signatures"][0].clone();
            bundle["dsseEnvelope"]["signatures"]
                .as_array_mut()
                .unwrap()
                .push(signature);
        }),
        ("model.signature.malformed", |bundle| {
            bundle["dsseEnvelope"]["signatures"] = json!([])
        }),
        ("model.signature.malformed", |bundle| {
            bundle["mediaType"] = json!("application/json")
        }),
        ("model.signature.malformed", |bundle| bundle["extra"] = json!(1)),
        ("model.signature.malformed", |bundle| {
            bundle["dsseEnvelope"]["payload"] = json!("%%%")
        }),
        ("model.signature.malformed", |bundle| {
            bundle["dsseEnvelope"]["signatures"][0]["sig"] = json!("");
        }),
        ("model.signature.malformed", |bundle| {
            bundle["dsseEnvelope"]["signatures"][0]["keyid"] = json!("a");
        }),
        ("model.signature.malformed", |bundle| {
            bundle["verificationMaterial"]["tlogEntries"] = json!([{}]);
        }),
        ("model.signature.malformed", |bundle| {
            bundle["verificationMaterial"] = json!({"certificate": {"rawBytes": ""}});
        }),
        ("model.signature.malformed", |bundle| {
            bundle["verificationMaterial"]["publicKey"]["hint"] = json!("4449C1FE");
        }),
        ("model.statement.payload-type", |bundle| {
            bundle["dsseEnvelope"]["payloadType"] = json!("text/plain");
        }),
        ("model.signature.wrong", |bundle| {
            bundle["dsseEnvelope"]["signatures"][0]["sig"] = json!("MEUCIQCp");
        }),
    ];
    for (code, bend) in cases {
        let package = Package::signed();
        package.bend_bundle(bend);
        package.is_refused(code);
    }
    let package = Package::signed();
    for (code, bytes) in [
        ("model.signature.malformed", Vec::new()),
        ("model.signature.malformed", b"-----BEGIN".to_vec()),
        ("model.signature.malformed", b"[".repeat(100_000)),
        ("model.signature.too-big", b" ".repeat(3 << 20)),
    ] {
        fs::write(package.path("model.sig"), bytes).unwrap();
        package.is_refused(code);
    }
}

#[test]
fn statements_of_another_form_are_refused_even_when_they_are_signed() {
    type Bend = fn(&mut Value);
    let cases: [(&str, Bend); 14] = [
        ("model.statement.predicate", |it| {
            it["predicateType"] = json!("https://model_signing/Digests/v0.1")
        }),
        ("model.statement.predicate", |it| {
            it["_type"] = json!("https://in-toto.io/Statement/v0.1")
        }),
        ("model.statement.serialization", |it| {
            it["predicate"]["serialization"]["method"] = json!("shards")
        }),
        ("model.statement.serialization", |it| {
            it["predicate"]["serialization"]["hash_type"] = json!("blake3")
        }),
        ("model.statement.serialization", |it| {
            it["predicate"]["serialization"]["allow_symlinks"] = json!(true)
        }),
        ("model.statement.serialization", |it| {
            it["predicate"]["resources"][0]["algorithm"] = json!("blake2b")
        }),
        ("model.statement.ignore-path", |it| {
            it["predicate"]["serialization"]["ignore_paths"]
                .as_array_mut()
                .unwrap()
                .push(json!("plugins"));
        }),
        ("model.statement.ignore-path", |it| {
            it["predicate"]["serialization"]["ignore_paths"] = json!(["glm4-canary-f16.gguf"]);
        }),
        ("model.statement.root", |it| {
            it["subject"][0]["digest"]["sha256"] = json!("00".repeat(32))
        }),
        ("model.statement.root", |it| {
            it["predicate"]["resources"].as_array_mut().unwrap().pop();
        }),
        ("model.statement.malformed", |it| it["subject"] = json!([])),
        ("model.statement.malformed", |it| {
            it["predicate"]["extra"] = json!(1)
        }),
        ("model.statement.malformed", |it| {
            it["predicate"]["resources"][0]["digest"] = json!("XYZ");
        }),
        ("model.statement.malformed", |it| {
            let twice = it["predicate"]["resources"][0].clone();
            it["predicate"]["resources"].as_array_mut().unwrap().push(twice);
            set_root(it);
        }),
    ];
    for (code, bend) in cases {
        let package = Package::unsigned();
        package.sign_bent(bend);
        package.is_refused(code);
    }
    let package = Package::unsigned();
    package.sign_payload(b"not json");
    package.is_refused("model.statement.malformed");
}

#[test]
fn a_release_that_is_bad_or_missing_is_refused_even_when_it_is_signed() {
    type Bend = fn(&mut Value);
    let cases: [(&str, Bend); 16] = [
        ("model.release.malformed", |it| it["name"] = json!("GLM 4")),
        ("model.release.malformed", |it| it["name"] = json!("../glm")),
        ("model.release.malformed", |it| it["name"] = json!("")),
        ("model.release.malformed", |it| it["version"] = json!("1.0")),
        ("model.release.malformed", |it| it["version"] = json!("01.0.0")),
        ("model.release.malformed", |it| {
            it["security_version"] = json!(1_u64 << 53)
        }),
        ("model.release.malformed", |it| it["security_version"] = json!(-1)),
        ("model.release.malformed", |it| {
            it["security_version"] = json!("1")
        }),
        ("model.release.malformed", |it| it["label_code"] = json!("abc")),
        ("model.release.malformed", |it| it["unknown"] = json!(true)),
        ("model.release.malformed", |it| {
            it["golden_prompts"][0]["extra"] = json!(1)
        }),
        ("model.release.value", |it| it["licence"] = json!(" ")),
        ("model.release.value", |it| it["filing_number"] = json!("a\nb")),
        ("model.release.value", |it| it["files"] = json!({})),
        ("model.release.value", |it| {
            it["golden_prompts"][0]["messages"] = json!([])
        }),
        ("model.file.missing", |it| {
            let file = it["files"]["glm4-canary-f16.gguf"].clone();
            it["files"] = json!({"other.gguf": file});
        }),
    ];
    for (code, bend) in cases {
        let package = Package::unsigned();
        package.bend_release(bend);
        package.sign_bent(|_| ());
        package.is_refused(code);
    }
    let package = Package::unsigned();
    fs::remove_file(package.path("release.json")).unwrap();
    package.sign_bent(|_| ());
    package.is_refused("model.release.missing");
    let package = Package::unsigned();
    fs::write(package.path("release.json"), b" ".repeat((1 << 20) + 1)).unwrap();
    package.sign_bent(|_| ());
    package.is_refused("model.release.too-big");
}

#[test]
fn a_release_that_disagrees_with_its_weights_is_refused_by_field() {
    for (field, value) in [
        ("size", json!(1)),
        ("sha256", json!("00".repeat(32))),
        ("arch", json!("glm4moe")),
        ("quant", json!("Q8_0")),
        ("context", json!(131_072)),
        ("tokenizer_digest", json!("00".repeat(32))),
        ("chat_template_digest", json!("00".repeat(32))),
    ] {
        let package = Package::unsigned();
        package.bend_release(|release| release["files"][WEIGHTS][field] = value);
        package.sign_bent(|_| ());
        let refusal = package.is_refused("model.release.disagrees");
        assert_eq!(refusal.facts()[1], ("field", field.to_owned()));
    }
}

#[test]
fn hostile_weights_with_a_good_signature_are_refused_by_rule() {
    for (offset, bytes, rule) in [
        (0, &b"GGML"[..], "magic"),
        (8, &u64::MAX.to_le_bytes()[..], "tensor-count"),
        (16, &u64::MAX.to_le_bytes()[..], "key-count"),
        (24, &(1_u64 << 40).to_le_bytes()[..], "string-length"),
    ] {
        let package = Package::unsigned();
        let mut weights = fs::read(package.path(WEIGHTS)).unwrap();
        weights[offset..offset + bytes.len()].copy_from_slice(bytes);
        fs::write(package.path(WEIGHTS), weights).unwrap();
        package.sign_bent(|_| ());
        let refusal = package.is_refused(&format!("model.gguf.{rule}"));
        assert_eq!(refusal.facts()[0], ("file", WEIGHTS.to_owned()));
    }
}

#[test]
fn progress_grows_to_the_whole() {
    let package = Package::signed();
    let mut seen = Vec::new();
    let candidate = Candidate::open(package.descriptor().as_fd()).unwrap();
    candidate
        .verify(&package.trust(), &|_| None, &mut |done, total| {
            seen.push((done, total))
        })
        .unwrap();
    let total = seen[0].1;
    assert!(total > 7_985_440 && seen.len() > 4);
    assert!(
        seen.windows(2)
            .all(|pair| pair[0].0 <= pair[1].0 && pair[1].1 == total)
    );
    assert_eq!(seen.last(), Some(&(total, total)));
}

fn import(package: &Package, store: &Path) -> Result<Verified, Refusal> {
    let target = File::open(store).unwrap();
    let mut sink = FolderSink::new(target.as_fd()).unwrap();
    let candidate = Candidate::open(package.descriptor().as_fd())?;
    candidate.import(&package.trust(), &|_| None, &mut sink, &mut |_, _| ())
}

#[test]
fn an_import_leaves_a_copy_that_verifies_by_itself() {
    let package = Package::unsigned();
    fs::create_dir_all(package.path("docs/zh")).unwrap();
    fs::write(package.path("docs/zh/safety.txt"), b"safe").unwrap();
    package.sign().unwrap();
    fs::write(package.path("model.sig.sm2"), b"der").unwrap();
    let store = TempDir::new().unwrap();
    let imported = import(&package, store.path()).unwrap();
    // From here on nothing depends on the source any more.
    drop(fs::remove_dir_all(package.folder.path()));
    let sound = imported.check_gguf().unwrap();
    let copy = Package {
        folder: store,
        key: package.key,
    };
    let again = copy.verify().unwrap();
    assert_eq!(again.digest(), sound.digest());
    assert_eq!(again.files().len(), 5);
    assert_eq!(fs::read(copy.path("model.sig.sm2")).unwrap(), b"der");
}

/// A stick that answers the second read of a file with other bytes gains nothing: what is checked afterwards and
/// used is the copy, and the copy is what was digested.
#[test]
fn after_an_import_only_the_copy_is_looked_at() {
    let package = Package::signed();
    let store = TempDir::new().unwrap();
    let imported = import(&package, store.path()).unwrap();
    // The same inode that the candidate had opened now has other bytes.
    fs::write(package.path(WEIGHTS), b"GGUF hostile").unwrap();
    let weights = imported.check_gguf().unwrap().into_weights().unwrap();
    let mut magic = [0; 8];
    ReadAt::read_at(&weights.file, 0, &mut magic).unwrap();
    assert_eq!(&magic, b"GGUF\x03\0\0\0");
    assert_eq!(weights.byte_count, 7_985_440);
}

#[test]
fn a_refused_import_leaves_no_signature_behind() {
    let package = Package::signed();
    let mut bytes = fs::read(package.path(WEIGHTS)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(package.path(WEIGHTS), bytes).unwrap();
    let store = TempDir::new().unwrap();
    assert_eq!(
        import(&package, store.path()).unwrap_err().code(),
        "model.file.altered"
    );
    assert!(
        !store.path().join("model.sig").exists(),
        "without its signature the rest is never a package"
    );
}

#[test]
fn an_import_never_writes_over_what_is_there() {
    let package = Package::signed();
    let store = TempDir::new().unwrap();
    fs::write(store.path().join("LICENSE"), b"mine").unwrap();
    let failure = import(&package, store.path()).unwrap_err();
    assert_eq!(failure.code(), "model.file.unwritable");
    assert!(failure.is_failure());
    assert_eq!(fs::read(store.path().join("LICENSE")).unwrap(), b"mine");
}

#[test]
fn a_disk_that_fills_up_is_a_failure_and_no_refusal() {
    struct Full;
    impl Sink for Full {
        fn create(&mut self, _: &PackPath) -> io::Result<File> {
            File::options().read(true).write(true).open("/dev/full")
        }
        fn finish(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let package = Package::signed();
    let candidate = Candidate::open(package.descriptor().as_fd()).unwrap();
    let failure = candidate
        .import(&package.trust(), &|_| None, &mut Full, &mut |_, _| ())
        .unwrap_err();
    assert_eq!(failure.code(), "model.file.unwritable");
    assert!(failure.is_failure());
}

#[test]
fn the_weights_that_are_handed_on_are_the_descriptor_that_was_digested() {
    use std::os::unix::fs::MetadataExt;
    let package = Package::signed();
    let inode = fs::metadata(package.path(WEIGHTS)).unwrap().ino();
    let verified = package.verify().unwrap();
    // Another file under the same name changes nothing for the descriptor that is held.
    fs::rename(package.path("LICENSE"), package.path(WEIGHTS)).unwrap();
    let OpenFile { file, byte_count } = verified.check_gguf().unwrap().into_weights().unwrap();
    assert_eq!(file.metadata().unwrap().ino(), inode);
    assert_eq!(byte_count, 7_985_440);
}
