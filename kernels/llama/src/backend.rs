//! Initialisation of ggml, and where its words go. Both are global to the process and happen once.

use std::ffi::{CStr, c_char, c_void};
use std::sync::{Once, OnceLock};

use llama_cpp_sys_2 as sys;

/// How much a line of llama.cpp matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// For its developers.
    Debug,
    /// What it did.
    Info,
    /// Something odd that it worked around.
    Warning,
    /// Something that failed, and the last words before an abort.
    Error,
}

type Listener = Box<dyn Fn(LogLevel, &str) + Send + Sync>;

static LISTENER: OnceLock<Listener> = OnceLock::new();
static INITIALISED: Once = Once::new();

/// Gives every line that llama.cpp and ggml write to `listener`, from any thread. Until then, and for a second
/// listener, lines are dropped: nothing of a worker goes to a terminal by itself.
///
/// Returns whether this listener was taken. It must not call into this crate.
pub fn route_logs(listener: impl Fn(LogLevel, &str) + Send + Sync + 'static) -> bool {
    initialise();
    LISTENER.set(Box::new(listener)).is_ok()
}

/// Which instructions of this CPU the kernels were built for, in llama.cpp's words, for example `AVX512 = 1`.
#[must_use]
pub fn system_facts() -> String {
    initialise();
    // SAFETY: returns a NUL-terminated string in static storage, written by this call alone.
    let text = unsafe { sys::llama_print_system_info() };
    text_of(text)
}

/// Registers the compiled-in backends and takes over the logs; free to call again.
pub(crate) fn initialise() {
    INITIALISED.call_once(|| {
        // SAFETY: `on_log` has the callback's signature, lives as long as the program and uses no user data.
        unsafe { sys::llama_log_set(Some(on_log), std::ptr::null_mut()) };
        // SAFETY: as above; with a callback set, ggml prints no backtrace (it would fork a debugger for that).
        unsafe { sys::ggml_set_abort_callback(Some(on_abort)) };
        // SAFETY: has no preconditions; `Once` makes it the only call.
        unsafe { sys::llama_backend_init() };
    });
}

/// A C string as text; empty for null. Copies.
pub(crate) fn text_of(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null; llama.cpp hands out NUL-terminated strings that live at least until its next call.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_string_lossy().into_owned()
}

unsafe extern "C" fn on_log(level: sys::ggml_log_level, text: *const c_char, _user: *mut c_void) {
    if let Some(listener) = LISTENER.get() {
        tell(listener, level_of(level), &text_of(text));
    }
}

unsafe extern "C" fn on_abort(text: *const c_char) {
    if let Some(listener) = LISTENER.get() {
        tell(listener, LogLevel::Error, &text_of(text));
    }
}

/// A panic must not unwind into C++: one in the listener is lost with its line.
fn tell(listener: &Listener, level: LogLevel, text: &str) {
    let line = text.trim_end();
    if !line.is_empty() {
        let _lost = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| listener(level, line)));
    }
}

fn level_of(level: sys::ggml_log_level) -> LogLevel {
    match level {
        sys::GGML_LOG_LEVEL_ERROR => LogLevel::Error,
        sys::GGML_LOG_LEVEL_WARN => LogLevel::Warning,
        sys::GGML_LOG_LEVEL_DEBUG | sys::GGML_LOG_LEVEL_NONE => LogLevel::Debug,
        // INFO and CONT, which goes on with the line before.
        _ => LogLevel::Info,
    }
}
