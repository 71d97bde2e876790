//! Update bundles through the crate's door: honest ones, each way to be bad, and a stick that changes its mind.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::fs;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;

use jingui_pack::update::{
    self, Architecture, Authentic, Facts, FileRole, ImageVersion, Machine, Manifest, Offered, UpdateRefusal,
};
use jingui_pack::{FolderSink, PackPath, SecurityVersion, Sink};
use jingui_trust::image_key::{ImageKey, ImagePublicKey, Purpose};
use jingui_trust::{Sha256, Sha256Stream};

/// A bundle in a folder of its own, and the key that signed it.
struct Bundle {
    folder: tempfile::TempDir,
    key: ImageKey,
    facts: Facts,
}

const ROOT_BYTES: usize = 3 << 20;

fn path(name: &str) -> PackPath {
    PackPath::parse(name).unwrap()
}

/// A hash tree whose superblock and topmost block are consistent; and its root hash.
fn tree() -> (Vec<u8>, Sha256) {
    let mut bytes = vec![0; 8192];
    bytes[..8].copy_from_slice(b"verity\0\0");
    bytes[8] = 1;
    bytes[12] = 1;
    bytes[32..38].copy_from_slice(b"sha256");
    bytes[64..68].copy_from_slice(&4096_u32.to_le_bytes());
    bytes[68..72].copy_from_slice(&4096_u32.to_le_bytes());
    bytes[72..80].copy_from_slice(&(ROOT_BYTES as u64 / 4096).to_le_bytes());
    bytes[80] = 32;
    bytes[88..120].fill(7);
    bytes[4096..].fill(9);
    let mut digest = Sha256Stream::new();
    digest.update(&bytes[88..120]);
    digest.update(&bytes[4096..]);
    (bytes, digest.finish())
}

fn bundle() -> Bundle {
    let folder = tempfile::tempdir().unwrap();
    let (verity, roothash) = tree();
    let root: Vec<u8> = (0..ROOT_BYTES).map(|index| (index % 251) as u8).collect();
    let mut uki = vec![b'k'; 100_000];
    uki.extend_from_slice(format!("quiet roothash={roothash} panic=10").as_bytes());
    fs::write(folder.path().join("root.raw"), root).unwrap();
    fs::write(folder.path().join("verity.raw"), verity).unwrap();
    fs::write(folder.path().join("jingui_2.efi"), uki).unwrap();
    let facts = Facts {
        image_version: ImageVersion::parse("2").unwrap(),
        security_version: SecurityVersion::new(5).unwrap(),
        architecture: Architecture::X8664,
        roothash,
        files: vec![
            (FileRole::Uki, path("jingui_2.efi")),
            (FileRole::Root, path("root.raw")),
            (FileRole::Verity, path("verity.raw")),
        ],
        site_keys: Vec::new(),
    };
    let (key, _) = ImageKey::generate().unwrap();
    let bundle = Bundle { folder, key, facts };
    bundle.build().unwrap();
    bundle
}

fn machine(running: &str, floor: u64) -> Machine {
    Machine {
        architecture: Architecture::X8664,
        running: Some(ImageVersion::parse(running).unwrap()),
        floor: SecurityVersion::new(floor).unwrap(),
    }
}

impl Bundle {
    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn build(&self) -> Result<Manifest, UpdateRefusal> {
        let folder = fs::File::open(self.path()).unwrap();
        update::build(folder.as_fd(), &self.facts, &self.key)
    }

    fn public(&self) -> ImagePublicKey {
        self.key.public_key().unwrap()
    }

    fn authenticate(&self) -> Result<Authentic, UpdateRefusal> {
        let folder = fs::File::open(self.path()).unwrap();
        Offered::open(folder.as_fd())?.authenticate(&[self.public()])
    }

    fn verify(&self) -> Result<update::Verified, UpdateRefusal> {
        self.authenticate()?.fit(&machine("1", 5))?.verify(&mut |_, _| ())
    }

    fn code(&self) -> &'static str {
        self.verify().unwrap_err().code()
    }
}

#[test]
fn an_honest_bundle_is_verified_and_built_the_same_twice() {
    let bundle = bundle();
    let verified = bundle.verify().unwrap();
    assert_eq!(verified.signed_by, bundle.public().hint());
    assert_eq!(verified.manifest.image_version.as_str(), "2");
    let roles: Vec<FileRole> = verified.manifest.files.iter().map(|file| file.role).collect();
    assert_eq!(roles, [FileRole::Root, FileRole::Verity, FileRole::Uki]);
    let read = || {
        (
            fs::read(bundle.path().join("manifest.json")).unwrap(),
            fs::read(bundle.path().join("manifest.sig")).unwrap(),
        )
    };
    let first = read();
    bundle.build().unwrap();
    assert_eq!(read(), first);
}

#[test]
fn the_bundle_is_found_in_its_folder_at_the_top_of_a_stick() {
    let bundle = bundle();
    let stick = tempfile::tempdir().unwrap();
    fs::rename(bundle.path(), stick.path().join("jingui-update")).unwrap();
    let top = fs::File::open(stick.path()).unwrap();
    let offered = Offered::open(top.as_fd()).unwrap();
    offered.authenticate(&[bundle.public()]).unwrap();
}

#[test]
fn openssl_makes_and_checks_the_same_signature() {
    let bundle = bundle();
    let manifest = fs::read(bundle.path().join("manifest.json")).unwrap();
    let signed = tempfile::tempdir().unwrap();
    let place = |name: &str| signed.path().join(name).display().to_string();
    fs::write(
        place("signed"),
        [Purpose::UpdateManifest.prefix(), &manifest].concat(),
    )
    .unwrap();
    fs::write(place("key.pem"), bundle.public().to_pem()).unwrap();
    let signature = bundle.path().join("manifest.sig").display().to_string();
    let words = ["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey"];
    let status = std::process::Command::new("openssl")
        .args(words)
        .args([&place("key.pem"), "-in", &place("signed"), "-sigfile", &signature])
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn each_way_to_be_bad_has_its_code() {
    let change = |file: &'static str, change: fn(&Path)| {
        let bundle = bundle();
        change(&bundle.path().join(file));
        bundle.code()
    };
    let flip = |place: &Path| {
        let mut bytes = fs::read(place).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(place, bytes).unwrap();
    };
    type Case = (&'static str, fn(&Path), &'static str);
    let cases: [Case; 15] = [
        (
            "manifest.json",
            |it| fs::remove_file(it).unwrap(),
            "update.bundle.absent",
        ),
        (
            "manifest.sig",
            |it| fs::remove_file(it).unwrap(),
            "update.file.missing",
        ),
        (
            "root.raw",
            |it| fs::remove_file(it).unwrap(),
            "update.file.missing",
        ),
        (
            "autorun.inf",
            |it| fs::write(it, "x").unwrap(),
            "update.file.extra",
        ),
        (".hidden", |it| fs::write(it, "x").unwrap(), "update.file.extra"),
        ("folder", |it| fs::create_dir(it).unwrap(), "update.file.extra"),
        (
            "manifest.sig",
            |it| fs::write(it, [0; 63]).unwrap(),
            "update.signature.malformed",
        ),
        (
            "manifest.sig",
            |it| fs::write(it, [0; 64]).unwrap(),
            "update.signature.wrong",
        ),
        (
            "manifest.json",
            |it| fs::write(it, vec![b' '; 65_537]).unwrap(),
            "update.manifest.too-big",
        ),
        (
            "manifest.json",
            |it| fs::write(it, vec![b' '; 65_536]).unwrap(),
            "update.signature.wrong",
        ),
        (
            "root.raw",
            |it| {
                fs::OpenOptions::new()
                    .append(true)
                    .open(it)
                    .unwrap()
                    .write_all(b"x")
                    .unwrap()
            },
            "update.file.size",
        ),
        (
            // A size that no memory holds costs nothing: it is compared, not read.
            "root.raw",
            |it| {
                fs::OpenOptions::new()
                    .write(true)
                    .open(it)
                    .unwrap()
                    .set_len(1 << 40)
                    .unwrap()
            },
            "update.file.size",
        ),
        (
            "root.raw",
            |it| {
                fs::rename(it, it.with_extension("moved")).unwrap();
                std::os::unix::fs::symlink("/dev/zero", it).unwrap();
                fs::remove_file(it.with_extension("moved")).unwrap();
            },
            "update.file.special",
        ),
        (
            "jingui_2.efi",
            |it| {
                fs::remove_file(it).unwrap();
                nix::unistd::mkfifo(it, nix::sys::stat::Mode::S_IRWXU).unwrap();
            },
            "update.file.special",
        ),
        (
            "manifest.json",
            |it| {
                fs::remove_file(it).unwrap();
                nix::unistd::mkfifo(it, nix::sys::stat::Mode::S_IRWXU).unwrap();
            },
            "update.file.special",
        ),
    ];
    for (file, how, code) in cases {
        assert_eq!(change(file, how), code, "{file}");
    }
    for file in ["root.raw", "verity.raw", "jingui_2.efi"] {
        assert_eq!(change(file, flip), "update.file.altered", "{file}");
    }
    assert_eq!(change("manifest.json", flip), "update.signature.wrong");
    let long_list = bundle();
    for number in 0..300 {
        fs::write(long_list.path().join(format!("x{number}")), "").unwrap();
    }
    assert_eq!(long_list.code(), "update.file.extra");
}

#[test]
fn no_other_key_is_believed_and_no_signature_for_something_else() {
    let bundle = bundle();
    let folder = fs::File::open(bundle.path()).unwrap();
    let (other, _) = ImageKey::generate().unwrap();
    let stranger = Offered::open(folder.as_fd())
        .unwrap()
        .authenticate(&[other.public_key().unwrap()]);
    assert_eq!(stranger.unwrap_err().code(), "update.signature.wrong");
    let nobody = Offered::open(folder.as_fd()).unwrap().authenticate(&[]);
    assert_eq!(nobody.unwrap_err().code(), "update.signature.wrong");
    let manifest = fs::read(bundle.path().join("manifest.json")).unwrap();
    let signature = bundle.key.sign(Purpose::InstallAnswers, &manifest);
    fs::write(bundle.path().join("manifest.sig"), signature).unwrap();
    assert_eq!(bundle.code(), "update.signature.wrong");
}

#[test]
fn only_what_is_newer_and_not_below_the_floor_fits() {
    let bundle = bundle();
    let fit = |machine: &Machine| bundle.authenticate().unwrap().fit(machine).map(drop);
    fit(&machine("1.9", 5)).unwrap();
    fit(&machine("1", 0)).unwrap();
    let code = |machine: &Machine| fit(machine).unwrap_err().code();
    assert_eq!(code(&machine("1", 6)), "update.version.rolled-back");
    assert_eq!(code(&machine("2", 5)), "update.version.not-newer");
    assert_eq!(code(&machine("10", 5)), "update.version.not-newer");
    let arm = Machine {
        architecture: Architecture::Arm64,
        ..machine("1", 5)
    };
    assert_eq!(code(&arm), "update.architecture.other");
    let fresh = Machine {
        running: None,
        ..machine("1", 5)
    };
    fit(&fresh).unwrap();
}

#[test]
fn a_copy_is_a_whole_bundle_that_verifies_by_itself() {
    let bundle = bundle();
    let target = tempfile::tempdir().unwrap();
    let mut sink = FolderSink::new(fs::File::open(target.path()).unwrap().as_fd()).unwrap();
    let mut told = Vec::new();
    let fitting = bundle.authenticate().unwrap().fit(&machine("1", 5)).unwrap();
    let verified = fitting
        .copy(&mut sink, &mut |done, total| told.push((done, total)))
        .unwrap();
    assert!(told.is_sorted());
    let total = verified.manifest.byte_count();
    assert_eq!(told.last(), Some(&(total, total)));
    let copy = fs::File::open(target.path()).unwrap();
    let again = Offered::open(copy.as_fd())
        .unwrap()
        .authenticate(&[bundle.public()])
        .unwrap();
    let again = again
        .fit(&machine("1", 5))
        .unwrap()
        .verify(&mut |_, _| ())
        .unwrap();
    assert_eq!(again, verified);
}

/// Changes the source at the moment when a copy of it is begun.
struct FickleStick<'a> {
    inner: FolderSink,
    source: &'a Path,
}

impl Sink for FickleStick<'_> {
    fn create(&mut self, path: &PackPath) -> io::Result<fs::File> {
        if path.as_str() == "root.raw" {
            let root = self.source.join("root.raw");
            let mut bytes = fs::read(&root)?;
            bytes[ROOT_BYTES - 1] ^= 1;
            // In place, so that the descriptor that was opened before sees it too.
            fs::OpenOptions::new()
                .write(true)
                .open(&root)?
                .write_all(&bytes)?;
        }
        self.inner.create(path)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.inner.finish()
    }
}

#[test]
fn a_stick_that_answers_differently_the_second_time_is_found_out() {
    let bundle = bundle();
    bundle.verify().unwrap();
    let target = tempfile::tempdir().unwrap();
    let folder = fs::File::open(target.path()).unwrap();
    let mut sink = FickleStick {
        inner: FolderSink::new(folder.as_fd()).unwrap(),
        source: bundle.path(),
    };
    let fitting = bundle.authenticate().unwrap().fit(&machine("1", 5)).unwrap();
    let refusal = fitting.copy(&mut sink, &mut |_, _| ()).unwrap_err();
    assert_eq!(refusal.code(), "update.file.altered");
}

#[test]
fn files_that_do_not_belong_together_are_not_packed() {
    let mut wrong = bundle();
    wrong.facts.roothash = Sha256::of(b"another build");
    assert_eq!(wrong.build().unwrap_err().code(), "update.entry.wrong");
    let tree = bundle();
    fs::write(tree.path().join("verity.raw"), vec![0; 8192]).unwrap();
    assert_eq!(tree.build().unwrap_err().code(), "update.tree.wrong");
    let short = bundle();
    fs::write(short.path().join("root.raw"), vec![0; 4096]).unwrap();
    assert_eq!(short.build().unwrap_err().code(), "update.tree.wrong");
    let mut twice = bundle();
    twice.facts.files.push((FileRole::Root, path("jingui_2.efi")));
    assert_eq!(twice.build().unwrap_err().code(), "update.manifest.malformed");
}

#[test]
fn a_signature_made_elsewhere_is_attached_only_when_it_is_one() {
    let bundle = bundle();
    let folder = fs::File::open(bundle.path()).unwrap();
    fs::remove_file(bundle.path().join("manifest.sig")).unwrap();
    let manifest = update::describe(folder.as_fd(), &bundle.facts).unwrap();
    let signature = bundle.key.sign(Purpose::UpdateManifest, &manifest.to_bytes());
    let (other, _) = ImageKey::generate().unwrap();
    let stranger = update::attach(
        folder.as_fd(),
        &manifest,
        &signature,
        &other.public_key().unwrap(),
    );
    assert_eq!(stranger.unwrap_err().code(), "update.signature.wrong");
    update::attach(folder.as_fd(), &manifest, &signature, &bundle.public()).unwrap();
    bundle.verify().unwrap();
}

/// The words have an entry for each code of a bundle and a key in each language.
#[test]
fn each_code_of_an_update_has_its_words_in_both_languages() {
    let words = include_str!("../../messages/catalogue/update.json");
    let words: serde_json::Value = serde_json::from_str(words).unwrap();
    let keys = jingui_trust::image_key::ImageKeyRefusal::CODES;
    for code in UpdateRefusal::CODES.iter().chain(keys) {
        for language in ["zh-CN", "en"] {
            for part in ["what", "why", "do"] {
                assert!(
                    words[*code][language][part].is_string(),
                    "{code} {language} {part}"
                );
            }
        }
    }
}
