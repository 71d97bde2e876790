//! Text to tokens and back.

use std::ffi::c_char;

use llama_cpp_sys_2 as sys;

use crate::backend::text_of;
use crate::model::Model;

/// A token of one model's vocabulary. Made by [`Model::tokenize`] and [`Model::token`] only, so its id is in range
/// for that model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u32);

impl Token {
    /// Its id in the vocabulary.
    #[must_use]
    pub fn id(self) -> u32 {
        self.0
    }

    pub(crate) fn raw(self) -> sys::llama_token {
        // Holds: the id is below the vocabulary's size, which llama.cpp gave as an `i32`.
        sys::llama_token::try_from(self.0).unwrap_or(sys::llama_token::MAX)
    }
}

/// A token with a name of its own, such as `<|user|>` or `<think>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Special {
    /// The token.
    pub token: Token,
    /// Its name as it stands in rendered templates.
    pub name: String,
    /// Whether it steers the conversation (`<|user|>`) and is not part of what is said (`<think>`).
    pub is_control: bool,
}

/// Why text could not be made tokens.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenizeError {
    /// Longer than llama.cpp counts.
    #[error("a text of {0} bytes is too long to tokenize")]
    TooLong(usize),
    /// The tokenizer gave no usable answer.
    #[error("the tokenizer failed")]
    Failed,
}

const SPECIAL_ATTRIBUTES: sys::llama_token_attr =
    sys::LLAMA_TOKEN_ATTR_CONTROL | sys::LLAMA_TOKEN_ATTR_USER_DEFINED | sys::LLAMA_TOKEN_ATTR_UNKNOWN;

impl Model {
    /// The token with that id, if the vocabulary has it.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<Token> {
        (id < self.vocab_size()).then_some(Token(id))
    }

    /// Tokens of `text`.
    ///
    /// With `parses_specials`, names of all special tokens in it become those tokens. Without, llama.cpp leaves names of
    /// control tokens as text, but still takes *user-defined* ones (`<think>` is one in GLM files), so a caller with
    /// untrusted text must look at [`Model::specials`] itself. Adds no begin or end token.
    ///
    /// # Errors
    /// Every [`TokenizeError`].
    pub fn tokenize(&self, text: &str, parses_specials: bool) -> Result<Vec<Token>, TokenizeError> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let length = i32::try_from(text.len()).map_err(|_| TokenizeError::TooLong(text.len()))?;
        // A byte-level vocabulary never makes more tokens than bytes, and two more cover a prefix that some add.
        let mut tokens: Vec<sys::llama_token> = vec![0; text.len() + 2];
        let capacity = i32::try_from(tokens.len()).map_err(|_| TokenizeError::TooLong(text.len()))?;
        // SAFETY: `text` covers `length` bytes, `tokens` has room for `capacity`; more is reported, not written.
        let count = unsafe {
            sys::llama_tokenize(
                self.raw_vocab(),
                text.as_ptr().cast(),
                length,
                tokens.as_mut_ptr(),
                capacity,
                false,
                parses_specials,
            )
        };
        let count = usize::try_from(count).map_err(|_| TokenizeError::Failed)?;
        let tokens = tokens.get(..count).ok_or(TokenizeError::Failed)?;
        tokens
            .iter()
            .map(|raw| self.checked(*raw).ok_or(TokenizeError::Failed))
            .collect()
    }

    /// The bytes of `token`; special tokens are spelled out. May begin or end inside a UTF-8 character.
    #[must_use]
    pub fn piece(&self, token: Token) -> Vec<u8> {
        let mut bytes = vec![0u8; PIECE_BYTES_USUAL];
        let mut length = self.write_piece(token, &mut bytes);
        if length < 0 {
            // The negative of what it needs.
            bytes.resize(usize::try_from(length.unsigned_abs()).unwrap_or(0), 0);
            length = self.write_piece(token, &mut bytes);
        }
        bytes.truncate(usize::try_from(length).unwrap_or(0));
        bytes
    }

    fn write_piece(&self, token: Token, bytes: &mut [u8]) -> i32 {
        let capacity = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
        // SAFETY: the token is in range by construction, and at most `capacity` bytes are written.
        unsafe {
            sys::llama_token_to_piece(
                self.raw_vocab(),
                token.raw(),
                bytes.as_mut_ptr().cast::<c_char>(),
                capacity,
                0,
                true,
            )
        }
    }

    /// Whether the model ends its turn with `token`.
    #[must_use]
    pub fn is_end(&self, token: Token) -> bool {
        // SAFETY: the token is in range by construction.
        unsafe { sys::llama_vocab_is_eog(self.raw_vocab(), token.raw()) }
    }

    /// The token that must stand before every prompt, if the vocabulary asks for one.
    #[must_use]
    pub fn begin(&self) -> Option<Token> {
        // SAFETY: the vocabulary lives as long as `self`.
        let is_wanted = unsafe { sys::llama_vocab_get_add_bos(self.raw_vocab()) };
        if !is_wanted {
            return None;
        }
        // SAFETY: as above.
        let raw = unsafe { sys::llama_vocab_bos(self.raw_vocab()) };
        self.checked(raw)
    }

    fn checked(&self, raw: sys::llama_token) -> Option<Token> {
        u32::try_from(raw).ok().and_then(|id| self.token(id))
    }

    pub(crate) fn find_specials(&self) -> Vec<Special> {
        let mut specials: Vec<Special> = (0..self.vocab_size())
            .filter_map(|id| self.special(Token(id)))
            .collect();
        specials.sort_by(|a, b| b.name.len().cmp(&a.name.len()).then(a.token.cmp(&b.token)));
        specials
    }

    fn special(&self, token: Token) -> Option<Special> {
        // SAFETY: the token is in range by construction.
        let attributes = unsafe { sys::llama_vocab_get_attr(self.raw_vocab(), token.raw()) };
        if attributes & SPECIAL_ATTRIBUTES == 0 {
            return None;
        }
        // SAFETY: as above; the text lives as long as the vocabulary and is copied at once.
        let name = text_of(unsafe { sys::llama_vocab_get_text(self.raw_vocab(), token.raw()) });
        let is_control = attributes & sys::LLAMA_TOKEN_ATTR_USER_DEFINED == 0;
        (!name.trim().is_empty()).then_some(Special {
            token,
            name,
            is_control,
        })
    }
}

/// Most pieces fit; a longer one costs a second call.
const PIECE_BYTES_USUAL: usize = 64;
