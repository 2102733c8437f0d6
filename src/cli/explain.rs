//! `offramp explain`: what becomes of a packet, or of a name, and which line of the policy says so.

mod drop_line;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr as _;

use serde_json::json;

use self::drop_line::{DropLine, Wanted};
use super::error::CliError;
use super::explain_name;
use super::input::load_policy_at;
use crate::filter::{Answer, CompiledPolicy, End, Explanation, Membership, Question};
use crate::name::DnsName;
use crate::packet::Protocol;
use crate::packet::media::Payload;
use crate::packet::reject::RejectionKind;
use crate::policy::Policy;
use crate::verdict::{Action, DecidedBy, Reason};

/// Explain what becomes of a packet: the verdict, the rule, the line of the policy, the prefix that matched; or what
/// clients get for a name
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  offramp explain config/contoso.toml --from 172.16.1.10 --to 10.1.0.10:5061 --protocol tcp
  offramp explain config/contoso.toml --from 172.16.1.10 --to 10.9.0.5 --protocol tcp
  offramp explain config/dual-stack.toml --protocol udp \\
      --from fd00:c0de:200::10 --to [2001:db8:c0de:40::7]:50020
  offramp explain config/contoso.toml --name _sip._tls.contoso.com --type SRV
  offramp explain config/contoso.toml --from 172.16.1.10 --to 172.16.1.1:5353 --protocol udp \\
      --gateway-address 172.16.1.1

A packet that a running gateway dropped is explained from its drop log, by the policy as its file is at present:
`offramp explain POLICY --last-drop --client 172.16.1.10` takes the newest line of that client, and
`journalctl -u offramp -o cat | grep servers | tail -n 1 | offramp explain POLICY --drop-log-line -` a line that went to the journal.

Without a protocol, the answer is given for TCP and for UDP. Without a destination port, it is given for every range of
ports. Without a source port, 49152 is taken. Where the policy asks for evidence of media (media.match), the answer is given for a
packet that shows none, and for a connectivity check; --payload chooses one. A running gateway forwards whatever is sent
to its own addresses; --gateway-address names them. Without --type, a name is explained for A, AAAA, SRV and HTTPS.")]
pub(super) struct Options {
    /// The policy file
    #[arg(value_name = "POLICY")]
    policy: PathBuf,
    /// Source: an address, with a port where it matters
    #[arg(long, aliases = ["src", "source"], value_name = "ADDRESS[:PORT]", value_parser = End::from_str, required_unless_present_any = ["name", "last_drop", "drop_log_line"])]
    from: Option<End>,
    /// Destination: an address, with a port where it matters
    #[arg(long, aliases = ["dst", "destination"], value_name = "ADDRESS[:PORT]", value_parser = End::from_str, required_unless_present_any = ["name", "last_drop", "drop_log_line"])]
    to: Option<End>,
    /// Transport protocol; both TCP and UDP where it is left out
    #[arg(short, long, alias = "proto", value_name = "PROTOCOL")]
    protocol: Option<ProtocolName>,
    /// Its payload, for a policy that asks for evidence of media
    #[arg(long, value_name = "PAYLOAD", value_parser = parse_payload, conflicts_with = "name")]
    payload: Option<Payload>,
    /// An address of the gateway itself, as a running one knows them; may be repeated
    #[arg(
        long = "gateway-address",
        value_name = "ADDRESS",
        conflicts_with = "name"
    )]
    gateway_addresses: Vec<IpAddr>,
    /// The packet of the newest line of the policy's drop log; --client and --to choose among them
    #[arg(long, conflicts_with_all = ["from", "protocol", "payload", "name"])]
    last_drop: bool,
    /// With --last-drop: of this client
    #[arg(long, value_name = "ADDRESS", requires = "last_drop")]
    client: Option<IpAddr>,
    /// The packet of this line of a drop log; `-` reads it from standard input
    #[arg(long, value_name = "LINE", allow_hyphen_values = true,
          conflicts_with_all = ["from", "to", "protocol", "payload", "name", "last_drop"])]
    drop_log_line: Option<String>,
    /// A name that a client asks for, instead of a packet
    #[arg(long, value_name = "NAME", value_parser = explain_name::parse_name,
          conflicts_with_all = ["from", "to", "protocol"])]
    name: Option<Box<DnsName>>,
    /// The record type it asks for
    #[arg(long = "type", value_name = "TYPE", value_parser = explain_name::parse_type, requires = "name")]
    record_type: Option<u16>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ProtocolName {
    Tcp,
    Udp,
    Icmp,
}

fn parse_payload(text: &str) -> Result<Payload, String> {
    let mut words = Payload::WORDS.iter();
    words
        .find(|(word, _)| *word == text)
        .map(|(_, payload)| *payload)
        .ok_or_else(|| {
            let words = Payload::WORDS.iter().map(|(word, _)| *word);
            format!("write one of {}", words.collect::<Vec<_>>().join(", "))
        })
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    if let Some(name) = &options.name {
        explain_name::run(&options.policy, name, options.record_type, options.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    // Beside the ends of a packet, clap takes `--type` for one whose `--name` is not wanted.
    if options.record_type.is_some() {
        return Err(CliError::Usage(
            "a packet has no record type: --type goes with --name".to_owned(),
        ));
    }
    if options.last_drop || options.drop_log_line.is_some() {
        return explain_drop(options);
    }
    let (Some(from), Some(to)) = (options.from, options.to) else {
        return Err(CliError::Usage(
            "write --from and --to, or --name".to_owned(),
        ));
    };
    let protocols: &[Option<Protocol>] = match options.protocol {
        Some(ProtocolName::Tcp) => &[Some(Protocol::Tcp)],
        Some(ProtocolName::Udp) => &[Some(Protocol::Udp)],
        Some(ProtocolName::Icmp) => &[None],
        None => &[Some(Protocol::Tcp), Some(Protocol::Udp)],
    };
    if protocols == [None] && (from.port.is_some() || to.port.is_some()) {
        return Err(CliError::Usage(
            "ICMP has no ports; leave them out".to_owned(),
        ));
    }
    let compiled = load_policy_at(&options.policy, &options.gateway_addresses)?;
    let mut all_json = serde_json::Map::new();
    let mut text = String::new();
    for (at, protocol) in protocols.iter().enumerate() {
        let told = explain(&compiled, options.payload, (from, to), *protocol)?;
        let (json, said) = (told.json, told.text);
        if let ([_, _, ..], Some(protocol)) = (protocols, protocol) {
            let gap = if at == 0 { "" } else { "\n" };
            let style = anstyle::Style::new().bold();
            _ = writeln!(
                text,
                "{gap}{style}{}{style:#}",
                protocol.to_string().to_uppercase()
            );
            all_json.insert(protocol.to_string(), json);
        } else {
            all_json = json.as_object().cloned().unwrap_or_default();
        }
        text += &said;
    }
    if options.json {
        super::print_json(&all_json.into())?;
    } else {
        super::print(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Explains a packet that a gateway dropped, as its drop log describes it.
fn explain_drop(options: &Options) -> Result<ExitCode, CliError> {
    let of_argument = options.drop_log_line.as_deref();
    let of_argument = of_argument.map(DropLine::of_argument).transpose()?;
    let compiled = load_policy_at(&options.policy, &options.gateway_addresses)?;
    let line = match of_argument {
        Some(line) => line,
        None => {
            let wanted = Wanted {
                client: options.client,
                to: options.to,
            };
            DropLine::last(compiled.policy(), wanted)?
        }
    };
    let ends = line.source.zip(line.destination);
    let explained = ends.map(|(source, destination)| {
        let from = End {
            address: source,
            port: line.source_port,
        };
        let to = End {
            address: destination,
            port: line.destination_port,
        };
        let protocol = match line.protocol.as_deref() {
            Some("tcp") => Some(Protocol::Tcp),
            Some("udp") => Some(Protocol::Udp),
            _ => None,
        };
        explain(&compiled, Some(line.payload()), (from, to), protocol)
    });
    let explained = explained.transpose()?;
    // What its header alone decides cannot be asked of a policy.
    let reason = Reason::from_name(&line.reason);
    let by_header = reason.filter(|it| it.decided_by() == DecidedBy::Header);
    let agrees = explained
        .as_ref()
        .is_none_or(|it| it.drops_for(&line.reason));
    if options.json {
        let told = explained.map(|it| it.json).filter(|_| by_header.is_none());
        super::print_json(&json!({
            "line": line,
            "agrees": by_header.is_some() || agrees,
            "malformed": line.malformed,
            "explanation": told,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!("{}\n\n", line.describe());
    if let Some(reason) = by_header {
        let defect = line.malformed.as_ref();
        let defect = defect.map_or(String::new(), |it| format!(" Here: {it}."));
        _ = writeln!(text, "drop {reason}: {}{defect}", reason.meaning());
    } else {
        text += explained.as_ref().map_or("", |it| &it.text);
        if !agrees {
            _ = writeln!(
                text,
                "\nThe gateway dropped it as \"{}\", and the policy as its file is at present says otherwise: the file has changed \
                 since (generation {}), or the gateway judged by its own addresses (--gateway-address).",
                line.reason, line.generation
            );
        }
    }
    super::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// An explanation, for programs and for people.
struct Explained {
    json: serde_json::Value,
    text: String,
    /// The reasons for which the packet is dropped, at one port or another.
    drops: Vec<Reason>,
}

impl Explained {
    fn drops_for(&self, reason: &str) -> bool {
        self.drops.iter().any(|it| it.name() == reason)
    }
}

/// The explanation of a packet between two ends.
fn explain(
    compiled: &CompiledPolicy,
    payload: Option<Payload>,
    (from, to): (End, End),
    protocol: Option<Protocol>,
) -> Result<Explained, CliError> {
    let question = Question {
        from: from.address,
        from_port: from.port,
        to: to.address,
        to_port: to.port,
        protocol,
        payload: payload.unwrap_or_default(),
    };
    let explain = |question: &Question| {
        compiled.explain(question).ok_or_else(|| {
            CliError::Usage(format!(
                "{} and {} are of two families; no packet goes from one to the other",
                from.address, to.address
            ))
        })
    };
    let explanation = explain(&question)?;
    let check = Question {
        payload: Payload::MicrosoftCheck,
        ..question
    };
    let media = match payload {
        None => Some(explain(&check)?).filter(|it| it.answers != explanation.answers),
        Some(_) => None,
    };
    let policy = compiled.policy();
    let mut json = as_json(policy, &question, &explanation);
    let mut text = answers_as_text(policy, &question, &explanation);
    if let Some(media) = &media {
        if let Some(fields) = json.as_object_mut() {
            fields.insert("media".to_owned(), as_json(policy, &check, media));
        }
        _ = writeln!(
            text,
            "\nThe same for a connectivity check (--payload {}), and what follows in its flow:",
            check.payload.word()
        );
        text += &answers_as_text(policy, &check, media);
    }
    text += &sets_as_text(policy, &question, &explanation);
    let verdicts = explanation.answers.iter().map(|it| it.verdict);
    let drops = verdicts.filter(|it| it.action == Action::Drop);
    Ok(Explained {
        json,
        text,
        drops: drops.map(|it| it.reason).collect(),
    })
}

fn answers_as_text(policy: &Policy, question: &Question, explanation: &Explanation<'_>) -> String {
    let mut text = String::new();
    for answer in &explanation.answers {
        let color = match answer.verdict.action {
            Action::Forward => anstyle::AnsiColor::Green,
            Action::Drop => anstyle::AnsiColor::Red,
        };
        let style = color.on_default().bold();
        let verdict = answer.verdict;
        let ports = match explanation.answers.len() {
            1 => String::new(),
            _ => format!("{:<13}", answer.ports.to_string()),
        };
        let enforcement = &policy.gateway.enforcement;
        let because = explanation.because_at(enforcement, policy, question, answer);
        _ = writeln!(text, "{ports}{style}{verdict}{style:#}: {because}");
    }
    text
}

fn sets_as_text(policy: &Policy, question: &Question, explanation: &Explanation<'_>) -> String {
    let mut text = String::from("\n");
    list(
        &mut text,
        policy,
        "source",
        question.from,
        &explanation.source,
    );
    list(
        &mut text,
        policy,
        "destination",
        question.to,
        &explanation.destination,
    );
    text
}

fn list(text: &mut String, policy: &Policy, end: &str, address: IpAddr, found: &[Membership<'_>]) {
    let label = format!("{end} {address}");
    if found.is_empty() {
        _ = writeln!(text, "{label:<28} is in no set of the policy");
    }
    for (at, membership) in found.iter().enumerate() {
        let Membership { set, prefix, line } = membership;
        let label = if at == 0 { &*label } else { "" };
        _ = writeln!(
            text,
            "{label:<28} {:<20} {set} ({}:{line})",
            prefix.to_string(),
            policy.origin
        );
    }
}

fn as_json(
    policy: &Policy,
    question: &Question,
    explanation: &Explanation<'_>,
) -> serde_json::Value {
    let enforcement = &policy.gateway.enforcement;
    let membership = |it: &Membership<'_>| json!({ "set": it.set.to_string(), "prefix": it.prefix.to_string(), "line": it.line });
    let answer = |it: &Answer<'_>| {
        json!({
            "ports": { "first": it.ports.first(), "last": it.ports.last() },
            "verdict": it.verdict.action.to_string(),
            "reason": it.verdict.reason.name(),
            "enforced": question.is_enforced(enforcement, it),
            "answered_by": question.answered_by(policy, enforcement, it).map(RejectionKind::word),
            "evidence": it.verdict.media.map(|it| it.evidence.word()),
            "rule": it.rule.map(|rule| json!({ "name": rule.name, "line": rule.line })),
            "matched": it.matched.as_ref().map(membership),
            "beyond_clients": it.beyond_clients.as_ref().map(membership),
        })
    };
    json!({
        "payload": question.payload.word(),
        "answers": explanation.answers.iter().map(answer).collect::<Vec<_>>(),
        "source": explanation.source.iter().map(membership).collect::<Vec<_>>(),
        "destination": explanation.destination.iter().map(membership).collect::<Vec<_>>(),
    })
}
