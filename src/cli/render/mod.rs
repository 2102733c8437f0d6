//! `offramp render`: a policy as the file of another program, whichever target it is.

mod check;
mod list;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use serde_json::{Value, json};

use super::error::{CliError, warn};
use super::input::{
    Planned, load_plan, print_count, print_diagnostics, read_policy, read_policy_alone, refused,
};
use crate::address::PrefixSet;
use crate::files::{atomic, place};
use crate::plan::{EndpointRules, RoutePlan};
use crate::policy::{Policy, accept};
use crate::render::{self, Form, Kind, Measures, Rendered, Source, Target};

/// Write what a VPN server pushes, what a DNS server tells VPN clients, or what a firewall lets pass
///
/// Routes: public services and feeds of the policy stay outside the tunnel, corporate and client subnets enter it. The
/// limits of each target are known: a file that its program would truncate or refuse is not written. Names: those of
/// public services have their public addresses, and internal ones are hidden. Rules: those of the filter, for gateways
/// that run without it, and those of Windows Firewall for the client programs that the policy names. Settings: those of VPN
/// clients and browsers that decide by themselves which way calls take.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  offramp render --list
  offramp render openvpn config/contoso.toml
  offramp render ocserv -o /etc/ocserv site.toml
  offramp render openvpn --check /etc/openvpn/routes.conf site.toml
  offramp render strongswan --widen-to 200 site.toml
  offramp render unbound -o /etc/unbound site.toml
  offramp render nftables site.toml | nft -f -
  offramp render cisco-asa-dynamic --name STAFF site.toml
  offramp render windows-firewall-gpo --name 'contoso.com\\Lync over VPN' site.toml

Exit code 3 when --check finds a difference: in addresses, names and settings, not in lines; of rules, in lines that say something.")]
pub(super) struct Options {
    /// Name of the target to write; --list prints all of them
    #[arg(value_name = "TARGET", required_unless_present = "list", value_parser = targets())]
    target: Option<&'static Target>,
    /// The policy file
    #[arg(value_name = "POLICY", required_unless_present = "list")]
    policy: Option<PathBuf>,
    /// List the targets
    #[arg(long, conflicts_with_all = ["target", "policy", "output", "check"])]
    list: bool,
    /// Write the file into this folder
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Compare this file, which is in use, with the policy
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    check: Option<PathBuf>,
    /// List what enters the tunnel, or what does not; by default as the target prefers
    #[arg(long, value_name = "FORM")]
    form: Option<FormName>,
    /// Take wider prefixes out of the tunnel until there are at most this many entries
    #[arg(long, value_name = "COUNT")]
    widen_to: Option<usize>,
    /// The concentrator's address in the tunnel, for routes by DHCP; by default that of `dns.listen`
    #[arg(long, value_name = "ADDRESS")]
    via: Option<Ipv4Addr>,
    /// The name of the VPN connection (windows-powershell), VPN server (windows-profilexml, windows-profilexml-device), group
    /// policy (cisco-asa, cisco-asa-filter, cisco-asa-dynamic, windows-firewall-gpo), gateway and client settings
    /// (globalprotect: GATEWAY/SETTINGS), phase1-interface (fortigate-ipsec), interface of the VPN (fortigate-policy, pfsense,
    /// opnsense), resource (cloudflare-warp-terraform), access list or group of rules
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FormName {
    /// List the prefixes that enter the tunnel
    Include,
    /// List the prefixes that do not
    Exclude,
}

fn targets() -> impl clap::builder::TypedValueParser<Value = &'static Target> {
    PossibleValuesParser::new(Target::all().map(|target| target.name))
        .map(|name| Target::named(&name).expect("the names of all targets are the possible values"))
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let (Some(target), Some(path)) = (options.target, &options.policy) else {
        list::print(options.json)?;
        return Ok(ExitCode::SUCCESS);
    };
    refuse_foreign_options(target, options)?;
    let loaded = load(target, path, options)?;
    if let Some(file) = &options.check {
        return check::run(target, &loaded, file, options.json);
    }
    let rendered = render::render(target, loaded.source(), &loaded.choices)
        .map_err(|error| CliError::Refused(error.to_string()))?;
    rendered.warnings.iter().for_each(|warning| warn(warning));
    let written = match &options.output {
        Some(folder) => Some(write(target, folder, &rendered.text)?.display().to_string()),
        None => None,
    };
    if options.json {
        super::print_json(&as_json(target, &rendered, &loaded.extra, written))?;
    } else if let Some(written) = written {
        super::print(&format!("{written}{}\n", size(target, &rendered)))?;
    } else {
        super::print(&rendered.text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Options of another kind of target are a mistake.
fn refuse_foreign_options(target: &Target, options: &Options) -> Result<(), CliError> {
    let routes_alone = [
        ("--form", options.form.is_some()),
        ("--widen-to", options.widen_to.is_some()),
        ("--via", options.via.is_some()),
    ];
    let name = ("--name", options.name.is_some());
    let foreign: &[(&str, bool)] = match target.kind() {
        Kind::Routes => &[],
        Kind::Names => &[&routes_alone[..], &[name]].concat(),
        Kind::GatewayRules | Kind::ClientRules | Kind::Settings => &routes_alone,
    };
    match foreign.iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((flag, _)) => Err(CliError::Usage(format!(
            "{flag} is for routes, and {target} writes {}",
            target.kind().name()
        ))),
    }
}

/// A policy as far as a target needs it.
struct Loaded {
    policy: Policy,
    /// For targets of routes.
    plan: Option<RoutePlan>,
    /// Addresses that leave the tunnel because of `--widen-to`.
    extra: PrefixSet,
    choices: render::Options,
}

impl Loaded {
    fn source(&self) -> Source<'_> {
        match &self.plan {
            Some(plan) => Source::Plan(plan),
            None => Source::Policy(&self.policy),
        }
    }
}

/// Reads the policy at `path`; diagnostics that bear on the target go to standard error.
fn load(target: &'static Target, path: &Path, options: &Options) -> Result<Loaded, CliError> {
    let choices = |policy: &Policy| render::Options {
        form: options.form.map(|form| match form {
            FormName::Include => Form::Include,
            FormName::Exclude => Form::Exclude,
        }),
        via: options.via.or_else(|| router(policy)),
        name: options.name.clone(),
    };
    match target.kind() {
        Kind::Routes => {
            let Planned { policy, plan } = load_plan(path)?;
            let choices = choices(&policy);
            let (plan, extra) = match options.widen_to {
                None => (plan, PrefixSet::EMPTY),
                Some(most) => widen(target, &policy, &plan, &choices, most)?,
            };
            Ok(Loaded {
                policy,
                plan: Some(plan),
                extra,
                choices,
            })
        }
        // Feeds have no names, and a vendor's settings ship with the program.
        Kind::Names | Kind::Settings => Ok(without_plan(read_policy_alone(path)?, choices)),
        Kind::GatewayRules | Kind::ClientRules => {
            let (policy, mut diagnostics) = match read_policy(path)? {
                Ok(taken) => taken,
                Err(errors) => {
                    print_diagnostics(&errors);
                    return Err(refused(path, &errors));
                }
            };
            if target.kind() == Kind::ClientRules {
                // Diagnostics of the filter on the gateway do not concern the clients.
                diagnostics = diagnostics.cleared();
                let rules = EndpointRules::of(&policy);
                rules.remarks.iter().for_each(|it| diagnostics.remark(it));
            }
            accept(&policy, &mut diagnostics);
            match target.kind() {
                Kind::ClientRules => print_diagnostics(&diagnostics),
                _ => print_count(&diagnostics),
            }
            Ok(without_plan(policy, choices))
        }
    }
}

fn without_plan(policy: Policy, choices: impl Fn(&Policy) -> render::Options) -> Loaded {
    Loaded {
        choices: choices(&policy),
        policy,
        plan: None,
        extra: PrefixSet::EMPTY,
    }
}

/// Default of --via for DHCP: the pin-point DNS server, if it has an address in the clients' subnets.
fn router(policy: &Policy) -> Option<Ipv4Addr> {
    let mut subnets = policy.vpn.client_subnets.iter();
    policy
        .dns
        .listen
        .iter()
        .find_map(|listen| match listen.value.ip() {
            IpAddr::V4(address) => subnets
                .any(|subnet| subnet.value.contains(&IpAddr::V4(address)))
                .then_some(address),
            IpAddr::V6(_) => None,
        })
}

/// The plan with wider exclusions, which are listed on standard error.
fn widen(
    target: &'static Target,
    policy: &Policy,
    plan: &RoutePlan,
    choices: &render::Options,
    most: usize,
) -> Result<(RoutePlan, PrefixSet), CliError> {
    let refused = |error: String| CliError::Refused(error);
    // What the target cannot say at all is worth saying before any widening.
    render::measures(target, plan, choices).map_err(|error| refused(error.to_string()))?;
    // Whose addresses they are does not bear on their number.
    let bare = RoutePlan {
        sources: Vec::new(),
        unneeded: Vec::new(),
        ..plan.clone()
    };
    let entries = |excluded: &PrefixSet| {
        let widened = bare.excluding(excluded);
        render::measures(target, &widened, choices).map_or(usize::MAX, |measures| {
            measures.v4_entries + measures.v6_entries
        })
    };
    let widening = plan
        .widen(policy, most, entries)
        .map_err(|error| refused(error.to_string()))?;
    if !widening.extra.is_empty() {
        let prefixes = widening.extra.prefixes().count();
        warn(&format!(
            "widened: these {prefixes} prefixes leave the tunnel beyond what the policy asks for: {}",
            widening.extra
        ));
    }
    Ok((plan.excluding(&widening.excluded), widening.extra))
}

/// Writes the file; its path.
fn write(target: &Target, folder: &Path, text: &str) -> Result<PathBuf, CliError> {
    let path = folder.join(target.file);
    let mode = if target.is_executable { 0o755 } else { 0o644 };
    place::make_folder(folder)
        .and_then(|()| atomic::write(&path, text.as_bytes(), mode))
        .map_err(|error| CliError::file("output", &path, &error))?;
    Ok(path)
}

/// The size of a written file, behind its path.
fn size(target: &Target, rendered: &Rendered) -> String {
    let measures = &rendered.measures;
    match target.kind() {
        Kind::Routes => format!(": {}", size_of_routes(measures)),
        Kind::Names | Kind::Settings => String::new(),
        Kind::GatewayRules | Kind::ClientRules => {
            let bytes = rendered.text.len();
            format!(": {} rules, {bytes} bytes", measures.rules)
        }
    }
}

fn size_of_routes(measures: &Measures) -> String {
    let mut text = format!(
        "{} IPv4 and {} IPv6 entries",
        measures.v4_entries, measures.v6_entries
    );
    if let Some(messages) = measures.messages {
        text.push_str(&format!(", {messages} messages"));
    }
    if measures.bytes > 0 {
        text.push_str(&format!(", {} bytes", measures.bytes));
    }
    text
}

fn as_json(
    target: &Target,
    rendered: &Rendered,
    extra: &PrefixSet,
    written: Option<String>,
) -> Value {
    let mut value = json!({
        "target": target.name,
        "warnings": rendered.warnings,
        "file": written,
        "text": rendered.text,
    });
    let measures = &rendered.measures;
    match target.kind() {
        Kind::Routes => {
            let extra = extra.prefixes().map(|prefix| prefix.to_string());
            value["form"] = json!(rendered.form.map(|form| form.to_string()));
            value["v4_entries"] = json!(measures.v4_entries);
            value["v6_entries"] = json!(measures.v6_entries);
            value["bytes"] = json!(measures.bytes);
            value["messages"] = json!(measures.messages);
            value["widened_by"] = json!(extra.collect::<Vec<_>>());
        }
        Kind::Names | Kind::Settings => {}
        Kind::GatewayRules | Kind::ClientRules => value["rules"] = json!(measures.rules),
    }
    value
}
