//! NetBird: network routes, as bodies for `POST /api/routes`.
//!
//! Only includes, and IPv4 alone: releases differ in whether a route may be of IPv6. A whole family is written in halves, since
//! `0.0.0.0/0` makes an exit node, which clients choose by themselves.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::lists::{Line, measures};
use super::pushed::{Pushed, read_prefix};
use super::tailscale::advertised;
use crate::message::shorten;
use crate::plan::RoutePlan;
use crate::render::{
    Families, Form, Options, Read, ReadError, RenderError, Rendered, Target, Write,
};

/// Network routes of NetBird.
pub const TARGET: Target = Target {
    name: "netbird",
    about: "network routes of NetBird: a list, each a body of `POST /api/routes` (`--name GROUP-ID`)",
    accepted_by: "a schema with the fields of NetBird's openapi.yml (2026-08-22) and a second reader; no server of NetBird was tried (unverified)",
    caveats: "one group is both the routing peers and the clients until `peer_groups` and `groups` are edited",
    file: "netbird-routes.json",
    is_executable: false,
    families: Families::V4,
    limits: &[],
    write: Write::Routes(write),
    read: Read::Routes(read),
};

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    let group = options.name.as_deref().unwrap_or(NO_GROUP);
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if group.is_empty() || group.len() > MAX_GROUP || !group.bytes().all(is_word) {
        return Err(RenderError::BadName {
            target: &TARGET,
            name: shorten(group),
            why: "it is the ID of a group: letters, digits, - and _, at most 60",
        });
    }
    let lists = advertised(&TARGET, plan, options)?;
    let v4 = |line: &&Line| matches!(line.prefix, IpNet::V4(_));
    let listed: Vec<&Line> = lists.includes.iter().filter(v4).collect();
    let routes: Vec<Value> = (1..)
        .zip(&listed)
        .map(|(number, line)| {
            json!({
                "network_id": format!("offramp-{number}"),
                "description": format!("offramp: {}", shorten(&line.origin)),
                "network": line.prefix.to_string(),
                "enabled": true,
                "peer_groups": [group],
                "groups": [group],
                "metric": 9999,
                "masquerade": false,
                "keep_route": false,
            })
        })
        .collect();
    let mut warnings = vec![
        "netbird: routes of an earlier list stay: delete those whose network_id begins with offramp- before you post these"
            .to_owned(),
    ];
    if options.name.is_none() {
        warnings.push(format!(
            "netbird: {NO_GROUP} stands for the ID of the group of routing peers and clients: write --name ID, or edit \
             peer_groups and groups"
        ));
    }
    Ok(Rendered {
        text: format!("{:#}\n", Value::from(routes)),
        form: Some(Form::Include),
        measures: measures(listed),
        warnings,
    })
}

fn read(text: &str) -> Result<Pushed, ReadError> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| ReadError::new(error.line(), shorten(&error.to_string())))?;
    let routes = value
        .as_array()
        .ok_or_else(|| ReadError::new(1, "this is not a list of routes"))?;
    let mut pushed = Pushed::default();
    for route in routes {
        // Routes of names have no network; one that is not enabled is not there.
        let is_enabled = route.get("enabled").and_then(Value::as_bool) != Some(false);
        match route.get("network").and_then(Value::as_str) {
            Some(network) if is_enabled => pushed.includes.push(read_prefix(1, network)?),
            Some(_) => {}
            None => pushed
                .left_out
                .push((1, "a route without `network`".to_owned())),
        }
    }
    Ok(pushed)
}

/// Stands for a group that was not named; NetBird refuses it.
const NO_GROUP: &str = "GROUP-ID";
/// Characters of an ID.
const MAX_GROUP: usize = 60;
