//! Whether settings of the network make sense: the border at which hostile or mistaken ones stop.
//!
//! Holding a [`Sound`] proves that each address can be an address of this box and that each gateway lies in the network
//! of its interface. It does not prove that a cable is there or that nobody else has the address.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jingui_ipc::network::{
    ADDRESSES_MAX, INTERFACES_MAX, InterfaceSettings, Method, NAME_BYTES_MAX, NetworkSettings, Placement,
    Port, Prefixed,
};

/// A network of fewer bits than these holds more than any LAN; most likely a digit is missing.
const PREFIX_MIN_V4: u8 = 8;
const PREFIX_MIN_V6: u8 = 16;

/// Settings that make sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sound(NetworkSettings);

/// Why settings make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NetworkRefusal {
    /// Nothing is configured: the box could not be reached any more.
    #[error("no interface is configured")]
    Nothing,
    /// More interfaces than [`INTERFACES_MAX`].
    #[error("more than {INTERFACES_MAX} interfaces are configured")]
    TooMany,
    /// A name that no Linux interface of ours has.
    #[error("an interface cannot be named so")]
    Name,
    /// One interface is configured twice.
    #[error("{0} is configured twice")]
    Twice(String),
    /// An interface has no address, or two of one family.
    #[error("{0} needs one address of each family at most, and one at least")]
    Addresses(String),
    /// An address that no host can have.
    #[error("{0} cannot be an address of a host in its network")]
    Unusable(Prefixed),
    /// Two interfaces have one address.
    #[error("{0} is given twice")]
    SameAddress(IpAddr),
    /// A gateway that is not in the network of its interface, or is the interface itself.
    #[error("the gateway {gateway} is no other host in the network of {address}")]
    Gateway {
        /// Where the interface stands.
        address: Prefixed,
        /// What cannot be its gateway.
        gateway: IpAddr,
    },
    /// Two gateways of one family: replies would leave by chance.
    #[error("two gateways of one family are given")]
    TwoGateways,
}

impl NetworkRefusal {
    /// Stable code.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Nothing => "network.interface.none",
            Self::TooMany => "network.interface.too-many",
            Self::Name => "network.interface.name",
            Self::Twice(_) => "network.interface.twice",
            Self::Addresses(_) => "network.address.count",
            Self::Unusable(_) => "network.address.unusable",
            Self::SameAddress(_) => "network.address.twice",
            Self::Gateway { .. } => "network.gateway.outside",
            Self::TwoGateways => "network.gateway.two",
        }
    }

    /// Facts for the words.
    pub(crate) fn facts(&self) -> Vec<(String, String)> {
        let fact = |name: &str, value: String| (name.to_owned(), value);
        match self {
            Self::Nothing | Self::Name | Self::TwoGateways => Vec::new(),
            Self::TooMany => vec![fact("max", INTERFACES_MAX.to_string())],
            Self::Twice(port) | Self::Addresses(port) => vec![fact("interface", port.clone())],
            Self::Unusable(address) => vec![fact("address", address.to_string())],
            Self::SameAddress(address) => vec![fact("address", address.to_string())],
            Self::Gateway { address, gateway } => {
                vec![
                    fact("address", address.to_string()),
                    fact("gateway", gateway.to_string()),
                ]
            }
        }
    }
}

impl Sound {
    /// Judges settings, whoever wrote them.
    pub(crate) fn check(settings: NetworkSettings) -> Result<Self, NetworkRefusal> {
        if settings.interfaces.is_empty() {
            return Err(NetworkRefusal::Nothing);
        }
        if settings.interfaces.len() > INTERFACES_MAX {
            return Err(NetworkRefusal::TooMany);
        }
        let mut ports = BTreeSet::new();
        for interface in &settings.interfaces {
            check_port(&interface.port)?;
            if !ports.insert(interface.port.to_string()) {
                return Err(NetworkRefusal::Twice(interface.port.to_string()));
            }
            check_placements(interface)?;
        }
        check_together(&settings)?;
        Ok(Self(settings))
    }

    /// The settings.
    pub(crate) const fn settings(&self) -> &NetworkSettings {
        &self.0
    }

    /// One line for each interface, as leaves have it.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.interfaces.iter().map(ToString::to_string).collect()
    }

    /// Fixed addresses of all interfaces.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        placements(&self.0).map(|placement| placement.address.address())
    }
}

fn placements(settings: &NetworkSettings) -> impl Iterator<Item = &Placement> {
    settings
        .interfaces
        .iter()
        .flat_map(|interface| match &interface.method {
            Method::Dhcp => [].as_slice(),
            Method::Static(placements) => placements.as_slice(),
        })
}

/// Names go into configuration files: only what cannot be anything else there.
fn check_port(port: &Port) -> Result<(), NetworkRefusal> {
    let Port::Name(name) = port else {
        return Ok(());
    };
    let is_sign = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '-' | '_' | '.');
    let is_name = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.starts_with(|sign: char| sign.is_ascii_alphanumeric())
        && name.chars().all(is_sign)
        && name != "lo";
    if is_name {
        Ok(())
    } else {
        Err(NetworkRefusal::Name)
    }
}

fn check_placements(interface: &InterfaceSettings) -> Result<(), NetworkRefusal> {
    let Method::Static(placements) = &interface.method else {
        return Ok(());
    };
    let v4_count = placements
        .iter()
        .filter(|one| one.address.address().is_ipv4())
        .count();
    let is_count = !placements.is_empty() && placements.len() <= ADDRESSES_MAX;
    if !is_count || v4_count > 1 || placements.len() - v4_count > 1 {
        return Err(NetworkRefusal::Addresses(interface.port.to_string()));
    }
    placements.iter().try_for_each(check_placement)
}

fn check_placement(placement: &Placement) -> Result<(), NetworkRefusal> {
    let address = placement.address;
    if !is_host(address) {
        return Err(NetworkRefusal::Unusable(address));
    }
    match placement.gateway {
        Some(gateway) if !is_gateway(address, gateway) => Err(NetworkRefusal::Gateway { address, gateway }),
        _ => Ok(()),
    }
}

fn check_together(settings: &NetworkSettings) -> Result<(), NetworkRefusal> {
    let mut addresses = BTreeSet::new();
    let mut gateway_families = BTreeSet::new();
    for placement in placements(settings) {
        let address = placement.address.address();
        if !addresses.insert(address) {
            return Err(NetworkRefusal::SameAddress(address));
        }
        if let Some(gateway) = placement.gateway
            && !gateway_families.insert(gateway.is_ipv4())
        {
            return Err(NetworkRefusal::TwoGateways);
        }
    }
    Ok(())
}

fn is_host(address: Prefixed) -> bool {
    match address.address() {
        IpAddr::V4(v4) => is_host_v4(v4, address.prefix()),
        IpAddr::V6(v6) => is_host_v6(v6, address.prefix()),
    }
}

fn is_host_v4(address: Ipv4Addr, prefix: u8) -> bool {
    let is_place = !(address.is_loopback()
        || address.is_multicast()
        || address.is_unspecified()
        || address.is_link_local()
        || address.is_broadcast()
        || address.octets().first() == Some(&0));
    // In networks of one or two addresses (RFC 3021) there is neither a network's nor a broadcast address.
    let host_bits = if prefix >= 31 { 0 } else { u32::MAX >> prefix };
    let host = address.to_bits() & host_bits;
    is_place && (PREFIX_MIN_V4..=32).contains(&prefix) && (host_bits == 0 || (host != 0 && host != host_bits))
}

fn is_host_v6(address: Ipv6Addr, prefix: u8) -> bool {
    let is_place = !(address.is_loopback()
        || address.is_multicast()
        || address.is_unspecified()
        || address.is_unicast_link_local()
        || address.to_ipv4_mapped().is_some());
    // The first address of a network belongs to all its routers (RFC 4291 section 2.6.1), save in those of two.
    let is_anycast = prefix < 127 && address.to_bits() & (u128::MAX >> prefix) == 0;
    is_place && (PREFIX_MIN_V6..=128).contains(&prefix) && !is_anycast
}

fn is_gateway(address: Prefixed, gateway: IpAddr) -> bool {
    if gateway == address.address() {
        return false;
    }
    match (address.address(), gateway) {
        (IpAddr::V4(own), IpAddr::V4(other)) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(address.prefix()))
                .unwrap_or(0);
            own.to_bits() & mask == other.to_bits() & mask && is_host_v4(other, address.prefix())
        }
        (IpAddr::V6(_), IpAddr::V6(other)) if other.is_unicast_link_local() => true,
        (IpAddr::V6(own), IpAddr::V6(other)) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(address.prefix()))
                .unwrap_or(0);
            own.to_bits() & mask == other.to_bits() & mask && !other.is_multicast() && !other.is_loopback()
        }
        _ => false,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Settings of one interface with these `address via gateway` lines.
    pub(crate) fn fixed(name: &str, placements: &[&str]) -> InterfaceSettings {
        let placement = |text: &&str| {
            let (address, gateway) = match text.split_once(" via ") {
                Some((address, gateway)) => (address, Some(gateway.parse().unwrap())),
                None => (*text, None),
            };
            Placement {
                address: address.parse().unwrap(),
                gateway,
            }
        };
        InterfaceSettings {
            port: Port::Name(name.to_owned()),
            method: Method::Static(placements.iter().map(placement).collect()),
        }
    }

    fn check(interfaces: Vec<InterfaceSettings>) -> Result<Sound, NetworkRefusal> {
        Sound::check(NetworkSettings { interfaces })
    }

    #[test]
    fn sensible_settings_are_taken() {
        for placements in [
            &["10.0.2.15/24 via 10.0.2.2"][..],
            &["192.168.1.1/30"],
            &["192.168.1.0/31 via 192.168.1.1"],
            &["203.0.113.7/32"],
            &["fd00::2/64 via fe80::1", "10.0.2.15/24"],
            &["2001:db8::2/127 via 2001:db8::3"],
        ] {
            check(vec![fixed("ens3", placements)]).unwrap();
        }
        let sound = check(vec![fixed("ens3", &["10.0.2.15/24 via 10.0.2.2"])]).unwrap();
        assert_eq!(sound.lines(), ["ens3 static 10.0.2.15/24 via 10.0.2.2"]);
    }

    #[test]
    fn each_kind_of_nonsense_has_its_code() {
        type Case<'a> = (&'a str, &'a [&'a str]);
        let cases: [Case<'_>; 24] = [
            ("network.address.count", &[]),
            ("network.address.count", &["10.0.2.15/24", "10.0.3.15/24"]),
            ("network.address.count", &["fd00::2/64", "fd01::2/64"]),
            ("network.address.unusable", &["10.0.2.0/24"]),
            ("network.address.unusable", &["10.0.2.255/24"]),
            ("network.address.unusable", &["127.0.0.1/8"]),
            ("network.address.unusable", &["224.0.0.5/24"]),
            ("network.address.unusable", &["0.0.0.1/8"]),
            ("network.address.unusable", &["169.254.1.1/16"]),
            ("network.address.unusable", &["10.0.2.15/7"]),
            ("network.address.unusable", &["10.0.2.15/0"]),
            ("network.address.unusable", &["fe80::1/64"]),
            ("network.address.unusable", &["ff02::1/64"]),
            ("network.address.unusable", &["::1/128"]),
            ("network.address.unusable", &["fd00::/64"]),
            ("network.address.unusable", &["::ffff:10.0.2.15/120"]),
            ("network.address.unusable", &["fd00::2/15"]),
            ("network.gateway.outside", &["10.0.2.15/24 via 10.0.3.2"]),
            ("network.gateway.outside", &["10.0.2.15/24 via 10.0.2.15"]),
            ("network.gateway.outside", &["10.0.2.15/24 via 10.0.2.255"]),
            ("network.gateway.outside", &["10.0.2.15/24 via fe80::1"]),
            ("network.gateway.outside", &["203.0.113.7/32 via 203.0.113.1"]),
            ("network.gateway.outside", &["fd00::2/64 via fd01::1"]),
            ("network.gateway.outside", &["fd00::2/64 via 10.0.2.2"]),
        ];
        for (code, placements) in cases {
            let refusal = check(vec![fixed("ens3", placements)]).unwrap_err();
            assert_eq!(refusal.code(), code, "{placements:?}");
        }
    }

    #[test]
    fn interfaces_are_judged_together() {
        let one = |name: &str, text: &str| fixed(name, &[text]);
        let code = |interfaces| check(interfaces).unwrap_err().code();
        assert_eq!(code(Vec::new()), "network.interface.none");
        let twice = vec![one("a", "10.0.2.15/24"), one("a", "10.0.3.15/24")];
        assert_eq!(code(twice), "network.interface.twice");
        let same = vec![one("a", "10.0.2.15/24"), one("b", "10.0.2.15/24")];
        assert_eq!(code(same), "network.address.twice");
        let two = vec![
            one("a", "10.0.2.15/24 via 10.0.2.2"),
            one("b", "10.0.3.15/24 via 10.0.3.2"),
        ];
        assert_eq!(code(two), "network.gateway.two");
        let many = |count: u8| {
            (0..count)
                .map(|index| one(&format!("e{index}"), &format!("10.0.{index}.1/24")))
                .collect::<Vec<_>>()
        };
        check(many(8)).unwrap();
        assert_eq!(code(many(9)), "network.interface.too-many");
    }

    proptest! {
        /// A name is written into a configuration file: none may leave its line or match others.
        #[test]
        fn no_name_that_means_something_to_networkd_passes(name in ".{0,20}") {
            if check(vec![fixed(&name, &["10.0.2.15/24"])]).is_ok() {
                prop_assert!(name.chars().all(|sign| sign.is_ascii_alphanumeric() || "-_.".contains(sign)));
                prop_assert!(!name.is_empty() && name.len() <= NAME_BYTES_MAX && name != "lo");
            }
        }

        #[test]
        fn a_gateway_that_passes_is_another_host_in_the_network(
            own: u32, other: u32, prefix in 0_u8..=32,
        ) {
            let address = Prefixed::new(Ipv4Addr::from(own).into(), prefix).unwrap();
            let gateway = IpAddr::from(Ipv4Addr::from(other));
            if check_placement(&Placement { address, gateway: Some(gateway) }).is_ok() {
                prop_assert_ne!(own, other);
                let shift = 32 - u32::from(prefix);
                prop_assert_eq!(u64::from(own) >> shift, u64::from(other) >> shift);
            }
        }
    }
}
