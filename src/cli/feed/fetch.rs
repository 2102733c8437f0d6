//! `offramp feed fetch`: the latest file of every feed of a policy.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::diff::difference_text;
use crate::cli::error::{CliError, say};
use crate::cli::input::read_policy_alone;
use crate::feed::Difference;
use crate::gateway::host::feeds::{self, previous};
use crate::gateway::host::fetch::{FetchError, FetchState, Fetched, fetch};
use crate::policy::{Feed, FeedFormat};

/// Fetch the latest file of every feed of a policy
///
/// Each publisher is asked at most once an hour, Microsoft for the version first. A file with a mistake, or with
/// prefixes that would empty the tunnel, does not replace the present one. A replaced file is kept as FILE.previous.
/// A list without `url` is kept by hand and left out, unless --feed names it; a policy without feeds is no mistake.
/// The proxy comes from HTTPS_PROXY, the certificates from the system or SSL_CERT_FILE.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  offramp feed fetch /etc/offramp/site.toml")]
pub(in crate::cli) struct Options {
    /// The policy file
    #[arg(value_name = "POLICY")]
    policy: PathBuf,
    /// Only the feed of this name
    #[arg(long, value_name = "NAME")]
    feed: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let policy = read_policy_alone(&options.policy)?;
    let wanted = |feed: &&Feed| {
        options
            .feed
            .as_ref()
            .is_none_or(|name| *name == feed.name.value)
    };
    let chosen: Vec<&Feed> = policy.feeds.iter().filter(wanted).collect();
    if let (Some(name), true) = (&options.feed, chosen.is_empty()) {
        return Err(CliError::Usage(format!(
            "{} has no feed \"{name}\"",
            options.policy.display()
        )));
    }
    // The timer of the package asks for every policy, also for one that has nothing to fetch.
    if chosen.is_empty() && !options.json {
        let policy = options.policy.display();
        crate::cli::print(&format!(
            "{policy} has no [[feed]] and no [[profile]]: nothing to fetch\n"
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    let state_path = FetchState::path(&options.policy);
    let mut state = FetchState::read(&state_path);
    let mut failures = 0;
    let mut results = Vec::new();
    let mut text = String::new();
    for feed in chosen {
        let path = feeds::path(&options.policy, feed);
        if options.feed.is_none() && is_kept_by_hand(feed) {
            text.push_str(&format!(
                "feed \"{}\": it has no `url`; {} is kept by hand\n",
                feed.name.value,
                path.display()
            ));
            results.push(json!({ "feed": feed.name.value, "result": "kept-by-hand" }));
            continue;
        }
        let done = fetch(feed, &policy.servers, &path, &mut state, SystemTime::now());
        // Also a refusal is remembered: it must not be asked for again within the hour.
        state
            .write(&state_path)
            .map_err(|error| CliError::file("feed state", &state_path, &error))?;
        if let Err(error) = &done {
            failures += 1;
            if !options.json {
                say(format_args!("feed \"{}\": {error}\n", feed.name.value));
            }
        } else {
            text.push_str(&outcome_text(feed, &path, &done));
        }
        results.push(as_json(feed, &done));
    }
    if options.json {
        crate::cli::print_json(&json!({ "feeds": results }))?;
    } else {
        crate::cli::print(&text)?;
    }
    match failures {
        0 => Ok(ExitCode::SUCCESS),
        1 => Err(CliError::Failed(
            "1 feed was not fetched; its file is as it was".to_owned(),
        )),
        more => Err(CliError::Failed(format!(
            "{more} feeds were not fetched; their files are as they were"
        ))),
    }
}

/// Returns `true` for a list without an address; Microsoft's and Amazon's have one of their own.
fn is_kept_by_hand(feed: &Feed) -> bool {
    match feed.format {
        FeedFormat::Prefixes | FeedFormat::WebPage => feed.url.is_none(),
        FeedFormat::Microsoft365 | FeedFormat::AwsIpRanges => false,
    }
}

fn outcome_text(feed: &Feed, path: &std::path::Path, done: &Result<Fetched, FetchError>) -> String {
    let name = &feed.name.value;
    let of_version = |version: &Option<String>| match version {
        Some(version) => format!(", version {version}"),
        None => String::new(),
    };
    match done {
        Ok(Fetched::TooSoon { wait }) => format!(
            "feed \"{name}\": not fetched; its publisher may be asked again in {} minutes\n",
            wait.as_secs().div_ceil(60)
        ),
        Ok(Fetched::Unchanged { version }) => {
            format!("feed \"{name}\": up to date{}\n", of_version(version))
        }
        Ok(Fetched::Updated {
            version,
            before,
            after,
        }) => {
            let mut text = format!(
                "feed \"{name}\": {} written{}\n",
                path.display(),
                of_version(version)
            );
            if let Some(before) = before {
                text.push_str(&difference_text(&Difference::between(before, after)));
                text.push_str(&format!(
                    "  the previous file is {}\n",
                    previous(path).display()
                ));
            }
            text
        }
        Err(_) => String::new(),
    }
}

fn as_json(feed: &Feed, done: &Result<Fetched, FetchError>) -> Value {
    let name = &feed.name.value;
    match done {
        Ok(Fetched::TooSoon { wait }) => {
            json!({ "feed": name, "result": "too-soon", "wait_seconds": wait.as_secs() })
        }
        Ok(Fetched::Unchanged { version }) => {
            json!({ "feed": name, "result": "unchanged", "version": version })
        }
        Ok(Fetched::Updated {
            version,
            before,
            after,
        }) => {
            let difference = before
                .as_ref()
                .map(|before| Difference::between(before, after));
            json!({
                "feed": name,
                "result": "updated",
                "version": version,
                "difference": difference.as_ref().map(super::diff::difference_json),
            })
        }
        Err(error) => json!({ "feed": name, "result": "failed", "error": error.to_string() }),
    }
}
