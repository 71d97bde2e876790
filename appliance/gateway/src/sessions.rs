//! Sessions of people at the console.

/// Name of the cookie that holds a session.
pub const COOKIE_NAME: &str = "__Host-jingui";
