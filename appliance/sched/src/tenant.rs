//! What each tenant has had, so that all get the same.

use crate::tree::NodeId;

/// One tenant's account and its part of the tree.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    pub(crate) root: NodeId,
    /// Weighted rows computed for it. Who has the least goes first; who comes back from idleness starts level with
    /// those who are there, so that nobody saves up for a rush.
    pub(crate) served: u64,
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
            running_count: 0,
            waiting_count: 0,
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        self.running_count + self.waiting_count > 0
    }
}
