//! `offramp routes`: which addresses enter the tunnel, as a table for people.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::error::CliError;
use super::input::{Planned, load_plan};
use super::number::whole;
use crate::plan::{PlannedPrefix, RoutePlan, Source};
use crate::policy::TunnelMode;
use crate::render::{self, Form, Kind, Target};

/// Show which addresses enter the tunnel and which do not, where each entry comes from, and how many a target takes
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  offramp routes config/contoso.toml")]
pub(super) struct Options {
    /// The policy file
    #[arg(value_name = "POLICY")]
    policy: PathBuf,
    /// Every entry, also of long lists
    #[arg(long)]
    all: bool,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let Planned { plan, .. } = load_plan(&options.policy)?;
    if options.json {
        let mut value = plan.to_json();
        value["targets"] = Value::Array(target_json(&plan));
        super::print_json(&value)?;
    } else {
        super::print(&text(&plan, options.all))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(plan: &RoutePlan, all: bool) -> String {
    let most = if all { usize::MAX } else { SHOWN };
    let mut out = String::new();
    let (mode, inside) = match plan.mode {
        TunnelMode::Split => ("split tunnel: internal prefixes enter", plan.includes.len()),
        TunnelMode::Full => (
            "full tunnel: everything enters but what is excluded",
            plan.includes.len(),
        ),
    };
    _ = writeln!(
        out,
        "{mode}. Include form: {}, exclude form: {}.",
        count(inside, "prefix", "prefixes"),
        count(plan.excludes.len(), "exclusion", "exclusions")
    );
    match plan.mode {
        TunnelMode::Split => entries(&mut out, "Enters the tunnel", &plan.includes, plan, most),
        TunnelMode::Full => {}
    }
    entries(
        &mut out,
        "Stays outside the tunnel",
        &plan.excludes,
        plan,
        most,
    );
    let unneeded = plan.unneeded.iter().filter_map(|&at| plan.sources.get(at));
    let unneeded: Vec<[String; 3]> = unneeded
        .map(|source| {
            [
                source.prefix.to_string(),
                source.kind.to_string(),
                source.line.to_string(),
            ]
        })
        .collect();
    table(
        &mut out,
        "Needs no entry: nothing that is pushed covers it",
        &unneeded,
        most,
    );
    targets(&mut out, plan);
    out
}

fn entries(
    out: &mut String,
    title: &str,
    entries: &[PlannedPrefix],
    plan: &RoutePlan,
    most: usize,
) {
    let row = |entry: &PlannedPrefix| {
        let sources: Vec<&Source> = entry
            .sources
            .iter()
            .filter_map(|&at| plan.sources.get(at))
            .collect();
        let once = |words: &mut dyn Iterator<Item = String>| -> Vec<String> {
            let mut said = HashSet::new();
            words.filter(|word| said.insert(word.clone())).collect()
        };
        let names = once(&mut sources.iter().map(|source| source.kind.to_string()));
        let lines = once(&mut sources.iter().map(|source| source.line.to_string()));
        let mut name = few(&names);
        if entry.is_aggregated(&plan.sources) {
            name.push_str(&match sources.len() {
                0 | 1 => " (a part)".to_owned(),
                several => format!(" ({several} prefixes in one)"),
            });
        }
        [entry.prefix.to_string(), name, few(&lines)]
    };
    let rows: Vec<[String; 3]> = entries.iter().map(row).collect();
    table(out, title, &rows, most);
}

fn few(words: &[String]) -> String {
    let shown = words.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    match words.len().saturating_sub(3) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn table(out: &mut String, title: &str, rows: &[[String; 3]], most: usize) {
    if rows.is_empty() {
        return;
    }
    let style = anstyle::Style::new().bold();
    _ = writeln!(out, "\n{style}{title}{style:#}");
    let header = ["Prefix", "From", "Line"].map(str::to_owned);
    let shown = &rows[..rows.len().min(most)];
    let width = |column: usize| {
        let cells = shown
            .iter()
            .chain([&header])
            .map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let (prefix, from) = (width(0), width(1));
    for row in [&header].into_iter().chain(shown) {
        let line = format!("  {:<prefix$}  {:<from$}  {}", row[0], row[1], row[2]);
        _ = writeln!(out, "{}", line.trim_end());
    }
    if rows.len() > most {
        _ = writeln!(
            out,
            "  and {} more; --all shows them",
            whole((rows.len() - most) as u64)
        );
    }
}

/// How many entries each target needs.
fn targets(out: &mut String, plan: &RoutePlan) {
    let style = anstyle::Style::new().bold();
    _ = writeln!(out, "\n{style}Targets{style:#}");
    let width = Target::of_kind(Kind::Routes).map(|target| target.name.len());
    let width = width.max().unwrap_or(0);
    for target in Target::of_kind(Kind::Routes) {
        let said = match render::render(target, plan, &any_router()) {
            Ok(rendered) => {
                let measures = rendered.measures;
                let form = match (plan.mode, rendered.form.unwrap_or(Form::Include)) {
                    // What enters the tunnel is listed, too: there is no default route into it.
                    (TunnelMode::Split, Form::Exclude) => "include, with exclusions".to_owned(),
                    (_, form) => form.to_string(),
                };
                let mut said = format!(
                    "{form}, {} IPv4 and {} IPv6 entries",
                    whole(measures.v4_entries as u64),
                    whole(measures.v6_entries as u64)
                );
                if let Some(messages) = measures.messages {
                    said.push_str(&format!(", {}", count(messages, "message", "messages")));
                }
                said
            }
            Err(error) => error.to_string(),
        };
        _ = writeln!(out, "  {:<width$}  {said}", target.name);
    }
}

fn target_json(plan: &RoutePlan) -> Vec<Value> {
    let targets = Target::of_kind(Kind::Routes).map(|target| {
        match render::render(target, plan, &any_router()) {
            Ok(rendered) => json!({
                "target": target.name,
                "form": rendered.form.map(|form| form.to_string()),
                "v4_entries": rendered.measures.v4_entries,
                "v6_entries": rendered.measures.v6_entries,
                "messages": rendered.measures.messages,
                "warnings": rendered.warnings,
            }),
            Err(error) => json!({ "target": target.name, "refused": error.to_string() }),
        }
    });
    targets.collect()
}

/// For counts it does not matter where DHCP's routes lead.
fn any_router() -> render::Options {
    render::Options {
        via: Some(std::net::Ipv4Addr::UNSPECIFIED),
        ..render::Options::default()
    }
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        whole(number as u64),
        if number == 1 { one } else { many }
    )
}

/// Rows of a table without --all.
const SHOWN: usize = 40;
