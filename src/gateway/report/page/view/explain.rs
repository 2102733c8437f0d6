//! The form that explains a packet, and its answer.

use maud::{Markup, html};

use super::super::ask::{Asked, Case, Explained, Reply, SetRow};

/// The section.
pub(super) fn view(reply: Option<&Reply>) -> Markup {
    let empty = Asked::default();
    let asked = reply.map_or(&empty, |it| &it.asked);
    let mistake = reply.and_then(|it| it.outcome.as_ref().err());
    html! {
        h2 id="explain-title" { "Explain a packet" }
        p { "What becomes of a packet of a client, and which entry of the policy in force decides." }
        form action="/#explain" method="get" aria-labelledby="explain-title" {
            (field("from", "Source", &asked.from, "172.16.1.10"))
            (field("to", "Destination", &asked.to, "10.1.0.10:5061"))
            div {
                label for="protocol" { "Protocol" }
                select id="protocol" name="protocol" {
                    @for (word, text) in [("", "TCP and UDP"), ("tcp", "TCP"), ("udp", "UDP"), ("icmp", "ICMP")] {
                        option value=(word) selected[asked.protocol == word] { (text) }
                    }
                }
            }
            button type="submit" { "Explain" }
        }
        @if let Some(why) = mistake {
            p.mistake role="alert" { strong.bad { "Not answered: " } (why) "." }
        }
        @if let Some(Reply { outcome: Ok(explained), .. }) = reply { (explained_view(explained)) }
    }
}

fn field(name: &str, label: &str, value: &str, example: &str) -> Markup {
    let hint = format!("{name}-hint");
    html! {
        div {
            label for=(name) { (label) }
            input id=(name) name=(name) type="text" value=(value) required maxlength="64" spellcheck="false"
                autocomplete="off" autocapitalize="off" aria-describedby=(hint);
            small id=(hint) { "address[:port], e.g. " (example) }
        }
    }
}

fn explained_view(explained: &Explained) -> Markup {
    html! {
        @for case in &explained.cases { (case_view(case)) }
        div.scroll {
            table {
                caption { "What the policy has of both addresses" }
                thead {
                    tr {
                        th scope="col" { "End" }
                        th scope="col" { "Address" }
                        th scope="col" { "Set" }
                        th scope="col" { "Prefix" }
                        th scope="col" { "Line" }
                    }
                }
                tbody { @for row in &explained.sets { (set_row(row)) } }
            }
        }
    }
}

fn case_view(case: &Case) -> Markup {
    let has_ports = case.rows.iter().any(|row| row.ports.is_some());
    html! {
        div.scroll {
            table {
                caption { (case.title) }
                thead {
                    tr {
                        @if has_ports { th scope="col" { "Ports" } }
                        th scope="col" { "Verdict" }
                        th scope="col" { "Because" }
                    }
                }
                tbody {
                    @for row in &case.rows {
                        tr {
                            @if let Some(ports) = &row.ports { td.short { (ports) } }
                            th.short scope="row" { span class=(if row.is_drop { "bad" } else { "good" }) { (row.verdict) } }
                            td.words { (super::prose(&row.because)) }
                        }
                    }
                }
            }
        }
        @if case.left_out > 0 {
            p.note { "And " (case.left_out) " more ranges of ports: name a port." }
        }
    }
}

fn set_row(row: &SetRow) -> Markup {
    html! {
        tr {
            th scope="row" { (row.end) }
            td { code { (row.address) } }
            @match &row.found {
                Some((set, prefix, line)) => {
                    td { (set) }
                    td { code { (prefix) } }
                    td { (line) }
                }
                None => td colspan="3" { "in no set of the policy" },
            }
        }
    }
}
