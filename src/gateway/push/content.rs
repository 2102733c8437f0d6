//! [`Step`]: the push that a target needs, from a policy and from what the target has.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::file;
use crate::plan::RoutePlan;
use crate::policy::{Policy, PushKind, PushTarget};
use crate::render::routes::{ocserv, openvpn_ccd, openvpn_push_update, wireguard};
use crate::render::{Options, Target, render};

/// A push that a target needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A command for a management socket.
    Command {
        socket: PathBuf,
        command: String,
        /// The routes that clients have afterwards.
        options: String,
    },
    /// A file to be replaced.
    File { path: PathBuf, text: String },
}

/// Writes the step as what would be done.
impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command { command, .. } => {
                write!(out, "{} to every connected client", command.trim_end())
            }
            Self::File { path, text } => {
                let lines = text.lines().count();
                write!(out, "{} is written, {lines} lines", path.display())
            }
        }
    }
}

/// A target, and the push that it needs: none where it has the routes of the policy, or the reason why they cannot be pushed.
pub(super) type Planned = (PushTarget, Result<Option<Step>, String>);

/// The routes that the clients of OpenVPN servers have, as options.
pub(super) type Known = BTreeMap<PushTarget, String>;

/// Adds the servers of `policy` that are not known yet: their clients have the routes of `before`.
pub(super) fn add_servers(known: &mut Known, policy: &Policy, before: &Policy) {
    let targets = policy.routes.push.iter().map(|it| &it.value);
    let servers = targets.filter(|it| it.kind == PushKind::Openvpn);
    let unknown: Vec<&PushTarget> = servers.filter(|it| !known.contains_key(it)).collect();
    if unknown.is_empty() {
        return;
    }
    if let Ok(options) = options(&RoutePlan::new(before)) {
        known.extend(unknown.into_iter().map(|it| (it.clone(), options.clone())));
    }
}

/// Plans the pushes of `policy`. Reads files.
pub(super) fn steps(policy: &Policy, known: &Known) -> Vec<Planned> {
    let plan = RoutePlan::new(policy);
    let mut planned: Vec<Planned> = Vec::new();
    for target in policy.routes.push.iter().map(|it| &it.value) {
        if planned.iter().any(|(it, _)| it == target) {
            continue;
        }
        let step = match target.kind {
            PushKind::Openvpn => {
                let had = known.get(target).map(String::as_str);
                command(&plan, had, Path::new(&target.path))
            }
            PushKind::OpenvpnCcd => file_step(&plan, &openvpn_ccd::TARGET, target, ""),
            PushKind::Ocserv => file_step(&plan, &ocserv::TARGET, target, ""),
            PushKind::Wireguard => file_step(&plan, &wireguard::TARGET, target, FETCH),
        };
        planned.push((target.clone(), step));
    }
    planned
}

/// The routes of a policy as the options that OpenVPN clients have.
fn options(plan: &RoutePlan) -> Result<String, String> {
    let rendered = render(&openvpn_push_update::TARGET, plan, &Options::default());
    let text = rendered.map_err(|error| error.to_string())?.text;
    Ok(openvpn_push_update::options_of(&text).to_owned())
}

fn command(plan: &RoutePlan, had: Option<&str>, socket: &Path) -> Result<Option<Step>, String> {
    let options = options(plan)?;
    if had == Some(options.as_str()) {
        return Ok(None);
    }
    let command = openvpn_push_update::change(had.unwrap_or_default(), &options)?;
    Ok(Some(Step::Command {
        socket: socket.to_owned(),
        command,
        options,
    }))
}

fn file_step(
    plan: &RoutePlan,
    format: &'static Target,
    target: &PushTarget,
    note: &str,
) -> Result<Option<Step>, String> {
    let rendered = render(format, plan, &Options::default()).map_err(|error| error.to_string())?;
    let text = rendered.text + note;
    let path = file::path(target);
    match file::holds(&path, &text)? {
        true => Ok(None),
        false => Ok(Some(Step::File { path, text })),
    }
}

/// The note at the end of a file that clients have to fetch.
const FETCH: &str = "# WireGuard pushes nothing: a client keeps its routes until these lines replace AllowedIPs in its own\n\
                     # configuration, and the tunnel is set up again.\n";
