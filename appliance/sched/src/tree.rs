//! Which sequence holds which cells: a radix tree over tokens for each tenant.
//!
//! A node is a run of cells that really exist, with the tokens they were computed from and the node before it. A sequence
//! is the path from a root to the node where it ends; sequences that share cells share nodes. So the lengths of all
//! nodes add up to the cells in use, exactly, and whatever a path says is what llama.cpp holds. Two siblings may hold
//! the same tokens when two streams computed them at the same time.
//!
//! Roots are never shared between tenants, and tokens are compared one by one.

use std::collections::{BTreeMap, BTreeSet};

use crate::shape::NODE_COUNT_MAX;
use crate::{Micros, SequenceId, Token};

/// A node of a [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(usize);

#[derive(Debug, Clone)]
struct Node {
    parent: Option<NodeId>,
    start: usize,
    tokens: Vec<Token>,
    children: Vec<NodeId>,
    /// Sequences that end here.
    ends: Vec<SequenceId>,
    /// Sequences that end here or below.
    sequence_count: usize,
    /// Of these, those of running streams.
    running_count: usize,
    hit_count: u32,
    used_at: Micros,
    is_pinned: bool,
}

impl Node {
    fn end(&self) -> usize {
        self.start + self.tokens.len()
    }
}

#[derive(Debug, Clone, Copy)]
struct End {
    node: NodeId,
    is_running: bool,
}

/// The longest part of some tokens that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// Tokens.
    pub length: usize,
    node: NodeId,
}

/// The end of a cached sequence, where it alone holds cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) sequence: SequenceId,
    pub(crate) start: usize,
    pub(crate) length: usize,
    pub(crate) hit_count: u32,
    pub(crate) used_at: Micros,
    pub(crate) is_pinned: bool,
}

/// All sequences and the cells they hold.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    nodes: Vec<Option<Node>>,
    free: Vec<usize>,
    ends: BTreeMap<SequenceId, End>,
    cell_count: usize,
    running_cell_count: usize,
}

impl Tree {
    /// A new, empty root.
    pub fn root(&mut self) -> NodeId {
        self.add(Node {
            parent: None,
            start: 0,
            tokens: Vec::new(),
            children: Vec::new(),
            ends: Vec::new(),
            sequence_count: 0,
            running_count: 0,
            hit_count: 0,
            used_at: 0,
            is_pinned: false,
        })
    }

    /// Takes away a root through which no sequence goes. `false` when there is one.
    pub fn close(&mut self, root: NodeId) -> bool {
        let is_empty = self.at(root).sequence_count == 0;
        if is_empty {
            self.drop_node(root);
        }
        is_empty
    }

    /// Cells in use.
    #[must_use]
    pub fn cell_count(&self) -> usize {
        self.cell_count
    }

    /// Of these, cells that running streams hold.
    #[must_use]
    pub fn running_cell_count(&self) -> usize {
        self.running_cell_count
    }

    /// Positions that `sequence` holds.
    #[must_use]
    pub fn length(&self, sequence: SequenceId) -> usize {
        self.ends.get(&sequence).map_or(0, |end| self.at(end.node).end())
    }

    /// Whether there is such a sequence.
    #[must_use]
    pub fn holds(&self, sequence: SequenceId) -> bool {
        self.ends.contains_key(&sequence)
    }

    /// Begins an empty sequence of a running stream under `root`.
    pub fn begin(&mut self, sequence: SequenceId, root: NodeId) {
        assert!(!self.holds(sequence), "a sequence begins once");
        self.attach(sequence, root, true);
    }

    /// Ends `sequence`; cells that it alone held are free.
    pub fn release(&mut self, sequence: SequenceId) {
        if let Some(end) = self.detach(sequence) {
            self.prune(end.node);
        }
    }

    /// Adds computed tokens to the end of `sequence`.
    pub fn extend(&mut self, sequence: SequenceId, tokens: &[Token], now: Micros) {
        let Some(end) = self.ends.get(&sequence).copied() else {
            unreachable!("only sequences that began grow");
        };
        if tokens.is_empty() {
            return;
        }
        self.cell_count += tokens.len();
        if end.is_running {
            self.running_cell_count += tokens.len();
        }
        let node = self.at_mut(end.node);
        let is_alone = node.sequence_count == 1 && node.parent.is_some();
        if is_alone {
            node.tokens.extend_from_slice(tokens);
            node.used_at = now;
            return;
        }
        let (start, is_pinned) = (node.end(), false);
        let child = self.add(Node {
            parent: Some(end.node),
            start,
            tokens: tokens.to_vec(),
            children: Vec::new(),
            ends: vec![sequence],
            sequence_count: 1,
            running_count: usize::from(end.is_running),
            hit_count: 0,
            used_at: now,
            is_pinned,
        });
        let node = self.at_mut(end.node);
        node.children.push(child);
        node.ends.retain(|other| *other != sequence);
        self.ends.insert(sequence, End { node: child, ..end });
    }

    /// The longest beginning of `tokens` that is there under `root`.
    #[must_use]
    pub fn longest(&self, root: NodeId, tokens: &[Token]) -> Match {
        self.longest_but(root, tokens, &[])
    }

    /// The same without what `sequence` alone holds.
    fn longest_without(&self, root: NodeId, tokens: &[Token], sequence: SequenceId) -> Match {
        let own: Vec<NodeId> = self
            .ends
            .get(&sequence)
            .map(|end| self.path(end.node).collect())
            .unwrap_or_default();
        self.longest_but(root, tokens, &own)
    }

    fn longest_but(&self, root: NodeId, tokens: &[Token], own: &[NodeId]) -> Match {
        let mut best = Match {
            length: 0,
            node: root,
        };
        let mut open = vec![root];
        while let Some(id) = open.pop() {
            for child_id in &self.at(id).children {
                let child = self.at(*child_id);
                let rest = tokens.get(child.start..).unwrap_or_default();
                let common = common_length(&child.tokens, rest);
                let is_own = child.sequence_count == 1 && own.contains(child_id);
                if common == 0 || is_own {
                    continue;
                }
                let length = child.start + common;
                if length > best.length {
                    best = Match {
                        length,
                        node: *child_id,
                    };
                }
                if common == child.tokens.len() {
                    open.push(*child_id);
                }
            }
        }
        best
    }

    /// The root of the path of `sequence`.
    pub(crate) fn root_of(&self, sequence: SequenceId) -> Option<NodeId> {
        let end = self.ends.get(&sequence)?;
        self.path(end.node).last()
    }

    /// Lets `sequence`, in place of what it holds, share what was found. Returns the sequence that it shares with.
    ///
    /// What was found must not have changed since.
    pub fn share(&mut self, sequence: SequenceId, found: Match, now: Micros) -> SequenceId {
        let Some(before) = self.detach(sequence) else {
            unreachable!("only sequences that began share");
        };
        let Some(source) = self.any_below(found.node) else {
            unreachable!("what is found is held by another sequence");
        };
        let node = self.split(found.node, found.length);
        self.attach(sequence, node, before.is_running);
        self.touch(node, now);
        if before.node != node {
            self.prune(before.node);
        }
        source
    }

    /// Says whether the stream of `sequence` runs.
    pub fn set_running(&mut self, sequence: SequenceId, is_running: bool) {
        if let Some(end) = self.detach(sequence) {
            self.attach(sequence, end.node, is_running);
        }
    }

    /// What `sequence` holds goes last when room is made.
    pub fn pin(&mut self, sequence: SequenceId, until: usize) {
        let Some(end) = self.ends.get(&sequence).copied() else {
            return;
        };
        if until == 0 || until > self.at(end.node).end() {
            return;
        }
        let Some(node) = self.path(end.node).find(|id| self.at(*id).start < until) else {
            return;
        };
        let node = self.split(node, until);
        let path: Vec<NodeId> = self.path(node).collect();
        for id in path {
            self.at_mut(id).is_pinned = true;
        }
    }

    /// Takes positions from `keep` on from a cached sequence.
    pub fn truncate(&mut self, sequence: SequenceId, keep: usize) {
        let Some(end) = self.ends.get(&sequence).copied() else {
            return;
        };
        if keep >= self.at(end.node).end() {
            return;
        }
        let Some(node) = self
            .path(end.node)
            .find(|id| self.at(*id).start < keep || self.at(*id).parent.is_none())
        else {
            return;
        };
        let node = if self.at(node).end() > keep {
            self.split(node, keep)
        } else {
            node
        };
        // A split has moved the end of the sequence into the lower part.
        if let Some(before) = self.detach(sequence) {
            self.attach(sequence, node, end.is_running);
            self.prune(before.node);
        }
    }

    /// A cached sequence all of whose cells others hold, too: it can give its number back at no cost.
    pub(crate) fn redundant(&self) -> Option<SequenceId> {
        self.ends
            .iter()
            .find(|(_, end)| !end.is_running && self.at(end.node).sequence_count > 1)
            .map(|(sequence, _)| *sequence)
    }

    /// Whether all tokens of `sequence` are held by another sequence under `root`, in the same cells or in others.
    pub(crate) fn is_covered(&self, sequence: SequenceId, root: NodeId, tokens: &[Token]) -> bool {
        self.longest_without(root, tokens, sequence).length >= tokens.len()
    }

    /// Cached sequences that end at or above the end of `sequence` on its path, itself left out: it has all of theirs.
    pub(crate) fn passed_by(&self, sequence: SequenceId) -> Vec<SequenceId> {
        let Some(end) = self.ends.get(&sequence) else {
            return Vec::new();
        };
        self.path(end.node)
            .flat_map(|id| self.at(id).ends.iter().copied())
            .filter(|other| *other != sequence && self.ends.get(other).is_some_and(|end| !end.is_running))
            .collect()
    }

    /// The ends of cached sequences where cells can be freed.
    pub(crate) fn tails(&self) -> impl Iterator<Item = Tail> + '_ {
        self.ends.iter().filter_map(|(sequence, end)| {
            let node = self.at(end.node);
            (!end.is_running && node.sequence_count == 1).then_some(Tail {
                sequence: *sequence,
                start: node.start,
                length: node.tokens.len(),
                hit_count: node.hit_count,
                used_at: node.used_at,
                is_pinned: node.is_pinned,
            })
        })
    }

    /// Cells of what was found that no running stream holds.
    pub(crate) fn cached_cells_of(&self, found: Match) -> usize {
        self.path(found.node)
            .filter(|id| self.at(*id).running_count == 0)
            .map(|id| self.at(id).end().min(found.length) - self.at(id).start)
            .sum()
    }

    /// Cells that no other running stream holds.
    pub(crate) fn running_cells_of(&self, sequence: SequenceId) -> usize {
        self.ends.get(&sequence).map_or(0, |end| {
            self.path(end.node)
                .filter(|id| self.at(*id).running_count == 1)
                .map(|id| self.at(id).tokens.len())
                .sum()
        })
    }

    /// Cells that these sequences hold together; those that several of them share count once.
    pub(crate) fn cells_of_all(&self, sequences: impl Iterator<Item = SequenceId>) -> usize {
        let ends = sequences.filter_map(|sequence| self.ends.get(&sequence));
        let nodes: BTreeSet<NodeId> = ends.flat_map(|end| self.path(end.node)).collect();
        nodes.into_iter().map(|id| self.at(id).tokens.len()).sum()
    }

    /// Cached sequences.
    pub(crate) fn cached_sequences(&self) -> impl Iterator<Item = SequenceId> + '_ {
        self.ends
            .iter()
            .filter(|(_, end)| !end.is_running)
            .map(|(sequence, _)| *sequence)
    }

    /// The tokens that `sequence` holds.
    #[must_use]
    pub fn tokens(&self, sequence: SequenceId) -> Vec<Token> {
        let Some(end) = self.ends.get(&sequence) else {
            return Vec::new();
        };
        let mut path: Vec<NodeId> = self.path(end.node).collect();
        path.reverse();
        path.into_iter()
            .flat_map(|id| self.at(id).tokens.iter().copied())
            .collect()
    }

    /// Counts everything anew and compares. For tests and simulations; panics when something does not add up.
    pub fn check(&self) {
        let mut cells = 0;
        let mut running_cells = 0;
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(node) = node else { continue };
            let id = NodeId(index);
            cells += node.tokens.len();
            if node.running_count > 0 {
                running_cells += node.tokens.len();
            }
            let below = |count: fn(&Node) -> usize| -> usize {
                node.children.iter().map(|child| count(self.at(*child))).sum()
            };
            let running_ends = node
                .ends
                .iter()
                .filter(|sequence| self.ends.get(sequence).is_some_and(|end| end.is_running))
                .count();
            assert_eq!(
                node.sequence_count,
                node.ends.len() + below(|child| child.sequence_count)
            );
            assert_eq!(
                node.running_count,
                running_ends + below(|child| child.running_count)
            );
            for child in &node.children {
                assert_eq!(self.at(*child).parent, Some(id));
                assert_eq!(self.at(*child).start, node.end());
            }
            for sequence in &node.ends {
                assert_eq!(self.ends.get(sequence).map(|end| end.node), Some(id));
            }
            if node.parent.is_some() {
                assert!(node.sequence_count > 0, "a node is held");
                assert!(!node.tokens.is_empty(), "a node has tokens");
            }
        }
        assert_eq!(cells, self.cell_count);
        assert_eq!(running_cells, self.running_cell_count);
    }

    fn add(&mut self, node: Node) -> NodeId {
        if let Some(index) = self.free.pop()
            && let Some(place) = self.nodes.get_mut(index)
        {
            *place = Some(node);
            return NodeId(index);
        }
        self.nodes.push(Some(node));
        NodeId(self.nodes.len() - 1)
    }

    fn at(&self, id: NodeId) -> &Node {
        match self.nodes.get(id.0) {
            Some(Some(node)) => node,
            _ => unreachable!("ids are of nodes that are there"),
        }
    }

    fn at_mut(&mut self, id: NodeId) -> &mut Node {
        match self.nodes.get_mut(id.0) {
            Some(Some(node)) => node,
            _ => unreachable!("ids are of nodes that are there"),
        }
    }

    /// From a node up to its root.
    fn path(&self, from: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        std::iter::successors(Some(from), |id| self.at(*id).parent)
    }

    fn attach(&mut self, sequence: SequenceId, node: NodeId, is_running: bool) {
        self.at_mut(node).ends.push(sequence);
        self.ends.insert(sequence, End { node, is_running });
        let mut next = Some(node);
        while let Some(id) = next {
            let node = self.at_mut(id);
            node.sequence_count += 1;
            let length = node.tokens.len();
            let is_first = is_running && node.running_count == 0;
            node.running_count += usize::from(is_running);
            next = node.parent;
            if is_first {
                self.running_cell_count += length;
            }
        }
    }

    /// Takes a sequence off its path; nodes that nobody holds any more stay until they are pruned.
    fn detach(&mut self, sequence: SequenceId) -> Option<End> {
        let end = self.ends.remove(&sequence)?;
        self.at_mut(end.node).ends.retain(|other| *other != sequence);
        let mut next = Some(end.node);
        while let Some(id) = next {
            let node = self.at_mut(id);
            node.sequence_count -= 1;
            node.running_count -= usize::from(end.is_running);
            let is_last = end.is_running && node.running_count == 0;
            let length = node.tokens.len();
            next = node.parent;
            if is_last {
                self.running_cell_count -= length;
            }
        }
        Some(end)
    }

    /// Frees nodes from `from` upwards that nobody holds, and joins what need not be apart.
    fn prune(&mut self, from: NodeId) {
        let mut next = Some(from);
        while let Some(id) = next {
            let Some(Some(node)) = self.nodes.get(id.0) else {
                return;
            };
            let Some(parent) = node.parent else { return };
            if node.sequence_count > 0 {
                self.join(id);
                return;
            }
            assert!(node.children.is_empty(), "what is below holds it");
            self.cell_count -= node.tokens.len();
            self.at_mut(parent).children.retain(|child| *child != id);
            self.drop_node(id);
            next = Some(parent);
        }
    }

    /// Makes a node and its only child one, if no sequence ends between them and they are used alike.
    fn join(&mut self, id: NodeId) {
        let node = self.at(id);
        let ([child], true, true) = (
            node.children.as_slice(),
            node.ends.is_empty(),
            node.parent.is_some(),
        ) else {
            return;
        };
        let child = *child;
        let below = self.at(child);
        let is_alike = below.hit_count == node.hit_count && below.is_pinned == node.is_pinned;
        if !is_alike && self.nodes.len() - self.free.len() <= NODE_COUNT_MAX {
            return;
        }
        let Some(Some(below)) = self.nodes.get_mut(child.0).map(Option::take) else {
            return;
        };
        self.free.push(child.0);
        let node = self.at_mut(id);
        node.tokens.extend_from_slice(&below.tokens);
        node.children = below.children;
        node.ends = below.ends;
        node.used_at = node.used_at.max(below.used_at);
        node.is_pinned |= below.is_pinned;
        let (children, ends) = (node.children.clone(), node.ends.clone());
        for child in children {
            self.at_mut(child).parent = Some(id);
        }
        for sequence in ends {
            if let Some(end) = self.ends.get_mut(&sequence) {
                end.node = id;
            }
        }
    }

    fn drop_node(&mut self, id: NodeId) {
        if let Some(place) = self.nodes.get_mut(id.0) {
            *place = None;
            self.free.push(id.0);
        }
    }

    /// The node that ends at `position`, which is inside `id` or at its end.
    fn split(&mut self, id: NodeId, position: usize) -> NodeId {
        let node = self.at_mut(id);
        if position >= node.end() || position <= node.start {
            return id;
        }
        // The lower part is a new node that takes over children and ends, so that ids of nodes above stay.
        let lower_tokens = node.tokens.split_off(position - node.start);
        let lower = Node {
            parent: Some(id),
            start: position,
            tokens: lower_tokens,
            children: std::mem::take(&mut node.children),
            ends: std::mem::take(&mut node.ends),
            ..node.clone()
        };
        let (children, ends) = (lower.children.clone(), lower.ends.clone());
        let lower = self.add(lower);
        for child in children {
            self.at_mut(child).parent = Some(lower);
        }
        for sequence in ends {
            if let Some(end) = self.ends.get_mut(&sequence) {
                end.node = lower;
            }
        }
        self.at_mut(id).children.push(lower);
        id
    }

    /// A sequence that ends at or below a node.
    fn any_below(&self, from: NodeId) -> Option<SequenceId> {
        let mut open = vec![from];
        while let Some(id) = open.pop() {
            let node = self.at(id);
            if let Some(sequence) = node.ends.first() {
                return Some(*sequence);
            }
            open.extend(
                node.children
                    .iter()
                    .filter(|child| self.at(**child).sequence_count > 0),
            );
        }
        None
    }

    fn touch(&mut self, from: NodeId, now: Micros) {
        let mut next = Some(from);
        while let Some(id) = next {
            let node = self.at_mut(id);
            node.hit_count = node.hit_count.saturating_add(1);
            node.used_at = now;
            next = node.parent;
        }
    }
}

pub(crate) fn common_length(a: &[Token], b: &[Token]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
