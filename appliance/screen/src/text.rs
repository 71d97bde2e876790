//! Text that is shown: stripped of what could move the cursor or lie about its order, wrapped by columns.

use ratatui::text::Span;

/// Longest text that is shown of one value, in characters.
pub const SIGNS_MAX: usize = 512;

/// Text from outside as it may be shown: control characters, and characters that turn the direction of text or have no
/// width, become `?`; what is too long ends in `...`.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SIGNS_MAX)
        .map(|sign| if is_plain(sign) { sign } else { '?' })
        .collect();
    if text.chars().nth(SIGNS_MAX).is_some() {
        shown.push_str("...");
    }
    shown
}

/// Whether a character stands where it is written and nowhere else.
#[must_use]
pub fn is_plain(sign: char) -> bool {
    let turns = matches!(sign, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}');
    !sign.is_control() && !turns && width_of_sign(sign) > 0
}

/// Columns that a text takes.
#[must_use]
pub fn width(text: &str) -> usize {
    Span::raw(text).width()
}

fn width_of_sign(sign: char) -> usize {
    width(sign.encode_utf8(&mut [0; 4]))
}

/// Lines of at most that many columns: broken between words, and between any two Chinese characters.
#[must_use]
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in words(text) {
        if !line.is_empty() && width(&line) + width(word.trim_end()) > columns {
            lines.push(line.trim_end().to_owned());
            line = String::new();
        }
        for sign in word.chars() {
            if width(&line) + width_of_sign(sign) > columns && sign != ' ' {
                lines.push(std::mem::take(&mut line));
            }
            line.push(sign);
        }
    }
    if !line.trim().is_empty() || lines.is_empty() {
        lines.push(line.trim_end().to_owned());
    }
    lines
}

/// Pieces that stay together, each with the blanks behind it. A Chinese full stop never begins a line.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut is_open = false;
    for sign in text.chars() {
        let is_wide = width_of_sign(sign) == 2;
        let is_closing = matches!(sign, '。' | '，' | '；' | '：' | '、' | '）' | '”' | '！' | '？');
        let joins = (is_open && !is_wide) || is_closing || sign == ' ';
        match words.last_mut() {
            Some(word) if joins => word.push(sign),
            _ => words.push(sign.to_string()),
        }
        is_open = sign != ' ' && !is_wide;
    }
    words
}

/// A fingerprint as two people compare it aloud: upper-case groups of four.
#[must_use]
pub fn grouped(bytes: &[u8]) -> Vec<String> {
    bytes
        .chunks(2)
        .map(|pair| pair.iter().map(|byte| format!("{byte:02X}")).collect())
        .collect()
}

/// Bytes in the unit that people use, with one decimal.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut tenths = u128::from(bytes) * 10;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while tenths >= 10_240 {
        let Some(next) = units.next() else { break };
        unit = Some(next);
        tenths /= 1024;
    }
    let unit = unit.copied().unwrap_or_default();
    match (unit, tenths % 10) {
        ("B", _) => format!("{bytes} B"),
        (unit, rest) => format!("{}.{rest} {unit}", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_that_is_shown_moves_the_cursor_or_turns_the_text() {
        assert_eq!(clean("a\x1b[2Jb\r\nc\u{9b}31m\u{7f}"), "a?[2Jb??c?31m?");
        assert_eq!(clean("\u{202e}gnp.exe\u{200b}\u{feff}\u{301}"), "?gnp.exe???");
        assert_eq!(clean("金匮 ok"), "金匮 ok");
        assert_eq!(clean(&"x".repeat(SIGNS_MAX)).len(), SIGNS_MAX);
        assert!(clean(&"x".repeat(SIGNS_MAX + 1)).ends_with("x..."));
    }

    #[test]
    fn lines_break_where_readers_expect_it() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("设备正在启动。", 8), ["设备正在", "启动。"]);
        assert_eq!(wrap("设备正在启。动", 10), ["设备正在", "启。动"]);
        assert_eq!(wrap("", 8), [""]);
    }

    #[test]
    fn sizes_have_a_unit_that_fits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_572_864, "1.5 MiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn a_fingerprint_is_grouped_by_four() {
        assert_eq!(grouped(&[0x7f, 0x3a, 0x00, 0xbc]), ["7F3A", "00BC"]);
    }

    proptest! {
        #[test]
        fn any_text_becomes_lines_that_fit(text in "\\PC{0,80}|[ -~]{0,80}", columns in 2_usize..40) {
            for line in wrap(&clean(&text), columns) {
                prop_assert!(width(&line) <= columns, "{:?}", line);
                prop_assert!(line.chars().all(is_plain));
            }
        }
    }
}
