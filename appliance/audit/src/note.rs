//! Signed notes (c2sp.org/signed-note) and the keys that sign and check them.
//!
//! A note is a text, an empty line, and one line per signature. A line of a key that nobody here knows is ignored:
//! that is how witnesses and other algorithms are added without breaking an older reader. A line of a known key
//! with a bad signature refuses the whole note.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jingui_trust::log_key::{LogKey, verify_ed25519};
use jingui_trust::{Sha256, Sha256Stream};

/// Longest note that is read. Room for the longest text we write and 64 of the longest signatures in use.
pub const NOTE_BYTES_MAX: usize = 512 * 1024;
/// Most signature lines that are read; the specification asks for 16.
pub const SIGNATURES_MAX: usize = 64;

const SIGNATURE_PREFIX: &str = "\u{2014} ";
const KEY_ID_BYTES: usize = 4;
const KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;
const TIME_BYTES: usize = 8;

/// First bytes of SHA-256 over name, type and key: a hint at which key signed, not a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub [u8; KEY_ID_BYTES]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// What a key signs, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Type 0x01: Ed25519 over the text.
    Ed25519,
    /// Type 0x04: a witness's Ed25519 over the time and the text (c2sp.org/tlog-cosignature).
    CosignatureV1,
}

impl Algorithm {
    const fn type_byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::CosignatureV1 => 0x04,
        }
    }
}

/// A key with which signatures are checked. As text: `name+hex id+base64(type || key)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    algorithm: Algorithm,
    public_key: [u8; KEY_BYTES],
    id: KeyId,
}

/// Why a text is no verifier key that we can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VkeyRefusal {
    /// It is not `name+hash+key`.
    #[error("a verifier key is written name+hash+key")]
    Form,
    /// The name is empty or holds a space, a plus sign or a control character.
    #[error("the name in the verifier key is not allowed")]
    Name,
    /// The hash does not belong to the key.
    #[error("the hash in the verifier key does not fit its name and key")]
    Hash,
    /// The type is not one that we check.
    #[error("keys of type {0:#04x} are not known here")]
    Type(u8),
}

impl VkeyRefusal {
    /// Never changes once released.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "audit.vkey.malformed"
    }
}

impl VerifierKey {
    /// A key of that name.
    ///
    /// # Errors
    /// [`VkeyRefusal::Name`].
    pub fn new(name: &str, algorithm: Algorithm, public_key: [u8; KEY_BYTES]) -> Result<Self, VkeyRefusal> {
        if !is_key_name(name) {
            return Err(VkeyRefusal::Name);
        }
        let id = key_id(name, algorithm, &public_key);
        Ok(Self {
            name: name.to_owned(),
            algorithm,
            public_key,
            id,
        })
    }

    /// Name of the key; of a log's key, the log's origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Hint that stands in signature lines.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// What it signs.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Checks the bytes after the key id. Gives the time of a cosignature.
    fn check(&self, text: &str, payload: &[u8]) -> Option<Option<u64>> {
        match self.algorithm {
            Algorithm::Ed25519 => {
                let signature: &[u8; SIGNATURE_BYTES] = payload.try_into().ok()?;
                verify_ed25519(&self.public_key, text.as_bytes(), signature).then_some(None)
            }
            Algorithm::CosignatureV1 => {
                let (time, signature) = payload.split_first_chunk::<TIME_BYTES>()?;
                let signature: &[u8; SIGNATURE_BYTES] = signature.try_into().ok()?;
                let time = u64::from_be_bytes(*time);
                let message = cosigned_message(time, text);
                verify_ed25519(&self.public_key, message.as_bytes(), signature).then_some(Some(time))
            }
        }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![self.algorithm.type_byte()];
        key.extend_from_slice(&self.public_key);
        write!(f, "{}+{}+{}", self.name, self.id, STANDARD.encode(key))
    }
}

impl FromStr for VerifierKey {
    type Err = VkeyRefusal;

    fn from_str(text: &str) -> Result<Self, VkeyRefusal> {
        let (name, rest) = text.split_once('+').ok_or(VkeyRefusal::Form)?;
        let (hash, key) = rest.split_once('+').ok_or(VkeyRefusal::Form)?;
        let key = STANDARD.decode(key).map_err(|_| VkeyRefusal::Form)?;
        let (type_byte, key) = key.split_first().ok_or(VkeyRefusal::Form)?;
        let algorithm = match type_byte {
            0x01 => Algorithm::Ed25519,
            0x04 => Algorithm::CosignatureV1,
            other => return Err(VkeyRefusal::Type(*other)),
        };
        let vkey = Self::new(name, algorithm, key.try_into().map_err(|_| VkeyRefusal::Form)?)?;
        if vkey.id.to_string() == hash {
            Ok(vkey)
        } else {
            Err(VkeyRefusal::Hash)
        }
    }
}

/// A log's signing key under its name.
pub struct Signer {
    vkey: VerifierKey,
    key: LogKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.vkey)
    }
}

impl Signer {
    /// A key that signs as `name`, which is the log's origin.
    ///
    /// # Errors
    /// [`VkeyRefusal::Name`].
    pub fn new(name: &str, key: LogKey) -> Result<Self, VkeyRefusal> {
        Ok(Self {
            vkey: VerifierKey::new(name, Algorithm::Ed25519, key.public_key())?,
            key,
        })
    }

    /// The key with which others check.
    #[must_use]
    pub const fn vkey(&self) -> &VerifierKey {
        &self.vkey
    }
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Name of the key.
    pub name: String,
    /// Hint at the key.
    pub id: KeyId,
    /// What follows the key id; its form depends on the key's type.
    pub payload: Vec<u8>,
}

/// A text with its signatures. Holding one says nothing about who signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What is signed, with its final newline.
    pub text: String,
    /// Lines below the empty line.
    pub signatures: Vec<Signature>,
}

/// A signature that is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Position of its key in the list that was given.
    pub key_index: usize,
    /// For a cosignature: POSIX seconds at which the witness saw the checkpoint.
    pub time: Option<u64>,
}

/// Why bytes are no note, or not one that the given keys signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteRefusal {
    /// Longer than [`NOTE_BYTES_MAX`].
    #[error("longer than {NOTE_BYTES_MAX} bytes")]
    TooLong,
    /// Not UTF-8, or with a control character other than newline.
    #[error("not plain text")]
    NotText,
    /// There is no empty line between text and signatures, or no text, or no final newline.
    #[error("no text and signatures with an empty line between them")]
    NoSignatures,
    /// A line below the empty line is no signature.
    #[error("line {line} of the signatures is malformed")]
    BadLine {
        /// Which, from 1.
        line: usize,
    },
    /// More than [`SIGNATURES_MAX`] lines.
    #[error("more than {SIGNATURES_MAX} signatures")]
    TooManySignatures,
    /// No line is of a known key.
    #[error("not signed by the given key")]
    NotSigned,
    /// A line of a known key does not fit the text.
    #[error("the signature of {name} does not fit the text")]
    BadSignature {
        /// Which key.
        name: String,
    },
}

impl NoteRefusal {
    /// Whether it is the signature, and not the form, that is wrong.
    #[must_use]
    pub const fn is_bad_signature(&self) -> bool {
        matches!(self, Self::NotSigned | Self::BadSignature { .. })
    }
}

impl Note {
    /// Reads a note. Strict: what it accepts, [`fmt::Display`] writes again byte for byte.
    ///
    /// # Errors
    /// [`NoteRefusal`], for form only.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteRefusal> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteRefusal::TooLong);
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteRefusal::NotText)?;
        if note.bytes().any(|byte| byte.is_ascii_control() && byte != b'\n') {
            return Err(NoteRefusal::NotText);
        }
        let (text, lines) = note.rsplit_once("\n\n").ok_or(NoteRefusal::NoSignatures)?;
        let lines = lines.strip_suffix('\n').ok_or(NoteRefusal::NoSignatures)?;
        let mut signatures = Vec::new();
        for (position, line) in lines.split('\n').enumerate() {
            if position >= SIGNATURES_MAX {
                return Err(NoteRefusal::TooManySignatures);
            }
            signatures.push(Signature::parse(line).ok_or(NoteRefusal::BadLine { line: position + 1 })?);
        }
        Ok(Self {
            text: format!("{text}\n"),
            signatures,
        })
    }

    /// Checks every line of a known key.
    ///
    /// # Errors
    /// [`NoteRefusal::BadSignature`] for the first bad one, [`NoteRefusal::NotSigned`] when there is none at all.
    pub fn verify(&self, keys: &[VerifierKey]) -> Result<Vec<Verified>, NoteRefusal> {
        let mut verified = Vec::new();
        for signature in &self.signatures {
            let is_its_key = |key: &VerifierKey| key.name == signature.name && key.id == signature.id;
            let Some(key_index) = keys.iter().position(is_its_key) else {
                continue;
            };
            let time = keys
                .get(key_index)
                .and_then(|key| key.check(&self.text, &signature.payload));
            let time = time.ok_or_else(|| NoteRefusal::BadSignature {
                name: signature.name.clone(),
            })?;
            verified.push(Verified { key_index, time });
        }
        if verified.is_empty() {
            Err(NoteRefusal::NotSigned)
        } else {
            Ok(verified)
        }
    }

    /// Adds the signature of a log's key.
    pub fn sign(&mut self, signer: &Signer) {
        let payload = signer.key.sign(self.text.as_bytes()).to_vec();
        self.push(signer, payload);
    }

    /// Adds the cosignature of a witness that saw this checkpoint at `time` (POSIX seconds).
    pub fn cosign(&mut self, witness: &Cosigner, time: u64) {
        let mut payload = time.to_be_bytes().to_vec();
        payload.extend_from_slice(&witness.0.key.sign(cosigned_message(time, &self.text).as_bytes()));
        self.push(&witness.0, payload);
    }

    fn push(&mut self, signer: &Signer, payload: Vec<u8>) {
        self.signatures.push(Signature {
            name: signer.vkey.name.clone(),
            id: signer.vkey.id,
            payload,
        });
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for signature in &self.signatures {
            let mut bytes = signature.id.0.to_vec();
            bytes.extend_from_slice(&signature.payload);
            writeln!(
                f,
                "{SIGNATURE_PREFIX}{} {}",
                signature.name,
                STANDARD.encode(bytes)
            )?;
        }
        Ok(())
    }
}

impl Signature {
    fn parse(line: &str) -> Option<Self> {
        let (name, bytes) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
        let bytes = STANDARD.decode(bytes).ok()?;
        let (id, payload) = bytes.split_first_chunk::<KEY_ID_BYTES>()?;
        if !is_key_name(name) || payload.is_empty() {
            return None;
        }
        Some(Self {
            name: name.to_owned(),
            id: KeyId(*id),
            payload: payload.to_vec(),
        })
    }
}

/// A witness's signing key. A type of its own, so that a log's key never cosigns.
#[derive(Debug)]
pub struct Cosigner(Signer);

impl Cosigner {
    /// A key that cosigns as `name`.
    ///
    /// # Errors
    /// [`VkeyRefusal::Name`].
    pub fn new(name: &str, key: LogKey) -> Result<Self, VkeyRefusal> {
        let vkey = VerifierKey::new(name, Algorithm::CosignatureV1, key.public_key())?;
        Ok(Self(Signer { vkey, key }))
    }

    /// The key with which others check.
    #[must_use]
    pub const fn vkey(&self) -> &VerifierKey {
        &self.0.vkey
    }
}

fn cosigned_message(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

fn is_key_name(name: &str) -> bool {
    !name.is_empty()
        && !name
            .chars()
            .any(|c| c.is_whitespace() || c == '+' || c.is_ascii_control())
}

fn key_id(name: &str, algorithm: Algorithm, public_key: &[u8; KEY_BYTES]) -> KeyId {
    let mut stream = Sha256Stream::new();
    stream.update(name.as_bytes());
    stream.update(&[b'\n', algorithm.type_byte()]);
    stream.update(public_key);
    let hash: Sha256 = stream.finish();
    let [a, b, c, d, ..] = *hash.as_bytes();
    KeyId([a, b, c, d])
}
