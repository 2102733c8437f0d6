//! ocserv: the file of a group in the folder of `config-per-group`, with the group's routes and its addresses.
//!
//! The policy is the group's own: its clients' addresses are the group's pool, so the filter on the gateway knows the
//! group by them. A `route` here replaces the global ones (ocserv 1.1.6, tried); clients of a group without a file have
//! the global routes.

use std::fmt::Write as _;

use ipnet::IpNet;

use super::lists::Lists;
use super::ocserv::{LIMITS, read, written};
use crate::address::Family;
use crate::message::shorten;
use crate::plan::{RoutePlan, SourceKind};
use crate::render::{Families, Options, Read, RenderError, Rendered, Target, Write};

/// The file of an ocserv group.
pub const TARGET: Target = Target {
    name: "ocserv-group",
    about: "a group's file in the folder of `config-per-group`: its pool and routes (`--name GROUP`)",
    accepted_by: "ocserv 1.1.6 with two groups, their openconnect clients and the kernel routes of each",
    caveats: "a `no-route` of ocserv.conf stays in force for a group that has none of its own, and `append-routes` adds the global routes",
    file: "ocserv-group.conf",
    is_executable: false,
    families: Families::Both,
    limits: LIMITS,
    write: Write::Routes(write),
    read: Read::Routes(read),
};

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    let group = options.name.as_deref().unwrap_or("GROUP");
    // ocserv opens the file of this name in the folder.
    let is_file = !group.is_empty()
        && group.len() <= MAX_NAME
        && !group.starts_with('.')
        && !group.chars().any(|char| char.is_control() || char == '/');
    if !is_file {
        return Err(RenderError::BadName {
            target: &TARGET,
            name: shorten(group),
            why: "it names a group and its file: no `/`, no dot at its beginning, at most 60 bytes",
        });
    }
    let mut warnings = Vec::new();
    let mut rendered = written(&TARGET, plan, options, |lists| {
        let mut opening = format!(
            "# for the folder of config-per-group in ocserv.conf; ocserv finds it by the group's name: {group}\n\
             # A `no-route` of ocserv.conf stays in force for a group that has none of its own: write none there.\n"
        );
        for family in Family::BOTH {
            match pool(plan, family)[..] {
                [pool] if has_route(lists, family) => _ = writeln!(opening, "{}", line(pool)),
                [] | [_] => {}
                [..] => warnings.push(format!(
                    "a group of ocserv has one pool of each family, and this policy has several {family} prefixes in \
                     vpn.client_subnets: none is written, and clients get addresses of ocserv.conf"
                )),
            }
        }
        opening
    })?;
    rendered.warnings.extend(warnings);
    Ok(rendered)
}

/// The prefixes of the plan's clients in one family.
fn pool(plan: &RoutePlan, family: Family) -> Vec<IpNet> {
    let clients = plan.sources.iter();
    clients
        .filter(|source| source.kind == SourceKind::Clients)
        .map(|source| source.prefix)
        .filter(|prefix| Family::from(prefix.addr()) == family)
        .collect()
}

/// A pool without a route of its family would lead all of the family into the tunnel.
fn has_route(lists: &Lists, family: Family) -> bool {
    let mut includes = lists.includes.iter();
    includes.any(|line| Family::from(line.prefix.addr()) == family)
}

fn line(pool: IpNet) -> String {
    match pool {
        IpNet::V4(net) => format!("ipv4-network = {}/{}", net.addr(), net.netmask()),
        IpNet::V6(net) => format!("ipv6-network = {net}"),
    }
}

/// Bytes of a group's name.
const MAX_NAME: usize = 60;
