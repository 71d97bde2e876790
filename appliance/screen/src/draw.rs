//! The pages as text: a title, what is to be seen, and the keys that do something, always on the last line.

mod flow;
mod home;
mod menu;
mod network;
mod sheet;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use crate::app::{App, Page};
use crate::text::width;

use sheet::Sheet;

/// Columns left free on both sides.
const MARGIN: u16 = 2;

/// Draws the page.
pub fn draw(app: &App, frame: &mut Frame<'_>) {
    let [title, body, help] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)])
            .areas(frame.area());
    let inside = Rect {
        x: body.x + MARGIN.min(body.width),
        y: body.y + 1.min(body.height),
        width: body.width.saturating_sub(2 * MARGIN),
        height: body.height.saturating_sub(1),
    };
    let page = page(app, usize::from(inside.width), usize::from(inside.height));
    bar(frame, title, &app.words.of("screen.title"), &page.title);
    frame.render_widget(Paragraph::new(page.sheet.into_lines()), inside);
    bar(frame, help, &page.help, "");
}

/// A page before it has a place.
struct Drawn {
    title: String,
    sheet: Sheet,
    help: String,
}

fn page(app: &App, columns: usize, rows: usize) -> Drawn {
    let words = app.words;
    match &app.page {
        Page::Home => Drawn {
            title: words.of("screen.home.title"),
            sheet: home::sheet(app, columns),
            help: words.of(match (app.can_show_chinese, app.is_connected) {
                (true, _) => "screen.home.help-languages",
                (false, _) => "screen.home.help",
            }),
        },
        Page::Guarantees(first) => Drawn {
            title: words.of("screen.guarantees.title"),
            sheet: home::guarantees(app, columns).scrolled_to(*first, rows),
            help: words.of("screen.guarantees.help"),
        },
        Page::Menu(chosen) => Drawn {
            title: words.of("screen.menu.title"),
            sheet: menu::sheet(app, *chosen, columns),
            help: words.of("screen.menu.help"),
        },
        Page::Network(network) => Drawn {
            title: words.of("screen.network.title"),
            sheet: network::sheet(words, network, columns),
            help: words.of(network::help(network)),
        },
        Page::Form(form) => Drawn {
            title: words.of("screen.network.title"),
            sheet: network::form(words, form, columns),
            help: words.of("screen.form.help"),
        },
        Page::Flow(flow) => Drawn {
            title: words.of(&format!("{}.title", flow.act.entry().key())),
            sheet: flow::sheet(app, flow, columns),
            help: words.of(flow::help(flow)),
        },
    }
}

/// A line in reverse: something on the left, something on the right.
fn bar(frame: &mut Frame<'_>, area: Rect, left: &str, right: &str) {
    let columns = usize::from(area.width);
    let space = columns.saturating_sub(width(left) + width(right) + 2);
    let text = format!(" {left}{}{right} ", " ".repeat(space));
    let style = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Paragraph::new(Line::styled(text, style)), area);
}
