//! An act from its preview to its result: look, decide, type to confirm, show who you are, watch, read how it ended.
//!
//! Escape goes one stage back until the act was asked for; from then on it runs to its end, and every end has a way back
//! to the menu.

use jingui_ipc::control::{Fault, Private, Proof};
use jingui_ipc::network::NetworkSettings;
use jingui_ipc::screen::{Done, Progress, Reply, Request};
use jingui_ipc::update::UpdateOffer;

use crate::app::Entry;
use crate::field::Field;
use crate::keys::Key;

/// What is done.
#[derive(Debug)]
pub enum Act {
    /// Other addresses.
    SetNetwork {
        /// In force now.
        before: Option<NetworkSettings>,
        /// Wanted.
        after: NetworkSettings,
    },
    /// Start again.
    Restart,
    /// Switch off.
    ShutDown,
    /// A newer image; what the stick has, once it is known.
    Update(Option<Box<UpdateOffer>>),
    /// The log onto a stick.
    Evidence,
    /// The factory's state.
    Reset {
        /// Typed to confirm.
        serial: String,
        /// Whether a system admin has to approve: not before there is one.
        needs_proof: bool,
    },
}

/// Where it is.
#[derive(Debug)]
pub enum Stage {
    /// The supervisor looks at the stick.
    Looking(u64),
    /// What will happen is shown.
    Preview,
    /// A word has to be typed.
    Confirming {
        /// What was typed.
        typed: Field,
        /// It was another word.
        is_wrong: bool,
    },
    /// Who approves says who he is.
    Proving(ProofForm),
    /// It was asked for.
    Running {
        /// Number of the question.
        number: u64,
        /// How far it is, if it says so.
        progress: Option<Progress>,
    },
    /// It ended.
    Ended(Ending),
}

/// How it ended.
#[derive(Debug)]
pub enum Ending {
    /// Done and recorded.
    Done(Done),
    /// Refused, with its reason.
    Refused(Fault),
    /// The supervisor went away meanwhile: nobody knows.
    Lost,
}

/// Name, password, one-time code.
#[derive(Debug)]
pub struct ProofForm {
    /// The three, in order.
    pub fields: [Field; 3],
    /// Which one is typed into.
    pub focus: usize,
}

/// What a key led to.
#[derive(Debug)]
pub enum Step {
    /// Nothing outside.
    Stay,
    /// Back to the menu.
    Leave,
    /// The supervisor has to be asked.
    Ask(Box<Request>),
}

/// An act under way.
#[derive(Debug)]
pub struct Flow {
    /// What.
    pub act: Act,
    /// Where.
    pub stage: Stage,
}

impl Act {
    /// Its entry in the menu.
    #[must_use]
    pub const fn entry(&self) -> Entry {
        match self {
            Self::SetNetwork { .. } => Entry::Network,
            Self::Restart => Entry::Restart,
            Self::ShutDown => Entry::ShutDown,
            Self::Update(_) => Entry::Update,
            Self::Evidence => Entry::Evidence,
            Self::Reset { .. } => Entry::Reset,
        }
    }

    /// What has to be typed: never an answer that fingers give by habit.
    #[must_use]
    pub fn confirmation(&self) -> String {
        match self {
            Self::SetNetwork { .. } => "network".to_owned(),
            Self::Restart => "restart".to_owned(),
            Self::ShutDown => "shutdown".to_owned(),
            Self::Update(offer) => offer.as_ref().map_or_else(String::new, |it| it.version.clone()),
            Self::Evidence => "evidence".to_owned(),
            Self::Reset { serial, .. } => serial.clone(),
        }
    }

    /// Whether somebody has to approve.
    #[must_use]
    pub const fn needs_proof(&self) -> bool {
        match self {
            Self::SetNetwork { .. } | Self::Restart | Self::ShutDown => false,
            Self::Update(_) | Self::Evidence => true,
            Self::Reset { needs_proof, .. } => *needs_proof,
        }
    }

    fn request(&self, proofs: Vec<Proof>) -> Request {
        match self {
            Self::SetNetwork { after, .. } => Request::SetNetwork(after.clone()),
            Self::Restart => Request::Restart,
            Self::ShutDown => Request::ShutDown,
            Self::Update(_) => Request::ApplyUpdate { proofs },
            Self::Evidence => Request::ExportEvidence { proofs },
            Self::Reset { serial, .. } => Request::Reset {
                serial: serial.clone(),
                proofs,
            },
        }
    }
}

impl ProofForm {
    fn new() -> Self {
        Self {
            fields: [Field::new(), Field::secret(), Field::new()],
            focus: 0,
        }
    }

    /// Gives the proof when the last field is confirmed.
    fn take(&mut self, key: Key) -> Option<Proof> {
        let last = self.fields.len() - 1;
        match key {
            Key::Up => self.focus = self.focus.saturating_sub(1),
            Key::Down | Key::Tab => self.focus = (self.focus + 1).min(last),
            Key::Enter if self.focus < last => self.focus += 1,
            Key::Enter => return self.proof(),
            key => {
                if let Some(field) = self.fields.get_mut(self.focus) {
                    field.take(key);
                }
            }
        }
        None
    }

    fn proof(&mut self) -> Option<Proof> {
        if let Some(empty) = self.fields.iter().position(|field| field.text().is_empty()) {
            self.focus = empty;
            return None;
        }
        let [username, password, code] = &self.fields;
        Some(Proof {
            username: username.text().trim().to_owned(),
            password: Private(password.text().to_owned()),
            code: Private(code.text().replace(' ', "")),
        })
    }
}

impl Flow {
    /// An act whose preview is shown.
    #[must_use]
    pub const fn preview(act: Act) -> Self {
        Self {
            act,
            stage: Stage::Preview,
        }
    }

    /// An update: the supervisor looks what the stick has.
    #[must_use]
    pub const fn looking(number: u64) -> Self {
        Self {
            act: Act::Update(None),
            stage: Stage::Looking(number),
        }
    }

    /// It was asked for under that number.
    pub fn run(&mut self, number: u64) {
        self.stage = Stage::Running {
            number,
            progress: None,
        };
    }

    /// The supervisor is gone. An act that ends it went well; of any other nobody knows.
    pub fn on_gone(&mut self) {
        if matches!(self.stage, Stage::Running { .. } | Stage::Looking(_)) {
            self.stage = Stage::Ended(Ending::Lost);
        }
    }

    /// The supervisor said something about a question.
    pub fn on_told(&mut self, number: u64, reply: Reply) {
        match (&mut self.stage, reply) {
            (Stage::Looking(asked), reply) if *asked == number => match reply {
                Reply::Update(offer) => {
                    self.act = Act::Update(Some(offer));
                    self.stage = Stage::Preview;
                }
                Reply::Refused(fault) => self.stage = Stage::Ended(Ending::Refused(fault)),
                _ => {}
            },
            (
                Stage::Running {
                    number: asked,
                    progress,
                },
                reply,
            ) if *asked == number => match reply {
                Reply::Progress(told) => *progress = Some(told),
                Reply::Done(done) => self.stage = Stage::Ended(Ending::Done(done)),
                Reply::Refused(fault) => self.stage = Stage::Ended(Ending::Refused(fault)),
                _ => {}
            },
            _ => {}
        }
    }

    /// Takes a key.
    pub fn take(&mut self, key: Key) -> Step {
        match &mut self.stage {
            Stage::Looking(_) if key == Key::Escape => Step::Leave,
            Stage::Looking(_) | Stage::Running { .. } => Step::Stay,
            Stage::Preview => match key {
                Key::Enter | Key::Right => {
                    self.confirm();
                    Step::Stay
                }
                Key::Escape | Key::Left => Step::Leave,
                _ => Step::Stay,
            },
            Stage::Confirming { .. } => self.on_confirming(key),
            Stage::Proving(form) => match (key, form.take(key)) {
                (Key::Escape, _) => {
                    self.confirm();
                    Step::Stay
                }
                (_, Some(proof)) => Step::Ask(Box::new(self.act.request(vec![proof]))),
                (_, None) => Step::Stay,
            },
            Stage::Ended(_) => match key {
                Key::Enter | Key::Escape | Key::Left => Step::Leave,
                _ => Step::Stay,
            },
        }
    }

    fn confirm(&mut self) {
        self.stage = Stage::Confirming {
            typed: Field::new(),
            is_wrong: false,
        };
    }

    fn on_confirming(&mut self, key: Key) -> Step {
        let wanted = self.act.confirmation();
        let Stage::Confirming { typed, is_wrong } = &mut self.stage else {
            return Step::Stay;
        };
        match key {
            Key::Escape => self.stage = Stage::Preview,
            Key::Enter if typed.text().trim() != wanted || wanted.is_empty() => {
                *is_wrong = true;
                *typed = Field::new();
            }
            Key::Enter if self.act.needs_proof() => self.stage = Stage::Proving(ProofForm::new()),
            Key::Enter => return Step::Ask(Box::new(self.act.request(Vec::new()))),
            key => {
                *is_wrong = false;
                typed.take(key);
            }
        }
        Step::Stay
    }
}
