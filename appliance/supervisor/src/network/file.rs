//! The first network as a person or the installer writes it: `network.toml` on the ESP.
//!
//! ```toml
//! [[interface]]
//! name = "enp3s0"          # or: mac = "52:54:00:12:34:56"
//! method = "static"        # or: method = "dhcp", and nothing more
//! address = "10.0.2.15/24" # one address of either family, and
//! gateway = "10.0.2.2"
//! address6 = "fd00::2/64"  # one of IPv6 besides, if wanted
//! gateway6 = "fe80::1"
//! ```
//!
//! Any other key is an error: a typing error must not silently mean nothing.

use std::net::IpAddr;

use jingui_ipc::network::{
    InterfaceSettings, MacAddress, Method, NetworkSettings, Placement, Port, Prefixed,
};
use serde::Deserialize;

/// Longest file that is read, in bytes.
pub(crate) const FILE_BYTES_MAX: u64 = 16 * 1024;

/// The file is not of that form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the first network is not written as it should be")]
pub(crate) struct FileRefusal;

impl FileRefusal {
    /// Stable code.
    pub(crate) const CODE: &'static str = "network.file.malformed";
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    interface: Vec<Interface>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Interface {
    name: Option<String>,
    mac: Option<String>,
    method: Word,
    address: Option<String>,
    gateway: Option<String>,
    address6: Option<String>,
    gateway6: Option<String>,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Word {
    Static,
    Dhcp,
}

/// Reads the file's text.
///
/// # Errors
/// When it is not TOML of that form. Whether the settings make sense is another question.
pub(crate) fn parse(text: &str) -> Result<NetworkSettings, FileRefusal> {
    let file: File = toml::from_str(text).map_err(|_| FileRefusal)?;
    let interfaces = file
        .interface
        .into_iter()
        .map(interface)
        .collect::<Result<_, _>>()?;
    Ok(NetworkSettings { interfaces })
}

fn interface(written: Interface) -> Result<InterfaceSettings, FileRefusal> {
    let port = match (written.name, written.mac) {
        (Some(name), None) => Port::Name(name),
        (None, Some(mac)) => Port::Mac(mac.parse::<MacAddress>().map_err(|_| FileRefusal)?),
        _ => return Err(FileRefusal),
    };
    let first = placement(written.address.as_deref(), written.gateway.as_deref())?;
    let second = placement(written.address6.as_deref(), written.gateway6.as_deref())?;
    if second.is_some_and(|one| one.address.address().is_ipv4()) {
        return Err(FileRefusal);
    }
    let placements: Vec<Placement> = [first, second].into_iter().flatten().collect();
    let method = match written.method {
        Word::Static => Method::Static(placements),
        Word::Dhcp if placements.is_empty() => Method::Dhcp,
        Word::Dhcp => return Err(FileRefusal),
    };
    Ok(InterfaceSettings { port, method })
}

fn placement(address: Option<&str>, gateway: Option<&str>) -> Result<Option<Placement>, FileRefusal> {
    match (address, gateway) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(FileRefusal),
        (Some(address), gateway) => {
            let address: Prefixed = address.parse().map_err(|_| FileRefusal)?;
            let gateway: Option<IpAddr> = gateway
                .map(|text| text.parse().map_err(|_| FileRefusal))
                .transpose()?;
            Ok(Some(Placement { address, gateway }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_methods_and_both_families_are_read() {
        let text = r#"
            [[interface]]
            name = "enp3s0"
            method = "static"
            address = "10.0.2.15/24"
            gateway = "10.0.2.2"
            address6 = "fd00::2/64"
            gateway6 = "fe80::1"

            [[interface]]
            mac = "52:54:00:12:34:56"
            method = "dhcp"
        "#;
        let lines: Vec<String> = parse(text)
            .unwrap()
            .interfaces
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            lines,
            [
                "enp3s0 static 10.0.2.15/24 via 10.0.2.2 fd00::2/64 via fe80::1",
                "52:54:00:12:34:56 dhcp"
            ]
        );
    }

    #[test]
    fn anything_else_is_refused() {
        let with = |lines: &str| format!("[[interface]]\n{lines}\n");
        for lines in [
            "name = \"a\"",
            "method = \"dhcp\"",
            "name = \"a\"\nmac = \"52:54:00:12:34:56\"\nmethod = \"dhcp\"",
            "name = \"a\"\nmethod = \"dhcp\"\naddress = \"10.0.2.15/24\"",
            "name = \"a\"\nmethod = \"dhcp\"\ndns = \"10.0.2.3\"",
            "name = \"a\"\nmethod = \"auto\"",
            "name = \"a\"\nmethod = \"static\"\naddress = \"10.0.2.15\"",
            "name = \"a\"\nmethod = \"static\"\naddress = \"10.0.2.15/24\"\naddress6 = \"10.0.3.15/24\"",
            "name = \"a\"\nmethod = \"static\"\ngateway = \"10.0.2.2\"",
            "mac = \"52:54\"\nmethod = \"dhcp\"",
            "name = 7\nmethod = \"dhcp\"",
        ] {
            assert_eq!(parse(&with(lines)), Err(FileRefusal), "{lines}");
        }
        for text in ["", "interface = 1", "interface = {}", "[[interface]]", "\u{0}"] {
            assert_eq!(parse(text), Err(FileRefusal), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[\\[\\]a-z0-9=\"\\.:/\n ]{0,120}") {
            let _ = parse(&text);
        }
    }
}
