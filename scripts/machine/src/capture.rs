//! What was heard on the cable: the frames of QEMU's own capture file (libpcap), read just far enough to say who speaks.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context, ensure};

/// Magic of a capture in this machine's byte order, microseconds (<https://www.tcpdump.org/manpages/pcap-savefile.5.txt>).
const MAGIC: u32 = 0xa1b2_c3d4;
const FILE_HEADER_BYTES: usize = 24;
const FRAME_HEADER_BYTES: usize = 16;
const ETHERNET_HEADER_BYTES: usize = 14;

const ICMPV6: u8 = 58;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// One frame: who sent it, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Hardware address of the sender.
    pub from: [u8; 6],
    /// What it is.
    pub heard: Heard,
}

/// What a frame is, as far as the tests ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Address resolution, IPv4.
    Arp,
    /// Neighbour solicitation or advertisement (135, 136), IPv6.
    NeighbourDiscovery,
    /// A TCP segment.
    Tcp {
        /// Sender.
        from: (IpAddr, u16),
        /// Receiver.
        to: (IpAddr, u16),
        /// Opens a conversation: SYN without ACK.
        opens: bool,
    },
    /// A UDP datagram.
    Udp {
        /// Sender.
        from: (IpAddr, u16),
        /// Receiver.
        to: (IpAddr, u16),
    },
    /// Another protocol above IP, by its number.
    Ip(u8),
    /// ICMPv6 other than neighbour discovery, by its type.
    IcmpV6(u8),
    /// Another kind of frame, by its EtherType.
    Other(u16),
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.from {
            write!(f, "{byte:02x}")?;
        }
        write!(f, " {:?}", self.heard)
    }
}

/// All frames of a capture file. A frame that was cut off by the end of the machine is left out.
pub fn read_capture(path: &Path) -> anyhow::Result<Vec<Frame>> {
    let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    frames(&bytes)
}

fn frames(bytes: &[u8]) -> anyhow::Result<Vec<Frame>> {
    ensure!(
        u32_at(bytes, 0) == Some(MAGIC),
        "not a capture file of this machine's byte order"
    );
    let mut frames = Vec::new();
    let mut rest = bytes.get(FILE_HEADER_BYTES..).unwrap_or_default();
    while let Some(length) = u32_at(rest, 8) {
        let length = usize::try_from(length)?;
        let Some(frame) = rest.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + length) else {
            break;
        };
        frames.extend(parse(frame));
        rest = rest.get(FRAME_HEADER_BYTES + length..).unwrap_or_default();
    }
    Ok(frames)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn parse(frame: &[u8]) -> Option<Frame> {
    let from = frame.get(6..12)?.try_into().ok()?;
    let kind = u16_at(frame, 12)?;
    let body = frame.get(ETHERNET_HEADER_BYTES..)?;
    let heard = match kind {
        0x0806 => Heard::Arp,
        0x0800 => parse_ipv4(body)?,
        0x86dd => parse_ipv6(body)?,
        other => Heard::Other(other),
    };
    Some(Frame { from, heard })
}

fn parse_ipv4(packet: &[u8]) -> Option<Heard> {
    let header_bytes = usize::from(packet.first()? & 15) * 4;
    let address = |at: usize| -> Option<IpAddr> {
        let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets).into())
    };
    let payload = packet.get(header_bytes..)?;
    parse_transport(*packet.get(9)?, address(12)?, address(16)?, payload)
}

fn parse_ipv6(packet: &[u8]) -> Option<Heard> {
    let address = |at: usize| -> Option<IpAddr> {
        let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
        Some(Ipv6Addr::from(octets).into())
    };
    parse_transport(*packet.get(6)?, address(8)?, address(24)?, packet.get(40..)?)
}

fn parse_transport(protocol: u8, from: IpAddr, to: IpAddr, payload: &[u8]) -> Option<Heard> {
    let ports = || Some(((from, u16_at(payload, 0)?), (to, u16_at(payload, 2)?)));
    Some(match protocol {
        TCP => {
            let (from, to) = ports()?;
            let flags = *payload.get(13)?;
            Heard::Tcp {
                from,
                to,
                opens: flags & 0x12 == 0x02,
            }
        }
        UDP => {
            let (from, to) = ports()?;
            Heard::Udp { from, to }
        }
        ICMPV6 => match *payload.first()? {
            135 | 136 => Heard::NeighbourDiscovery,
            other => Heard::IcmpV6(other),
        },
        other => Heard::Ip(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.resize(FILE_HEADER_BYTES, 0);
        for frame in frames {
            let length = u32::try_from(frame.len()).unwrap().to_ne_bytes();
            bytes.extend([[0; 4], [0; 4], length, length].concat());
            bytes.extend(frame);
        }
        bytes
    }

    fn ethernet(kind: u16, body: &[u8]) -> Vec<u8> {
        [&[0xff; 6][..], &[2; 6], &kind.to_be_bytes(), body].concat()
    }

    fn tcp(flags: u8) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x45;
        packet[9] = TCP;
        packet[12..16].copy_from_slice(&[10, 0, 2, 15]);
        packet[16..20].copy_from_slice(&[10, 0, 2, 2]);
        packet[20..24].copy_from_slice(&[0x20, 0xfb, 0x12, 0x34]);
        packet[33] = flags;
        ethernet(0x0800, &packet)
    }

    #[test]
    fn each_kind_of_frame_is_told_apart() {
        let mut solicitation = vec![0; 64];
        solicitation[6] = ICMPV6;
        solicitation[40] = 135;
        let mut router = solicitation.clone();
        router[40] = 133;
        let bytes = capture(&[
            ethernet(0x0806, &[0; 28]),
            ethernet(0x86dd, &solicitation),
            ethernet(0x86dd, &router),
            ethernet(0x88cc, &[]),
            tcp(0x02),
            tcp(0x12),
        ]);
        let heard: Vec<Heard> = frames(&bytes).unwrap().into_iter().map(|it| it.heard).collect();
        assert_eq!(
            &heard[..4],
            &[
                Heard::Arp,
                Heard::NeighbourDiscovery,
                Heard::IcmpV6(133),
                Heard::Other(0x88cc)
            ]
        );
        let opens: Vec<bool> = heard
            .iter()
            .filter_map(|it| match it {
                Heard::Tcp { opens, from, .. } => {
                    assert_eq!(from.1, 0x20fb);
                    Some(*opens)
                }
                _ => None,
            })
            .collect();
        assert_eq!(opens, [true, false]);
    }

    #[test]
    fn a_capture_that_was_cut_off_keeps_its_whole_frames() {
        let bytes = capture(&[tcp(0x10), tcp(0x10)]);
        let cut = &bytes[..bytes.len() - 5];
        assert_eq!(frames(cut).unwrap().len(), 1);
        frames(&bytes[1..]).unwrap_err();
    }
}
