//! TLS 1.3 and 1.2 with the listener's certificate, which can be changed while connections run.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, crypto};

/// Protocols offered, best first. Each has its own connection code; nothing is guessed from first bytes.
pub const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why a certificate cannot be used. The one before stays.
#[derive(Debug, thiserror::Error)]
pub enum CertificateRefusal {
    /// The PEM text is malformed.
    #[error("the certificate or its key is no PEM text")]
    Pem(#[source] pem::Error),
    /// There is no certificate in the chain.
    #[error("the chain holds no certificate")]
    Empty,
    /// The key is of an unknown kind, or does not belong to the certificate.
    #[error("the key cannot be used with the certificate")]
    Key(#[source] rustls::Error),
}

/// The listener's certificate. New handshakes use the newest; running connections go on with theirs.
#[derive(Debug)]
pub struct Certificate {
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// Reads a chain (leaf first) and its key.
    ///
    /// # Errors
    /// Any [`CertificateRefusal`].
    pub fn new(chain_pem: &str, key_pem: &str) -> Result<Self, CertificateRefusal> {
        Ok(Self {
            current: RwLock::new(read(chain_pem, key_pem)?),
        })
    }

    /// Puts another one in its place.
    ///
    /// # Errors
    /// Any [`CertificateRefusal`]; the one before stays.
    pub fn replace(&self, chain_pem: &str, key_pem: &str) -> Result<(), CertificateRefusal> {
        let next = read(chain_pem, key_pem)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(
            &self.current.read().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

fn read(chain_pem: &str, key_pem: &str) -> Result<Arc<CertifiedKey>, CertificateRefusal> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(CertificateRefusal::Pem)?;
    if chain.is_empty() {
        return Err(CertificateRefusal::Empty);
    }
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(CertificateRefusal::Pem)?;
    let certified = CertifiedKey::from_der(chain, key, &crypto::ring::default_provider());
    certified.map(Arc::new).map_err(CertificateRefusal::Key)
}

/// The server's side of TLS.
///
/// # Errors
/// Never with the provider that is compiled in; told instead of panicking.
pub fn server_config(certificate: Arc<Certificate>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_bad_certificate_is_refused_and_the_one_before_stays() {
        let (chain, key) = identity();
        let (_, other_key) = identity();
        let certificate = Certificate::new(&chain, &key).unwrap();
        let before = Arc::clone(&certificate.current.read().unwrap());
        assert!(matches!(
            certificate.replace(&chain, &other_key),
            Err(CertificateRefusal::Key(_))
        ));
        assert!(matches!(
            certificate.replace("", &key),
            Err(CertificateRefusal::Empty)
        ));
        assert!(matches!(
            certificate.replace(&chain, ""),
            Err(CertificateRefusal::Pem(_))
        ));
        assert!(Arc::ptr_eq(&before, &certificate.current.read().unwrap()));
        let (chain, key) = identity();
        certificate.replace(&chain, &key).unwrap();
        assert!(!Arc::ptr_eq(&before, &certificate.current.read().unwrap()));
    }
}
