//! The supervisor: trust, models, workers, admins; the only writer of the audit log.
//!
//! Started with `jingui-supervisor --state DIR --port N --bind ADDR [--stop-when-stdin-closes] [--image]`. It holds every key and starts all other
//! processes; it parses nothing that is not verified, links no HTTP, SQL, async runtime or C++, and waits for nobody.
//! [`boot`] below is its start, step by step; `supervisor.rs` is its loop.

mod acts;
mod audit_log;
mod certificates;
mod clock;
#[cfg(test)]
mod codes;
mod control;
mod door;
mod durable;
mod engine;
mod event;
mod evidence;
mod gateway;
mod guarantees;
mod heartbeat;
mod identity;
mod leaves;
mod lifecycle;
mod models;
mod network;
mod options;
mod outbox;
mod people;
mod places;
mod plan;
mod platform;
mod process;
mod screen;
mod signals;
mod state;
mod status;
mod supervisor;
mod tiers;
mod update;
mod usb;
mod work;

use std::fmt;
use std::process::ExitCode;
use std::sync::mpsc::sync_channel;

use anyhow::Context;
use jingui_audit::leaf::BootId;

use crate::acts::{Acts, Factory};
use crate::audit_log::AuditLog;
use crate::certificates::Certificates;
use crate::clock::Clock;
use crate::control::Connections;
use crate::engine::Engines;
use crate::gateway::Gateway;
use crate::heartbeat::Heartbeat;
use crate::identity::Identity;
use crate::leaves::Scribe;
use crate::models::ModelStore;
use crate::network::Network;
use crate::options::{Ground, Options};
use crate::people::People;
use crate::places::Places;
use crate::platform::Platform;
use crate::process::Programs;
use crate::screen::{Ending, Screens};
use crate::state::StateFolder;
use crate::supervisor::{Course, Supervisor};
use crate::tiers::Tiers;
use crate::update::Updates;
use crate::work::PasswordDesk;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(options) => options,
        Err(usage) => {
            say(format_args!("{usage}"));
            return ExitCode::from(options::EXIT_USAGE);
        }
    };
    match boot(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("{error:#}"));
            ExitCode::from(options::EXIT_UNAVAILABLE)
        }
    }
}

/// The boot, in order: folder and keys, what is stored, doors, threads; then the loop opens the log and starts the
/// processes.
fn boot(options: Options) -> anyhow::Result<()> {
    let stop_signals = signals::block().context("signals")?;
    let clock = Clock::start();
    let state = StateFolder::open(&options.state).map_err(|failure| coded(failure.code(), failure))?;
    let platform = Platform::measure(
        options.root.as_deref(),
        state.root(),
        &state.trust(),
        state.mark_running().context("state")?,
    );
    if options.ground == Ground::Image && !platform.is_state_encrypted() {
        anyhow::bail!("platform.state.not-mounted: the state folder is no encrypted, mounted volume");
    }
    let identity = Identity::open(&state.trust()).context("identity")?;
    let certificates =
        Certificates::open(&state.trust(), &identity.serial, clock.unix()).context("certificates")?;
    let signer = identity.signer().context("log key")?;
    let log = AuditLog::closed(&state.audit(), &state.trust(), signer.vkey().clone());
    let people = People::open(&state.people()).context("accounts")?;
    let setup_code = state.setup_code_for(people.is_set_up()).context("setup code")?;
    let models = ModelStore::open(&state, identity.store_key, &options.vendors).context("model store")?;
    let tiers = Tiers::open(state.cache()).context("cache")?;
    let programs = Programs::beside_ours(options.ground).context("programs")?;
    let listener = options
        .listen()
        .map_err(|error| coded("system.address.taken", error))?;
    let address = listener.local_addr().context("address")?;
    state.publish(address.port(), certificates.ca_pem(), &log.vkey());

    let (events, inbox) = sync_channel(event::EVENTS_MAX);
    signals::watch(stop_signals, events.clone()).context("signals")?;
    if options.stop_when_stdin_closes {
        signals::watch_stdin(events.clone()).context("standard input")?;
    }
    control::listen(&state, events.clone()).context("control socket")?;
    let places = options.root.as_deref().map(Places::below);
    if let Some(places) = &places {
        screen::listen(places, events.clone()).context("screen socket")?;
    }
    let network = Network::open(places.clone(), state.root());
    let mut updates = Updates::open(places.as_ref(), &state.trust(), &state.updates()).context("updates")?;
    updates.set_floor(platform.floor().unwrap_or_default());
    let passwords = PasswordDesk::start(events.clone()).context("threads")?;
    let boot_id = BootId(jingui_trust::random::bytes().context("boot id")?);
    let mut supervisor = Supervisor {
        scribe: Scribe::new(clock, boot_id),
        state,
        clock,
        identity,
        certificates,
        log,
        people,
        engines: Engines::new(models.active()),
        tiers,
        models,
        programs,
        listener,
        address,
        events,
        passwords,
        setup_code,
        acts: Acts::new(),
        platform,
        factory: Factory::find(&options.factory),
        gateway: Gateway::new(),
        wishes: options.wishes,
        places,
        network,
        screens: Screens::default(),
        ending: Ending::default(),
        updates,
        connections: Connections::new(),
        course: Course::Running,
        afterwards: Vec::new(),
        log_retry_at: None,
        heartbeat: Heartbeat::from_environment(),
    };
    supervisor.start();
    supervisor.run(&inbox);
    Ok(())
}

/// One line for whoever runs the box. Never content, never a secret.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    eprintln!("supervisor: {line}");
}

/// As [`say`], with the chain of causes.
pub(crate) fn say_failure(what: &str, failure: &dyn std::error::Error) {
    let mut text = failure.to_string();
    let mut cause = failure.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    say(format_args!("{what}: {text}"));
}

fn coded(code: &str, failure: impl std::error::Error + Send + Sync + 'static) -> anyhow::Error {
    anyhow::Error::new(failure).context(code.to_owned())
}
