//! The conversation with one gateway: a thread that reads and tokenises, a thread that writes.
//!
//! Tokenising happens here and not in the step thread, so that a long prompt delays nobody's next token. A prompt that
//! cannot run is answered here. The conversation ends when either side closes it, when a frame is not of the protocol,
//! or when the gateway does not read; its streams end with it, and the engine waits for the next gateway.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use jingui_ipc::Channel;
use jingui_ipc::engine::{Constraint, Finish, FromEngine, Generate, ToEngine};
use jingui_llama::Model;

use crate::choose::Chooser;
use crate::codes;
use crate::constraint::{ConstraintError, Constraints, EndTokens, Matcher};
use crate::pulse::Pulse;
use crate::sampling::Random;
use crate::step::{Command, ConnectionId, Gateway, Interrupt};
use crate::stream::Request;
use crate::tokens::{PromptError, Tokenizer};

/// Events not yet written: at some kilobytes each at most, a gateway that is this far behind does not read at all.
pub const EVENT_COUNT_MAX: usize = 8192;
/// Bytes gathered before a write.
const WRITE_BYTES: usize = 64 * 1024;
/// A gateway that takes no byte for so long is gone.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);

/// Why a gateway's socket was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The socket or a thread could not be set up.
    #[error("the gateway's socket could not be set up")]
    Setup(#[from] io::Error),
    /// The step thread does not take commands: it hangs or has ended.
    #[error("the step thread does not take commands")]
    StepThread,
}

/// Connects gateways, one after another, to the step thread.
#[derive(Debug)]
pub struct Connector {
    /// Makes prompts tokens.
    pub tokenizer: Tokenizer,
    /// To the step thread.
    pub commands: SyncSender<Command>,
    /// Cuts a step short.
    pub interrupt: Interrupt,
    /// Counts what was handed to the step thread.
    pub pulse: Pulse,
    /// Context of one stream.
    pub stream_context_tokens: u32,
    constraints: Grammars,
    ends: EndTokens,
    connection_count: ConnectionId,
    writer: Option<JoinHandle<()>>,
}

/// What compiles constraints, once its vocabulary is read: that takes about a second, and few requests need it.
#[derive(Debug, Clone)]
struct Grammars {
    model: Arc<Model>,
    made: Arc<OnceLock<Result<Constraints, ConstraintError>>>,
}

impl Grammars {
    fn made(&self) -> Result<&Constraints, ConstraintError> {
        self.made
            .get_or_init(|| Constraints::new(self.model.clone()))
            .as_ref()
            .map_err(|error| *error)
    }

    fn compile(&self, constraint: &Constraint) -> Result<Matcher, ConstraintError> {
        self.made()?.compile(constraint)
    }
}

impl Connector {
    /// A connector that has connected nobody.
    #[must_use]
    pub fn new(
        tokenizer: Tokenizer,
        commands: SyncSender<Command>,
        interrupt: Interrupt,
        pulse: Pulse,
        stream_context_tokens: u32,
    ) -> Self {
        let model = tokenizer.model().clone();
        Self {
            ends: EndTokens::of(&model),
            constraints: Grammars {
                model,
                made: Arc::new(OnceLock::new()),
            },
            tokenizer,
            commands,
            interrupt,
            pulse,
            stream_context_tokens,
            connection_count: 0,
            writer: None,
        }
    }

    /// Reads the vocabulary for constraints on a thread of its own, so that the first request with one need not wait.
    ///
    /// # Errors
    /// When there is no thread.
    pub fn warm_up(&self) -> io::Result<()> {
        let constraints = self.constraints.clone();
        thread::Builder::new()
            .name("vocabulary".to_owned())
            .spawn(move || {
                // A failure is told to each request that has a constraint.
                let _told_later = constraints.made();
            })?;
        Ok(())
    }

    /// Takes a new socket to a gateway in place of the one before, whose streams are cancelled. Does not block.
    ///
    /// # Errors
    /// Every [`ConnectError`].
    pub fn connect(&mut self, socket: OwnedFd) -> Result<(), ConnectError> {
        let socket = UnixStream::from(socket);
        socket.set_nonblocking(false)?;
        socket.set_write_timeout(Some(WRITE_PATIENCE))?;
        self.connection_count += 1;
        let connection = self.connection_count;
        let (events, queue) = sync_channel(EVENT_COUNT_MAX);
        let reader = Reader {
            channel: Channel::new(socket.try_clone()?),
            connection,
            events: events.clone(),
            tokenizer: self.tokenizer.clone(),
            commands: self.commands.clone(),
            interrupt: self.interrupt.clone(),
            pulse: self.pulse.clone(),
            stream_context_tokens: self.stream_context_tokens,
            constraints: self.constraints.clone(),
            ends: self.ends.clone(),
            // Drawn from the system, through the seed of std's hash maps; enough for what is no secret.
            seeds: Random::new(RandomState::new().build_hasher().finish()),
        };
        let outgoing = socket.try_clone()?;
        let attach = Command::Attach(Gateway {
            connection,
            events,
            socket,
        });
        match self.commands.try_send(attach) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                return Err(ConnectError::StepThread);
            }
        }
        let writer = thread::Builder::new()
            .name("gateway-writer".to_owned())
            .spawn(move || write(outgoing, &queue))?;
        self.writer = Some(writer);
        thread::Builder::new()
            .name("gateway-reader".to_owned())
            .spawn(move || reader.run())?;
        Ok(())
    }

    /// Waits until the last gateway has got what was queued for it. To be called when the step thread has ended.
    pub fn flush(self) {
        let Self { writer, commands, .. } = self;
        drop(commands);
        if let Some(writer) = writer {
            // A panic there is told by the panic itself; nothing is left to be done.
            let _told = writer.join();
        }
    }
}

/// What the reading thread owns.
struct Reader {
    channel: Channel,
    connection: ConnectionId,
    events: SyncSender<FromEngine>,
    tokenizer: Tokenizer,
    commands: SyncSender<Command>,
    interrupt: Interrupt,
    pulse: Pulse,
    stream_context_tokens: u32,
    constraints: Grammars,
    ends: EndTokens,
    seeds: Random,
}

impl Reader {
    fn run(mut self) {
        // Closed, cut off or malformed: for the engine it is the end of this gateway in each case.
        while let Ok(message) = self.channel.receive::<ToEngine>() {
            let is_taken = match message {
                ToEngine::Generate(generate) => self.generate(*generate),
                ToEngine::Cancel { stream } => {
                    let is_taken = self
                        .commands
                        .send(Command::Cancel(self.connection, stream))
                        .is_ok();
                    self.interrupt.cut_short(stream);
                    is_taken
                }
            };
            if !is_taken {
                break;
            }
        }
        // The socket closes when the step thread has let go of it and the writer has sent what was queued.
        if self.commands.send(Command::Gone(self.connection)).is_ok() {
            self.interrupt.cut_short_all();
        }
    }

    /// Hands a request to the step thread or answers it. `false` when there is no step thread or writer any more.
    fn generate(&mut self, generate: Generate) -> bool {
        let Generate {
            stream,
            prompt,
            completion_tokens_max,
            sampling,
            logprobs,
            tenant,
            class,
            resume,
            cache,
            is_strict,
            constraint,
        } = generate;
        let tokens = self.tokenizer.prompt(&prompt, self.stream_context_tokens);
        drop(prompt);
        let prompt = match tokens {
            Ok(tokens) => tokens,
            Err(PromptError::TooLong { at_least }) => return self.too_long(stream, at_least),
            Err(PromptError::Tokenizer(_) | PromptError::Forged) => {
                return self.refuse(stream, codes::PROMPT_UNREADABLE);
            }
        };
        let prompt_count = prompt.len();
        let prompt_tokens = u32::try_from(prompt_count).unwrap_or(u32::MAX);
        if prompt.is_empty() {
            return self.refuse(stream, codes::PROMPT_EMPTY);
        }
        if prompt_tokens >= self.stream_context_tokens {
            return self.too_long(stream, prompt_tokens);
        }
        let model = self.tokenizer.model();
        if resume.iter().any(|id| model.token(*id).is_none()) {
            return self.refuse(stream, codes::RESUME_UNFIT);
        }
        let matcher = constraint.map(|constraint| self.constraints.compile(&constraint));
        let chooser = matcher.transpose().and_then(|matcher| {
            let seed = self.seeds.next_u64();
            let mut chooser = Chooser::new(&sampling, seed, logprobs, matcher, self.ends.clone());
            chooser.resume(&resume).map(|()| chooser)
        });
        let chooser = match chooser {
            Ok(chooser) => chooser,
            Err(error) => return self.refuse(stream, error.code()),
        };
        let mut tokens: Vec<u32> = prompt.iter().map(|token| token.id()).collect();
        tokens.extend_from_slice(&resume);
        let request = Box::new(Request {
            stream,
            tokens,
            prompt_count,
            completion_tokens_max,
            chooser,
            is_seeded: sampling.seed.is_some() && sampling.temperature != 0.0,
            tenant,
            class,
            cache,
            is_strict,
        });
        self.pulse.begin_work();
        let is_taken = self
            .commands
            .send(Command::Submit(self.connection, request))
            .is_ok();
        if !is_taken {
            self.pulse.end_work();
        }
        is_taken
    }

    fn too_long(&self, stream: u64, prompt_tokens: u32) -> bool {
        let context_tokens = self.stream_context_tokens;
        self.answer(
            stream,
            Finish::TooLong {
                prompt_tokens,
                context_tokens,
            },
            prompt_tokens,
        )
    }

    fn refuse(&self, stream: u64, code: &str) -> bool {
        self.answer(
            stream,
            Finish::Refused {
                code: code.to_owned(),
            },
            0,
        )
    }

    fn answer(&self, stream: u64, finish: Finish, prompt_tokens: u32) -> bool {
        self.events
            .send(FromEngine::Done {
                stream,
                finish,
                prompt_tokens,
                completion_tokens: 0,
                cached_tokens: 0,
            })
            .is_ok()
    }
}

/// Writes events until the last sender is gone or the gateway does not take them.
fn write(mut socket: UnixStream, queue: &Receiver<FromEngine>) {
    let mut bytes = Vec::with_capacity(WRITE_BYTES);
    while let Ok(event) = queue.recv() {
        bytes.clear();
        let mut next = Some(event);
        while let Some(event) = next {
            // An event holds a token or less and never fills a frame.
            let Ok(frame) = jingui_ipc::encode(&event) else {
                break;
            };
            bytes.extend_from_slice(&frame);
            next = if bytes.len() < WRITE_BYTES {
                queue.try_recv().ok()
            } else {
                None
            };
        }
        if socket.write_all(&bytes).is_err() {
            // Wakes the reader, which tells the step thread.
            let _already_closed = socket.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}
