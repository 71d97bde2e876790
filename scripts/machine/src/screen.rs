//! What a terminal on the serial line shows: just enough of ECMA-48 for programs that draw whole pages.

/// Larger than any page that is drawn; what lies beyond is left out.
const ROWS: usize = 100;
const COLUMNS: usize = 250;

/// The cells of a terminal.
#[derive(Debug, Clone)]
pub(crate) struct Screen {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
}

impl Screen {
    /// What a terminal shows after all of this came.
    pub(crate) fn after(text: &str) -> Vec<String> {
        let mut screen = Self {
            rows: vec![vec![' '; COLUMNS]; ROWS],
            row: 0,
            column: 0,
        };
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                '\u{1b}' => screen.escape(&mut characters),
                '\r' => screen.column = 0,
                '\n' => screen.line_feed(),
                '\u{8}' => screen.column = screen.column.saturating_sub(1),
                it if it.is_control() => {}
                it => screen.put(it),
            }
        }
        let lines = screen
            .rows
            .iter()
            .map(|row| row.iter().filter(|it| **it != WIDE).collect::<String>());
        lines.map(|it| it.trim_end().to_owned()).collect()
    }

    fn put(&mut self, character: char) {
        self.set(character);
        self.column += 1;
        if is_wide(character) {
            self.set(WIDE);
            self.column += 1;
        }
    }

    fn set(&mut self, character: char) {
        if let Some(cell) = self.rows.get_mut(self.row).and_then(|it| it.get_mut(self.column)) {
            *cell = character;
        }
    }

    fn line_feed(&mut self) {
        if self.row + 1 < ROWS {
            self.row += 1;
        } else {
            self.rows.rotate_left(1);
            self.clear_row(ROWS - 1, 0, COLUMNS);
        }
    }

    fn clear_row(&mut self, row: usize, from: usize, to: usize) {
        if let Some(cells) = self.rows.get_mut(row).and_then(|it| it.get_mut(from..to)) {
            cells.fill(' ');
        }
    }

    fn escape(&mut self, characters: &mut std::str::Chars<'_>) {
        if characters.clone().next() != Some('[') {
            // Two characters in all: nothing that pages use moves the cursor so.
            if characters.next().is_some_and(|it| "()#%".contains(it)) {
                characters.next();
            }
            return;
        }
        characters.next();
        let mut parameters = String::new();
        for character in characters.by_ref() {
            if ('@'..='~').contains(&character) {
                self.control(character, &parameters);
                return;
            }
            parameters.push(character);
        }
    }

    fn control(&mut self, action: char, parameters: &str) {
        let number = |index: usize, default: usize| {
            let text = parameters.split(';').nth(index).unwrap_or_default();
            text.parse().unwrap_or(default)
        };
        match action {
            'H' | 'f' => {
                self.row = number(0, 1).saturating_sub(1);
                self.column = number(1, 1).saturating_sub(1);
            }
            'A' => self.row = self.row.saturating_sub(number(0, 1)),
            'B' => self.row += number(0, 1),
            'C' => self.column += number(0, 1),
            'D' => self.column = self.column.saturating_sub(number(0, 1)),
            'G' => self.column = number(0, 1).saturating_sub(1),
            'd' => self.row = number(0, 1).saturating_sub(1),
            'J' => {
                let (from, to) = if number(0, 0) == 0 {
                    (self.row + 1, ROWS)
                } else {
                    (0, ROWS)
                };
                for row in from..to {
                    self.clear_row(row, 0, COLUMNS);
                }
                self.clear_row(self.row, if from == 0 { 0 } else { self.column }, COLUMNS);
            }
            'K' => match number(0, 0) {
                0 => self.clear_row(self.row, self.column, COLUMNS),
                1 => self.clear_row(self.row, 0, self.column),
                _ => self.clear_row(self.row, 0, COLUMNS),
            },
            _ => {}
        }
    }
}

/// Second cell of a wide character.
const WIDE: char = '\u{0}';

/// East Asian wide characters, as far as our own pages use them.
fn is_wide(character: char) -> bool {
    matches!(character, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe4f}' | '\u{ff00}'..='\u{ff60}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_was_drawn_last() {
        let lines = Screen::after(
            "old\r\nlines\x1b[2J\x1b[1;1H\x1b[1mone\x1b[0m two\x1b[3;2H三x\x1b[1;5HTWO\x1b[2;1Hz\x1b[K",
        );
        assert_eq!(&lines[..3], ["one TWO", "z", " 三x"]);
    }
}
