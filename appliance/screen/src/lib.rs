//! The local screen: what the box shows on its monitor and serial line, and the recovery menu for whoever stands there.
//!
//! Started by systemd for each terminal as a user without rights, with a socket to the supervisor and nothing else. It
//! decides nothing: it shows what the supervisor says and passes on what a person typed. Three threads: one draws and
//! owns all state ([`app::App`]), one reads keys, one talks to the supervisor.
//!
//! Nothing that comes from outside is believed: messages are bounded and of a closed list, text is stripped of what could
//! move the cursor, keys that are none are thrown away, and a terminal's own word about its size has bounds.
//!
//! Chinese is shown where the terminal can show it. The kernel's text console has no Chinese letters, so a monitor gets
//! English; a framebuffer font would cure that and is not in this program.

pub mod app;
pub mod draw;
pub mod field;
pub mod flow;
pub mod form;
pub mod keys;
pub mod link;
pub mod terminal;
pub mod text;
pub mod words;
