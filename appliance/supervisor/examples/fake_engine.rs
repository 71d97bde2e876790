//! An engine for tests of the supervisor: speaks the conversation, computes nothing.
//!
//! A file `engine-behaves` beside its program tells it how to behave, read when it starts; it can see it because it
//! does not confine itself.

#![allow(
    clippy::expect_used,
    reason = "a program for tests: what must not happen ends it loudly"
)]

use std::fs;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use jingui_ipc::Channel;
use jingui_ipc::engine::{Figures, Memory, Order, Report, SUPERVISOR_FD, WEIGHTS_FD};

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
            Order::Drain { .. } => break,
            Order::Threads { .. } => {}
            Order::Load(_) => panic!("loaded once"),
        }
    }
    drop(gateways);
}
