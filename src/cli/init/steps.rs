//! The next steps, as commands.

use std::path::Path;

use super::draft::Draft;
use crate::verify::against::Existing;

/// A command to run next, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) command: String,
    pub(super) why: String,
}

/// Policy of the installed unit.
pub(super) const INSTALLED: &str = "/etc/offramp/policy.toml";

/// Returns the steps, in order.
pub(super) fn steps(draft: &Draft, firewalls: &[&str], path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut step = |command: String, why: &str| {
        steps.push(Step {
            command,
            why: why.to_owned(),
        });
    };
    let name = quoted(path);
    if draft.teams {
        step(
            format!("offramp feed fetch {name}"),
            "gets Teams' addresses from Microsoft",
        );
    }
    step(
        format!("offramp check {name}"),
        "after each change of the policy",
    );
    if let Some(interface) = draft.interfaces.iter().find(|it| !it.value.ends_with('*')) {
        step(
            format!("offramp observe {name} {} --seconds 600", interface.value),
            "shows what would be dropped, and which services that cuts off",
        );
    }
    step(
        format!("offramp routes {name}"),
        "shows which addresses enter the tunnel",
    );
    let mut targets: Vec<&str> = Vec::new();
    for (existing, file) in &draft.daemons {
        let target = match existing {
            Existing::OpenVpn => "openvpn",
            Existing::Ocserv => "ocserv",
            Existing::WireGuard => "wireguard",
            Existing::Unbound
            | Existing::Bind
            | Existing::ResponsePolicyZone
            | Existing::Dnsmasq => continue,
        };
        if !targets.contains(&target) {
            targets.push(target);
            step(
                format!("offramp render {target} {name}"),
                "writes the routes that clients should be given",
            );
        }
        // The file of a WireGuard client is on the client.
        if *existing != Existing::WireGuard {
            step(
                format!("offramp verify {name} --against {}", quoted(file)),
                "compares what they are given",
            );
        }
    }
    if !draft.sip_domains.is_empty() {
        step(
            "offramp render --list".to_owned(),
            "names the DNS servers that offramp writes the policy's names for",
        );
    }
    let rules = match firewalls {
        [] => String::new(),
        some => format!("rules of {}, ", some.join(" and ")),
    };
    step(
        format!("offramp run {name} --dry-run"),
        &format!("says what on this host ({rules}forwarding, rights) would be in the way"),
    );
    if path != INSTALLED {
        step(
            format!("cp {name} {INSTALLED}"),
            "the service reads the policy there, and feeds beside it",
        );
    }
    let starts = match draft.enforce {
        true => "enforces the policy from now on",
        false => "judges and counts, and drops nothing yet: `offramp status` shows it",
    };
    step("systemctl enable --now offramp".to_owned(), starts);
    if !draft.enforce {
        step(
            "offramp enforce --for 10m".to_owned(),
            "enforces it for ten minutes, and then no longer; `offramp top` shows what that drops",
        );
        step(
            "offramp keep".to_owned(),
            "within these minutes, if all is well; then take `enforce = false` out of the file, which alone counts after a restart",
        );
    }
    steps
}

/// Describes them.
pub(super) fn text(steps: &[Step]) -> String {
    let lines = (1..)
        .zip(steps)
        .map(|(number, step)| format!("{number:>4}. {}\n      {}\n", step.command, step.why));
    format!("Next steps\n{}", lines.collect::<String>())
}

/// Quotes a path for a shell, if it needs that.
fn quoted(path: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "/._-+@".contains(it);
    if !path.is_empty() && path.chars().all(is_plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

/// Returns the path by which commands name the policy.
pub(super) fn path_of(path: &Path) -> String {
    match path.to_str() {
        Some("-") | None => INSTALLED.to_owned(),
        Some(path) => path.to_owned(),
    }
}
