//! The machine's network interfaces, as the kernel lists them.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use jingui_ipc::network::{INTERFACES_MAX, InterfaceView, NAME_BYTES_MAX, Port, Prefixed};

/// An Ethernet (ARPHRD_ETHER) interface, in `type`.
const ETHERNET: &str = "1";
/// Longest attribute that is read, in bytes.
const ATTRIBUTE_BYTES_MAX: u64 = 64;

/// Ethernet interfaces below that folder, by name, at most [`INTERFACES_MAX`].
pub(crate) fn list(folder: &Path) -> Vec<InterfaceView> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.len() <= NAME_BYTES_MAX && name != "lo")
        .filter(|name| attribute(folder, name, "type").as_deref() == Some(ETHERNET))
        .collect();
    names.sort_unstable();
    names.truncate(INTERFACES_MAX);
    let addresses = addresses();
    names
        .into_iter()
        .map(|name| InterfaceView {
            mac: attribute(folder, &name, "address").and_then(|text| text.parse().ok()),
            // Reading it fails while the interface is down.
            has_carrier: attribute(folder, &name, "carrier").as_deref() == Some("1"),
            addresses: addresses
                .iter()
                .filter(|(owner, _)| *owner == name)
                .map(|(_, address)| *address)
                .collect(),
            name,
        })
        .collect()
}

/// Name of the interface that a port is now.
pub(crate) fn name_of(folder: &Path, port: &Port) -> Option<String> {
    let is_it = |view: &InterfaceView| match port {
        Port::Name(name) => view.name == *name,
        Port::Mac(mac) => view.mac == Some(*mac),
    };
    list(folder).into_iter().find(is_it).map(|view| view.name)
}

fn attribute(folder: &Path, interface: &str, name: &str) -> Option<String> {
    let file = fs::File::open(folder.join(interface).join(name)).ok()?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::io::Read::take(file, ATTRIBUTE_BYTES_MAX), &mut text).ok()?;
    Some(text.trim().to_owned())
}

/// Every address that people can reach, with its interface: no loopback, nothing that holds on one link only.
fn addresses() -> Vec<(String, Prefixed)> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    interfaces
        .filter_map(|interface| {
            let address = ip_of(interface.address.as_ref()?)?;
            let bits = match ip_of(interface.netmask.as_ref()?)? {
                IpAddr::V4(mask) => mask.to_bits().count_ones(),
                IpAddr::V6(mask) => mask.to_bits().count_ones(),
            };
            let prefixed = Prefixed::new(address, u8::try_from(bits).ok()?)?;
            is_reachable(address).then_some((interface.interface_name, prefixed))
        })
        .collect()
}

/// Addresses under which people reach this box, the loopback and link-local ones left out.
pub(crate) fn reachable() -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = addresses()
        .into_iter()
        .map(|(_, prefixed)| prefixed.address())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

fn is_reachable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    }
}

fn ip_of(address: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|it| IpAddr::from(it.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|it| IpAddr::from(it.ip())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jingui_ipc::network::MacAddress;

    #[test]
    fn ethernet_interfaces_are_listed_and_found_by_name_and_burnt_in_address() {
        let folder = tempfile::tempdir().unwrap();
        for (name, kind, mac, carrier) in [
            ("lo", "772", "00:00:00:00:00:00", "1"),
            ("ens4", "1", "52:54:00:12:34:57", "0"),
            ("ens3", "1", "52:54:00:12:34:56", "1"),
            ("tun0", "65534", "", "1"),
        ] {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            for (attribute, value) in [("type", kind), ("address", mac), ("carrier", carrier)] {
                fs::write(path.join(attribute), format!("{value}\n")).unwrap();
            }
        }
        let found: Vec<_> = list(folder.path())
            .into_iter()
            .map(|view| (view.name, view.has_carrier))
            .collect();
        assert_eq!(found, [("ens3".to_owned(), true), ("ens4".to_owned(), false)]);
        let mac: MacAddress = "52:54:00:12:34:57".parse().unwrap();
        assert_eq!(name_of(folder.path(), &Port::Mac(mac)).as_deref(), Some("ens4"));
        assert_eq!(name_of(folder.path(), &Port::Name("tun0".to_owned())), None);
        assert!(list(&folder.path().join("none")).is_empty());
    }
}
