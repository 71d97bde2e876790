//! The recovery menu, for whoever stands at the box.

use super::sheet::{PLAIN, Sheet, WAITING};
use crate::app::{App, MENU};

pub(super) fn sheet(app: &App, chosen: usize, columns: usize) -> Sheet {
    let words = app.words;
    let mut sheet = Sheet::new(columns);
    sheet.text(&words.of("screen.menu.intro"), PLAIN);
    sheet.blank();
    for (index, entry) in MENU.iter().enumerate() {
        let title = words.of(&format!("{}.title", entry.key()));
        sheet.row(&format!(" {}  {title}", index + 1), index == chosen);
    }
    sheet.blank();
    if let Some(entry) = MENU.get(chosen) {
        sheet.text(&words.of(&format!("{}.hint", entry.key())), PLAIN);
    }
    if !app.is_connected {
        sheet.blank();
        sheet.text(&words.of("screen.home.gone"), WAITING);
    }
    sheet
}
