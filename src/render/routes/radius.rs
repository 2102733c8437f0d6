//! RADIUS: `Framed-Route` and `Framed-IPv6-Route` (RFC 2865 §5.22, RFC 3162 §2.5) as an entry of FreeRADIUS's users file.
//!
//! ocserv 1.1.6 gives their prefixes to the client, and ignores router and metric (`append_route`, src/auth/radius.c).
//! No attribute keeps a prefix out, so there is no exclude form; and openconnect takes a prefix that begins at 0.0.0.0 for
//! the default route, so a full tunnel has no include form either.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use super::lists::{Gateways, Lists, head, measures};
use super::pushed::{Pushed, read_prefix};
use crate::message::shorten;
use crate::plan::RoutePlan;
use crate::policy::TunnelMode;
use crate::render::{
    Families, Form, Limit, Measure, Measures, Options, Read, ReadError, RenderError, Rendered,
    Target, Write, code_lines,
};

/// An entry of FreeRADIUS's users file.
pub const TARGET: Target = Target {
    name: "radius",
    about: "`Framed-Route` for ocserv as an entry of FreeRADIUS's users file (`$INCLUDE FILE`)",
    accepted_by: "FreeRADIUS 3.2: its answer to radclient, compared with the plan",
    caveats: "includes alone, so no full tunnel; a strongSwan, an ASA or an OpenVPN plugin reads these attributes in its own way (unverified)",
    file: "radius-users",
    is_executable: false,
    families: Families::Both,
    limits: &[Limit {
        measure: Measure::Bytes,
        most: 4_096,
        is_strict: true,
        whose: "one RADIUS packet, RFC 2865",
    }],
    write: Write::Routes(write),
    read: Read::Routes(read),
};

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    if plan.mode == TunnelMode::Full || options.form == Some(Form::Exclude) {
        return Err(RenderError::NoSuchForm {
            target: &TARGET,
            form: options.form.unwrap_or(Form::Exclude),
            why: "RADIUS can only add routes, and a full tunnel needs exclusions: render ocserv-group, and send the \
                  group's name as Class = \"OU=GROUP\"",
        });
    }
    let name = options.name.as_deref().unwrap_or("DEFAULT");
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_word) {
        return Err(RenderError::BadName {
            target: &TARGET,
            name: shorten(name),
            why: "it names a user: letters, digits and -_.@, at most 60",
        });
    }
    let lists = Lists::of(plan, Form::Include, Form::Include, Gateways::LeftToClient);
    let what = format!("{} routes", lists.includes.len());
    let [first, second] = head(plan, &what);
    let mut text = format!(
        "# {first}\n# {second}\n\
         # for mods-config/files/authorize of FreeRADIUS 3: $INCLUDE this file above the entries that authenticate users.\n\
         # A group's routes: put this entry behind a check of your own, or name the group in Class and render ocserv-group.\n\
         {name}\n"
    );
    let mut bytes = FRAME;
    let mut attribute = |name: &str, value: String, size: usize| {
        bytes += size;
        _ = writeln!(text, "\t{name} += {value},");
    };
    for line in &lists.includes {
        let (name, value) = match line.prefix {
            // 0.0.0.0 stands for the client as the router.
            IpNet::V4(net) => ("Framed-Route", format!("{net} 0.0.0.0 1")),
            IpNet::V6(net) => ("Framed-IPv6-Route", format!("{net} :: 1")),
        };
        attribute(name, format!("\"{value}\""), HEADER + value.len());
    }
    let mut v4 = 0;
    for address in plan.dns_servers() {
        match address {
            IpAddr::V4(address) => {
                // A client has two of IPv4 at most.
                if let Some(name) = V4_DNS.get(v4) {
                    attribute(name, address.to_string(), VENDOR_HEADER + HEADER + 4);
                }
                v4 += 1;
            }
            IpAddr::V6(address) => {
                attribute("DNS-Server-IPv6-Address", address.to_string(), HEADER + 16);
            }
        }
    }
    text.push_str("\tFall-Through = Yes\n");
    let warnings = (v4 > V4_DNS.len()).then(|| {
        format!(
            "RADIUS has attributes for {} IPv4 DNS servers, and dns.listen has {v4}: the rest is left out",
            V4_DNS.len()
        )
    });
    Ok(Rendered {
        text,
        form: Some(Form::Include),
        measures: Measures {
            bytes,
            ..measures(&lists.includes)
        },
        warnings: warnings.into_iter().collect(),
    })
}

fn read(text: &str) -> Result<Pushed, ReadError> {
    let mut pushed = Pushed::default();
    for (number, line) in code_lines(text, &['#']) {
        let line = line.trim_end_matches(',');
        // `+=` adds to what is there, `:=` and `=` set one.
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        let name = name.trim_end_matches(['+', ':']).trim();
        if name == "Framed-Route" || name == "Framed-IPv6-Route" {
            let value = value.trim().trim_matches('"');
            let prefix = value.split(' ').next().unwrap_or_default();
            // ocserv ignores a route without a length.
            if !prefix.contains('/') {
                return Err(ReadError::new(
                    number,
                    format!("`{}` has no length, and ocserv ignores it", shorten(value)),
                ));
            }
            pushed.includes.push(read_prefix(number, prefix)?);
        }
    }
    Ok(pushed)
}

/// Attributes of RFC 2548 for the DNS servers.
const V4_DNS: [&str; 2] = ["MS-Primary-DNS-Server", "MS-Secondary-DNS-Server"];
/// Type and length of an attribute (RFC 2865 §5).
const HEADER: usize = 2;
/// Type, length and vendor of a vendor's attribute (RFC 2865 §5.26).
const VENDOR_HEADER: usize = 6;
/// The header of a packet, and Message-Authenticator (RFC 2865 §3, RFC 3579 §3.2).
const FRAME: usize = 20 + 18;
/// Characters of a user's name.
const MAX_NAME: usize = 60;
