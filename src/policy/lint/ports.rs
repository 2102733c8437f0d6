//! The check of `media.ports` against well-known services.

use crate::policy::diagnostic::{Code, Collector, Diagnostic};
use crate::policy::meaning::Policy;
use crate::policy::section::allow::Allow;
use crate::policy::section::{corporate, media};
use crate::policy::services::{SERVICES, Service};
use crate::policy::syntax::{Place, PolicyFile};
use crate::policy::value::{PortRange, Protocol, ProtocolSet, Sourced};

/// Adds one warning that names every well-known service that `media.ports` cut off from clients.
pub(in crate::policy) fn check_media_ports(
    policy: &Policy,
    file: &PolicyFile<'_>,
    out: &mut Collector<'_>,
) {
    // What is recognized as media is no other service.
    let by_ports = policy.media.recognition.profile().is_none();
    if policy.corporate.subnets.is_empty() || !by_ports {
        return;
    }
    let media: Vec<_> = policy.media.ports.iter().map(|ports| ports.value).collect();
    let dropped = policy.media.protocols;
    let is_dropped = |service: &&Service| {
        let all = [Protocol::Tcp, Protocol::Udp];
        all.into_iter()
            .any(|protocol| dropped.contains(protocol) && service.protocols.contains(protocol))
    };
    let lost: Vec<_> = SERVICES
        .iter()
        .filter(is_dropped)
        .filter(|service| service.breaks.is_some() && covers_enough(&media, service.ports))
        .filter(|service| !policy.allows.iter().any(|allow| keeps(allow, service)))
        .collect();
    if lost.is_empty() {
        return;
    }
    let is_written = file.has(&media::SECTION, &media::PORTS);
    let (section, key) = if is_written {
        (&media::SECTION, &media::PORTS)
    } else {
        (&corporate::SECTION, &corporate::SUBNETS)
    };
    let span = file.span(Place {
        section,
        position: 0,
        key,
        item: usize::MAX,
    });
    let by_default = if is_written { "" } else { " (the default)" };
    let ranges: Vec<_> = media.iter().map(PortRange::to_string).collect();
    let names: Vec<_> = lost.iter().map(|service| described(service)).collect();
    let message = format!(
        "`media.ports` {}{by_default} cover well-known services, which clients cannot reach at corporate addresses",
        ranges.join(", "),
    );
    let label = out
        .text
        .label(span, "these ports are dropped, whatever they carry");
    let problem = Diagnostic::warning(Code::MediaPortsCoverServices, message).with_label(label);
    let problem = problem
        .with_help(format!("dropped: {}", names.join(", ")))
        .with_help("match = \"ice\" in [media] drops calls alone, and keeps all of these");
    out.add(
        advice(policy, &lost)
            .into_iter()
            .fold(problem, Diagnostic::with_help),
    );
}

fn described(service: &Service) -> String {
    let protocols = match service.protocols {
        ProtocolSet::Tcp => "tcp ",
        ProtocolSet::Udp => "udp ",
        ProtocolSet::Both => "",
    };
    format!("{} ({protocols}{})", service.name, service.ports)
}

/// The entries that keep the services, one for each protocol: an `[[allow]]` for both would also lift media where a port is
/// only one protocol's. A service with a wide range is named apart, since its ports are those of calls.
fn advice(policy: &Policy, lost: &[&Service]) -> Vec<String> {
    let (wide, narrow): (Vec<&Service>, Vec<&Service>) =
        lost.iter().partition(|service| is_wide(service));
    let entries: Vec<String> = [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .filter_map(|protocol| entry(policy, protocol, &narrow))
        .collect();
    let mut advice = Vec::new();
    if !entries.is_empty() {
        let more = policy.corporate.subnets.len().saturating_sub(PREFIXES);
        let more = match more {
            0 => String::new(),
            more => format!(" (and {more} more prefixes)"),
        };
        advice.push(format!(
            "keep those that clients use, at the addresses where they run{more}:\n{}",
            entries.join("\n")
        ));
    }
    advice.extend(wide.into_iter().map(|service| {
        format!(
            "{} has the ports of calls: allow it to the addresses of its servers alone",
            described(service)
        )
    }));
    advice
}

/// The `[[allow]]` that keeps the services that use `protocol`; `None` if none does.
fn entry(policy: &Policy, protocol: Protocol, services: &[&Service]) -> Option<String> {
    let of_protocol = services.iter().filter(|it| it.protocols.contains(protocol));
    let ports: Vec<_> = of_protocol.map(|it| format!("\"{}\"", it.ports)).collect();
    let prefixes = policy.corporate.subnets.iter().take(PREFIXES);
    let to: Vec<_> = prefixes
        .map(|prefix| format!("\"{}\"", prefix.value))
        .collect();
    (!ports.is_empty()).then(|| {
        format!(
            "[[allow]]\n\
             name = \"{} services of the offices\"\n\
             to = [{}]\n\
             protocols = [\"{protocol}\"]\n\
             ports = [{}]",
            protocol.to_string().to_uppercase(),
            to.join(", "),
            ports.join(", "),
        )
    })
}

/// True for a service with so many ports that an `[[allow]]` for them lets a call through: audio, video and sharing of a client
/// take 60.
fn is_wide(service: &Service) -> bool {
    service.ports.last() - service.ports.first() >= 60
}

/// Corporate prefixes written in an entry; the rest is counted.
const PREFIXES: usize = 8;

/// Returns `true` if `media` take so much of `ports` that the service suffers.
fn covers_enough(media: &[PortRange], ports: PortRange) -> bool {
    let size = u32::from(ports.last()) - u32::from(ports.first()) + 1;
    // Ranges may overlap; the few of a policy are counted port by port.
    let taken = (ports.first()..=ports.last())
        .filter(|&port| media.iter().any(|range| range.contains(port)));
    u32::try_from(taken.count()).is_ok_and(|taken| taken * SUFFERING >= size)
}

/// Share of a service's ports, one in so many, from which it counts as covered.
///
/// Windows RPC takes any port of its range: when a tenth is dropped, every tenth connection fails. The 60 ports of
/// Teams' clients inside that range are far below.
const SUFFERING: u32 = 10;

/// Returns `true` if clients still reach the service at some address through `allow`.
fn keeps(allow: &Allow, service: &Service) -> bool {
    let protocols = [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .filter(|&protocol| service.protocols.contains(protocol));
    let any_source = allow.from_ports.is_empty() || holds_all(&allow.from_ports, EPHEMERAL_PORTS);
    // RDP runs over TCP with UDP beside it: one of a service's protocols is enough.
    let protocol = protocols
        .into_iter()
        .any(|protocol| allow.protocols.contains(protocol));
    allow.lifts.media
        && any_source
        && protocol
        && (allow.ports.is_empty() || holds_all(&allow.ports, service.ports))
}

fn holds_all(ranges: &[Sourced<PortRange>], ports: PortRange) -> bool {
    (ports.first()..=ports.last()).all(|port| ranges.iter().any(|range| range.value.contains(port)))
}

/// The source ports that Windows and Linux clients use.
const EPHEMERAL_PORTS: PortRange = match PortRange::new(32768, 65535) {
    Some(ports) => ports,
    None => PortRange::ALL,
};
