//! The effect of the policy: the traffic before and after, leaks, and what still takes the tunnel.

use maud::{Markup, html};

use super::counted;
use crate::gateway::report::status::{QualityStatus, RuleStatus, Status, VerdictStatus};
use crate::number;
use crate::verdict::{DecidedBy, Reason};

/// The content of its part.
pub(super) fn view(status: &Status) -> Markup {
    let sum = |action: &str| -> u64 {
        let of_action = status.verdicts.iter().filter(|it| it.action == action);
        of_action.map(|it| it.packets).sum()
    };
    let dropped = sum("drop");
    let judged = dropped + sum("forward");
    let spared = status.enforcement.packets;
    html! {
        h2 { "What it does" }
        @if judged == 0 {
            p { "No packet has been judged so far." }
        } @else {
            p {
                strong { (number::whole(dropped.saturating_sub(spared))) " of " (counted(judged, "packet", "packets")) }
                " (" (number::share(dropped.saturating_sub(spared), judged)) ") were kept off the VPN."
                @if spared > 0 {
                    " " (counted(spared, "more would", "more would")) " have been, if the policy were enforced for every client."
                }
            }
            (bar(dropped.saturating_sub(spared), judged))
            (before_and_after(status))
        }
        p.note { (counting(status)) }
        (leaks(status))
        (streams(status))
    }
}

/// The share as a bar; what it shows is said in words above it.
fn bar(part: u64, all: u64) -> Markup {
    let percent = format!("{:.2}%", part as f64 * 100.0 / all.max(1) as f64);
    html! {
        svg.bar width="100%" height="10" aria-hidden="true" {
            rect.rest width="100%" height="10" {}
            rect.part width=(percent) height="10" {}
        }
    }
}

/// Which packets the numbers are about.
fn counting(status: &Status) -> &'static str {
    match (&*status.diversion.kind, &*status.diversion.scope) {
        ("ebpf", _) | (_, "all") => "Counted are the packets that clients sent since the start.",
        _ => {
            "Counted are the packets that were led to the filter since the start; others never could be dropped, and passed uncounted."
        }
    }
}

fn before_and_after(status: &Status) -> Markup {
    let is_whole = status.enforcement.gap.is_none();
    let mut rows: Vec<(&VerdictStatus, Option<Reason>)> = status
        .verdicts
        .iter()
        .map(|it| (it, Reason::from_name(&it.reason)))
        .collect();
    rows.sort_by_key(|(it, reason)| (it.action != "drop", *reason));
    html! {
        div.scroll {
            table {
                caption { "Before and after: the same packets without offramp and with it" }
                thead {
                    tr {
                        th scope="col" { "Traffic" }
                        th.number scope="col" { "Packets" }
                        th.number scope="col" { "Bytes" }
                        th scope="col" { "Without offramp" }
                        th scope="col" { "With offramp" }
                        th scope="col" { "Verdict" }
                    }
                }
                tbody {
                    @for (verdict, reason) in rows {
                        @let (traffic, before) = words(reason);
                        @let is_drop = verdict.action == "drop";
                        tr {
                            th scope="row" { (traffic) }
                            td.number { (number::packets(verdict.packets)) }
                            td.number { (number::bytes(verdict.bytes)) }
                            td { (before) }
                            td {
                                @match (is_drop, reason) {
                                    (true, _) if is_whole => span.good { "kept off" },
                                    (true, _) => span.doubt { "kept off where it is enforced" },
                                    (false, Some(Reason::Public)) => span.doubt { "still takes it: a leak" },
                                    (false, Some(Reason::Allow)) => "takes it, as allowed",
                                    (false, _) => "as before",
                                }
                            }
                            td { code { (verdict.action) " " (verdict.reason) } }
                        }
                    }
                }
            }
        }
    }
}

/// The traffic that gets verdicts for `reason`, and the way that it takes without offramp.
fn words(reason: Option<Reason>) -> (&'static str, &'static str) {
    let tunnel = "takes the tunnel";
    match reason {
        Some(Reason::Media) => ("Media to offices", tunnel),
        Some(Reason::Hairpin) => ("Media between clients", "takes the tunnel twice"),
        Some(Reason::Servers) => ("To the Lync servers", tunnel),
        Some(Reason::Public) => ("To public services", tunnel),
        Some(Reason::Allow) => ("Services that an [[allow]] names", tunnel),
        Some(Reason::Gateway) => ("To the gateway itself", "ends here"),
        Some(Reason::NotAClient) => ("From others than clients", "passes"),
        Some(Reason::SpoofedSource) => ("With a source that is no client's", "passes"),
        Some(Reason::Default) => ("Everything else", tunnel),
        Some(other) => match other.decided_by() {
            DecidedBy::Header => ("With headers that no host sends", "passes"),
            _ => ("Other traffic", "passes"),
        },
        None => ("Other traffic", "passes"),
    }
}

/// Traffic that should have gone outside the tunnel, by service.
fn leaks(status: &Status) -> Markup {
    let is_public = |it: &&RuleStatus| matches!(&*it.kind, "public" | "feed") && it.packets > 0;
    let mut leaks: Vec<&RuleStatus> = status.rules.iter().filter(is_public).collect();
    leaks.sort_by_key(|it| std::cmp::Reverse(it.packets));
    let rest = leaks.split_off(leaks.len().min(MAX_LEAKS));
    html! {
        h3 { "Leaks: public services reached through the tunnel" }
        @if leaks.is_empty() {
            p { "None so far." }
        } @else {
            p {
                "These packets should go outside the tunnel. Their clients lack a route past it, or a name that leads there: \
                 compare the routes that the VPN pushes with " code { "offramp routes" } "."
            }
            div.scroll {
                table {
                    caption { "Packets to public services in the tunnel, by service" }
                    thead {
                        tr {
                            th scope="col" { "Service" }
                            th scope="col" { "Entry" }
                            th.number scope="col" { "Packets" }
                            th.number scope="col" { "Bytes" }
                        }
                    }
                    tbody {
                        @for rule in leaks {
                            tr {
                                th scope="row" { (rule.name) }
                                td { code { "[[" (rule.kind) "]]" } }
                                td.number { (number::packets(rule.packets)) }
                                td.number { (number::bytes(rule.bytes)) }
                            }
                        }
                    }
                }
            }
            @if !rest.is_empty() {
                p.note { "And " (counted(rest.len() as u64, "more service", "more services")) " with fewer packets." }
            }
        }
    }
}

/// Calls that were forwarded, and so take the tunnel.
fn streams(status: &Status) -> Markup {
    let Some(QualityStatus {
        streams, groups, ..
    }) = status.media.as_ref().map(|it| &it.quality)
    else {
        return html! {
            h3 { "Calls that still take the tunnel" }
            p { "Not measured: the policy blocks by ports alone (" code { "media.match = \"ports\"" } ")." }
        };
    };
    let ended: u64 = groups.iter().map(|it| it.loss_millionths.streams()).sum();
    html! {
        h3 { "Calls that still take the tunnel" }
        @if *streams + ended == 0 {
            p { "No RTP stream was forwarded so far." }
        } @else {
            p {
                (counted(*streams, "RTP stream is", "RTP streams are")) " forwarded at the moment, and "
                (counted(ended, "has", "have")) " ended."
            }
            @if !groups.is_empty() {
                div.scroll {
                    table {
                        caption { "RTP streams that were forwarded and have ended" }
                        thead {
                            tr {
                                th scope="col" { "Clients" }
                                th scope="col" { "Peer" }
                                th.number scope="col" { "Streams" }
                                th.number scope="col" { "Half of them lost up to" }
                                th.number scope="col" { "Longest" }
                            }
                        }
                        tbody {
                            @for group in groups {
                                tr {
                                    th scope="row" { (group.pool.as_deref().unwrap_or("other pools")) }
                                    td { (group.peer) }
                                    td.number { (number::whole(group.loss_millionths.streams())) }
                                    td.number {
                                        @match group.loss_millionths.median_up_to() {
                                            Some(millionths) => { (millionths as f64 / 1e4) " %" }
                                            None => "more than is measured",
                                        }
                                    }
                                    td.number { (super::duration(group.longest_seconds)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Services of the table of leaks.
const MAX_LEAKS: usize = 50;
