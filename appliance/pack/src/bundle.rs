//! `model.sig`: a Sigstore bundle v0.3 around a DSSE envelope with exactly one signature by a key.
//!
//! ECDSA P-256 with SHA-256 over the pre-authentication encoding of the payload. No certificate, no transparency
//! log, no time stamp: a box without a network could check none of them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jingui_trust::Sha256;
use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;
use crate::statement::{PAYLOAD_TYPE, STATEMENT_BYTES_MAX};

/// Longest bundle: the longest statement in base64 and room for the rest.
pub const BUNDLE_BYTES_MAX: u64 = 2 << 20;

/// Longest DER signature of P-256 is 72 bytes; some room for sloppy encoders, which the verifier then refuses.
const SIGNATURE_BYTES_MAX: usize = 128;

const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// A bundle, taken apart. Nothing in it is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Which key is said to have signed: SHA-256 of its PEM text.
    pub hint: Sha256,
    /// The statement's bytes.
    pub payload: Vec<u8>,
    /// DER signature over [`pre_authentication`] of the payload.
    pub signature: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wire {
    media_type: String,
    verification_material: WireMaterial,
    dsse_envelope: WireEnvelope,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WireMaterial {
    public_key: WireKey,
    #[serde(default)]
    tlog_entries: Vec<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireKey {
    hint: Sha256,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WireEnvelope {
    payload: String,
    payload_type: String,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature {
    sig: String,
    #[serde(default)]
    keyid: String,
}

impl Bundle {
    /// Reads `model.sig`.
    ///
    /// # Errors
    /// [`Refusal::SignatureTooBig`], [`Refusal::SignatureMalformed`], [`Refusal::PayloadType`],
    /// [`Refusal::SeveralSignatures`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        const fn malformed(fault: &'static str) -> Refusal {
            Refusal::SignatureMalformed { fault }
        }
        let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if found > BUNDLE_BYTES_MAX {
            return Err(Refusal::SignatureTooBig {
                found,
                max: BUNDLE_BYTES_MAX,
            });
        }
        let wire: Wire = serde_json::from_slice(bytes).map_err(|_| malformed("not of the schema"))?;
        if wire.media_type != MEDIA_TYPE {
            return Err(malformed("another media type"));
        }
        if !wire.verification_material.tlog_entries.is_empty() {
            return Err(malformed("log entries"));
        }
        let envelope = wire.dsse_envelope;
        if envelope.payload_type != PAYLOAD_TYPE {
            return Err(Refusal::PayloadType);
        }
        let signature = match <[WireSignature; 1]>::try_from(envelope.signatures) {
            Ok([signature]) => signature,
            Err(none) if none.is_empty() => return Err(malformed("no signature")),
            Err(several) => return Err(Refusal::SeveralSignatures { found: several.len() }),
        };
        if !signature.keyid.is_empty() {
            return Err(malformed("a key id beside the hint"));
        }
        let payload = STANDARD
            .decode(&envelope.payload)
            .map_err(|_| malformed("payload is not base64"))?;
        if payload.len() > STATEMENT_BYTES_MAX {
            return Err(malformed("payload is too long"));
        }
        let signature = STANDARD
            .decode(&signature.sig)
            .map_err(|_| malformed("signature is not base64"))?;
        if signature.is_empty() || signature.len() > SIGNATURE_BYTES_MAX {
            return Err(malformed("signature of a wrong length"));
        }
        Ok(Self {
            hint: wire.verification_material.public_key.hint,
            payload,
            signature,
        })
    }

    /// The bytes of `model.sig`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let wire = Wire {
            media_type: MEDIA_TYPE.to_owned(),
            verification_material: WireMaterial {
                public_key: WireKey { hint: self.hint },
                tlog_entries: Vec::new(),
            },
            dsse_envelope: WireEnvelope {
                payload: STANDARD.encode(&self.payload),
                payload_type: PAYLOAD_TYPE.to_owned(),
                signatures: vec![WireSignature {
                    sig: STANDARD.encode(&self.signature),
                    keyid: String::new(),
                }],
            },
        };
        // Texts and digests always serialise.
        serde_json::to_vec(&wire).unwrap_or_default()
    }
}

/// What is signed for `payload`: DSSE v1 pre-authentication encoding.
#[must_use]
pub fn pre_authentication(payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Hint of the public key whose private scalar is 32 bytes of 3: the published vector of the format.
    const VECTOR_HINT: &str = "4449c1fe1623fc1cd5a8eb2f6b20ff5be1aff4d612c1abbdb1381c207cc22717";

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let bundle = Bundle {
            hint: VECTOR_HINT.parse().unwrap(),
            payload: b"{}".to_vec(),
            signature: vec![0x30, 0x06, 2, 1, 1, 2, 1, 1],
        };
        let expected = concat!(
            r#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","#,
            r#""verificationMaterial":{"publicKey":{"hint":"#,
            r#""4449c1fe1623fc1cd5a8eb2f6b20ff5be1aff4d612c1abbdb1381c207cc22717"},"tlogEntries":[]},"#,
            r#""dsseEnvelope":{"payload":"e30=","payloadType":"application/vnd.in-toto+json","#,
            r#""signatures":[{"sig":"MAYCAQECAQE=","keyid":""}]}}"#,
        );
        assert_eq!(String::from_utf8(bundle.to_bytes()).unwrap(), expected);
        assert_eq!(Bundle::parse(expected.as_bytes()).unwrap(), bundle);
    }

    #[test]
    fn what_is_signed_is_the_pre_authentication_encoding() {
        assert_eq!(
            pre_authentication(b"{}"),
            b"DSSEv1 28 application/vnd.in-toto+json 2 {}"
        );
        assert_eq!(
            pre_authentication(b""),
            b"DSSEv1 28 application/vnd.in-toto+json 0 "
        );
    }

    #[test]
    fn the_longest_payload_passes_and_one_byte_more_does_not() {
        let bundle = |length: usize| {
            let hint = VECTOR_HINT.parse().unwrap();
            Bundle {
                hint,
                payload: vec![b' '; length],
                signature: vec![0x30],
            }
            .to_bytes()
        };
        assert!(Bundle::parse(&bundle(STATEMENT_BYTES_MAX)).is_ok());
        let code = Bundle::parse(&bundle(STATEMENT_BYTES_MAX + 1))
            .unwrap_err()
            .code();
        assert_eq!(code, "model.signature.malformed");
    }

    proptest! {
        #[test]
        fn a_bundle_reads_back_as_itself(
            hint: [u8; 32],
            payload: Vec<u8>,
            signature in proptest::collection::vec(any::<u8>(), 1..=SIGNATURE_BYTES_MAX),
        ) {
            let bundle = Bundle { hint: Sha256::from_bytes(hint), payload, signature };
            prop_assert_eq!(Bundle::parse(&bundle.to_bytes()).unwrap(), bundle);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Bundle::parse(&bytes);
        }
    }
}
