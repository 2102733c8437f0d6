//! `offramp feed profiles`: the facts about vendors that ship with the program.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::error::CliError;
use crate::vendor::{AsOf, Facts, Vendor};

/// Show what is known of the vendors that a `[[profile]]` can name, with sources and dates
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  offramp feed profiles
  offramp feed profiles zoom

What a vendor's own pages leave open is said to be unknown. There is no profile of 8x8: its pages have no
whole list of addresses; write those that your contract names under [[public]].")]
pub(in crate::cli) struct Options {
    /// Only this vendor
    #[arg(value_name = "VENDOR", value_parser = parse_vendor)]
    vendor: Option<Vendor>,
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

fn parse_vendor(text: &str) -> Result<Vendor, String> {
    let mut names = Vendor::NAMES.iter();
    let found = names.find(|(word, _)| word.eq_ignore_ascii_case(text));
    found.map(|(_, vendor)| *vendor).ok_or_else(|| {
        let words: Vec<&str> = Vendor::NAMES.iter().map(|(word, _)| *word).collect();
        format!("there are {}", words.join(", "))
    })
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let vendors = Vendor::all().filter(|it| options.vendor.is_none_or(|wanted| wanted == *it));
    if options.json {
        let profiles: Vec<Value> = vendors.map(as_json).collect();
        crate::cli::print_json(&json!({ "profiles": profiles }))?;
    } else {
        let texts: Vec<String> = vendors.map(as_text).collect();
        crate::cli::print(&texts.join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A fact: its name, what is known, and the document.
struct Fact {
    name: &'static str,
    known: Option<(String, AsOf, String)>,
}

fn facts(of: &Facts) -> Vec<Fact> {
    let addresses = &of.addresses;
    let mut facts = vec![Fact {
        name: "addresses",
        known: Some((
            format!("{} prefixes", addresses.prefixes.len()),
            addresses.as_of,
            addresses.source.clone(),
        )),
    }];
    facts.extend(of.media.iter().map(|media| Fact {
        name: "media",
        known: Some((
            format!("{} {}", media.protocol, media.ports.join(", ")),
            media.as_of,
            media.source.clone(),
        )),
    }));
    let fallback = of.fallback.as_ref().map(|fallback| {
        let text = format!(
            "tcp {}, where UDP is blocked",
            fallback.tcp_ports.join(", ")
        );
        (text, fallback.as_of, fallback.source.clone())
    });
    let direct = of.peer_to_peer.as_ref().map(|direct| {
        let mut text = direct.behavior.clone();
        if !direct.ports.is_empty() {
            _ = write!(text, "; ports {}", direct.ports.join(", "));
        }
        match &direct.recognition {
            Some(by) => _ = write!(text, "; recognized by {by}"),
            None => text.push_str("; it is not known by what they can be recognized"),
        }
        (text, direct.as_of, direct.source.clone())
    });
    let domains = of.domains.as_ref().map(|domains| {
        let text = domains.names.join(", ");
        (text, domains.as_of, domains.source.clone())
    });
    facts.extend([
        Fact {
            name: "fallback",
            known: fallback,
        },
        Fact {
            name: "direct calls",
            known: direct,
        },
        Fact {
            name: "domains",
            known: domains,
        },
    ]);
    facts
}

fn as_text(vendor: Vendor) -> String {
    let of = vendor.facts();
    let mut text = format!("{} (vendor = \"{}\")\n", of.title, vendor.word());
    for fact in facts(of) {
        match fact.known {
            Some((known, as_of, source)) => {
                _ = writeln!(
                    text,
                    "  {:<13}{known}\n  {:<13}[{as_of}: {source}]",
                    fact.name, ""
                );
            }
            None => {
                _ = writeln!(
                    text,
                    "  {:<13}unknown: the vendor's pages do not say",
                    fact.name
                )
            }
        }
    }
    let url = of
        .feed
        .url
        .as_deref()
        .unwrap_or("the publisher's web service");
    _ = writeln!(text, "  {:<13}{}, {url}", "list", of.feed.format);
    if let Some(product) = &of.product {
        _ = writeln!(
            text,
            "  {:<13}[[endpoint]] product = \"{product}\"",
            "program"
        );
    }
    if let Some(caveat) = &of.caveat {
        _ = writeln!(text, "  {:<13}{caveat}", "caveat");
    }
    text
}

fn as_json(vendor: Vendor) -> Value {
    let of = vendor.facts();
    let facts = facts(of).into_iter().map(|fact| match fact.known {
        Some((known, as_of, source)) => json!({
            "fact": fact.name, "value": known, "as_of": as_of.to_string(), "source": source,
        }),
        None => json!({ "fact": fact.name, "value": null }),
    });
    json!({
        "vendor": vendor.word(),
        "title": of.title,
        "format": of.feed.format,
        "url": of.feed.url,
        "product": of.product,
        "caveat": of.caveat,
        "prefixes": of.addresses.prefixes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "facts": facts.collect::<Vec<_>>(),
    })
}
