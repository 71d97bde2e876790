//! What makes this box itself: serial, log key, key root, and the vendors it trusts. Made at first start from
//! randomness, kept in `trust/`, never leaves the supervisor (except the key root, which the gateway shares).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jingui_audit::Signer;
use jingui_trust::Secret;
use jingui_trust::log_key::LogKey;
use jingui_trust::random;
use jingui_trust::store::TrustStore;
use jingui_trust::vendor_key::VendorPublicKey;

use crate::durable;

/// Most vendor keys that are read.
pub(crate) const VENDORS_MAX: usize = 64;

const SECRET_BYTES: usize = 32;
const FILE_BYTES_MAX: u64 = 16 * 1024;
const SERIAL_RANDOM_BYTES: usize = 6;
const SETUP_CODE_GROUPS: usize = 4;
const SETUP_CODE_GROUP_SIGNS: usize = 4;
/// No 0/O, 1/I/L, U/V: people read it from a screen and type it.
const SETUP_CODE_SIGNS: &[u8] = b"23456789ABCDEFGHJKMNPQRSTWXYZ";

/// Keys and name of this box.
pub(crate) struct Identity {
    /// First part of each `ProduceID`, middle part of the log's origin. Lower case.
    pub(crate) serial: String,
    /// Seed of the key that signs checkpoints.
    log_seed: Secret<[u8; SECRET_BYTES]>,
    /// From it API keys and session secrets are derived; shared with the gateway.
    pub(crate) key_root: [u8; SECRET_BYTES],
    /// Authenticates what the supervisor keeps for itself about packages.
    pub(crate) store_key: [u8; SECRET_BYTES],
}

impl Identity {
    /// Reads the box's identity, or makes it at the first start.
    pub(crate) fn open(trust: &Path) -> io::Result<Self> {
        let serial = match read_text(&trust.join("serial"))? {
            Some(serial) => serial,
            None => make_serial(trust)?,
        };
        let log_seed = Secret::new(secret(&trust.join("log.key"))?);
        Ok(Self {
            serial,
            log_seed,
            key_root: secret(&trust.join("key-root"))?,
            store_key: secret(&trust.join("store.key"))?,
        })
    }

    /// First line of each checkpoint.
    pub(crate) fn origin(&self) -> String {
        format!("jingui.example/{}/audit/1", self.serial)
    }

    /// The key that signs checkpoints.
    pub(crate) fn signer(&self) -> io::Result<Signer> {
        let key = LogKey::from_seed(self.log_seed.expose()).map_err(|_| invalid("log.key is no key"))?;
        Signer::new(&self.origin(), key).map_err(|_| invalid("the serial is no key name"))
    }
}

/// Public keys of the vendors whose packages are accepted: every `*.pem` of the folders.
///
/// # Errors
/// When a file there is no P-256 public key: a box that cannot read its trust says so instead of trusting less.
pub(crate) fn vendors(folders: &[PathBuf]) -> io::Result<TrustStore> {
    let mut keys = Vec::new();
    for folder in folders {
        read_vendors(folder, &mut keys)?;
    }
    Ok(TrustStore::new(keys))
}

fn read_vendors(folder: &Path, keys: &mut Vec<VendorPublicKey>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "pem") {
            continue;
        }
        if keys.len() == VENDORS_MAX {
            return Err(invalid("too many vendor keys"));
        }
        let text = read_text(&path)?.unwrap_or_default();
        // `read_text` cuts the last newline, which belongs to the key's text.
        keys.push(VendorPublicKey::from_pem(&format!("{text}\n")).map_err(|_| invalid("no vendor key"))?);
    }
    Ok(())
}

/// A new code for the first-boot ceremony, for example `7KQM-2XHB-R9CF-WT4P`: 77 bits.
pub(crate) fn make_setup_code() -> io::Result<String> {
    let mut signs = Vec::new();
    while signs.len() < SETUP_CODE_GROUPS * SETUP_CODE_GROUP_SIGNS {
        for byte in random::bytes::<SECRET_BYTES>().map_err(no_randomness)? {
            // Five bits; numbers above the last sign are thrown away, so that each sign is equally likely.
            signs.extend(
                SETUP_CODE_SIGNS
                    .get(usize::from(byte & 31))
                    .map(|sign| char::from(*sign)),
            );
        }
    }
    signs.truncate(SETUP_CODE_GROUPS * SETUP_CODE_GROUP_SIGNS);
    let groups: Vec<String> = signs
        .chunks(SETUP_CODE_GROUP_SIGNS)
        .map(|group| group.iter().collect())
        .collect();
    Ok(groups.join("-"))
}

/// Whether a typed ceremony code is the shown one; spaces, dashes and case do not matter.
pub(crate) fn is_setup_code(shown: &str, typed: &str) -> bool {
    let plain = |text: &str| -> String {
        text.chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|sign| sign.to_ascii_uppercase())
            .collect()
    };
    jingui_trust::mac::equal(plain(shown).as_bytes(), plain(typed).as_bytes())
}

/// Lower-case hex of random bytes, for ids.
pub(crate) fn random_hex<const N: usize>() -> io::Result<String> {
    Ok(hex(&random::bytes::<N>().map_err(no_randomness)?))
}

fn make_serial(trust: &Path) -> io::Result<String> {
    let serial = format!("jg{}", random_hex::<SERIAL_RANDOM_BYTES>()?);
    durable::write(
        &trust.join("serial"),
        format!("{serial}\n").as_bytes(),
        durable::PRIVATE_FILE,
    )?;
    Ok(serial)
}

/// 32 secret bytes kept as hex; made when the file is not there.
fn secret(path: &Path) -> io::Result<[u8; SECRET_BYTES]> {
    if let Some(text) = read_text(path)? {
        return unhex(&text).ok_or_else(|| invalid("a key file is not 64 hex digits"));
    }
    let bytes = random::bytes::<SECRET_BYTES>().map_err(no_randomness)?;
    durable::write(
        path,
        format!("{}\n", hex(&bytes)).as_bytes(),
        durable::PRIVATE_FILE,
    )?;
    Ok(bytes)
}

fn read_text(path: &Path) -> io::Result<Option<String>> {
    let Some(bytes) = durable::read(path, FILE_BYTES_MAX)? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes).map_err(|_| invalid("not text"))?;
    Ok(Some(text.trim_end_matches('\n').to_owned()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; SECRET_BYTES]> {
    if text.len() != SECRET_BYTES * 2 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; SECRET_BYTES];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn no_randomness(failure: random::RandomFailure) -> io::Error {
    io::Error::other(failure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jingui_trust::vendor_key::VendorKey;

    #[test]
    fn the_box_keeps_its_identity_over_restarts_and_two_boxes_differ() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = Identity::open(one.path()).unwrap();
        let again = Identity::open(one.path()).unwrap();
        let other = Identity::open(two.path()).unwrap();
        assert_eq!(first.serial, again.serial);
        assert_eq!(first.key_root, again.key_root);
        assert_eq!(first.signer().unwrap().vkey(), again.signer().unwrap().vkey());
        assert_ne!(first.serial, other.serial);
        assert_ne!(first.key_root, other.key_root);
        assert!(first.origin().starts_with("jingui.example/jg") && first.origin().ends_with("/audit/1"));
    }

    #[test]
    fn a_damaged_key_file_is_an_error_and_not_a_new_identity() {
        let folder = tempfile::tempdir().unwrap();
        Identity::open(folder.path()).unwrap();
        fs::write(folder.path().join("log.key"), "00\n").unwrap();
        assert!(Identity::open(folder.path()).is_err());
    }

    #[test]
    fn setup_codes_are_readable_and_compared_as_people_type_them() {
        let code = make_setup_code().unwrap();
        assert_eq!(code.len(), SETUP_CODE_GROUPS * (SETUP_CODE_GROUP_SIGNS + 1) - 1);
        assert!(
            code.chars()
                .all(|sign| sign == '-' || sign.is_ascii_digit() || sign.is_ascii_uppercase())
        );
        assert_ne!(code, make_setup_code().unwrap());
        assert!(is_setup_code("7KQM-2XHB", " 7kqm 2xhb"));
        assert!(!is_setup_code("7KQM-2XHB", "7KQM-2XHA"));
        assert!(!is_setup_code("7KQM-2XHB", ""));
    }

    #[test]
    fn vendor_keys_are_found_by_the_hint_in_a_bundle_and_a_bad_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let (key, _) = VendorKey::generate().unwrap();
        let public = key.public_key().unwrap();
        fs::write(folder.path().join("v.pem"), public.to_pem()).unwrap();
        fs::write(folder.path().join("notes.txt"), "not a key").unwrap();
        let other = tempfile::tempdir().unwrap();
        let both = [other.path().to_owned(), folder.path().to_owned()];
        assert!(vendors(&both[..1]).unwrap().find(&public.hint()).is_none());
        assert!(vendors(&both).unwrap().find(&public.hint()).is_some());
        fs::write(folder.path().join("w.pem"), "not a key").unwrap();
        assert!(vendors(&both).is_err());
    }
}
