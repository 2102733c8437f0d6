//! `offramp render`: the routes, names and rules that follow from a policy, in the words of VPN servers, DNS servers and
//! firewalls.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use serde_json::json;

use super::error::{CliError, warn};
use super::input::{Planned, load_plan};
use super::number::whole;
use super::{render_names, render_rules};
use crate::address::PrefixSet;
use crate::files::atomic;
use crate::gateway::host::feeds;
use crate::plan::{PlanDifference, RoutePlan};
use crate::policy::Policy;
use crate::render::rules::RuleTarget;
use crate::render::{self, Form, Measures, NameTarget, Rendered, Target};

/// Write what a VPN server pushes, what a DNS server tells VPN clients, or what a firewall lets pass
///
/// Routes: public services and feeds of the policy stay outside the tunnel, corporate and client subnets enter it. The
/// target's limits are known: what its program would cut or refuse is not written. Names: those of public services have
/// their public addresses, and internal ones are hidden. Rules: those of the filter, for gateways that run without it, and
/// those of Windows Firewall for the client programs that the policy names.
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
  offramp render windows-firewall-gpo --name 'contoso.com\\Lync over VPN' site.toml

Exit code 3 when --check finds a difference: in addresses and names, not in lines; of rules, in lines that say something.")]
pub(super) struct Options {
    /// What to write; --list tells them all
    #[arg(value_name = "TARGET", required_unless_present = "list", value_parser = targets())]
    target: Option<Chosen>,
    /// The policy file
    #[arg(value_name = "POLICY", required_unless_present = "list")]
    policy: Option<PathBuf>,
    /// List the targets
    #[arg(long, conflicts_with_all = ["target", "policy", "output", "check"])]
    list: bool,
    /// Write the file into this folder
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Compare this file, in place, with the policy
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    check: Option<PathBuf>,
    /// Say what enters the tunnel, or what does not; the target's own choice without it
    #[arg(long, value_name = "FORM")]
    form: Option<FormName>,
    /// Take wider prefixes out of the tunnel until there are at most this many entries
    #[arg(long, value_name = "COUNT")]
    widen_to: Option<usize>,
    /// The concentrator's address in the tunnel, for routes by DHCP; a pin-point DNS server there without it
    #[arg(long, value_name = "ADDRESS")]
    via: Option<Ipv4Addr>,
    /// The name of the VPN connection (windows-powershell), group policy (cisco-asa, windows-firewall-gpo), access list or
    /// group of rules
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FormName {
    /// What enters the tunnel
    Include,
    /// What does not
    Exclude,
}

/// What is written: a file of routes, of names or of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chosen {
    Routes(Target),
    Names(NameTarget),
    Rules(RuleTarget),
}

fn targets() -> impl clap::builder::TypedValueParser<Value = Chosen> {
    let routes = Target::ALL.map(Target::name);
    let names = NameTarget::ALL.map(NameTarget::name);
    let rules = RuleTarget::ALL.map(RuleTarget::name);
    PossibleValuesParser::new(routes.into_iter().chain(names).chain(rules)).map(|name| {
        Target::named(&name)
            .map(Chosen::Routes)
            .or_else(|| NameTarget::named(&name).map(Chosen::Names))
            .or_else(|| RuleTarget::named(&name).map(Chosen::Rules))
            .expect("the names of all targets are the possible values")
    })
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let (Some(target), Some(path)) = (options.target, &options.policy) else {
        list(options.json)?;
        return Ok(ExitCode::SUCCESS);
    };
    let target = match target {
        Chosen::Routes(target) => target,
        Chosen::Names(target) => return names(target, path, options),
        Chosen::Rules(target) => return rules(target, path, options),
    };
    let Planned { policy, plan } = load_plan(path)?;
    let choices = render::Options {
        form: options.form.map(|form| match form {
            FormName::Include => Form::Include,
            FormName::Exclude => Form::Exclude,
        }),
        via: options.via.or_else(|| router(&policy)),
        name: options.name.clone(),
    };
    let (plan, extra) = match options.widen_to {
        None => (plan, PrefixSet::EMPTY),
        Some(most) => widen(target, &policy, &plan, &choices, most)?,
    };
    if let Some(file) = &options.check {
        return check(target, &plan, file, options.json);
    }
    let rendered = render::render(target, &plan, &choices)
        .map_err(|error| CliError::Refused(error.to_string()))?;
    rendered.warnings.iter().for_each(|warning| warn(warning));
    let written = match &options.output {
        Some(folder) => Some(write(target, folder, &rendered.text)?),
        None => None,
    };
    if options.json {
        print_json(target, &rendered, &extra, written.as_deref())?;
    } else if let Some(written) = written {
        super::print(&format!(
            "{}: {}\n",
            written.display(),
            size(&rendered.measures)
        ))?;
    } else {
        super::print(&rendered.text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a file of names; choices that speak of routes are a mistake there.
fn names(target: NameTarget, path: &Path, options: &Options) -> Result<ExitCode, CliError> {
    let given = [
        ("--form", options.form.is_some()),
        ("--widen-to", options.widen_to.is_some()),
        ("--via", options.via.is_some()),
        ("--name", options.name.is_some()),
    ];
    if let Some((flag, _)) = given.into_iter().find(|(_, is_given)| *is_given) {
        return Err(CliError::Usage(format!(
            "{flag} is for routes, and {target} writes names"
        )));
    }
    if let Some(file) = &options.check {
        return render_names::check(target, path, file, options.json);
    }
    render_names::run(target, path, options.output.as_deref(), options.json)
}

/// Writes a file of rules; choices that speak of routes are a mistake there.
fn rules(target: RuleTarget, path: &Path, options: &Options) -> Result<ExitCode, CliError> {
    let given = [
        ("--form", options.form.is_some()),
        ("--widen-to", options.widen_to.is_some()),
        ("--via", options.via.is_some()),
    ];
    if let Some((flag, _)) = given.into_iter().find(|(_, is_given)| *is_given) {
        return Err(CliError::Usage(format!(
            "{flag} is for routes, and {target} writes rules"
        )));
    }
    let name = options.name.as_deref();
    if let Some(file) = &options.check {
        return render_rules::check(target, path, name, file, options.json);
    }
    render_rules::run(target, path, name, options.output.as_deref(), options.json)
}

fn list(json: bool) -> Result<(), CliError> {
    if json {
        let targets = Target::ALL.map(|target| {
            let limits = target.limits().iter().map(|limit| {
                json!({
                    "measure": limit.measure.to_string(),
                    "most": limit.most,
                    "strict": limit.is_strict,
                    "whose": limit.whose,
                })
            });
            json!({
                "target": target.name(),
                "kind": "routes",
                "about": target.about(),
                "file": target.file_name(),
                "limits": limits.collect::<Vec<_>>(),
            })
        });
        let names = NameTarget::ALL.map(|target| {
            json!({
                "target": target.name(),
                "kind": "names",
                "about": target.about(),
                "file": target.file_name(),
                "limits": [],
            })
        });
        let rules = RuleTarget::ALL.map(|target| {
            json!({
                "target": target.name(),
                "kind": "rules",
                "about": target.about(),
                "file": target.file_name(),
                "limits": [],
            })
        });
        let targets: Vec<_> = targets.into_iter().chain(names).chain(rules).collect();
        return super::print_json(&json!({ "targets": targets }));
    }
    let routes = Target::ALL.map(Target::name);
    let names = NameTarget::ALL.map(NameTarget::name);
    let rules = RuleTarget::ALL.map(RuleTarget::name);
    let width = routes
        .iter()
        .chain(&names)
        .chain(&rules)
        .map(|name| name.len());
    let width = width.max().unwrap_or(0);
    let mut text = String::from("Routes: which addresses enter the tunnel\n");
    for target in Target::ALL {
        text.push_str(&format!("{:<width$}  {}\n", target.name(), target.about()));
        for limit in target.limits() {
            let verb = if limit.is_strict {
                "takes"
            } else {
                "some take"
            };
            text.push_str(&format!(
                "{:<width$}    {verb} {} {} at most: {}\n",
                "",
                whole(limit.most as u64),
                limit.measure,
                limit.whose
            ));
        }
    }
    text.push_str("\nNames: what VPN clients resolve\n");
    for target in NameTarget::ALL {
        text.push_str(&format!("{:<width$}  {}\n", target.name(), target.about()));
    }
    text.push_str("\nRules: what is blocked, on the gateway and on the clients\n");
    for target in RuleTarget::ALL {
        text.push_str(&format!("{:<width$}  {}\n", target.name(), target.about()));
    }
    super::print(&text)
}

/// Where DHCP's routes lead without --via: the pin-point DNS server, where it has an address of the clients' subnets.
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
    target: Target,
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

/// Compares the file in place with the plan.
fn check(target: Target, plan: &RoutePlan, file: &Path, json: bool) -> Result<ExitCode, CliError> {
    let failed = |error: String| CliError::Failed(format!("{}: {error}", file.display()));
    let bytes = feeds::read(file).map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| failed("it is not UTF-8".to_owned()))?;
    let pushed = render::read(target, &text).map_err(|error| failed(error.to_string()))?;
    let difference = render::difference(target, plan, &pushed.tunnel());
    if json {
        let prefixes = |set: &PrefixSet| -> Vec<String> {
            set.prefixes().map(|prefix| prefix.to_string()).collect()
        };
        let empty = PrefixSet::EMPTY;
        let (missing, surplus) = match &difference {
            Some(difference) => (&difference.missing, &difference.surplus),
            None => (&empty, &empty),
        };
        super::print_json(&json!({
            "file": file.display().to_string(),
            "target": target.name(),
            "equal": difference.is_none(),
            "missing": prefixes(missing),
            "surplus": prefixes(surplus),
        }))?;
    } else {
        super::print(&difference_text(file, &plan.origin, difference.as_ref()))?;
    }
    Ok(match difference {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::from(3),
    })
}

fn difference_text(file: &Path, origin: &str, difference: Option<&PlanDifference>) -> String {
    let Some(difference) = difference else {
        return format!(
            "{} sends the addresses of {origin} into the tunnel\n",
            file.display()
        );
    };
    let mut text = format!("{} is not what {origin} asks for\n", file.display());
    for (set, title) in [
        (&difference.missing, "should enter the tunnel and does not"),
        (&difference.surplus, "enters the tunnel and should not"),
    ] {
        if !set.is_empty() {
            text.push_str(&format!("  {title}\n"));
            for prefix in set.prefixes() {
                text.push_str(&format!("    {prefix}\n"));
            }
        }
    }
    text
}

/// Writes the file; its path.
fn write(target: Target, folder: &Path, text: &str) -> Result<PathBuf, CliError> {
    let path = folder.join(target.file_name());
    let mode = if target == Target::OpenVpnClientConnect {
        0o755
    } else {
        0o644
    };
    fs::create_dir_all(folder)
        .and_then(|()| atomic::write(&path, text.as_bytes(), mode))
        .map_err(|error| CliError::file("output", &path, &error))?;
    Ok(path)
}

fn size(measures: &Measures) -> String {
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

fn print_json(
    target: Target,
    rendered: &Rendered,
    extra: &PrefixSet,
    written: Option<&Path>,
) -> Result<(), CliError> {
    let extra = extra.prefixes().map(|prefix| prefix.to_string());
    super::print_json(&json!({
        "target": target.name(),
        "form": rendered.form.to_string(),
        "v4_entries": rendered.measures.v4_entries,
        "v6_entries": rendered.measures.v6_entries,
        "bytes": rendered.measures.bytes,
        "messages": rendered.measures.messages,
        "warnings": rendered.warnings,
        "widened_by": extra.collect::<Vec<_>>(),
        "file": written.map(|path| path.display().to_string()),
        "text": rendered.text,
    }))
}
