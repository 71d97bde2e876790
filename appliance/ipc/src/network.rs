//! How the box stands in its network: which interfaces, which addresses. Told by a person at the local screen or in the
//! ceremony, or by a file that came with the installation; judged by the supervisor.
//!
//! Values of these types are well formed (a prefix fits its family), not yet sensible: a gateway may still lie outside
//! its network. `supervisor/network` says what is sensible.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Interfaces that can be configured.
pub const INTERFACES_MAX: usize = 8;
/// Addresses of one interface: one for each family.
pub const ADDRESSES_MAX: usize = 2;
/// Longest name of a Linux interface in bytes (`IFNAMSIZ` less its end).
pub const NAME_BYTES_MAX: usize = 15;

/// All interfaces that are to carry addresses. What is not listed stays silent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSettings {
    /// At most [`INTERFACES_MAX`].
    pub interfaces: Vec<InterfaceSettings>,
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceSettings {
    /// Which.
    pub port: Port,
    /// How it gets its addresses.
    pub method: Method,
}

/// How an interface is named: by its name, or by the address burnt into it, which survives another slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Port {
    /// For example `enp3s0`.
    Name(String),
    /// For example `52:54:00:12:34:56`.
    Mac(MacAddress),
}

/// How an interface gets its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// IPv4 by DHCP: address and gateway, nothing else that the server says.
    Dhcp,
    /// Fixed addresses, at most one of each family ([`ADDRESSES_MAX`]).
    Static(Vec<Placement>),
}

/// A fixed address with its network and the way out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Address and length of the network's prefix.
    pub address: Prefixed,
    /// Router of that network, of the same family.
    pub gateway: Option<IpAddr>,
}

/// An address and the length of its network's prefix, as in `10.0.2.15/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(IpAddr, u8)", into = "(IpAddr, u8)")]
pub struct Prefixed {
    address: IpAddr,
    prefix: u8,
}

/// Six bytes of an Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MacAddress(pub [u8; 6]);

/// What is written is not of the form that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormFault {
    /// No `address/prefix`.
    #[error("not an address with the length of its prefix")]
    Prefixed,
    /// No six bytes in hexadecimal with colons.
    #[error("not an Ethernet address")]
    Mac,
}

impl Prefixed {
    /// An address in a network of that prefix; `None` when the prefix is longer than the address.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= bits).then_some(Self { address, prefix })
    }

    /// The address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Length of the network's prefix in bits.
    #[must_use]
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }
}

impl TryFrom<(IpAddr, u8)> for Prefixed {
    type Error = FormFault;

    fn try_from((address, prefix): (IpAddr, u8)) -> Result<Self, FormFault> {
        Self::new(address, prefix).ok_or(FormFault::Prefixed)
    }
}

impl From<Prefixed> for (IpAddr, u8) {
    fn from(prefixed: Prefixed) -> Self {
        (prefixed.address, prefixed.prefix)
    }
}

impl FromStr for Prefixed {
    type Err = FormFault;

    /// Without a prefix the address is refused: guessing a network is how boxes become unreachable.
    fn from_str(text: &str) -> Result<Self, FormFault> {
        let (address, prefix) = text.split_once('/').ok_or(FormFault::Prefixed)?;
        let is_plain = prefix.len() <= 3 && prefix.chars().all(|sign| sign.is_ascii_digit());
        let prefix = Some(prefix)
            .filter(|_| is_plain)
            .and_then(|text| text.parse().ok());
        let address = address.parse().map_err(|_| FormFault::Prefixed)?;
        prefix
            .and_then(|prefix| Self::new(address, prefix))
            .ok_or(FormFault::Prefixed)
    }
}

impl fmt::Display for Prefixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for MacAddress {
    type Err = FormFault;

    fn from_str(text: &str) -> Result<Self, FormFault> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or(FormFault::Mac)?;
            let is_hex = part.len() == 2 && part.chars().all(|sign| sign.is_ascii_hexdigit());
            *byte = Some(part)
                .filter(|_| is_hex)
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or(FormFault::Mac)?;
        }
        match parts.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(FormFault::Mac),
        }
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Mac(mac) => mac.fmt(f),
        }
    }
}

impl fmt::Display for InterfaceSettings {
    /// One line, as leaves and previews have it: `ens3 static 10.0.2.15/24 via 10.0.2.2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.method {
            Method::Dhcp => write!(f, "{} dhcp", self.port),
            Method::Static(placements) => {
                write!(f, "{} static", self.port)?;
                for Placement { address, gateway } in placements {
                    write!(f, " {address}")?;
                    if let Some(gateway) = gateway {
                        write!(f, " via {gateway}")?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// What a person has to see before he changes anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkView {
    /// Interfaces of this machine, the loopback left out, at most [`INTERFACES_MAX`].
    pub interfaces: Vec<InterfaceView>,
    /// In force; `None` before anybody said anything.
    pub current: Option<NetworkSettings>,
    /// In force before that: the way back.
    pub previous: Option<NetworkSettings>,
}

/// An interface as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceView {
    /// Its name.
    pub name: String,
    /// Its burnt-in address.
    pub mac: Option<MacAddress>,
    /// Whether a cable with somebody at the other end is plugged in.
    pub has_carrier: bool,
    /// Addresses it has now, link-local ones left out.
    pub addresses: Vec<Prefixed>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(address: IpAddr, prefix in 0_u8..=128, mac: [u8; 6]) {
            if let Some(prefixed) = Prefixed::new(address, prefix) {
                prop_assert_eq!(prefixed.to_string().parse(), Ok(prefixed));
            } else {
                let text = format!("{address}/{prefix}");
                prop_assert!(text.parse::<Prefixed>().is_err());
            }
            prop_assert_eq!(MacAddress(mac).to_string().parse(), Ok(MacAddress(mac)));
        }

        #[test]
        fn no_text_makes_the_readers_panic(text in ".{0,60}") {
            let _ = (text.parse::<Prefixed>(), text.parse::<MacAddress>());
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "10.0.2.15",
            "10.0.2.15/33",
            "10.0.2.15/+8",
            "10.0.2.15/",
            "/24",
            "::1/129",
            "10.0.2/24",
            "1.1.1.1/0024",
        ] {
            assert_eq!(text.parse::<Prefixed>(), Err(FormFault::Prefixed), "{text}");
        }
        for text in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "5254.0012.3456",
            "+2:54:00:12:34:56",
            "g2:54:00:12:34:56",
        ] {
            assert_eq!(text.parse::<MacAddress>(), Err(FormFault::Mac), "{text}");
        }
    }

    #[test]
    fn a_prefix_longer_than_its_address_does_not_arrive_over_a_socket() {
        let wire = postcard::to_allocvec(&(IpAddr::from([10, 0, 2, 15]), 33_u8)).unwrap();
        assert!(postcard::from_bytes::<Prefixed>(&wire).is_err());
    }
}
