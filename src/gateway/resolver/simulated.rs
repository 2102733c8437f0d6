//! [`SimulatedResolver`]: the core of the DNS server in memory, with clients, upstreams and a clock that are played.
//!
//! Two promises hold at every moment: an answer shows nothing that the policy in force hides from the client that gets it
//! ([`leak`]), and whoever waits gets one answer.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arbitrary::{Result, Unstructured};
use arc_swap::ArcSwap;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::core::{Core, Reply, Route, Shared, Taken, UpstreamRequest};
use super::counters::DnsCounters;
use super::questions::Questions;
use super::server::Names;
use crate::dns::reference::leak;
use crate::dns::{EdnsUse, Incoming, UpstreamReply};
use crate::filter::strategy::name;
use crate::policy::{Enforcement, Policy};

/// A DNS server in memory.
pub(in crate::gateway) struct SimulatedResolver {
    published: Arc<ArcSwap<Names>>,
    core: Core,
    clients: Vec<Client>,
    requests: VecDeque<UpstreamRequest>,
    /// Names that are asked for and answered again and again: policies come to hide them and give them up.
    names: VecDeque<String>,
    /// Questions that are asked again: a cache may know their answers.
    asked: VecDeque<Vec<u8>>,
    began: Instant,
    /// Answers of upstreams that clients got.
    answers: u64,
}

/// A client with a connection.
struct Client {
    address: IpAddr,
    route: Route,
    answers: UnboundedReceiver<Vec<u8>>,
    /// Ids of the questions whose answers it waits for.
    waits: Vec<[u8; 2]>,
}

impl std::fmt::Debug for SimulatedResolver {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SimulatedResolver")
            .field("clients", &self.clients.len())
            .field("requests", &self.requests.len())
            .finish_non_exhaustive()
    }
}

impl SimulatedResolver {
    /// Starts it by the names of `policy`.
    pub(in crate::gateway) fn new(policy: &Policy, enforcement: &Enforcement) -> Self {
        let names = Names::of(policy, enforcement, None);
        let published = Arc::new(ArcSwap::from_pointee(names));
        let shared = Shared {
            published: Arc::clone(&published),
            questions: Arc::new(Questions::new(MOST_WAITING)),
            threads: 1,
        };
        Self {
            core: Core::new(shared, Arc::new(DnsCounters::default())),
            published,
            clients: clients(policy),
            requests: VecDeque::new(),
            names: VecDeque::new(),
            asked: VecDeque::new(),
            began: Instant::now(),
            answers: 0,
        }
    }

    /// Goes on by the names of `policy`.
    pub(in crate::gateway) fn follow(&mut self, policy: &Policy, enforcement: &Enforcement) {
        let names = Names::of(policy, enforcement, None);
        self.published.store(Arc::new(names));
        // Those who wait for nothing may hang up; the others wait for the new policy's answer.
        self.clients.retain(|client| !client.waits.is_empty());
        self.clients.extend(clients(policy));
        let hosts = policy.servers.iter().map(|it| &it.hosts);
        let hosts = hosts.chain(policy.publics.iter().map(|it| &it.hosts));
        for host in hosts.flatten().chain(&policy.dns.sip_domains) {
            self.remember(host.value.clone());
        }
    }

    fn remember(&mut self, name: String) {
        if !self.names.contains(&name) {
            self.names.push_back(name);
            let surplus = self.names.len().saturating_sub(NAMES);
            self.names.drain(..surplus);
        }
    }

    /// A name, mostly one that was met before.
    fn name(&mut self, bytes: &mut Unstructured<'_>) -> Result<String> {
        if !self.names.is_empty() && bytes.int_in_range(0..=7u8)? != 7 {
            let at = bytes.choose_index(self.names.len())?;
            return Ok(self.names[at].clone());
        }
        let name = name(bytes)?;
        self.remember(name.clone());
        Ok(name)
    }

    /// A question, mostly one that was asked before; some have a byte changed.
    fn query(&mut self, bytes: &mut Unstructured<'_>) -> Result<Vec<u8>> {
        let id: u16 = bytes.arbitrary()?;
        if !self.asked.is_empty() && bytes.int_in_range(0..=3u8)? != 3 {
            let at = bytes.choose_index(self.asked.len())?;
            let mut message = self.asked[at].clone();
            message[..2].copy_from_slice(&id.to_be_bytes());
            return Ok(message);
        }
        let mut message = id.to_be_bytes().to_vec();
        // A question, recursion desired: one question (RFC 1035 §4.1.1).
        message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        write_name(&mut message, &self.name(bytes)?);
        message.extend(u16::to_be_bytes(*bytes.choose(&TYPES)?));
        message.extend([0, 1]);
        if bytes.int_in_range(0..=15u8)? == 15 {
            let at = bytes.choose_index(message.len())?;
            message[at] = bytes.arbitrary()?;
        }
        self.asked.push_back(message.clone());
        let surplus = self.asked.len().saturating_sub(ASKED);
        self.asked.drain(..surplus);
        Ok(message)
    }

    /// Has a client ask.
    pub(in crate::gateway) fn ask(
        &mut self,
        bytes: &mut Unstructured<'_>,
        now: Duration,
    ) -> Result<()> {
        let message = self.query(bytes)?;
        let at = bytes.choose_index(self.clients.len())?;
        let client = &mut self.clients[at];
        let (mut out, mut requests) = (Vec::new(), Vec::new());
        self.core.follow();
        let taken = self.core.take(
            &message,
            SocketAddr::new(client.address, 5_000),
            &client.route,
            self.began + now,
            &mut out,
            &mut requests,
        );
        assert!(requests.len() <= 1 && self.requests.len() <= MOST_WAITING);
        self.requests.extend(requests);
        match taken {
            Taken::Waits => {
                assert!(out.is_empty());
                client.waits.push([message[0], message[1]]);
            }
            // Over its rate, or no question.
            Taken::Done if out.is_empty() => {}
            Taken::Done => {
                assert_eq!(out[..2], message[..2], "the id");
                check(&self.published.load(), client.address, &out);
            }
        }
        Ok(())
    }

    /// Has an upstream answer one of the questions, or fail to.
    pub(in crate::gateway) fn reply(
        &mut self,
        bytes: &mut Unstructured<'_>,
        now: Duration,
    ) -> Result<()> {
        if self.requests.is_empty() {
            return Ok(());
        }
        let at = bytes.choose_index(self.requests.len())?;
        let Some(request) = self.requests.remove(at) else {
            return Ok(());
        };
        let reply = match bytes.int_in_range(0..=7u8)? {
            0 => None,
            _ => {
                let id = bytes.arbitrary()?;
                let owners = [self.name(bytes)?, self.name(bytes)?, self.name(bytes)?];
                let reply = reply(bytes, &request, id, &owners)?;
                // The forwarder hands on nothing else.
                let is_answer = request.question.classify(id, &reply) == UpstreamReply::Answer;
                is_answer.then_some(reply)
            }
        };
        let reply = match (reply, bytes.int_in_range(0..=2u8)?) {
            (None, _) => None,
            (Some(reply), 0) => Some((reply, None)),
            // Screened before, by the policy in force or by the one of the question.
            (Some(reply), 1) => Some(request.screen(self.published.load_full(), reply)()),
            (Some(reply), _) => Some(request.screen(Arc::clone(&request.names), reply)()),
        };
        self.finish(&request, reply, now);
        Ok(())
    }

    /// Has no upstream answer any more; returns the number of answers of upstreams that clients got.
    pub(in crate::gateway) fn end(&mut self, now: Duration) -> u64 {
        let answers = self.answers;
        while let Some(request) = self.requests.pop_front() {
            self.finish(&request, None, now);
        }
        for client in &self.clients {
            assert!(client.waits.is_empty(), "{} still waits", client.address);
        }
        answers
    }

    fn finish(&mut self, request: &UpstreamRequest, reply: Option<Reply>, now: Duration) {
        self.core.finish(request, reply, self.began + now);
        let names = self.published.load();
        for client in &mut self.clients {
            while let Ok(answer) = client.answers.try_recv() {
                let id = client.waits.iter().position(|id| id[..] == answer[..2]);
                let id = id.expect("an answer that somebody waits for");
                client.waits.swap_remove(id);
                check(&names, client.address, &answer);
                self.answers += u64::from(answer[3] & 0x0f != SERVFAIL);
            }
        }
    }
}

/// Checks an answer by the names that are in force for `client`.
fn check(names: &Names, client: IpAddr, answer: &[u8]) {
    assert!(answer[2] & 0x80 != 0, "an answer says that it is one");
    assert!(matches!(Incoming::read(answer), Incoming::Silence));
    let zones = names.zones(names.treatment(client));
    assert_eq!(leak(zones, answer), None, "{client}: {answer:02x?}");
}

/// A client of each pool, and a stranger.
fn clients(policy: &Policy) -> Vec<Client> {
    let pools = policy.dns_clients().iter().map(|it| it.value.addr());
    let stranger = IpAddr::from([192, 0, 2, 77]);
    pools
        .chain([stranger])
        .map(|address| {
            let (sender, answers) = unbounded_channel();
            Client {
                address,
                route: Route::Stream(sender),
                answers,
                waits: Vec::new(),
            }
        })
        .collect()
}

/// An answer to `request`, with records of its name and of `names`, some of them with a byte changed.
fn reply(
    bytes: &mut Unstructured<'_>,
    request: &UpstreamRequest,
    id: u16,
    names: &[String],
) -> Result<Vec<u8>> {
    let mut message = Vec::new();
    request.question.write(&mut message, id, EdnsUse::Without);
    message[2] |= 0x80;
    message[3] = 0x80 | *bytes.choose(&[0, 0, 0, 3])?;
    let records = bytes.int_in_range(0..=5u8)?;
    message[7] = records;
    for _ in 0..records {
        match bytes.arbitrary()? {
            // The name of the question, which begins at byte 12.
            true => message.extend([0xc0, 12]),
            false => write_name(&mut message, bytes.choose(names)?),
        }
        let record_type = *bytes.choose(&TYPES)?;
        message.extend(record_type.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, bytes.arbitrary()?]);
        let mut data = Vec::new();
        match record_type {
            1 => data.extend(bytes.arbitrary::<[u8; 4]>()?),
            28 => data.extend(bytes.arbitrary::<[u8; 16]>()?),
            33 => {
                data.extend(bytes.arbitrary::<[u8; 6]>()?);
                write_name(&mut data, bytes.choose(names)?);
            }
            64 | 65 => {
                data.extend([0, 1]);
                write_name(&mut data, bytes.choose(names)?);
            }
            _ => write_name(&mut data, bytes.choose(names)?),
        }
        message.extend((data.len() as u16).to_be_bytes());
        message.extend(data);
    }
    if bytes.int_in_range(0..=7u8)? == 7 {
        let at = bytes.choose_index(message.len())?;
        message[at] = bytes.arbitrary()?;
    }
    Ok(message)
}

fn write_name(out: &mut Vec<u8>, name: &str) {
    for label in name.split('.') {
        out.push(label.len() as u8);
        out.extend(label.bytes());
    }
    out.push(0);
}

/// A, CNAME, PTR, TXT, AAAA, SRV, SVCB, HTTPS, ANY.
const TYPES: [u16; 9] = [1, 5, 12, 16, 28, 33, 64, 65, 255];
const SERVFAIL: u8 = 2;
/// Questions that are asked again.
const ASKED: usize = 6;
/// Names that are met again.
const NAMES: usize = 12;
/// Few, so that the bound is met.
const MOST_WAITING: usize = 16;
