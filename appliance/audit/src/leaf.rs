//! One leaf of the log: who did what to what, when, and how it ended.
//!
//! A leaf is one RFC 8785 canonical JSON object without floats. There is exactly one way to write each leaf, and
//! the reader accepts no other: two programs that read the same bytes see the same record. Content never enters;
//! [`commitment`] stands for it.

use std::fmt;
use std::str::FromStr;

use jingui_trust::{Sha256, Sha256Stream};

use crate::event::{Event, Field, put, refuse_rest, take, words};
use crate::json::{INTEGER_MAX, Json, Object};

/// Value of `v`.
pub const SCHEMA_VERSION: u64 = 1;
/// Longest leaf, far below what an entry bundle could hold.
pub const LEAF_BYTES_MAX: usize = 16 * 1024;
/// Largest index and largest number in a leaf.
pub const NUMBER_MAX: u64 = INTEGER_MAX;
/// Bytes of the salt in a [`commitment`].
pub const SALT_BYTES: usize = 32;

/// Stands for a content of which the log must not tell: `SHA256("auditcommit/v1\n" || salt || content)`.
///
/// Salt and content are kept elsewhere, and deleted there when they have to be. Without the salt a short prompt
/// could be guessed from its hash.
#[must_use]
pub fn commitment(salt: &[u8; SALT_BYTES], content: &[u8]) -> Sha256 {
    let mut stream = Sha256Stream::new();
    stream.update(b"auditcommit/v1\n");
    stream.update(salt);
    stream.update(content);
    stream.finish()
}

/// Why bytes are no leaf, or a record cannot become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafRefusal {
    /// Longer than [`LEAF_BYTES_MAX`].
    #[error("{bytes} bytes are more than the {LEAF_BYTES_MAX} that a leaf may have")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// Not the JSON that leaves are written in.
    #[error("not canonical JSON at byte {at}")]
    NotJson {
        /// Where reading stopped.
        at: usize,
    },
    /// Readable, but not written in the one canonical way.
    #[error("not written in the canonical way")]
    NotCanonical,
    /// Of another schema.
    #[error("schema {found} is not known here")]
    UnknownSchema {
        /// Value of `v`.
        found: u64,
    },
    /// Not of the closed list.
    #[error("there is no event {name}")]
    UnknownEvent {
        /// Value of `evt`.
        name: String,
    },
    /// A field that the schema does not have.
    #[error("there is no field {name}")]
    UnknownField {
        /// Which.
        name: String,
    },
    /// A field is missing or has a wrong value.
    #[error("field {name}: {fault}")]
    Field {
        /// Which.
        name: &'static str,
        /// What is wrong.
        fault: FieldFault,
    },
    /// The index is not the one at which the leaf stands.
    #[error("the leaf says that it is number {found}")]
    WrongIndex {
        /// Value of `seq`.
        found: u64,
    },
}

impl LeafRefusal {
    /// Never changes once released.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "audit.leaf.too-long",
            _ => "audit.leaf.refused",
        }
    }
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldFault {
    /// It is not there.
    #[error("missing")]
    Missing,
    /// Text for a number, or the like.
    #[error("of the wrong type")]
    WrongType,
    /// Not a value that the field can have.
    #[error("not one of the possible values")]
    UnknownValue,
    /// Above [`NUMBER_MAX`].
    #[error("larger than 2^53 - 1")]
    TooLarge,
}

words! {
    /// Where the wall clock got its time from.
    TimeSource {
        /// The battery-backed clock of the board.
        Rtc = "rtc",
        /// A time server of the site.
        LanNtp = "lan-ntp",
        /// IEEE 1588.
        Ptp = "ptp",
        /// A person set it.
        Manual = "manual",
    }
}

words! {
    /// Role of the actor at that moment.
    Role {
        /// The box itself.
        Device = "device",
        /// System admin.
        System = "system",
        /// Security admin.
        Security = "security",
        /// Auditor.
        Audit = "audit",
        /// Ordinary user.
        User = "user",
        /// An API key.
        Key = "key",
        /// Somebody who did not prove who he is.
        Nobody = "nobody",
    }
}

words! {
    /// How it ended.
    Outcome {
        /// Done.
        Ok = "ok",
        /// Not allowed.
        Deny = "deny",
        /// Failed.
        Error = "error",
    }
}

/// Random name of one boot of the box: 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BootId(pub [u8; 16]);

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Field for BootId {
    fn write(&self) -> Option<Json> {
        Some(Json::Text(self.to_string()))
    }

    fn read(json: Option<Json>) -> Result<Self, FieldFault> {
        let text = String::read(json)?;
        let value = u128::from_str_radix(&text, 16).map_err(|_| FieldFault::UnknownValue)?;
        let id = Self(value.to_be_bytes());
        if id.to_string() == text {
            Ok(id)
        } else {
            Err(FieldFault::UnknownValue)
        }
    }
}

/// A moment of the wall clock, in milliseconds since 1970 in UTC. Written `2026-11-24T08:09:10.123Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

const DAY_MS: u64 = 86_400_000;
/// 9999-12-31T23:59:59.999Z: beyond it RFC 3339 cannot write.
const TIMESTAMP_MAX_MS: u64 = 253_402_300_799_999;
const ERA_DAYS: u64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: u64 = 719_468;

impl Timestamp {
    /// That many milliseconds after 1970-01-01T00:00:00Z; a clock beyond the year 9999 is held there.
    #[must_use]
    pub const fn from_unix_ms(milliseconds: u64) -> Self {
        Self(if milliseconds > TIMESTAMP_MAX_MS {
            TIMESTAMP_MAX_MS
        } else {
            milliseconds
        })
    }

    /// Milliseconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn unix_ms(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of(self.0 / DAY_MS);
        let ms = self.0 % DAY_MS;
        let (hour, minute, second, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"
        )
    }
}

impl FromStr for Timestamp {
    type Err = FieldFault;

    fn from_str(text: &str) -> Result<Self, FieldFault> {
        let number = |from: usize, to: usize| -> Result<u64, FieldFault> {
            text.get(from..to)
                .and_then(|digits| digits.parse().ok())
                .ok_or(FieldFault::UnknownValue)
        };
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second, ms) = (number(11, 13)?, number(14, 16)?, number(17, 19)?, number(20, 23)?);
        if year < 1970 || !(1..=12).contains(&month) || day == 0 {
            return Err(FieldFault::UnknownValue);
        }
        let ms = ((hour * 60 + minute) * 60 + second) * 1000 + ms;
        let moment = Self::from_unix_ms(days_of(year, month, day) * DAY_MS + ms);
        // Writing it again refuses every wrong separator, the 30th of February, hour 24 and the 61st second.
        if moment.to_string() == text {
            Ok(moment)
        } else {
            Err(FieldFault::UnknownValue)
        }
    }
}

impl Field for Timestamp {
    fn write(&self) -> Option<Json> {
        Some(Json::Text(self.to_string()))
    }

    fn read(json: Option<Json>) -> Result<Self, FieldFault> {
        String::read(json)?.parse()
    }
}

/// Year, month and day of a day since 1970, in the proleptic Gregorian calendar; years start in March so that the
/// leap day is the last one (Hinnant, "chrono-compatible low-level date algorithms").
fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH_DAYS;
    let day_of_era = days % ERA_DAYS;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + days / ERA_DAYS * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// Day since 1970 of a date from 1970 on; the inverse of [`date_of`].
fn days_of(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let year_of_era = year % 400;
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    year / 400 * ERA_DAYS + day_of_era - EPOCH_DAYS
}

/// What stands for the contents of a request (`c`). Left out of the leaf when there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Commitments {
    /// [`commitment`] to the prompt.
    pub prompt: Option<Sha256>,
    /// [`commitment`] to the answer.
    pub answer: Option<Sha256>,
}

impl Field for Commitments {
    fn write(&self) -> Option<Json> {
        let mut object = Object::new();
        put(&mut object, "prompt", &self.prompt);
        put(&mut object, "answer", &self.answer);
        (!object.is_empty()).then_some(Json::Object(object))
    }

    fn read(json: Option<Json>) -> Result<Self, FieldFault> {
        let mut object = match json {
            None => return Ok(Self::default()),
            Some(Json::Object(object)) => object,
            Some(_) => return Err(FieldFault::WrongType),
        };
        let mut commitment = |name| take(&mut object, name).map_err(|_| FieldFault::UnknownValue);
        let commitments = Self {
            prompt: commitment("prompt")?,
            answer: commitment("answer")?,
        };
        if object.is_empty() {
            Ok(commitments)
        } else {
            Err(FieldFault::UnknownValue)
        }
    }
}

/// A record that has no place in the log yet. [`crate::Writer::append`] numbers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// `t`: what the wall clock said.
    pub time: Timestamp,
    /// `ts`: where the wall clock got it from.
    pub time_source: TimeSource,
    /// `boot`: this boot.
    pub boot: BootId,
    /// `mono`: milliseconds of the monotonic clock since this boot.
    pub mono_ms: u64,
    /// `actor`: account id, key id, or the name of one of our processes.
    pub actor: String,
    /// `role`: what the actor was at that moment.
    pub role: Role,
    /// `sess`: session, empty when there is none.
    pub session: String,
    /// `src`: address or terminal, empty for the box itself.
    pub source: String,
    /// `evt` and `det`.
    pub event: Event,
    /// `obj`: what it was done to, for example a digest or an account id; may be empty.
    pub object: String,
    /// `out`.
    pub outcome: Outcome,
    /// `why`: rule or error code when it did not end well, else empty.
    pub why: String,
    /// `c`.
    pub commitments: Commitments,
}

impl Draft {
    /// The leaf at that index.
    ///
    /// # Errors
    /// [`LeafRefusal::TooLong`], and [`LeafRefusal::Field`] for a number that is too large.
    pub fn numbered(self, index: u64) -> Result<Leaf, LeafRefusal> {
        let leaf = Leaf { index, draft: self };
        let bytes = leaf.to_bytes();
        if bytes.len() > LEAF_BYTES_MAX {
            return Err(LeafRefusal::TooLong { bytes: bytes.len() });
        }
        // Reading it back is the check that no number is too large for the format.
        match Leaf::parse(&bytes) {
            Ok(read) if read == leaf => Ok(leaf),
            Ok(_) => Err(LeafRefusal::NotCanonical),
            Err(LeafRefusal::NotJson { .. }) => Err(LeafRefusal::Field {
                name: "det",
                fault: FieldFault::TooLarge,
            }),
            Err(refusal) => Err(refusal),
        }
    }
}

/// A record at its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// `seq`: index of the leaf.
    pub index: u64,
    /// All the rest.
    pub draft: Draft,
}

impl Leaf {
    /// The bytes that are hashed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let draft = &self.draft;
        let mut object = Object::new();
        put(&mut object, "v", &SCHEMA_VERSION);
        put(&mut object, "seq", &self.index);
        put(&mut object, "t", &draft.time);
        put(&mut object, "ts", &draft.time_source);
        put(&mut object, "boot", &draft.boot);
        put(&mut object, "mono", &draft.mono_ms);
        put(&mut object, "actor", &draft.actor);
        put(&mut object, "role", &draft.role);
        put(&mut object, "sess", &draft.session);
        put(&mut object, "src", &draft.source);
        put(&mut object, "evt", &draft.event.name().to_owned());
        object.push(("det".into(), Json::Object(draft.event.details())));
        put(&mut object, "obj", &draft.object);
        put(&mut object, "out", &draft.outcome);
        put(&mut object, "why", &draft.why);
        put(&mut object, "c", &draft.commitments);
        let mut text = String::new();
        Json::Object(object).write(&mut text);
        text.into_bytes()
    }

    /// Reads a leaf; holding the result proves that these are the only bytes for it.
    ///
    /// # Errors
    /// [`LeafRefusal`].
    pub fn parse(bytes: &[u8]) -> Result<Self, LeafRefusal> {
        if bytes.len() > LEAF_BYTES_MAX {
            return Err(LeafRefusal::TooLong { bytes: bytes.len() });
        }
        let text = std::str::from_utf8(bytes).map_err(|error| LeafRefusal::NotJson {
            at: error.valid_up_to(),
        })?;
        let Json::Object(object) = Json::parse(text).map_err(|at| LeafRefusal::NotJson { at })? else {
            return Err(LeafRefusal::NotJson { at: 0 });
        };
        let leaf = Self::from_object(object)?;
        if leaf.to_bytes() == bytes {
            Ok(leaf)
        } else {
            Err(LeafRefusal::NotCanonical)
        }
    }

    /// Reads the leaf that stands at `index`.
    ///
    /// # Errors
    /// [`LeafRefusal`].
    pub fn parse_at(index: u64, bytes: &[u8]) -> Result<Self, LeafRefusal> {
        let leaf = Self::parse(bytes)?;
        if leaf.index == index {
            Ok(leaf)
        } else {
            Err(LeafRefusal::WrongIndex { found: leaf.index })
        }
    }

    fn from_object(mut object: Object) -> Result<Self, LeafRefusal> {
        let schema: u64 = take(&mut object, "v")?;
        if schema != SCHEMA_VERSION {
            return Err(LeafRefusal::UnknownSchema { found: schema });
        }
        let name: String = take(&mut object, "evt")?;
        let details: Details = take(&mut object, "det")?;
        let leaf = Self {
            index: take(&mut object, "seq")?,
            draft: Draft {
                time: take(&mut object, "t")?,
                time_source: take(&mut object, "ts")?,
                boot: take(&mut object, "boot")?,
                mono_ms: take(&mut object, "mono")?,
                actor: take(&mut object, "actor")?,
                role: take(&mut object, "role")?,
                session: take(&mut object, "sess")?,
                source: take(&mut object, "src")?,
                event: Event::parse(&name, details.0)?,
                object: take(&mut object, "obj")?,
                outcome: take(&mut object, "out")?,
                why: take(&mut object, "why")?,
                commitments: take(&mut object, "c")?,
            },
        };
        refuse_rest(&object)?;
        Ok(leaf)
    }
}

/// `det` before its event is known.
struct Details(Object);

impl Field for Details {
    fn write(&self) -> Option<Json> {
        Some(Json::Object(self.0.clone()))
    }

    fn read(json: Option<Json>) -> Result<Self, FieldFault> {
        match json {
            Some(Json::Object(object)) => Ok(Self(object)),
            Some(_) => Err(FieldFault::WrongType),
            None => Err(FieldFault::Missing),
        }
    }
}
