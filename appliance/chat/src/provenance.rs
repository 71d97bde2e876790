//! Which characters of a rendered prompt come from people, and which from the template.
//!
//! The conversation is rendered twice: once as it is, and once with each visible character of people's text replaced
//! by a stand-in from the private planes that occurs nowhere in the input. White space stays, so that `strip` and
//! `trim` do the same in both; `"` and `\` stay, so that `tojson` escapes the same. If the second rendering with
//! stand-ins put back is not the first one, character by character, the template looked into the text, and this
//! rendering proves nothing.
//!
//! Names of special tokens are ASCII without white space, and begin and end with marks that are always replaced.
//! So a name that stands unreplaced in the second rendering was written by the template, whatever people typed, in
//! one message or spread over several.

use std::collections::{HashMap, HashSet};

use crate::python::PRIVATE_PLANES;

/// Stand-ins for the characters of one conversation. Looked up for each character of it: the common ones by place.
#[derive(Debug)]
pub(crate) struct StandIns {
    of_ascii: [Option<char>; 128],
    of_others: HashMap<char, char>,
    /// What a stand-in stands for, by its distance from the first private character.
    back: Vec<Option<char>>,
}

/// Which characters are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All visible ones.
    Visible,
    /// Only the marks that every name of a special token with a bracket begins and ends with. Words of people's text
    /// can then be compared by the template.
    Marks,
}

impl StandIns {
    /// Stand-ins for all characters of the texts; `None` if the texts themselves leave no private character free.
    pub(crate) fn assign<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut used: Vec<char> = distinct(texts).into_iter().collect();
        used.sort_unstable();
        let mut free = PRIVATE_PLANES.filter(|character| used.binary_search(character).is_err());
        let mut assigned = Self {
            of_ascii: [None; 128],
            of_others: HashMap::new(),
            back: Vec::new(),
        };
        for character in used.iter().copied().filter(|character| is_visible(*character)) {
            let stand_in = free.next()?;
            match assigned.of_ascii.get_mut(character as usize) {
                Some(place) => *place = Some(stand_in),
                None => {
                    assigned.of_others.insert(character, stand_in);
                }
            }
            assigned.back.resize(distance(stand_in)?, None);
            assigned.back.push(Some(character));
        }
        Some(assigned)
    }

    /// The text with its characters replaced.
    pub(crate) fn replace(&self, text: &str, extent: Extent) -> String {
        let mut replaced = String::with_capacity(text.len());
        for character in text.chars() {
            let is_kept = extent == Extent::Marks && !is_mark(character);
            let stand_in = if is_kept { None } else { self.of(character) };
            replaced.push(stand_in.unwrap_or(character));
        }
        replaced
    }

    /// The text with stand-ins put back.
    pub(crate) fn restore(&self, text: &str) -> String {
        text.chars()
            .map(|character| self.back(character).unwrap_or(character))
            .collect()
    }

    /// Whether a rendered text holds a stand-in.
    pub(crate) fn occur_in(&self, text: &str) -> bool {
        text.chars().any(|character| self.back(character).is_some())
    }

    fn of(&self, character: char) -> Option<char> {
        match self.of_ascii.get(character as usize) {
            Some(stand_in) => *stand_in,
            None => self.of_others.get(&character).copied(),
        }
    }

    fn back(&self, stand_in: char) -> Option<char> {
        self.back.get(distance(stand_in)?).copied().flatten()
    }
}

fn distance(stand_in: char) -> Option<usize> {
    u32::from(stand_in)
        .checked_sub(u32::from(*PRIVATE_PLANES.start()))
        .and_then(|place| usize::try_from(place).ok())
}

fn distinct<'a>(texts: impl IntoIterator<Item = &'a str>) -> HashSet<char> {
    let mut is_used = [false; 128];
    let mut others = HashSet::new();
    for character in texts.into_iter().flat_map(str::chars) {
        match is_used.get_mut(character as usize) {
            Some(place) => *place = true,
            None => {
                others.insert(character);
            }
        }
    }
    others.extend(
        ('\0'..)
            .zip(is_used)
            .filter(|(_, is_used)| *is_used)
            .map(|(character, _)| character),
    );
    others
}

fn is_visible(character: char) -> bool {
    !character.is_whitespace() && !character.is_control() && character != '"' && character != '\\'
}

fn is_mark(character: char) -> bool {
    matches!(character, '<' | '>' | '[' | ']' | '|')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_that_uses_every_private_character_is_refused() {
        let all: String = PRIVATE_PLANES.collect();
        assert!(StandIns::assign(["a", &all]).is_none());
        let all_but_some: String = PRIVATE_PLANES.skip(70_000).collect();
        assert!(StandIns::assign(["a", &all_but_some]).is_some());
    }

    proptest! {
        #[test]
        fn a_replaced_text_is_restored_and_shows_no_mark(text in "[\u{20}-\u{7e}\u{F0000}-\u{F0004}é\n]{0,40}") {
            let stand_ins = StandIns::assign([text.as_str()]).unwrap();
            for extent in [Extent::Visible, Extent::Marks] {
                let replaced = stand_ins.replace(&text, extent);
                prop_assert!(!replaced.chars().any(is_mark));
                prop_assert_eq!(replaced.chars().count(), text.chars().count());
                prop_assert_eq!(stand_ins.restore(&replaced), text.clone());
            }
        }
    }
}
