//! `offramp verify`: do filter, routes and names of a policy agree?

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anstyle::AnsiColor;
use serde_json::{Value, json};

use super::error::{CliError, warn};
use super::input::{Disk, compile, print_diagnostics, read_policy, refused};
use crate::filter::Generation;
use crate::gateway::run::live::{self, LiveOptions, Vantage};
use crate::plan::{RoutePlan, Zones};
use crate::policy::{Code, Policy, Severity};
use crate::verify::against::{Files as _, Named, Subject, audit, text_of};
use crate::verify::{Finding, FindingCode, browsers, verify};

/// Verify that filter, routes and names agree: nothing leaks, and nothing that clients need is cut off
///
/// Compares what a policy drops, what it leads into the tunnel and what clients resolve, predicts calls, and says what to
/// write instead. `offramp check` is about the file; this is about what it does. Exit code 3 when there are findings.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  offramp verify config/contoso.toml
  offramp verify config/contoso.toml --against /etc/openvpn/server.conf /etc/unbound/unbound.conf
  offramp verify site.toml --against copy/etc/bind/named.conf --root copy
  offramp verify /etc/offramp/policy.toml --live gateway
  offramp verify site.toml --live client --resolver 172.16.1.1
  offramp verify --codes

docs/verify.md has an example of every finding.")]
pub(super) struct Options {
    /// The policy file
    #[arg(value_name = "POLICY", required_unless_present = "codes")]
    policy: Option<PathBuf>,
    /// Compare these files with the policy, too: configurations of OpenVPN, ocserv, WireGuard, unbound, BIND, dnsmasq,
    /// and response policy zones
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "codes")]
    against: Vec<PathBuf>,
    /// With --against: look up absolute paths in these files below this folder, the root of a copied tree
    #[arg(long, value_name = "DIR", requires = "against")]
    root: Option<PathBuf>,
    /// Check this host, too: how names resolve, which routes the kernel has, and on the gateway whether it drops
    /// probes. Sends DNS queries and, with a TTL of 1, those probes; changes nothing
    #[arg(long, value_name = "WHERE", conflicts_with = "codes")]
    live: Option<Live>,
    /// With --live: ask this DNS server, e.g. 172.16.1.1 or 172.16.1.1:5353, in place of `dns.listen` on the gateway and of
    /// /etc/resolv.conf on a client
    #[arg(long, value_name = "ADDRESS", value_parser = parse_resolver, requires = "live")]
    resolver: Vec<SocketAddr>,
    /// With --live gateway: the gateway's control socket, in place of the policy's
    #[arg(long, value_name = "PATH", requires = "live")]
    control: Option<PathBuf>,
    /// List the codes of findings
    #[arg(long, conflicts_with = "policy")]
    codes: bool,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// Host that `--live` checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Live {
    /// The concentrator, beside the running gateway, as root
    Gateway,
    /// A client of the VPN, while it is connected
    Client,
}

/// Reads an address, and a port where it is not 53.
fn parse_resolver(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse().map(|address| SocketAddr::new(address, 53));
    let address = address.or_else(|_| text.parse());
    address.map_err(|_| {
        "write an address, with a port or without: 172.16.1.1, [fd00:1::1]:5353".to_owned()
    })
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let Some(path) = &options.policy else {
        list_codes(options.json)?;
        return Ok(ExitCode::SUCCESS);
    };
    let (policy, read) = match read_policy(path)? {
        Ok(taken) => taken,
        Err(errors) => {
            print_diagnostics(&errors);
            return Err(refused(path, &errors));
        }
    };
    let plan = RoutePlan::new(&policy);
    let zones = Zones::of(&policy);
    let compiled = compile(path, policy, Generation(1))?;
    let mut findings = verify(&compiled, &plan, &zones, &read);
    findings.extend(against(compiled.policy(), &plan, &zones, options)?);
    if let Some(live) = options.live {
        let options = LiveOptions {
            vantage: match live {
                Live::Gateway => Vantage::Gateway,
                Live::Client => Vantage::Client,
            },
            resolvers: options.resolver.clone(),
            control: options.control.clone(),
        };
        let report = live::check(path, &compiled, &plan, &zones, &options);
        findings.extend(report.findings);
        for unchecked in report.unchecked {
            warn(&format!("not checked: {unchecked}"));
        }
    }
    let is_stale = |finding: &Finding| finding.code == FindingCode::Stale;
    for missing in read.iter().filter(|it| it.code() == Code::FeedNotLoaded) {
        if !findings.iter().any(is_stale) {
            warn(&format!("verified without a feed: {}", missing.message()));
        }
    }
    let origin = &compiled.policy().origin;
    let browsers = browsers(compiled.policy().media.recognition);
    if options.json {
        super::print_json(&json!({
            "policy": origin,
            "findings": findings.iter().map(as_json).collect::<Vec<_>>(),
            "notes": [browsers],
        }))?;
    } else {
        super::print(&format!("note: {browsers}\n{}", text(origin, &findings)))?;
    }
    Ok(if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}

/// Returns the findings about files in use that do not fit the policy.
fn against(
    policy: &Policy,
    plan: &RoutePlan,
    zones: &Zones,
    options: &Options,
) -> Result<Vec<Finding>, CliError> {
    if options.against.is_empty() {
        return Ok(Vec::new());
    }
    let files = Disk;
    let mut named = Vec::new();
    for path in &options.against {
        let path = path.display().to_string();
        let bytes = files.read(&path);
        let bytes = bytes.map_err(|error| CliError::Failed(format!("{path}: {error}")))?;
        let text = text_of(&bytes);
        named.push(Named { path, text });
    }
    let subject = Subject {
        policy,
        plan,
        zones,
    };
    let root = options.root.as_ref();
    let root = root.map_or_else(String::new, |it| it.display().to_string());
    let found = audit(&subject, &named, &files, &root);
    found.map_err(|error| CliError::Failed(error.to_string()))
}

fn list_codes(json: bool) -> Result<(), CliError> {
    if json {
        let codes = FindingCode::OF_VERIFY
            .map(|code| json!({ "code": code.name(), "about": code.about() }));
        return super::print_json(&json!({ "codes": codes }));
    }
    let lines = FindingCode::OF_VERIFY.map(|code| format!("{code:<22} {}\n", code.about()));
    super::print(&lines.concat())
}

/// Describes the findings of a policy.
pub(super) fn text(origin: &str, findings: &[Finding]) -> String {
    if findings.is_empty() {
        return format!("{origin}: filter, routes and names agree\n");
    }
    let mut out = String::new();
    for finding in findings {
        let color = match finding.severity {
            Severity::Error => AnsiColor::Red,
            Severity::Warning => AnsiColor::Yellow,
        };
        let style = color.on_default().bold();
        _ = writeln!(out, "{style}{}{style:#}: {}", finding.code, finding.what);
        if let [first, rest @ ..] = &finding.lines[..] {
            let more = rest.iter().map(|line| format!(", {line}"));
            _ = writeln!(
                out,
                "  {:<8} {origin}:{first}{}",
                "where",
                more.collect::<String>()
            );
        }
        for reason in &finding.why {
            _ = writeln!(out, "  {:<8} {}", reason.part.name(), reason.says);
        }
        if !finding.remedy.is_empty() {
            let remedy = finding.remedy.replace('\n', "\n           ");
            _ = writeln!(out, "  {:<8} {remedy}", "instead");
        }
        out.push('\n');
    }
    let count = |severity| findings.iter().filter(|it| it.severity == severity).count();
    _ = writeln!(
        out,
        "{origin}: {} and {}",
        plural(count(Severity::Error), "error"),
        plural(count(Severity::Warning), "warning")
    );
    out
}

fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

pub(super) fn as_json(finding: &Finding) -> Value {
    let why = finding.why.iter();
    json!({
        "code": finding.code.name(),
        "severity": finding.severity.as_str(),
        "what": finding.what,
        "lines": finding.lines,
        "why": why.map(|it| json!({ "part": it.part.name(), "says": it.says })).collect::<Vec<_>>(),
        "instead": finding.remedy,
    })
}
