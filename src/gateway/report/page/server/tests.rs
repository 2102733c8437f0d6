use super::*;
use crate::gateway::host::sample::compiled;
use crate::gateway::report::page::view::tests::snapshot;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

/// Serves at a port of its own; a control loop answers with the same state each time, or never.
async fn serve_with(answers: bool) -> SocketAddr {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = PageListener::bind(any).await.expect("a free port");
    let address = listener.address;
    let published = Arc::new(Published::new(compiled("", 1), None, 1));
    let mut server = Some(listener.serve(published));
    tokio::spawn(async move {
        let mut packets = 0;
        loop {
            let questions = PageServer::asked(&mut server).await;
            if !answers {
                drop(questions);
                continue;
            }
            packets += 1;
            let mut snapshot = snapshot();
            snapshot.status.verdicts[0].packets = packets;
            questions.answer(snapshot);
        }
    });
    address
}

/// Sends `request` and returns everything the server sends until it closes the connection.
async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    // The connection may be closed before all of it is sent.
    _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    // A connection that is reset has sent all that it had to send.
    _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn ask(address: SocketAddr, method: &str, path: &str, host: &str) -> String {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    exchange(address, request.as_bytes()).await
}

fn code(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[tokio::test]
async fn each_method_path_and_host_has_its_answer() {
    let address = serve_with(true).await;
    #[rustfmt::skip]
    let table = [
        ("GET",     "/",                    "localhost",        "200"),
        ("GET",     "/",                    "127.0.0.1:9465",   "200"),
        ("GET",     "/?from=a",             "localhost",        "200"),
        ("HEAD",    "/",                    "localhost",        "200"),
        ("HEAD",    "/events",              "localhost",        "200"),
        ("GET",     "/favicon.ico",         "localhost",        "404"),
        ("GET",     "/../etc/passwd",       "localhost",        "404"),
        ("POST",    "/",                    "localhost",        "405"),
        ("PUT",     "/",                    "localhost",        "405"),
        ("DELETE",  "/events",              "localhost",        "405"),
        ("OPTIONS", "/",                    "localhost",        "405"),
        ("GET",     "/",                    "rebound.example",  "421"),
        ("GET",     "/events",              "rebound.example",  "421"),
        ("POST",    "/",                    "rebound.example",  "421"),
        ("GET",     "http://rebound.example/", "localhost",     "421"),
    ];
    for (method, path, host, wanted) in table {
        let answer = ask(address, method, path, host).await;
        assert_eq!(code(&answer), wanted, "{method} {path} of {host}: {answer}");
    }
}

#[tokio::test]
async fn a_refusal_says_what_to_do_instead() {
    let address = serve_with(true).await;
    let answer = ask(address, "POST", "/", "localhost").await;
    assert!(answer.contains("allow: GET, HEAD"), "{answer}");
    let answer = ask(address, "GET", "/", "rebound.example").await;
    assert!(
        answer.contains("neither 127.0.0.1 nor localhost"),
        "{answer}"
    );
    assert!(answer.contains("ssh -L "), "{answer}");
    let without_host = exchange(address, b"GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(code(&without_host), "421", "{without_host}");
}

#[tokio::test]
async fn every_answer_forbids_to_load_frame_store_and_guess() {
    let address = serve_with(true).await;
    for (method, path, host) in [
        ("GET", "/", "localhost"),
        ("HEAD", "/events", "localhost"),
        ("GET", "/nowhere", "localhost"),
        ("POST", "/", "localhost"),
        ("GET", "/", "rebound.example"),
    ] {
        let answer = ask(address, method, path, host).await;
        for header in [
            "content-security-policy: default-src 'none'; ",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
            "cross-origin-resource-policy: same-origin",
            "cross-origin-opener-policy: same-origin",
        ] {
            assert!(answer.contains(header), "{header} of {path}: {answer}");
        }
    }
}

#[tokio::test]
async fn style_and_script_have_the_nonce_of_the_policy_and_no_two_pages_share_one() {
    let address = serve_with(true).await;
    let mut nonces = Vec::new();
    for _ in 0..2 {
        let answer = ask(address, "GET", "/", "localhost").await;
        let (head, page) = answer.split_once("\r\n\r\n").expect("a head");
        let (_, rest) = head.split_once("script-src 'nonce-").expect("a nonce");
        let (nonce, rest) = rest.split_once('\'').expect("its end");
        assert!(
            rest.contains(&format!("style-src 'nonce-{nonce}'")),
            "{rest}"
        );
        assert_eq!(page.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
        for outside in ["https:", "//cdn", "@import", "url(", " style=", "onclick"] {
            assert!(!page.contains(outside), "{outside}");
        }
        nonces.push(nonce.to_owned());
    }
    assert_ne!(nonces[0], nonces[1]);
    assert_eq!(nonces[0].len(), 32);
}

#[tokio::test]
async fn a_packet_is_explained_without_a_script() {
    let address = serve_with(true).await;
    let path = "/?from=172.16.1.10&to=10.20.0.7%3A50020&protocol=udp";
    let answer = ask(address, "GET", path, "localhost").await;
    assert!(answer.contains("drop media"), "{answer}");
    let path = "/?from=%3Cscript%3Ealert(1)%3C%2Fscript%3E&to=10.20.0.7";
    let answer = ask(address, "GET", path, "localhost").await;
    assert!(answer.contains("write an address"), "{answer}");
    assert!(!answer.contains("<script>alert"), "{answer}");
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_the_next_connection_is_served() {
    let address = serve_with(true).await;
    let long = [&b"GET /?from="[..], &vec![b'a'; 100_000]].concat();
    let garbage: [&[u8]; 4] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &long,
    ];
    for bytes in garbage {
        let answer = exchange(address, bytes).await;
        assert!(!answer.contains(" 200 "), "{answer}");
        assert_eq!(code(&ask(address, "GET", "/", "localhost").await), "200");
    }
}

/// Opens a stream of events, and returns its reader behind the head, or the whole refusal.
async fn events(address: SocketAddr) -> Result<BufReader<TcpStream>, String> {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).await.expect("it reads");
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let read = reader.read_line(&mut head).await.expect("it answers");
        assert!(read > 0, "{head}");
    }
    match code(&head) {
        "200" => Ok(reader),
        _ => {
            let mut rest = String::new();
            _ = reader.read_to_string(&mut rest).await;
            Err(head + &rest)
        }
    }
}

/// The parts of the next event.
async fn next_event(reader: &mut BufReader<TcpStream>) -> serde_json::Value {
    loop {
        let mut line = String::new();
        let read = reader.read_line(&mut line).await.expect("it is open");
        assert!(read > 0, "the stream has ended");
        if let Some(data) = line.strip_prefix("data: ") {
            return serde_json::from_str(data).expect("JSON");
        }
    }
}

#[tokio::test]
async fn the_first_event_has_all_parts_and_later_ones_those_that_changed() {
    let address = serve_with(true).await;
    let mut reader = events(address).await.expect("there is room");
    let first = next_event(&mut reader).await;
    let second = next_event(&mut reader).await;
    let ids = |event: &serde_json::Value| -> Vec<String> {
        let parts = event.as_object().expect("an object");
        parts.keys().cloned().collect()
    };
    assert_eq!(ids(&first).len(), 8, "{first}");
    assert_eq!(ids(&second), ["effect"], "{second}");
    assert_ne!(first["effect"], second["effect"]);
}

#[tokio::test]
async fn streams_are_few_and_the_end_of_one_makes_room() {
    let address = serve_with(true).await;
    let mut open = Vec::new();
    for _ in 0..MAX_STREAMS {
        open.push(events(address).await.expect("there is room"));
    }
    let refusal = events(address).await.expect_err("there is no room");
    assert!(
        refusal.contains("503") && refusal.contains("retry-after: 30"),
        "{refusal}"
    );
    assert_eq!(code(&ask(address, "GET", "/", "localhost").await), "200");
    open.pop();
    // The server hears of it.
    let again = async {
        loop {
            if let Ok(reader) = events(address).await {
                return reader;
            }
        }
    };
    let again = timeout(Duration::from_secs(30), again).await;
    next_event(&mut again.expect("room for one more")).await;
}

#[tokio::test]
async fn streams_end_with_the_server() {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = PageListener::bind(any).await.expect("a free port");
    let address = listener.address;
    let server = listener.serve(Arc::new(Published::new(compiled("", 1), None, 1)));
    let mut reader = events(address).await.expect("there is room");
    drop(server);
    let mut rest = Vec::new();
    let ended = timeout(Duration::from_secs(30), reader.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the stream goes on");
}

#[tokio::test]
async fn a_loop_that_does_not_answer_is_told() {
    let address = serve_with(false).await;
    let answer = ask(address, "GET", "/", "localhost").await;
    assert!(
        answer.contains("Broken: the gateway does not answer"),
        "{answer}"
    );
    let mut reader = events(address).await.expect("there is room");
    let event = next_event(&mut reader).await;
    let standing = event["standing"].as_str().expect("HTML");
    assert!(standing.contains("does not answer"), "{event}");
}

#[tokio::test]
async fn an_idle_connection_makes_room_for_the_next_and_a_stream_does_not() {
    let address = serve_with(true).await;
    let mut stream = events(address).await.expect("there is room");
    let mut idle = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        idle.push(TcpStream::connect(address).await.expect("it listens"));
    }
    assert_eq!(code(&ask(address, "GET", "/", "localhost").await), "200");
    let ended = idle[0].read(&mut [0; 16]).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    next_event(&mut stream).await;
}
