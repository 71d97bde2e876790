//! The key with which an image's maker signs what an installed box believes: the manifest of an update, the answers of
//! an unattended installation. Ed25519 (RFC 8032), in PEM as OpenSSL writes it (RFC 8410).
//!
//! One key, several purposes, and a signature for one must never pass for another: what is signed is the text of the
//! purpose ([`Purpose::prefix`]) followed by the message. Anybody can make and check such a signature:
//!
//! ```text
//! { printf 'jingui update manifest v1\n'; cat manifest.json; } > signed
//! openssl pkeyutl -sign -rawin -inkey image.key -in signed -out manifest.sig
//! ```

use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::digest::Sha256;
use crate::log_key::{PUBLIC_KEY_BYTES, SIGNATURE_BYTES, verify_ed25519};
use crate::random::{self, RandomFailure};
use crate::secret::Secret;
use crate::vendor_key::{PRIVATE_LABEL, PUBLIC_LABEL, der_of, pem_of};

/// `SubjectPublicKeyInfo` of an Ed25519 key up to the key itself (RFC 8410 section 4).
const SPKI_HEAD: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// `OneAsymmetricKey` version 0 of an Ed25519 key up to the seed itself (RFC 8410 section 7).
const PKCS8_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
const SEED_BYTES: usize = 32;

/// Why text is not a key we use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImageKeyRefusal {
    /// Not one PEM block of the expected label.
    #[error("the text is not one PEM block of the expected kind")]
    NotPem,
    /// PEM, but no Ed25519 key in the encoding of RFC 8410.
    #[error("the key is not Ed25519 in the expected encoding")]
    NotEd25519,
}

impl ImageKeyRefusal {
    /// Every code that [`Self::code`] can give.
    pub const CODES: &'static [&'static str] = &["update.key.not-pem", "update.key.not-ed25519"];

    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotPem => "update.key.not-pem",
            Self::NotEd25519 => "update.key.not-ed25519",
        }
    }
}

/// What a signature is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// `manifest.json` of an update bundle.
    UpdateManifest,
    /// The answers file of an unattended installation.
    InstallAnswers,
}

impl Purpose {
    /// What stands before the message in what is signed.
    #[must_use]
    pub const fn prefix(self) -> &'static [u8] {
        match self {
            Self::UpdateManifest => b"jingui update manifest v1\n",
            Self::InstallAnswers => b"jingui install answers v1\n",
        }
    }

    fn signed(self, message: &[u8]) -> Vec<u8> {
        [self.prefix(), message].concat()
    }
}

/// The private key.
pub struct ImageKey(Ed25519KeyPair);

impl ImageKey {
    /// A new key and its PKCS #8 PEM text, to be kept by the caller.
    ///
    /// # Errors
    /// [`RandomFailure`].
    pub fn generate() -> Result<(Self, Secret<String>), RandomFailure> {
        let seed: Secret<[u8; SEED_BYTES]> = Secret::new(random::bytes()?);
        let der = Secret::new([PKCS8_HEAD.as_slice(), seed.expose().as_slice()].concat());
        let pem = Secret::new(pem_of(PRIVATE_LABEL, der.expose()));
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| RandomFailure)?;
        Ok((Self(pair), pem))
    }

    /// Reads a PKCS #8 private key, as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    /// Any [`ImageKeyRefusal`].
    pub fn from_pem(text: &str) -> Result<Self, ImageKeyRefusal> {
        let der = Secret::new(der_of(PRIVATE_LABEL, text).map_err(|_| ImageKeyRefusal::NotPem)?);
        let seed = match der.expose().split_first_chunk() {
            Some((head, seed)) if *head == PKCS8_HEAD && seed.len() == SEED_BYTES => seed,
            _ => return Err(ImageKeyRefusal::NotEd25519),
        };
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| ImageKeyRefusal::NotEd25519)?;
        Ok(Self(pair))
    }

    /// The public key.
    ///
    /// # Errors
    /// [`ImageKeyRefusal::NotEd25519`] cannot happen for a key this type holds; named so that it need not be ignored.
    pub fn public_key(&self) -> Result<ImagePublicKey, ImageKeyRefusal> {
        let key = self.0.public_key().as_ref().try_into();
        key.map(ImagePublicKey).map_err(|_| ImageKeyRefusal::NotEd25519)
    }

    /// Signature over `message` for that purpose; the same message always gives the same bytes.
    #[must_use]
    pub fn sign(&self, purpose: Purpose, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let mut bytes = [0; SIGNATURE_BYTES];
        for (to, from) in bytes
            .iter_mut()
            .zip(self.0.sign(&purpose.signed(message)).as_ref())
        {
            *to = *from;
        }
        bytes
    }
}

impl std::fmt::Debug for ImageKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ImageKey(secret)")
    }
}

/// The public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImagePublicKey([u8; PUBLIC_KEY_BYTES]);

impl ImagePublicKey {
    /// Reads a `SubjectPublicKeyInfo` in PEM.
    ///
    /// # Errors
    /// Any [`ImageKeyRefusal`].
    pub fn from_pem(text: &str) -> Result<Self, ImageKeyRefusal> {
        let der = der_of(PUBLIC_LABEL, text).map_err(|_| ImageKeyRefusal::NotPem)?;
        let key = match der.split_first_chunk() {
            Some((head, key)) if *head == SPKI_HEAD => key,
            _ => return Err(ImageKeyRefusal::NotEd25519),
        };
        key.try_into().map(Self).map_err(|_| ImageKeyRefusal::NotEd25519)
    }

    /// A key that was stored as its bare bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; PUBLIC_KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bare bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; PUBLIC_KEY_BYTES] {
        &self.0
    }

    /// Its one PEM form, which OpenSSL writes too.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem_of(PUBLIC_LABEL, &[SPKI_HEAD.as_slice(), self.0.as_slice()].concat())
    }

    /// SHA-256 of [`Self::to_pem`]: how leaves and screens name the key.
    #[must_use]
    pub fn hint(&self) -> Sha256 {
        Sha256::of(self.to_pem().as_bytes())
    }

    /// Whether `signature` is one of this key over `message` for that purpose.
    #[must_use]
    pub fn verify(&self, purpose: Purpose, message: &[u8], signature: &[u8]) -> bool {
        verify_ed25519(&self.0, &purpose.signed(message), signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The key of RFC 8410 section 10, as OpenSSL writes it.
    const RFC_8410_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    const RFC_8410_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

    #[test]
    fn the_key_pair_of_rfc_8410_is_read_and_written() {
        let key = ImageKey::from_pem(RFC_8410_PRIVATE).unwrap();
        assert_eq!(key.public_key().unwrap().to_pem(), RFC_8410_PUBLIC);
        assert_eq!(
            ImagePublicKey::from_pem(RFC_8410_PUBLIC),
            Ok(key.public_key().unwrap())
        );
    }

    #[test]
    fn a_signature_for_one_purpose_is_none_for_another() {
        let (key, pem) = ImageKey::generate().unwrap();
        let key_again = ImageKey::from_pem(pem.expose()).unwrap();
        let public = key.public_key().unwrap();
        let signature = key_again.sign(Purpose::UpdateManifest, b"{}");
        assert!(public.verify(Purpose::UpdateManifest, b"{}", &signature));
        assert!(!public.verify(Purpose::InstallAnswers, b"{}", &signature));
        assert!(!public.verify(Purpose::UpdateManifest, b"{ }", &signature));
        assert!(!public.verify(Purpose::UpdateManifest, b"{}", &signature[..63]));
    }

    #[test]
    fn what_is_no_ed25519_key_is_refused() {
        let p256 = crate::vendor_key::VendorKey::generate().unwrap();
        let p256_public = p256.0.public_key().unwrap().to_pem();
        for (text, refusal) in [
            (p256_public, ImageKeyRefusal::NotEd25519),
            (RFC_8410_PRIVATE.to_owned(), ImageKeyRefusal::NotPem),
            (
                format!("{RFC_8410_PUBLIC}{RFC_8410_PUBLIC}"),
                ImageKeyRefusal::NotPem,
            ),
            (String::new(), ImageKeyRefusal::NotPem),
        ] {
            assert_eq!(ImagePublicKey::from_pem(&text), Err(refusal), "{text}");
        }
        let refused = |text: &str| ImageKey::from_pem(text).map(drop).unwrap_err();
        assert_eq!(refused(p256.1.expose()), ImageKeyRefusal::NotEd25519);
        assert_eq!(refused(RFC_8410_PUBLIC), ImageKeyRefusal::NotPem);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = ImagePublicKey::from_pem(&text);
            let _ = ImageKey::from_pem(&format!("-----BEGIN PRIVATE KEY-----{text}-----END PRIVATE KEY-----"));
        }
    }
}
