//! FortiGate: address groups, and the IPsec dial-up tunnel that splits by them.
//!
//! ```text
//!  firewall address  ─▶ firewall addrgrp  ─▶ ipv4-split-exclude ─┐
//!  firewall address6 ─▶ firewall addrgrp6 ─▶ ipv6-split-exclude ─┴─ vpn ipsec phase1-interface NAME
//! ```
//!
//! Exclusions are taken out of everything; `split-include` lists what enters, and an empty one is everything. SSL VPN has
//! no tunnel mode from FortiOS 7.6.3 on, so the file is about IPsec alone.
//!
//! Sources: the FortiOS CLI reference, `config vpn ipsec phase1-interface`, `config firewall addrgrp` and `addrgrp6`; Fortinet's
//! technical tip 230575 for SSL VPN (both read 2026-11). No FortiGate was at hand.

mod read;

use std::fmt::Write as _;

use ipnet::IpNet;

use super::lists::{Gateways, Line, Lists, form_out_of_everything, head, measures};
use crate::message::shorten;
use crate::plan::RoutePlan;
use crate::render::{Families, Form, Options, Read, RenderError, Rendered, Target, Write};

/// FortiOS configuration.
pub const TARGET: Target = Target {
    name: "fortigate-ipsec",
    about: "address groups and the split tunnel of a FortiGate's IPsec dial-up tunnel (--name PHASE1)",
    accepted_by: "a second reader; no FortiGate was tried",
    caveats: "the tunnel has to exist and have mode-cfg enabled; members of a group are limited by model (unverified); \
              SSL VPN has no tunnel mode from FortiOS 7.6.3 on",
    file: "fortigate-split-tunnel.conf",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::Routes(write),
    read: Read::NamedRoutes(read::read),
};

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    let form = form_out_of_everything(&TARGET, plan, options)?;
    let name = options.name.as_deref().unwrap_or("OFFRAMP");
    let is_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !(1..=MAX_NAME).contains(&name.len()) || !name.bytes().all(is_byte) {
        return Err(RenderError::BadName {
            target: &TARGET,
            name: shorten(name),
            why: "it names a phase1-interface: letters, digits, - _ and ., at most 15",
        });
    }
    let listed = match form {
        Form::Include => Lists::of(plan, form, form, Gateways::LeftToClient).includes,
        Form::Exclude => Lists::out_of_everything(plan).excludes,
    };
    let [first, second] = head(plan, &format!("{} entries", listed.len()));
    let mut text = format!(
        "# {first}\n# {second}\n\
         # The tunnel {name} has to exist: otherwise `edit` makes an incomplete one, and `next` refuses it.\n\
         # Addresses of an earlier file stay, unused; the groups are replaced. Nobody tried this file on a FortiGate.\n"
    );
    let mut keys = String::new();
    for (is_v6, family, suffix) in [(false, "ipv4", ""), (true, "ipv6", "6")] {
        let has_family = if is_v6 {
            plan.families.has_v6()
        } else {
            plan.families.has_v4()
        };
        let of_family = |line: &&Line| line.prefix.addr().is_ipv6() == is_v6;
        let lines: Vec<&Line> = listed.iter().filter(of_family).collect();
        _ = writeln!(keys, "        unset {family}-split-{}", form.other());
        if lines.is_empty() {
            // An empty list of what enters is everything.
            if has_family && form == Form::Include {
                return Err(RenderError::NothingEnters { target: &TARGET });
            }
            _ = writeln!(keys, "        unset {family}-split-{form}");
            continue;
        }
        let group = format!("{name}-{form}{suffix}");
        write_addresses(&mut text, name, suffix, &lines);
        let members: Vec<String> = lines
            .iter()
            .map(|line| format!(" \"{}\"", address(name, line.prefix)))
            .collect();
        _ = writeln!(
            text,
            "config firewall addrgrp{suffix}\n    edit \"{group}\"\n        set member{}\n    next\nend",
            members.concat()
        );
        _ = writeln!(keys, "        set {family}-split-{form} \"{group}\"");
    }
    _ = write!(
        text,
        "config vpn ipsec phase1-interface\n    edit \"{name}\"\n{keys}    next\nend\n"
    );
    Ok(Rendered {
        text,
        form: Some(form),
        measures: measures(&listed),
        warnings: Vec::new(),
    })
}

/// Writes the addresses of one family.
fn write_addresses(text: &mut String, name: &str, suffix: &str, lines: &[&Line]) {
    _ = writeln!(text, "config firewall address{suffix}");
    for line in lines {
        _ = writeln!(text, "    edit \"{}\"", address(name, line.prefix));
        _ = match line.prefix {
            IpNet::V4(net) => writeln!(text, "        set subnet {} {}", net.addr(), net.netmask()),
            IpNet::V6(net) => writeln!(text, "        set ip6 {net}"),
        };
        let plain = |char: &char| (' '..='~').contains(char) && !matches!(char, '"' | '\\' | '?');
        let comment: String = line
            .origin
            .chars()
            .filter(plain)
            .take(MAX_COMMENT)
            .collect();
        if !comment.is_empty() {
            _ = writeln!(text, "        set comment \"{comment}\"");
        }
        text.push_str("    next\n");
    }
    text.push_str("end\n");
}

/// The name of the address of `prefix`, without characters that a shell of FortiOS minds.
fn address(name: &str, prefix: IpNet) -> String {
    format!("{name}-{}_{}", prefix.addr(), prefix.prefix_len())
}

/// Characters of a phase1-interface's name: FortiOS CLI reference.
const MAX_NAME: usize = 15;
/// Characters of an address's comment: FortiOS CLI reference.
const MAX_COMMENT: usize = 255;
