//! [`MetricsServer`]: the HTTP endpoint at `gateway.metrics`, for Prometheus and for health checks.
//!
//! ```text
//!  GET /metrics   the series of the gateway                     200
//!  GET /healthz   while the control loop answers                200, else 503
//!  GET /readyz    traffic is diverted, every worker lives, and
//!                 no condition of the host hinders it          200, else 503 with the reason; says where it is not enforced
//! ```
//!
//! It runs on the control thread, a task for each connection, and sends requests to the control loop, which receives
//! them by [`MetricsServer::asked`]. However many clients ask at once, the loop answers them together, with one read of
//! the counters. Connections are few, each has one request and a few seconds. When there is no
//! room for another one, one that has not sent its request yet is evicted first (`connections`).

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{info, warn};

use super::connections;
use super::series::{MEDIA_TYPE, Report, Series};

/// The HTTP server; serves until it is dropped.
#[derive(Debug)]
pub struct MetricsServer {
    questions: mpsc::Receiver<Question>,
    accepting: JoinHandle<()>,
    /// Keeps the channel of questions open.
    _shared: Arc<Shared>,
}

/// A request to the control loop, from any connection.
#[derive(Debug)]
pub struct Questions(Vec<Question>);

#[derive(Debug)]
enum Question {
    /// Is traffic judged?
    Readiness(oneshot::Sender<Readiness>),
    /// Everything.
    Numbers(oneshot::Sender<Report>),
}

/// The service whose readiness `/readyz` reports beside the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// The gateway judges traffic.
    Traffic,
    /// The DNS server answers names.
    Names,
}

/// The readiness of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It does its work.
    Ready,
    /// Likewise, but the policy is not enforced for every client: a line that says so.
    NotEnforced(String),
    /// Traffic is not diverted, or a worker does not live.
    NotReady,
    /// The host hinders it: the errors, one a line.
    Hindered(String),
}

impl Readiness {
    /// The reason why traffic is not judged as it should be; `None` if it is.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Ready | Self::NotEnforced(_) => None,
            Self::NotReady => Some(
                "traffic is not diverted, by command or since the diversion or its self-test failed, or a worker does not live"
                    .to_owned(),
            ),
            Self::Hindered(errors) => Some(errors.trim_end().to_owned()),
        }
    }
}

impl Serving {
    fn text(self, readiness: &Readiness) -> &str {
        match (self, readiness) {
            (_, Readiness::Hindered(text) | Readiness::NotEnforced(text)) => text,
            (Self::Traffic, Readiness::Ready) => "traffic is judged\n",
            (Self::Traffic, Readiness::NotReady) => "traffic is not judged\n",
            (Self::Names, Readiness::Ready) => "names are answered\n",
            (Self::Names, Readiness::NotReady) => "names are not answered\n",
        }
    }
}

impl MetricsServer {
    /// Listens at `address`, and serves from here on, in the tokio runtime that calls.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub async fn start(address: SocketAddr, serving: Serving) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        if address.ip().is_loopback() {
            info!("metrics are served at http://{address}/metrics");
        } else {
            warn!(
                "metrics are served at http://{address}/metrics to anyone who can reach that address; they \
                 have the names of rules and interfaces, and the amount of traffic"
            );
        }
        Ok(Self::serve(listener, serving))
    }

    fn serve(listener: TcpListener, serving: Serving) -> Self {
        let (asking, questions) = mpsc::channel(MAX_CONNECTIONS);
        let shared = Arc::new(Shared {
            serving,
            asking,
            series: Mutex::new(Series::new(SystemTime::now())),
        });
        Self {
            questions,
            accepting: tokio::spawn({
                let shared = Arc::clone(&shared);
                let serve = move |stream, has_asked| serve(stream, Arc::clone(&shared), has_asked);
                connections::accept(listener, "the metrics endpoint", MAX_CONNECTIONS, serve)
            }),
            _shared: shared,
        }
    }

    /// Waits for the next requests to the control loop; for ever where there is no `server`.
    ///
    /// No question is lost when it is dropped before it is done, and called again.
    pub async fn asked(server: &mut Option<Self>) -> Questions {
        let Some(server) = server else {
            return std::future::pending().await;
        };
        let mut questions = Vec::new();
        server
            .questions
            .recv_many(&mut questions, MAX_CONNECTIONS)
            .await;
        Questions(questions)
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Questions {
    /// Returns `true` if [`Questions::answer`] needs a snapshot.
    pub fn want_numbers(&self) -> bool {
        let wants = |question: &Question| matches!(question, Question::Numbers(_));
        self.0.iter().any(wants)
    }

    /// Answers all of them. Without a snapshot, clients that want numbers get an error.
    pub fn answer(self, readiness: &Readiness, report: Option<Report>) {
        for question in self.0 {
            // A client that has gone no longer needs the answer.
            match (question, &report) {
                (Question::Readiness(asker), _) => _ = asker.send(readiness.clone()),
                (Question::Numbers(asker), Some(report)) => _ = asker.send(report.clone()),
                (Question::Numbers(_), None) => {}
            }
        }
    }
}

/// State shared by all connections.
#[derive(Debug)]
struct Shared {
    serving: Serving,
    asking: mpsc::Sender<Question>,
    series: Mutex<Series>,
}

/// Answers one request, if it comes in time.
async fn serve(stream: TcpStream, shared: Arc<Shared>, has_asked: Arc<AtomicBool>) {
    let service = service_fn(|request| {
        has_asked.store(true, Ordering::Relaxed);
        let shared = &shared;
        async move { Ok::<_, Infallible>(answer(&request, shared).await) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        // `nc` and scripts close their sending side before they read.
        .half_close(true)
        .max_buf_size(MAX_REQUEST)
        // There is a limit for all of it.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service);
    // A client that speaks another protocol, goes away or takes too long gets nothing more.
    _ = timeout(CONNECTION_TIMEOUT, connection).await;
}

/// The endpoint that a request asks for.
#[derive(Debug, Clone, Copy)]
enum Resource {
    Metrics,
    Health,
    Readiness,
}

impl Resource {
    fn at(path: &str) -> Option<Self> {
        match path {
            "/metrics" => Some(Self::Metrics),
            "/healthz" => Some(Self::Health),
            "/readyz" => Some(Self::Readiness),
            _ => None,
        }
    }
}

async fn answer(request: &Request<Incoming>, shared: &Shared) -> Response<String> {
    let Some(resource) = Resource::at(request.uri().path()) else {
        return text(
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz and /readyz\n",
        );
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
        let headers = refusal.headers_mut();
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    let answer = match resource {
        Resource::Metrics => shared.ask(Question::Numbers).await.map(|report| {
            // A panic while it was held left rules named, which is what is asked of it.
            let mut series = shared.series.lock().unwrap_or_else(PoisonError::into_inner);
            let mut response = text(StatusCode::OK, &series.render_report(&report));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
            response
        }),
        Resource::Health => {
            let ready = shared.ask(Question::Readiness).await;
            ready.map(|_| text(StatusCode::OK, "the control loop answers\n"))
        }
        Resource::Readiness => shared.ask(Question::Readiness).await.map(|readiness| {
            let status = match readiness {
                Readiness::Ready | Readiness::NotEnforced(_) => StatusCode::OK,
                Readiness::NotReady | Readiness::Hindered(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            text(status, shared.serving.text(&readiness))
        }),
    };
    answer.unwrap_or_else(|| {
        text(
            StatusCode::SERVICE_UNAVAILABLE,
            "the control loop does not answer\n",
        )
    })
}

impl Shared {
    /// Asks the control loop; `None` when it does not answer in time.
    async fn ask<T>(&self, question: fn(oneshot::Sender<T>) -> Question) -> Option<T> {
        let (asker, answer) = oneshot::channel();
        let asked = async {
            self.asking.send(question(asker)).await.ok()?;
            answer.await.ok()
        };
        timeout(PATIENCE_WITH_CONTROL, asked).await.ok().flatten()
    }
}

fn text(status: StatusCode, body: &str) -> Response<String> {
    let mut response = Response::new(body.to_owned());
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// Connections at a time: a few servers that scrape, a few that check, and somebody who looks.
const MAX_CONNECTIONS: usize = 32;
/// Time limit of a connection, from its first byte to its last.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for an answer of the control loop; the answer then has a second to reach the client.
const PATIENCE_WITH_CONTROL: Duration = Duration::from_secs(4);
/// Bytes of a request's head: the minimum that hyper accepts, and many times what scrapers send.
const MAX_REQUEST: usize = 8_192;

const _: () = assert!(PATIENCE_WITH_CONTROL.as_secs() < CONNECTION_TIMEOUT.as_secs());

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Serves on a port of its own; a control loop answers as `loop_answers`: whether traffic is diverted, or nothing.
    async fn serve_with(loop_answers: Option<bool>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let mut server = Some(MetricsServer::serve(listener, Serving::Traffic));
        tokio::spawn(async move {
            loop {
                let questions = MetricsServer::asked(&mut server).await;
                match loop_answers {
                    Some(true) => questions.answer(&Readiness::Ready, None),
                    Some(false) => questions.answer(&Readiness::NotReady, None),
                    None => drop(questions),
                }
            }
        });
        address
    }

    /// Sends `request` and returns everything the server sends until it closes the connection.
    async fn exchange(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(request).await.expect("it reads");
        let mut answer = Vec::new();
        // A connection that is reset has sent all that it had to send.
        _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).expect("its answers are text")
    }

    async fn status_of(address: SocketAddr, method: &str, path: &str) -> String {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: here\r\n\r\n");
        let answer = exchange(address, request.as_bytes()).await;
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn each_path_and_method_has_its_answer() {
        let ready = serve_with(Some(true)).await;
        let idle = serve_with(Some(false)).await;
        let silent = serve_with(None).await;
        #[rustfmt::skip]
        let table = [
            // method  path           ready  idle   silent
            ("GET",    "/healthz",    "200", "200", "503"),
            ("HEAD",   "/healthz",    "200", "200", "503"),
            ("GET",    "/readyz",     "200", "503", "503"),
            ("GET",    "/readyz?x=1", "200", "503", "503"),
            ("POST",   "/readyz",     "405", "405", "405"),
            ("DELETE", "/metrics",    "405", "405", "405"),
            ("GET",    "/",           "404", "404", "404"),
            ("GET",    "/metrics/",   "404", "404", "404"),
            ("POST",   "/elsewhere",  "404", "404", "404"),
            // These loops have no numbers.
            ("GET",    "/metrics",    "503", "503", "503"),
        ];
        for (method, path, of_ready, of_idle, of_silent) in table {
            for (address, wanted) in [(ready, of_ready), (idle, of_idle), (silent, of_silent)] {
                assert_eq!(
                    status_of(address, method, path).await,
                    wanted,
                    "{method} {path}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_refused_method_is_told_which_are_not() {
        let address = serve_with(Some(true)).await;
        let answer = exchange(address, b"PUT /metrics HTTP/1.1\r\nHost: here\r\n\r\n").await;
        assert!(answer.contains("allow: GET, HEAD"), "{answer}");
    }

    #[tokio::test]
    async fn a_connection_has_one_request() {
        let address = serve_with(Some(true)).await;
        let twice = b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n".repeat(2);
        let answer = exchange(address, &twice).await;
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    }

    #[tokio::test]
    async fn a_connection_that_has_said_all_it_has_to_say_is_answered() {
        let address = serve_with(Some(true)).await;
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let request = b"GET /healthz HTTP/1.0\r\n\r\n";
        stream.write_all(request).await.expect("it reads");
        stream.shutdown().await.expect("it is open");
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer).await;
        assert!(
            read.is_ok() && answer.starts_with("HTTP/1.0 200"),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn what_is_no_request_is_refused_and_the_next_connection_is_served() {
        let address = serve_with(Some(true)).await;
        let long = [&b"GET /metrics HTTP/1.1\r\nX: "[..], &vec![b'a'; 100_000]].concat();
        let garbage: [&[u8]; 6] = [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"\0\0\0\0\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET /metrics HTTP/9.9\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            &long,
        ];
        for bytes in garbage {
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            // The connection may be closed before all of it is sent.
            _ = stream.write_all(bytes).await;
            let mut answer = Vec::new();
            _ = stream.read_to_end(&mut answer).await;
            let answer = String::from_utf8_lossy(&answer);
            assert!(!answer.contains(" 200 "), "{answer}");
            assert_eq!(status_of(address, "GET", "/healthz").await, "200");
        }
    }

    #[tokio::test]
    async fn an_idle_connection_makes_room_for_the_next_and_one_that_has_asked_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let mut server = Some(MetricsServer::serve(listener, Serving::Traffic));
        let mut asking = TcpStream::connect(address).await.expect("it listens");
        let request = b"GET /readyz HTTP/1.1\r\nHost: here\r\n\r\n";
        asking.write_all(request).await.expect("it reads");
        // The question is there, and waits for its answer.
        let questions = MetricsServer::asked(&mut server).await;

        let mut idle = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            idle.push(TcpStream::connect(address).await.expect("it listens"));
        }
        // The first of them was evicted.
        let ended = idle[0].read(&mut [0; 16]).await;
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");

        questions.answer(&Readiness::Ready, None);
        let mut answer = String::new();
        asking
            .read_to_string(&mut answer)
            .await
            .expect("it is served");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        drop(server);
    }

    #[tokio::test]
    async fn the_loop_is_asked_for_numbers_by_scrapes_alone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let mut server = Some(MetricsServer::serve(listener, Serving::Traffic));
        let ask = |path: &'static str| tokio::spawn(status_of(address, "GET", path));
        let health = ask("/healthz");
        let questions = MetricsServer::asked(&mut server).await;
        assert!(!questions.want_numbers());
        questions.answer(&Readiness::NotReady, None);
        assert_eq!(health.await.expect("it ends"), "200");

        let numbers = ask("/metrics");
        let questions = MetricsServer::asked(&mut server).await;
        assert!(questions.want_numbers());
        questions.answer(&Readiness::NotReady, None);
        assert_eq!(numbers.await.expect("it ends"), "503");
    }
}
