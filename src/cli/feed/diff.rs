//! `offramp feed diff`: what a later version of a feed changes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::address::PrefixSet;
use crate::cli::error::CliError;
use crate::cli::input::read_policy_alone;
use crate::feed::{
    Difference, Document, FeedError, parse_aws, parse_list, parse_microsoft, parse_page,
};
use crate::gateway::host::feeds;
use crate::plan::Effects;
use crate::policy::Policy;

/// Show which prefixes a later version of a feed adds and withdraws, and what that changes under a policy
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  offramp feed diff m365.json.previous m365.json
  offramp feed diff m365.json.previous m365.json --policy site.toml

Exit code 3 when the two differ.")]
pub(in crate::cli) struct Options {
    /// The earlier version
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The later version
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Show the routes and verdicts of this policy that change, too
    #[arg(long, value_name = "POLICY")]
    policy: Option<PathBuf>,
    /// The feed of the policy that they are versions of, where it has several
    #[arg(long, value_name = "NAME", requires = "policy")]
    feed: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Changes under a policy between the two versions.
struct UnderPolicy {
    effects: Effects,
    /// Prefixes that the policy names by hand and the later version has withdrawn: service, prefix, line, what is left.
    withdrawn: Vec<(String, String, u32, String)>,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let (old, new) = (bytes(&options.old)?, bytes(&options.new)?);
    let before = parse(&options.old, &old)?;
    let after = parse(&options.new, &new)?;
    let difference = Difference::between(&before, &after);
    let under_policy = match &options.policy {
        None => None,
        Some(path) => Some(under_policy(path, options, &old, &new, &before, &after)?),
    };
    if options.json {
        let mut value = difference_json(&difference);
        if let Some(under) = &under_policy {
            value["policy"] = under.as_json();
        }
        crate::cli::print_json(&value)?;
    } else {
        let mut text = difference_text(&difference);
        if let Some(under) = &under_policy {
            under.write(&mut text);
        }
        crate::cli::print(&text)?;
    }
    Ok(if difference.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}

pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, CliError> {
    feeds::read(path).map_err(|error| CliError::file("feed", path, &error))
}

/// Reads a feed of any format: a JSON list is Microsoft's, an object with prefixes Amazon's, markup a web page.
fn parse(path: &Path, bytes: &[u8]) -> Result<Document, CliError> {
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    let document = match first {
        Some(b'{') => parse_aws(bytes).or_else(|_| parse_microsoft(bytes)),
        Some(b'[') => parse_microsoft(bytes),
        Some(b'<') => parse_page(bytes),
        Some(_) | None => parse_list(bytes),
    };
    document.map_err(|error| refused(path, &error))
}

pub(super) fn refused(path: &Path, error: &FeedError) -> CliError {
    CliError::Failed(format!("feed {} is refused: {error}", path.display()))
}

fn under_policy(
    path: &Path,
    options: &Options,
    old: &[u8],
    new: &[u8],
    before: &Document,
    after: &Document,
) -> Result<UnderPolicy, CliError> {
    let mut policy = read_policy_alone(path)?;
    // The other feeds stay as they are.
    feeds::load(&mut policy, path, std::time::SystemTime::now());
    let position = match &options.feed {
        Some(name) => policy
            .feeds
            .iter()
            .position(|feed| feed.name.value == *name),
        None if policy.feeds.len() == 1 => Some(0),
        None => None,
    };
    let Some(position) = position else {
        let names: Vec<String> = policy
            .feeds
            .iter()
            .map(|feed| format!("\"{}\"", feed.name.value))
            .collect();
        let names = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        };
        return Err(CliError::Usage(format!(
            "name the feed of {} with --feed: {names}",
            path.display()
        )));
    };
    let with = |bytes: &[u8], file: &Path| -> Result<Policy, CliError> {
        let mut policy = policy.clone();
        policy
            .take_feed(position, bytes)
            .map_err(|error| refused(file, &error))?;
        Ok(policy)
    };
    let effects = Effects::between(&with(old, &options.old)?, &with(new, &options.new)?)
        .map_err(|error| CliError::Refused(format!("policy {}: {error}", path.display())))?;
    let prefixes = |document: &Document| -> PrefixSet {
        let entries = document.entries.iter();
        entries
            .flat_map(|entry| entry.prefixes.iter().copied())
            .collect()
    };
    let (was, is) = (prefixes(before), prefixes(after));
    let withdrawn = policy.publics.iter().flat_map(|public| {
        let gone = public
            .addresses
            .iter()
            .filter(|it| was.covers(it.value) && !is.covers(it.value));
        gone.map(|it| {
            let left = is.intersect(&PrefixSet::from_iter([it.value]));
            (
                public.name.value.clone(),
                it.value.to_string(),
                it.line,
                left.to_string(),
            )
        })
    });
    Ok(UnderPolicy {
        withdrawn: withdrawn.collect(),
        effects,
    })
}

impl UnderPolicy {
    fn write(&self, text: &mut String) {
        _ = write!(text, "{}", self.effects);
        if self.effects.has_no_effect() {
            text.push_str("no route and no verdict of the policy changes\n");
        }
        for (service, prefix, line, left) in &self.withdrawn {
            let left = if left.is_empty() { "nothing" } else { left };
            _ = writeln!(
                text,
                "withdrawn, and named by hand in line {line}: {prefix} of [[public]] \"{service}\"; {left} is left of it"
            );
        }
    }

    fn as_json(&self) -> Value {
        let withdrawn = self.withdrawn.iter().map(|(service, prefix, line, left)| {
            json!({ "service": service, "prefix": prefix, "line": line, "left": left })
        });
        let mut value = self.effects.as_json();
        value["withdrawn_by_hand"] = withdrawn.collect();
        value
    }
}

fn prefixes(set: &PrefixSet) -> Vec<String> {
    set.prefixes().map(|prefix| prefix.to_string()).collect()
}

/// Describes the differences, for people.
pub(super) fn difference_text(difference: &Difference) -> String {
    if difference.is_empty() {
        return "the two have the same entries\n".to_owned();
    }
    let mut text = String::new();
    for entry in &difference.entries {
        _ = writeln!(text, "{} ({})", entry.key, entry.service_area);
        for fact in &entry.facts {
            _ = writeln!(text, "  {fact}");
        }
        for (prefixes, sign) in [(&entry.added, '+'), (&entry.removed, '-')] {
            for prefix in prefixes {
                _ = writeln!(text, "  {sign} {prefix}");
            }
        }
    }
    if difference.entries.is_empty() {
        for (set, sign) in [(&difference.added, '+'), (&difference.removed, '-')] {
            for prefix in set.prefixes() {
                _ = writeln!(text, "{sign} {prefix}");
            }
        }
    }
    text
}

/// Describes the differences, for programs.
pub(super) fn difference_json(difference: &Difference) -> Value {
    let texts =
        |list: &[ipnet::IpNet]| -> Vec<String> { list.iter().map(ToString::to_string).collect() };
    let entries = difference.entries.iter().map(|entry| {
        json!({
            "entry": entry.key.to_string(),
            "service_area": entry.service_area,
            "facts": entry.facts,
            "added": texts(&entry.added),
            "removed": texts(&entry.removed),
        })
    });
    json!({
        "added": prefixes(&difference.added),
        "removed": prefixes(&difference.removed),
        "entries": entries.collect::<Vec<_>>(),
    })
}
