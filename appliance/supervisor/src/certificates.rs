//! The device CA and the certificate of the listener: X.509, ECDSA P-256.
//!
//! People install the CA once (it is offered as `ca.pem`), so it lives for ten years. The listener's certificate
//! lives for a year and is made anew when it is near its end or when the box got other names.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use base64::Engine;
use jingui_trust::Sha256;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::clock::UnixSeconds;
use crate::durable;

const DAY_S: u64 = 24 * 60 * 60;
const CA_DAYS: u64 = 3650;
/// Browsers distrust longer ones.
const LISTENER_DAYS: u64 = 397;
const RENEW_DAYS: u64 = 30;
/// A machine without a clock battery may be behind; a certificate from its future would be refused by others.
const BACKDATE_DAYS: u64 = 1;
const FILE_BYTES_MAX: u64 = 64 * 1024;
const ORGANISATION: &str = "Jingui";

/// The device CA and where it lies.
pub(crate) struct Certificates {
    trust: PathBuf,
    serial: String,
    ca_key: KeyPair,
    ca_pem: String,
}

/// What the gateway shows to clients.
pub(crate) struct Listener {
    /// Certificate of the listener.
    pub(crate) chain_pem: String,
    /// Its key, PKCS #8.
    pub(crate) key_pem: String,
    /// When it should be replaced.
    pub(crate) renew_at: UnixSeconds,
    /// Names and addresses in it.
    pub(crate) names: BTreeSet<String>,
}

/// Kept beside the listener's certificate, so that we need no X.509 parser.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ListenerFacts {
    not_after_unix_s: u64,
    names: BTreeSet<String>,
}

impl Certificates {
    /// Reads the device CA, or makes it at the first start.
    pub(crate) fn open(trust: &Path, serial: &str, now: UnixSeconds) -> io::Result<Self> {
        let (key_path, pem_path) = (trust.join("ca.key.pem"), trust.join("ca.pem"));
        let stored = (read_text(&key_path)?, read_text(&pem_path)?);
        let (ca_key, ca_pem) = match stored {
            (Some(key), Some(pem)) => (KeyPair::from_pem(&key).map_err(failed)?, pem),
            // A crash between the two writes leaves a key that signed nothing.
            _ => make_ca(serial, now, &key_path, &pem_path)?,
        };
        Ok(Self {
            trust: trust.to_owned(),
            serial: serial.to_owned(),
            ca_key,
            ca_pem,
        })
    }

    /// PEM of the device CA.
    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// SHA-256 of the device CA's certificate as browsers show it.
    pub(crate) fn ca_fingerprint(&self) -> [u8; 32] {
        let body: String = self
            .ca_pem
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .collect();
        let der = base64::engine::general_purpose::STANDARD.decode(body);
        // The text is what we wrote; were it damaged, nobody could compare it with anything.
        *Sha256::of(&der.unwrap_or_default()).as_bytes()
    }

    /// The listener's certificate for these names; made anew when none names them all or it ends within a month.
    ///
    /// One that names more stays: after a start the lease of yesterday may not be there yet.
    pub(crate) fn listener(&self, names: &BTreeSet<String>, now: UnixSeconds) -> io::Result<Listener> {
        if let Some(stored) = self.stored_listener(names, now)? {
            return Ok(stored);
        }
        let key = KeyPair::generate().map_err(failed)?;
        let params = listener_params(&self.serial, names, now)?;
        let issuer = Issuer::new(ca_params(&self.serial, now), &self.ca_key);
        let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
        let not_after_unix_s = now.0 + LISTENER_DAYS * DAY_S;
        let listener = Listener {
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            renew_at: renew_at(not_after_unix_s),
            names: names.clone(),
        };
        let facts = ListenerFacts {
            not_after_unix_s,
            names: names.clone(),
        };
        durable::remove(&self.facts_path())?;
        durable::write(
            &self.trust.join("listener.key.pem"),
            listener.key_pem.as_bytes(),
            durable::PRIVATE_FILE,
        )?;
        durable::write(
            &self.trust.join("listener.pem"),
            listener.chain_pem.as_bytes(),
            durable::PRIVATE_FILE,
        )?;
        durable::write(
            &self.facts_path(),
            &serde_json::to_vec(&facts)?,
            durable::PRIVATE_FILE,
        )?;
        Ok(listener)
    }

    fn stored_listener(&self, names: &BTreeSet<String>, now: UnixSeconds) -> io::Result<Option<Listener>> {
        let Some(facts) = durable::read(&self.facts_path(), FILE_BYTES_MAX)? else {
            return Ok(None);
        };
        let facts: ListenerFacts = serde_json::from_slice(&facts)?;
        let renew_at = renew_at(facts.not_after_unix_s);
        let pair = (
            read_text(&self.trust.join("listener.pem"))?,
            read_text(&self.trust.join("listener.key.pem"))?,
        );
        match pair {
            (Some(chain_pem), Some(key_pem)) if now < renew_at && facts.names.is_superset(names) => {
                Ok(Some(Listener {
                    chain_pem,
                    key_pem,
                    renew_at,
                    names: facts.names,
                }))
            }
            _ => Ok(None),
        }
    }

    fn facts_path(&self) -> PathBuf {
        self.trust.join("listener.json")
    }
}

/// Names and addresses under which clients reach a listener bound to `bound`.
pub(crate) fn names(bound: IpAddr) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = ["127.0.0.1", "::1", "localhost"].map(ToOwned::to_owned).into();
    if bound.is_unspecified() {
        names.extend(own_addresses().into_iter().map(|address| address.to_string()));
    } else {
        names.insert(bound.to_string());
    }
    names.extend(host_name());
    names
}

fn renew_at(not_after_unix_s: u64) -> UnixSeconds {
    UnixSeconds(not_after_unix_s.saturating_sub(RENEW_DAYS * DAY_S))
}

fn own_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    let addresses = interfaces.filter_map(|interface| interface.address);
    addresses
        .filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|it| IpAddr::from(it.ip()));
            // Link-local addresses carry a zone, which a certificate cannot name.
            let v6 = address
                .as_sockaddr_in6()
                .map(|it| it.ip())
                .filter(|it| !it.is_unicast_link_local());
            v4.or(v6.map(IpAddr::from))
        })
        .collect()
}

fn host_name() -> Option<String> {
    let name = nix::unistd::gethostname()
        .ok()?
        .into_string()
        .ok()?
        .to_lowercase();
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .chars()
                .all(|sign| sign.is_ascii_alphanumeric() || sign == '-')
    };
    name.split('.').all(is_label).then_some(name)
}

fn make_ca(
    serial: &str,
    now: UnixSeconds,
    key_path: &Path,
    pem_path: &Path,
) -> io::Result<(KeyPair, String)> {
    let key = KeyPair::generate().map_err(failed)?;
    let pem = ca_params(serial, now).self_signed(&key).map_err(failed)?.pem();
    durable::write(key_path, key.serialize_pem().as_bytes(), durable::PRIVATE_FILE)?;
    durable::write(pem_path, pem.as_bytes(), durable::PUBLIC_FILE)?;
    Ok((key, pem))
}

fn ca_params(serial: &str, now: UnixSeconds) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(&format!("Jingui device CA {serial}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = moment(now, BACKDATE_DAYS, 0);
    params.not_after = moment(now, 0, CA_DAYS);
    params
}

fn listener_params(
    serial: &str,
    names: &BTreeSet<String>,
    now: UnixSeconds,
) -> io::Result<CertificateParams> {
    let mut params = CertificateParams::new(names.iter().cloned().collect::<Vec<_>>()).map_err(failed)?;
    params.distinguished_name = distinguished_name(&format!("Jingui {serial}"));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = moment(now, BACKDATE_DAYS, 0);
    params.not_after = moment(now, 0, LISTENER_DAYS);
    Ok(params)
}

fn distinguished_name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, ORGANISATION);
    name.push(DnType::CommonName, common_name);
    name
}

fn moment(now: UnixSeconds, days_before: u64, days_after: u64) -> OffsetDateTime {
    let unix_s = now
        .0
        .saturating_sub(days_before * DAY_S)
        .saturating_add(days_after * DAY_S);
    let unix_s = i64::try_from(unix_s).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(unix_s).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn read_text(path: &Path) -> io::Result<Option<String>> {
    let bytes = durable::read(path, FILE_BYTES_MAX)?;
    bytes
        .map(|bytes| String::from_utf8(bytes).map_err(io::Error::other))
        .transpose()
}

fn failed(error: rcgen::Error) -> io::Error {
    io::Error::other(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_764_000_000);

    fn local() -> BTreeSet<String> {
        names(IpAddr::from([127, 0, 0, 1]))
    }

    #[test]
    fn the_ca_and_the_listener_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let first = Certificates::open(folder.path(), "jg0", NOW).unwrap();
        let listener = first.listener(&local(), NOW).unwrap();
        let again = Certificates::open(folder.path(), "jg0", NOW).unwrap();
        assert_eq!(first.ca_pem(), again.ca_pem());
        assert_eq!(
            listener.chain_pem,
            again.listener(&local(), NOW).unwrap().chain_pem
        );
    }

    #[test]
    fn a_listener_near_its_end_or_with_other_names_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::open(folder.path(), "jg0", NOW).unwrap();
        let first = certificates.listener(&local(), NOW).unwrap().chain_pem;
        let last_day = UnixSeconds(NOW.0 + (LISTENER_DAYS - RENEW_DAYS) * DAY_S);
        assert_eq!(
            certificates
                .listener(&local(), UnixSeconds(last_day.0 - 1))
                .unwrap()
                .chain_pem,
            first
        );
        let renewed = certificates.listener(&local(), last_day).unwrap().chain_pem;
        assert_ne!(renewed, first);
        let other = certificates
            .listener(&names(IpAddr::from([192, 168, 7, 1])), last_day)
            .unwrap()
            .chain_pem;
        assert_ne!(other, renewed);
    }

    #[test]
    fn a_listener_that_names_more_stays() {
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::open(folder.path(), "jg0", NOW).unwrap();
        let wide = names(IpAddr::from([192, 168, 7, 1]));
        let first = certificates.listener(&wide, NOW).unwrap().chain_pem;
        let fewer: BTreeSet<String> = wide
            .iter()
            .filter(|name| *name != "192.168.7.1")
            .cloned()
            .collect();
        let kept = certificates.listener(&fewer, NOW).unwrap();
        assert_eq!((kept.chain_pem, kept.names), (first, wide));
    }

    #[test]
    fn the_fingerprint_is_that_of_the_certificate_s_der() {
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::open(folder.path(), "jg0", NOW).unwrap();
        let pem = folder.path().join("ca.pem");
        let openssl = std::process::Command::new("openssl")
            .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
            .arg(&pem)
            .output()
            .unwrap();
        let shown = String::from_utf8(openssl.stdout).unwrap();
        let ours: Vec<String> = certificates
            .ca_fingerprint()
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect();
        assert!(shown.trim().ends_with(&ours.join(":")), "{shown}");
    }

    #[test]
    fn the_names_hold_the_loopback_and_the_bound_address() {
        let names = names(IpAddr::from([192, 168, 7, 1]));
        for name in ["127.0.0.1", "::1", "localhost", "192.168.7.1"] {
            assert!(names.contains(name), "{name} is missing in {names:?}");
        }
    }
}
