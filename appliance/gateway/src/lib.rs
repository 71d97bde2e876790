//! The gateway: TLS, HTTP, accounts, keys and the console on the LAN.

pub mod openapi;
pub mod routes;
pub mod schema;
pub mod sessions;
#[cfg(test)]
mod testing;
