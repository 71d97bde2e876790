//! ggml's thread pool: workers made once, instead of once for each computed graph.

use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use llama_cpp_sys_2 as sys;

/// Most threads (`GGML_MAX_N_THREADS`).
pub(crate) const THREAD_COUNT_MAX: u32 = 512;

/// How long a worker spins for the next graph before it sleeps: 131,072 pauses per level, measured as 6 ms of a core.
///
/// llama.cpp's default of 50 spins for some 300 ms after each step: on an idle machine that is a core burnt long after
/// the last request, on a busy one it is taken from the threads that choose tokens. One level covers the gap between
/// two steps, so no step pays for waking. Within a graph, workers always spin at its barriers, so threads beyond the
/// free cores are worse than none.
const POLL_LEVEL: u32 = 1;

/// Workers for the contexts that share it. Freed after all of them.
pub(crate) struct ThreadPool {
    raw: NonNull<sys::ggml_threadpool>,
    thread_count: u32,
    /// A pool computes one graph at a time and does not check that itself.
    turn: Mutex<()>,
}

// SAFETY: the pool is an object behind mutex and condition variables, with no ties to the thread that made it.
unsafe impl Send for ThreadPool {}
// SAFETY: only computing uses it after it was made, and that happens under `turn`.
unsafe impl Sync for ThreadPool {}

impl ThreadPool {
    /// A pool of `thread_count` threads, the calling one counted. `None` when they cannot be made.
    pub(crate) fn new(thread_count: u32) -> Option<Self> {
        let count = (1..=THREAD_COUNT_MAX)
            .contains(&thread_count)
            .then(|| i32::try_from(thread_count).ok())
            .flatten()?;
        // SAFETY: fills a plain struct with defaults; the count is in range, which it would abort on.
        let mut params = unsafe { sys::ggml_threadpool_params_default(count) };
        params.poll = POLL_LEVEL;
        // SAFETY: `params` is a valid struct that the call only reads.
        let raw = unsafe { sys::ggml_threadpool_new(&raw mut params) };
        Some(Self {
            raw: NonNull::new(raw)?,
            thread_count,
            turn: Mutex::new(()),
        })
    }

    pub(crate) fn raw(&self) -> sys::ggml_threadpool_t {
        self.raw.as_ptr()
    }

    /// Threads in it, the calling one counted.
    pub(crate) fn thread_count(&self) -> u32 {
        self.thread_count
    }

    /// The right to compute with it; waits while another context does.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        // SAFETY: made in `new`, freed only here, after every context that held it by `Arc` (each frees its own
        // llama context first, see the order of fields in `Context`).
        unsafe { sys::ggml_threadpool_free(self.raw.as_ptr()) };
    }
}
