//! On whose account a request runs: a name for the engine that says nothing of the person.
//!
//! Fair shares are between tenants and cached prefixes are shared inside one only. Today every API key and every account
//! is a tenant of its own; when departments exist, [`Tenants::of`] is the one place that changes.

use jingui_ipc::engine::Tenant;
use jingui_trust::{Secret, mac};

use crate::call::Caller;
use crate::keys::KeyRoot;

/// Purpose of the derived key; the version counts up when names of tenants must change.
const PURPOSE: &[u8] = b"jingui/tenant/v1";

/// Derives tenants. Who knows a tenant's name learns neither whose it is nor the names of others.
#[derive(Debug)]
pub struct Tenants {
    key: Secret<[u8; 32]>,
}

impl Tenants {
    /// Under a key derived from the root that supervisor and gateway share.
    #[must_use]
    pub fn new(root: &KeyRoot) -> Self {
        Self {
            key: Secret::new(mac::hkdf_sha256(root.expose(), b"", PURPOSE)),
        }
    }

    /// The tenant of a caller.
    #[must_use]
    pub fn of(&self, caller: &Caller) -> Tenant {
        match caller {
            Caller::Key(holder) => self.named("key", &holder.key_id),
            Caller::Person(session) => self.named("account", &session.account_id),
            Caller::Anybody => self.named("anybody", ""),
        }
    }

    /// The tenant in whose name golden prompts are asked.
    #[must_use]
    pub fn golden(&self) -> Tenant {
        self.named("golden", "")
    }

    fn named(&self, kind: &str, id: &str) -> Tenant {
        // No kind holds a zero byte, so no two pairs make the same text.
        let text = [kind.as_bytes(), b"\0", id.as_bytes()].concat();
        let digest = mac::hmac_sha256(self.key.expose(), &text);
        let mut name = [0; 16];
        for (to, from) in name.iter_mut().zip(digest) {
            *to = from;
        }
        Tenant(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyHolder;

    fn key(id: &str) -> Caller {
        Caller::Key(KeyHolder {
            key_id: id.to_owned(),
            owner: "a-0001".to_owned(),
        })
    }

    #[test]
    fn each_caller_is_one_tenant_and_shares_it_with_nobody() {
        let tenants = Tenants::new(&Secret::new([7; 32]));
        assert_eq!(tenants.of(&key("k1")), tenants.of(&key("k1")));
        assert_ne!(tenants.of(&key("k1")), tenants.of(&key("k2")));
        assert_ne!(tenants.of(&key("")), tenants.of(&Caller::Anybody));
        assert_ne!(tenants.named("key", "a-1"), tenants.named("account", "a-1"));
        assert_ne!(tenants.golden(), tenants.of(&key("golden")));
    }

    #[test]
    fn another_root_gives_other_names() {
        let (one, two) = (
            Tenants::new(&Secret::new([7; 32])),
            Tenants::new(&Secret::new([8; 32])),
        );
        assert_ne!(one.of(&key("k1")), two.of(&key("k1")));
    }
}
