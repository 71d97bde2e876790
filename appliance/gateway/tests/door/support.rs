//! A gateway on a real port between a scripted supervisor and a scripted engine, and a client that speaks TLS.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jingui_gateway::clock::Clock;
use jingui_gateway::gateway::{Limits, ServeFailure, Start, serve};
use jingui_ipc::Channel;
use jingui_ipc::control::{Fault, FaultKind, Private, Proof};
use jingui_ipc::engine::{Finish, FromEngine, Generate, ToEngine, Token};
use jingui_ipc::gateway::{
    Answer, Ask, Configuration, Engine, Event, Inference, Produced, Record, Task, ToGateway, ToSupervisor,
};
use jingui_ipc::status::{AuditState, Health, ModelFacts, Status};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// No wait of a test is longer. Reaching it is a failure, never a way to pass.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const MODEL: &str = "canary";
pub(crate) const DIGEST: &str = "abababababababababababababababababababababababababababababababab";
pub(crate) const SERIAL: &str = "JG-0001";
pub(crate) const NOW: u64 = 1_795_550_400;
/// What GLM templates look like, without their cases.
pub(crate) const TEMPLATE: &str = "[gMASK]<sop>{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}{% endfor %}<|assistant|>";

pub(crate) struct Bench {
    pub(crate) address: SocketAddr,
    pub(crate) supervisor: FakeSupervisor,
    pub(crate) client: Client,
    pub(crate) clock: Clock,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) serving: JoinHandle<Result<(), ServeFailure>>,
}

/// How the scripted supervisor answers.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) status: Status,
    /// Whether leaves can be written.
    pub(crate) records: bool,
    /// Whether questions are answered at all.
    pub(crate) answers: bool,
    /// Answers to proofs, in order; then `auth.proof.wrong`.
    pub(crate) proofs: VecDeque<Answer>,
    pub(crate) set_up: Option<Answer>,
    pub(crate) next_leaf: u64,
}

pub(crate) struct FakeSupervisor {
    channel: Mutex<Option<Channel>>,
    pub(crate) script: Arc<Mutex<Script>>,
    pub(crate) records: tokio::sync::Mutex<mpsc::UnboundedReceiver<Record>>,
    pub(crate) proofs: tokio::sync::Mutex<mpsc::UnboundedReceiver<Proof>>,
    pub(crate) outcomes: tokio::sync::Mutex<mpsc::UnboundedReceiver<(u64, Result<Produced, Fault>)>>,
    pub(crate) other: tokio::sync::Mutex<mpsc::UnboundedReceiver<ToSupervisor>>,
}

struct Ears {
    records: mpsc::UnboundedSender<Record>,
    proofs: mpsc::UnboundedSender<Proof>,
    outcomes: mpsc::UnboundedSender<(u64, Result<Produced, Fault>)>,
    other: mpsc::UnboundedSender<ToSupervisor>,
}

/// A gateway with short limits and no engine yet.
pub(crate) async fn bench() -> Bench {
    bench_with(Limits::default()).await
}

pub(crate) async fn bench_with(limits: Limits) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::standing_at(NOW);
    start_in(folder, clock, limits).await
}

pub(crate) async fn start_in(folder: tempfile::TempDir, clock: Clock, limits: Limits) -> Bench {
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (ours, control) = UnixStream::pair().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let supervisor = FakeSupervisor::start(ours);
    supervisor.tell(&ToGateway::Configure(Box::new(Configuration {
        certificate_chain_pem: identity.cert.pem(),
        certificate_key_pem: Private(identity.signing_key.serialize_pem()),
        ca_pem: identity.cert.pem(),
        key_root: [7; 32],
        port: address.port(),
        serial: SERIAL.to_owned(),
    })));
    let start = Start {
        control,
        listener,
        state_folder: folder.path().to_owned(),
        landlock_abi: 3,
        clock: clock.clone(),
        limits,
    };
    let serving = tokio::spawn(serve(start));
    supervisor
        .heard(|message| matches!(message, ToSupervisor::Ready { landlock_abi: 3 }))
        .await;
    let client = Client::new(address, identity.cert.der().clone());
    Bench {
        address,
        supervisor,
        client,
        clock,
        folder,
        serving,
    }
}

impl Bench {
    /// Gives the gateway an engine that answers.
    pub(crate) async fn engine(&self) -> FakeEngine {
        self.engine_of(MODEL, DIGEST).await
    }

    pub(crate) async fn engine_of(&self, name: &str, digest: &str) -> FakeEngine {
        let engine = self.candidate(name, digest);
        self.promote(digest);
        // The order is taken up when the model is listed.
        let key = self.key().await;
        patiently(async {
            loop {
                let models = self.client.get("/v1/models", &[bearer(&key)]).await.json();
                if models["data"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(|model| model["id"] == name))
                {
                    return;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
        engine
    }

    /// Introduces an engine that answers nobody yet.
    pub(crate) fn candidate(&self, name: &str, digest: &str) -> FakeEngine {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut model = model_facts(name);
        model.package_digest = digest.to_owned();
        let engine = Engine {
            model,
            chat_template: TEMPLATE.to_owned(),
            stream_context_tokens: 2048,
            stream_count: 4,
        };
        self.supervisor
            .tell_with(&ToGateway::Engine(Box::new(engine)), &theirs);
        FakeEngine::start(ours)
    }

    /// The engine of that package answers from now on.
    pub(crate) fn promote(&self, digest: &str) {
        self.supervisor.tell(&ToGateway::Promote {
            package_digest: digest.to_owned(),
        });
    }

    /// Makes an API key as the supervisor would.
    pub(crate) async fn key(&self) -> String {
        let task = Task::CreateKey {
            label: "test".to_owned(),
            owner: "a-0002".to_owned(),
        };
        match self.supervisor.perform(task).await {
            Ok(Produced::Key { key, .. }) => key.0.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// Makes an ordinary user.
    pub(crate) async fn user(&self, username: &str) {
        let user = jingui_ipc::control::NewUser {
            username: username.to_owned(),
            password: Private(PASSWORD.to_owned()),
            totp_secret: Private(SECRET.to_owned()),
        };
        assert!(matches!(
            self.supervisor.perform(Task::CreateUser(user)).await,
            Ok(Produced::User { .. })
        ));
    }

    /// A code of [`SECRET`] now.
    pub(crate) fn code(&self) -> String {
        let secret = jingui_trust::totp::TotpSecret::from_base32(SECRET).unwrap();
        secret.code_at(jingui_trust::totp::step_at(self.clock.unix_seconds()))
    }

    pub(crate) async fn sign_in(&self, username: &str, password: &str, code: &str) -> Reply {
        let body = serde_json::json!({ "username": username, "password": password, "code": code });
        self.client
            .post("/api/session", &[console()], body.to_string())
            .await
    }

    /// A copy of the gateway's tables as they are on disk now: the gateway itself lets nobody else open them.
    pub(crate) fn tables(&self) -> (tempfile::TempDir, jingui_gateway::store::Store) {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        let store = jingui_gateway::store::Store::open(copy.path()).unwrap();
        (copy, store)
    }

    /// The next leaf must be of an inference.
    pub(crate) async fn inference(&self) -> (Record, Inference) {
        let record = self.supervisor.record().await;
        match record.event.clone() {
            Event::Inference(inference) => (record, inference),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) const PASSWORD: &str = "Correct-Horse-7";
pub(crate) const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

impl FakeSupervisor {
    fn start(socket: UnixStream) -> Self {
        let channel = Channel::new(socket);
        let mut listening = channel.try_clone().unwrap();
        let mut answering = channel.try_clone().unwrap();
        let script = Arc::new(Mutex::new(Script {
            status: status(),
            records: true,
            answers: true,
            proofs: VecDeque::new(),
            set_up: None,
            next_leaf: 100,
        }));
        let (records, heard_records) = mpsc::unbounded_channel();
        let (proofs, heard_proofs) = mpsc::unbounded_channel();
        let (outcomes, heard_outcomes) = mpsc::unbounded_channel();
        let (other, heard_other) = mpsc::unbounded_channel();
        let ears = Ears {
            records,
            proofs,
            outcomes,
            other,
        };
        let shared = Arc::clone(&script);
        std::thread::spawn(move || {
            while let Ok(message) = listening.receive::<ToSupervisor>() {
                hear(message, &shared, &ears, &mut answering);
            }
        });
        Self {
            channel: Mutex::new(Some(channel)),
            script,
            records: tokio::sync::Mutex::new(heard_records),
            proofs: tokio::sync::Mutex::new(heard_proofs),
            outcomes: tokio::sync::Mutex::new(heard_outcomes),
            other: tokio::sync::Mutex::new(heard_other),
        }
    }

    pub(crate) fn tell(&self, message: &ToGateway) {
        self.channel
            .lock()
            .unwrap()
            .as_mut()
            .unwrap()
            .send(message)
            .unwrap();
    }

    pub(crate) fn tell_with(&self, message: &ToGateway, descriptor: &UnixStream) {
        self.channel
            .lock()
            .unwrap()
            .as_mut()
            .unwrap()
            .send_with(message, &[descriptor.as_fd()])
            .unwrap();
    }

    /// Dies: its end of the socket closes.
    pub(crate) fn die(&self) {
        let channel = self.channel.lock().unwrap().take().unwrap();
        channel.socket().shutdown(std::net::Shutdown::Both).unwrap();
    }

    pub(crate) fn script(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    /// Waits for a message that is no question, beat or outcome.
    pub(crate) async fn heard(&self, is_it: impl Fn(&ToSupervisor) -> bool) {
        let mut other = self.other.lock().await;
        patiently(async { while !is_it(&other.recv().await.unwrap()) {} }).await;
    }

    pub(crate) async fn record(&self) -> Record {
        patiently(async { self.records.lock().await.recv().await.unwrap() }).await
    }

    pub(crate) async fn no_more_records(&self) {
        assert!(self.records.lock().await.try_recv().is_err(), "one more leaf");
    }

    pub(crate) async fn perform(&self, task: Task) -> Result<Produced, Fault> {
        self.tell(&ToGateway::Do { number: 77, task });
        let (number, outcome) = patiently(async { self.outcomes.lock().await.recv().await.unwrap() }).await;
        assert_eq!(number, 77);
        outcome
    }
}

fn hear(message: ToSupervisor, script: &Mutex<Script>, ears: &Ears, channel: &mut Channel) {
    let (number, ask) = match message {
        ToSupervisor::Ask { number, ask } => (number, ask),
        ToSupervisor::Outcome { number, outcome } => {
            let _ = ears.outcomes.send((number, outcome));
            return;
        }
        other => {
            let _ = ears.other.send(other);
            return;
        }
    };
    let mut script = script.lock().unwrap();
    let answer = match ask {
        Ask::Status => Answer::Status(Box::new(script.status.clone())),
        Ask::Models => Answer::Models(vec![model_facts(MODEL)]),
        Ask::Authenticate { proof, .. } => {
            let _ = ears.proofs.send(proof);
            script
                .proofs
                .pop_front()
                .unwrap_or_else(|| refused(FaultKind::NotAllowed, "auth.proof.wrong"))
        }
        Ask::SetUp { .. } => script
            .set_up
            .clone()
            .unwrap_or_else(|| refused(FaultKind::NotAllowed, "auth.setup.code-wrong")),
        Ask::Record(record) => {
            if script.records {
                let _ = ears.records.send(record);
                script.next_leaf += 1;
                Answer::Recorded {
                    leaf_index: script.next_leaf - 1,
                }
            } else {
                refused(FaultKind::Unavailable, "audit.log.unwritable")
            }
        }
    };
    if script.answers {
        let _ = channel.send(&ToGateway::Answer { number, answer });
    }
}

pub(crate) fn refused(kind: FaultKind, code: &str) -> Answer {
    Answer::Refused(Fault {
        kind,
        code: code.to_owned(),
        facts: Vec::new(),
    })
}

pub(crate) struct FakeEngine {
    channel: Option<Channel>,
    heard: mpsc::UnboundedReceiver<ToEngine>,
}

impl FakeEngine {
    fn start(socket: UnixStream) -> Self {
        let channel = Channel::new(socket);
        let mut listening = channel.try_clone().unwrap();
        let (sender, heard) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            while let Ok(message) = listening.receive::<ToEngine>() {
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Self {
            channel: Some(channel),
            heard,
        }
    }

    pub(crate) async fn hear(&mut self) -> ToEngine {
        patiently(async { self.heard.recv().await.expect("the gateway is there") }).await
    }

    pub(crate) fn has_heard_nothing(&mut self) -> bool {
        self.heard.try_recv().is_err()
    }

    pub(crate) async fn generate(&mut self) -> Generate {
        match self.hear().await {
            ToEngine::Generate(generate) => *generate,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn cancelled(&mut self) -> u64 {
        match self.hear().await {
            ToEngine::Cancel { stream } => stream,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn say(&mut self, event: &FromEngine) {
        self.channel.as_mut().unwrap().send(event).unwrap();
    }

    /// Takes a stream up and begins to compute it.
    pub(crate) fn accept(&mut self, stream: u64, prompt_tokens: u32) {
        self.say(&FromEngine::Accepted {
            stream,
            prompt_tokens,
        });
        self.started(stream, 0);
    }

    pub(crate) fn started(&mut self, stream: u64, cached_tokens: u32) {
        self.say(&FromEngine::Started {
            stream,
            cached_tokens,
        });
    }

    pub(crate) fn token(&mut self, stream: u64, text: &str) {
        self.token_with_id(stream, 1, text);
    }

    pub(crate) fn token_with_id(&mut self, stream: u64, id: u32, text: &str) {
        let token = Token {
            stream,
            id,
            bytes: text.as_bytes().to_vec(),
            logprobs: None,
        };
        self.say(&FromEngine::Token(Box::new(token)));
    }

    pub(crate) fn done(&mut self, stream: u64, finish: Finish, prompt_tokens: u32, completion_tokens: u32) {
        self.say(&FromEngine::Done {
            stream,
            finish,
            prompt_tokens,
            completion_tokens,
            cached_tokens: 0,
        });
    }

    /// Takes a request and answers it with these tokens.
    pub(crate) async fn answer(&mut self, tokens: &[&str]) -> Generate {
        let generate = self.generate().await;
        self.accept(generate.stream, 9);
        for token in tokens {
            self.token(generate.stream, token);
        }
        self.done(
            generate.stream,
            Finish::Stop,
            9,
            u32::try_from(tokens.len()).unwrap() + 1,
        );
        generate
    }

    pub(crate) fn die(&mut self) {
        let channel = self.channel.take().unwrap();
        channel.socket().shutdown(std::net::Shutdown::Both).unwrap();
    }
}

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    config: rustls::ClientConfig,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Client {
    pub(crate) fn new(address: SocketAddr, trusted: CertificateDer<'static>) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(trusted).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { address, config }
    }

    pub(crate) fn only(&self, version: &'static rustls::SupportedProtocolVersion) -> Self {
        let provider = Arc::clone(self.config.crypto_provider());
        let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
            .with_no_client_auth();
        Self {
            config,
            ..self.clone()
        }
    }

    pub(crate) async fn tls(&self, alpn: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut config = self.config.clone();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let socket = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, socket).await
    }

    /// Sends one request over HTTP/1.1 and returns when the header of the answer is here.
    pub(crate) async fn open(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let socket = self.tls(&[b"http/1.1"]).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
            .await
            .unwrap();
        tokio::spawn(connection);
        patiently(sender.send_request(request)).await.unwrap()
    }

    /// A connection over HTTP/2.
    pub(crate) async fn http2(&self) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
        let socket = self.tls(&[b"h2"]).await.unwrap();
        assert_eq!(socket.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
                .await
                .unwrap();
        tokio::spawn(connection);
        sender
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Reply {
        collect(self.open(request).await).await
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(HeaderName, HeaderValue)]) -> Reply {
        self.send(request(Method::GET, path, headers, "")).await
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: impl Into<Bytes>,
    ) -> Reply {
        self.send(request(Method::POST, path, headers, body)).await
    }

    pub(crate) async fn chat(&self, key: &str, body: serde_json::Value) -> Reply {
        self.post("/v1/chat/completions", &[bearer(key)], body.to_string())
            .await
    }

    /// Starts a stream; panics unless it begins with 200.
    pub(crate) async fn stream(&self, key: &str, mut body: serde_json::Value) -> Events {
        body["stream"] = true.into();
        let request = request(
            Method::POST,
            "/v1/chat/completions",
            &[bearer(key)],
            body.to_string(),
        );
        let answer = self.open(request).await;
        assert_eq!(answer.status(), StatusCode::OK);
        Events::of(answer)
    }
}

/// Server-sent events as they come.
pub(crate) struct Events {
    pub(crate) headers: HeaderMap,
    body: Incoming,
    text: String,
    is_over: bool,
}

impl Events {
    pub(crate) fn of(answer: Response<Incoming>) -> Self {
        let (parts, body) = answer.into_parts();
        Self {
            headers: parts.headers,
            body,
            text: String::new(),
            is_over: false,
        }
    }

    /// The next event with its trailing blank line taken off; `None` at the end of the body.
    pub(crate) async fn next(&mut self) -> Option<String> {
        patiently(async {
            loop {
                if let Some((event, rest)) = self.text.split_once("\n\n") {
                    let (event, rest) = (event.to_owned(), rest.to_owned());
                    self.text = rest;
                    return Some(event);
                }
                if self.is_over {
                    assert_eq!(self.text, "", "the stream ends with a whole event");
                    return None;
                }
                match self.body.frame().await {
                    Some(frame) => {
                        let data = frame.unwrap().into_data().unwrap();
                        self.text.push_str(std::str::from_utf8(&data).unwrap());
                    }
                    None => self.is_over = true,
                }
            }
        })
        .await
    }

    /// The next event's JSON.
    pub(crate) async fn chunk(&mut self) -> serde_json::Value {
        let event = self.next().await.expect("one more event");
        let data = event
            .strip_prefix("data: ")
            .unwrap_or_else(|| panic!("no data: {event:?}"));
        serde_json::from_str(data).unwrap_or_else(|_| panic!("no JSON: {event:?}"))
    }

    /// Text of the next piece.
    pub(crate) async fn content(&mut self) -> String {
        let chunk = self.chunk().await;
        chunk["choices"][0]["delta"]["content"]
            .as_str()
            .unwrap_or_else(|| panic!("{chunk}"))
            .to_owned()
    }

    pub(crate) async fn rest(&mut self) -> Vec<String> {
        let mut rest = Vec::new();
        while let Some(event) = self.next().await {
            rest.push(event);
        }
        rest
    }
}

pub(crate) fn request(
    method: Method,
    path: &str,
    headers: &[(HeaderName, HeaderValue)],
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(Full::new(body.into())).unwrap()
}

pub(crate) async fn collect(answer: Response<Incoming>) -> Reply {
    let (parts, body) = answer.into_parts();
    let body = patiently(body.collect()).await.unwrap().to_bytes();
    Reply {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

pub(crate) fn header(name: &'static str, value: &str) -> (HeaderName, HeaderValue) {
    (
        HeaderName::from_static(name),
        HeaderValue::from_str(value).unwrap(),
    )
}

pub(crate) fn bearer(key: &str) -> (HeaderName, HeaderValue) {
    header("authorization", &format!("Bearer {key}"))
}

pub(crate) fn console() -> (HeaderName, HeaderValue) {
    header("x-jingui-console", "1")
}

/// The `Cookie` header that a browser would send back.
pub(crate) fn cookie_of(reply: &Reply) -> (HeaderName, HeaderValue) {
    header("cookie", reply.header("set-cookie").split(';').next().unwrap())
}

pub(crate) fn question(text: &str) -> serde_json::Value {
    serde_json::json!({ "model": MODEL, "messages": [{ "role": "user", "content": text }] })
}

pub(crate) async fn patiently<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("it did not happen")
}

pub(crate) fn model_facts(name: &str) -> ModelFacts {
    ModelFacts {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        security_version: 1,
        package_digest: DIGEST.to_owned(),
        weights_digest: "cd".repeat(32),
        weights_bytes: 6_000_000,
        signed_by: "ef".repeat(32),
        architecture: "glm4".to_owned(),
        parameter_count: 3_000_000,
        layer_count: 4,
        head_count: 4,
        kv_head_count: 2,
        context_tokens: 2048,
        kv_bytes_per_token: 1024,
        tensor_types: vec![("F16".to_owned(), 30)],
        tokenizer: "gpt2/glm4".to_owned(),
        chat_template_digest: "01".repeat(32),
        license: "Apache-2.0".to_owned(),
        filing_number: String::new(),
        imported_at: "2026-11-24T20:00:00Z".to_owned(),
        state: "serving".to_owned(),
    }
}

pub(crate) fn status() -> Status {
    Status {
        version: "0.1.0".to_owned(),
        serial: SERIAL.to_owned(),
        health: Health::Ok,
        reasons: Vec::new(),
        details: Vec::new(),
        is_set_up: true,
        is_developer_mode: true,
        supervisor_pid: 7,
        processes: Vec::new(),
        serving: None,
        platform: Vec::new(),
        guarantees: Vec::new(),
        audit: AuditState {
            origin: "jingui/x".to_owned(),
            vkey: "x+1+y".to_owned(),
            size: 4,
            root: "AAAA".to_owned(),
            is_writable: true,
        },
        uptime_ms: 100,
    }
}

/// For tests of TLS versions only: whom one talks to is not their subject.
#[derive(Debug)]
struct Anyone(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
