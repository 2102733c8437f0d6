//! [`PageTable`]: the rows of each table of the picture, sorted.

use std::net::IpAddr;

use super::picture::{Order, Page, Picture};
use crate::cli::number;
use crate::cli::rates::Counter;
use crate::cli::status::section;
use crate::gateway::record::drops::ServiceStatus;
use crate::gateway::report::status::Status;
use crate::packet::Protocol;
use crate::policy::services;

/// A table: columns of words, then rate, total and history.
#[derive(Debug)]
pub(super) struct PageTable {
    /// The headings of its words, and the columns that each takes at least.
    pub(super) words: &'static [(&'static str, u16)],
    pub(super) rows: Vec<Row>,
    /// Said where there are no rows.
    pub(super) otherwise: &'static str,
    /// Said below.
    pub(super) note: String,
}

/// A row of a table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) words: Vec<String>,
    /// Packets in a second; `None` before there are rates.
    pub(super) rate: Option<f64>,
    pub(super) total: u64,
    pub(super) history: Vec<f64>,
    /// True for what is dropped.
    pub(super) is_drop: bool,
}

impl PageTable {
    /// Returns the table of `page`; `None` for a page of lines.
    pub(super) fn of(page: Page, picture: &Picture, status: &Status) -> Option<Self> {
        let mut table = match page {
            Page::Reasons => reasons(picture, status),
            Page::Rules => rules(picture, status),
            Page::Destinations => destinations(picture, status),
            Page::Services => cut_services(picture, status),
            Page::Media => media(picture, status),
            Page::Clients => clients(picture, status),
            Page::Events | Page::Health => return None,
        };
        let rate = |row: &Row| row.rate.unwrap_or(0.0);
        table.rows.sort_by(|a, b| {
            let by_total = b.total.cmp(&a.total);
            match picture.order {
                Order::Rate => rate(b).total_cmp(&rate(a)).then(by_total),
                Order::Total => by_total,
            }
        });
        Some(table)
    }
}

fn row(picture: &Picture, counter: &Counter, words: Vec<String>, total: u64, is_drop: bool) -> Row {
    Row {
        words,
        rate: picture.rate(counter).map(|it| it.packets),
        total,
        history: picture.history(counter),
        is_drop,
    }
}

fn reasons(picture: &Picture, status: &Status) -> PageTable {
    let rows = status.verdicts.iter().map(|it| {
        let counter = Counter::Verdict(it.action.clone(), it.reason.clone());
        let words = vec![it.action.clone(), it.reason.clone()];
        row(picture, &counter, words, it.packets, it.action == "drop")
    });
    PageTable {
        words: &[("Action", 8), ("Reason", 16)],
        rows: rows.collect(),
        otherwise: "no packet was judged yet",
        note: match (&*status.diversion.kind, &*status.diversion.scope) {
            (_, "all") => String::new(),
            ("ebpf", _) => {
                "Ordinary traffic passes in the kernel, and is counted here, too.".to_owned()
            }
            _ => "Ordinary traffic passes in the kernel, and is not counted here.".to_owned(),
        },
    }
}

fn rules(picture: &Picture, status: &Status) -> PageTable {
    let rows = status.rules.iter().map(|it| {
        let counter = Counter::Rule(it.kind.clone(), it.name.clone());
        let words = vec![section(&it.kind), it.name.clone()];
        let is_drop = matches!(it.kind.as_str(), "media" | "server");
        row(picture, &counter, words, it.packets, is_drop)
    });
    PageTable {
        words: &[("Entry", 10), ("Name", 20)],
        rows: rows.collect(),
        otherwise: "no rule has decided a packet yet",
        note: String::new(),
    }
}

/// Words for a gateway that samples nothing: an older one, or one without a thread to spare.
const UNSAMPLED: &str =
    "this gateway does not sample what it drops: it is of an older version, or its log says why";

fn destinations(picture: &Picture, status: &Status) -> PageTable {
    let Some(table) = &status.drop_table else {
        return unsampled(&[("Destination", 24), ("Service", 14)]);
    };
    let rows = table.destinations.iter().map(|it| {
        let service = Box::new(counter_of(&it.service));
        let counter = Counter::Destination(it.destination, service);
        let destination = match it.destination {
            Some(address) => address.to_string(),
            None => "other clients".to_owned(),
        };
        let words = vec![destination, service_name(&it.service), because(&it.service)];
        row(picture, &counter, words, it.service.packets, true)
    });
    PageTable {
        words: &[("Destination", 16), ("Service", 14), ("Reason", 14)],
        rows: rows.collect(),
        otherwise: "no packet was dropped yet",
        note: note_on_samples(status),
    }
}

fn cut_services(picture: &Picture, status: &Status) -> PageTable {
    let Some(table) = &status.drop_table else {
        return unsampled(&[("Service", 20), ("Reason", 18)]);
    };
    let rows = table.services.iter().map(|it| {
        let words = vec![service_name(it), because(it)];
        row(picture, &counter_of(it), words, it.packets, true)
    });
    PageTable {
        words: &[("Service", 20), ("Reason", 18)],
        rows: rows.collect(),
        otherwise: "no packet was dropped yet",
        note: note_on_samples(status),
    }
}

fn media(picture: &Picture, status: &Status) -> PageTable {
    let mut rows = Vec::new();
    let mut note = String::new();
    let mut otherwise = "nothing was recognized as media yet";
    match &status.media {
        None => {
            otherwise = "the policy blocks media ports, whatever is in the packets (media.match = \"ports\")"
        }
        Some(media) => {
            rows.extend(media.evidence.iter().map(|it| {
                let counter = Counter::Evidence(it.evidence.clone(), it.by.clone());
                let by = match it.by.as_str() {
                    "flow" => "earlier packet of the flow",
                    _ => "this packet",
                };
                let words = vec![it.evidence.clone(), by.to_owned()];
                row(picture, &counter, words, it.packets, true)
            }));
            let ended: u64 = media
                .quality
                .groups
                .iter()
                .map(|it| it.loss_millionths.streams())
                .sum();
            note = format!(
                "match = \"{}\", {} flows in memory. RTP streams that take the tunnel: {} under way, {} ended.",
                media.r#match,
                number::whole(media.flows),
                number::whole(media.quality.streams),
                number::whole(ended)
            );
        }
    }
    PageTable {
        words: &[("Evidence", 16), ("In", 14)],
        rows,
        otherwise,
        note,
    }
}

fn clients(picture: &Picture, status: &Status) -> PageTable {
    let Some(table) = &status.drop_table else {
        return unsampled(&[("Client", 16), ("Latest reason", 18)]);
    };
    let rows = table.clients.iter().map(|it| {
        let client = match it.client {
            Some(address) => address.to_string(),
            None => format!("client {}", it.number),
        };
        let words = vec![client, reason_of(&it.reason, it.rule.as_deref())];
        row(
            picture,
            &Counter::Client(it.number),
            words,
            it.packets,
            true,
        )
    });
    let mut note = note_on_samples(status);
    if !table.addresses {
        note.push_str(" Addresses identify people: start top with --addresses to see them.");
    }
    PageTable {
        words: &[("Client", 16), ("Latest reason", 18)],
        rows: rows.collect(),
        otherwise: "no packet was dropped yet",
        note,
    }
}

fn unsampled(words: &'static [(&'static str, u16)]) -> PageTable {
    PageTable {
        words,
        rows: Vec::new(),
        otherwise: UNSAMPLED,
        note: String::new(),
    }
}

fn note_on_samples(status: &Status) -> String {
    let Some(table) = &status.drop_table else {
        return String::new();
    };
    match table.packets == table.samples {
        true => "Every dropped packet was sampled so far.".to_owned(),
        false => format!(
            "By samples: {} of {} dropped packets were read.",
            number::whole(table.samples),
            number::whole(table.packets)
        ),
    }
}

fn counter_of(service: &ServiceStatus) -> Counter {
    Counter::Service(
        service.protocol.clone(),
        service.port,
        service.media.clone(),
    )
}

fn because(service: &ServiceStatus) -> String {
    reason_of(&service.reason, service.rule.as_deref())
}

/// The reason, and the rule where its name says more.
fn reason_of(reason: &str, rule: Option<&str>) -> String {
    match rule {
        Some(rule) if rule != "media" => format!("{reason}: {rule}"),
        _ => reason.to_owned(),
    }
}

/// `3389/tcp RDP`, `media (stun)/udp`.
fn service_name(service: &ServiceStatus) -> String {
    let protocol = &service.protocol;
    if let Some(media) = &service.media {
        return format!("media ({media})/{protocol}");
    }
    port_name(protocol, service.port)
}

/// `3389/tcp RDP`.
pub(super) fn port_name(protocol: &str, port: Option<u16>) -> String {
    let known = match protocol {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        _ => None,
    };
    match (known, port) {
        (Some(known), Some(port)) => match services::name(known, port) {
            Some(name) => format!("{port}/{protocol} {name}"),
            None => format!("{port}/{protocol}"),
        },
        (None, _) => format!("protocol {protocol}"),
        (Some(_), None) => protocol.to_owned(),
    }
}

/// `10.1.0.10:5061`, `[fd00::7]:5061`.
pub(super) fn end(address: IpAddr, port: Option<u16>) -> String {
    match port {
        Some(port) => std::net::SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    }
}
