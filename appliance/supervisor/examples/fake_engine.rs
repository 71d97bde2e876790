//! An engine for tests of the supervisor: speaks the conversation, computes nothing.
//!
//! A file `engine-behaves` beside its program tells it how to behave, read when it starts; it can see it because it
//! does not confine itself. What it was ordered goes into the file `engine-heard`, one line each. One that `lingers` ends
//! after a drain only when a file `may-end` is there.

#![allow(
    clippy::expect_used,
    reason = "a program for tests: what must not happen ends it loudly"
)]

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use jingui_ipc::Channel;
use jingui_ipc::engine::{DISK_TIER_FD, Figures, Memory, Order, Report, SUPERVISOR_FD, WEIGHTS_FD};

const BEAT: Duration = Duration::from_millis(500);

fn main() {
    let program = fs::read_link("/proc/self/exe").expect("a program");
    let manner = fs::read_to_string(program.with_file_name("engine-behaves")).unwrap_or_default();
    let weights = fs::File::from(jingui_jail::inherited(WEIGHTS_FD).expect("weights"));
    let socket: UnixStream = jingui_jail::inherited(SUPERVISOR_FD)
        .expect("the supervisor")
        .into();
    let mut channel = Channel::new(socket);
    let mut sender = channel.try_clone().expect("a second handle");
    sender.send(&Report::Confined { landlock_abi: 0 }).expect("sent");
    let Ok(Order::Load(load)) = channel.receive() else {
        panic!("the first order is to load")
    };
    assert_eq!(weights.metadata().expect("a size").len(), load.weights_bytes);
    let heard = program.with_file_name("engine-heard");
    let note = |line: String| {
        let mut notes = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&heard)
            .expect("notes");
        writeln!(notes, "{line}").expect("noted");
    };
    let tier = load.disk_tier.as_ref().map(|tier| {
        let file = fs::File::from(jingui_jail::inherited(DISK_TIER_FD).expect("the tier"));
        let before = file.metadata().expect("a size").len();
        file.write_all_at(b"sealed", before).expect("written");
        format!("{before} {:02x?} {}", tier.key.0, tier.bytes_max)
    });
    note(format!(
        "load {} {} {} {} tier {}",
        load.thread_count,
        load.stream_count,
        load.stream_context_tokens,
        load.kv_tokens,
        tier.unwrap_or_default()
    ));
    if manner.trim() == "dies" {
        std::process::abort();
    }
    if manner.trim() == "fails" {
        sender
            .send(&Report::Failed {
                code: "engine.load.refused".to_owned(),
            })
            .expect("sent");
        return;
    }
    let (stream_context_tokens, stream_count) = (load.stream_context_tokens, load.stream_count);
    sender
        .send(&Report::Serving {
            stream_context_tokens,
            stream_count,
            memory: Memory::default(),
        })
        .expect("sent");
    let mut beats = channel.try_clone().expect("a third handle");
    thread::spawn(move || {
        for step_count in 1.. {
            beats
                .send(&Report::Beat {
                    step_count,
                    work_count: 0,
                    figures: Figures::default(),
                })
                .expect("sent");
            thread::sleep(BEAT);
        }
    });
    let mut gateways = Vec::new();
    while let Ok(order) = channel.receive::<Order>() {
        match order {
            Order::Gateway => gateways = channel.take_descriptors(),
            Order::Drain { deadline_ms } => {
                note(format!("drain {deadline_ms}"));
                while manner.trim() == "lingers" && !program.with_file_name("may-end").exists() {
                    thread::sleep(Duration::from_millis(10));
                }
                break;
            }
            Order::Threads { count } => note(format!("threads {count}")),
            Order::Load(_) => panic!("loaded once"),
        }
    }
    drop(gateways);
}
