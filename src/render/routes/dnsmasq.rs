//! dnsmasq as DHCP server: `dhcp-option` lines.

use std::fmt::Write as _;

use super::dhcp::{OPTIONS, StaticRoutes};
use super::pushed::{Pushed, read_prefix};
use crate::plan::RoutePlan;
use crate::render::{
    Families, Limit, Measure, Options, Read, ReadError, RenderError, Rendered, Target, Write,
    code_lines,
};

/// dnsmasq as DHCP server.
pub const TARGET: Target = Target {
    name: "dnsmasq",
    about: "dhcp-option lines for DHCP options 121 and 249 (`conf-file=FILE`)",
    accepted_by: "dnsmasq, with a DHCP client",
    caveats: "",
    file: "dnsmasq-routes.conf",
    is_executable: false,
    families: Families::V4,
    limits: // RFC 2132 §2: the length of an option is one byte, and dnsmasq does not cut longer ones in pieces (RFC 3396).
    &[Limit {
        measure: Measure::Bytes,
        most: 255,
        is_strict: true,
        whose: "one DHCP option",
    }],
    write: Write::Routes(write),
    read: Read::Routes(read),
};

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    let routes = StaticRoutes::of(&TARGET, plan, options)?;
    let via = routes.via;
    let list: String = routes
        .routes
        .iter()
        .map(|net| format!(",{net},{via}"))
        .collect();
    let mut text = String::new();
    for line in &routes.head {
        _ = writeln!(text, "# {line}");
    }
    for code in OPTIONS {
        _ = writeln!(text, "dhcp-option={code}{list}");
    }
    Ok(routes.rendered(text))
}

fn read(text: &str) -> Result<Pushed, ReadError> {
    let mut pushed = Pushed::default();
    for (number, line) in code_lines(text, &['#']) {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        if !matches!(key.trim(), "dhcp-option" | "dhcp-option-force") {
            continue;
        }
        let mut words = value.split(',').map(str::trim);
        let tagged = ["tag:", "set:", "encap:", "vi-encap:"];
        let is_tag = |word: &&str| tagged.iter().any(|tag| word.starts_with(tag));
        if !matches!(
            words.by_ref().find(|word| !is_tag(word)),
            Some("121" | "option:classless-static-route")
        ) {
            continue;
        }
        while let Some(prefix) = words.next() {
            let net = read_prefix(number, prefix)?;
            if words.next().is_none() {
                return Err(ReadError::new(number, format!("{net} has no router")));
            }
            pushed.includes.push(net);
        }
    }
    Ok(pushed)
}
