//! A machine with nothing to compute is idle: alone in its process, since it measures the process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use jingui_llama::{Context, ContextShape};

mod demo;

/// Time that all threads of this process have computed.
fn computed() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a valid clock, and a struct that outlives the call.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(status, 0);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

#[test]
fn workers_sleep_soon_after_the_last_graph() {
    let shape = ContextShape {
        thread_count: 2,
        ..demo::shape()
    };
    let mut context = Context::new(demo::model(), shape).unwrap();
    let tokens = demo::text(context.model(), 1, 8);
    demo::compute(&mut context, &tokens, 0, 0, 8);
    let before = computed();
    std::thread::sleep(Duration::from_millis(1000));
    let burnt = computed().checked_sub(before).unwrap();
    eprintln!("burnt after the last graph: {burnt:?}");
    assert!(burnt < Duration::from_millis(50), "{burnt:?}");
}
