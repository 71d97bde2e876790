//! Every page in both languages against its golden text, which the manual shows; and what keys do on them.
//!
//! `UPDATE_GOLDEN=1` writes them anew; a person reads the difference.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test program")]

mod support;

use std::path::Path;

use jingui_ipc::control::{Fault, FaultKind};
use jingui_ipc::screen::{Done, FromSupervisor, Progress, Reply, Request, Stage};
use jingui_ipc::update::UpdateOffer;
use jingui_messages::Language;
use jingui_screen::app::{App, Happening, Order};
use jingui_screen::draw::draw;
use jingui_screen::keys::{Key, Reader};
use jingui_screen::text::width;
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

/// A box with a person at it.
struct Desk {
    app: App,
    asked: Vec<(u64, Request)>,
}

impl Desk {
    fn new(language: Language) -> Self {
        let mut desk = Self {
            app: App::new(language, language == Language::Chinese),
            asked: Vec::new(),
        };
        desk.take(Happening::Connected);
        desk
    }

    fn with(language: Language, picture: jingui_ipc::screen::Picture) -> Self {
        let mut desk = Self::new(language);
        desk.answer(Reply::Picture(Box::new(picture)));
        desk
    }

    fn take(&mut self, happening: Happening) {
        for order in self.app.take(happening) {
            if let Order::Ask(question) = order {
                self.asked.push((question.number, question.request));
            }
        }
    }

    /// Types keys: `<enter>`, `<esc>`, `<up>`, `<down>`, `<right>`, and signs.
    fn press(&mut self, keys: &str) -> &mut Self {
        let bytes = keys
            .replace("<enter>", "\r")
            .replace("<up>", "\x1b[A")
            .replace("<down>", "\x1b[B")
            .replace("<right>", "\x1b[C")
            .replace("<esc>", "\x1b\x1b[");
        let mut reader = Reader::default();
        for key in reader.push(bytes.as_bytes()) {
            self.take(Happening::Key(key));
        }
        self
    }

    /// Answers the last question.
    fn answer(&mut self, reply: Reply) -> &mut Self {
        let number = self.asked.last().unwrap().0;
        self.take(Happening::Told(Box::new(FromSupervisor { number, reply })));
        self
    }

    fn shown(&self, columns: u16, rows: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        terminal.draw(|frame| draw(&self.app, frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let mut text = String::new();
        for y in 0..rows {
            let mut line = String::new();
            let mut x = 0;
            while x < columns {
                let symbol = buffer[(x, y)].symbol();
                line.push_str(symbol);
                x += u16::try_from(width(symbol).max(1)).unwrap();
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn check(name: &str, language: Language, shown: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let path = folder.join(format!("{name}.{}.txt", language.tag()));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(&path, shown).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == shown,
        "{} is another page now; UPDATE_GOLDEN=1 writes it anew:\n{shown}",
        path.display()
    );
}

fn refusal(code: &str, facts: &[(&str, &str)]) -> Reply {
    Reply::Refused(Fault {
        kind: FaultKind::Refused,
        code: code.to_owned(),
        facts: facts
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    })
}

fn done(facts: &[(&str, &str)]) -> Reply {
    Reply::Done(Done {
        leaf_index: 42,
        facts: facts
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    })
}

fn offer() -> Reply {
    Reply::Update(Box::new(UpdateOffer {
        running: "1.0.0".to_owned(),
        version: "1.1.0".to_owned(),
        security_version: 3,
        roothash: "ab".repeat(32),
        signed_by: "cd".repeat(32),
        bytes: 190_000_000,
    }))
}

/// Name of a page, and how a person gets there.
type Page = (&'static str, fn(Language) -> Desk);

const PAGES: &[Page] = &[
    ("waiting", Desk::new),
    ("home", |language| Desk::with(language, support::fresh())),
    ("home-trouble", |language| {
        Desk::with(language, support::troubled())
    }),
    ("home-gone", |language| {
        let mut desk = Desk::with(language, support::fresh());
        desk.take(Happening::Gone);
        desk
    }),
    ("guarantees", |language| {
        let mut desk = Desk::with(language, support::troubled());
        desk.press("g");
        desk
    }),
    ("menu", |language| {
        let mut desk = Desk::with(language, support::troubled());
        desk.press("<enter><down>");
        desk
    }),
    ("network", |language| {
        let mut desk = Desk::with(language, support::troubled());
        desk.press("<enter>1").answer(Reply::Network(support::network()));
        desk
    }),
    ("network-form", |language| {
        let mut desk = Desk::with(language, support::troubled());
        desk.press("<enter>1").answer(Reply::Network(support::network()));
        desk.press("<enter><down>");
        desk
    }),
    ("network-form-wrong", |language| {
        let mut desk = Desk::with(language, support::troubled());
        desk.press("<enter>1").answer(Reply::Network(support::network()));
        desk.press("<down><enter><enter>10.0.3.15<enter><enter><enter><enter><enter>");
        desk
    }),
    ("network-preview", |language| {
        let mut desk = Desk::with(language, support::troubled());
        desk.press("<enter>1").answer(Reply::Network(support::network()));
        desk.press("b");
        desk
    }),
    ("network-done", |language| {
        let mut desk = Desk::with(language, support::troubled());
        desk.press("<enter>1").answer(Reply::Network(support::network()));
        desk.press("b<enter>network<enter>").answer(done(&[]));
        desk
    }),
    ("network-refused", |language| {
        let mut desk = Desk::with(language, support::troubled());
        desk.press("<enter>1").answer(Reply::Network(support::network()));
        let facts = [("gateway", "10.0.9.1"), ("address", "10.0.2.15/24")];
        desk.press("b<enter>network<enter>")
            .answer(refusal("network.gateway.outside", &facts));
        desk
    }),
    ("restart-preview", |language| {
        let mut desk = Desk::with(language, support::troubled());
        desk.press("<enter>2");
        desk
    }),
    ("restart-confirm", |language| {
        let mut desk = Desk::with(language, support::troubled());
        desk.press("<enter>2<enter>rest");
        desk
    }),
    ("restart-wrong-word", |language| {
        let mut desk = Desk::with(language, support::troubled());
        desk.press("<enter>2<enter>yes<enter>");
        desk
    }),
    ("restart-done", |language| {
        let mut desk = Desk::with(language, support::troubled());
        desk.press("<enter>2<enter>restart<enter>").answer(done(&[]));
        desk
    }),
    ("shutdown-preview", |language| {
        let mut desk = Desk::with(language, support::troubled());
        desk.press("<enter>3");
        desk
    }),
    ("update-looking", |language| {
        let mut desk = Desk::with(language, support::troubled());
        desk.press("<enter>4");
        desk
    }),
    ("update-none", |language| {
        let mut desk = Desk::with(language, support::troubled());
        desk.press("<enter>4").answer(refusal("usb.stick.none", &[]));
        desk
    }),
    ("update-preview", |language| {
        let mut desk = Desk::with(language, support::troubled());
        desk.press("<enter>4").answer(offer());
        desk
    }),
    ("update-running", |language| {
        let mut desk = Desk::with(language, support::troubled());
        desk.press("<enter>4").answer(offer());
        desk.press("<enter>1.1.0<enter>wei<enter>secret<enter>123456<enter>");
        desk.answer(Reply::Progress(Progress {
            stage: Stage::Writing,
            done_bytes: 95_000_000,
            total_bytes: 190_000_000,
        }));
        desk
    }),
    ("evidence-preview", |language| {
        let mut desk = Desk::with(language, support::troubled());
        desk.press("<enter>5");
        desk
    }),
    ("evidence-proof", |language| {
        let mut desk = Desk::with(language, support::troubled());
        desk.press("<enter>5<enter>evidence<enter>mei<enter>Correct-Horse-7");
        desk
    }),
    ("evidence-done", |language| {
        let mut desk = Desk::with(language, support::troubled());
        desk.press("<enter>5<enter>evidence<enter>mei<enter>x<enter>123456<enter>");
        let facts = [
            ("folder", "jingui-evidence/jg0123456789ab-43"),
            ("size", "43"),
            ("vkey", "jingui.example/jg0123456789ab/audit/1+5a4d2f10+AbCdEf"),
        ];
        desk.answer(done(&facts));
        desk
    }),
    ("reset-preview", |language| {
        let mut desk = Desk::with(language, support::troubled());
        desk.press("<enter>6");
        desk
    }),
    ("reset-done", |language| {
        let mut desk = Desk::with(language, support::fresh());
        desk.press("<enter>6<enter>jg0123456789ab<enter>")
            .answer(done(&[]));
        desk
    }),
    ("lost", |language| {
        let mut desk = Desk::with(language, support::troubled());
        desk.press("<enter>5<enter>evidence<enter>mei<enter>x<enter>123456<enter>");
        desk.take(Happening::Gone);
        desk
    }),
];

#[test]
fn every_page_is_the_golden_one_in_both_languages_and_fits_the_smallest_terminal() {
    for language in Language::ALL {
        for (name, page) in PAGES {
            let shown = page(language).shown(80, 24);
            check(name, language, &shown);
            let last = shown.lines().last().unwrap();
            assert!(!last.trim().is_empty(), "{name} shows no keys");
            assert!(shown.lines().all(|line| width(line) <= 80), "{name}");
        }
        let wide = Desk::with(language, support::fresh()).shown(128, 48);
        check("home-wide", language, &wide);
    }
}

#[test]
fn no_page_is_cut_off_at_the_smallest_size() {
    for language in Language::ALL {
        for (name, page) in PAGES {
            let words = |rows: u16| {
                let shown = page(language).shown(80, rows);
                let body: Vec<String> = shown
                    .lines()
                    .filter(|line| !line.trim().is_empty())
                    .map(ToOwned::to_owned)
                    .collect();
                body
            };
            assert_eq!(words(24), words(60), "{name} {}", language.tag());
        }
    }
}

#[test]
fn an_act_is_asked_for_only_after_its_word_was_typed_and_its_approver_proved_himself() {
    let acts = |desk: &Desk| {
        let is_act = |request: &Request| {
            !matches!(
                request,
                Request::Look | Request::LookAtNetwork | Request::LookAtUpdate
            )
        };
        desk.asked.iter().filter(|(_, request)| is_act(request)).count()
    };
    let mut desk = Desk::with(Language::English, support::troubled());
    desk.press("<enter>6<enter><enter>wrong<enter>yes<enter>jg0123456789a<enter>");
    assert_eq!(acts(&desk), 0, "the serial was never typed");
    desk.press("jg0123456789ab<enter>wei<enter><enter><enter>");
    assert_eq!(acts(&desk), 0, "nobody has proved himself");
    desk.press("secret<enter>123 456<enter>");
    match &desk.asked.last().unwrap().1 {
        Request::Reset { serial, proofs } => {
            assert_eq!(serial, "jg0123456789ab");
            let proof = &proofs[0];
            assert_eq!(
                (
                    proof.username.as_str(),
                    proof.password.0.as_str(),
                    proof.code.0.as_str()
                ),
                ("wei", "secret", "123456")
            );
        }
        other => panic!("{other:?}"),
    }
    desk.press("<enter><esc>x");
    assert_eq!(acts(&desk), 1, "an act under way is not asked for again");
}

#[test]
fn escape_leads_back_to_the_first_page_from_everywhere_but_an_act_under_way() {
    for (name, page) in PAGES.iter().filter(|(name, _)| *name != "update-running") {
        let mut desk = page(Language::English);
        for _ in 0..5 {
            desk.press("<esc>");
        }
        let shown = desk.shown(80, 24);
        assert!(
            shown.lines().next().unwrap().trim_end().ends_with("The box"),
            "{name}:\n{shown}"
        );
    }
}

#[test]
fn chinese_is_offered_only_where_the_terminal_shows_it() {
    let mut plain = Desk::with(Language::English, support::fresh());
    plain.press("l");
    assert!(plain.shown(80, 24).is_ascii());
    let mut able = Desk::with(Language::Chinese, support::fresh());
    assert!(able.shown(80, 24).contains("设备状态"));
    able.press("l");
    assert!(able.shown(80, 24).contains("The box"));
}

#[test]
fn what_the_socket_says_cannot_move_the_cursor() {
    let mut picture = support::fresh();
    picture.status.serial = "\u{1b}[2J\u{202e}x".to_owned();
    picture.status.version = "1\r\n2".to_owned();
    if let Some(model) = &mut picture.status.serving {
        model.name = "\u{9b}31m".repeat(500);
    }
    picture.firewall = Some(vec![("\u{7}".to_owned(), 1)]);
    picture.status.reasons = vec!["\u{1b}]0;x\u{7}".to_owned()];
    let shown = Desk::with(Language::English, picture).shown(80, 24);
    let is_plain = |sign: char| sign == '\n' || (!sign.is_control() && sign != '\u{202e}');
    assert!(shown.chars().all(is_plain), "{shown}");
}

#[test]
fn every_phrase_of_the_sources_has_words() {
    let mut sources = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut keys = Vec::new();
    while let Some(path) = sources.pop() {
        if path.is_dir() {
            sources.extend(
                std::fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        for quoted in text.split('"').skip(1).step_by(2) {
            if quoted.starts_with("screen.") && quoted.matches('.').count() == 2 {
                keys.push(quoted.to_owned());
            }
        }
    }
    for entry in jingui_screen::app::MENU {
        let ends = ["title", "hint", "effect", "way-back", "running", "done"];
        keys.extend(ends.map(|end| format!("{}.{end}", entry.key())));
    }
    assert!(keys.len() > 60);
    for key in keys {
        for language in Language::ALL {
            assert!(
                jingui_messages::phrase::<&str, &str>(&key, language, &[]).is_some(),
                "{key}"
            );
        }
    }
}

fn keys() -> impl Strategy<Value = Vec<Key>> {
    let key = prop_oneof![
        Just(Key::Up),
        Just(Key::Down),
        Just(Key::Left),
        Just(Key::Right),
        Just(Key::Enter),
        Just(Key::Escape),
        Just(Key::Back),
        Just(Key::Tab),
        "[ -~]".prop_map(|text| Key::Sign(text.chars().next().unwrap())),
        "[1-6bglm]".prop_map(|text| Key::Sign(text.chars().next().unwrap())),
    ];
    proptest::collection::vec(key, 0..60)
}

proptest! {
    /// Keys in any order, with answers in between, on any terminal: something is drawn, nothing panics, and whatever act
    /// was asked for had its word typed.
    #[test]
    fn no_order_of_keys_and_answers_breaks_the_page(
        keys in keys(), columns in 1_u16..200, rows in 1_u16..60, answers in any::<u64>(),
    ) {
        let mut desk = Desk::with(Language::English, support::fresh());
        for (index, key) in keys.into_iter().enumerate() {
            desk.take(Happening::Key(key));
            let reply = match (answers >> (index % 60)) & 7 {
                0 => Some(Reply::Network(support::network())),
                1 => Some(refusal("usb.stick.none", &[])),
                2 => Some(offer()),
                3 => Some(done(&[("folder", "x")])),
                4 => Some(Reply::Progress(Progress { stage: Stage::Copying, done_bytes: u64::MAX, total_bytes: 1 })),
                _ => None,
            };
            if let Some(reply) = reply {
                desk.answer(reply);
            }
            prop_assert!(!desk.shown(columns, rows).is_empty());
        }
        for (_, request) in &desk.asked {
            prop_assert!(!matches!(request, Request::Restart | Request::ShutDown), "a word came out of chance");
        }
    }
}
