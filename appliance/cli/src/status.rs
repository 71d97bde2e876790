//! `jingui status` and `jingui stop`.

use std::path::Path;

use jingui_ipc::control::{Reply, Request};
use jingui_ipc::status::{Guarantee, Health, PlatformFact, Process, Progress, Status};
use jingui_messages::explain;
use serde_json::json;

use crate::control::{Control, unexpected};
use crate::failure::{Exit, Failure};
use crate::screen::{NO_FACTS, Screen};

/// `status`: health first, then what is promised and what is not.
pub(crate) fn show(screen: &Screen, state: &Path) -> Result<Exit, Failure> {
    let Reply::Status(status) = Control::connect(state)?.ask_simply(&Request::Status)? else {
        return Err(unexpected());
    };
    let value = serde_json::to_value(&*status).map_err(|_| unexpected())?;
    screen.answer(&value, &lines(screen, &status));
    Ok(Exit::Done)
}

/// `stop`.
pub(crate) fn stop(screen: &Screen, state: &Path) -> Result<Exit, Failure> {
    let Reply::Done { leaf_index } = Control::connect(state)?.ask_simply(&Request::ShutDown)? else {
        return Err(unexpected());
    };
    let index = leaf_index.to_string();
    screen.answer(
        &json!({ "leaf_index": leaf_index }),
        &[screen.words("cli.stop.done", &[("index", &index)])],
    );
    Ok(Exit::Done)
}

fn lines(screen: &Screen, status: &Status) -> Vec<String> {
    let health = screen.words(&format!("cli.health.{}", health_word(status.health)), NO_FACTS);
    let mut lines = vec![screen.words("cli.status.health", &[("health", &health)])];
    for code in &status.reasons {
        let detail = status.details.iter().find(|detail| detail.code == *code);
        let facts = detail.map(|detail| detail.facts.as_slice()).unwrap_or_default();
        let words = explain(code, screen.language(), facts);
        // Why is the same for everybody until it has facts: numbers, names.
        let why = if facts.is_empty() {
            String::new()
        } else {
            format!("{} ", words.why)
        };
        lines.push(format!("  {} {why}{} [{code}]", words.what, words.remedy));
    }
    if !status.is_set_up {
        lines.push(screen.words("cli.status.not-set-up", NO_FACTS));
    }
    lines.push(match &status.serving {
        Some(model) => screen.words(
            "cli.status.model",
            &[("name", &model.name), ("version", &model.version)],
        ),
        None => screen.words("cli.status.no-model", NO_FACTS),
    });
    lines.extend(process_lines(screen, status));
    let size = status.audit.size.to_string();
    lines.push(screen.words(
        "cli.status.audit",
        &[("size", &size), ("origin", &status.audit.origin)],
    ));
    lines.extend(platform_lines(screen, status));
    if status.is_developer_mode {
        lines.push(screen.words("cli.status.developer", NO_FACTS));
    }
    lines.extend(guarantee_lines(screen, &status.guarantees, true));
    lines.extend(guarantee_lines(screen, &status.guarantees, false));
    lines
}

/// What is measured of the machine, beside what its image's signer published.
fn platform_lines(screen: &Screen, status: &Status) -> Vec<String> {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let line = |fact: &PlatformFact| {
        let facts = [
            ("name", fact.name.clone()),
            ("measured", shown(&fact.measured)),
            ("published", shown(&fact.published)),
        ];
        screen.words("cli.status.platform", &facts)
    };
    status.platform.iter().map(line).collect()
}

fn process_lines(screen: &Screen, status: &Status) -> Vec<String> {
    let line = |process: &Process| {
        let pid = process.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let (phase, restarts) = (
            screen.words(&format!("cli.phase.{}", process.phase), NO_FACTS),
            process.restart_count.to_string(),
        );
        let key = match process.model {
            Some(_) => "cli.status.process-model",
            None => "cli.status.process",
        };
        let facts = [
            ("role", process.role.as_str()),
            ("model", process.model.as_deref().unwrap_or_default()),
            ("phase", &phase),
            ("pid", &pid),
            ("restarts", &restarts),
        ];
        screen.words(key, &facts)
    };
    let lines = status.processes.iter().map(|process| {
        let progress = process.progress.as_ref().map(|it| progress_line(screen, it));
        std::iter::once(line(process)).chain(progress)
    });
    lines.flatten().collect()
}

fn progress_line(screen: &Screen, progress: &Progress) -> String {
    let percent = (progress.permille / 10).to_string();
    let key = format!("cli.status.progress.{}", progress.stage);
    screen.words(&key, &[("percent", &percent)])
}

fn guarantee_lines(screen: &Screen, guarantees: &[Guarantee], in_force: bool) -> Vec<String> {
    let chosen: Vec<&Guarantee> = guarantees.iter().filter(|it| it.in_force == in_force).collect();
    let key = if in_force {
        "cli.status.in-force"
    } else {
        "cli.status.not-in-force"
    };
    let mut lines = vec![screen.words(key, &[("count", chosen.len().to_string())])];
    for guarantee in chosen {
        let words = explain(&guarantee.name, screen.language(), NO_FACTS);
        let why = guarantee
            .why
            .as_ref()
            .map(|code| explain(code, screen.language(), NO_FACTS).what);
        let why = why.map(|why| format!(" {why}")).unwrap_or_default();
        lines.push(format!("  {}: {}{why}", guarantee.name, words.what));
    }
    lines
}

const fn health_word(health: Health) -> &'static str {
    match health {
        Health::Ok => "ok",
        Health::Starting => "starting",
        Health::Degraded => "degraded",
        Health::Stopped => "stopped",
    }
}
