//! Meraki MX: VPN exclusion rules, as the body of `PUT /networks/{networkId}/appliance/trafficShaping/vpnExclusions`.
//!
//! They are for a site whose default route is an AutoVPN hub: what is excluded leaves by the site's own uplink. Clients of
//! Meraki's client VPN do not see them. Excludes only, and IPv4 only, as the Dashboard API says (1.66.0, January 2026).

use ipnet::IpNet;
use serde_json::{Value, json};

use super::lists::{Line, Lists, measures};
use super::pushed::{Pushed, read_prefix};
use crate::message::shorten;
use crate::plan::RoutePlan;
use crate::policy::TunnelMode;
use crate::render::{
    Families, Form, Options, Read, ReadError, RenderError, Rendered, Target, Write,
};

/// VPN exclusion rules of an MX.
pub const TARGET: Target = Target {
    name: "meraki-exclusions",
    about: "VPN exclusion rules of a Meraki MX with a full tunnel to its hub, a body for the Dashboard API",
    accepted_by: "a parser of JSON and a second reader; the Dashboard was not tried (unverified)",
    caveats: "for AutoVPN sites, not for client VPN; the list replaces the network's custom rules",
    file: "meraki-vpn-exclusions.json",
    is_executable: false,
    families: Families::V4,
    limits: &[],
    write: Write::Routes(write),
    read: Read::Routes(read),
};

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    if plan.mode == TunnelMode::Split || options.form == Some(Form::Include) {
        return Err(RenderError::NoSuchForm {
            target: &TARGET,
            form: Form::Include,
            why: "its rules take prefixes out of a full tunnel: write routes.tunnel = \"full\"",
        });
    }
    let lists = Lists::out_of_everything(plan);
    let v4 = |line: &&Line| matches!(line.prefix, IpNet::V4(_));
    let listed: Vec<&Line> = lists.excludes.iter().filter(v4).collect();
    let rules: Vec<Value> = listed
        .iter()
        .map(|line| {
            json!({ "protocol": "any", "destination": line.prefix.to_string(), "port": "any" })
        })
        .collect();
    Ok(Rendered {
        // Without `majorApplications` those of the network stay as they are.
        text: format!("{:#}\n", json!({ "custom": rules })),
        form: Some(Form::Exclude),
        measures: measures(listed),
        warnings: vec![
            "meraki-exclusions: the list replaces the custom VPN exclusion rules of the network"
                .to_owned(),
        ],
    })
}

fn read(text: &str) -> Result<Pushed, ReadError> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| ReadError::new(error.line(), shorten(&error.to_string())))?;
    let rules = value.get("custom").and_then(Value::as_array);
    let rules = rules.ok_or_else(|| ReadError::new(1, "there is no list `custom`"))?;
    let mut pushed = Pushed {
        includes: vec![Pushed::everything(false)],
        ..Pushed::default()
    };
    for rule in rules {
        let field = |key| rule.get(key).and_then(Value::as_str).unwrap_or("any");
        let destination = field("destination");
        if field("protocol") == "any" && field("port") == "any" {
            pushed.excludes.push(read_prefix(1, destination)?);
        } else {
            let entry = format!(
                "{} {}, port {}",
                field("protocol"),
                destination,
                field("port")
            );
            pushed.left_out.push((1, shorten(&entry)));
        }
    }
    Ok(pushed)
}
