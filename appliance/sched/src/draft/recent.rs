//! What each tenant's streams made lately: answers often repeat earlier answers.
//!
//! Kept apart by tenant, since how fast an answer comes would tell one tenant what another was answered.

use std::collections::BTreeMap;

use super::policy::{CREDIT_AT_START, Habits};
use super::suffixes::Suffixes;
use crate::{TenantId, Token};

/// Tenants that are remembered; those that were quiet longest give way.
pub const TENANTS_MAX: usize = 64;
/// Tokens that are remembered of one tenant.
pub const TENANT_TOKENS_MAX: usize = 16_384;

#[derive(Debug, Default)]
pub(super) struct Recent {
    tenants: BTreeMap<TenantId, Memory>,
    clock: u64,
}

#[derive(Debug)]
struct Memory {
    texts: Suffixes,
    habits: Habits,
    credit: f64,
    used_at: u64,
}

impl Recent {
    pub(super) fn texts(&self, tenant: &TenantId) -> Option<&Suffixes> {
        self.tenants.get(tenant).map(|memory| &memory.texts)
    }

    /// Where a new stream of that tenant begins: habits and credit.
    pub(super) fn terms(&self, tenant: &TenantId) -> (Habits, f64) {
        self.tenants
            .get(tenant)
            .map_or((Habits::default(), CREDIT_AT_START), |memory| {
                (memory.habits.faded(), memory.credit)
            })
    }

    /// A stream of that tenant ended with this answer, these habits and so much credit.
    pub(super) fn remember(&mut self, tenant: TenantId, answer: &[Token], habits: Habits, credit: f64) {
        self.clock += 1;
        let memory = self.tenants.entry(tenant).or_insert_with(|| Memory {
            texts: Suffixes::new(TENANT_TOKENS_MAX),
            habits,
            credit,
            used_at: 0,
        });
        memory.habits = habits;
        // What one stream lost the next one does not lose again; what it won is not handed on beyond the usual.
        memory.credit = credit.min(CREDIT_AT_START);
        memory.used_at = self.clock;
        let kept = answer
            .get(answer.len().saturating_sub(TENANT_TOKENS_MAX / 4)..)
            .unwrap_or_default();
        if !kept.is_empty() {
            memory.texts.extend(kept);
            memory.texts.end_text();
        }
        if self.tenants.len() > TENANTS_MAX {
            let quiet = self.tenants.iter().min_by_key(|(_, memory)| memory.used_at);
            if let Some(tenant) = quiet.map(|(tenant, _)| *tenant) {
                self.tenants.remove(&tenant);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn tenant_count(&self) -> usize {
        self.tenants.len()
    }
}
