//! The policy in force: what it cuts off, whether its outlets agree, the age of its feeds, its rules.

use maud::{Markup, html};

use super::{advice, counted, file_name, line_link, prose};
use crate::gateway::report::status::{
    FeedStatus, LostServiceStatus, ReviewFindingStatus, RuleStatus, Status,
};
use crate::number;

/// The content of the part about services that are cut off.
pub(super) fn losses(status: &Status) -> Markup {
    let title = html! { h2 { "What it cuts off" } };
    let Some(losses) = &status.losses else {
        return html! {
            (title)
            p { "No packet was dropped at a media port so far, so no service is cut off." }
        };
    };
    let services = || {
        let lost = |it: &&LostServiceStatus| it.nature != "media";
        losses.services.iter().filter(lost)
    };
    let has_entries =
        losses.shortpath.is_some() || losses.services.iter().any(|it| it.allow.is_some());
    html! {
        (title)
        p {
            "Based on " (counted(losses.examined, "dropped packet", "dropped packets"))
            " since generation " (losses.generation) " came into force"
            @match status.enforcement.gap.is_some() {
                true => ", or which would have been dropped; at most 1,000 a second of each kind are examined.",
                false => "; at most 1,000 a second of each kind are examined.",
            }
        }
        @if services().next().is_none() && losses.shortpath.is_none() {
            p { "Only media: no other service is cut off." }
        } @else {
            div.scroll {
                table {
                    caption { "Services of which packets were dropped at media ports" }
                    thead {
                        tr {
                            th scope="col" { "Service" }
                            th scope="col" { "Port" }
                            th scope="col" { "Where" }
                            th.number scope="col" { "Packets" }
                            th.number scope="col" { "Hosts" }
                            th scope="col" { "Note" }
                        }
                    }
                    tbody {
                        @for service in services() { (service_row(service)) }
                    }
                }
            }
        }
        @if losses.left_out > 0 {
            p.note { "And " (counted(losses.left_out, "more service", "more services")) ": somebody may be scanning ports." }
        }
        @if has_entries {
            h3 { "To keep these services, add what users need to the policy" }
            @let entries = losses.services.iter().filter_map(|it| it.allow.as_ref());
            @for (at, entry) in entries.chain(&losses.shortpath).enumerate() {
                (entry_view(at + 1, entry))
            }
        }
    }
}

fn service_row(service: &LostServiceStatus) -> Markup {
    let place = match (&*service.role, &*service.scope) {
        ("request", "corporate") => "at offices",
        ("request", _) => "at other clients",
        (_, "corporate") => "on clients, for offices",
        _ => "on clients, for other clients",
    };
    html! {
        tr {
            th scope="row" { (service.name.as_deref().unwrap_or("unknown")) }
            td { code { (service.ports) "/" (service.protocol) } }
            td { (place) }
            td.number { (number::packets(service.packets)) }
            td.number { (number::whole(service.hosts)) }
            td.words {
                @if service.nature == "unclear" { "may be media" }
                @if service.attempts_only { " attempts to connect alone" }
            }
        }
    }
}

/// An entry for the policy, to copy.
fn entry_view(number: usize, entry: &str) -> Markup {
    let id = format!("allow-{number}");
    html! {
        div.entry {
            pre id=(id) tabindex="0" aria-label={ "Entry " (number) " for the policy" } { (entry) }
            button type="button" data-copy=(id) aria-label={ "Copy entry " (number) } { "Copy" }
        }
    }
}

/// The content of the part about names, routes and filter.
pub(super) fn agreement(status: &Status) -> Markup {
    html! {
        h2 { "Names, routes and filter" }
        @match &status.review {
            None => p { "The policy in force is being verified." },
            Some(review) if review.findings.is_empty() => p {
                span.good { "They agree." }
                " Nothing leaks by the policy, and nothing that clients need is cut off, as far as it says (" code { "offramp verify" } ")."
            },
            Some(review) => {
                p {
                    span.doubt { "They do not agree in " (counted(review.findings.len() as u64, "point", "points")) ":" }
                }
                ul.findings {
                    @for finding in review.findings.iter().take(MAX_FINDINGS) { (finding_view(status, finding)) }
                }
                @if review.findings.len() > MAX_FINDINGS {
                    p.note {
                        "And " (number::whole((review.findings.len() - MAX_FINDINGS) as u64)) " more: "
                        code { "offramp verify" } " has them all."
                    }
                }
            }
        }
    }
}

fn finding_view(status: &Status, finding: &ReviewFindingStatus) -> Markup {
    let class = if finding.severity == "error" {
        "bad"
    } else {
        "doubt"
    };
    html! {
        li {
            p {
                strong class=(class) { (finding.severity) " " (finding.code) ": " }
                (prose(&finding.what))
                @for (at, line) in finding.lines.iter().enumerate() {
                    @if at == 0 { " (" } @else { ", " }
                    @if has_row(status, *line) { (line_link(&status.policy, *line)) } @else {
                        (file_name(&status.policy)) ":" (line)
                    }
                }
                @if !finding.lines.is_empty() { ")" }
            }
            @if !finding.why.is_empty() {
                ul {
                    @for (part, says) in &finding.why { li { (part) ": " (prose(says)) } }
                }
            }
            @if !finding.remedy.is_empty() { (advice(&finding.remedy)) }
        }
    }
}

/// The content of the part about feeds.
pub(super) fn feeds(status: &Status) -> Markup {
    html! {
        h2 { "Feeds" }
        @match status.review.as_ref().map(|it| &it.feeds[..]) {
            None => p { "They are being read." },
            Some([]) => p { "The policy has none." },
            Some(feeds) => div.scroll {
                table {
                    caption { "Prefixes that others publish, and the age of their files" }
                    thead {
                        tr {
                            th scope="col" { "Feed" }
                            th scope="col" { "Line" }
                            th.number scope="col" { "Prefixes" }
                            th.number scope="col" { "Age" }
                            th scope="col" { "State" }
                        }
                    }
                    tbody {
                        @for feed in feeds { (feed_row(status, feed)) }
                    }
                }
            },
        }
    }
}

fn feed_row(status: &Status, feed: &FeedStatus) -> Markup {
    html! {
        tr {
            th scope="row" { (feed.name) }
            td { (file_name(&status.policy)) ":" (feed.line) }
            td.number { @if let Some(prefixes) = feed.prefixes { (number::whole(prefixes)) } @else { "none" } }
            td.number {
                @match feed.age_days {
                    Some(days) => (counted(days, "day", "days")),
                    None => "unknown",
                }
            }
            td.words {
                @match (feed.prefixes, feed.age_days) {
                    (None, _) => span.bad { "no file: " code { "offramp feed fetch" } " fetches it" },
                    (_, Some(days)) if days > feed.max_age_days => span.doubt {
                        "older than " (counted(feed.max_age_days, "day", "days")) ": " code { "offramp feed fetch" } " asks for a later one"
                    },
                    (_, Some(_)) => span.good { "current" },
                    (_, None) => span.doubt { "its file differs from what is in force" },
                }
            }
        }
    }
}

/// True if the table of rules has a row for this line.
fn has_row(status: &Status, line: u32) -> bool {
    let (shown, _) = in_order(status);
    shown.iter().any(|it| it.line == Some(line))
}

/// The rules that are shown, those of the policy in force first, and the number of those that are not.
fn in_order(status: &Status) -> (Vec<&RuleStatus>, usize) {
    // What is gone counts as far as it has decided anything.
    let is_there = |it: &&RuleStatus| it.line.is_some() || it.packets > 0 || it.kind == "media";
    let mut rules: Vec<&RuleStatus> = status.rules.iter().filter(is_there).collect();
    let is_gone = |it: &RuleStatus| it.line.is_none() && it.kind != "media";
    rules.sort_by_key(|it| (is_gone(it), it.line));
    let left_out = rules.len().saturating_sub(MAX_RULES);
    rules.truncate(MAX_RULES);
    (rules, left_out)
}

/// The content of the part about rules.
pub(super) fn rules(status: &Status) -> Markup {
    let (rules, left_out) = in_order(status);
    html! {
        h2 { "Policy in force" }
        p {
            code { (status.policy) } ", generation " (status.generation) ". Lines are those of the file as it was read; its text is not shown here."
        }
        div.scroll {
            table {
                caption { "Rules, and the packets that each has decided" }
                thead {
                    tr {
                        th scope="col" { "Entry" }
                        th scope="col" { "Name" }
                        th scope="col" { "Line" }
                        th.number scope="col" { "Packets" }
                        th.number scope="col" { "Bytes" }
                    }
                }
                tbody {
                    @for rule in rules {
                        tr id=[rule.line.map(|line| format!("line-{line}"))] {
                            td { code { @if rule.kind == "media" { "[media]" } @else { "[[" (rule.kind) "]]" } } }
                            th scope="row" { (rule.name) }
                            td {
                                @match (rule.line, &*rule.kind) {
                                    (Some(line), _) => (line_link(&status.policy, line)),
                                    (None, "media") => "by default",
                                    (None, _) => "of an earlier policy",
                                }
                            }
                            td.number { (number::packets(rule.packets)) }
                            td.number { (number::bytes(rule.bytes)) }
                        }
                    }
                }
            }
        }
        @if left_out > 0 {
            p.note { "And " (counted(left_out as u64, "more rule", "more rules")) ": " code { "offramp status" } " has them all." }
        }
    }
}

/// Rules of the table; a policy may have thousands.
const MAX_RULES: usize = 200;
/// Findings that are shown.
const MAX_FINDINGS: usize = 20;
