//! What is on the screen and what a key does: a state machine that draws nothing and asks nobody itself.
//!
//! [`App::take`] gets what happened and gives what has to be asked; `draw` shows the state. So every page can be tested
//! without a terminal, a socket or a clock.

use jingui_ipc::control::Fault;
use jingui_ipc::network::NetworkView;
use jingui_ipc::screen::{FromSupervisor, Picture, Reply, Request, ToSupervisor};
use jingui_messages::Language;

use crate::flow::{Act, Flow};
use crate::form::NetworkForm;
use crate::keys::Key;
use crate::words::Words;

/// Ticks between two looks at the box.
const TICKS_PER_LOOK: u32 = 8;
/// Ticks after which an unanswered look is asked again.
const TICKS_OF_PATIENCE: u32 = 40;
/// Entries of the menu, in order.
pub const MENU: [Entry; 6] = [
    Entry::Network,
    Entry::Restart,
    Entry::ShutDown,
    Entry::Update,
    Entry::Evidence,
    Entry::Reset,
];

/// What happened.
#[derive(Debug)]
pub enum Happening {
    /// A key.
    Key(Key),
    /// The supervisor is there.
    Connected,
    /// The supervisor is gone.
    Gone,
    /// The supervisor said something.
    Told(Box<FromSupervisor>),
    /// A quarter of a second passed.
    Tick,
}

/// What has to be done.
#[derive(Debug)]
pub enum Order {
    /// Ask the supervisor.
    Ask(ToSupervisor),
    /// Draw everything again: somebody wrote over the page.
    Redraw,
}

/// The whole state.
#[derive(Debug)]
pub struct App {
    /// Language of the moment.
    pub words: Words,
    /// Whether this terminal can show Chinese at all.
    pub can_show_chinese: bool,
    /// The last picture of the box; `None` before the first.
    pub picture: Option<Box<Picture>>,
    /// Whether the supervisor is there.
    pub is_connected: bool,
    /// The page.
    pub page: Page,
    next_number: u64,
    look: Option<u64>,
    ticks: u32,
}

/// A page.
#[derive(Debug)]
pub enum Page {
    /// The state of the box.
    Home,
    /// Guarantees, from that line on.
    Guarantees(usize),
    /// The recovery menu with the chosen entry.
    Menu(usize),
    /// Interfaces, once they are known.
    Network(NetworkPage),
    /// An interface's settings.
    Form(Box<NetworkForm>),
    /// An act under way.
    Flow(Box<Flow>),
}

/// The list of interfaces.
#[derive(Debug)]
pub struct NetworkPage {
    /// Number of the question for them; `None` when it was answered.
    pub asked: Option<u64>,
    /// What the supervisor said.
    pub view: Option<NetworkView>,
    /// Why it said nothing.
    pub fault: Option<Fault>,
    /// The chosen interface.
    pub chosen: usize,
}

/// An entry of the menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Addresses of the box.
    Network,
    /// Start again.
    Restart,
    /// Switch off.
    ShutDown,
    /// A newer image.
    Update,
    /// The log onto a stick.
    Evidence,
    /// The factory's state.
    Reset,
}

impl Entry {
    /// Key of its words in the catalogue, without its end.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Network => "screen.network",
            Self::Restart => "screen.restart",
            Self::ShutDown => "screen.shutdown",
            Self::Update => "screen.update",
            Self::Evidence => "screen.evidence",
            Self::Reset => "screen.reset",
        }
    }
}

impl App {
    /// The first page, before anything is known.
    #[must_use]
    pub fn new(language: Language, can_show_chinese: bool) -> Self {
        Self {
            words: Words(language),
            can_show_chinese,
            picture: None,
            is_connected: false,
            page: Page::Home,
            next_number: 1,
            look: None,
            ticks: 0,
        }
    }

    /// Takes what happened; gives what has to be done.
    pub fn take(&mut self, happening: Happening) -> Vec<Order> {
        match happening {
            Happening::Key(Key::Redraw) => vec![Order::Redraw],
            Happening::Key(key) => self.on_key(key),
            Happening::Connected => {
                self.is_connected = true;
                self.look().into_iter().collect()
            }
            Happening::Gone => {
                self.on_gone();
                Vec::new()
            }
            Happening::Told(told) => self.on_told(*told),
            Happening::Tick => self.on_tick(),
        }
    }

    /// Whether proofs are asked for at all.
    #[must_use]
    pub fn is_set_up(&self) -> bool {
        self.picture
            .as_ref()
            .is_none_or(|picture| picture.status.is_set_up)
    }

    /// The serial, which a person types to confirm a reset.
    #[must_use]
    pub fn serial(&self) -> String {
        let picture = self.picture.as_ref();
        picture.map_or_else(String::new, |picture| picture.status.serial.clone())
    }

    fn ask(&mut self, request: Request) -> (u64, Order) {
        let number = self.next_number;
        self.next_number += 1;
        (number, Order::Ask(ToSupervisor { number, request }))
    }

    fn look(&mut self) -> Option<Order> {
        if !self.is_connected {
            return None;
        }
        self.ticks = 0;
        let (number, order) = self.ask(Request::Look);
        self.look = Some(number);
        Some(order)
    }

    fn on_tick(&mut self) -> Vec<Order> {
        self.ticks = self.ticks.saturating_add(1);
        let patience = if self.look.is_some() {
            TICKS_OF_PATIENCE
        } else {
            TICKS_PER_LOOK
        };
        let mut orders = Vec::new();
        if self.ticks >= patience {
            orders.extend(self.look());
        }
        orders
    }

    fn on_gone(&mut self) {
        self.is_connected = false;
        self.look = None;
        match &mut self.page {
            Page::Flow(flow) => flow.on_gone(),
            Page::Network(page) if page.asked.is_some() => self.page = Page::Home,
            _ => {}
        }
    }

    fn on_told(&mut self, told: FromSupervisor) -> Vec<Order> {
        let FromSupervisor { number, reply } = told;
        if self.look == Some(number) {
            self.look = None;
            if let Reply::Picture(picture) = reply {
                self.picture = Some(picture);
            }
            return Vec::new();
        }
        match &mut self.page {
            Page::Network(page) if page.asked == Some(number) => {
                page.asked = None;
                match reply {
                    Reply::Network(view) => page.view = Some(view),
                    Reply::Refused(fault) => page.fault = Some(fault),
                    _ => {}
                }
            }
            Page::Flow(flow) => flow.on_told(number, reply),
            _ => {}
        }
        Vec::new()
    }

    fn on_key(&mut self, key: Key) -> Vec<Order> {
        match &mut self.page {
            Page::Home => self.on_home_key(key),
            Page::Guarantees(first) => match key {
                Key::Up => *first = first.saturating_sub(1),
                Key::Down => *first = first.saturating_add(1),
                Key::Escape | Key::Enter | Key::Left => self.page = Page::Home,
                _ => {}
            },
            Page::Menu(chosen) => match key {
                Key::Up => *chosen = chosen.checked_sub(1).unwrap_or(MENU.len() - 1),
                Key::Down | Key::Tab => *chosen = (*chosen + 1) % MENU.len(),
                Key::Enter | Key::Right => {
                    let entry = MENU.get(*chosen).copied();
                    return entry.map_or_else(Vec::new, |entry| self.open(entry));
                }
                Key::Sign(sign) => {
                    if let Some(index) = sign.to_digit(10).and_then(|digit| usize::try_from(digit).ok())
                        && let Some(entry) = index.checked_sub(1).and_then(|index| MENU.get(index))
                    {
                        return self.open(*entry);
                    }
                }
                Key::Escape | Key::Left => self.page = Page::Home,
                _ => {}
            },
            Page::Network(_) => return self.on_network_key(key),
            Page::Form(_) => self.on_form_key(key),
            Page::Flow(_) => return self.on_flow_key(key),
        }
        Vec::new()
    }

    fn on_home_key(&mut self, key: Key) {
        match key {
            Key::Enter | Key::Sign('m' | 'M') | Key::Right => self.page = Page::Menu(0),
            Key::Sign('g' | 'G') => self.page = Page::Guarantees(0),
            Key::Sign('l' | 'L') if self.can_show_chinese => {
                self.words.0 = match self.words.0 {
                    Language::Chinese => Language::English,
                    Language::English => Language::Chinese,
                };
            }
            _ => {}
        }
    }

    fn open(&mut self, entry: Entry) -> Vec<Order> {
        if !self.is_connected {
            return Vec::new();
        }
        let act = match entry {
            Entry::Network => return self.open_network(),
            Entry::Restart => Act::Restart,
            Entry::ShutDown => Act::ShutDown,
            Entry::Evidence => Act::Evidence,
            Entry::Reset => Act::Reset {
                serial: self.serial(),
                needs_proof: self.is_set_up(),
            },
            Entry::Update => {
                let (number, order) = self.ask(Request::LookAtUpdate);
                self.page = Page::Flow(Box::new(Flow::looking(number)));
                return vec![order];
            }
        };
        self.page = Page::Flow(Box::new(Flow::preview(act)));
        Vec::new()
    }

    fn open_network(&mut self) -> Vec<Order> {
        let (number, order) = self.ask(Request::LookAtNetwork);
        self.page = Page::Network(NetworkPage {
            asked: Some(number),
            view: None,
            fault: None,
            chosen: 0,
        });
        vec![order]
    }

    fn on_network_key(&mut self, key: Key) -> Vec<Order> {
        let Page::Network(page) = &mut self.page else {
            return Vec::new();
        };
        let count = page.view.as_ref().map_or(0, |view| view.interfaces.len());
        match key {
            Key::Up => page.chosen = page.chosen.saturating_sub(1),
            Key::Down | Key::Tab => page.chosen = (page.chosen + 1).min(count.saturating_sub(1)),
            Key::Escape | Key::Left => self.page = Page::Menu(0),
            Key::Sign('b' | 'B') => {
                if let Some(view) = &page.view
                    && let Some(previous) = &view.previous
                {
                    let (before, after) = (view.current.clone(), previous.clone());
                    self.page = Page::Flow(Box::new(Flow::preview(Act::SetNetwork { before, after })));
                }
            }
            Key::Enter | Key::Right => {
                if let Some(view) = page.view.take() {
                    let form = NetworkForm::new(view, page.chosen);
                    if let Some(form) = form {
                        self.page = Page::Form(Box::new(form));
                    } else {
                        return self.open_network();
                    }
                }
            }
            _ => {}
        }
        Vec::new()
    }

    fn on_form_key(&mut self, key: Key) {
        let Page::Form(form) = &mut self.page else {
            return;
        };
        if key == Key::Escape {
            self.page = Page::Menu(0);
            return;
        }
        if let Some((before, after)) = form.take(key) {
            self.page = Page::Flow(Box::new(Flow::preview(Act::SetNetwork { before, after })));
        }
    }

    fn on_flow_key(&mut self, key: Key) -> Vec<Order> {
        let Page::Flow(flow) = &mut self.page else {
            return Vec::new();
        };
        let step = flow.take(key);
        match step {
            crate::flow::Step::Stay => Vec::new(),
            crate::flow::Step::Leave => {
                let place = MENU.iter().position(|entry| *entry == flow.act.entry());
                self.page = Page::Menu(place.unwrap_or_default());
                Vec::new()
            }
            crate::flow::Step::Ask(request) => {
                if !self.is_connected {
                    flow.on_gone();
                    return Vec::new();
                }
                let number = self.next_number;
                self.next_number += 1;
                flow.run(number);
                vec![Order::Ask(ToSupervisor {
                    number,
                    request: *request,
                })]
            }
        }
    }
}
