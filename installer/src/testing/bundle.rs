//! Signed bundles for tests, small enough to be written hundreds of times.

use std::fs::{self, File};
use std::os::fd::AsFd;

use jingui_pack::update::{self, Architecture, Facts, FileRole, Fitting, ImageVersion, Machine, Offered};
use jingui_pack::{PackPath, SecurityVersion};
use jingui_trust::Sha256;
use jingui_trust::image_key::ImageKey;

use crate::layout::Sizes;

/// An ESP just large enough for FAT32.
pub(crate) const SIZES: Sizes = Sizes {
    esp: 36 << 20,
    root: 1 << 20,
    verity: 1 << 20,
};

pub(crate) struct Bundle {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) key: ImageKey,
    pub(crate) root: Vec<u8>,
    pub(crate) uki: Vec<u8>,
}

fn bytes(seed: &str, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut block = Sha256::of(seed.as_bytes());
    while bytes.len() < count {
        bytes.extend_from_slice(block.as_bytes());
        block = Sha256::of(block.as_bytes());
    }
    bytes.truncate(count);
    bytes
}

fn tree(seed: &str, root_bytes: usize) -> (Vec<u8>, Sha256) {
    let mut tree = vec![0; 4096];
    tree[..8].copy_from_slice(b"verity\0\0");
    tree[8] = 1;
    tree[12] = 1;
    tree[32..38].copy_from_slice(b"sha256");
    tree[64..68].copy_from_slice(&4096_u32.to_le_bytes());
    tree[68..72].copy_from_slice(&4096_u32.to_le_bytes());
    tree[72..80].copy_from_slice(&(root_bytes as u64 / 4096).to_le_bytes());
    tree[80] = 4;
    tree[88..92].copy_from_slice(b"salt");
    let top = bytes(&format!("{seed} tree"), 4096);
    let roothash = Sha256::of(&[b"salt", top.as_slice()].concat());
    tree.extend_from_slice(&top);
    (tree, roothash)
}

/// A bundle of that version, with a loader.
pub(crate) fn bundle(version: &str) -> Bundle {
    let folder = tempfile::tempdir().unwrap();
    let root = bytes(version, 40 * 4096);
    let (verity, roothash) = tree(version, root.len());
    let uki = [
        bytes(&format!("{version} kernel"), 9000),
        format!("roothash={roothash}").into_bytes(),
    ]
    .concat();
    let entry_name = format!("jingui_{version}.efi");
    for (name, contents) in [
        ("root.raw", root.as_slice()),
        ("verity.raw", &verity),
        (&entry_name, &uki),
        ("systemd-bootx64.efi", b"the loader"),
    ] {
        fs::write(folder.path().join(name), contents).unwrap();
    }
    let path = |name: &str| PackPath::parse(name).unwrap();
    let facts = Facts {
        image_version: ImageVersion::parse(version).unwrap(),
        security_version: SecurityVersion::new(1).unwrap(),
        architecture: Architecture::X8664,
        roothash,
        files: vec![
            (FileRole::Root, path("root.raw")),
            (FileRole::Verity, path("verity.raw")),
            (FileRole::Uki, path(&entry_name)),
            (FileRole::Loader, path("systemd-bootx64.efi")),
        ],
        site_keys: Vec::new(),
    };
    let (key, _) = ImageKey::generate().unwrap();
    update::build(File::open(folder.path()).unwrap().as_fd(), &facts, &key).unwrap();
    Bundle {
        folder,
        key,
        root,
        uki,
    }
}

impl Bundle {
    pub(crate) fn open(&self) -> Fitting {
        let folder = File::open(self.folder.path()).unwrap();
        let machine = Machine {
            architecture: Architecture::X8664,
            running: None,
            floor: SecurityVersion::default(),
        };
        Offered::open(folder.as_fd())
            .unwrap()
            .authenticate(&[self.key.public_key().unwrap()])
            .unwrap()
            .fit(&machine)
            .unwrap()
    }
}
