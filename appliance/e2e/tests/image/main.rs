//! The sealed image, booted: Secure Boot with our own keys, an emulated TPM, a cable with nobody on it but the test.
//!
//! `scripts/test image-boot` runs what is in `boot`, `scripts/test image` all of it. Each boot takes a minute or two
//! where there is no hardware help, so the tests watch the serial line and pull the plug as soon as they know.

mod boot;
mod contents;
mod power;
mod site;
mod stick;
mod tamper;
mod visitor;
