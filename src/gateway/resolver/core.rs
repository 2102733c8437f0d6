//! [`Core`]: handles a query, by UDP or by TCP.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::UnboundedSender;

use super::cache::{AnswerCache, Known};
use super::counters::{DnsCounters, Outcome};
use super::limit::Limiter;
use super::log::QueryRecord;
use super::questions::Questions;
use super::screener::{LARGE, Screened};
use super::server::{Names, Treatment};
use crate::dns::{
    self, Incoming, Key, Local, MAX_KEY, Prepared, Query, ResponseCode, STREAM_LIMIT, Upstream,
};

/// The things that the threads of a server have in common.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) published: Arc<ArcSwap<Names>>,
    pub(super) questions: Arc<Questions>,
    /// How many threads there are: the cache of each has its part of the answers.
    pub(super) threads: usize,
}

/// The state of a thread of a server; only it holds it.
pub(super) struct Core {
    shared: Shared,
    /// The policy in force.
    names: Arc<Names>,
    /// Answers as they are screened for clients who are treated so.
    caches: [AnswerCache; 2],
    limiter: Limiter,
    /// The clients that wait, by question, likewise.
    waiting: [HashMap<Box<Key>, Vec<Waiter>>; 2],
    /// Questions that are asked for each client.
    asked: HashMap<IpAddr, usize>,
    counters: Arc<DnsCounters>,
}

/// A client that waits for an answer.
struct Waiter {
    /// The query, as it was sent.
    message: Box<[u8]>,
    client: IpAddr,
    route: Route,
    since: Instant,
}

/// The way back to a client.
#[derive(Clone)]
pub(super) enum Route {
    /// By a datagram from this socket.
    Datagram(Rc<UdpSocket>, SocketAddr),
    /// By the task of its connection, which counts on one answer, also an empty one.
    Stream(UnboundedSender<Vec<u8>>),
}

impl Route {
    const fn is_stream(&self) -> bool {
        match self {
            Self::Datagram(..) => false,
            Self::Stream(_) => true,
        }
    }
}

/// The immediate result of a query.
pub(super) enum Taken {
    /// The answer was appended, or there is none to give.
    Done,
    /// The answer will be sent later.
    Waits,
}

/// A question to ask an upstream.
pub(super) struct UpstreamRequest {
    pub(super) key: Box<Key>,
    /// The client that asked first.
    client: IpAddr,
    treatment: Treatment,
    pub(super) question: Upstream,
    pub(super) names: Arc<Names>,
}

impl UpstreamRequest {
    /// Returns the work of screening `message`, the answer, by `names`.
    pub(super) fn screen(
        &self,
        names: Arc<Names>,
        message: Vec<u8>,
    ) -> impl FnOnce() -> Reply + Send + 'static {
        let (question, treatment) = (self.question, self.treatment);
        move || {
            let answer = names.screen(&message, &question, treatment);
            (message, Some(Screened { names, answer }))
        }
    }
}

/// An upstream's answer, and what is left of it if it was screened before.
pub(super) type Reply = (Vec<u8>, Option<Screened>);

impl Core {
    pub(super) fn new(shared: Shared, counters: Arc<DnsCounters>) -> Self {
        let names = shared.published.load_full();
        let mut core = Self {
            shared,
            caches: [AnswerCache::new(0), AnswerCache::new(0)],
            limiter: Limiter::new(1, Instant::now()),
            names,
            waiting: Default::default(),
            asked: HashMap::new(),
            counters,
        };
        core.adopt();
        core
    }

    /// Switches to another policy if one is in force: before each batch, and before each answer that was waited for.
    pub(super) fn follow(&mut self) {
        let published = self.shared.published.load();
        if !Arc::ptr_eq(&published, &self.names) {
            self.names = Arc::clone(&published);
            drop(published);
            self.adopt();
        }
    }

    /// Returns the policy in force.
    fn in_force(&mut self) -> Arc<Names> {
        self.follow();
        Arc::clone(&self.names)
    }

    fn adopt(&mut self) {
        // Answers were screened by another policy, and may come from other servers.
        let entries = AnswerCache::part(self.names.cache_entries, self.shared.threads);
        self.caches = [(); 2].map(|()| AnswerCache::new(entries));
        self.limiter = Limiter::new(self.names.queries_per_second, Instant::now());
    }

    /// Takes a query: the answer is appended to `out`, or comes later on `route`, for which `requests` may get a question
    /// that is to be asked.
    pub(super) fn take(
        &mut self,
        message: &[u8],
        client: SocketAddr,
        route: &Route,
        now: Instant,
        out: &mut Vec<u8>,
        requests: &mut Vec<UpstreamRequest>,
    ) -> Taken {
        let answer_at = out.len();
        let mut refused_by = None;
        let outcome = match Incoming::read(message) {
            Incoming::Silence => Outcome::Dropped,
            // Only servers and reflected traffic send from there.
            _ if !route.is_stream() && (client.port() == 0 || client.port() == DNS_PORT) => {
                Outcome::Dropped
            }
            _ if !self.limiter.admits(client.ip().to_canonical(), now) => Outcome::Dropped,
            Incoming::Refuse(refusal) => {
                refused_by = Some(refusal.code.number());
                refusal.write(out);
                Outcome::Refused
            }
            Incoming::Ask(query) if !self.names.serves(client.ip()) => {
                query.refuse(ResponseCode::Refused).write(out);
                Outcome::Refused
            }
            Incoming::Ask(query) => match self.answer(&query, client.ip(), route, now, out) {
                Some(outcome) => outcome,
                None if self.wait(&query, message, client.ip(), route, now, requests) => {
                    return Taken::Waits;
                }
                None => {
                    query.refuse(ResponseCode::ServFail).write(out);
                    Outcome::Failed
                }
            },
        };
        self.counters.add(outcome);
        self.note(outcome, now, || QueryRecord {
            client: client.ip(),
            is_stream: route.is_stream(),
            question: dns::asked_for(message),
            response: refused_by.or_else(|| ResponseCode::of(&out[answer_at..])),
            took: now.elapsed(),
        });
        Taken::Done
    }

    /// Answers `query` by the policy or from the cache.
    fn answer(
        &self,
        query: &Query<'_>,
        client: IpAddr,
        route: &Route,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Option<Outcome> {
        let limit = limit_of(query, route);
        let treatment = self.names.treatment(client);
        let is_spared = self.names.spares(client, query);
        if is_spared {
            self.counters.add_spared();
        }
        match dns::write_local(out, query, self.names.zones(treatment), limit) {
            Some(Local::Pinned) => return Some(Outcome::Pinned),
            Some(Local::Hidden) => return Some(Outcome::Hidden),
            None => {}
        }
        let mut buffer = [0; MAX_KEY];
        let cache = &self.caches[treatment as usize];
        match cache.get(query.key(&mut buffer), now)? {
            Known::Answer(answer, age) => {
                answer.write(out, query, age, limit);
                self.count_spared(&answer, is_spared);
                Some(Outcome::Cached)
            }
            Known::Failure => {
                query.refuse(ResponseCode::ServFail).write(out);
                Some(Outcome::Failed)
            }
        }
    }

    /// Counts `answer`, which a client gets, if it has names that would be hidden otherwise, and was not counted by the name asked
    /// for.
    fn count_spared(&self, answer: &Prepared, is_counted: bool) {
        if answer.is_spared() && !is_counted {
            self.counters.add_spared();
        }
    }

    /// Has the client wait for the answer to `query`; returns whether there was room for it.
    fn wait(
        &mut self,
        query: &Query<'_>,
        message: &[u8],
        client: IpAddr,
        route: &Route,
        now: Instant,
        requests: &mut Vec<UpstreamRequest>,
    ) -> bool {
        let mut buffer = [0; MAX_KEY];
        let key = query.key(&mut buffer);
        let waiter = Waiter {
            message: message.into(),
            client,
            route: route.clone(),
            since: now,
        };
        let treatment = self.names.treatment(client);
        let asked = self.asked.get(&client).copied().unwrap_or(0);
        let has_its_share = asked >= self.shared.questions.of_client();
        let waiting = &mut self.waiting[treatment as usize];
        if let Some(waiters) = waiting.get_mut(key) {
            if waiters.len() < MAX_WAITERS {
                waiters.push(waiter);
                return true;
            }
        } else if !has_its_share
            && !self.names.upstreams.is_empty()
            && self.shared.questions.begin()
        {
            *self.asked.entry(client).or_default() += 1;
            waiting.insert(key.into(), vec![waiter]);
            requests.push(UpstreamRequest {
                key: key.into(),
                client,
                treatment,
                question: Upstream::of(query),
                names: Arc::clone(&self.names),
            });
            return true;
        }
        false
    }

    /// Answers all clients that wait for `request`, with the answer of an upstream.
    pub(super) fn finish(&mut self, request: &UpstreamRequest, reply: Option<Reply>, now: Instant) {
        self.follow();
        self.forget_asked(request.client);
        let (reply, screened) = reply.unzip();
        let cost = reply.as_ref().map_or(0, |it| it.len() / SCREENED_PER_QUERY);
        self.limiter
            .charge(request.client.to_canonical(), cost as u32, now);
        let treatment = request.treatment;
        let names = Arc::clone(&self.names);
        let screen = |treatment| {
            let screened = names.screen(reply.as_ref()?, &request.question, treatment);
            screened.map(Rc::new)
        };
        // Another policy may have come into force meanwhile.
        let screened = screened.flatten();
        let answer = match screened.filter(|it| Arc::ptr_eq(&it.names, &names)) {
            Some(screened) => screened.answer.map(Rc::new),
            None => screen(treatment),
        };
        match &answer {
            Some(answer) => self.caches[treatment as usize].keep(&request.key, answer, now),
            None => self.caches[treatment as usize].keep_failure(&request.key, now),
        }
        let waiting = self.waiting[treatment as usize].remove(&request.key);
        // Those who wait while a trial begins or ends are treated another way than when they asked.
        let mut other = None;
        for waiter in waiting.unwrap_or_default() {
            let mut out = Vec::with_capacity(512);
            let present = self.names.treatment(waiter.client);
            let zones = self.names.zones(present);
            let answer = match present == treatment {
                true => &answer,
                false => other.get_or_insert_with(|| screen(present)),
            };
            // The policy may have taken the name for itself meanwhile.
            let outcome = match (Incoming::read(&waiter.message), answer) {
                (Incoming::Ask(query), answer) => {
                    let limit = limit_of(&query, &waiter.route);
                    match (dns::write_local(&mut out, &query, zones, limit), answer) {
                        (Some(Local::Pinned), _) => Outcome::Pinned,
                        (Some(Local::Hidden), _) => Outcome::Hidden,
                        (None, Some(answer)) => {
                            answer.write(&mut out, &query, 0, limit);
                            let is_counted = self.names.spares(waiter.client, &query);
                            self.count_spared(answer, is_counted);
                            Outcome::Forwarded
                        }
                        (None, None) => {
                            query.refuse(ResponseCode::ServFail).write(&mut out);
                            Outcome::Failed
                        }
                    }
                }
                // It was a question when it began to wait.
                (Incoming::Silence | Incoming::Refuse(_), _) => Outcome::Dropped,
            };
            self.counters.add(outcome);
            let took = now.saturating_duration_since(waiter.since);
            self.counters.note_latency(1, took);
            self.note(outcome, now, || QueryRecord {
                client: waiter.client,
                is_stream: waiter.route.is_stream(),
                question: dns::asked_for(&waiter.message),
                response: ResponseCode::of(&out),
                took,
            });
            match waiter.route {
                // A client that cannot be reached, or a full buffer: it will ask again.
                Route::Datagram(socket, client) => _ = socket.try_send_to(&out, client),
                // A closed connection waits for nothing.
                Route::Stream(task) => _ = task.send(out),
            }
        }
    }

    /// Ends a question that was asked for `client`.
    fn forget_asked(&mut self, client: IpAddr) {
        self.shared.questions.end();
        if let Some(asked) = self.asked.get_mut(&client) {
            *asked -= 1;
            if *asked == 0 {
                self.asked.remove(&client);
            }
        }
    }

    /// Hands the result of a query to the log, if there is one.
    fn note(&self, outcome: Outcome, now: Instant, asked: impl FnOnce() -> QueryRecord) {
        if let Some(log) = &self.names.log {
            log.note(outcome, now, asked);
        }
    }

    /// Counts the time that answers given at once have taken.
    pub(super) fn note_answers(&self, answers: usize, since: Instant) {
        if answers > 0 {
            self.counters.note_latency(answers as u64, since.elapsed());
        }
    }
}

/// Has the upstreams asked for each of `requests`, and answers every client that waits for it.
pub(super) fn send_out(
    core: &Rc<RefCell<Core>>,
    requests: &mut Vec<UpstreamRequest>,
    forwarder: &Rc<super::forward::Forwarder>,
) {
    for request in requests.drain(..) {
        let core = Rc::clone(core);
        let forwarder = Rc::clone(forwarder);
        tokio::task::spawn_local(async move {
            let reply = forwarder
                .ask(&request.names.upstreams, &request.question)
                .await;
            let screened = match reply {
                Some(message) if message.len() >= LARGE => {
                    let names = core.borrow_mut().in_force();
                    let screen = request.screen(names, message);
                    forwarder.screener.run(screen).await
                }
                Some(message) => Some((message, None)),
                None => None,
            };
            core.borrow_mut().finish(&request, screened, Instant::now());
        });
    }
}

fn limit_of(query: &Query<'_>, route: &Route) -> usize {
    if route.is_stream() {
        STREAM_LIMIT
    } else {
        query.datagram_limit()
    }
}

/// Bytes of an upstream's answer that cost a client one of its queries: to screen them takes up to 0.2 ms, some hundred times as long
/// as an answer of the policy.
const SCREENED_PER_QUERY: usize = 4_096;
/// Clients that wait for the same answer.
const MAX_WAITERS: usize = 64;
/// RFC 1035 §4.2.
const DNS_PORT: u16 = 53;

#[cfg(test)]
mod tests {
    use super::super::questions::SHARES;
    use super::*;
    use hickory_proto::op::{Message, MessageType, OpCode, Query as Asked};
    use hickory_proto::rr::{Name, RecordType};

    /// The core of a server with one thread and room for this many questions.
    fn core_of(names: Names, counters: &Arc<DnsCounters>, questions: usize) -> Core {
        let shared = Shared {
            published: Arc::new(ArcSwap::from_pointee(names)),
            questions: Arc::new(Questions::new(questions)),
            threads: 1,
        };
        Core::new(shared, Arc::clone(counters))
    }

    #[tokio::test]
    async fn names_are_hidden_from_clients_for_whom_the_policy_is_enforced() {
        let of = |gateway: &str| {
            let text = format!(
                "[vpn]\nclient_subnets = [\"127.0.0.0/8\"]\n\
                 [dns]\nsip_domains = [\"contoso.com\"]\nupstreams = [\"192.0.2.53\"]\n[gateway]\n{gateway}\n"
            );
            let (policy, _) = crate::policy::parse("test.toml", text.as_bytes()).expect("a policy");
            Names::of(&policy, &policy.gateway.enforcement, None)
        };
        let name = Name::from_ascii("sipinternal.contoso.com.").expect("a name");
        let mut asked = Message::new(7, MessageType::Query, OpCode::Query);
        asked.add_query(Asked::query(name, RecordType::A));
        let asked = asked.to_vec().expect("a message");
        let (sender, _answers) = tokio::sync::mpsc::unbounded_channel();
        let route = Route::Stream(sender);
        let pilot = "pilot = [\"127.0.0.1/32\"]";
        let off = format!("enforce = false\n{pilot}");
        for (gateway, hidden) in [
            ("", [true, true]),
            (pilot, [true, false]),
            (&off, [false; 2]),
        ] {
            let mut core = core_of(of(gateway), &Arc::default(), 1);
            for (client, is_hidden) in [1, 2].into_iter().zip(hidden) {
                let client = SocketAddr::from(([127, 0, 0, client], 5_000));
                let (mut out, mut requests) = (Vec::new(), Vec::new());
                let now = Instant::now();
                core.take(&asked, client, &route, now, &mut out, &mut requests);
                assert_eq!(!out.is_empty(), is_hidden, "{gateway}: {client}");
                assert!(
                    is_hidden || !core.waiting[1].is_empty(),
                    "an upstream is asked"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_client_has_its_share_of_the_questions_on_their_way() {
        let text =
            "[vpn]\nclient_subnets = [\"127.0.0.0/8\"]\n[dns]\nupstreams = [\"192.0.2.53\"]\n";
        let (policy, _) = crate::policy::parse("test.toml", text.as_bytes()).expect("a policy");
        let names = Names::of(&policy, &policy.gateway.enforcement, None);
        let mut core = core_of(names, &Arc::default(), 2 * SHARES);
        let (sender, _answers) = tokio::sync::mpsc::unbounded_channel();
        let route = Route::Stream(sender);
        let mut requests = Vec::new();
        let ask = |core: &mut Core, requests: &mut Vec<_>, client: u8, number: usize| {
            let name = Name::from_ascii(format!("n{number}.example.")).expect("a name");
            let mut asked = Message::new(7, MessageType::Query, OpCode::Query);
            asked.add_query(Asked::query(name, RecordType::A));
            let asked = asked.to_vec().expect("a message");
            let client = SocketAddr::from(([127, 0, 0, client], 5_000));
            let taken = core.take(
                &asked,
                client,
                &route,
                Instant::now(),
                &mut Vec::new(),
                requests,
            );
            matches!(taken, Taken::Waits)
        };
        for (client, number, waits) in [
            (1, 0, true),
            (1, 1, true),
            (1, 2, false),
            // Another client has a share of its own, and to wait for what it asks costs nothing.
            (2, 3, true),
            (1, 3, true),
        ] {
            let is_waiting = ask(&mut core, &mut requests, client, number);
            assert_eq!(is_waiting, waits, "client {client}, question {number}");
        }
        core.finish(&requests[0], None, Instant::now());
        assert!(ask(&mut core, &mut requests, 1, 4));
        assert!(!ask(&mut core, &mut requests, 1, 5));
        // A large answer costs more queries than a client has in a second.
        let answer = vec![0; 200 * SCREENED_PER_QUERY];
        core.finish(&requests[1], Some((answer, None)), Instant::now());
        assert!(!ask(&mut core, &mut requests, 1, 6));
        assert!(ask(&mut core, &mut requests, 2, 7));
    }

    #[tokio::test]
    async fn nobody_is_answered_at_a_port_of_servers_but_on_connections() {
        let text =
            "[vpn]\nclient_subnets = [\"127.0.0.0/8\"]\n[dns]\nsip_domains = [\"contoso.com\"]\n";
        let (policy, _) = crate::policy::parse("test.toml", text.as_bytes()).expect("a policy");
        let names = Names::of(&policy, &policy.gateway.enforcement, None);
        let counters = Arc::new(DnsCounters::default());
        let mut core = core_of(names, &counters, 1);
        let name = Name::from_ascii("sipinternal.contoso.com.").expect("a name");
        let mut asked = Message::new(7, MessageType::Query, OpCode::Query);
        asked.add_query(Asked::query(name, RecordType::A));
        let asked = asked.to_vec().expect("a message");
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let datagrams = Route::Datagram(Rc::new(socket), SocketAddr::from(([127, 0, 0, 1], 1)));
        let (sender, _answers) = tokio::sync::mpsc::unbounded_channel();
        let connection = Route::Stream(sender);
        for (port, route, is_answered) in [
            (0, &datagrams, false),
            (53, &datagrams, false),
            (54, &datagrams, true),
            (53, &connection, true),
        ] {
            let mut out = Vec::new();
            let client = SocketAddr::from(([127, 0, 0, 1], port));
            core.take(
                &asked,
                client,
                route,
                Instant::now(),
                &mut out,
                &mut Vec::new(),
            );
            assert_eq!(!out.is_empty(), is_answered, "port {port}");
        }
        let of = |wanted| {
            let mut outcomes = counters.outcomes();
            outcomes.find(|(outcome, _)| *outcome == wanted)
        };
        assert_eq!(of(Outcome::Dropped), Some((Outcome::Dropped, 2)));
        assert_eq!(of(Outcome::Hidden), Some((Outcome::Hidden, 2)));
    }
}
