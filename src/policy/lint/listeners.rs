//! Checks of the addresses that the gateway listens at: none twice, and no status page that others can reach.

use std::net::SocketAddr;

use crate::policy::diagnostic::{Code, Collector, Diagnostic};
use crate::policy::meaning::Policy;
use crate::policy::section::{dns, gateway};
use crate::policy::syntax::{Key, Place, PolicyFile, SectionTable};

/// Refuses two listeners at one address and port, and warns of a page that is open to more than this host.
pub(super) fn check_listeners(policy: &Policy, file: &PolicyFile<'_>, out: &mut Collector<'_>) {
    let of_gateway = |key: &'static Key| Place {
        section: &gateway::SECTION,
        position: 0,
        key,
        item: 0,
    };
    let options = &policy.gateway;
    let names = policy.dns.listen.iter().enumerate().map(|(item, listen)| {
        let place = Place {
            section: &dns::SECTION,
            position: 0,
            key: &dns::LISTEN,
            item,
        };
        (listen.value, place)
    });
    let metrics = options
        .metrics
        .map(|it| (it.value, of_gateway(&gateway::METRICS)));
    let page = options
        .page
        .map(|it| (it.value, of_gateway(&gateway::PAGE)));
    // All of them listen for TCP, the DNS server for both; the page comes last.
    let listeners: Vec<(SocketAddr, Place)> = names.chain(metrics).chain(page).collect();
    for (at, (address, place)) in listeners.iter().enumerate() {
        let mut earlier = listeners[..at].iter();
        let is_other_key = |other: &Place| name(other) != name(place);
        let Some((other, taken)) =
            earlier.find(|(other, taken)| is_other_key(taken) && meet(*address, *other))
        else {
            continue;
        };
        let message = format!(
            "`{}` listens at {address}, which `{}` takes: {other}",
            name(place),
            name(taken)
        );
        let label = out.text.label(file.span(*place), "taken");
        let problem = Diagnostic::error(Code::ListenerConflict, message).with_label(label);
        let free = free_port(*address, &listeners);
        out.add(problem.with_help(format!(
            "give it another port: {} = \"{free}\"",
            place.key.name
        )));
    }
    if let Some(page) = options.page
        && !page.value.ip().is_loopback()
    {
        let address = page.value;
        let message = format!(
            "the status page at {address} has no login: whoever reaches that address reads it"
        );
        let span = file.span(of_gateway(&gateway::PAGE));
        let label = out.text.label(span, "no loopback address");
        let problem = Diagnostic::warning(Code::PageExposed, message).with_label(label);
        let mut near = SocketAddr::from(([127, 0, 0, 1], address.port()));
        let others = &listeners[..listeners.len() - 1];
        if others.iter().any(|(other, _)| meet(near, *other)) {
            near = free_port(near, &listeners);
        }
        let port = near.port();
        out.add(problem.with_help(format!(
            "write page = \"{near}\" and look at it by `ssh -L {port}:{near} GATEWAY`"
        )));
    }
}

/// The key as messages have it: `gateway.page`.
fn name(place: &Place) -> String {
    let SectionTable { name, .. } = place.section;
    format!("{name}.{}", place.key.name)
}

/// True if one of both cannot listen beside the other.
fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    let is_any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port()
        && one.is_ipv4() == other.is_ipv4()
        && (is_any || one.ip() == other.ip())
}

/// The same address with the next port that no listener has.
fn free_port(address: SocketAddr, listeners: &[(SocketAddr, Place)]) -> SocketAddr {
    let is_free = |port: &u16| listeners.iter().all(|(other, _)| other.port() != *port);
    let port = (FIRST_PORT..=u16::MAX).find(is_free);
    SocketAddr::new(address.ip(), port.unwrap_or(address.port()))
}

/// The port of the page in examples.
const FIRST_PORT: u16 = 9_465;
