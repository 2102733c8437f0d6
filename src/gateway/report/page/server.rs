//! [`PageServer`]: accepts connections, answers requests, and feeds the streams of events.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, timeout};
use tracing::{info, warn};

use super::ask::{Asked, Reply};
use super::body::PageBody;
use super::headers::{self, Nonce};
use super::hosts::OwnHosts;
use super::view::{self, Parts};
use crate::gateway::report::connections;
use crate::gateway::report::series::Snapshot;
use crate::gateway::tun::publish::Published;

/// The listener of the page, before there is anything to show.
#[derive(Debug)]
pub struct PageListener {
    listener: TcpListener,
    address: SocketAddr,
}

/// The server of the page; serves until it is dropped.
#[derive(Debug)]
pub struct PageServer {
    questions: mpsc::Receiver<Question>,
    tasks: [JoinHandle<()>; 2],
    /// Keeps the channel of questions open.
    _shared: Arc<Shared>,
}

/// Requests to the control loop for the state of the gateway.
#[derive(Debug)]
pub struct PageQuestions(Vec<Question>);

type Question = oneshot::Sender<Arc<Snapshot>>;

impl PageListener {
    /// Listens at `address`.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Serves the page from here on, in the tokio runtime that calls; packets are explained by the `published` policy.
    pub fn serve(self, published: Arc<Published>) -> PageServer {
        let Self { listener, address } = self;
        if address.ip().is_loopback() {
            info!("the status page is at http://{address}/");
        } else {
            warn!(
                "the status page is at http://{address}/, without login, for anyone who can reach that address; it has the names of \
                 rules and interfaces, the amount of traffic, and explains packets"
            );
        }
        let (asking, questions) = mpsc::channel(MAX_CONNECTIONS);
        let shared = Arc::new(Shared {
            hosts: OwnHosts(address),
            published,
            asking,
            updates: watch::Sender::default(),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            explaining: Arc::new(Semaphore::new(1)),
        });
        let serve = {
            let shared = Arc::clone(&shared);
            move |stream, has_asked| serve(stream, Arc::clone(&shared), has_asked)
        };
        PageServer {
            questions,
            tasks: [
                tokio::spawn(connections::accept(
                    listener,
                    "the status page",
                    MAX_CONNECTIONS,
                    serve,
                )),
                tokio::spawn(update(Arc::clone(&shared))),
            ],
            _shared: shared,
        }
    }
}

impl PageServer {
    /// Waits for the next requests to the control loop; for ever where there is no `server`.
    ///
    /// No question is lost when it is dropped before it is done, and called again.
    pub async fn asked(server: &mut Option<Self>) -> PageQuestions {
        let Some(server) = server else {
            return std::future::pending().await;
        };
        let mut questions = Vec::new();
        let received = server.questions.recv_many(&mut questions, MAX_CONNECTIONS);
        received.await;
        PageQuestions(questions)
    }
}

impl Drop for PageServer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl PageQuestions {
    /// Answers all of them.
    pub fn answer(self, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        for question in self.0 {
            // A client that has gone no longer needs the answer.
            _ = question.send(Arc::clone(&snapshot));
        }
    }
}

/// State shared by all connections.
#[derive(Debug)]
struct Shared {
    hosts: OwnHosts,
    published: Arc<Published>,
    asking: mpsc::Sender<Question>,
    /// The parts of the page, anew every [`INTERVAL`] while there is a stream.
    updates: watch::Sender<Arc<Parts>>,
    streams: Arc<Semaphore>,
    explaining: Arc<Semaphore>,
}

impl Shared {
    /// The parts of the page as they are; they say so if the control loop does not answer in time.
    async fn parts(&self) -> Parts {
        let (asker, answer) = oneshot::channel();
        let asked = async {
            self.asking.send(asker).await.ok()?;
            answer.await.ok()
        };
        match timeout(PATIENCE_WITH_CONTROL, asked).await.ok().flatten() {
            Some(snapshot) => view::parts(&snapshot),
            None => view::unanswered(),
        }
    }

    /// Answers a question about a packet, on a thread of its own, after those that came before.
    async fn explain(&self, asked: Asked) -> Reply {
        let turn = Arc::clone(&self.explaining).acquire_owned();
        let Ok(Ok(turn)) = timeout(PATIENCE_WITH_CONTROL, turn).await else {
            return Reply::busy(asked);
        };
        let enforced = self.published.current();
        let again = asked.clone();
        let explained = tokio::task::spawn_blocking(move || {
            let reply = asked.explain(enforced.policy(), enforced.enforcement());
            drop(turn);
            reply
        });
        explained.await.unwrap_or_else(|_| Reply::busy(again))
    }
}

/// Renders the parts while somebody looks.
async fn update(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if shared.updates.receiver_count() > 0 {
            let parts = shared.parts().await;
            shared.updates.send_replace(Arc::new(parts));
        }
    }
}

/// The life of a connection.
#[derive(Debug, Default)]
struct Life {
    /// Set if it is a stream of events, which has no time limit.
    is_stream: AtomicBool,
    /// Told when its client has not read for [`STALL`].
    stalled: Notify,
}

impl Life {
    async fn is_over(&self) {
        tokio::time::sleep(CONNECTION_TIMEOUT).await;
        if self.is_stream.load(Ordering::Relaxed) {
            self.stalled.notified().await;
        }
    }
}

/// Answers one request, if it comes in time.
async fn serve(stream: TcpStream, shared: Arc<Shared>, has_asked: Arc<AtomicBool>) {
    let life = Arc::new(Life::default());
    let service = service_fn(|request| {
        has_asked.store(true, Ordering::Relaxed);
        let (shared, life) = (&shared, &life);
        async move { Ok::<_, Infallible>(answer(&request, shared, life).await) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_REQUEST)
        // There is a limit for all of it.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // A client that speaks another protocol or goes away gets nothing more.
        _ = connection => {}
        () = life.is_over() => {}
    }
}

async fn answer(
    request: &Request<Incoming>,
    shared: &Arc<Shared>,
    life: &Arc<Life>,
) -> Response<PageBody> {
    if !shared.hosts.are_asked(request.headers(), request.uri()) {
        let OwnHosts(address) = shared.hosts;
        return headers::text(
            StatusCode::MISDIRECTED_REQUEST,
            &format!(
                "the Host of the request is neither {} nor localhost, so it is refused: another website could read the page by a name of \
                 its own; from another machine, use `ssh -L {port}:{address} GATEWAY` and open http://localhost:{port}/\n",
                address.ip(),
                port = address.port()
            ),
        );
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let text = "GET and HEAD only: the page changes nothing\n";
        let mut refusal = headers::text(StatusCode::METHOD_NOT_ALLOWED, text);
        let headers = refusal.headers_mut();
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match request.uri().path() {
        "/" => {
            let asked = Asked::read(request.uri().query().unwrap_or_default());
            let reply = match asked {
                Some(asked) => Some(shared.explain(asked).await),
                None => None,
            };
            let nonce = Nonce::draw();
            let html = view::document(&shared.parts().await, reply.as_ref(), nonce.as_str());
            headers::page(html.into_string(), &nonce)
        }
        "/events" if *request.method() == Method::HEAD => {
            headers::events(PageBody::whole(String::new()))
        }
        "/events" => stream(shared, life),
        _ => headers::text(StatusCode::NOT_FOUND, "there are / and /events\n"),
    }
}

/// Begins a stream of events, if there is room for one more.
fn stream(shared: &Arc<Shared>, life: &Arc<Life>) -> Response<PageBody> {
    let Ok(room) = Arc::clone(&shared.streams).try_acquire_owned() else {
        let text = format!("{MAX_STREAMS} pages are updated already: reload this one by hand\n");
        let mut refusal = headers::text(StatusCode::SERVICE_UNAVAILABLE, &text);
        let headers = refusal.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("30"));
        return refusal;
    };
    life.is_stream.store(true, Ordering::Relaxed);
    // One event waits while another is sent: a client that reads slowly gets fewer.
    let (events, body) = mpsc::channel(1);
    let feeding = feed(shared.updates.subscribe(), events, Arc::clone(life), room);
    tokio::spawn(feeding);
    headers::events(PageBody::Events(body))
}

/// Sends the parts that change, until the client goes away or does not read, or the server ends.
async fn feed(
    mut updates: watch::Receiver<Arc<Parts>>,
    events: mpsc::Sender<Bytes>,
    life: Arc<Life>,
    _room: OwnedSemaphorePermit,
) {
    let mut event = String::from("retry: 2000\n\n");
    let mut last = Arc::new(Parts::default());
    loop {
        match timeout(STALL, events.send(Bytes::from(event))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => return life.stalled.notify_one(),
        }
        event = tokio::select! {
            changed = timeout(HEARTBEAT, updates.changed()) => match changed {
                Ok(Ok(())) => {
                    let parts = Arc::clone(&updates.borrow_and_update());
                    let event = parts.event_since(&last);
                    last = parts;
                    event
                }
                Ok(Err(_)) => return,
                Err(_) => ": still here\n\n".to_owned(),
            },
            () = events.closed() => return,
        };
    }
}

/// Connections at a time: the pages of a few administrators, each with a stream.
const MAX_CONNECTIONS: usize = 32;
/// Streams of events at a time; each is one of the connections.
const MAX_STREAMS: usize = 8;
/// Time limit of a connection that is no stream, from its first byte to its last: a question about all ports takes a while.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit for an answer of the control loop, and for the turn of a question.
const PATIENCE_WITH_CONTROL: Duration = Duration::from_secs(4);
/// The interval between updates: as fast as anybody reads, and next to nothing for the control loop.
const INTERVAL: Duration = Duration::from_secs(2);
/// The interval after which a stream without events says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Time after which a client that takes no event is given up.
const STALL: Duration = Duration::from_secs(20);
/// Bytes of a request's head: the minimum that hyper accepts, and more than any browser sends.
const MAX_REQUEST: usize = 8_192;

const _: () = assert!(MAX_STREAMS < MAX_CONNECTIONS);
const _: () = assert!(PATIENCE_WITH_CONTROL.as_secs() < CONNECTION_TIMEOUT.as_secs());

#[cfg(test)]
mod tests;
