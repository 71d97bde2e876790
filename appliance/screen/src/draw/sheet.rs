//! Lines of a page, wrapped to its width.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use crate::text::{clean, width, wrap};

/// Columns of the labels on the left.
const LABEL_COLUMNS: usize = 15;

/// Bold.
pub(super) const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
/// As it comes.
pub(super) const PLAIN: Style = Style::new();
/// Chosen.
pub(super) const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);
/// Something is well.
pub(super) const GOOD: Style = STRONG.fg(Color::Green);
/// Something is on its way.
pub(super) const WAITING: Style = STRONG.fg(Color::Yellow);
/// Something is wrong, or cannot be taken back.
pub(super) const BAD: Style = STRONG.fg(Color::Red);

/// The lines so far.
#[derive(Debug)]
pub(super) struct Sheet {
    columns: usize,
    lines: Vec<Line<'static>>,
}

impl Sheet {
    pub(super) const fn new(columns: usize) -> Self {
        Self {
            columns,
            lines: Vec::new(),
        }
    }

    pub(super) fn into_lines(self) -> Vec<Line<'static>> {
        self.lines
    }

    /// From that line on, as far as the last page allows.
    pub(super) fn scrolled_to(mut self, first: usize, rows: usize) -> Self {
        let first = first.min(self.lines.len().saturating_sub(rows));
        self.lines.drain(..first);
        self
    }

    pub(super) fn blank(&mut self) {
        self.lines.push(Line::default());
    }

    /// A paragraph.
    pub(super) fn text(&mut self, text: &str, style: Style) {
        for line in text.lines().flat_map(|line| wrap(&clean(line), self.columns)) {
            self.lines.push(Line::styled(line, style));
        }
    }

    /// A paragraph that begins with a sign and is set in behind it.
    pub(super) fn item(&mut self, sign: &str, text: &str, style: Style) {
        let indent = width(sign) + 1;
        for (index, line) in wrap(&clean(text), self.columns.saturating_sub(indent))
            .into_iter()
            .enumerate()
        {
            let head = if index == 0 {
                format!("{sign} ")
            } else {
                " ".repeat(indent)
            };
            self.lines
                .push(Line::from(vec![Span::raw(head), Span::styled(line, style)]));
        }
    }

    /// A label, and what it stands for beside it.
    pub(super) fn labelled(&mut self, label: &str, text: &str, style: Style) {
        let columns = self.columns.saturating_sub(LABEL_COLUMNS);
        for (index, line) in wrap(&clean(text), columns).into_iter().enumerate() {
            let label = if index == 0 { label } else { "" };
            self.lines.push(Line::from(vec![
                Span::raw(padded(label, LABEL_COLUMNS)),
                Span::styled(line, style),
            ]));
        }
    }

    /// A line of which a part is marked over its whole length.
    pub(super) fn row(&mut self, text: &str, is_chosen: bool) {
        let text = padded(&clean(text), self.columns);
        self.lines
            .push(Line::styled(text, if is_chosen { CHOSEN } else { PLAIN }));
    }

    /// A label and a line to type into.
    pub(super) fn field(&mut self, label: &str, shown: &str, is_focused: bool) {
        let columns = self.columns.saturating_sub(LABEL_COLUMNS * 2 + 1);
        // What was typed last is what a person wants to see.
        let signs: Vec<char> = shown.chars().collect();
        let from = signs.len().saturating_sub(columns.saturating_sub(1));
        let tail: String = signs.iter().skip(from).collect();
        let cursor = if is_focused { "_" } else { "" };
        let style = if is_focused { CHOSEN } else { PLAIN };
        self.lines.push(Line::from(vec![
            Span::raw(padded(label, LABEL_COLUMNS * 2)),
            Span::styled(padded(&format!("{}{cursor}", clean(&tail)), columns), style),
        ]));
    }

    /// A bar that is full to that share in thousandths.
    pub(super) fn bar(&mut self, permille: usize) {
        let columns = self.columns.saturating_sub(8);
        let full = columns * permille.min(1000) / 1000;
        let text = format!(
            "{}{} {:>3} %",
            "#".repeat(full),
            "-".repeat(columns.saturating_sub(full)),
            permille / 10
        );
        self.lines.push(Line::raw(text));
    }
}

fn padded(text: &str, columns: usize) -> String {
    let space = columns.saturating_sub(width(text));
    format!("{text}{}", " ".repeat(space))
}
