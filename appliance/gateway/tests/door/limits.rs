//! What clients may do to a connection, each limit at it and one past it.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use jingui_gateway::gateway::Limits;
use jingui_gateway::listen::{HEADER_BYTES_MAX, HEADER_COUNT_MAX};
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

#[tokio::test]
async fn an_http2_client_that_resets_without_end_is_cut_off() {
    let bench = bench().await;
    let key = bench.key().await;
    let sender = bench.client.http2().await;
    // Requests that wait for their body, dropped at once: each becomes a reset (CVE-2023-44487).
    let mut broken = false;
    for _ in 0..5_000 {
        let mut sender = sender.clone();
        let uri = "https://localhost/v1/chat/completions";
        let request = request(Method::POST, uri, &[bearer(&key)], question("x").to_string());
        let asking = sender.send_request(request);
        tokio::pin!(asking);
        // Polled once, so that it is sent, then dropped.
        let polled = futures_util::future::poll_immediate(asking.as_mut()).await;
        if matches!(polled, Some(Err(_))) {
            broken = true;
            break;
        }
        tokio::task::yield_now().await;
    }
    // Cut off or not, others are served.
    assert_eq!(bench.client.get("/healthz", &[]).await.status, 200);
    drop((sender, broken));
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
