//! `offramp init`: a first policy, from what this host tells and its operator says.
//!
//! ```text
//!  Facts     configurations of VPN daemons, interfaces, routes, resolv.conf ─┐
//!  Answers   options, or the dialogue on a terminal                         ─┴─▶ Draft ──▶ text ──▶ check, verify ──▶ file
//! ```

mod answers;
mod dialogue;
mod draft;
mod facts;
mod steps;
mod text;
mod toml;

use std::fs;
use std::io::{self, IsTerminal as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ipnet::IpNet;
use serde_json::json;

use self::answers::{Answers, Service};
use self::draft::Draft;
use self::facts::Facts;
use super::error::{CliError, say, warn};
use super::input::{compile, print_diagnostics, remarks_on_routes};
use super::verify;
use crate::files::{atomic, place};
use crate::filter::Generation;
use crate::gateway::host::source::{check_tests, load_feeds};
use crate::plan::{RoutePlan, Zones};
use crate::policy::{self, Diagnostics};
use crate::verify::Finding;

/// Write a first policy from what this host knows
///
/// Reads the configurations of OpenVPN, ocserv and WireGuard, the interfaces, addresses and routes of this host, and
/// resolv.conf; asks on a terminal for what they do not tell (SIP domains, servers, public services); and writes a policy with a
/// comment for each value that says where it was found. The policy is checked and verified before it is written. It drops
/// nothing until `enforce = false` is taken out. What could not be read or was left out is said on standard error.
///
/// Without a terminal, or with --yes, nothing is asked, and options say what the host does not. Exit code 2 where no VPN is
/// found or the file exists, 3 when `verify` would have findings.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  offramp init
  offramp init --yes --sip-domain contoso.com --server 'Front End pool=10.1.0.10,pool01.contoso.com' \\
      --public 'Access Edge=167.55.49.32,sip.contoso.com' --public 'A/V Edge=167.55.49.34,av.contoso.com'
  offramp init site.toml --yes --teams --interface wg0 --clients 10.99.0.0/22 --corporate 192.168.0.0/16
  offramp init - --yes > site.toml
  offramp init - --yes --root /srv/copy-of-the-gateway")]
pub(super) struct Options {
    /// The policy file to write; `-` prints it
    #[arg(value_name = "POLICY", default_value = steps::INSTALLED)]
    policy: PathBuf,
    /// Replace the file, if it exists
    #[arg(long)]
    force: bool,
    /// Ask nothing
    #[arg(short, long)]
    yes: bool,
    /// Read the configurations below this folder, the root of a copied tree, and ask the kernel of this host nothing
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Interface of the VPN, in place of those that are found: tun0, or vpns* for all that begin so
    #[arg(long, value_name = "NAME", value_parser = answers::interface)]
    interface: Vec<String>,
    /// Network that clients have addresses of, in place of those that are found
    #[arg(long, value_name = "PREFIX", value_parser = answers::prefix)]
    clients: Vec<IpNet>,
    /// Internal network, in place of those that are found
    #[arg(long, value_name = "PREFIX", value_parser = answers::prefix)]
    corporate: Vec<IpNet>,
    /// Internal DNS server, in place of those that are found
    #[arg(long, value_name = "ADDRESS", value_parser = answers::address)]
    dns_server: Vec<IpAddr>,
    /// Public address of this VPN server, for routes of a tunnel that takes everything
    #[arg(long, value_name = "ADDRESS", value_parser = answers::address)]
    gateway: Vec<IpAddr>,
    /// SIP domain of Lync or Skype for Business: its internal discovery names do not exist for clients, which need the public
    /// ones (sip.DOMAIN) among the host names of --public
    #[arg(long, value_name = "DOMAIN", value_parser = answers::domain)]
    sip_domain: Vec<String>,
    /// Internal server of Lync or Skype for Business: its name, addresses or prefixes, and host names
    #[arg(long, value_name = "NAME=ADDRESS,...", value_parser = answers::server)]
    server: Vec<Service>,
    /// Service that clients reach outside the tunnel: its name, public addresses or prefixes, and host names
    #[arg(long, value_name = "NAME=ADDRESS,...", value_parser = answers::public)]
    public: Vec<Service>,
    /// Keep the addresses of Teams' relays, which Microsoft publishes, outside the tunnel
    #[arg(long)]
    teams: bool,
    /// Do not ask about Teams
    #[arg(long, conflicts_with = "teams")]
    no_teams: bool,
    /// Have the policy enforced from the first start
    #[arg(long)]
    enforce: bool,
    /// Print what was found and written as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    refuse_existing(options)?;
    let facts = match &options.root {
        Some(root) if !root.is_dir() => {
            let root = root.display();
            return Err(CliError::Usage(format!(
                "--root {root}: there is no such folder; name the one that has etc/ in it"
            )));
        }
        Some(root) => Facts::of_tree(root),
        None => Facts::of_host(),
    };
    facts.unread.iter().for_each(|it| warn(it));
    let mut answers = Answers {
        interfaces: options.interface.clone(),
        clients: options.clients.clone(),
        corporate: options.corporate.clone(),
        dns_servers: options.dns_server.clone(),
        gateways: options.gateway.clone(),
        sip_domains: options.sip_domain.clone(),
        servers: options.server.clone(),
        publics: options.public.clone(),
        teams: options.teams,
        enforce: options.enforce,
    };
    let mut draft = Draft::new(&facts, &answers);
    if !options.yes && io::stdin().is_terminal() {
        say(format_args!("{}", found(&draft)));
        dialogue::ask(&mut answers, &draft)?;
        if !options.teams && !options.no_teams {
            answers.teams = dialogue::ask_teams()?;
        }
        draft = Draft::new(&facts, &answers);
    }
    draft.remarks.iter().for_each(|it| warn(it));
    if draft.interfaces.is_empty() || draft.clients.is_empty() {
        return Err(CliError::Usage(missing(&draft)));
    }
    let text = text::policy(&draft);
    let named = steps::path_of(&options.policy);
    let Checked {
        diagnostics,
        findings,
    } = check(Path::new(&named), &text)?;
    let written = write(options, &text)?;
    let steps = steps::steps(&draft, &facts.firewalls, &named);
    if options.json {
        let said = |it: &Diagnostics| it.iter().map(|it| it.message().to_owned()).collect();
        let warnings: Vec<String> = said(&diagnostics);
        super::print_json(&json!({
            "written": written.as_ref().map(|it| it.display().to_string()),
            "policy": text,
            "facts": facts.as_json(),
            "unread": facts.unread,
            "remarks": draft.remarks,
            "warnings": warnings,
            "findings": findings.iter().map(verify::as_json).collect::<Vec<_>>(),
            "next": steps.iter().map(|it| json!({ "command": it.command, "why": it.why })).collect::<Vec<_>>(),
        }))?;
    } else {
        print_diagnostics(&diagnostics);
        let mut about = verify::text(&named, &findings);
        if let Some(written) = &written {
            about = format!("wrote {}\n{about}", written.display());
        }
        let about = format!("{about}\n{}", steps::text(&steps));
        match written {
            Some(_) => super::print(&about)?,
            None => {
                super::print(&text)?;
                say(format_args!("{about}"));
            }
        }
    }
    Ok(if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}

/// Refuses to replace a file, before anything is asked.
fn refuse_existing(options: &Options) -> Result<(), CliError> {
    let path = &options.policy;
    let exists = is_file(path) && fs::symlink_metadata(path).is_ok();
    if exists && !options.force {
        let path = path.display();
        return Err(CliError::Usage(format!(
            "{path} exists: name another file, `-` to print the policy, or --force to replace {path}"
        )));
    }
    Ok(())
}

/// True unless the policy goes to standard output.
fn is_file(path: &Path) -> bool {
    path != Path::new("-")
}

/// Describes what was found, before the questions.
fn found(draft: &Draft) -> String {
    let list = |what: &str, values: Vec<String>| match values.is_empty() {
        true => format!("  {what:<18} none found\n"),
        false => format!("  {what:<18} {}\n", values.join(", ")),
    };
    let prefixes = |lines: &[draft::Line<IpNet>]| -> Vec<String> {
        lines.iter().map(|it| it.value.to_string()).collect()
    };
    let interfaces = draft.interfaces.iter().map(|it| it.value.clone());
    let dns = draft.dns_servers.iter().map(|it| it.value.to_string());
    [
        "This host\n".to_owned(),
        list("VPN interfaces", interfaces.collect()),
        list("clients", prefixes(&draft.clients)),
        list("internal networks", prefixes(&draft.corporate)),
        list("DNS servers", dns.collect()),
    ]
    .concat()
}

/// Says what a policy needs, and was not found.
fn missing(draft: &Draft) -> String {
    let what = match (draft.interfaces.is_empty(), draft.clients.is_empty()) {
        (true, true) => "no VPN was found on this host",
        (true, false) => "no interface of the VPN was found on this host",
        (false, _) => "no network of the VPN's clients was found on this host",
    };
    format!(
        "{what}, and nothing was written; start its daemon, or name it: --interface tun0 --clients 172.16.1.0/24"
    )
}

/// Outcome of `check` and `verify` for a policy.
struct Checked {
    diagnostics: Diagnostics,
    findings: Vec<Finding>,
}

/// Checks a policy that is to be written to `path`.
fn check(path: &Path, text: &str) -> Result<Checked, CliError> {
    let refused = |errors: &Diagnostics| {
        print_diagnostics(errors);
        CliError::Refused(
            "this policy would be refused, and nothing was written; correct the options that it comes from".to_owned(),
        )
    };
    let origin = path.display().to_string();
    let read = policy::parse(&origin, text.as_bytes());
    let (policy, read) = read.map_err(|errors| refused(&errors))?;
    let (policy, mut diagnostics) =
        load_feeds(path, policy, read).map_err(|errors| refused(&errors))?;
    let (plan, zones) = (RoutePlan::new(&policy), Zones::of(&policy));
    let compiled = compile(path, policy, Generation(1))?;
    check_tests(&compiled).map_err(|error| CliError::Failed(error.to_string()))?;
    let findings = crate::verify::verify(&compiled, &plan, &zones, &diagnostics);
    for remark in remarks_on_routes(&plan) {
        diagnostics.remark(&remark.clone().as_warning());
    }
    Ok(Checked {
        diagnostics,
        findings,
    })
}

/// Writes the file, if there is to be one.
fn write(options: &Options, text: &str) -> Result<Option<PathBuf>, CliError> {
    let path = &options.policy;
    if !is_file(path) {
        return Ok(None);
    }
    // Somebody may have written it meanwhile.
    refuse_existing(options)?;
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    folder
        .map_or(Ok(()), place::make_folder)
        .and_then(|()| atomic::write(path, text.as_bytes(), 0o644))
        .map_err(|error| CliError::file("policy", path, &error))?;
    Ok(Some(path.clone()))
}
