//! The ICE agents of a call: real ones, each in its party's host.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{Barrier, mpsc, oneshot};
use tokio::time::timeout;
use webrtc_ice::agent::Agent;
use webrtc_ice::agent::agent_config::AgentConfig;
use webrtc_ice::agent::agent_stats::CandidateStats;
use webrtc_ice::candidate::Candidate;
use webrtc_ice::candidate::candidate_base::unmarshal_candidate;
use webrtc_ice::mdns::MulticastDnsMode;
use webrtc_ice::url::Url;
use webrtc_util::Conn;

use crate::site::DEADLINE;

use super::{CHECK_INTERVAL, CHECKS, PACKETS, PASSWORD, Pair, Party, RTP, SETTLED, USER, VOICE};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Caller,
    Called,
}

/// The data that an agent sends the other by signaling.
#[derive(Debug)]
pub(super) struct Description {
    pub(super) credentials: (String, String),
    pub(super) candidates: Vec<String>,
}

pub(super) struct Negotiation<'a> {
    pub(super) role: Role,
    pub(super) send: oneshot::Sender<Description>,
    pub(super) receive: oneshot::Receiver<Description>,
    /// Reached by both once both have received everything: an agent that leaves earlier would close its relay.
    pub(super) end: &'a Barrier,
}

/// Runs an agent in its host until the call is over; returns its findings.
pub(super) fn take_part(party: Party, negotiation: Negotiation<'_>) -> Vec<Pair> {
    party.host.enter(|| {
        // A single thread: its sockets belong to the host that the thread has entered.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(talk(party, negotiation))
    })
}

pub(super) async fn talk(party: Party<'_>, negotiation: Negotiation<'_>) -> Vec<Pair> {
    let agent = Agent::new(agent_config(party)).await.expect("an agent");
    let candidates = gather(&agent).await;
    let offer = Description {
        credentials: agent.get_local_user_credentials().await,
        candidates,
    };
    negotiation
        .send
        .send(offer)
        .expect("the other waits for it");
    let received = timeout(DEADLINE, negotiation.receive).await;
    let Description {
        credentials: (fragment, password),
        candidates,
    } = received.expect("in time").expect("the other sends it");
    for candidate in candidates {
        let candidate = unmarshal_candidate(&candidate).expect("as the other wrote it");
        let candidate: Arc<dyn Candidate + Send + Sync> = Arc::new(candidate);
        agent.add_remote_candidate(&candidate).expect("an agent");
    }
    let (_cancel, cancelled) = mpsc::channel(1);
    let pairs = match negotiation.role {
        Role::Caller => {
            let dialed = timeout(DEADLINE, agent.dial(cancelled, fragment, password)).await;
            let media = dialed.expect("a pair, in time").expect("a pair");
            let pairs = pair_table(&agent).await;
            exchange_media(media.as_ref()).await;
            pairs
        }
        Role::Called => {
            let accepted = timeout(DEADLINE, agent.accept(cancelled, fragment, password)).await;
            let media = accepted.expect("a pair, in time").expect("a pair");
            exchange_media(media.as_ref()).await;
            Vec::new()
        }
    };
    let ended = timeout(DEADLINE, negotiation.end.wait()).await;
    ended.expect("the other receives everything, too");
    agent.close().await.expect("an agent");
    pairs
}

pub(super) fn agent_config(party: Party) -> AgentConfig {
    let mut turn =
        Url::parse_url(&format!("turn:{}:3478?transport=udp", party.edge)).expect("a URL");
    turn.username = USER.to_owned();
    turn.password = PASSWORD.to_owned();
    AgentConfig {
        urls: vec![turn],
        network_types: party.networks.to_vec(),
        ip_filter: Arc::new(Some(Box::new(is_routed))),
        multicast_dns_mode: MulticastDnsMode::Disabled,
        check_interval: CHECK_INTERVAL,
        max_binding_requests: Some(CHECKS),
        host_acceptance_min_wait: Some(SETTLED),
        srflx_acceptance_min_wait: Some(SETTLED),
        prflx_acceptance_min_wait: Some(SETTLED),
        relay_acceptance_min_wait: Some(SETTLED),
        ..AgentConfig::default()
    }
}

/// Returns `true` if an address is valid beyond its link.
pub(super) fn is_routed(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    }
}

/// Gathers all candidates of an agent.
pub(super) async fn gather(agent: &Agent) -> Vec<String> {
    let (done, mut is_done) = mpsc::channel(1);
    agent.on_candidate(Box::new(move |candidate| {
        let done = done.clone();
        Box::pin(async move {
            if candidate.is_none() {
                _ = done.send(()).await;
            }
        })
    }));
    agent.gather_candidates().expect("an agent");
    let gathered = timeout(DEADLINE, is_done.recv()).await;
    gathered.expect("the Edge answers").expect("it ends once");
    let candidates = agent.get_local_candidates().await.expect("an agent");
    candidates.iter().map(|it| it.marshal()).collect()
}

pub(super) async fn pair_table(agent: &Agent) -> Vec<Pair> {
    let by_id = |stats: Vec<CandidateStats>| -> HashMap<String, CandidateStats> {
        stats.into_iter().map(|it| (it.id.clone(), it)).collect()
    };
    let locals = by_id(agent.get_local_candidates_stats().await);
    let remotes = by_id(agent.get_remote_candidates_stats().await);
    let pairs = agent.get_candidate_pairs_stats().await.into_iter();
    let pair = pairs.map(|it| Pair {
        local: locals[&it.local_candidate_id].clone(),
        remote: remotes[&it.remote_candidate_id].clone(),
        state: it.state,
        nominated: it.nominated,
    });
    pair.collect()
}

/// Sends voice, and must receive as many packets.
pub(super) async fn exchange_media(media: &impl Conn) {
    let send = async {
        for sequence in 0..PACKETS {
            let mut packet = [0; VOICE];
            packet[..2].copy_from_slice(&RTP);
            packet[2..4].copy_from_slice(&sequence.to_be_bytes());
            media.send(&packet).await.expect("a path");
            tokio::task::yield_now().await;
        }
    };
    let receive = async {
        let mut missing: HashSet<u16> = (0..PACKETS).collect();
        let mut bytes = [0; 2_048];
        while !missing.is_empty() {
            let length = media.recv(&mut bytes).await.expect("a path");
            assert_eq!((length, &bytes[..2]), (VOICE, &RTP[..]));
            missing.remove(&u16::from_be_bytes([bytes[2], bytes[3]]));
        }
    };
    let exchanged = async { tokio::join!(send, receive) };
    timeout(DEADLINE, exchanged)
        .await
        .expect("all media arrives");
}
