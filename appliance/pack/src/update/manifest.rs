//! `manifest.json`: what a bundle is and which files it has, in exactly one form of bytes.

use std::fmt;

use jingui_trust::Sha256;
use jingui_trust::image_key::ImagePublicKey;
use serde::{Deserialize, Serialize};

use super::refusal::UpdateRefusal;
use super::version::ImageVersion;
use crate::path::PackPath;
use crate::release::SecurityVersion;

/// Name of the product in every manifest.
pub const PRODUCT: &str = "jingui";
/// Longest manifest.
pub const MANIFEST_BYTES_MAX: u64 = 64 * 1024;
/// Most site keys.
pub const SITE_KEY_COUNT_MAX: usize = 16;
/// Longest name of a file.
const NAME_BYTES_MAX: usize = 64;
/// The version of this schema.
const FORMAT: u32 = 1;

/// What a bundle is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the schema: 1.
    pub format: u32,
    /// [`PRODUCT`].
    pub product: String,
    /// Version of the image.
    pub image_version: ImageVersion,
    /// Number against rollback.
    pub security_version: SecurityVersion,
    /// For which machines.
    pub architecture: Architecture,
    /// Root hash of the verity tree, which the boot entry carries in its signed command line.
    pub roothash: Sha256,
    /// The files, in the order of [`FileRole`]: root, verity and boot entry once each, the loader at most once.
    pub files: Vec<File>,
    /// Bare Ed25519 keys, as 64 hexadecimal digits each, whose answers files an installer takes beside those of the
    /// image's keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub site_keys: Vec<Sha256>,
}

/// A file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its name in the folder.
    pub name: PackPath,
    /// What it is.
    pub role: FileRole,
    /// Its bytes.
    pub bytes: u64,
    /// Digest of the bytes.
    pub sha256: Sha256,
}

/// What a file of a bundle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileRole {
    /// The root file system.
    Root,
    /// Its hash tree.
    Verity,
    /// The signed boot entry (a unified kernel image).
    Uki,
    /// The signed boot loader; for installing, an update leaves the one that is there.
    Loader,
}

/// Architecture of the machines that a bundle is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Architecture {
    /// `x86-64`.
    #[serde(rename = "x86-64")]
    X8664,
    /// `arm64`.
    #[serde(rename = "arm64")]
    Arm64,
}

impl FileRole {
    /// Every role, in the order of a manifest.
    pub const ALL: [Self; 4] = [Self::Root, Self::Verity, Self::Uki, Self::Loader];

    /// Longest file of that role. Root and tree have to fit their slots on the disk.
    #[must_use]
    pub const fn bytes_max(self) -> u64 {
        match self {
            Self::Root => 400 << 20,
            Self::Verity => 16 << 20,
            Self::Uki => 100 << 20,
            Self::Loader => 4 << 20,
        }
    }

    /// How it is written in a manifest.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Verity => "verity",
            Self::Uki => "uki",
            Self::Loader => "loader",
        }
    }
}

impl Architecture {
    /// The one that this program was compiled for; `None` where there is no image.
    #[must_use]
    pub const fn ours() -> Option<Self> {
        if cfg!(target_arch = "x86_64") {
            Some(Self::X8664)
        } else if cfg!(target_arch = "aarch64") {
            Some(Self::Arm64)
        } else {
            None
        }
    }

    /// How it is written in a manifest.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::X8664 => "x86-64",
            Self::Arm64 => "arm64",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Manifest {
    /// Reads the bytes of `manifest.json`, whose signature was checked before.
    ///
    /// # Errors
    /// [`UpdateRefusal::ManifestMalformed`], also for a manifest that says the same in other bytes than ours;
    /// [`UpdateRefusal::Product`].
    pub fn parse(bytes: &[u8]) -> Result<Self, UpdateRefusal> {
        let malformed = |fault| UpdateRefusal::ManifestMalformed { fault };
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|_| malformed("it does not fit the schema"))?;
        manifest.check().map_err(malformed)?;
        if manifest.to_bytes() != bytes {
            return Err(malformed("it is not in its one form"));
        }
        if manifest.product != PRODUCT {
            return Err(UpdateRefusal::Product {
                found: crate::path::shown(manifest.product.as_bytes()),
            });
        }
        Ok(manifest)
    }

    /// The one form: indented JSON in the order of the fields, with a final newline.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Structs of texts and numbers always serialise.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// The file of that role.
    #[must_use]
    pub fn file(&self, role: FileRole) -> Option<&File> {
        self.files.iter().find(|file| file.role == role)
    }

    /// Bytes of all files.
    #[must_use]
    pub fn byte_count(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Keys of the site, ready to check answers with.
    #[must_use]
    pub fn site_keys(&self) -> Vec<ImagePublicKey> {
        let keys = self.site_keys.iter();
        keys.map(|key| ImagePublicKey::from_bytes(*key.as_bytes()))
            .collect()
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.format != FORMAT {
            return Err("its format is unknown");
        }
        let roles: Vec<FileRole> = self.files.iter().map(|file| file.role).collect();
        let needed = FileRole::ALL.get(..3).unwrap_or_default();
        if roles != FileRole::ALL && roles != needed {
            return Err("it does not name root, verity, uki and perhaps loader, in this order");
        }
        for (index, file) in self.files.iter().enumerate() {
            check_name(file.name.as_str())?;
            let is_twin = |other: &File| other.name.as_str().eq_ignore_ascii_case(file.name.as_str());
            if self.files.iter().skip(index + 1).any(is_twin) {
                return Err("two files have one name");
            }
            if file.bytes == 0 || file.bytes > file.role.bytes_max() {
                return Err("a file is empty or larger than its place");
            }
        }
        if self.site_keys.len() > SITE_KEY_COUNT_MAX {
            return Err("it names too many site keys");
        }
        Ok(())
    }
}

/// Names are flat, and none is that of the manifest or its signature.
fn check_name(name: &str) -> Result<(), &'static str> {
    let is_ours = [super::MANIFEST_NAME, super::SIGNATURE_NAME]
        .iter()
        .any(|ours| ours.eq_ignore_ascii_case(name));
    if name.contains('/') || name.len() > NAME_BYTES_MAX || is_ours {
        Err("a name of a file is not allowed")
    } else {
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn manifest() -> Manifest {
        let file = |name: &str, role| File {
            name: PackPath::parse(name).unwrap(),
            role,
            bytes: 4096,
            sha256: Sha256::of(name.as_bytes()),
        };
        Manifest {
            format: FORMAT,
            product: PRODUCT.to_owned(),
            image_version: ImageVersion::parse("1.2").unwrap(),
            security_version: SecurityVersion::new(3).unwrap(),
            architecture: Architecture::X8664,
            roothash: Sha256::of(b"root"),
            files: vec![
                file("root.raw", FileRole::Root),
                file("verity.raw", FileRole::Verity),
                file("jingui_1.2.efi", FileRole::Uki),
            ],
            site_keys: Vec::new(),
        }
    }

    fn fault(manifest: &Manifest) -> &'static str {
        match Manifest::parse(&manifest.to_bytes()) {
            Err(UpdateRefusal::ManifestMalformed { fault }) => fault,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_manifest_reads_back_as_itself_and_in_no_other_form() {
        let bytes = manifest().to_bytes();
        assert_eq!(Manifest::parse(&bytes).unwrap(), manifest());
        let text = String::from_utf8(bytes).unwrap();
        for other in [
            text.trim_end().to_owned(),
            format!("{text}\n"),
            text.replace("  ", " "),
            text.replacen("\"format\": 1", "\"format\": 1,\n  \"extra\": 1", 1),
            text.replacen("\"format\": 1", "\"format\": 1,\n  \"format\": 1", 1),
            text.replacen("3,", "3.0,", 1),
            text.replacen("jingui", "j\\u0069ngui", 1),
            text.replacen("\"x86-64\"", "\"x86_64\"", 1),
        ] {
            assert!(
                matches!(
                    Manifest::parse(other.as_bytes()),
                    Err(UpdateRefusal::ManifestMalformed { .. })
                ),
                "{other}"
            );
        }
    }

    #[test]
    fn each_rule_of_a_manifest_is_held() {
        let changed = |change: fn(&mut Manifest)| {
            let mut manifest = manifest();
            change(&mut manifest);
            manifest
        };
        for bad in [
            changed(|it| it.format = 2),
            changed(|it| drop(it.files.pop())),
            changed(|it| it.files.swap(0, 1)),
            changed(|it| it.files.push(it.files[0].clone())),
            changed(|it| it.files[1].name = PackPath::parse("Root.RAW").unwrap()),
            changed(|it| it.files[1].name = PackPath::parse("a/verity.raw").unwrap()),
            changed(|it| it.files[1].name = PackPath::parse("manifest.json").unwrap()),
            changed(|it| it.files[1].name = PackPath::parse("MANIFEST.sig").unwrap()),
            changed(|it| it.files[1].name = PackPath::parse(&"n".repeat(NAME_BYTES_MAX + 1)).unwrap()),
            changed(|it| it.files[1].bytes = 0),
            changed(|it| it.files[1].bytes = FileRole::Verity.bytes_max() + 1),
            changed(|it| it.site_keys = vec![Sha256::of(b"k"); SITE_KEY_COUNT_MAX + 1]),
        ] {
            assert!(!fault(&bad).is_empty());
        }
        for good in [
            changed(|it| it.files[1].bytes = FileRole::Verity.bytes_max()),
            changed(|it| it.site_keys = vec![Sha256::of(b"k"); SITE_KEY_COUNT_MAX]),
            changed(|it| it.files[1].name = PackPath::parse(&"n".repeat(NAME_BYTES_MAX)).unwrap()),
        ] {
            Manifest::parse(&good.to_bytes()).unwrap();
        }
        let other = changed(|it| it.product = "other".to_owned());
        assert!(matches!(
            Manifest::parse(&other.to_bytes()),
            Err(UpdateRefusal::Product { .. })
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Manifest::parse(&bytes);
        }

        #[test]
        fn whatever_is_accepted_is_in_its_one_form(position in 0_usize..2048, byte: u8, with in any::<bool>()) {
            let mut bytes = manifest().to_bytes();
            let position = position % bytes.len();
            if with { bytes.insert(position, byte) } else { bytes[position] = byte }
            if let Ok(parsed) = Manifest::parse(&bytes) {
                prop_assert_eq!(parsed.to_bytes(), bytes);
            }
        }

        #[test]
        fn any_manifest_of_ours_reads_back(
            version in "[0-9][0-9a-z]{0,5}", security_version in 0_u64..(1 << 53), digest: [u8; 32],
            sizes in proptest::array::uniform4(1_u64..=4 << 20), has_loader: bool, key_count in 0_usize..=SITE_KEY_COUNT_MAX,
        ) {
            let files = FileRole::ALL.into_iter().zip(sizes).take(if has_loader { 4 } else { 3 });
            let manifest = Manifest {
                image_version: ImageVersion::parse(&version).unwrap(),
                security_version: SecurityVersion::new(security_version).unwrap(),
                architecture: Architecture::Arm64,
                roothash: Sha256::from_bytes(digest),
                files: files.map(|(role, bytes)| File {
                    name: PackPath::parse(role.word()).unwrap(), role, bytes, sha256: Sha256::from_bytes(digest),
                }).collect(),
                site_keys: vec![Sha256::from_bytes(digest); key_count],
                ..manifest()
            };
            prop_assert_eq!(Manifest::parse(&manifest.to_bytes()).unwrap(), manifest);
        }
    }
}
