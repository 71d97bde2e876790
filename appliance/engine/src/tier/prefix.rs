//! What a block is and what names it: the tokens before it, all of them, and whose they are.

use jingui_trust::{Sha256, Sha256Stream};

/// Tokens of one block. Small enough that a shared system prompt is mostly whole blocks, large enough that a block of
/// the smallest models is a disk transfer worth making (4 MiB at 32 KiB a token).
pub const BLOCK_TOKENS: usize = 128;

/// Names a tenant: opaque.
pub type TenantBytes = [u8; 16];

const BLOCK_PURPOSE: &[u8] = b"jingui/tier/block/v1";
const SHAPE_PURPOSE: &[u8] = b"jingui/tier/shape/v1";

/// What the keys and values depend on besides the tokens: weights, layout, types, positions.
///
/// Blocks of two shapes never meet, so everything that changes the numbers or the layout of a saved state belongs into
/// it, the identity of the weights above all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape(Sha256);

impl Shape {
    /// From facts in a fixed order, for example the digest of the weights, the types of the cache, the version of
    /// llama.cpp.
    #[must_use]
    pub fn of(facts: &[&[u8]]) -> Self {
        let mut stream = Sha256Stream::new();
        stream.update(SHAPE_PURPOSE);
        for fact in facts {
            // A fact is in memory, so its length fits.
            stream.update(&(fact.len() as u64).to_le_bytes());
            stream.update(fact);
        }
        Self(stream.finish())
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

/// Names a block: a hash over shape, tenant, the block before and the block's tokens, and so over all tokens up to its
/// end. Who finds a block by it still compares the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockKey([u8; 32]);

impl BlockKey {
    /// In the place of a parent for the first block.
    pub(super) const ROOT: Self = Self([0; 32]);

    pub(super) fn of(shape: &Shape, tenant: &TenantBytes, parent: &Self, tokens: &[u32]) -> Self {
        let mut stream = Sha256Stream::new();
        stream.update(BLOCK_PURPOSE);
        stream.update(shape.as_bytes());
        stream.update(tenant);
        stream.update(&parent.0);
        for token in tokens {
            stream.update(&token.to_le_bytes());
        }
        Self(*stream.finish().as_bytes())
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(super) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// The tokens of a stream from its first on, cut into blocks, with their names. Pure; grows as the stream does.
///
/// Costs about a microsecond a block to make, so the reader thread can make it.
#[derive(Debug, Clone)]
pub struct Prefix {
    shape: Shape,
    tenant: TenantBytes,
    tokens: Vec<u32>,
    keys: Vec<BlockKey>,
}

impl Prefix {
    /// Of that tenant, with these tokens.
    #[must_use]
    pub fn new(shape: Shape, tenant: TenantBytes, tokens: &[u32]) -> Self {
        let mut prefix = Self {
            shape,
            tenant,
            tokens: Vec::new(),
            keys: Vec::new(),
        };
        prefix.extend(tokens);
        prefix
    }

    /// The next tokens.
    pub fn extend(&mut self, tokens: &[u32]) {
        self.tokens.extend_from_slice(tokens);
        let (blocks, _) = self.tokens.as_chunks::<BLOCK_TOKENS>();
        for block in blocks.iter().skip(self.keys.len()) {
            let parent = self.keys.last().copied().unwrap_or(BlockKey::ROOT);
            let key = BlockKey::of(&self.shape, &self.tenant, &parent, block);
            self.keys.push(key);
        }
    }

    /// The next token.
    pub fn push(&mut self, token: u32) {
        self.extend(&[token]);
    }

    /// Whole blocks.
    #[must_use]
    pub const fn block_count(&self) -> usize {
        self.keys.len()
    }

    /// All tokens, also those of the unfinished block.
    #[must_use]
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Whose it is.
    #[must_use]
    pub const fn tenant(&self) -> &TenantBytes {
        &self.tenant
    }

    /// Tokens of whole block `index`.
    #[must_use]
    pub fn block(&self, index: usize) -> Option<&[u32; BLOCK_TOKENS]> {
        let (blocks, _) = self.tokens.as_chunks::<BLOCK_TOKENS>();
        blocks.get(index)
    }

    pub(super) fn key(&self, index: usize) -> Option<BlockKey> {
        self.keys.get(index).copied()
    }

    /// Name of the block before `index`, [`BlockKey::ROOT`] for the first.
    pub(super) fn parent(&self, index: usize) -> Option<BlockKey> {
        index
            .checked_sub(1)
            .map_or(Some(BlockKey::ROOT), |before| self.key(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape(name: &str) -> Shape {
        Shape::of(&[name.as_bytes()])
    }

    #[test]
    fn a_key_depends_on_shape_tenant_and_every_token_before() {
        let tokens: Vec<u32> = (0..3 * BLOCK_TOKENS as u32).collect();
        let base = Prefix::new(shape("a"), [1; 16], &tokens);
        assert_eq!(base.block_count(), 3);
        let mut seen: Vec<_> = base.keys.clone();
        seen.extend(&Prefix::new(shape("b"), [1; 16], &tokens).keys);
        seen.extend(&Prefix::new(shape("a"), [2; 16], &tokens).keys);
        for changed in [0, 5, BLOCK_TOKENS - 1] {
            let mut other = tokens.clone();
            other[changed] += 1;
            seen.extend(&Prefix::new(shape("a"), [1; 16], &other).keys);
        }
        let distinct: std::collections::HashSet<_> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len());
    }

    #[test]
    fn facts_of_a_shape_do_not_run_into_each_other() {
        assert_ne!(Shape::of(&[b"ab", b"c"]), Shape::of(&[b"a", b"bc"]));
        assert_ne!(Shape::of(&[b"ab"]), Shape::of(&[b"ab", b""]));
    }

    proptest! {
        #[test]
        fn it_grows_in_any_pieces_to_the_same(tokens in prop::collection::vec(0_u32..9, 0..700), cut: prop::sample::Index) {
            let whole = Prefix::new(shape("a"), [1; 16], &tokens);
            let cut = cut.index(tokens.len() + 1);
            let mut pieces = Prefix::new(shape("a"), [1; 16], &tokens[..cut]);
            for token in &tokens[cut..] {
                pieces.push(*token);
            }
            prop_assert_eq!(&pieces.keys, &whole.keys);
            prop_assert_eq!(pieces.tokens(), whole.tokens());
            prop_assert_eq!(whole.block_count(), tokens.len() / BLOCK_TOKENS);
        }
    }
}
