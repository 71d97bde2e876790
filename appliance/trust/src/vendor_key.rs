//! The key with which a vendor signs model packages: ECDSA on P-256 with SHA-256 (FIPS 186-5), in PEM.
//!
//! PEM text matters to the byte: a bundle names its key by the SHA-256 of the public key's PEM text with header,
//! footer and final newline (OpenSSF Model Signing, `key` method).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{self, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey};

use crate::digest::Sha256;
use crate::random::RandomFailure;
use crate::secret::Secret;

pub(crate) const PRIVATE_LABEL: &str = "PRIVATE KEY";
pub(crate) const PUBLIC_LABEL: &str = "PUBLIC KEY";
/// Longest PEM text that is looked at; a P-256 key needs less than 300 bytes.
const PEM_BYTES_MAX: usize = 4096;
const PEM_LINE_CHARACTERS: usize = 64;
/// `SubjectPublicKeyInfo` of an uncompressed P-256 point up to the point itself (RFC 5480 section 2).
const SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const POINT_BYTES: usize = 65;
const UNCOMPRESSED: u8 = 0x04;

/// Why text is not a key we use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// Not one PEM block of the expected label.
    #[error("the text is not one PEM block of the expected kind")]
    NotPem,
    /// PEM, but not an uncompressed P-256 public key or a PKCS #8 P-256 private key with its public part.
    #[error("the key is not ECDSA P-256 in the expected encoding")]
    NotP256,
}

impl KeyRefusal {
    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotPem => "model.key.not-pem",
            Self::NotP256 => "model.key.not-p256",
        }
    }
}

/// A vendor's private key.
pub struct VendorKey(EcdsaKeyPair);

impl VendorKey {
    /// A new key and its PKCS #8 PEM text, to be kept by the caller.
    ///
    /// # Errors
    /// [`RandomFailure`].
    pub fn generate() -> Result<(Self, Secret<String>), RandomFailure> {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
            .map_err(|_| RandomFailure)?;
        let pem = Secret::new(pem_of(PRIVATE_LABEL, document.as_ref()));
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &random)
            .map_err(|_| RandomFailure)?;
        Ok((Self(pair), pem))
    }

    /// Reads a PKCS #8 private key with its public part, as OpenSSL writes it.
    ///
    /// # Errors
    /// Any [`KeyRefusal`].
    pub fn from_pem(text: &str) -> Result<Self, KeyRefusal> {
        let der = Secret::new(der_of(PRIVATE_LABEL, text)?);
        EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_ASN1_SIGNING,
            der.expose(),
            &SystemRandom::new(),
        )
        .map(Self)
        .map_err(|_| KeyRefusal::NotP256)
    }

    /// Its public half.
    ///
    /// # Errors
    /// [`KeyRefusal::NotP256`] cannot happen for a key this type holds; named so that it need not be ignored.
    pub fn public_key(&self) -> Result<VendorPublicKey, KeyRefusal> {
        VendorPublicKey::from_point(self.0.public_key().as_ref())
    }

    /// DER signature over the SHA-256 of `message`.
    ///
    /// # Errors
    /// [`RandomFailure`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, RandomFailure> {
        self.0
            .sign(&SystemRandom::new(), message)
            .map(|it| it.as_ref().to_vec())
            .map_err(|_| RandomFailure)
    }
}

impl std::fmt::Debug for VendorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VendorKey(secret)")
    }
}

/// A vendor's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VendorPublicKey {
    point: [u8; POINT_BYTES],
}

impl VendorPublicKey {
    /// Reads a `SubjectPublicKeyInfo` in PEM.
    ///
    /// # Errors
    /// Any [`KeyRefusal`].
    pub fn from_pem(text: &str) -> Result<Self, KeyRefusal> {
        let der = der_of(PUBLIC_LABEL, text)?;
        let (head, point) = der.split_first_chunk().ok_or(KeyRefusal::NotP256)?;
        if *head != SPKI_HEAD {
            return Err(KeyRefusal::NotP256);
        }
        Self::from_point(point)
    }

    fn from_point(point: &[u8]) -> Result<Self, KeyRefusal> {
        let point: [u8; POINT_BYTES] = point.try_into().map_err(|_| KeyRefusal::NotP256)?;
        if point.first() != Some(&UNCOMPRESSED) {
            return Err(KeyRefusal::NotP256);
        }
        Ok(Self { point })
    }

    /// Its one PEM form, which OpenSSL writes too.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem_of(
            PUBLIC_LABEL,
            &[SPKI_HEAD.as_slice(), self.point.as_slice()].concat(),
        )
    }

    /// SHA-256 of [`Self::to_pem`]: how a bundle names the key.
    #[must_use]
    pub fn hint(&self) -> Sha256 {
        Sha256::of(self.to_pem().as_bytes())
    }

    /// Whether `signature` (DER) is one of this key over `message`.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, &self.point)
            .verify(message, signature)
            .is_ok()
    }
}

pub(crate) fn pem_of(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for (index, character) in body.chars().enumerate() {
        if index > 0 && index % PEM_LINE_CHARACTERS == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str(&format!("\n-----END {label}-----\n"));
    text
}

pub(crate) fn der_of(label: &str, text: &str) -> Result<Vec<u8>, KeyRefusal> {
    if text.len() > PEM_BYTES_MAX {
        return Err(KeyRefusal::NotPem);
    }
    let body = text
        .trim()
        .strip_prefix(&format!("-----BEGIN {label}-----"))
        .and_then(|it| it.strip_suffix(&format!("-----END {label}-----")))
        .ok_or(KeyRefusal::NotPem)?;
    let joined: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(joined).map_err(|_| KeyRefusal::NotPem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Public key of the private scalar whose 32 bytes are all 0x03, written by OpenSSL.
    const VECTOR_HINT: &str = "4449c1fe1623fc1cd5a8eb2f6b20ff5be1aff4d612c1abbdb1381c207cc22717";
    const VECTOR_POINT_HEX: &str = include_str!("../vectors/p256-scalar-03.point.hex");

    #[test]
    fn the_hint_of_the_known_key_is_the_published_one() {
        let point: Vec<u8> = VECTOR_POINT_HEX
            .trim()
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        assert_eq!(
            VendorPublicKey::from_point(&point).unwrap().hint().to_string(),
            VECTOR_HINT
        );
    }

    #[test]
    fn a_signature_verifies_with_the_key_read_back_and_with_no_other() {
        let (key, private_pem) = VendorKey::generate().unwrap();
        let (other, _) = VendorKey::generate().unwrap();
        let key_again = VendorKey::from_pem(private_pem.expose()).unwrap();
        let public = VendorPublicKey::from_pem(&key.public_key().unwrap().to_pem()).unwrap();
        let signature = key_again.sign(b"statement").unwrap();
        assert!(public.verify(b"statement", &signature));
        assert!(!public.verify(b"statemeNt", &signature));
        assert!(!other.public_key().unwrap().verify(b"statement", &signature));
        assert!(!public.verify(b"statement", &signature[1..]));
    }

    #[test]
    fn what_is_no_p256_key_is_refused() {
        let (key, private_pem) = VendorKey::generate().unwrap();
        let public_pem = key.public_key().unwrap().to_pem();
        let ed25519 = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAiojj3XQJ8ZX9Utstt6ZdfspnCb8dlBIb83SIAbQPb1w=\n-----END PUBLIC KEY-----\n";
        for (text, refusal) in [
            (ed25519.to_owned(), KeyRefusal::NotP256),
            (private_pem.expose().clone(), KeyRefusal::NotPem),
            (format!("{public_pem}{public_pem}"), KeyRefusal::NotPem),
            (public_pem.replace("-----END", "----END"), KeyRefusal::NotPem),
            (" ".repeat(PEM_BYTES_MAX + 1), KeyRefusal::NotPem),
            (String::new(), KeyRefusal::NotPem),
        ] {
            assert_eq!(VendorPublicKey::from_pem(&text), Err(refusal), "{text}");
        }
        assert_eq!(
            VendorKey::from_pem(&public_pem).map(drop),
            Err(KeyRefusal::NotPem)
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = VendorPublicKey::from_pem(&text);
            let _ = VendorKey::from_pem(&format!("-----BEGIN PRIVATE KEY-----{text}-----END PRIVATE KEY-----"));
        }
    }
}
