//! Settings as systemd-networkd and the firewall read them.
//!
//! One `.network` file for each interface that is configured; the others get none and stay silent. Nothing that the box
//! could use to find or name others is on: no DNS, NTP, LLMNR, mDNS, LLDP, router solicitation, host name. IPv6 is there
//! only where an address of it is.

use std::fmt::Write;

use jingui_ipc::network::{InterfaceSettings, Method, Port};

use super::settings::Sound;

/// Where the firewall may let the DHCP client speak: applied together with the files.
pub(crate) const FIREWALL_FILE: &str = "firewall.nft";

/// A file for systemd-networkd: name and content.
pub(crate) type UnitFile = (String, String);

/// The files of these settings, one for each interface.
pub(crate) fn files(settings: &Sound) -> Vec<UnitFile> {
    let named = settings.settings().interfaces.iter().enumerate();
    named
        .map(|(index, interface)| (format!("50-jingui-{index}.network"), file(interface)))
        .collect()
}

fn file(interface: &InterfaceSettings) -> String {
    let mut text = String::from("# Written by the supervisor; changed at the local screen only.\n[Match]\n");
    // Writing to a String cannot fail.
    let _ = match &interface.port {
        Port::Name(name) => writeln!(text, "Name={name}"),
        Port::Mac(mac) => writeln!(text, "PermanentMACAddress={mac}"),
    };
    text.push_str("\n[Link]\nRequiredForOnline=no\n\n[Network]\n");
    let has_v6 = match &interface.method {
        Method::Dhcp => {
            text.push_str("DHCP=ipv4\n");
            false
        }
        Method::Static(placements) => {
            text.push_str("DHCP=no\n");
            for placement in placements {
                let _ = writeln!(text, "Address={}", placement.address);
                if let Some(gateway) = placement.gateway {
                    let _ = writeln!(text, "Gateway={gateway}");
                }
            }
            placements.iter().any(|one| one.address.address().is_ipv6())
        }
    };
    let _ = writeln!(text, "LinkLocalAddressing={}", if has_v6 { "ipv6" } else { "no" });
    text.push_str(SILENCE);
    if interface.method == Method::Dhcp {
        text.push_str(DHCP);
    }
    text
}

const SILENCE: &str = "\
IPv6AcceptRA=no
LLMNR=no
MulticastDNS=no
LLDP=no
EmitLLDP=no
DefaultRouteOnDevice=no
IPv4Forwarding=no
IPv6Forwarding=no
";

/// An address and a gateway, nothing else that a server says; and to it nothing but our Ethernet address.
const DHCP: &str = "
[DHCPv4]
ClientIdentifier=mac
SendHostname=no
UseDNS=no
UseNTP=no
UseSIP=no
UseHostname=no
UseDomains=no
UseTimezone=no
UseRoutes=no
UseGateway=yes
UseMTU=no
";

/// The set of interfaces on which the DHCP client may speak; `name_of` says which interface a burnt-in address is now. One
/// that is called by its name may come later.
pub(crate) fn firewall(settings: Option<&Sound>, name_of: impl Fn(&Port) -> Option<String>) -> String {
    let mut text = String::from("flush set inet jingui dhcp_interfaces\n");
    let interfaces = settings.map(|sound| sound.settings().interfaces.as_slice());
    for interface in interfaces.unwrap_or_default() {
        if interface.method != Method::Dhcp {
            continue;
        }
        let name = match &interface.port {
            Port::Name(name) => Some(name.clone()),
            port @ Port::Mac(_) => name_of(port),
        };
        if let Some(name) = name {
            let _ = writeln!(text, "add element inet jingui dhcp_interfaces {{ \"{name}\" }}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::settings::tests::fixed;
    use super::*;
    use jingui_ipc::network::NetworkSettings;

    fn sound(interfaces: Vec<InterfaceSettings>) -> Sound {
        Sound::check(NetworkSettings { interfaces }).unwrap()
    }

    #[test]
    fn a_fixed_address_is_all_that_its_interface_says() {
        let files = files(&sound(vec![fixed("ens3", &["10.0.2.15/24 via 10.0.2.2"])]));
        let [(name, text)] = files.as_slice() else {
            panic!("{files:?}")
        };
        assert_eq!(name, "50-jingui-0.network");
        let expected = "# Written by the supervisor; changed at the local screen only.\n[Match]\nName=ens3\n\n[Link]\n\
                        RequiredForOnline=no\n\n[Network]\nDHCP=no\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n\
                        LinkLocalAddressing=no\nIPv6AcceptRA=no\nLLMNR=no\nMulticastDNS=no\nLLDP=no\nEmitLLDP=no\n\
                        DefaultRouteOnDevice=no\nIPv4Forwarding=no\nIPv6Forwarding=no\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn ipv6_is_there_only_where_it_was_asked_for() {
        let files = files(&sound(vec![
            fixed("a", &["10.0.2.15/24"]),
            fixed("b", &["fd00::2/64 via fe80::1"]),
        ]));
        let links: Vec<bool> = files
            .iter()
            .map(|(_, text)| text.contains("LinkLocalAddressing=ipv6"))
            .collect();
        assert_eq!(links, [false, true]);
        assert!(files.iter().all(|(_, text)| text.contains("IPv6AcceptRA=no")));
    }

    #[test]
    fn dhcp_opens_the_firewall_on_its_interface_and_on_no_other() {
        let dhcp = |port| InterfaceSettings {
            port,
            method: Method::Dhcp,
        };
        let mac = "52:54:00:12:34:56".parse().unwrap();
        let settings = sound(vec![
            fixed("ens3", &["10.0.2.15/24"]),
            dhcp(Port::Mac(mac)),
            dhcp(Port::Mac("52:54:00:12:34:99".parse().unwrap())),
            dhcp(Port::Name("ens9".to_owned())),
        ]);
        let name_of = |port: &Port| (*port == Port::Mac(mac)).then(|| "ens4".to_owned());
        assert_eq!(
            firewall(Some(&settings), name_of),
            "flush set inet jingui dhcp_interfaces\nadd element inet jingui dhcp_interfaces { \"ens4\" }\n\
             add element inet jingui dhcp_interfaces { \"ens9\" }\n"
        );
        assert_eq!(
            firewall(None, |_| None),
            "flush set inet jingui dhcp_interfaces\n"
        );
        let (_, text) = files(&settings).swap_remove(1);
        assert!(text.contains("DHCP=ipv4") && text.contains("UseDNS=no") && text.contains("SendHostname=no"));
    }
}
