//! The first page: is the box well, where is it, is it the one it says it is; and what it does not promise.

use jingui_ipc::screen::Picture;
use jingui_ipc::status::{Health, Status};
use ratatui::style::Style;

use super::sheet::{BAD, GOOD, PLAIN, STRONG, Sheet, WAITING};
use crate::app::App;
use crate::text::grouped;
use crate::words::Words;

/// Reasons that are shown on the first page, the worst first.
const REASONS_MAX: usize = 3;
/// Addresses that are shown on the first page.
const ADDRESSES_MAX: usize = 4;
/// The fact that names the running image.
const IMAGE_VERSION: &str = "image-version";
/// Groups of the fingerprint on a line.
const GROUPS_PER_LINE: usize = 8;

pub(super) fn sheet(app: &App, columns: usize) -> Sheet {
    let words = app.words;
    let mut sheet = Sheet::new(columns);
    let Some(picture) = &app.picture else {
        sheet.text(&words.of("screen.home.waiting"), WAITING);
        return sheet;
    };
    if !app.is_connected {
        sheet.text(&words.of("screen.home.gone"), BAD);
        sheet.blank();
    }
    health(&mut sheet, words, &picture.status);
    sheet.blank();
    addresses(&mut sheet, words, picture);
    sheet.blank();
    identity(&mut sheet, words, picture);
    sheet.blank();
    facts(&mut sheet, words, picture);
    sheet
}

fn health(sheet: &mut Sheet, words: Words, status: &Status) {
    let (word, style) = word(status.health);
    sheet.labelled(&words.of("screen.home.health"), &words.of(word), style);
    for code in status.reasons.iter().take(REASONS_MAX) {
        let detail = status.details.iter().find(|detail| detail.code == *code);
        let facts = detail.map_or([].as_slice(), |detail| detail.facts.as_slice());
        let explanation = words.explain(code, facts);
        sheet.labelled("", &explanation.what, PLAIN);
    }
}

const fn word(health: Health) -> (&'static str, Style) {
    match health {
        Health::Ok => ("screen.health.ok", GOOD),
        Health::Starting => ("screen.health.starting", WAITING),
        Health::Degraded => ("screen.health.degraded", BAD),
        Health::Stopped => ("screen.health.stopped", BAD),
    }
}

fn addresses(sheet: &mut Sheet, words: Words, picture: &Picture) {
    let mut label = words.of("screen.home.address");
    for address in picture.addresses.iter().take(ADDRESSES_MAX) {
        let shown = std::net::SocketAddr::new(*address, picture.port);
        sheet.labelled(&label, &format!("https://{shown}"), STRONG);
        label.clear();
    }
    if picture.addresses.is_empty() {
        sheet.labelled(&label, &words.of("screen.home.no-address"), WAITING);
    }
    if let Some(code) = &picture.setup_code {
        sheet.blank();
        sheet.labelled(&words.of("screen.home.setup-code"), &code.0, STRONG);
        sheet.labelled("", &words.of("screen.home.setup-hint"), PLAIN);
    }
}

fn identity(sheet: &mut Sheet, words: Words, picture: &Picture) {
    let groups = grouped(&picture.ca_fingerprint);
    let mut label = words.of("screen.home.fingerprint");
    for line in groups.chunks(GROUPS_PER_LINE) {
        sheet.labelled(&label, &line.join(" "), PLAIN);
        label.clear();
    }
    sheet.labelled(&words.of("screen.home.serial"), &picture.status.serial, PLAIN);
}

fn facts(sheet: &mut Sheet, words: Words, picture: &Picture) {
    let status = &picture.status;
    sheet.labelled(&words.of("screen.home.version"), &version(words, status), PLAIN);
    let model = match &status.serving {
        Some(model) => format!("{} {}", model.name, model.version),
        None => words.of("screen.home.no-model"),
    };
    sheet.labelled(&words.of("screen.home.model"), &model, PLAIN);
    let missing = missing(status).count();
    let (text, style) = if missing == 0 {
        (words.of("screen.home.all-guarantees"), PLAIN)
    } else {
        let (count, all) = (missing.to_string(), status.guarantees.len().to_string());
        let facts = [("count", count.as_str()), ("all", &all)];
        (words.with("screen.home.missing-guarantees", &facts), WAITING)
    };
    sheet.labelled(&words.of("screen.home.guarantees"), &text, style);
    if let Some(counters) = &picture.firewall {
        firewall(sheet, words, counters);
    }
}

fn firewall(sheet: &mut Sheet, words: Words, counters: &[(String, u64)]) {
    let packets = |name: &str| {
        counters
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, packets)| *packets)
    };
    let shown = |name| packets(name).map_or_else(|| "?".to_owned(), |packets| packets.to_string());
    let [began, knocked, out, tried] = ["service_in", "refused_in", "replies_out", "refused_out"].map(shown);
    let facts = [
        ("in", began.as_str()),
        ("knocked", &knocked),
        ("out", &out),
        ("tried", &tried),
    ];
    // Nothing of ours ever begins to speak: a packet that did is worth a question.
    let style = if packets("refused_out") == Some(0) {
        PLAIN
    } else {
        WAITING
    };
    let text = words.with("screen.home.firewall-counts", &facts);
    sheet.labelled(&words.of("screen.home.firewall"), &text, style);
}

/// Of the product, and of the image under it.
fn version(words: Words, status: &Status) -> String {
    if status.is_developer_mode {
        return words.with("screen.home.developer", &[("version", &status.version)]);
    }
    let image = status.platform.iter().find(|fact| fact.name == IMAGE_VERSION);
    match image.and_then(|fact| fact.measured.as_ref()) {
        Some(image) => {
            let facts = [("version", status.version.as_str()), ("image", image)];
            words.with("screen.home.image", &facts)
        }
        None => status.version.clone(),
    }
}

fn missing(status: &Status) -> impl Iterator<Item = &jingui_ipc::status::Guarantee> {
    status.guarantees.iter().filter(|one| !one.in_force)
}

/// What is promised and does not hold now, each with its reason.
pub(super) fn guarantees(app: &App, columns: usize) -> Sheet {
    let words = app.words;
    let mut sheet = Sheet::new(columns);
    let Some(picture) = &app.picture else {
        sheet.text(&words.of("screen.home.waiting"), WAITING);
        return sheet;
    };
    let mut is_whole = true;
    for guarantee in missing(&picture.status) {
        is_whole = false;
        sheet.item("-", &words.explain(&guarantee.name, &[]).what, PLAIN);
        if let Some(why) = &guarantee.why {
            sheet.item(" ", &words.explain(why, &[]).what, WAITING);
        }
    }
    if is_whole {
        sheet.text(&words.of("screen.home.all-guarantees"), GOOD);
    }
    sheet
}
