//! The health of the host, and the facts of the process.

use maud::{Markup, html};

use super::{advice, counted, duration, prose};
use crate::gateway::record::RecordStatus;
use crate::gateway::report::status::{DnsStatus, FindingStatus, Status, TrialState, TrialStatus};
use crate::number;

/// The content of its part.
pub(super) fn view(status: &Status) -> Markup {
    let diversion = &status.diversion;
    html! {
        h2 { "Health" }
        dl {
            dt { "Self-test" }
            dd {
                @match &diversion.self_test {
                    _ if diversion.bypassed => "not made while everything is bypassed",
                    Some(test) if test.failures.is_empty() => {
                        span.good { "passed" } ": packets of its own met the verdicts of the policy"
                    }
                    Some(test) => span.bad { "failed: " (counted(test.failures.len() as u64, "packet", "packets")) },
                    None => "not made now, or no packets can be led to the interfaces (the log tells why): rules and routes are compared every five seconds",
                }
            }
            dt { "Diversion" }
            dd {
                code { (diversion.kind) } " into " code { (status.device.name) } "; if offramp fails, traffic "
                @match &*diversion.on_failure {
                    "closed" => "that is diverted stops",
                    _ => "passes unjudged",
                }
            }
            dt { "Interfaces" }
            dd {
                @for (at, interface) in diversion.interfaces.iter().enumerate() {
                    @if at > 0 { "; " }
                    code { (interface.pattern) }
                    @match &interface.present[..] {
                        [] => { " " span.doubt { "not present: nothing enters from it" } }
                        [name] if *name == interface.pattern => " present",
                        names => { ": " (names.join(", ")) }
                    }
                }
            }
            dt { "Repairs" }
            dd {
                @match (diversion.repairs.count, &diversion.repairs.last) {
                    (0, _) => "none: nobody else changed the diversion",
                    (count, last) => {
                        span.doubt { (counted(count, "time", "times")) }
                        " another program changed the diversion; last repaired: " (last.as_deref().unwrap_or("unknown"))
                    }
                }
            }
            @if let Some(trial) = &status.enforcement.trial {
                dt { "Trial" }
                dd { (prose(&trial_words(trial))) }
            }
            @for (what, lost) in losses(status) {
                dt { (what) }
                dd { span.doubt { (lost) } }
            }
            @for (what, record) in [("Drop log", &status.drop_log), ("Capture of drops", &status.drop_capture)] {
                @if let Some(record) = record {
                    dt { (what) }
                    dd { (written(record)) }
                }
            }
        }
        @if status.health.is_empty() {
            p {
                @match status.health_checks {
                    0 => "This host was not checked yet.",
                    _ => "Nothing on this host hinders offramp.",
                }
            }
        } @else {
            ul.findings {
                @for finding in &status.health { (finding_view(finding)) }
            }
        }
        @if let Some(dns) = &status.dns { (names(dns)) }
    }
}

fn finding_view(finding: &FindingStatus) -> Markup {
    let class = if finding.severity == "error" {
        "bad"
    } else {
        "doubt"
    };
    html! {
        li {
            p { strong class=(class) { (finding.severity) ": " } (prose(&finding.what)) }
            (advice(&finding.remedy))
        }
    }
}

/// The state of enforcement for a limited time.
fn trial_words(trial: &TrialStatus) -> String {
    match (trial.state, trial.seconds_left) {
        (TrialState::Running, Some(seconds)) => format!(
            "enforced for {} more; `offramp keep` enforces it beyond",
            duration(seconds)
        ),
        (TrialState::Running, None) => "enforced for a while".to_owned(),
        (TrialState::Kept, _) if trial.file_enforces => "kept by `offramp keep`".to_owned(),
        (TrialState::Kept, _) => {
            "kept by `offramp keep`; the file says `enforce = false`, which counts at the next start"
                .to_owned()
        }
        (TrialState::Over, _) => {
            "over: `offramp keep` enforces the policy, `offramp enforce --for 10m` does so for a while"
                .to_owned()
        }
    }
}

/// Records that were lost and packets that passed unjudged, each with its number, if any.
fn losses(status: &Status) -> Vec<(&'static str, String)> {
    let mut losses = Vec::new();
    let mut add = |what, count: u64, unit: &str| {
        if count > 0 {
            losses.push((what, format!("{} {unit}", number::whole(count))));
        }
    };
    add(
        "Passed unjudged",
        status.diversion.unread_packets,
        "packets: a worker did not read them in time",
    );
    let late = status.diversion.late.map_or(0, |it| it.packets);
    add(
        "Before judging",
        late,
        "packets entered from interfaces that were up before their program was attached",
    );
    add(
        "Lost",
        status.device.overload_drops.unwrap_or(0),
        "packets: the filter did not keep up",
    );
    add(
        "Not written back",
        status.device.failed_writes,
        "packets that the kernel refused",
    );
    add(
        "Fragments",
        status.evicted_fragments,
        "first fragments evicted for lack of room",
    );
    add(
        "Answers",
        status.rejections.suppressed,
        "answers to clients suppressed",
    );
    losses
}

fn written(record: &RecordStatus) -> Markup {
    html! {
        (number::whole(record.written)) " records written to " code { (record.place) }
        @if record.lost > 0 { ", " span.doubt { (number::whole(record.lost)) " lost" } }
        @if let Some(error) = &record.error { "; " span.bad { "it cannot be written: " (error) } }
    }
}

/// The DNS server.
fn names(dns: &DnsStatus) -> Markup {
    let asked = dns.outcomes.iter().filter(|it| it.queries > 0);
    let outcomes: Vec<_> = asked.collect();
    let listen: Vec<String> = dns.listen.iter().map(ToString::to_string).collect();
    html! {
        h3 { "Names" }
        @if outcomes.is_empty() {
            p { "No query so far at " (listen.join(", ")) "." }
        } @else {
            div.scroll {
                table {
                    caption { "DNS queries at " (listen.join(", ")) ", by outcome" }
                    thead { tr { th scope="col" { "Outcome" } th.number scope="col" { "Queries" } } }
                    tbody {
                        @for outcome in outcomes {
                            tr {
                                th scope="row" { (outcome.outcome) }
                                td.number { (number::whole(outcome.queries)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The facts of the process.
pub(super) fn process(status: &Status) -> Markup {
    let reloads = &status.reloads;
    html! {
        "offramp " (status.version) ", process " (status.pid) ", has judged for " (duration(status.uptime_seconds))
        " by " code { (status.policy) } ", generation " (status.generation) "; "
        (counted(reloads.taken, "reload", "reloads")) " taken, " (number::whole(reloads.refused)) " refused."
    }
}
