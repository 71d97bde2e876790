//! Bytes of commands and answers (TCG TPM 2.0 Library, part 1 chapter 18, part 2): big-endian, no padding.

use super::ANSWER_BYTES_MAX;

const TAG_NO_SESSIONS: u16 = 0x8001;
const TAG_SESSIONS: u16 = 0x8002;
const HEADER_BYTES: usize = 10;
/// The session that carries a password in the clear (`TPM_RS_PW`).
const PASSWORD_SESSION: u32 = 0x4000_0009;
/// Handle, empty nonce, attributes, empty password.
const EMPTY_SESSION_BYTES: u32 = 4 + 2 + 1 + 2;

/// An answer that is none of the standard's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireFault {
    /// Too short, too long, or with something left over.
    #[error("the answer has another length than it says")]
    Length,
    /// A field that has none of the values it may have.
    #[error("a field of the answer has none of the values it may have")]
    Value,
}

/// What a command is allowed by.
#[derive(Debug, Clone, Copy)]
pub(super) enum Session {
    /// The empty password.
    Empty,
}

/// A command that is being written: handles first, then the session, then parameters.
#[derive(Debug)]
pub(super) struct Command {
    code: u32,
    has_session: bool,
    body: Vec<u8>,
}

impl Command {
    pub(super) const fn new(code: u32) -> Self {
        Self {
            code,
            has_session: false,
            body: Vec::new(),
        }
    }

    pub(super) const fn has_session(&self) -> bool {
        self.has_session
    }

    pub(super) fn handle(&mut self, handle: u32) -> &mut Self {
        self.u32(handle)
    }

    pub(super) fn session(&mut self, session: Session) -> &mut Self {
        let Session::Empty = session;
        self.has_session = true;
        self.u32(EMPTY_SESSION_BYTES)
            .u32(PASSWORD_SESSION)
            .u16(0)
            .u8(0)
            .u16(0)
    }

    pub(super) fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.body.extend_from_slice(bytes);
        self
    }

    /// Two bytes of length, then the bytes. Ours are short.
    pub(super) fn sized(&mut self, bytes: &[u8]) -> &mut Self {
        let length = u16::try_from(bytes.len());
        assert!(length.is_ok(), "a command of ours is short");
        self.u16(length.unwrap_or_default()).bytes(bytes)
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let tag = if self.has_session {
            TAG_SESSIONS
        } else {
            TAG_NO_SESSIONS
        };
        let size = u32::try_from(HEADER_BYTES.saturating_add(self.body.len()));
        assert!(size.is_ok(), "a command of ours is short");
        let mut bytes = tag.to_be_bytes().to_vec();
        bytes.extend_from_slice(&size.unwrap_or_default().to_be_bytes());
        bytes.extend_from_slice(&self.code.to_be_bytes());
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// Size that the start of an answer announces, once that is there.
pub(super) fn announced_size(start: &[u8]) -> Result<Option<usize>, WireFault> {
    let Some(size) = start.get(2..6) else {
        return Ok(None);
    };
    let size = usize::try_from(Fields(size).u32()?).map_err(|_| WireFault::Length)?;
    if (HEADER_BYTES..=ANSWER_BYTES_MAX).contains(&size) {
        Ok(Some(size))
    } else {
        Err(WireFault::Length)
    }
}

/// An answer whose frame is right: header, and where there was a session, the part behind the parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    code: u32,
    parameters: Vec<u8>,
}

impl Answer {
    pub(super) fn parse(bytes: &[u8], has_session: bool) -> Result<Self, WireFault> {
        let mut fields = Fields(bytes);
        let tag = fields.u16()?;
        let size = fields.u32()?;
        let code = fields.u32()?;
        if usize::try_from(size) != Ok(bytes.len()) {
            return Err(WireFault::Length);
        }
        if code != 0 {
            // A refusal is a header alone.
            fields.end()?;
            return if tag == TAG_NO_SESSIONS {
                Ok(Self {
                    code,
                    parameters: Vec::new(),
                })
            } else {
                Err(WireFault::Value)
            };
        }
        let parameters = match (has_session, tag) {
            (false, TAG_NO_SESSIONS) => fields.rest(),
            (true, TAG_SESSIONS) => {
                let length = fields.u32()?;
                let length = usize::try_from(length).map_err(|_| WireFault::Length)?;
                let parameters = fields.bytes(length)?;
                let nonce = fields.sized()?;
                let _attributes = fields.u8()?;
                let password = fields.sized()?;
                fields.end()?;
                if !nonce.is_empty() || !password.is_empty() {
                    return Err(WireFault::Value);
                }
                parameters
            }
            _ => return Err(WireFault::Value),
        };
        Ok(Self {
            code,
            parameters: parameters.to_vec(),
        })
    }

    pub(super) const fn code(&self) -> u32 {
        self.code
    }

    pub(super) fn fields(&self) -> Fields<'_> {
        Fields(&self.parameters)
    }
}

/// What is left to read.
#[derive(Debug)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], WireFault> {
        let (taken, left) = self.0.split_at_checked(count).ok_or(WireFault::Length)?;
        self.0 = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireFault> {
        self.bytes(N)?.try_into().map_err(|_| WireFault::Length)
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireFault> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, WireFault> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, WireFault> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, WireFault> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn boolean(&mut self) -> Result<bool, WireFault> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireFault::Value),
        }
    }

    /// Bytes behind two bytes of length.
    pub(super) fn sized(&mut self) -> Result<&'a [u8], WireFault> {
        let count = self.u16()?;
        self.bytes(usize::from(count))
    }

    /// A structure behind two bytes of length.
    pub(super) fn inner(&mut self) -> Result<Self, WireFault> {
        self.sized().map(Fields)
    }

    /// A count of elements that may not be more than `max`.
    pub(super) const fn bounded(&self, count: u32, max: u32) -> Result<u32, WireFault> {
        if count <= max {
            Ok(count)
        } else {
            Err(WireFault::Value)
        }
    }

    /// Everything that is left.
    const fn rest(&mut self) -> &'a [u8] {
        let rest = self.0;
        self.0 = &[];
        rest
    }

    /// Refuses what is left over.
    pub(super) const fn end(&self) -> Result<(), WireFault> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(WireFault::Length)
        }
    }
}
