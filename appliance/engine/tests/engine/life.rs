//! From the first report to the last: loading, beating, draining, ending.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use jingui_engine::pulse::Pulse;
use jingui_engine::supervisor::{Orders, SupervisionError, supervise};
use jingui_engine::{CODES, EngineError, codes};
use jingui_ipc::Channel;
use jingui_ipc::engine::{Finish, Load, Order, Report};
use jingui_llama::AbortFlag;

use crate::harness::{Engine, PATIENCE, chat, endless, model_path, order};

fn failure_of(weights: File, order: Load) -> String {
    let mut engine = Engine::waiting(weights);
    engine.supervisor.send(&Order::Load(order)).unwrap();
    let report = engine.report_but_loading();
    assert!(matches!(engine.end(), Err(EngineError::Load(_))));
    match report {
        Report::Failed { code } => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cannot_be_loaded_is_named() {
    let model = || File::open(model_path()).unwrap();
    let good = order(2, 512);
    let check = |weights: File, order: Load, code: &str| assert_eq!(failure_of(weights, order), code);
    check(
        model(),
        Load {
            weights_bytes: good.weights_bytes + 1,
            ..good.clone()
        },
        codes::LOAD_SIZE,
    );
    check(
        model(),
        Load {
            stream_count: 0,
            ..good.clone()
        },
        codes::LOAD_SHAPE,
    );
    check(
        model(),
        Load {
            stream_count: 129,
            ..good.clone()
        },
        codes::LOAD_SHAPE,
    );
    check(
        model(),
        Load {
            stream_context_tokens: 0,
            ..good.clone()
        },
        codes::LOAD_SHAPE,
    );
    check(
        model(),
        Load {
            thread_count: 0,
            ..good.clone()
        },
        codes::LOAD_SHAPE,
    );

    let mut nonsense = tempfile::tempfile().unwrap();
    nonsense.write_all(&[7; 4096]).unwrap();
    check(
        nonsense,
        Load {
            weights_bytes: 4096,
            ..good.clone()
        },
        codes::LOAD_REFUSED,
    );

    let bytes = std::fs::read(model_path()).unwrap();
    let half = bytes.len() / 2;
    let mut cut = tempfile::tempfile().unwrap();
    cut.write_all(&bytes[..half]).unwrap();
    check(
        cut,
        Load {
            weights_bytes: half as u64,
            ..good.clone()
        },
        codes::LOAD_REFUSED,
    );

    // Sound in form, and not a number from the middle on.
    let mut broken = tempfile::tempfile().unwrap();
    broken.write_all(&bytes[..half]).unwrap();
    broken
        .write_all(&[0x00, 0x7e].repeat((bytes.len() - half) / 2))
        .unwrap();
    check(
        broken,
        Load {
            weights_bytes: bytes.len() as u64,
            ..good.clone()
        },
        codes::LOAD_COMPUTE,
    );

    let (pipe, _other) = UnixStream::pair().unwrap();
    check(
        File::from(OwnedFd::from(pipe)),
        Load {
            weights_bytes: 0,
            ..good
        },
        codes::LOAD_UNREADABLE,
    );
}

#[test]
fn the_context_is_never_longer_than_the_model_was_trained_for() {
    let mut engine = Engine::waiting(File::open(model_path()).unwrap());
    engine.supervisor.send(&Order::Load(order(2, 100_000))).unwrap();
    assert!(matches!(
        engine.report_but_loading(),
        Report::Serving {
            stream_context_tokens: 2048,
            stream_count: 2,
            ..
        }
    ));
}

#[test]
fn the_first_order_must_be_to_load_and_comes_once() {
    let mut engine = Engine::waiting(File::open(model_path()).unwrap());
    engine.supervisor.send(&Order::Drain { deadline_ms: 1 }).unwrap();
    assert_eq!(
        engine.report(),
        Report::Failed {
            code: codes::ORDER.to_owned()
        }
    );
    assert!(matches!(engine.end(), Err(EngineError::Order)));

    let mut engine = Engine::serving(1, 512);
    engine.supervisor.send(&Order::Load(order(1, 512))).unwrap();
    assert!(matches!(
        engine.end(),
        Err(EngineError::Supervision(SupervisionError::Protocol(_)))
    ));
}

#[test]
fn an_order_for_a_gateway_without_its_socket_ends_the_engine() {
    let mut engine = Engine::serving(1, 512);
    engine.supervisor.send(&Order::Gateway).unwrap();
    assert!(matches!(
        engine.end(),
        Err(EngineError::Supervision(SupervisionError::Protocol(_)))
    ));
}

#[test]
fn the_engine_ends_with_its_supervisor() {
    let mut engine = Engine::serving(1, 2048);
    let mut gateway = engine.connect();
    (1..=30).for_each(|stream| gateway.generate(endless(stream)));
    gateway.first_token(1);
    drop(engine.supervisor);
    let answers = gateway.answers(1..=30);
    let draining = Finish::Failed {
        code: codes::DRAINING.to_owned(),
    };
    assert_eq!(*answers[&30].finish(), draining, "the gateway is told");
    let outcome = engine.thread.join().unwrap();
    assert!(gateway.is_closed());
    assert!(matches!(
        outcome,
        Err(EngineError::Supervision(SupervisionError::Gone))
    ));
}

#[test]
fn a_busy_engine_counts_and_an_idle_one_stands() {
    let mut engine = Engine::serving(1, 2048);
    let mut gateway = engine.connect();
    let (idle, _) = engine.beat_until(|_, work| work == 0);
    (0..6).for_each(|stream| gateway.generate(endless(stream)));
    let (first, _) = engine.beat_until(|_, work| work > 0);
    assert!(first > idle);
    engine.beat_until(|steps, _| steps > first);
    drop(gateway);
    let (stopped, _) = engine.beat_until(|_, work| work == 0);
    // Steps that were under way end; then nothing moves.
    let (settled, _) = engine.beat_until(|_, _| true);
    assert!(settled >= stopped);
    assert_eq!(engine.beat_until(|_, _| true), (settled, 0));
}

/// Stands for a step thread that took work and hangs.
struct Hung;

impl Orders for Hung {
    type Error = std::io::Error;

    fn gateway(&mut self, _socket: OwnedFd) -> std::io::Result<()> {
        Ok(())
    }

    fn drain(&mut self, _within: Duration) -> std::io::Result<()> {
        Ok(())
    }

    fn threads(&mut self, _count: u32) -> std::io::Result<()> {
        Ok(())
    }

    fn is_over(&self) -> bool {
        false
    }
}

#[test]
fn a_hung_step_thread_shows_as_busy_with_a_count_that_stands_still() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let pulse = Pulse::new(AbortFlag::default());
    pulse.step();
    pulse.begin_work();
    let thread = std::thread::spawn(move || supervise(&mut Channel::new(theirs), &pulse, &mut Hung));
    let mut supervisor = Channel::new(ours);
    for _ in 0..4 {
        let beat: Report = supervisor.receive().unwrap();
        assert_eq!(
            beat,
            Report::Beat {
                step_count: 1,
                work_count: 1,
                figures: jingui_ipc::engine::Figures::default()
            }
        );
    }
    drop(supervisor);
    assert!(matches!(thread.join().unwrap(), Err(SupervisionError::Gone)));
}

#[test]
fn draining_finishes_what_runs_and_takes_no_more() {
    let mut engine = Engine::serving(1, 512);
    let mut gateway = engine.connect();
    let mut running = endless(1);
    running.completion_tokens_max = Some(300);
    gateway.generate(running);
    gateway.generate(chat(2, "repeat: x"));
    gateway.all_accepted([1, 2]);
    engine
        .supervisor
        .send(&Order::Drain { deadline_ms: 60_000 })
        .unwrap();
    let answers = gateway.answers([1, 2]);
    assert_eq!(*answers[&1].finish(), Finish::Length);
    assert_eq!(answers[&2].text(), "\nx", "it waited already");
    engine.end().unwrap();
    assert!(gateway.is_closed());
}

#[test]
fn a_stream_that_outlasts_the_drain_is_told() {
    let mut engine = Engine::serving(1, 2048);
    let mut gateway = engine.connect();
    // More than the engine can run to their end meanwhile.
    (1..=30).for_each(|stream| gateway.generate(endless(stream)));
    gateway.all_accepted(1..=30);
    engine.supervisor.send(&Order::Drain { deadline_ms: 0 }).unwrap();
    let answers = gateway.answers([30]);
    let draining = Finish::Failed {
        code: codes::DRAINING.to_owned(),
    };
    assert_eq!(*answers[&30].finish(), draining);
    engine.end().unwrap();
}

#[test]
fn each_code_is_listed_once_and_has_its_words() {
    let catalogue: serde_json::Value =
        serde_json::from_str(include_str!("../../../messages/catalogue/engine.json")).unwrap();
    let entries = catalogue.as_object().unwrap();
    assert_eq!(entries.len(), CODES.len());
    for code in CODES {
        for language in ["zh-CN", "en"] {
            for part in ["what", "why", "do"] {
                let text = entries[*code][language][part].as_str().unwrap_or_default();
                assert!(!text.is_empty(), "{code} {language} {part}");
            }
        }
    }
}
