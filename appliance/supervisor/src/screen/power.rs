//! Restarting, switching off, and going back to the factory's state: how the box ends.
//!
//! The supervisor stops everything in order first, so that the last leaf is in the log, and then asks systemd for the
//! rest: it unmounts and closes the state, and its watchdog holds the machine to it. The bare system call would leave the
//! state's file system to be repaired at the next start.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use jingui_audit::event::{Event as LeafEvent, PowerAct, ShutdownReason};
use jingui_ipc::screen::Done;

use crate::acts::{Asker, Told, unavailable};
use crate::leaves::Actor;
use crate::places::Places;
use crate::supervisor::{Afterwards, Supervisor};

/// What follows when the supervisor has stopped in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Ending {
    /// Nothing: whoever started it goes on.
    #[default]
    Leave,
    /// The machine starts again.
    Restart,
    /// The machine is switched off.
    PowerOff,
    /// The keys of the state are destroyed, then the machine starts again. The screen waits for how it went.
    Reset {
        /// Who asked.
        asker: Asker,
        /// Index of the `factory.reset` leaf.
        leaf_index: u64,
    },
}

impl Ending {
    const fn verb(self) -> Option<&'static str> {
        match self {
            Self::Leave => None,
            Self::Restart | Self::Reset { .. } => Some("reboot"),
            Self::PowerOff => Some("poweroff"),
        }
    }

    /// Hands the machine to systemd, which ends it.
    pub(crate) fn carry_out(self, places: &Places) {
        let Some(verb) = self.verb() else { return };
        // Not waited for: systemd stops us on the way.
        let asked = run(&places.systemctl(), &["--no-block", verb]);
        if let Err(error) = asked {
            // systemd starts the supervisor again, and the box serves on.
            crate::say(format_args!("systemctl {verb} failed: {error}"));
        }
    }
}

/// Destroys the keys of the state (`jingui-storage erase`, which writes over all places that hold them and reads none).
pub(crate) fn erase(storage: &Path) -> io::Result<()> {
    run(storage, &["erase"])
}

fn run(program: &Path, words: &[&str]) -> io::Result<()> {
    let status = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .env_clear()
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("it ended with {status}")))
    }
}

impl Supervisor {
    /// A person at the screen restarts the box or switches it off.
    pub(super) fn ask_power(&mut self, asker: Asker, ending: Ending) {
        let act = match ending {
            Ending::PowerOff => PowerAct::ShutDown,
            Ending::Leave | Ending::Restart | Ending::Reset { .. } => PowerAct::Restart,
        };
        let draft = self
            .scribe
            .done(Actor::present(), LeafEvent::PowerAsk { act }, "");
        match self.record(draft) {
            Ok(leaf_index) => self.after_commit(Afterwards::Power {
                asker,
                ending,
                leaf_index,
            }),
            Err(fault) => self.tell(asker, Told::Refused(fault)),
        }
    }

    /// The leaf is in a checkpoint: say so, and stop in order.
    pub(crate) fn end_power(&mut self, asker: Asker, ending: Ending, leaf_index: u64) {
        if self.is_stopping() {
            return self.tell(asker, Told::Refused(unavailable("system.stopping")));
        }
        if !matches!(ending, Ending::Reset { .. }) {
            let facts = Vec::new();
            self.tell(asker, Told::Carried(Done { leaf_index, facts }));
        }
        self.ending = ending;
        let reason = match ending {
            Ending::Reset { .. } => ShutdownReason::Reset,
            Ending::Leave | Ending::Restart | Ending::PowerOff => ShutdownReason::Asked,
        };
        self.stop(reason);
    }

    /// After the last leaf, before the last words: a reset destroys the keys now and tells how that went. When it
    /// failed the machine is not restarted, so that the words stay on the screen; the supervisor is started again.
    pub(crate) fn carry_out_reset(&mut self) {
        let Ending::Reset { asker, leaf_index } = self.ending else {
            return;
        };
        let reply = match erase(&self.programs.storage()) {
            Ok(()) => Told::Carried(Done {
                leaf_index,
                facts: Vec::new(),
            }),
            Err(error) => {
                crate::say(format_args!("the state could not be destroyed: {error}"));
                self.ending = Ending::Leave;
                Told::Refused(unavailable("reset.failed"))
            }
        };
        self.deliver(crate::acts::letter(asker, reply));
    }
}
