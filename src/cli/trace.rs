//! `offramp trace`: a live tail of the verdicts on one client's packets.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::net::{IpAddr, Shutdown};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::error::{CliError, say};
use super::number;
use super::status::{Asked, explained};
use crate::gateway::report::control::{self, Request};
use crate::gateway::report::trace::{
    TraceBegin, TraceEnd, TraceEndReason, TraceLine, TraceRequest, TracedPacket,
};

/// Show the verdicts on one client's packets as a running gateway gives them
///
/// Prints a line for each packet of the client that reaches the filter: time (UTC), protocol, source port, destination,
/// verdict, rule and its line, evidence of media. The kernel passes most ordinary traffic by itself, and that is not
/// shown; the first line says what is. A trace is bounded: by time, by packets, and to 50 packets a second; what is left
/// out is counted, and the last line says why the trace has ended. Four traces may run at a time.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Traffic is not delayed by a trace, and other clients are not in it. It has addresses that the client talks to, so only the user
that offramp runs as may ask for it.

Exit codes: 0 it has ended as announced, 1 the gateway refused it or has gone, 2 usage.

Examples:
  offramp trace 172.16.1.10
  offramp trace 172.16.1.10 --for 5m --packets 200 --json
  ssh root@gateway offramp trace 172.16.1.10")]
pub(super) struct Options {
    /// The client's address inside the VPN
    #[arg(value_name = "CLIENT")]
    client: IpAddr,
    #[command(flatten)]
    gateway: Asked,
    /// End it after this time, at most an hour
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    duration: Duration,
    /// End it after this many packets
    #[arg(long, value_name = "N", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(TraceRequest::MAX_PACKETS)))]
    packets: u32,
    /// Print its lines as JSON objects
    #[arg(long)]
    json: bool,
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let bounds = Duration::from_secs(1)..=Duration::from_secs(TraceRequest::MAX_SECONDS.into());
    match humantime::parse_duration(text) {
        Ok(time) if bounds.contains(&time) => Ok(time),
        Ok(_) => Err("write a time between 1s and 1h".to_owned()),
        Err(_) => Err("write a time with its unit: 30s, 5m, 1h".to_owned()),
    }
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let socket = options.gateway.socket()?;
    let request = TraceRequest {
        client: options.client,
        seconds: u32::try_from(options.duration.as_secs()).unwrap_or(TraceRequest::MAX_SECONDS),
        packets: options.packets,
    };
    let failed = |error: io::Error| CliError::Failed(explained(&socket, &error));
    let stream = control::connect(&socket, Request::Trace(request)).map_err(failed)?;
    end_at_signal(&stream).map_err(failed)?;
    let mut generation = None;
    let mut reader = BufReader::new(&stream);
    loop {
        let mut text = String::new();
        let read = reader.read_line(&mut text);
        let line = match read {
            Ok(0) => return Err(gone()),
            Ok(_) if !text.ends_with('\n') => return Err(gone()),
            Ok(_) => serde_json::from_str::<TraceLine>(&text).map_err(|_| {
                CliError::Failed(
                    "this gateway knows no traces: it is of an older version than this command"
                        .to_owned(),
                )
            })?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(CliError::Failed(
                    "the gateway does not answer any more, so the trace has ended".to_owned(),
                ));
            }
            Err(_) => return Err(gone()),
        };
        if options.json {
            super::print(&text)?;
        }
        match line {
            TraceLine::Begin(begin) => {
                let longest = Duration::from_secs(begin.seconds.into()) + PATIENCE;
                stream.set_read_timeout(Some(longest)).map_err(failed)?;
                generation = Some(begin.generation);
                if !options.json {
                    say(format_args!("{}", introduction(&begin)));
                }
            }
            TraceLine::Packet(packet) if !options.json => {
                let mut lines = String::new();
                if generation.replace(packet.generation) != Some(packet.generation) {
                    _ = writeln!(lines, "-- policy generation {}", packet.generation);
                }
                lines += &line_of(&packet);
                super::print(&lines)?;
            }
            TraceLine::Packet(_) => {}
            TraceLine::End(end) if end.reason == TraceEndReason::Refused => {
                return Err(CliError::Failed(format!(
                    "the gateway has refused the trace: {}",
                    end.why
                )));
            }
            TraceLine::End(end) => {
                if !options.json {
                    say(format_args!("{}", conclusion(&end)));
                }
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}

fn gone() -> CliError {
    CliError::Failed("the gateway has ended without a word, and the trace with it".to_owned())
}

/// Has Ctrl-C end the trace by way of the gateway, which then tells its end; a second one does not wait for that.
fn end_at_signal(stream: &UnixStream) -> io::Result<()> {
    let stream = stream.try_clone()?;
    let is_ending = AtomicBool::new(false);
    let end = move || {
        if is_ending.swap(true, Ordering::Relaxed) {
            std::process::exit(1);
        }
        // The gateway may have gone; then its end is read.
        _ = stream.shutdown(Shutdown::Write);
    };
    ctrlc::set_handler(end).map_err(io::Error::other)
}

fn introduction(begin: &TraceBegin) -> String {
    let mut text = format!(
        "Tracing {} for {}, {} packets or until Ctrl-C; at most {} packets a second are shown. Times are UTC.\n",
        begin.client,
        humantime::format_duration(Duration::from_secs(begin.seconds.into())),
        number::whole(begin.packets.into()),
        begin.packets_per_second
    );
    if begin.bypassed {
        text.push_str(
            "BYPASS IS ON: no packet reaches the filter, and none is shown, until `offramp bypass off`.\n",
        );
    }
    text.push_str(&match begin.scope.as_str() {
        "all" => "All packets of clients reach the filter (gateway.divert = \"all\").\n".to_owned(),
        scope => format!(
            "Only packets that reach the filter are shown. The kernel itself passes what the policy forwards for certain, and \
             flows that the filter has cleared (diversion by {}, gateway.divert = \"{scope}\"): that is ordinary traffic.\n",
            begin.diversion
        ),
    });
    text
}

fn conclusion(end: &TraceEnd) -> String {
    let mut text = format!(
        "The trace has ended: {}. {} packets shown, {} left out",
        end.why,
        number::whole(end.packets),
        number::whole(end.left_out)
    );
    if end.left_out > 0 {
        text.push_str(" (beyond the rate)");
    }
    text + ".\n"
}

/// The line of a packet, and one before it if others were left out.
fn line_of(packet: &TracedPacket) -> String {
    let mut text = String::new();
    if packet.left_out > 0 {
        let count = number::whole(packet.left_out);
        _ = writeln!(text, "-- {count} packets left out, beyond the rate");
    }
    // The time of day of RFC 3339, with milliseconds.
    let time = packet.time.get(11..23).unwrap_or(&packet.time);
    let port = |port: Option<u16>| port.map_or(String::new(), |port| port.to_string());
    let destination = match (packet.destination, packet.destination_port) {
        (Some(IpAddr::V6(address)), Some(port)) => format!("[{address}]:{port}"),
        (Some(address), Some(port)) => format!("{address}:{port}"),
        (Some(address), None) => address.to_string(),
        (None, _) => "unknown".to_owned(),
    };
    let color = match packet.verdict.as_str() {
        "drop" => anstyle::AnsiColor::Red,
        _ => anstyle::AnsiColor::Green,
    };
    let style = color.on_default().bold();
    let mut because = Vec::new();
    if let (Some(kind), Some(rule)) = (&packet.kind, &packet.rule) {
        let line = packet
            .line
            .map_or(String::new(), |it| format!(", line {it}"));
        because.push(match kind.as_str() {
            "media" => format!("[media]{line}"),
            kind => format!("[[{kind}]] {rule}{line}"),
        });
    }
    if let Some(evidence) = &packet.evidence {
        because.push(match packet.evidence_by.as_deref() {
            Some("flow") => format!("{evidence} earlier in its flow"),
            _ => evidence.clone(),
        });
    }
    because.extend(packet.malformed.clone());
    if !packet.enforced && packet.verdict == "drop" {
        because.push("NOT ENFORCED: forwarded".to_owned());
    }
    let because = match because.is_empty() {
        true => String::new(),
        false => format!(": {}", because.join("; ")),
    };
    _ = writeln!(
        text,
        "{time} {:<4} {:>5} -> {destination:<21} {style}{} {}{style:#}{because}",
        packet.protocol.as_deref().unwrap_or("-"),
        port(packet.source_port),
        packet.verdict,
        packet.reason,
    );
    text
}

/// The time beyond its own that a trace is waited for.
const PATIENCE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> TracedPacket {
        TracedPacket {
            time: "2026-11-29T08:00:01.250Z".to_owned(),
            protocol: Some("udp".to_owned()),
            source_port: Some(50_000),
            destination: Some(IpAddr::from([10, 20, 0, 7])),
            destination_port: Some(50_020),
            length: 48,
            verdict: "drop".to_owned(),
            reason: "media".to_owned(),
            enforced: true,
            kind: Some("media".to_owned()),
            rule: Some("media".to_owned()),
            line: Some(18),
            evidence: Some("stun-check".to_owned()),
            evidence_by: Some("packet".to_owned()),
            payload: Some("stun".to_owned()),
            malformed: None,
            generation: 1,
            left_out: 0,
        }
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn a_line_says_where_to_what_became_of_it_and_why() {
        let line = plain(&line_of(&packet()));
        assert_eq!(
            line,
            "08:00:01.250 udp  50000 -> 10.20.0.7:50020       drop media: [media], line 18; stun-check\n"
        );
        let server = TracedPacket {
            kind: Some("server".to_owned()),
            rule: Some("Front End".to_owned()),
            reason: "servers".to_owned(),
            destination: Some("fd00:2::7".parse().expect("an address")),
            evidence: None,
            enforced: false,
            left_out: 1_200,
            ..packet()
        };
        let lines = plain(&line_of(&server));
        assert_eq!(
            lines,
            "-- 1,200 packets left out, beyond the rate\n\
             08:00:01.250 udp  50000 -> [fd00:2::7]:50020     drop servers: [[server]] Front End, line 18; NOT ENFORCED: forwarded\n"
        );
    }

    #[test]
    fn a_packet_without_ports_or_rule_has_a_line_too() {
        let icmp = TracedPacket {
            protocol: Some("1".to_owned()),
            source_port: None,
            destination_port: None,
            verdict: "forward".to_owned(),
            reason: "default".to_owned(),
            kind: None,
            rule: None,
            line: None,
            evidence: None,
            evidence_by: None,
            ..packet()
        };
        let line = plain(&line_of(&icmp));
        assert_eq!(
            line,
            "08:00:01.250 1          -> 10.20.0.7             forward default\n"
        );
    }
}
