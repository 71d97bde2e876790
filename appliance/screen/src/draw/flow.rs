//! An act: what will happen, the word to type, who approves, how far it is, how it ended.

use jingui_ipc::screen::{Progress, Stage as Work};

use super::network::settings;
use super::sheet::{BAD, GOOD, PLAIN, STRONG, Sheet, WAITING};
use crate::app::App;
use crate::flow::{Act, Ending, Flow, ProofForm, Stage};
use crate::text::size;
use crate::words::Words;

pub(super) fn sheet(app: &App, flow: &Flow, columns: usize) -> Sheet {
    let words = app.words;
    let mut sheet = Sheet::new(columns);
    match &flow.stage {
        Stage::Looking(_) => sheet.text(&words.of("screen.update.looking"), WAITING),
        Stage::Preview => preview(&mut sheet, words, flow),
        Stage::Confirming { typed, is_wrong } => {
            preview(&mut sheet, words, flow);
            sheet.blank();
            let wanted = flow.act.confirmation();
            sheet.text(&words.with("screen.flow.type", &[("word", &wanted)]), STRONG);
            sheet.blank();
            sheet.field(&words.of("screen.flow.typed"), &typed.shown(), true);
            if *is_wrong {
                sheet.blank();
                sheet.text(&words.of("screen.flow.wrong-word"), BAD);
            }
        }
        Stage::Proving(form) => proof(&mut sheet, words, flow, form),
        Stage::Running { progress, .. } => running(&mut sheet, words, flow, progress.as_ref()),
        Stage::Ended(ending) => ended(&mut sheet, words, flow, ending),
    }
    sheet
}

pub(super) const fn help(flow: &Flow) -> &'static str {
    match &flow.stage {
        Stage::Looking(_) => "screen.flow.help-leave",
        Stage::Preview => "screen.flow.help-preview",
        Stage::Confirming { .. } => "screen.flow.help-confirm",
        Stage::Proving(_) => "screen.flow.help-proof",
        Stage::Running { .. } => "screen.flow.help-running",
        Stage::Ended(_) => "screen.flow.help-ended",
    }
}

fn preview(sheet: &mut Sheet, words: Words, flow: &Flow) {
    let key = flow.act.entry().key();
    let style = match flow.act {
        Act::Reset { .. } => BAD,
        _ => STRONG,
    };
    sheet.text(&words.of(&format!("{key}.effect")), style);
    sheet.blank();
    match &flow.act {
        Act::SetNetwork { before, after } => {
            sheet.text(&words.of("screen.network.before"), STRONG);
            settings(sheet, words, before.as_ref());
            sheet.text(&words.of("screen.network.after"), STRONG);
            settings(sheet, words, Some(after));
            sheet.blank();
        }
        Act::Update(Some(offer)) => {
            sheet.labelled(&words.of("screen.update.version-now"), &offer.running, PLAIN);
            sheet.labelled(&words.of("screen.update.offered"), &offer.version, STRONG);
            let security = offer.security_version.to_string();
            sheet.labelled(&words.of("screen.update.security"), &security, PLAIN);
            sheet.labelled(&words.of("screen.update.bytes"), &size(offer.bytes), PLAIN);
            sheet.blank();
        }
        _ => {}
    }
    sheet.text(&words.of(&format!("{key}.way-back")), PLAIN);
}

fn proof(sheet: &mut Sheet, words: Words, flow: &Flow, form: &ProofForm) {
    let who = match flow.act {
        Act::Evidence => "screen.proof.auditor",
        _ => "screen.proof.system",
    };
    sheet.text(&words.of(who), STRONG);
    sheet.blank();
    let labels = [
        "screen.proof.username",
        "screen.proof.password",
        "screen.proof.code",
    ];
    for ((index, field), label) in form.fields.iter().enumerate().zip(labels) {
        sheet.field(&words.of(label), &field.shown(), index == form.focus);
    }
    sheet.blank();
    sheet.text(&words.of("screen.proof.hint"), PLAIN);
}

fn running(sheet: &mut Sheet, words: Words, flow: &Flow, progress: Option<&Progress>) {
    let key = flow.act.entry().key();
    sheet.text(&words.of(&format!("{key}.running")), STRONG);
    sheet.blank();
    let Some(progress) = progress else {
        sheet.text(&words.of("screen.flow.wait"), WAITING);
        return;
    };
    let stage = match progress.stage {
        Work::Copying => "screen.stage.copying",
        Work::Verifying => "screen.stage.verifying",
        Work::Writing => "screen.stage.writing",
    };
    sheet.text(&words.of(stage), WAITING);
    if progress.total_bytes > 0 {
        let permille = u128::from(progress.done_bytes) * 1000 / u128::from(progress.total_bytes);
        sheet.bar(usize::try_from(permille).unwrap_or(1000));
    }
}

fn ended(sheet: &mut Sheet, words: Words, flow: &Flow, ending: &Ending) {
    let key = flow.act.entry().key();
    match ending {
        Ending::Done(done) => {
            sheet.text(&words.of(&format!("{key}.done")), GOOD);
            sheet.blank();
            for (name, value) in &done.facts {
                // Only facts with a label of ours are shown; the others are for scripts.
                if let Some(label) = label_of(name) {
                    sheet.labelled(&words.of(label), value, PLAIN);
                }
            }
            let leaf = done.leaf_index.to_string();
            sheet.text(&words.with("screen.flow.leaf", &[("leaf", &leaf)]), PLAIN);
        }
        Ending::Refused(fault) => {
            let explanation = words.fault(fault);
            sheet.text(&explanation.what, BAD);
            sheet.blank();
            sheet.text(&explanation.why, PLAIN);
            sheet.blank();
            sheet.text(&explanation.remedy, STRONG);
            sheet.blank();
            sheet.text(&words.with("screen.flow.code", &[("code", &fault.code)]), PLAIN);
        }
        Ending::Lost => {
            let is_the_end = matches!(flow.act, Act::Restart | Act::ShutDown | Act::Reset { .. });
            let key = if is_the_end {
                "screen.flow.ends"
            } else {
                "screen.flow.lost"
            };
            sheet.text(&words.of(key), WAITING);
        }
    }
}

fn label_of(fact: &str) -> Option<&'static str> {
    match fact {
        "folder" => Some("screen.fact.folder"),
        "size" => Some("screen.fact.size"),
        "vkey" => Some("screen.fact.vkey"),
        "version" => Some("screen.update.offered"),
        _ => None,
    }
}
