//! Programs that people really use, unchanged: the OpenAI SDK and a browser.

use anyhow::ensure;
use jingui_e2e::{Machine, node, python, tree};

#[test]
fn the_openai_sdk_gets_every_known_answer() -> anyhow::Result<()> {
    let machine = Machine::start()?;
    let here = tree().join("appliance/e2e");
    let status = python()?
        .arg(here.join("python/sdk.py"))
        .arg(machine.demo_file())
        .arg(here.join("cases.jsonl"))
        .status()?;
    ensure!(status.success(), "the SDK saw a wrong answer; its list is above");
    Ok(())
}

#[test]
fn a_browser_signs_in_chats_and_reads_the_status() -> anyhow::Result<()> {
    let machine = Machine::start()?;
    let here = tree().join("appliance/e2e/browser");
    let floor = here.join("floor");
    let shots = tree().join("target/e2e/screenshots");
    std::fs::create_dir_all(&shots)?;
    // The floor is the oldest engine that the console promises to work in: a real Chromium 86.
    for folder in [here, floor] {
        let status = node()?
            .current_dir(&folder)
            .arg("run.mjs")
            .env("JINGUI_DEMO", machine.demo_file())
            .env("JINGUI_SHOTS", &shots)
            .status()?;
        ensure!(
            status.success(),
            "the browser saw something wrong; its list is above"
        );
    }
    Ok(())
}
