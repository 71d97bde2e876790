//! Interfaces, and the settings of one.

use jingui_ipc::network::{NetworkSettings, NetworkView};

use super::sheet::{BAD, PLAIN, STRONG, Sheet, WAITING};
use crate::app::NetworkPage;
use crate::form::{Choice, Line, NetworkForm};
use crate::words::Words;

pub(super) fn sheet(words: Words, page: &NetworkPage, columns: usize) -> Sheet {
    let mut sheet = Sheet::new(columns);
    if let Some(fault) = &page.fault {
        sheet.text(&words.fault(fault).what, BAD);
        return sheet;
    }
    let Some(view) = &page.view else {
        sheet.text(&words.of("screen.network.looking"), WAITING);
        return sheet;
    };
    if view.interfaces.is_empty() {
        sheet.text(&words.of("screen.network.no-interface"), WAITING);
    }
    for (index, interface) in view.interfaces.iter().enumerate() {
        let cable = words.of(if interface.has_carrier {
            "screen.network.cable"
        } else {
            "screen.network.no-cable"
        });
        let mac = interface.mac.map(|mac| mac.to_string()).unwrap_or_default();
        let name = format!(" {:<16}{mac:<20}{cable}", interface.name);
        sheet.row(&name, index == page.chosen);
        for address in &interface.addresses {
            sheet.text(&format!("   {address}"), PLAIN);
        }
    }
    settings_of(&mut sheet, words, view);
    sheet
}

fn settings_of(sheet: &mut Sheet, words: Words, view: &NetworkView) {
    sheet.blank();
    sheet.text(&words.of("screen.network.current"), STRONG);
    settings(sheet, words, view.current.as_ref());
    if view.previous.is_some() {
        sheet.blank();
        sheet.text(&words.of("screen.network.previous"), STRONG);
        settings(sheet, words, view.previous.as_ref());
    }
}

/// Settings, a line for each interface.
pub(super) fn settings(sheet: &mut Sheet, words: Words, settings: Option<&NetworkSettings>) {
    let interfaces = settings.map_or([].as_slice(), |settings| settings.interfaces.as_slice());
    for interface in interfaces {
        sheet.item(" ", &interface.to_string(), PLAIN);
    }
    if interfaces.is_empty() {
        sheet.item(" ", &words.of("screen.network.nothing"), PLAIN);
    }
}

pub(super) fn help(page: &NetworkPage) -> &'static str {
    match &page.view {
        Some(view) if view.previous.is_some() => "screen.network.help-back",
        Some(_) => "screen.network.help",
        None => "screen.flow.help-leave",
    }
}

pub(super) fn form(words: Words, form: &NetworkForm, columns: usize) -> Sheet {
    let mut sheet = Sheet::new(columns);
    sheet.text(
        &words.with("screen.form.interface", &[("name", &form.interface.name)]),
        STRONG,
    );
    sheet.blank();
    let choice = words.of(match form.choice {
        Choice::Static => "screen.form.static",
        Choice::Dhcp => "screen.form.dhcp",
        Choice::Off => "screen.form.off",
    });
    let focused = form.line();
    let label = words.of("screen.form.method");
    sheet.field(&label, &format!("< {choice} >"), focused == Line::Choice);
    if form.choice == Choice::Static {
        for (line, key) in [
            (Line::Address, "screen.form.address"),
            (Line::Gateway, "screen.form.gateway"),
            (Line::Address6, "screen.form.address6"),
            (Line::Gateway6, "screen.form.gateway6"),
        ] {
            let shown = form.field(line).map(crate::field::Field::shown);
            sheet.field(&words.of(key), &shown.unwrap_or_default(), focused == line);
        }
    }
    sheet.blank();
    sheet.row(
        &format!(" {}", words.of("screen.form.continue")),
        focused == Line::Continue,
    );
    sheet.blank();
    match form.wrong {
        Some(Line::Gateway | Line::Gateway6) => sheet.text(&words.of("screen.form.wrong-gateway"), BAD),
        Some(_) => sheet.text(&words.of("screen.form.wrong-address"), BAD),
        None => sheet.text(&words.of("screen.form.hint"), PLAIN),
    }
    sheet
}
