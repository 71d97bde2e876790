//! ggml's thread pool: workers made once, instead of once for each computed graph.

use std::ptr::NonNull;

use llama_cpp_sys_2 as sys;

/// Workers for one context. Freed after the context that uses them.
pub(crate) struct ThreadPool(NonNull<sys::ggml_threadpool>);

// SAFETY: the pool is an object behind mutex and condition variables; only the thread that owns the context uses it.
unsafe impl Send for ThreadPool {}

impl ThreadPool {
    /// A pool of `thread_count` threads, the calling one counted. `None` when they cannot be made.
    pub(crate) fn new(thread_count: i32) -> Option<Self> {
        // SAFETY: fills a plain struct with defaults.
        let mut params = unsafe { sys::ggml_threadpool_params_default(thread_count) };
        // SAFETY: `params` is a valid struct that the call only reads.
        let raw = unsafe { sys::ggml_threadpool_new(&raw mut params) };
        NonNull::new(raw).map(Self)
    }

    pub(crate) fn raw(&self) -> sys::ggml_threadpool_t {
        self.0.as_ptr()
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        // SAFETY: made in `new`, freed only here, after the context (see the order of fields in `Context`).
        unsafe { sys::ggml_threadpool_free(self.0.as_ptr()) };
    }
}
