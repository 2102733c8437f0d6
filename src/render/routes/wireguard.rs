//! WireGuard: `AllowedIPs` of the peer in a client's configuration; there is nothing that a server could push.
//!
//! Only includes. The peer's own address must not be among them: wg-quick keeps the tunnel's packets out of the tunnel
//! only where the list has a whole family.

use std::fmt::Write as _;

use ipnet::IpNet;

use super::lists::{Gateways, Lists, head, measures};
use super::pushed::{Pushed, read_masked_prefix};
use crate::plan::RoutePlan;
use crate::policy::TunnelMode;
use crate::render::{
    Families, Form, Limit, Measure, Options, Read, ReadError, RenderError, Rendered, Target, Write,
    code_lines,
};

/// A WireGuard client's configuration.
pub const TARGET: Target = Target {
    name: "wireguard",
    about: "`AllowedIPs` of the peer in a client's configuration",
    accepted_by: "wireguard-go, with `wg` and its kernel routes",
    caveats: "a full tunnel needs `routes.gateways`, or the tunnel may swallow its own packets",
    file: "wireguard-allowed-ips.conf",
    is_executable: false,
    families: Families::Both,
    limits: &[Limit {
        measure: Measure::Entries,
        most: 200,
        is_strict: false,
        whose: "several graphical and mobile clients",
    }],
    write: Write::Routes(write),
    read: Read::Routes(read),
};

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    if options.form == Some(Form::Exclude) {
        return Err(RenderError::NoSuchForm {
            target: &TARGET,
            form: Form::Exclude,
            why: "AllowedIPs can only include",
        });
    }
    let lists = Lists::of(plan, Form::Include, Form::Include, Gateways::Carved);
    let measures = measures(lists.all());
    let what = format!("{} prefixes, for the [Peer] section", lists.includes.len());
    let [first, second] = head(plan, &what);
    let mut text = format!("# {first}\n# {second}\n");
    for lines in lists.includes.chunks(PER_LINE) {
        let prefixes: Vec<String> = lines.iter().map(|line| line.prefix.to_string()).collect();
        _ = writeln!(text, "AllowedIPs = {}", prefixes.join(", "));
    }
    let mut warnings = Vec::new();
    let has_whole_family = lists
        .includes
        .iter()
        .any(|line| line.prefix.prefix_len() == 0);
    if plan.mode == TunnelMode::Full && plan.gateways.is_empty() && !has_whole_family {
        warnings.push(
            "the peer's own address may be among AllowedIPs, and then the tunnel swallows its own packets: write it \
             under routes.gateways"
                .to_owned(),
        );
    }
    Ok(Rendered {
        text,
        form: Some(Form::Include),
        measures,
        warnings,
    })
}

/// Prefixes on a line: the key may stand several times.
const PER_LINE: usize = 8;

/// Reads the value of `AllowedIPs`; host bits are masked, as `wg` does.
pub(crate) fn read_allowed(line: usize, value: &str) -> Result<Vec<IpNet>, ReadError> {
    let prefixes = value.split(',').map(str::trim);
    let prefixes = prefixes.filter(|prefix| !prefix.is_empty());
    prefixes
        .map(|prefix| read_masked_prefix(line, prefix))
        .collect()
}

pub(crate) fn read(text: &str) -> Result<Pushed, ReadError> {
    let mut pushed = Pushed::default();
    for (number, line) in code_lines(text, &['#']) {
        if let Some((key, value)) = line.split_once('=')
            && key.trim().eq_ignore_ascii_case("AllowedIPs")
        {
            pushed.includes.extend(read_allowed(number, value)?);
        }
    }
    Ok(pushed)
}
