//! The accept loop: TCP, TLS, and the HTTP version that TLS agreed on, each with its caps and time-outs.
//!
//! Nothing a client does or leaves undone holds a connection for ever: the handshake, the header, an idle connection
//! and a write that makes no progress have deadlines here; bodies have theirs in `call.rs`, answers in `answering.rs`.
//! A connection above a cap is closed at once, so that the loop never waits for one.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;

use crate::closing::Closing;

/// Connections open at once.
pub const CONNECTION_COUNT_MAX: usize = 1024;
/// Connections open at once from one address.
pub const CONNECTION_COUNT_PER_ADDRESS_MAX: usize = 256;
/// Longest TLS handshake.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest time between two requests of an HTTP/1 connection, the reading of the header counted.
pub const HEADER_TIME_MAX: Duration = Duration::from_secs(20);
/// Longest time without a request on an HTTP/2 connection.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest time in which a write makes no progress: the client does not read.
pub const WRITE_STALL_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest header of a request in bytes, the request line and all fields together.
pub const HEADER_BYTES_MAX: usize = 32 * 1024;
/// Bytes of an HTTP/1 connection that are held before they are taken; the longest header fits.
const CONNECTION_BUFFER_BYTES_MAX: usize = 2 * HEADER_BYTES_MAX;
/// Fields in the header of an HTTP/1 request.
pub const HEADER_COUNT_MAX: usize = 100;
/// Requests at once on an HTTP/2 connection.
pub const HTTP2_STREAM_COUNT_MAX: u32 = 100;
/// Requests that an HTTP/2 client may reset before they are taken up; one more ends the connection (CVE-2023-44487).
pub const HTTP2_RESET_COUNT_MAX: usize = 20;
/// Resets that an HTTP/2 client's own errors may cause before the connection ends.
pub const HTTP2_LOCAL_RESET_COUNT_MAX: usize = 64;
/// How often an HTTP/2 client is asked whether it lives.
pub const HTTP2_PING_PERIOD: Duration = Duration::from_secs(20);
/// How long it may take to answer.
pub const HTTP2_PING_TIME_MAX: Duration = Duration::from_secs(20);
/// Pause after an error of accept(2) that will not pass by itself, such as no free descriptors.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);

/// The limits of the loop. [`Default`] gives the constants of this module; tests use shorter ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// [`CONNECTION_COUNT_MAX`].
    pub connection_count: usize,
    /// [`CONNECTION_COUNT_PER_ADDRESS_MAX`].
    pub connection_count_per_address: usize,
    /// [`HANDSHAKE_TIME_MAX`].
    pub handshake_time: Duration,
    /// [`HEADER_TIME_MAX`].
    pub header_time: Duration,
    /// [`IDLE_TIME_MAX`].
    pub idle_time: Duration,
    /// [`WRITE_STALL_TIME_MAX`].
    pub write_stall_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connection_count: CONNECTION_COUNT_MAX,
            connection_count_per_address: CONNECTION_COUNT_PER_ADDRESS_MAX,
            handshake_time: HANDSHAKE_TIME_MAX,
            header_time: HEADER_TIME_MAX,
            idle_time: IDLE_TIME_MAX,
            write_stall_time: WRITE_STALL_TIME_MAX,
        }
    }
}

/// What answers requests.
pub trait Answerer: Clone + Send + Sync + 'static {
    /// Answers one request from that address; a refusal is an answer too.
    fn answer(
        &self,
        request: Request<Incoming>,
        source: IpAddr,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// Accepts connections until `stop` closes, then lets those that are open finish.
///
/// Returns when the last one has ended; the caller bounds how long it waits for that.
pub async fn serve<A: Answerer>(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    limits: Limits,
    answerer: A,
    stop: Arc<Closing>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let places = Places::new(&limits);
    loop {
        let accepted = tokio::select! {
            () = stop.wait() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, address)) => {
                // Without a place the socket is closed here.
                let Some(place) = places.take(address.ip()) else {
                    continue;
                };
                let connection = Connection {
                    limits: limits.clone(),
                    answerer: answerer.clone(),
                    source: address.ip().to_canonical(),
                    stop: Arc::clone(&stop),
                    requests: Arc::default(),
                };
                tokio::spawn(connection.run(acceptor.clone(), socket, place));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => tokio::time::sleep(ACCEPT_BACK_OFF).await,
        }
    }
    drop(listener);
    places.all_free().await;
}

/// Errors that belong to the connection that was to be accepted (accept(2)); the next one may be fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Places for connections, in all and per address.
#[derive(Debug, Clone)]
struct Places {
    all: Arc<Semaphore>,
    all_count: u32,
    per_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    per_address_max: usize,
}

/// A place that one connection holds.
#[derive(Debug)]
struct Place {
    places: Places,
    address: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    fn new(limits: &Limits) -> Self {
        Self {
            all: Arc::new(Semaphore::new(limits.connection_count)),
            all_count: u32::try_from(limits.connection_count).unwrap_or(u32::MAX),
            per_address: Arc::default(),
            per_address_max: limits.connection_count_per_address,
        }
    }

    fn take(&self, address: IpAddr) -> Option<Place> {
        let permit = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let mut counts = self.per_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_insert(0);
        if *count >= self.per_address_max {
            return None;
        }
        *count += 1;
        Some(Place {
            places: self.clone(),
            address,
            _permit: permit,
        })
    }

    async fn all_free(&self) {
        // The semaphore is never closed, so this only waits.
        let _ = self.all.acquire_many(self.all_count).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self
            .places
            .per_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

struct Connection<A> {
    limits: Limits,
    answerer: A,
    source: IpAddr,
    stop: Arc<Closing>,
    requests: Arc<Requests>,
}

impl<A: Answerer> Connection<A> {
    async fn run(self, acceptor: TlsAcceptor, socket: TcpStream, place: Place) {
        // Tokens are small and must leave at once; without it they are only later.
        let _ = socket.set_nodelay(true);
        let socket = Guarded::new(socket, self.limits.write_stall_time);
        let handshake = tokio::time::timeout(self.limits.handshake_time, acceptor.accept(socket)).await;
        let Ok(Ok(socket)) = handshake else { return };
        if socket.get_ref().1.alpn_protocol() == Some(b"h2") {
            self.serve_http2(socket).await;
        } else {
            self.serve_http1(socket).await;
        }
        drop(place);
    }

    async fn serve_http1(self, socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_time)
            .max_headers(HEADER_COUNT_MAX)
            .max_header_size(HEADER_BYTES_MAX)
            .max_buf_size(CONNECTION_BUFFER_BYTES_MAX);
        let service = hyper::service::service_fn(|request| self.answer(request));
        let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
        // How a connection ended matters to nobody but its client.
        tokio::select! {
            _ended = connection.as_mut() => return,
            () = self.stop.wait() => connection.as_mut().graceful_shutdown(),
        }
        let _ended = connection.await;
    }

    async fn serve_http2(self, socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let this = Arc::new(self);
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(HTTP2_STREAM_COUNT_MAX)
            .max_pending_accept_reset_streams(HTTP2_RESET_COUNT_MAX)
            .max_local_error_reset_streams(HTTP2_LOCAL_RESET_COUNT_MAX)
            .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX))
            .keep_alive_interval(HTTP2_PING_PERIOD)
            .keep_alive_timeout(HTTP2_PING_TIME_MAX);
        let answerer = Arc::clone(&this);
        let service = hyper::service::service_fn(move |request| {
            let this = Arc::clone(&answerer);
            async move { this.answer(request).await }
        });
        let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
        tokio::select! {
            _ended = connection.as_mut() => return,
            () = this.stop.wait() => {}
            () = this.requests.idle_for(this.limits.idle_time) => {}
        }
        connection.as_mut().graceful_shutdown();
        // A client that does not take the hint and has nothing running is cut off.
        tokio::select! {
            _ended = connection.as_mut() => {}
            () = this.requests.idle_for(this.limits.idle_time) => {}
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let running = Requests::begin(&self.requests);
        let answer = self.answerer.answer(request, self.source).await;
        Ok(answer.map(|body| {
            Body::new(Counted {
                body,
                _running: running,
            })
        }))
    }
}

/// Requests of a connection that run now.
#[derive(Debug, Default)]
struct Requests {
    running: AtomicUsize,
    changed: Notify,
}

struct Running(Arc<Requests>);

impl Requests {
    fn begin(this: &Arc<Self>) -> Running {
        this.running.fetch_add(1, Ordering::SeqCst);
        this.changed.notify_one();
        Running(Arc::clone(this))
    }

    /// Resolves when nothing ran for that long.
    async fn idle_for(&self, time: Duration) {
        loop {
            let changed = self.changed.notified();
            if self.running.load(Ordering::SeqCst) > 0 {
                changed.await;
            } else if tokio::time::timeout(time, changed).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_one();
    }
}

/// A body whose request counts as running until the body is gone.
struct Counted {
    body: Body,
    _running: Running,
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A socket on which a write that makes no progress fails after a time.
struct Guarded<S> {
    socket: S,
    time: Duration,
    stall: Option<Pin<Box<Sleep>>>,
}

impl<S> Guarded<S> {
    fn new(socket: S, time: Duration) -> Self {
        Self {
            socket,
            time,
            stall: None,
        }
    }

    /// Judges the outcome of a write: progress ends the stall, none lets it go on until it is too long.
    fn judge<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let time = self.time;
        let stall = self
            .stall
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
        stall
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.judge(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        self.judge(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.socket).poll_shutdown(cx);
        self.judge(cx, closed)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, pieces);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
