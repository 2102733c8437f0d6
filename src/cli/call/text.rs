//! A prediction as text: the article's order, way by way, and the path of the media.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::Both;
use crate::policy::Protocol;
use crate::verify::call::{
    Attempt, Candidate, CandidateKind, Node, Obstacle, Pair, Prediction, Side, Success, Way,
};

pub(super) fn text(origin: &str, both: &Both, all_pairs: bool) -> String {
    let mut out = String::new();
    let [caller, called] = &both.after.parties;
    _ = writeln!(
        out,
        "Prediction by {origin}: a {} calls a {}. Nothing was sent.",
        caller.side, called.side
    );
    match &both.after.relay.name {
        Some(_) => {}
        None => out.push_str(
            "The policy names no media relay; one on the Internet is assumed (--relay names yours).\n",
        ),
    }
    section(&mut out, "Without offramp", &both.before, all_pairs);
    section(&mut out, "With offramp", &both.after, all_pairs);
    out
}

fn section(out: &mut String, title: &str, prediction: &Prediction, all_pairs: bool) {
    let (said, color) = match prediction.winner() {
        None => ("no media at all".to_owned(), AnsiColor::Red),
        Some(pair) if prediction.is_in_tunnel() => (
            format!("{}, through the tunnel", pair.way()),
            AnsiColor::Red,
        ),
        Some(pair) => (
            format!("{}, outside the tunnel", pair.way()),
            AnsiColor::Green,
        ),
    };
    let (bold, color) = (Style::new().bold(), color.on_default().bold());
    _ = writeln!(out, "\n{bold}{title}:{bold:#} {color}{said}{color:#}");
    if let Some(pair) = prediction.winner()
        && let Ok(success) = &pair.outcome
    {
        _ = writeln!(out, "  {}", path(prediction, pair, success));
    }
    out.push('\n');
    for (number, way) in Way::ALL.into_iter().enumerate() {
        let lines = way_lines(prediction, way);
        for (at, line) in lines.iter().enumerate() {
            let head = match at {
                0 => format!("{}  {way:<10}", number + 1),
                _ => " ".repeat(13),
            };
            _ = writeln!(out, "  {head}  {line}");
        }
    }
    if all_pairs {
        pairs(out, prediction);
    }
}

/// Describes the outcome of a path: the pair that wins, one that works as well, or the obstacle.
fn way_lines(prediction: &Prediction, way: Way) -> Vec<String> {
    let of_way: Vec<&Pair> = prediction
        .pairs
        .iter()
        .filter(|it| it.way() == way)
        .collect();
    let winner = prediction.winner();
    if let Some(works) = of_way.iter().copied().find(|it| it.outcome.is_ok()) {
        let word = if Some(works) == winner {
            "wins"
        } else {
            "works, too"
        };
        return vec![format!("{word}: {}", ends(works))];
    }
    let reach_relay = prediction.candidates.iter().all(|candidates| {
        let mut relayed = candidates.iter();
        relayed.any(|it| it.kind == CandidateKind::Relayed && it.leg == Protocol::Udp)
    });
    if way == Way::TcpRelay && reach_relay {
        return vec!["not needed: UDP reaches the relay".to_owned()];
    }
    let mut lines = obstacles(&of_way);
    let leg = match way {
        Way::UdpDirect | Way::UdpNat => None,
        Way::UdpRelay => Some(Protocol::Udp),
        Way::TcpRelay => Some(Protocol::Tcp),
    };
    if let Some(leg) = leg {
        let mut attempts: Vec<&Attempt> = prediction
            .attempts
            .iter()
            .filter(|it| it.leg == leg)
            .collect();
        // What the gateway does first: it is what a policy can change.
        attempts.sort_by_key(|it| !it.obstacle.is_dropped());
        let asked = attempts.iter().map(|it| {
            format!(
                "{} gets no answer from the relay {}: {}",
                it.base.ip(),
                it.server,
                it.obstacle
            )
        });
        lines.extend(asked.take(SHOWN));
    }
    if lines.is_empty() {
        lines.push(
            match way {
                Way::UdpDirect => "nothing to try: no addresses of one family",
                Way::UdpNat => "nothing to try: no reflexive address is known",
                Way::UdpRelay | Way::TcpRelay => {
                    "nothing to try: neither side has a relayed address"
                }
            }
            .to_owned(),
        );
    }
    lines
}

/// The different obstacles of some pairs, those of the gateway first.
fn obstacles(pairs: &[&Pair]) -> Vec<String> {
    let mut found: Vec<(&Pair, &Obstacle)> = Vec::new();
    for pair in pairs {
        if let Err(obstacle) = &pair.outcome
            && !found.iter().any(|(_, known)| *known == obstacle)
        {
            found.push((pair, obstacle));
        }
    }
    found.sort_by_key(|(_, obstacle)| !obstacle.is_dropped());
    let lines = found.iter().take(SHOWN);
    lines
        .map(|(pair, obstacle)| format!("{}: {obstacle}", ends(pair)))
        .collect()
}

/// Obstacles of a way that are shown without --pairs.
const SHOWN: usize = 2;

fn ends(pair: &Pair) -> String {
    format!("{} -> {}", end(&pair.local), end(&pair.remote))
}

fn end(candidate: &Candidate) -> String {
    let address = candidate.address.ip();
    match candidate.kind {
        CandidateKind::Host => address.to_string(),
        CandidateKind::ServerReflexive | CandidateKind::PeerReflexive => {
            format!("{address} (for {})", candidate.base.ip())
        }
        CandidateKind::Relayed => match candidate.leg {
            Protocol::Udp => format!("relay {address}"),
            Protocol::Tcp => format!("relay {address} (by TCP)"),
        },
    }
}

/// The nodes that the media passes: `VPN user 172.16.1.10 == concentrator -- ...`; `==` is the tunnel.
fn path(prediction: &Prediction, pair: &Pair, success: &Success) -> String {
    let name = |node: Node| node_text(prediction, pair, node);
    let mut out = String::new();
    for (at, node) in success.path.iter().enumerate() {
        if let Some(before) = at
            .checked_sub(1)
            .and_then(|before| success.path.get(before))
        {
            out.push_str(if is_tunnel(prediction, *before, *node) {
                " ==tunnel== "
            } else {
                " -- "
            });
        }
        out.push_str(&name(*node));
    }
    out
}

/// Returns `true` if the path between two nodes is the tunnel.
pub(super) fn is_tunnel(prediction: &Prediction, from: Node, to: Node) -> bool {
    let is_client = |node: Node| match node {
        Node::Party(party) => prediction.parties[party].side == Side::Vpn,
        Node::Home(_) | Node::Gateway | Node::Company | Node::Internet | Node::Edge => false,
    };
    (from == Node::Gateway && is_client(to)) || (to == Node::Gateway && is_client(from))
}

/// Returns the name of a node, with its address.
pub(super) fn node_text(prediction: &Prediction, pair: &Pair, node: Node) -> String {
    let [name, address] = node_words(prediction, pair, node);
    format!("{name} {address}").trim_end().to_owned()
}

/// The same in two parts, either of which may be empty.
pub(super) fn node_words(prediction: &Prediction, pair: &Pair, node: Node) -> [String; 2] {
    let base = |party: usize| match party {
        0 => pair.local.base.ip(),
        _ => pair.remote.base.ip(),
    };
    let words = |name: &str, address: Option<std::net::IpAddr>| {
        let address = address.map(|it| it.to_string()).unwrap_or_default();
        [name.to_owned(), address]
    };
    match node {
        Node::Party(party) => words(
            &prediction.parties[party].side.to_string(),
            Some(base(party)),
        ),
        Node::Home(home) => words(
            "home router",
            prediction.parties[home].home.like(base(home)),
        ),
        Node::Gateway => words("concentrator", None),
        Node::Company => words("corporate network", None),
        Node::Internet => words("Internet", None),
        Node::Edge => words(
            prediction.relay.name.as_deref().unwrap_or("relay"),
            prediction.relay.public.like(pair.local.address.ip()),
        ),
    }
}

fn pairs(out: &mut String, prediction: &Prediction) {
    let side = |candidate: &Candidate| format!("{:<5} {}", candidate.kind, candidate.address);
    let width = |pick: &dyn Fn(&Pair) -> String| {
        let widths = prediction.pairs.iter().map(|pair| pick(pair).len());
        widths.max().unwrap_or(0)
    };
    let local = width(&|pair| side(&pair.local));
    let remote = width(&|pair| side(&pair.remote));
    _ = writeln!(out, "\n  Candidate pairs, the best first");
    for pair in &prediction.pairs {
        let said = match &pair.outcome {
            Ok(_) if Some(pair) == prediction.winner() => "nominated".to_owned(),
            Ok(_) => "works".to_owned(),
            Err(obstacle) => obstacle.to_string(),
        };
        _ = writeln!(
            out,
            "    {:<local$}  {:<remote$}  {said}",
            side(&pair.local),
            side(&pair.remote)
        );
    }
}
