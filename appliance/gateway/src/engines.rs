//! The links to the engines, and which of them answers.
//!
//! An engine is introduced first and answers nobody; golden prompts are asked of it then. The supervisor promotes it,
//! and from then on it answers every new request and no other does: streams that run on the one before end there.
//! One task reads each engine's socket and gives every stream its own events; one writes. A stream that is dropped
//! before its end is cancelled at once. When the socket closes, every stream of it ends with [`Lost`]; who wants to go
//! on waits with [`Engines::follow`] for the next engine of the same package.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jingui_chat::{Template, TemplateError};
use jingui_ipc::engine::{FromEngine, Generate, ToEngine};
use jingui_ipc::gateway::Engine;
use jingui_ipc::status::ModelFacts;
use jingui_ipc::{Decoder, encode};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};

use crate::closing::Closing;
use crate::supervisor::write_until_closed;

/// Streams of one engine that may be open at once, running or waiting. More are refused as overload.
pub const STREAM_COUNT_MAX: usize = 512;
/// Events of one stream that may wait for its client. A client that falls further behind loses its stream.
pub const EVENT_COUNT_MAX: usize = 4096;
/// Each stream sends at most its start and its end.
const OUTBOX_COUNT_MAX: usize = 2 * STREAM_COUNT_MAX;
const READ_BYTES: usize = 64 * 1024;

/// All engines the gateway knows of.
#[derive(Debug, Default)]
pub struct Engines {
    places: RwLock<Places>,
    /// Counts what happens to [`Places`], for those who wait for it.
    change: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Places {
    /// Engines that live, by package digest.
    introduced: BTreeMap<String, Arc<EngineLink>>,
    /// The engine that answers. It stays when it is gone, until another one is promoted.
    promoted: Option<Arc<EngineLink>>,
}

/// What is known of a model name.
#[derive(Debug, Clone)]
pub enum Found {
    /// It answers.
    Serving(Arc<EngineLink>),
    /// Its engine is being restarted; this is the one that is gone.
    Restarting(Arc<EngineLink>),
    /// No engine has served yet.
    NothingYet,
    /// Another model serves, this one does not exist here.
    Unknown,
}

impl Engines {
    /// Takes up the engine that a descriptor leads to; it answers nobody yet. Must be called inside the runtime.
    ///
    /// # Errors
    /// When the descriptor is no usable socket.
    pub fn introduce(self: &Arc<Self>, engine: Engine, descriptor: OwnedFd) -> io::Result<()> {
        let socket = std::os::unix::net::UnixStream::from(descriptor);
        socket.set_nonblocking(true)?;
        let socket = Arc::new(UnixStream::from_std(socket)?);
        let (outbox, waiting) = mpsc::channel(OUTBOX_COUNT_MAX);
        let template = Template::compile(&engine.chat_template);
        let link = Arc::new(EngineLink {
            engine,
            template,
            outbox,
            streams: Mutex::new(HashMap::new()),
            next_stream: AtomicU64::new(1),
            closing: Closing::default(),
        });
        self.change(|places| {
            let digest = link.engine.model.package_digest.clone();
            // The supervisor runs one engine of a package at a time: the one before is dead or about to be.
            if let Some(old) = places.introduced.insert(digest, Arc::clone(&link)) {
                old.close();
            }
        });
        tokio::spawn(write_all(Arc::clone(&socket), Arc::clone(&link), waiting));
        let engines = Arc::clone(self);
        tokio::spawn(async move {
            read_until_closed(&socket, &link).await;
            link.close();
            engines.forget(&link);
        });
        Ok(())
    }

    /// The engine of that package answers from now on, and no other. Whether it was introduced and lives.
    pub fn promote(&self, package_digest: &str) -> bool {
        self.change(|places| {
            let link = places.introduced.get(package_digest).map(Arc::clone);
            let is_known = link.is_some();
            places.promoted = link.or_else(|| places.promoted.take());
            is_known
        })
    }

    /// The supervisor says that the engine of that package is gone.
    pub fn lose(&self, package_digest: &str) {
        self.change(|places| {
            if let Some(link) = places.introduced.remove(package_digest) {
                link.close();
            }
        });
    }

    /// What is known of a model name.
    #[must_use]
    pub fn find(&self, name: &str) -> Found {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        match &places.promoted {
            None => Found::NothingYet,
            Some(link) if link.engine.model.name != name => Found::Unknown,
            Some(link) if link.is_gone() => Found::Restarting(Arc::clone(link)),
            Some(link) => Found::Serving(Arc::clone(link)),
        }
    }

    /// The model that answers now, if one does.
    #[must_use]
    pub fn serving(&self) -> Option<Engine> {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        let link = places.promoted.as_ref().filter(|link| !link.is_gone())?;
        Some(link.engine.clone())
    }

    /// An engine that was introduced and lives, whether or not it was promoted.
    #[must_use]
    pub fn introduced(&self, package_digest: &str) -> Option<Arc<EngineLink>> {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        places.introduced.get(package_digest).map(Arc::clone)
    }

    /// Waits until the promoted engine lives: the next one of the package of `lost`, or one of another package that
    /// was promoted meanwhile. The caller bounds the wait.
    pub async fn follow(&self, lost: &Arc<EngineLink>) -> Arc<EngineLink> {
        let mut changes = self.change.subscribe();
        loop {
            {
                let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
                if let Some(link) = &places.promoted
                    && !link.is_gone()
                    && !Arc::ptr_eq(link, lost)
                {
                    return Arc::clone(link);
                }
            }
            // The sender is in `self`, so it is there as long as this waits.
            let _ = changes.changed().await;
        }
    }

    fn forget(&self, link: &Arc<EngineLink>) {
        self.change(|places| {
            let digest = &link.engine.model.package_digest;
            if places
                .introduced
                .get(digest)
                .is_some_and(|current| Arc::ptr_eq(current, link))
            {
                places.introduced.remove(digest);
            }
        });
    }

    fn change<T>(&self, act: impl FnOnce(&mut Places) -> T) -> T {
        let came = act(&mut self.places.write().unwrap_or_else(PoisonError::into_inner));
        self.change.send_modify(|count| *count = count.wrapping_add(1));
        came
    }
}

/// One engine and its open streams.
#[derive(Debug)]
pub struct EngineLink {
    engine: Engine,
    template: Result<Template, TemplateError>,
    outbox: mpsc::Sender<Vec<u8>>,
    streams: Mutex<HashMap<u64, mpsc::Sender<FromEngine>>>,
    next_stream: AtomicU64,
    closing: Closing,
}

/// Why a stream could not be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StartFailure {
    /// The engine is gone.
    #[error("the engine is gone")]
    Gone,
    /// [`STREAM_COUNT_MAX`] streams are open.
    #[error("{STREAM_COUNT_MAX} streams are open")]
    Overloaded,
    /// The request does not fit one frame.
    #[error("the request does not fit one frame")]
    TooLong,
}

/// The stream will never end by itself: its engine is gone, or its client fell too far behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream was lost")]
pub struct Lost;

impl EngineLink {
    /// Facts of the model.
    #[must_use]
    pub fn model(&self) -> &ModelFacts {
        &self.engine.model
    }

    /// All that the supervisor said of this engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The model's chat template.
    ///
    /// # Errors
    /// Why it cannot be used: a fault of the model package.
    pub fn template(&self) -> Result<&Template, &TemplateError> {
        self.template.as_ref()
    }

    /// Whether the engine is gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.closing.is_closed()
    }

    /// Starts a stream; its number is chosen here.
    ///
    /// # Errors
    /// Any [`StartFailure`]; the engine knows nothing of the request then.
    pub fn start(self: &Arc<Self>, generate: &Generate) -> Result<Stream, StartFailure> {
        let number = self.next_stream.fetch_add(1, Ordering::Relaxed);
        let mut generate = generate.clone();
        generate.stream = number;
        let frame = encode(&ToEngine::Generate(Box::new(generate))).map_err(|_| StartFailure::TooLong)?;
        let (sender, events) = mpsc::channel(EVENT_COUNT_MAX);
        {
            let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
            if streams.len() >= STREAM_COUNT_MAX {
                return Err(StartFailure::Overloaded);
            }
            if self.closing.is_closed() {
                return Err(StartFailure::Gone);
            }
            streams.insert(number, sender);
        }
        let mut stream = Stream {
            link: Arc::clone(self),
            number,
            events,
            phase: Phase::Unsent,
        };
        self.outbox.try_send(frame).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StartFailure::Overloaded,
            mpsc::error::TrySendError::Closed(_) => StartFailure::Gone,
        })?;
        stream.phase = Phase::Running;
        Ok(stream)
    }

    /// Ends every stream.
    fn close(&self) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        self.closing.close();
        streams.clear();
    }

    fn cancel(&self, number: u64) {
        if let Ok(frame) = encode(&ToEngine::Cancel { stream: number }) {
            // Full only if the engine reads nothing; then its heartbeat fails and it is restarted.
            let _ = self.outbox.try_send(frame);
        }
    }

    fn deliver(&self, event: FromEngine) {
        let (number, is_last) = match &event {
            FromEngine::Accepted { stream, .. }
            | FromEngine::Queued { stream, .. }
            | FromEngine::Started { stream, .. } => (*stream, false),
            FromEngine::Token(token) => (token.stream, false),
            FromEngine::Done { stream, .. } => (*stream, true),
        };
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = streams.get(&number) else {
            return;
        };
        if sender.try_send(event).is_err() {
            streams.remove(&number);
            if !is_last {
                self.cancel(number);
            }
        } else if is_last {
            streams.remove(&number);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Unsent,
    Running,
    Cancelled,
    Ended,
}

/// One running request. Dropping it before its end cancels it.
#[derive(Debug)]
pub struct Stream {
    link: Arc<EngineLink>,
    number: u64,
    events: mpsc::Receiver<FromEngine>,
    phase: Phase,
}

impl Stream {
    /// The next event; the last one is [`FromEngine::Done`].
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn next(&mut self) -> Result<FromEngine, Lost> {
        let event = self.events.recv().await.ok_or(Lost);
        if matches!(event, Ok(FromEngine::Done { .. }) | Err(Lost)) {
            self.phase = Phase::Ended;
        }
        event
    }

    /// The next event if it is here already; `None` leaves the end to [`Stream::next`].
    pub fn next_ready(&mut self) -> Option<Result<FromEngine, Lost>> {
        let event = self.events.try_recv().ok()?;
        if matches!(event, FromEngine::Done { .. }) {
            self.phase = Phase::Ended;
        }
        Some(Ok(event))
    }

    /// Asks the engine to end the stream; [`FromEngine::Done`] still comes.
    pub fn cancel(&mut self) {
        if self.phase == Phase::Running {
            self.phase = Phase::Cancelled;
            self.link.cancel(self.number);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.cancel();
        self.link
            .streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.number);
    }
}

async fn read_until_closed(socket: &UnixStream, link: &EngineLink) {
    let mut decoder = Decoder::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let readable = tokio::select! {
            () = link.closing.wait() => return,
            readable = socket.readable() => readable,
        };
        if readable.is_err() {
            return;
        }
        match socket.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => decoder.push(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        }
        loop {
            match decoder.next::<FromEngine>() {
                Ok(Some(event)) => link.deliver(event),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

async fn write_all(socket: Arc<UnixStream>, link: Arc<EngineLink>, mut waiting: mpsc::Receiver<Vec<u8>>) {
    write_until_closed(&socket, &link.closing, &mut waiting).await;
    link.close();
}

#[cfg(test)]
mod tests;
