//! Names in a FAT folder: the short one of eleven bytes, and the slots of the long one before it.

use super::{ATTRIBUTE_LONG_NAME, ENTRY_BYTES};

/// Characters of a long name in one slot.
const UNITS_PER_SLOT: usize = 13;
/// Longest name that we write.
const NAME_UNITS_MAX: usize = 100;
/// Marks the slot that is the end of the name, and the first on disk.
const LAST: u8 = 0x40;
/// Where the characters are in a slot.
const UNIT_PLACES: [usize; UNITS_PER_SLOT] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// What a name takes in a folder.
pub(super) struct Slots {
    pub(super) short: [u8; 11],
    pub(super) long: Vec<[u8; ENTRY_BYTES]>,
}

impl Slots {
    /// Slots for `name`, in a folder where the short names `taken` are used; `None` for what is no name.
    pub(super) fn of(name: &str, taken: &[[u8; 11]]) -> Option<Self> {
        let is_name = !name.is_empty()
            && name.len() <= NAME_UNITS_MAX
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte))
            && !name.starts_with('.')
            && !name.ends_with('.');
        if !is_name {
            return None;
        }
        let upper = name.to_ascii_uppercase();
        let plain = plain_short(&upper).filter(|short| !taken.contains(short));
        let is_short_enough = plain.is_some() && upper == name;
        let short = plain.or_else(|| numbered_short(&upper, taken))?;
        let long = if is_short_enough {
            Vec::new()
        } else {
            long_slots(name, &short)
        };
        Some(Self { short, long })
    }

    pub(super) fn count(&self) -> usize {
        self.long.len() + 1
    }
}

/// The short form of a name that is short already.
fn plain_short(upper: &str) -> Option<[u8; 11]> {
    let (base, extension) = upper.split_once('.').unwrap_or((upper, ""));
    let is_plain = |part: &str| {
        part.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let fits =
        !base.is_empty() && base.len() <= 8 && extension.len() <= 3 && is_plain(base) && is_plain(extension);
    fits.then(|| packed(base, extension))
}

/// `JINGUI~1.EFI`: with the first number that is free.
fn numbered_short(upper: &str, taken: &[[u8; 11]]) -> Option<[u8; 11]> {
    let letters = |part: &str, max: usize| -> String {
        part.chars()
            .filter(char::is_ascii_alphanumeric)
            .take(max)
            .collect()
    };
    let (base, extension) = upper.rsplit_once('.').unwrap_or((upper, ""));
    let (base, extension) = (letters(base, 5), letters(extension, 3));
    (1..100)
        .map(|number| packed(&format!("{base}~{number}"), &extension))
        .find(|short| !taken.contains(short))
}

fn packed(base: &str, extension: &str) -> [u8; 11] {
    let mut short = [b' '; 11];
    let letters = base.bytes().take(8).enumerate();
    let extension = extension.bytes().take(3).enumerate();
    for (at, byte) in letters.chain(extension.map(|(at, byte)| (at + 8, byte))) {
        if let Some(place) = short.get_mut(at) {
            *place = byte;
        }
    }
    short
}

/// The slots of a long name as they stand on disk: its end first.
fn long_slots(name: &str, short: &[u8; 11]) -> Vec<[u8; ENTRY_BYTES]> {
    let units: Vec<u16> = name.encode_utf16().collect();
    let count = units.len().div_ceil(UNITS_PER_SLOT);
    let slot = |index: usize| {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[0] = u8::try_from(index + 1).unwrap_or(u8::MAX) | if index + 1 == count { LAST } else { 0 };
        bytes[11] = ATTRIBUTE_LONG_NAME;
        bytes[13] = checksum(short);
        let rest = units.iter().skip(index * UNITS_PER_SLOT).copied();
        // Ended by one zero, filled up with ones.
        let padded = rest.chain([0]).chain(std::iter::repeat(0xffff));
        for (at, unit) in UNIT_PLACES.into_iter().zip(padded) {
            for (place, byte) in bytes.iter_mut().skip(at).zip(unit.to_le_bytes()) {
                *place = byte;
            }
        }
        bytes
    };
    (0..count).rev().map(slot).collect()
}

/// The long name in these slots, if it belongs to the short one.
pub(super) fn join(long: &[[u8; ENTRY_BYTES]], short: &[u8; 11]) -> Option<String> {
    let sum = checksum(short);
    let mut units = Vec::new();
    for (index, slot) in long.iter().rev().enumerate() {
        let is_last = index + 1 == long.len();
        let number = u8::try_from(index + 1).ok()? | if is_last { LAST } else { 0 };
        if slot[0] != number || slot[13] != sum {
            return None;
        }
        units.extend(UNIT_PLACES.iter().filter_map(|at| {
            let pair = slot.get(*at..)?.first_chunk()?;
            Some(u16::from_le_bytes(*pair))
        }));
    }
    let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    let name = String::from_utf16(units.get(..end)?).ok()?;
    (!name.is_empty()).then_some(name)
}

/// A short name as people write it.
pub(super) fn of_short(short: &[u8; 11]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let (base, extension) = short.split_at(8);
    match text(extension) {
        none if none.is_empty() => text(base),
        extension => format!("{}.{extension}", text(base)),
    }
}

fn checksum(short: &[u8; 11]) -> u8 {
    short
        .iter()
        .fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}
