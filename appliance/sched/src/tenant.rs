//! What each tenant has had, so that all get the same.

use crate::Micros;
use crate::tree::NodeId;

/// After so long without a stream it is forgotten what a tenant had less than others.
pub(crate) const MEMORY_US: Micros = 10_000_000;
/// Most weighted rows that a tenant who pauses may have had less than those who do not.
pub(crate) const BEHIND_ROWS_MAX: u64 = 8_192;
/// Most tenants without streams that are remembered.
pub(crate) const REMEMBERED_MAX: usize = 1_024;

/// One tenant's account and its part of the tree.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    pub(crate) root: NodeId,
    /// Weighted rows computed for it. Who has the least goes first; who comes back after a while starts level with those
    /// who are there, so that nobody saves up for a rush.
    pub(crate) served: u64,
    /// When its last stream ended.
    pub(crate) left_at: Micros,
    /// Streams that run.
    pub(crate) running_count: usize,
    /// Streams that wait.
    pub(crate) waiting_count: usize,
}

impl Tenant {
    pub(crate) fn new(root: NodeId) -> Self {
        Self {
            root,
            served: 0,
            left_at: 0,
            running_count: 0,
            waiting_count: 0,
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        self.running_count + self.waiting_count > 0
    }
}
