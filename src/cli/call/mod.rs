//! `offramp call`: which way a call will take, before and after, and why not another.

mod figure;
mod text;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::error::CliError;
use super::input::{compile, load_plan};
use crate::files::{atomic, place};
use crate::filter::Generation;
use crate::policy::{Policy, Protocol};
use crate::verify::call::{
    Call, Candidate, GatewayMode, HomeUdp, HostAddresses, Node, Obstacle, Pair, Prediction,
    Registration, Side, Translation, predict,
};

/// Predict the path of a call, without offramp and with it, and why each other path fails
///
/// Tries the candidates in the order of the article's clients (UDP direct, UDP NAT, UDP relay, TCP relay) through the
/// policy's routes, the NATs of homes and the filter. It is a prediction: nothing is sent. Exit code 3 when, with the
/// policy, media enters the tunnel, or there is no media at all.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  offramp call config/contoso.toml --from vpn --to internal
  offramp call config/contoso.toml --from vpn --to vpn --home-ports random
  offramp call config/contoso.toml --from vpn --to internal --no-udp --svg call.svg")]
pub(super) struct Options {
    /// The policy file
    #[arg(value_name = "POLICY")]
    policy: PathBuf,
    /// The caller's place
    #[arg(long, value_name = "SIDE")]
    from: SideName,
    /// The callee's place
    #[arg(long, value_name = "SIDE")]
    to: SideName,
    /// Assume that firewalls of homes block UDP
    #[arg(long)]
    no_udp: bool,
    /// Port mapping of the NATs of homes: one port for all peers, or another for each ("symmetric")
    #[arg(long, value_name = "HOW", default_value = "same")]
    home_ports: HomePorts,
    /// Address of the media relay; by default that of the policy's A/V Edge, else of its first feed or profile
    #[arg(long, value_name = "ADDRESS")]
    relay: Option<IpAddr>,
    /// Address in the office; by default one that no rule names
    #[arg(long, value_name = "ADDRESS")]
    office: Option<IpAddr>,
    /// List every pair of candidates
    #[arg(long)]
    pairs: bool,
    /// Write the picture of both ways to this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print the prediction as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SideName {
    /// At home, with the VPN up
    Vpn,
    /// In the office
    Internal,
    /// On the Internet, without the VPN
    External,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum HomePorts {
    /// One port for all peers
    Same,
    /// Another port for each peer
    Random,
}

/// The same call, without offramp and with it.
struct Both {
    before: Prediction,
    after: Prediction,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let path = &options.policy;
    let planned = load_plan(path)?;
    let compiled = compile(path, planned.policy, Generation(1))?;
    let call = call(options, compiled.policy())?;
    let predict = |gateway| predict(&compiled, &planned.plan, &Call { gateway, ..call });
    let both = Both {
        before: predict(GatewayMode::Open),
        after: predict(GatewayMode::Judging),
    };
    if let Some(file) = &options.svg {
        write_figure(file, &both)?;
    }
    if options.json {
        super::print_json(&json!({
            "policy": compiled.policy().origin,
            "prediction": true,
            "from": call.from.name(),
            "to": call.to.name(),
            "without": as_json(&both.before),
            "with": as_json(&both.after),
        }))?;
    } else {
        let browsers = crate::verify::browsers(compiled.policy().media.recognition);
        let text = text::text(&compiled.policy().origin, &both, options.pairs);
        super::print(&format!("{text}\nNote: {browsers}.\n"))?;
    }
    Ok(if is_good(&both.after) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}

fn is_good(prediction: &Prediction) -> bool {
    prediction.winner().is_some() && !prediction.is_in_tunnel()
}

fn call(options: &Options, policy: &Policy) -> Result<Call, CliError> {
    let side = |name| match name {
        SideName::Vpn => Side::Vpn,
        SideName::Internal => Side::Internal,
        SideName::External => Side::External,
    };
    let (from, to) = (side(options.from), side(options.to));
    let office = match options.office {
        None => HostAddresses::default(),
        Some(IpAddr::V4(address)) => HostAddresses {
            v4: Some(address),
            v6: None,
        },
        Some(IpAddr::V6(address)) => HostAddresses {
            v4: None,
            v6: Some(address),
        },
    };
    let in_office = [from, to].contains(&Side::Internal);
    if in_office && policy.corporate.subnets.is_empty() && options.office.is_none() {
        return Err(CliError::Usage(
            "the policy has no corporate subnets; write --office ADDRESS".to_owned(),
        ));
    }
    Ok(Call {
        translation: match options.home_ports {
            HomePorts::Same => Translation::KeepsPorts,
            HomePorts::Random => Translation::RandomPorts,
        },
        home_udp: if options.no_udp {
            HomeUdp::Closed
        } else {
            HomeUdp::Open
        },
        relay: options.relay,
        office,
        ..Call::new(from, to)
    })
}

fn write_figure(file: &Path, both: &Both) -> Result<(), CliError> {
    const MODE: u32 = 0o644;
    let folder = file.parent().filter(|it| !it.as_os_str().is_empty());
    folder
        .map_or(Ok(()), place::make_folder)
        .and_then(|()| atomic::write(file, figure::figure(both).as_bytes(), MODE))
        .map_err(|error| CliError::file("picture", file, &error))
}

fn as_json(prediction: &Prediction) -> Value {
    let winner = prediction.winner();
    let parties = prediction.parties.iter().zip(&prediction.candidates);
    let parties = parties.map(|(party, candidates)| {
        json!({
            "side": party.side.name(),
            "registration": match party.registration {
                Registration::Internal => "internal",
                Registration::External => "external",
            },
            "relay_told": party.relay.iter().map(|it| it.to_string()).collect::<Vec<_>>(),
            "candidates": candidates.iter().map(candidate_json).collect::<Vec<_>>(),
        })
    });
    let attempts = prediction.attempts.iter().map(|it| {
        json!({
            "party": it.party,
            "from": it.base.to_string(),
            "relay": it.server.to_string(),
            "protocol": it.leg.to_string(),
            "obstacle": it.obstacle.name(),
            "why": it.obstacle.to_string(),
        })
    });
    json!({
        "way": winner.map(|pair| pair.way().name()),
        "in_tunnel": prediction.is_in_tunnel(),
        "relay": {
            "name": prediction.relay.name,
            "addresses": prediction.relay.public.iter().map(|it| it.to_string()).collect::<Vec<_>>(),
        },
        "winner": winner.map(pair_json),
        "parties": parties.collect::<Vec<_>>(),
        "relays_not_reached": attempts.collect::<Vec<_>>(),
        "pairs": prediction.pairs.iter().map(pair_json).collect::<Vec<_>>(),
    })
}

fn candidate_json(candidate: &Candidate) -> Value {
    json!({
        "kind": candidate.kind.name(),
        "address": candidate.address.to_string(),
        "base": candidate.base.to_string(),
        "relay_by": (candidate.leg == Protocol::Tcp).then_some("tcp"),
        "priority": candidate.priority,
    })
}

fn pair_json(pair: &Pair) -> Value {
    let (path, obstacle) = match &pair.outcome {
        Ok(success) => (Some(&success.path), None),
        Err(obstacle) => (None, Some(obstacle)),
    };
    let path = path.map(|path| path.iter().map(|it| node_name(*it)).collect::<Vec<_>>());
    json!({
        "way": pair.way().name(),
        "local": candidate_json(&pair.local),
        "remote": candidate_json(&pair.remote),
        "priority": pair.priority,
        "works": pair.outcome.is_ok(),
        "path": path,
        "obstacle": obstacle.map(Obstacle::name),
        "why": obstacle.map(ToString::to_string),
    })
}

const fn node_name(node: Node) -> &'static str {
    match node {
        Node::Party(0) => "caller",
        Node::Party(_) => "called",
        Node::Home(0) => "home of the caller",
        Node::Home(_) => "home of the callee",
        Node::Gateway => "concentrator",
        Node::Company => "corporate network",
        Node::Internet => "internet",
        Node::Edge => "edge",
    }
}
