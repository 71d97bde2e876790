//! Initialisation of ggml, and where its words go. Both are global to the process and happen once.

use std::cell::RefCell;
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

/// Lines kept back during one call. llama.cpp writes a handful for a failed one.
const HELD_LINES_MAX: usize = 64;

thread_local! {
    /// Lines of a running call whose outcome decides whether they are worth telling.
    static HELD: RefCell<Option<Vec<(LogLevel, String)>>> = const { RefCell::new(None) };
}

thread_local! {
    /// Lines about memory of a running call that wants them.
    static SIZES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// What each line about memory has.
const SIZE_MARK: &str = " buffer size = ";

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

/// Runs `call` and tells what llama.cpp wrote meanwhile on this thread only if `is_worth_telling` its result: an
/// abort that was asked for reads like a failure there.
pub(crate) fn hold_logs<T>(call: impl FnOnce() -> T, is_worth_telling: impl FnOnce(&T) -> bool) -> T {
    HELD.with_borrow_mut(|held| *held = Some(Vec::new()));
    let result = call();
    let is_told = is_worth_telling(&result);
    let lines = HELD.take().unwrap_or_default();
    if is_told {
        lines.iter().for_each(|(level, line)| tell(*level, line));
    }
    result
}

/// Runs `call` and gives the lines about memory that llama.cpp wrote meanwhile on this thread; they are told as well.
pub(crate) fn note_sizes<T>(call: impl FnOnce() -> T) -> (T, Vec<String>) {
    SIZES.set(Some(Vec::new()));
    let result = call();
    (result, SIZES.take().unwrap_or_default())
}

unsafe extern "C" fn on_log(level: sys::ggml_log_level, text: *const c_char, _user: *mut c_void) {
    let level = level_of(level);
    let line = text_of(text);
    if line.contains(SIZE_MARK) {
        SIZES.with_borrow_mut(|sizes| {
            if let Some(sizes) = sizes.as_mut().filter(|sizes| sizes.len() < HELD_LINES_MAX) {
                sizes.push(line.clone());
            }
        });
    }
    let is_held = HELD.with_borrow_mut(|held| match held {
        Some(lines) if lines.len() < HELD_LINES_MAX => {
            lines.push((level, line.clone()));
            true
        }
        Some(_) => true,
        None => false,
    });
    if !is_held {
        tell(level, &line);
    }
}

/// The last words of the process: what was kept back, and why it ends.
unsafe extern "C" fn on_abort(text: *const c_char) {
    let held = HELD.take().unwrap_or_default();
    held.iter().for_each(|(level, line)| tell(*level, line));
    tell(LogLevel::Error, &text_of(text));
}

/// A panic must not unwind into C++: one in the listener is lost with its line.
fn tell(level: LogLevel, text: &str) {
    let Some(listener) = LISTENER.get() else { return };
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
