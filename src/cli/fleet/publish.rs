//! `offramp fleet publish`, `promote` and `rollback`: releases, and the channels that they are in.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::options::{SigningOptions, StoreOptions, failed, parse_channel};
use crate::cli::error::{CliError, warn};
use crate::cli::input::{compile, print_count, print_diagnostics, refused};
use crate::files::regular;
use crate::filter::Generation;
use crate::gateway::fleet::publish::{self, PublishError};
use crate::gateway::host::source::{check_tests, load_feeds};
use crate::policy::site::Site;
use crate::policy::{self, Diagnostics, MAX_FILE_SIZE};

/// Check a policy, sign it, and publish it as the next release of a channel
///
/// The policy has everything but what a gateway's site file has (vpn, gateway, dns.listen). It is checked with each site
/// file that is named, its tests included, and refused if one of them does not fit. Feeds are not published: each
/// gateway fetches its own.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  offramp fleet publish policy.toml --channel canary --site berlin.toml --site paris.toml \\
      --key contoso.key --store etcd://10.0.0.5:2379/contoso
  offramp fleet publish policy.toml --channel canary --site berlin.toml --key contoso.key \\
      --store file:///srv/www/policies --expires 90days")]
pub(in crate::cli) struct Options {
    /// The fleet's policy
    #[arg(value_name = "POLICY")]
    policy: PathBuf,
    /// The channel that is moved to the release
    #[arg(long, value_name = "NAME", value_parser = parse_channel)]
    channel: String,
    /// A site file to check the policy with; may be given several times
    #[arg(long = "site", value_name = "FILE")]
    sites: Vec<PathBuf>,
    #[command(flatten)]
    signing: SigningOptions,
    #[command(flatten)]
    store: StoreOptions,
}

/// Give the release of one channel to another
///
/// Refused while a gateway of the first channel has refused the release, is not ready, does not answer, cannot say whether it
/// judges by it, or was not heard of for half an hour; and where none has reported.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  offramp fleet promote canary stable --store etcd://10.0.0.5:2379/contoso")]
pub(in crate::cli) struct PromoteOptions {
    /// The channel that has the release
    #[arg(value_name = "FROM", value_parser = parse_channel)]
    from: String,
    /// The channel that gets it
    #[arg(value_name = "TO", value_parser = parse_channel)]
    to: String,
    /// Do so whatever gateways report, and where a store keeps no reports
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    store: StoreOptions,
}

/// Publish the policy of an earlier release as the next one of a channel
///
/// Gateways take rising serials alone, so that nobody can give them an old policy again. So an earlier one comes back as a new
/// release.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  offramp fleet rollback stable --to 41 --key contoso.key --store etcd://10.0.0.5:2379/contoso")]
pub(in crate::cli) struct RollbackOptions {
    /// The channel
    #[arg(value_name = "CHANNEL", value_parser = parse_channel)]
    channel: String,
    /// The release whose policy comes back
    #[arg(long, value_name = "SERIAL")]
    to: u64,
    #[command(flatten)]
    signing: SigningOptions,
    #[command(flatten)]
    store: StoreOptions,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let path = &options.policy;
    let text = read("policy", path)?;
    if options.sites.is_empty() {
        check_whole(path, &text)?;
    }
    for site in &options.sites {
        check_with(path, &text, site)?;
    }
    let (key, choices) = (options.signing.key()?, options.signing.choices()?);
    let mut store = options.store.open()?;
    let channel = &options.channel;
    let serial = publish::publish(&mut *store, &key, &text, channel, &choices, None);
    let serial = serial.map_err(failed)?;
    crate::cli::print(&format!(
        "release {serial} is published, and the channel {channel} is at it\n"
    ))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn promote(options: &PromoteOptions) -> Result<ExitCode, CliError> {
    let mut store = options.store.open()?;
    let (from, to) = (&options.from, &options.to);
    match publish::promote(&mut *store, from, to, options.force) {
        Ok(serial) => {
            let text = format!("the channel {to} is at release {serial}, as {from} is\n");
            crate::cli::print(&text)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(PublishError::Gateways(against)) => {
            against.iter().for_each(|line| warn(line));
            CliError::Failed(format!(
                "{to} stays as it is: wait, mend what is told above, or give it nevertheless (--force)"
            ))
            .report();
            Ok(ExitCode::from(3))
        }
        Err(error) => Err(failed(error)),
    }
}

pub(super) fn roll_back(options: &RollbackOptions) -> Result<ExitCode, CliError> {
    let (key, choices) = (options.signing.key()?, options.signing.choices()?);
    let mut store = options.store.open()?;
    let (channel, to) = (&options.channel, options.to);
    let serial = publish::roll_back(&mut *store, &key, channel, to, &choices).map_err(failed)?;
    crate::cli::print(&format!(
        "release {serial} has the policy of {to}, and the channel {channel} is at it\n"
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn read(what: &str, path: &Path) -> Result<Vec<u8>, CliError> {
    regular::read(path, MAX_FILE_SIZE as u64 + 1)
        .map_err(|error| CliError::Usage(format!("{what} {}: {error}", path.display())))
}

/// Checks a policy without a site file: one that has `[vpn]` itself.
fn check_whole(path: &Path, text: &[u8]) -> Result<(), CliError> {
    let has_vpn = String::from_utf8_lossy(text)
        .lines()
        .any(|line| line.trim_start().starts_with("[vpn]"));
    if !has_vpn {
        return Err(CliError::Usage(format!(
            "{} has no [vpn], which gateways add by their site files: name them, to check it with (--site berlin.toml)",
            path.display()
        )));
    }
    check(path, &path.display().to_string(), text)
}

/// Checks a policy as a gateway with this site file does.
fn check_with(path: &Path, text: &[u8], site_path: &Path) -> Result<(), CliError> {
    let drawn = |errors: Diagnostics| {
        print_diagnostics(&errors);
        refused(Path::new(errors.origin()), &errors)
    };
    let site_text = read("site file", site_path)?;
    let site = Site::parse(&site_path.display().to_string(), &site_text).map_err(drawn)?;
    let (origin, name) = (path.display().to_string(), site_path.display());
    let whole = site.complete(&origin, text, &format!("{origin} and {name}"));
    let whole = whole.map_err(drawn)?;
    check(path, &format!("{origin} with {name}"), whole.as_bytes())
}

fn check(path: &Path, origin: &str, text: &[u8]) -> Result<(), CliError> {
    let parsed = policy::parse(origin, text);
    let read = parsed.and_then(|(policy, warnings)| load_feeds(path, policy, warnings));
    let (policy, warnings) = read.map_err(|errors| {
        print_diagnostics(&errors);
        refused(Path::new(origin), &errors)
    })?;
    print_count(&warnings);
    let compiled = compile(path, policy, Generation(1))?;
    check_tests(&compiled).map_err(|error| CliError::Refused(error.to_string()))
}
