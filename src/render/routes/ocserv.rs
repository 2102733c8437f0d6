//! ocserv: `route` and `no-route`, in the global file, a group's or a user's.
//!
//! AnyConnect clients take includes or excludes, not both: a split tunnel has the include form, a full one `route =
//! default` and `no-route` (see `form_of_clients`). Clients keep a route of their own to the gateway. A group's list
//! replaces the global one.

use std::fmt::Write as _;

use ipnet::IpNet;

use super::lists::{Gateways, Line, Lists, head, measures};
use super::pushed::{Pushed, read_prefix};
use crate::address::Family;
use crate::plan::RoutePlan;
use crate::policy::TunnelMode;
use crate::render::{
    Families, Form, Limit, Measure, Options, Read, ReadError, RenderError, Rendered, Target, Write,
    code_lines,
};

/// ocserv's configuration: the global one, a group's or a user's.
pub const TARGET: Target = Target {
    name: "ocserv",
    about: "`route` and `no-route` lines for ocserv: all, a group or a user",
    accepted_by: "ocserv, with openconnect and its kernel routes",
    caveats: "",
    file: "ocserv-routes.conf",
    is_executable: false,
    families: Families::Both,
    limits: LIMITS,
    write: Write::Routes(write),
    read: Read::Routes(read),
};

/// Limits of AnyConnect clients, whichever server they connect to.
pub(super) const LIMITS: &[Limit] = &[
    Limit {
        measure: Measure::V4Entries,
        most: 2_500,
        is_strict: true,
        whose: "Cisco's clients",
    },
    Limit {
        measure: Measure::V6Entries,
        most: 2_500,
        is_strict: true,
        whose: "Cisco's clients",
    },
    Limit {
        measure: Measure::Entries,
        most: 200,
        is_strict: false,
        whose: "older AnyConnect clients",
    },
];

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    written(&TARGET, plan, options, |_| String::new())
}

/// The file of `target`; `opening` gives what stands between its head and its routes, from the lists.
pub(super) fn written(
    target: &'static Target,
    plan: &RoutePlan,
    options: &Options,
    opening: impl FnOnce(&Lists) -> String,
) -> Result<Rendered, RenderError> {
    let form = form_of_clients(target, plan, options)?;
    let lists = match form {
        Form::Include => Lists::of(plan, form, form, Gateways::LeftToClient),
        Form::Exclude => Lists::out_of_everything(plan),
    };
    let measures = measures(lists.all());
    let what = format!(
        "{} routes, {} exclusions",
        lists.includes.len(),
        lists.excludes.len()
    );
    let [first, second] = head(plan, &what);
    let mut text = format!("# {first}\n# {second}\n{}", opening(&lists));
    match form {
        // Of each family of which clients have addresses.
        Form::Exclude => text.push_str("route = default\n"),
        Form::Include => lists
            .includes
            .iter()
            .for_each(|line| write_line(&mut text, "route", line)),
    }
    for line in &lists.excludes {
        write_line(&mut text, "no-route", line);
    }
    for (number, address) in plan.dns_servers().enumerate() {
        if number == 0 {
            text.push_str("# pin-point DNS, in place of other DNS servers; while it is down clients resolve nothing:\n");
            text.push_str("# `offramp dns` on a second host\n");
        }
        _ = writeln!(text, "dns = {address}");
    }
    Ok(Rendered {
        text,
        form: Some(form),
        measures,
        warnings: Vec::new(),
    })
}

/// The one form that AnyConnect clients and openconnect take for the plan.
pub(super) fn form_of_clients(
    target: &'static Target,
    plan: &RoutePlan,
    options: &Options,
) -> Result<Form, RenderError> {
    let no_such_form = |form, why| Err(RenderError::NoSuchForm { target, form, why });
    match (plan.mode, options.form) {
        (TunnelMode::Split, Some(Form::Exclude)) => no_such_form(
            Form::Exclude,
            "clients take includes or excludes, not both, and this tunnel is split",
        ),
        (TunnelMode::Split, Some(Form::Include) | None) => Ok(Form::Include),
        // vpnc-script compares the address alone: 0.0.0.0/3, with which every complement begins, is the default route to it.
        (TunnelMode::Full, Some(Form::Include)) => no_such_form(
            Form::Include,
            "openconnect takes a prefix that begins at 0.0.0.0 for the default route",
        ),
        (TunnelMode::Full, Some(Form::Exclude) | None) => Ok(Form::Exclude),
    }
}

fn write_line(text: &mut String, key: &str, line: &Line) {
    if !line.origin.is_empty() {
        _ = writeln!(text, "# {}", line.origin);
    }
    _ = match line.prefix {
        IpNet::V4(net) => writeln!(text, "{key} = {}/{}", net.addr(), net.netmask()),
        IpNet::V6(net) => writeln!(text, "{key} = {net}"),
    };
}

/// Reads the value of `route` or `no-route`.
pub(crate) fn read_route(line: usize, value: &str) -> Result<Vec<IpNet>, ReadError> {
    match value {
        "default" => Ok([false, true].map(Pushed::everything).to_vec()),
        prefix => Ok(vec![read_prefix(line, prefix)?]),
    }
}

/// The families of which clients send everything into the tunnel, though no `route` says so: all of them where there is no `route`,
/// else those in which they have an address and no route. ocserv sends no default route then, but the script of openconnect sets one for each
/// family of an address that it has no route for (vpnc-script, `CISCO_SPLIT_INC`, `CISCO_IPV6_SPLIT_INC`).
pub(crate) fn unrouted(routes: Option<&[IpNet]>, pools: &[Family]) -> Vec<Family> {
    let Some(routes) = routes else {
        return Family::BOTH.to_vec();
    };
    let has_route = |family| routes.iter().any(|it| Family::from(it.addr()) == family);
    let mut unrouted = pools.to_vec();
    unrouted.retain(|family| !has_route(*family));
    unrouted.sort_unstable();
    unrouted.dedup();
    unrouted
}

/// The family of the addresses that a key gives to clients.
pub(crate) fn pool_of(key: &str) -> Option<Family> {
    match key {
        "ipv4-network" | "explicit-ipv4" => Some(Family::V4),
        "ipv6-network" | "explicit-ipv6" => Some(Family::V6),
        _ => None,
    }
}

pub(crate) fn read(text: &str) -> Result<Pushed, ReadError> {
    let mut pushed = Pushed::default();
    let (mut has_route, mut pools) = (false, Vec::new());
    for (number, line) in code_lines(text, &['#']) {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let value = value.trim();
        pools.extend(pool_of(key.trim()));
        match key.trim() {
            "route" => {
                has_route = true;
                pushed.includes.extend(read_route(number, value)?);
            }
            "no-route" => pushed.excludes.extend(read_route(number, value)?),
            _ => {}
        }
    }
    let routes = has_route.then_some(&pushed.includes[..]);
    let unrouted = unrouted(routes, &pools).into_iter();
    pushed.includes.extend(unrouted.map(Family::everything));
    Ok(pushed)
}
