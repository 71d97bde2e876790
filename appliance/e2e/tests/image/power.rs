//! The plug is pulled at any moment, and nothing that was acknowledged is lost.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jingui_e2e::{output_of, read_leaves, tree};
use jingui_machine::{Disk, Machine};

use crate::site::{Built, on_the_lan};
use crate::stick::{evidence_from, export_evidence, make_stick};
use crate::visitor::{Visitor, first_page};

/// Power cuts; more by the environment for a night's run.
const CUTS: u32 = 5;
const CUTS_VARIABLE: &str = "JINGUI_POWER_CUTS";
/// The plug is pulled so long after the box is ready, at most.
const LOAD_TIME_MAX: Duration = Duration::from_secs(20);

#[test]
fn no_power_cut_loses_an_answer_that_was_given() -> anyhow::Result<()> {
    let cuts = match std::env::var(CUTS_VARIABLE) {
        Ok(text) => text.parse().context(CUTS_VARIABLE)?,
        Err(_) => CUTS,
    };
    let built = Built::find()?;
    let (place, disk) = built.installed()?;
    let mut machine = place.start(&disk)?;
    let page = first_page(&machine)?;
    let mut visitor = Visitor::set_up(&machine, place.site.folder(), &page)?;
    let mut answers: u32 = 0;
    for cut in 0..cuts {
        visitor.wait_ready()?;
        // Spread over the time, the same in every run.
        let deadline = Instant::now() + LOAD_TIME_MAX * (cut * 7 % 10 + 1) / 10;
        while Instant::now() < deadline {
            visitor.ask_question()?;
            answers += 1;
        }
        machine.cut_power();
        machine = place.start(&disk)?;
        ensure!(
            first_page(&machine)?.setup_code.is_none(),
            "cut {cut}: the ceremony was forgotten"
        );
        visitor.returns(&machine)?;
        eprintln!(
            "cut {cut}: back after {} s, {answers} answers",
            machine.age().as_secs()
        );
    }
    machine.cut_power();
    let stick = make_stick(&place.site)?;
    let mut boot = on_the_lan(&disk);
    boot.disks.push(Disk::stick(stick.clone(), "JGSTICK01"));
    let mut machine = Machine::start(&place.site, &boot)?;
    first_page(&machine)?;
    export_evidence(&mut machine, &visitor.auditor)?;
    machine.cut_power();
    let (evidence, key) = evidence_from(&place.site, &stick)?;
    output_of(
        Command::new(tree().join("target/release/jingui"))
            .args(["audit", "verify"])
            .arg(&evidence)
            .args(["--vkey", &key]),
    )?;
    let recorded = read_leaves(&evidence)?
        .iter()
        .filter(|it| it.get("event").is_some_and(|it| it == "infer.request"))
        .count();
    ensure!(
        recorded >= usize::try_from(answers)?,
        "{answers} answers were given, {recorded} are in the log"
    );
    Ok(())
}
