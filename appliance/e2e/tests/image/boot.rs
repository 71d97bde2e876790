//! One boot, from the firmware to an answer, with everything on the cable heard.

use std::net::IpAddr;
use std::process::Command;

use anyhow::ensure;
use jingui_e2e::{output_of, read_leaves, tree};
use jingui_machine::{Disk, Frame, Heard, Machine, read_capture};

use crate::site::{Built, on_the_lan};
use crate::stick::{evidence_from, export_evidence, make_stick};
use crate::visitor::{Visitor, first_page};

const BOX: [u8; 6] = [0x52, 0x54, 0x00, 0x4a, 0x47, 0x01];
const SERVICE_PORT: u16 = 8443;

#[test]
fn a_box_boots_is_set_up_answers_and_proves_it_and_says_nothing_else() -> anyhow::Result<()> {
    let built = Built::find()?;
    let (place, disk) = built.installed()?;
    let stick = make_stick(&place.site)?;
    let mut boot = on_the_lan(&disk);
    boot.disks.push(Disk::stick(stick.clone(), "JGSTICK01"));
    let mut machine = Machine::start(&place.site, &boot)?;
    let page = first_page(&machine)?;
    eprintln!("first page after {} s", machine.age().as_secs());
    let visitor = Visitor::set_up(&machine, place.site.folder(), &page)?;
    visitor.wait_ready()?;
    eprintln!("ready after {} s", machine.age().as_secs());
    visitor.ask_question()?;
    export_evidence(&mut machine, &visitor.auditor)?;
    machine.cut_power();

    let (evidence, key) = evidence_from(&place.site, &stick)?;
    let verdict = output_of(
        Command::new(tree().join("target/release/jingui"))
            .args(["audit", "verify"])
            .arg(&evidence)
            .args(["--vkey", &key]),
    )?;
    eprintln!("{}", verdict.trim());
    let leaves = read_leaves(&evidence)?;
    for event in ["genesis", "boot", "infer.request"] {
        ensure!(
            leaves
                .iter()
                .any(|it| it.get("event").is_some_and(|it| it == event)),
            "the log has no leaf {event}"
        );
    }
    check_cable(&read_capture(&place.site.file("lan.pcap"))?)
}

/// Every frame of the box is an answer: a segment of a conversation that somebody else opened, ARP, or neighbour discovery.
pub(crate) fn check_cable(frames: &[Frame]) -> anyhow::Result<()> {
    let ours: Vec<&Frame> = frames.iter().filter(|it| it.from == BOX).collect();
    ensure!(
        ours.iter().any(|it| matches!(it.heard, Heard::Tcp { .. })),
        "the box was not heard at all: is this the right cable?"
    );
    for frame in ours {
        let is_fine = match &frame.heard {
            Heard::Arp | Heard::NeighbourDiscovery => true,
            Heard::Tcp { from, opens, .. } => {
                let service: (IpAddr, u16) = ([10, 0, 2, 15].into(), SERVICE_PORT);
                *from == service && !opens
            }
            _ => false,
        };
        ensure!(is_fine, "the box sent {frame}");
    }
    Ok(())
}
