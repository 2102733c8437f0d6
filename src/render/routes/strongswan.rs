//! strongSwan: traffic selectors for IKEv2.
//!
//! IKEv2 can only include, so a full tunnel with exclusions is the complement in `local_ts`. IKE's own packets are outside
//! its policies: the gateway needs no hole.

use super::lists::{Gateways, Line, Lists, head, measures};
use super::pushed::{Pushed, read_prefix};
use crate::plan::RoutePlan;
use crate::render::{
    Families, Form, Limit, Measure, Options, Read, ReadError, RenderError, Rendered, Target, Write,
    code_lines,
};

/// strongSwan's swanctl.conf, inside a child section.
pub const TARGET: Target = Target {
    name: "strongswan",
    about: "`local_ts` for a child in swanctl.conf (`include FILE`)",
    accepted_by: "strongSwan: charon and swanctl",
    caveats: "",
    file: "swanctl-local-ts.conf",
    is_executable: false,
    families: Families::Both,
    limits: // RFC 7296 §3.13: the number of traffic selectors of a payload is one byte.
    &[Limit {
        measure: Measure::Entries,
        most: 255,
        is_strict: true,
        whose: "one traffic selector payload",
    }],
    write: Write::Routes(write),
    read: Read::Routes(read),
};

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    if options.form == Some(Form::Exclude) {
        return Err(RenderError::NoSuchForm {
            target: &TARGET,
            form: Form::Exclude,
            why: "IKEv2 has no exclusions",
        });
    }
    let lists = Lists::of(plan, Form::Include, Form::Include, Gateways::LeftToClient);
    let [first, second] = head(plan, &format!("{} prefixes", lists.includes.len()));
    let list = joined(&lists.includes);
    Ok(Rendered {
        text: format!("# {first}\n# {second}\nlocal_ts = {list}\n"),
        form: Some(Form::Include),
        measures: measures(&lists.includes),
        warnings: vec![
            "Windows' IKEv2 client takes its routes from Add-VpnConnectionRoute or DHCP, not from traffic selectors".to_owned(),
        ],
    })
}

/// Prefixes with commas between them.
pub(super) fn joined(lines: &[Line]) -> String {
    let prefixes: Vec<String> = lines.iter().map(|line| line.prefix.to_string()).collect();
    prefixes.join(",")
}

fn read(text: &str) -> Result<Pushed, ReadError> {
    let mut pushed = Pushed::default();
    for (number, line) in code_lines(text, &['#']) {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        if key.trim() != "local_ts" {
            continue;
        }
        for selector in value.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            if selector.contains('[') {
                pushed.left_out.push((number, selector.to_owned()));
            } else {
                pushed.includes.push(read_prefix(number, selector)?);
            }
        }
    }
    Ok(pushed)
}
