//! The answers of an installation: typed by a person, or in a signed file for one that nobody attends.
//!
//! ```toml
//! format = 1
//! language = "zh-CN"            # or "en"
//!
//! [disk]
//! serial = "S5GXNX0T123456"     # the whole serial; exactly one disk must have it
//! data = "erase"                # "keep" or "erase", when an older system is on it
//!
//! [[interface]]                 # none: the network is set at the local screen
//! name = "enp3s0"               # or: mac = "52:54:00:12:34:56"
//! method = "static"             # or "dhcp"
//! address = "10.0.2.15/24"
//! gateway = "10.0.2.2"
//! ```
//!
//! `answers.sig` beside it holds 64 bytes: Ed25519 over "jingui install answers v1\n" and the bytes of the file, by a key
//! of the image or a site key of the signed manifest. It decides which disk is overwritten, so an unsigned one is none.

use std::net::IpAddr;

use jingui_ipc::network::{INTERFACES_MAX, InterfaceSettings, MacAddress, Method, Placement, Port, Prefixed};
use jingui_messages::Language;
use jingui_trust::image_key::{ImagePublicKey, Purpose};
use serde::Deserialize;

use crate::install::Data;

/// Name of the file in the folder `jingui` of the stick's EFI system partition.
pub const ANSWERS_NAME: &str = "answers.toml";
/// Name of its signature.
pub const ANSWERS_SIGNATURE_NAME: &str = "answers.sig";
/// Longest answers file.
pub const ANSWERS_BYTES_MAX: u64 = 16 * 1024;
/// Longest name of an interface (`IFNAMSIZ` less its end).
const INTERFACE_NAME_BYTES_MAX: usize = 15;
const FORMAT: u32 = 1;

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// Language of the installation.
    pub language: Language,
    /// Whole serial of the disk.
    pub serial: String,
    /// What happens to the data of an older system; no answer stops when there is one.
    pub data: Option<Data>,
    /// The network.
    pub interfaces: Vec<InterfaceSettings>,
}

/// Why an answers file is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswersRefusal {
    /// No key that is trusted signed it.
    #[error("the answers are not signed by a trusted key")]
    Unsigned,
    /// Longer than any that makes sense.
    #[error("the answers are too long")]
    TooBig,
    /// Not of the schema.
    #[error("the answers are malformed: {fault}")]
    Malformed {
        /// What is wrong.
        fault: &'static str,
    },
}

impl AnswersRefusal {
    /// Every code.
    pub const CODES: &'static [&'static str] = &[
        "install.answers.unsigned",
        "install.answers.too-big",
        "install.answers.malformed",
    ];

    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unsigned => "install.answers.unsigned",
            Self::TooBig => "install.answers.too-big",
            Self::Malformed { .. } => "install.answers.malformed",
        }
    }

    /// Facts for the words.
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Malformed { fault } => vec![("fault", (*fault).to_owned())],
            Self::Unsigned | Self::TooBig => Vec::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u32,
    language: String,
    disk: WrittenDisk,
    #[serde(default)]
    interface: Vec<WrittenInterface>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenDisk {
    serial: String,
    data: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenInterface {
    name: Option<String>,
    mac: Option<String>,
    method: String,
    address: Option<String>,
    gateway: Option<String>,
}

impl Answers {
    /// Reads an answers file: signature first.
    ///
    /// # Errors
    /// Any [`AnswersRefusal`].
    pub fn read(bytes: &[u8], signature: &[u8], keys: &[ImagePublicKey]) -> Result<Self, AnswersRefusal> {
        if bytes.len() as u64 > ANSWERS_BYTES_MAX {
            return Err(AnswersRefusal::TooBig);
        }
        let is_signed = |key: &ImagePublicKey| key.verify(Purpose::InstallAnswers, bytes, signature);
        if !keys.iter().any(is_signed) {
            return Err(AnswersRefusal::Unsigned);
        }
        Self::parse(bytes).map_err(|fault| AnswersRefusal::Malformed { fault })
    }

    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is no text")?;
        let written: Written = toml::from_str(text).map_err(|_| "it does not fit the schema")?;
        if written.format != FORMAT {
            return Err("its format is unknown");
        }
        let language = match written.language.as_str() {
            "zh-CN" => Language::Chinese,
            "en" => Language::English,
            _ => return Err("its language is unknown"),
        };
        let data = match written.disk.data.as_deref() {
            None => None,
            Some("keep") => Some(Data::Keep),
            Some("erase") => Some(Data::Erase),
            Some(_) => return Err("data is neither keep nor erase"),
        };
        if written.disk.serial.trim().is_empty() {
            return Err("it names no serial");
        }
        if written.interface.len() > INTERFACES_MAX {
            return Err("it has too many interfaces");
        }
        let interfaces = written.interface.iter().map(WrittenInterface::settings);
        Ok(Self {
            language,
            serial: written.disk.serial.trim().to_owned(),
            data,
            interfaces: interfaces.collect::<Result<_, _>>()?,
        })
    }
}

impl WrittenInterface {
    fn settings(&self) -> Result<InterfaceSettings, &'static str> {
        let port = match (&self.name, &self.mac) {
            (Some(name), None) => port_of(name)?,
            (None, Some(mac)) => {
                let mac: MacAddress = mac.parse().map_err(|_| "a mac is none")?;
                Port::Mac(mac)
            }
            _ => return Err("an interface has not exactly one of name and mac"),
        };
        let method = match (self.method.as_str(), &self.address, &self.gateway) {
            ("dhcp", None, None) => Method::Dhcp,
            ("static", Some(address), gateway) => {
                Method::Static(vec![placement(address, gateway.as_deref())?])
            }
            _ => return Err("an interface is neither static with an address nor dhcp without one"),
        };
        Ok(InterfaceSettings { port, method })
    }
}

/// An interface by its name.
fn port_of(name: &str) -> Result<Port, &'static str> {
    let is_name = !name.is_empty()
        && name.len() <= INTERFACE_NAME_BYTES_MAX
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && name.starts_with(|first: char| first.is_ascii_alphanumeric());
    if is_name {
        Ok(Port::Name(name.to_owned()))
    } else {
        Err("an interface has a name that none can have")
    }
}

fn placement(address: &str, gateway: Option<&str>) -> Result<Placement, &'static str> {
    let address: Prefixed = address
        .parse()
        .map_err(|_| "an address is not of the form 10.0.2.15/24")?;
    let gateway: Option<IpAddr> = gateway
        .map(|text| text.parse().map_err(|_| "a gateway is no address"))
        .transpose()?;
    if gateway.is_some_and(|gateway| gateway.is_ipv4() != address.address().is_ipv4()) {
        return Err("address and gateway are of different families");
    }
    Ok(Placement { address, gateway })
}

/// One line of a person: `enp3s0 10.0.2.15/24 10.0.2.2`, `enp3s0 dhcp`, or nothing.
///
/// # Errors
/// What is wrong with it.
pub fn parse_line(line: &str) -> Result<Vec<InterfaceSettings>, &'static str> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (name, method) = match words.as_slice() {
        [] => return Ok(Vec::new()),
        [name, "dhcp"] => (name, Method::Dhcp),
        [name, address] => (name, Method::Static(vec![placement(address, None)?])),
        [name, address, gateway] => (name, Method::Static(vec![placement(address, Some(gateway))?])),
        _ => return Err("it is not of the form: interface address/prefix gateway"),
    };
    Ok(vec![InterfaceSettings {
        port: port_of(name)?,
        method,
    }])
}

/// The file that the first start of the box reads; `None` when there is nothing to say.
#[must_use]
pub fn network_toml(interfaces: &[InterfaceSettings]) -> Option<String> {
    if interfaces.is_empty() {
        return None;
    }
    let mut text = String::from("# Written by the installer for the first start.\n");
    for interface in interfaces {
        text.push_str("\n[[interface]]\n");
        match &interface.port {
            Port::Name(name) => text.push_str(&format!("name = \"{name}\"\n")),
            Port::Mac(mac) => text.push_str(&format!("mac = \"{mac}\"\n")),
        }
        match &interface.method {
            Method::Dhcp => text.push_str("method = \"dhcp\"\n"),
            Method::Static(placements) => {
                text.push_str("method = \"static\"\n");
                for placement in placements.iter().take(1) {
                    text.push_str(&format!("address = \"{}\"\n", placement.address));
                    if let Some(gateway) = placement.gateway {
                        text.push_str(&format!("gateway = \"{gateway}\"\n"));
                    }
                }
            }
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jingui_trust::image_key::ImageKey;

    const GOOD: &str = "format = 1\nlanguage = \"en\"\n[disk]\nserial = \"S1\"\ndata = \"erase\"\n\
        [[interface]]\nname = \"enp3s0\"\nmethod = \"static\"\naddress = \"10.0.2.15/24\"\ngateway = \"10.0.2.2\"\n\
        [[interface]]\nmac = \"52:54:00:12:34:56\"\nmethod = \"dhcp\"\n";

    fn fault(text: &str) -> &'static str {
        Answers::parse(text.as_bytes()).expect_err(text)
    }

    #[test]
    fn a_signed_file_is_read_and_an_unsigned_one_is_not_even_looked_at() {
        let (key, _) = ImageKey::generate().unwrap();
        let (other, _) = ImageKey::generate().unwrap();
        let keys = [key.public_key().unwrap()];
        let signature = key.sign(Purpose::InstallAnswers, GOOD.as_bytes());
        let answers = Answers::read(GOOD.as_bytes(), &signature, &keys).unwrap();
        assert_eq!((answers.serial.as_str(), answers.data), ("S1", Some(Data::Erase)));
        assert_eq!(answers.interfaces.len(), 2);
        for (text, signature) in [
            ("not even toml", signature),
            (GOOD, other.sign(Purpose::InstallAnswers, GOOD.as_bytes())),
            (GOOD, key.sign(Purpose::UpdateManifest, GOOD.as_bytes())),
        ] {
            let refused = Answers::read(text.as_bytes(), &signature, &keys);
            assert_eq!(refused, Err(AnswersRefusal::Unsigned), "{text}");
        }
        let long = vec![b'#'; ANSWERS_BYTES_MAX as usize + 1];
        let signature = key.sign(Purpose::InstallAnswers, &long);
        assert_eq!(
            Answers::read(&long, &signature, &keys),
            Err(AnswersRefusal::TooBig)
        );
    }

    #[test]
    fn whatever_is_not_of_the_schema_is_refused() {
        Answers::parse(GOOD.as_bytes()).unwrap();
        for (from, to) in [
            ("format = 1", "format = 2"),
            ("format = 1", "format = 1\nextra = 1"),
            ("\"en\"", "\"fr\""),
            ("\"S1\"", "\" \""),
            ("data = \"erase\"", "data = \"maybe\""),
            ("data = \"erase\"", "device = \"sda\""),
            ("name = \"enp3s0\"", "name = \"../x\""),
            ("name = \"enp3s0\"", "name = \"a-name-that-is-too-long\""),
            ("name = \"enp3s0\"", "name = \"a\"\nmac = \"52:54:00:12:34:56\""),
            ("10.0.2.15/24", "10.0.2.15"),
            ("10.0.2.15/24", "10.0.2.15/33"),
            ("\"10.0.2.2\"", "\"fe80::1\""),
            ("\"dhcp\"", "\"dhcp\"\naddress = \"10.0.2.15/24\""),
            ("\"static\"", "\"magic\""),
        ] {
            assert!(GOOD.contains(from));
            assert!(!fault(&GOOD.replacen(from, to, 1)).is_empty());
        }
    }

    #[test]
    fn a_typed_line_says_the_same_as_a_file() {
        let typed = parse_line("enp3s0 10.0.2.15/24 10.0.2.2").unwrap();
        let filed = Answers::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(typed.first(), filed.interfaces.first());
        assert_eq!(parse_line("  ").unwrap(), Vec::new());
        assert!(matches!(parse_line("eth0 dhcp").unwrap()[0].method, Method::Dhcp));
        for bad in [
            "eth0",
            "eth0 x",
            "eth0 10.0.2.15/24 x",
            "eth0 10.0.2.15/24 10.0.2.2 more",
            "e/0 dhcp",
        ] {
            assert!(parse_line(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_network_file_holds_what_was_answered() {
        assert_eq!(network_toml(&[]), None);
        let answers = Answers::parse(GOOD.as_bytes()).unwrap();
        let text = network_toml(&answers.interfaces).unwrap();
        let again = format!("format = 1\nlanguage = \"en\"\n[disk]\nserial = \"S1\"\n{text}");
        assert_eq!(
            Answers::parse(again.as_bytes()).unwrap().interfaces,
            answers.interfaces
        );
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Answers::parse(&bytes);
        }

        #[test]
        fn no_line_makes_it_panic(line in ".{0,80}") {
            let _ = parse_line(&line);
        }
    }
}
