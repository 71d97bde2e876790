//! The set of vendor keys that this box accepts.

use crate::digest::Sha256;
use crate::vendor_key::VendorPublicKey;

/// Vendor keys that the box accepts. Who may change the set is the supervisor's business.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustStore {
    keys: Vec<VendorPublicKey>,
}

impl TrustStore {
    /// A store that accepts exactly `keys`.
    #[must_use]
    pub const fn new(keys: Vec<VendorPublicKey>) -> Self {
        Self { keys }
    }

    /// All accepted keys.
    #[must_use]
    pub fn keys(&self) -> &[VendorPublicKey] {
        &self.keys
    }

    /// The accepted key that a bundle names by `hint`, if there is one.
    #[must_use]
    pub fn find(&self, hint: &Sha256) -> Option<&VendorPublicKey> {
        self.keys.iter().find(|key| key.hint() == *hint)
    }
}
