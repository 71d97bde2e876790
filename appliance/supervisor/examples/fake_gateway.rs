//! A gateway for tests of the supervisor: speaks the conversation, listens to nobody.
//!
//! Its state folder tells it how to behave: a file `behave` with one of the words of [`Manner`], read when it starts.
//! Golden prompts are answered rightly, but as the file `golden` there says: `wrong`, `wrong-once`, `refused`, or `never`.
//! What it was told by the supervisor goes into the file `heard`, one line each. An [`Ask`] as JSON in the file `ask`
//! is asked and the file removed.

#![allow(
    clippy::expect_used,
    reason = "a program for tests: what must not happen ends it loudly"
)]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use jingui_ipc::Channel;
use jingui_ipc::control::{Fault, FaultKind, Private};
use jingui_ipc::gateway::{
    Ask, CONTROL_FD, Event, Inference, Outcome, Produced, Record, STATE_FD, Task, ToGateway, ToSupervisor,
};

const BEAT: Duration = Duration::from_millis(500);

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// As it should.
    Good,
    /// Serves and then says nothing more.
    Silent,
    /// Says what is no message.
    Babbles,
    /// Ends at once.
    Dies,
    /// Serves, and asks for records as fast as it can.
    Floods,
}

fn main() {
    let state: OwnedFd = jingui_jail::inherited(STATE_FD).expect("the state folder");
    let folder = format!("/proc/self/fd/{}", state.as_raw_fd());
    let manner = match fs::read_to_string(format!("{folder}/behave"))
        .unwrap_or_default()
        .trim()
    {
        "silent" => Manner::Silent,
        "babbles" => Manner::Babbles,
        "dies" => Manner::Dies,
        "floods" => Manner::Floods,
        _ => Manner::Good,
    };
    if manner == Manner::Dies {
        return;
    }
    let socket: UnixStream = jingui_jail::inherited(CONTROL_FD).expect("the supervisor").into();
    let mut channel = Channel::new(socket);
    let mut sender = channel.try_clone().expect("a second handle");
    let mut note = OpenOptions::new()
        .append(true)
        .create(true)
        .open(format!("{folder}/heard"))
        .expect("notes");
    if manner == Manner::Babbles {
        channel.socket().write_all(&[0xff; 64]).expect("written");
        thread::sleep(Duration::from_secs(3600));
    }
    sender
        .send(&ToSupervisor::Ready { landlock_abi: 0 })
        .expect("sent");
    if manner == Manner::Silent {
        thread::sleep(Duration::from_secs(3600));
    }
    let golden = format!("{folder}/golden");
    let mut beats = channel.try_clone().expect("a third handle");
    thread::spawn(move || {
        // The folder is reached by the number of this descriptor.
        let _state = state;
        let mut number = 0;
        loop {
            beats.send(&ToSupervisor::Beat).expect("sent");
            if manner == Manner::Floods {
                for _ in 0..100 {
                    number += 1;
                    beats
                        .send(&ToSupervisor::Ask {
                            number,
                            ask: Ask::Record(record()),
                        })
                        .expect("sent");
                }
            } else {
                thread::sleep(BEAT);
                if let Some(ask) = take_ask(&folder) {
                    number += 1;
                    beats.send(&ToSupervisor::Ask { number, ask }).expect("sent");
                }
            }
        }
    });
    // Beats come from another thread: one message is one write, so they never mix inside a frame.
    while let Ok(message) = channel.receive::<ToGateway>() {
        let manner = fs::read_to_string(&golden).unwrap_or_default();
        let line = answer(&mut sender, message, manner.trim());
        if line.starts_with("golden") && manner.trim() == "wrong-once" {
            fs::remove_file(&golden).expect("removed");
        }
        writeln!(note, "{line}").expect("noted");
        if line == "drain" {
            return;
        }
    }
}

fn answer(sender: &mut Channel, message: ToGateway, golden: &str) -> String {
    match message {
        ToGateway::Configure(configuration) => format!("configure {}", configuration.port),
        ToGateway::Engine(engine) => format!("engine {}", engine.model.package_digest),
        ToGateway::Promote { package_digest } => format!("promote {package_digest}"),
        ToGateway::EngineGone { why, package_digest } => format!("gone {why} {package_digest}"),
        ToGateway::Answer { answer, .. } => format!("answer {answer:?}"),
        ToGateway::Drain { .. } => "drain".to_owned(),
        ToGateway::Do { number, task } => {
            let (produced, line) = match task {
                Task::CreateKey { label, .. } => {
                    let key = Private("k-1.secret".to_owned());
                    (
                        Produced::Key {
                            key_id: "k-1".to_owned(),
                            key,
                        },
                        format!("key {label}"),
                    )
                }
                Task::AskGolden { prompts, .. } => {
                    let line = format!("golden {}", prompts.len());
                    match golden {
                        "never" => return line,
                        "refused" => {
                            let fault = Fault {
                                kind: FaultKind::Unavailable,
                                code: "api.engine.restarting".to_owned(),
                                facts: Vec::new(),
                            };
                            let outcome = Err(fault);
                            sender
                                .send(&ToSupervisor::Outcome { number, outcome })
                                .expect("sent");
                            return line;
                        }
                        _ => {}
                    }
                    let is_request = |text: &str| text.contains("messages") && text.contains("thinking");
                    assert!(prompts.iter().all(|prompt| is_request(&prompt.request)));
                    let produced = Produced::Golden {
                        asked_count: u32::try_from(prompts.len()).expect("few"),
                        first_wrong_index: golden.starts_with("wrong").then_some(2),
                    };
                    (produced, line)
                }
                Task::CreateUser(user) => (
                    Produced::User {
                        account_id: "u-1".to_owned(),
                    },
                    format!("user {}", user.username),
                ),
            };
            sender
                .send(&ToSupervisor::Outcome {
                    number,
                    outcome: Ok(produced),
                })
                .expect("sent");
            line
        }
    }
}

/// A question of the test; a file that is still being written is read the next time.
fn take_ask(folder: &str) -> Option<Ask> {
    let path = format!("{folder}/ask");
    let ask = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
    fs::remove_file(path).expect("removed");
    Some(ask)
}

fn record() -> Record {
    Record {
        actor: "k-1".to_owned(),
        role: None,
        session: String::new(),
        source: "127.0.0.1".to_owned(),
        event: Event::Inference(Inference {
            request_id: "r-1".to_owned(),
            family: "openai".to_owned(),
            package_digest: "11".repeat(32),
            prompt_tokens: 1,
            completion_tokens: 1,
            finish: "stop".to_owned(),
            prompt_commitment: [1; 32],
            answer_commitment: [2; 32],
        }),
        outcome: Outcome::Ok,
        why: String::new(),
    }
}
