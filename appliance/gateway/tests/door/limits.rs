//! What clients may do to a connection, each limit at it and one past it.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use jingui_gateway::gateway::Limits;
use jingui_gateway::listen::{
    HEADER_BYTES_MAX, HEADER_COUNT_MAX, HTTP2_RESET_COUNT_MAX, HTTP2_STREAM_COUNT_MAX,
};
use jingui_gateway::routes::{CHAT_BODY_BYTES_MAX, SMALL_BODY_BYTES_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

/// Reads until the other side closes; returns what came.
async fn read_to_end(socket: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut bytes = Vec::new();
    // A connection that is cut without TLS's goodbye is closed all the same.
    let _ = patiently(socket.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

fn short(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

#[tokio::test]
async fn a_handshake_that_does_not_begin_is_cut_off() {
    let bench = bench_with(short(|it| it.listen.handshake_time = Duration::from_millis(200))).await;
    let mut socket = TcpStream::connect(bench.address).await.unwrap();
    assert_eq!(read_to_end(&mut socket).await, "");
    assert_eq!(bench.client.get("/healthz", &[]).await.status, 200);
}

#[tokio::test]
async fn a_header_that_comes_too_slowly_is_cut_off() {
    let bench = bench_with(short(|it| it.listen.header_time = Duration::from_millis(300))).await;
    let mut socket = bench.client.tls(&[b"http/1.1"]).await.unwrap();
    socket
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: local")
        .await
        .unwrap();
    let said = read_to_end(&mut socket).await;
    assert!(!said.contains("200"), "{said}");
    // One that says nothing at all after the handshake, too.
    let mut socket = bench.client.tls(&[b"http/1.1"]).await.unwrap();
    read_to_end(&mut socket).await;
}

#[tokio::test]
async fn an_idle_http2_connection_is_closed() {
    let bench = bench_with(short(|it| it.listen.idle_time = Duration::from_millis(200))).await;
    let mut sender = bench.client.http2().await;
    let answer = sender
        .send_request(request(Method::GET, "https://localhost/healthz", &[], ""))
        .await
        .unwrap();
    assert_eq!(collect(answer).await.status, 200);
    patiently(async {
        while sender.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_http2_connection_with_a_running_stream_is_not_idle() {
    let bench = bench_with(short(|it| it.listen.idle_time = Duration::from_millis(100))).await;
    let mut engine = bench.engine().await;
    let key = bench.key().await;
    let mut sender = bench.client.http2().await;
    let uri = "https://localhost/v1/chat/completions";
    let asking = sender.send_request(request(
        Method::POST,
        uri,
        &[bearer(&key)],
        question("x").to_string(),
    ));
    let (answer, ()) = tokio::join!(asking, async {
        let generate = engine.generate().await;
        // Another connection goes idle and is closed meanwhile: more than the idle time has passed.
        let mut idle = bench.client.http2().await;
        patiently(async {
            while idle.ready().await.is_ok() {
                tokio::task::yield_now().await
            }
        })
        .await;
        engine.accept(generate.stream, 4);
        engine.done(generate.stream, jingui_ipc::engine::Finish::Stop, 4, 1);
    });
    assert_eq!(collect(answer.unwrap()).await.status, 200);
}

#[tokio::test]
async fn connections_are_taken_up_to_the_cap_and_one_more_is_closed_at_once() {
    for is_per_address in [false, true] {
        let limits = short(|it| match is_per_address {
            false => it.listen.connection_count = 3,
            true => it.listen.connection_count_per_address = 3,
        });
        let bench = bench_with(limits).await;
        let mut open = Vec::new();
        for _ in 0..3 {
            open.push(bench.client.tls(&[b"http/1.1"]).await.unwrap());
        }
        assert!(
            bench.client.tls(&[b"http/1.1"]).await.is_err(),
            "one past the cap"
        );
        // A place that is given back can be taken again.
        drop(open.pop());
        patiently(async {
            while bench.client.tls(&[b"http/1.1"]).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn headers_are_taken_up_to_their_size_and_number() {
    let bench = bench().await;
    let status = async |headers: &str| {
        let mut socket = bench.client.tls(&[b"http/1.1"]).await.unwrap();
        let request = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
        // The server may close before it has read all.
        let _ = socket.write_all(request.as_bytes()).await;
        let said = read_to_end(&mut socket).await;
        said.split(' ').nth(1).unwrap_or("none").to_owned()
    };
    let many = |count: usize| {
        (0..count)
            .map(|number| format!("x-{number}: 1\r\n"))
            .collect::<String>()
    };
    assert_eq!(status(&many(HEADER_COUNT_MAX - 2)).await, "200");
    assert_eq!(status(&many(HEADER_COUNT_MAX - 1)).await, "431");
    let around = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx: \r\n\r\n".len();
    let long = |bytes: usize| format!("x: {}\r\n", "1".repeat(bytes - around));
    assert_eq!(status(&long(HEADER_BYTES_MAX)).await, "200");
    assert_eq!(status(&long(HEADER_BYTES_MAX + 1)).await, "431");
}

#[tokio::test]
async fn http2_headers_past_their_size_are_refused() {
    let bench = bench().await;
    let mut sender = bench.client.http2().await;
    let long = header("x-long", &"1".repeat(HEADER_BYTES_MAX + 1));
    let answer = sender
        .send_request(request(Method::GET, "https://localhost/healthz", &[long], ""))
        .await;
    assert!(answer.map_or(true, |answer| answer.status() == 431));
}

#[tokio::test]
async fn bodies_are_taken_up_to_their_cap() {
    let bench = bench().await;
    let _engine = bench.engine().await;
    let key = bench.key().await;
    // At the cap the body is read, and refused for what it is.
    let reply = bench
        .client
        .post(
            "/v1/chat/completions",
            &[bearer(&key)],
            vec![b' '; CHAT_BODY_BYTES_MAX],
        )
        .await;
    assert_eq!(
        (reply.status.as_u16(), reply.json()["error"]["code"].as_str()),
        (400, Some("invalid_value"))
    );
    let reply = bench
        .client
        .post(
            "/v1/chat/completions",
            &[bearer(&key)],
            vec![b' '; CHAT_BODY_BYTES_MAX + 1],
        )
        .await;
    assert_eq!(
        (reply.status.as_u16(), reply.json()["error"]["code"].as_str()),
        (413, Some("request_too_large"))
    );
    assert_eq!(reply.header("x-should-retry"), "false");
    let reply = bench
        .client
        .post("/api/session", &[console()], vec![b' '; SMALL_BODY_BYTES_MAX])
        .await;
    assert_eq!(
        (reply.status.as_u16(), reply.json()["code"].as_str()),
        (400, Some("api.body.malformed"))
    );
    let reply = bench
        .client
        .post("/api/session", &[console()], vec![b' '; SMALL_BODY_BYTES_MAX + 1])
        .await;
    assert_eq!(
        (reply.status.as_u16(), reply.json()["code"].as_str()),
        (413, Some("api.body.too-large"))
    );
}

#[tokio::test]
async fn a_body_of_unknown_length_has_the_same_cap() {
    let bench = bench().await;
    let pieces = (0..=SMALL_BODY_BYTES_MAX / 1024)
        .map(|_| Ok::<_, std::convert::Infallible>(hyper::body::Frame::data(Bytes::from(vec![b' '; 1024]))));
    let body = StreamBody::new(futures_util::stream::iter(pieces));
    let request = Request::post("/api/session")
        .header("host", "localhost")
        .header("x-jingui-console", "1");
    let socket = bench.client.tls(&[b"http/1.1"]).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
        .await
        .unwrap();
    tokio::spawn(connection);
    let answer = patiently(sender.send_request(request.body(body).unwrap()))
        .await
        .unwrap();
    assert_eq!(answer.status(), 413);
}

#[tokio::test]
async fn strangers_are_refused_before_their_body_is_read() {
    let bench = bench().await;
    let mut socket = bench.client.tls(&[b"http/1.1"]).await.unwrap();
    // The body is announced and never sent: the answer does not wait for it.
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 33554432\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let said = read_to_end(&mut socket).await;
    assert!(said.starts_with("HTTP/1.1 401"), "{said}");
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_given_up() {
    for limits in [
        short(|it| it.body.idle_time = Duration::from_millis(200)),
        short(|it| it.body.time = Duration::from_millis(200)),
    ] {
        let bench = bench_with(limits).await;
        let mut socket = bench.client.tls(&[b"http/1.1"]).await.unwrap();
        let head =
            "POST /api/session HTTP/1.1\r\nhost: x\r\nx-jingui-console: 1\r\ncontent-length: 10\r\n\r\n{";
        socket.write_all(head.as_bytes()).await.unwrap();
        let said = read_to_end(&mut socket).await;
        assert!(said.starts_with("HTTP/1.1 408"), "{said}");
        assert!(said.contains("api.body.too-slow"), "{said}");
    }
}

// The engine's socket is written here while the gateway reads it: two threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_loses_its_stream() {
    let limits = short(|it| {
        it.answer.client_stall_time = Duration::from_millis(200);
        it.listen.write_stall_time = Duration::from_millis(400);
    });
    let bench = bench_with(limits).await;
    let mut engine = bench.engine().await;
    let key = bench.key().await;
    let mut body = question("x");
    body["stream"] = true.into();
    let body = body.to_string();
    let mut socket = bench.client.tls(&[b"http/1.1"]).await.unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let generate = engine.generate().await;
    engine.accept(generate.stream, 4);
    // Far more than the sockets hold, and nobody reads.
    let text = "x".repeat(64 * 1024);
    for _ in 0..400 {
        engine.token(generate.stream, &text);
    }
    assert_eq!(engine.cancelled().await, generate.stream);
    engine.done(generate.stream, jingui_ipc::engine::Finish::Cancelled, 4, 400);
    let (_, inference) = bench.inference().await;
    assert!(
        ["error", "cancelled"].contains(&inference.finish.as_str()),
        "{inference:?}"
    );
    drop(socket);
}

#[tokio::test]
async fn tls_1_3_and_1_2_are_spoken_and_nothing_older_or_plain() {
    let bench = bench().await;
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let client = bench.client.only(version);
        assert_eq!(client.get("/healthz", &[]).await.status, 200);
        let mut sender = client.http2().await;
        let answer = sender
            .send_request(request(Method::GET, "https://localhost/healthz", &[], ""))
            .await
            .unwrap();
        assert_eq!(collect(answer).await.text(), "ok\n");
    }
    let mut plain = TcpStream::connect(bench.address).await.unwrap();
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let said = read_to_end(&mut plain).await;
    assert!(!said.contains("HTTP/1.1"), "{said}");
}

#[tokio::test]
async fn a_client_without_a_protocol_gets_http_1() {
    let bench = bench().await;
    let mut socket = bench.client.tls(&[]).await.unwrap();
    socket
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    assert!(read_to_end(&mut socket).await.starts_with("HTTP/1.1 200"));
}

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Types of the frames that come back until the connection ends or a `PING` is answered.
async fn frame_types(socket: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut kinds = Vec::new();
    let mut head = [0; 9];
    while patiently(socket.read_exact(&mut head)).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        if patiently(socket.read_exact(&mut payload)).await.is_err() {
            break;
        }
        kinds.push(head[3]);
        if head[3] == PING && head[4] == ACK {
            break;
        }
    }
    kinds
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;

/// Requests reset in the same write that opens them: the server has taken up none of them (CVE-2023-44487).
#[tokio::test]
async fn http2_resets_are_borne_up_to_their_number_and_then_end_the_connection() {
    let bench = bench().await;
    for (count, is_borne) in [(HTTP2_RESET_COUNT_MAX, true), (HTTP2_RESET_COUNT_MAX + 1, false)] {
        let mut socket = bench.client.tls(&[b"h2"]).await.unwrap();
        socket
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        socket.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        // GET https localhost / by the static table of HPACK, then the end of header and stream.
        let request = [&[0x82, 0x87, 0x84, 0x41, 9][..], b"localhost"].concat();
        let mut flood = Vec::new();
        for number in 0..u32::try_from(count).unwrap() {
            let stream = 2 * number + 1;
            flood.extend(frame(HEADERS, 0x4 | 0x1, stream, &request));
            flood.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        }
        flood.extend(frame(PING, 0, 0, &[0; 8]));
        socket.write_all(&flood).await.unwrap();
        let kinds = frame_types(&mut socket).await;
        assert_eq!(kinds.contains(&PING), is_borne, "{count}: {kinds:?}");
        assert_eq!(kinds.contains(&GOAWAY), !is_borne, "{count}: {kinds:?}");
    }
    assert_eq!(bench.client.get("/healthz", &[]).await.status, 200);
}

#[tokio::test]
async fn http2_streams_run_up_to_their_number_and_one_more_is_reset() {
    let bench = bench().await;
    for (count, is_borne) in [
        (HTTP2_STREAM_COUNT_MAX, true),
        (HTTP2_STREAM_COUNT_MAX + 1, false),
    ] {
        let mut socket = bench.client.tls(&[b"h2"]).await.unwrap();
        socket
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        socket.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        // POST https localhost /api/session, whose body does not come: each stream waits.
        let mut request = [
            &[0x83, 0x87, 0x41, 9][..],
            b"localhost",
            &[0x44, 12],
            b"/api/session",
        ]
        .concat();
        request.extend([&[0, 16][..], b"x-jingui-console", &[1], b"1"].concat());
        let mut flood = Vec::new();
        for number in 0..count {
            flood.extend(frame(HEADERS, 0x4, 2 * number + 1, &request));
        }
        flood.extend(frame(PING, 0, 0, &[0; 8]));
        socket.write_all(&flood).await.unwrap();
        let kinds = frame_types(&mut socket).await;
        assert_eq!(kinds.contains(&RST_STREAM), !is_borne, "{count}: {kinds:?}");
        assert!(!kinds.contains(&GOAWAY), "{count}: {kinds:?}");
    }
}

#[tokio::test]
async fn garbage_on_the_port_hurts_nobody() {
    let bench = bench().await;
    for garbage in [
        &b"\x16\x03\x01\xff\xff"[..],
        &[0; 4096],
        b"\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut socket = TcpStream::connect(bench.address).await.unwrap();
        socket.write_all(garbage).await.unwrap();
        socket.shutdown().await.unwrap();
        read_to_end(&mut socket).await;
    }
    let mut socket = bench.client.tls(&[b"h2"]).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    read_to_end(&mut socket).await;
    assert_eq!(bench.client.get("/healthz", &[]).await.status, 200);
}

/// A body is collected by hand, to see that nothing is compressed or held back.
#[tokio::test]
async fn each_token_leaves_in_its_own_frame() {
    let bench = bench().await;
    let mut engine = bench.engine().await;
    let key = bench.key().await;
    let mut body = question("x");
    body["stream"] = true.into();
    let headers = [bearer(&key), header("accept-encoding", "gzip, br")];
    let asking = request(Method::POST, "/v1/chat/completions", &headers, body.to_string());
    let (answer, generate) = tokio::join!(bench.client.open(asking), async {
        let generate = engine.generate().await;
        engine.accept(generate.stream, 4);
        generate
    });
    assert!(!answer.headers().contains_key("content-encoding"));
    let mut answer = answer.into_body();
    let role = patiently(answer.frame())
        .await
        .unwrap()
        .unwrap()
        .into_data()
        .unwrap();
    assert!(String::from_utf8_lossy(&role).contains("assistant"));
    for number in 0..3 {
        engine.token(generate.stream, &format!("<{number}>"));
        let frame = patiently(answer.frame())
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap();
        assert!(String::from_utf8_lossy(&frame).contains(&format!("<{number}>")));
    }
}
