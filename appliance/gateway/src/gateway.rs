//! The gateway as a whole: what it is started with, its loop over the supervisor's orders, and its end.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use jingui_ipc::control::{Fault, FaultKind};
use jingui_ipc::gateway::{Answer, Ask, Configuration, Produced, Record, Task, ToGateway, ToSupervisor};
use jingui_ipc::status::Status;
use jingui_trust::Secret;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::answering::AnswerLimits;
use crate::call::{BODIES_BYTES_MAX, BodyLimits};
use crate::clock::Clock;
use crate::closing::Closing;
use crate::engines::Engines;
use crate::golden;
use crate::keys::Keys;
use crate::listen::{self, Answerer};
use crate::people::People;
use crate::quarantine::Quarantine;
use crate::refusals::Refusal;
use crate::routes::Routes;
use crate::sessions::Sessions;
use crate::store::{Store, StoreFailure};
use crate::supervisor::{FromSupervisor, Supervisor};
use crate::tenants::Tenants;
use crate::tls::{self, Certificate, CertificateRefusal};
use crate::tries::Tries;

/// Chat requests at once, over all engines: those that run and those that wait for one.
pub const ANSWER_COUNT_MAX: usize = 1024;
/// Longest time for the supervisor's first message.
pub const CONFIGURE_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest time for a quick question to the supervisor.
pub const ASK_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest time for an act that hashes passwords.
pub const ACT_TIME_MAX: Duration = Duration::from_secs(60);
/// How old a status may be that decides whether requests are served.
const STATUS_AGE_MAX: Duration = Duration::from_secs(1);
/// Time for last events after streams were cut at the end of a drain.
const LAST_WORDS_TIME: Duration = Duration::from_secs(2);

/// What the process is started with.
#[derive(Debug)]
pub struct Start {
    /// Socket to the supervisor.
    pub control: std::os::unix::net::UnixStream,
    /// Bound and listening TCP socket.
    pub listener: std::net::TcpListener,
    /// The gateway's own folder.
    pub state_folder: PathBuf,
    /// Landlock ABI in force, 0 for none.
    pub landlock_abi: u32,
    /// Clock of sessions, locks and one-time codes.
    pub clock: Clock,
    /// Bounds on what clients may do.
    pub limits: Limits,
}

/// Bounds on what clients may do. [`Default`] gives the named constants; tests use shorter ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// Of connections.
    pub listen: listen::Limits,
    /// Of bodies.
    pub body: BodyLimits,
    /// Of answers.
    pub answer: AnswerLimits,
}

/// Why the gateway could not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeFailure {
    /// A socket it was started with cannot be used.
    #[error("a socket that the gateway was started with cannot be used")]
    Socket(#[from] std::io::Error),
    /// The supervisor did not say what to serve with.
    #[error("the supervisor's first message is not a configuration, or did not come in time")]
    NotConfigured,
    /// The tables cannot be used.
    #[error(transparent)]
    Store(#[from] StoreFailure),
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateRefusal),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// The running gateway.
#[derive(Debug)]
pub struct Gateway {
    /// The supervisor.
    pub supervisor: Supervisor,
    /// The engines.
    pub engines: Arc<Engines>,
    /// Requests that may have killed an engine.
    pub quarantine: Arc<Quarantine>,
    /// On whose account requests run.
    pub tenants: Tenants,
    /// API keys.
    pub keys: Keys,
    /// Ordinary users.
    pub people: People,
    /// Sessions of the console.
    pub sessions: Sessions,
    /// Wrong proofs per address.
    pub tries: Tries,
    /// The tables.
    pub store: Store,
    /// The clock.
    pub clock: Clock,
    /// The bounds.
    pub limits: Limits,
    /// PEM of the device CA.
    pub ca_pem: String,
    /// Serial of the device.
    pub serial: String,
    /// Bytes of bodies that may be held at once.
    pub bodies: Arc<Semaphore>,
    /// Closed when nothing new is taken up.
    pub(crate) stop: Arc<Closing>,
    /// Closed when running answers are cut.
    pub(crate) cut: Closing,
    turns: Arc<Semaphore>,
    status: Mutex<Option<(Instant, Option<Arc<Status>>)>>,
}

/// Serves until the supervisor closes the control socket or a drain is over.
///
/// # Errors
/// Any [`ServeFailure`]; nothing was served then.
pub async fn serve(start: Start) -> Result<(), ServeFailure> {
    let (supervisor, mut orders) = Supervisor::start(start.control)?;
    let configuration = configuration(&mut orders).await?;
    let Configuration {
        certificate_chain_pem,
        certificate_key_pem,
        ca_pem,
        key_root,
        serial,
        ..
    } = *configuration;
    let key_root = Secret::new(key_root);
    let certificate = Arc::new(Certificate::new(&certificate_chain_pem, &certificate_key_pem.0)?);
    let tls = tls::server_config(certificate)?;
    start.listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(start.listener)?;

    // Opening may wait for a gateway that is on its way out.
    let opening = tokio::task::spawn_blocking(move || Store::open(&start.state_folder));
    let store = opening.await.map_err(|_| StoreFailure::Stopped)??;
    let clock = start.clock;
    let gateway = Arc::new(Gateway {
        supervisor: supervisor.clone(),
        engines: Arc::new(Engines::default()),
        quarantine: Arc::default(),
        tenants: Tenants::new(&key_root),
        keys: Keys::open(store.clone(), key_root, clock.clone())?,
        people: People::new(store.clone(), clock.clone()),
        sessions: Sessions::open(store.clone(), clock.clone())?,
        tries: Tries::new(clock.clone()),
        store,
        clock,
        limits: start.limits,
        ca_pem,
        serial,
        bodies: Arc::new(Semaphore::new(BODIES_BYTES_MAX)),
        stop: Arc::default(),
        cut: Closing::default(),
        turns: Arc::new(Semaphore::new(ANSWER_COUNT_MAX)),
        status: Mutex::default(),
    });
    let routes = Routes::new(Arc::clone(&gateway));
    let limits = gateway.limits.listen.clone();
    let mut listening = tokio::spawn(listen::serve(
        listener,
        tls,
        limits,
        routes,
        Arc::clone(&gateway.stop),
    ));
    // Sent when connections can already be accepted; they wait in the socket's queue until then.
    let ready = ToSupervisor::Ready {
        landlock_abi: start.landlock_abi,
    };
    if supervisor.send(&ready).is_ok() {
        tokio::select! {
            () = supervisor.closed() => {}
            () = gateway.work(&mut orders, &mut listening) => {}
        }
    }
    gateway.stop.close();
    gateway.cut.close();
    listening.abort();
    Ok(())
}

async fn configuration(
    orders: &mut mpsc::Receiver<FromSupervisor>,
) -> Result<Box<Configuration>, ServeFailure> {
    match tokio::time::timeout(CONFIGURE_TIME_MAX, orders.recv()).await {
        Ok(Some(FromSupervisor {
            message: ToGateway::Configure(configuration),
            ..
        })) => Ok(configuration),
        _ => Err(ServeFailure::NotConfigured),
    }
}

impl Gateway {
    /// Serves until a drain is over.
    async fn work(
        self: &Arc<Self>,
        orders: &mut mpsc::Receiver<FromSupervisor>,
        listening: &mut JoinHandle<()>,
    ) {
        let deadline = self.follow(orders).await;
        self.stop.close();
        // When every connection has ended there is nothing to cut.
        if tokio::time::timeout(deadline, &mut *listening).await.is_ok() {
            return;
        }
        self.cut.close();
        // What is still running gets its last event and its leaf.
        let last_words = async {
            let _ = self
                .turns
                .acquire_many(u32::try_from(ANSWER_COUNT_MAX).unwrap_or(u32::MAX))
                .await;
            let _ = listening.await;
        };
        let _ = tokio::time::timeout(LAST_WORDS_TIME, last_words).await;
    }

    /// Follows the supervisor's orders until it says to drain; returns the time for that.
    async fn follow(self: &Arc<Self>, orders: &mut mpsc::Receiver<FromSupervisor>) -> Duration {
        while let Some(FromSupervisor { message, descriptor }) = orders.recv().await {
            match message {
                ToGateway::Engine(engine) => {
                    let package_digest = engine.model.package_digest.clone();
                    let introduced = descriptor.map(|it| self.engines.introduce(*engine, it));
                    if !matches!(introduced, Some(Ok(()))) {
                        self.engines.lose(&package_digest);
                    }
                }
                ToGateway::Promote { package_digest } => {
                    // One that could not be taken up is lost again already; the supervisor sees its socket close.
                    let _is_known = self.engines.promote(&package_digest);
                    self.forget_status().await;
                }
                ToGateway::EngineGone { package_digest, .. } => self.engines.lose(&package_digest),
                ToGateway::Do { number, task } => {
                    let gateway = Arc::clone(self);
                    tokio::spawn(async move {
                        let outcome = gateway.perform(task).await;
                        // Without a supervisor nobody waits for it.
                        let _ = gateway
                            .supervisor
                            .send(&ToSupervisor::Outcome { number, outcome });
                    });
                }
                ToGateway::Drain { deadline_ms } => return Duration::from_millis(deadline_ms),
                // The first is taken at the start; answers never come here.
                ToGateway::Configure(_) | ToGateway::Answer { .. } => {}
            }
        }
        Duration::ZERO
    }

    async fn perform(&self, task: Task) -> Result<Produced, Fault> {
        match task {
            Task::CreateKey { label, owner } => match self.keys.create(&label, &owner).await {
                Ok(made) => Ok(Produced::Key {
                    key_id: made.id,
                    key: made.key,
                }),
                Err(refusal) => Err(fault(refusal.code(), Vec::new())),
            },
            Task::AskGolden {
                package_digest,
                prompts,
            } => golden::ask(self, &package_digest, &prompts)
                .await
                .map_err(|refusal| fault(refusal.code(), refusal.facts())),
            Task::CreateUser(user) => {
                let username = user.username.clone();
                match self.people.create(user).await {
                    Ok(account_id) => Ok(Produced::User { account_id }),
                    Err(refusal) => Err(fault(refusal.code(), vec![("username".to_owned(), username)])),
                }
            }
        }
    }

    /// A place among the chat requests at once.
    ///
    /// # Errors
    /// `Stopping` or `Overloaded`.
    pub fn take_turn(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        if self.stop.is_closed() {
            return Err(Refusal::Stopping);
        }
        Arc::clone(&self.turns)
            .try_acquire_owned()
            .map_err(|_| Refusal::Overloaded)
    }

    /// Whether answers can be recorded now; asked before an engine computes anything.
    ///
    /// # Errors
    /// `AuditUnavailable`.
    pub async fn require_audit(&self) -> Result<(), Refusal> {
        match self.recent_status().await {
            Ok(status) if status.audit.is_writable => Ok(()),
            _ => Err(Refusal::AuditUnavailable),
        }
    }

    /// The box's status, at most a second old. Many who ask at once share one question.
    ///
    /// # Errors
    /// `SupervisorUnavailable`.
    pub async fn recent_status(&self) -> Result<Arc<Status>, Refusal> {
        let mut kept = self.status.lock().await;
        if let Some((at, status)) = kept.as_ref()
            && at.elapsed() < STATUS_AGE_MAX
        {
            return status.clone().ok_or(Refusal::SupervisorUnavailable);
        }
        let status = match self.supervisor.ask(Ask::Status, ASK_TIME_MAX).await {
            Ok(Answer::Status(status)) => Some(Arc::from(status)),
            _ => None,
        };
        // A failure is kept too: those who waited for the lock must not ask one after another.
        *kept = Some((Instant::now(), status.clone()));
        status.ok_or(Refusal::SupervisorUnavailable)
    }

    /// Forgets the kept status: something just changed.
    pub async fn forget_status(&self) {
        *self.status.lock().await = None;
    }

    /// Has a leaf written; it is inside a signed checkpoint on disk when this returns. Returns its index.
    ///
    /// # Errors
    /// `AuditUnavailable`: the act must not be called done.
    pub async fn record(&self, record: Record) -> Result<u64, Refusal> {
        match self
            .supervisor
            .ask(Ask::Record(record), self.limits.answer.record_time)
            .await
        {
            Ok(Answer::Recorded { leaf_index }) => Ok(leaf_index),
            _ => {
                self.forget_status().await;
                Err(Refusal::AuditUnavailable)
            }
        }
    }
}

fn fault(code: &str, facts: Vec<(String, String)>) -> Fault {
    Fault {
        kind: FaultKind::Refused,
        code: code.to_owned(),
        facts,
    }
}

impl Answerer for Routes {
    async fn answer(&self, request: Request<Incoming>, source: IpAddr) -> Response<Body> {
        self.answer_from(request.map(Body::new), source).await
    }
}
