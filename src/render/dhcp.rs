//! DHCP: classless static routes, option 121 (RFC 3442) and Microsoft's 249, in Kea's and dnsmasq's words.
//!
//! ```text
//!   08 0a ac 10 01 01
//!   │  │  └─ router 172.16.1.1
//!   │  └──── as many octets of the prefix as its length needs: 10
//!   └─────── length of the prefix: /8
//! ```
//!
//! Includes only. A client that gets option 121 ignores its default router from option 3.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use super::lists::{Gateways, Lists, head};
use super::pushed::{code_lines, read_prefix, shorten};
use super::{Form, Measures, Options, Pushed, ReadError, RenderError, Rendered, Target};
use crate::plan::RoutePlan;

/// The two options with the same contents: RFC 3442's, and the one that Windows asked for before.
const OPTIONS: [u8; 2] = [121, 249];

pub(super) fn write(
    target: Target,
    plan: &RoutePlan,
    options: &Options,
) -> Result<Rendered, RenderError> {
    if options.form == Some(Form::Exclude) {
        return Err(RenderError::NoSuchForm {
            target,
            form: Form::Exclude,
            why: "DHCP's routes can only include",
        });
    }
    let via = options.via.ok_or(RenderError::NoVia { target })?;
    let lists = Lists::of(plan, Form::Include, Form::Include, Gateways::LeftToClient);
    let routes: Vec<Ipv4Net> = lists
        .includes
        .iter()
        .filter_map(|line| match line.prefix {
            IpNet::V4(net) => Some(net),
            IpNet::V6(_) => None,
        })
        .collect();
    let bytes = encode(&routes, via);
    let measures = Measures {
        v4_entries: routes.len(),
        v6_entries: 0,
        bytes: bytes.len(),
        messages: None,
    };
    let what = format!("{} routes via {via}, {} bytes", routes.len(), bytes.len());
    let [first, second] = head(plan, &what);
    let text = match target {
        Target::Dnsmasq => dnsmasq(&[first, second], &routes, via),
        Target::Kea
        | Target::OpenVpn
        | Target::OpenVpnCcd
        | Target::OpenVpnClientConnect
        | Target::OpenVpnPushUpdate
        | Target::Ocserv
        | Target::WireGuard
        | Target::StrongSwan
        | Target::StrongSwanUnity
        | Target::WindowsProfileXml
        | Target::WindowsPowerShell
        | Target::CiscoAsa
        | Target::Prefixes
        | Target::Json => kea(&[first, second], &bytes),
    };
    Ok(Rendered {
        text,
        form: Form::Include,
        measures,
        warnings: Vec::new(),
    })
}

/// RFC 3442, "Classless Route Option Format".
fn encode(routes: &[Ipv4Net], via: Ipv4Addr) -> Vec<u8> {
    let mut bytes = Vec::new();
    for net in routes {
        let octets = usize::from(net.prefix_len().div_ceil(8));
        bytes.push(net.prefix_len());
        bytes.extend(net.addr().octets().iter().take(octets));
        bytes.extend(via.octets());
    }
    bytes
}

fn kea(head: &[String], bytes: &[u8]) -> String {
    let data: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    let mut text = String::new();
    for line in head {
        _ = writeln!(text, "// {line}");
    }
    text.push_str("[\n");
    for (index, code) in OPTIONS.iter().enumerate() {
        let comma = if index + 1 < OPTIONS.len() { "," } else { "" };
        _ = writeln!(
            text,
            "  {{ \"code\": {code}, \"space\": \"dhcp4\", \"csv-format\": false, \"data\": \"{data}\" }}{comma}"
        );
    }
    text.push_str("]\n");
    text
}

fn dnsmasq(head: &[String], routes: &[Ipv4Net], via: Ipv4Addr) -> String {
    let list: String = routes.iter().map(|net| format!(",{net},{via}")).collect();
    let mut text = String::new();
    for line in head {
        _ = writeln!(text, "# {line}");
    }
    for code in OPTIONS {
        _ = writeln!(text, "dhcp-option={code}{list}");
    }
    text
}

pub(super) fn read(target: Target, text: &str) -> Result<Pushed, ReadError> {
    let mut pushed = Pushed::default();
    if target == Target::Dnsmasq {
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
        return Ok(pushed);
    }
    for (number, data) in kea_options(text)? {
        pushed.includes.extend(decode(number, &data)?);
    }
    Ok(pushed)
}

/// The contents of every option 121 in Kea's JSON, which has comments.
fn kea_options(text: &str) -> Result<Vec<(usize, Vec<u8>)>, ReadError> {
    let is_comment = |line: &str| {
        let line = line.trim_start();
        line.starts_with("//") || line.starts_with('#')
    };
    // A comment leaves its line empty, so that places stay.
    let lines: Vec<&str> = text
        .lines()
        .map(|line| if is_comment(line) { "" } else { line })
        .collect();
    let value: serde_json::Value = serde_json::from_str(&lines.join("\n"))
        .map_err(|error| ReadError::new(error.line(), shorten(&error.to_string())))?;
    let mut found = Vec::new();
    let mut open = vec![&value];
    while let Some(value) = open.pop() {
        match value {
            serde_json::Value::Object(members) => {
                let is_routes =
                    members.get("code").and_then(serde_json::Value::as_u64) == Some(121);
                if let (true, Some(data)) = (is_routes, members.get("data")) {
                    let bytes = data.as_str().and_then(hexadecimal);
                    found.push((
                        1,
                        bytes
                            .ok_or_else(|| ReadError::new(1, "option 121 is not in hexadecimal"))?,
                    ));
                }
                open.extend(members.values());
            }
            serde_json::Value::Array(items) => open.extend(items),
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::String(_) => {}
        }
    }
    Ok(found)
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .strip_prefix("0x")
        .unwrap_or(text)
        .bytes()
        .filter(|byte| !matches!(byte, b':' | b' '))
        .map(|byte| {
            char::from(byte)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    let whole = pairs.remainder().is_empty();
    whole.then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn decode(line: usize, mut bytes: &[u8]) -> Result<Vec<IpNet>, ReadError> {
    let cut = || ReadError::new(line, "option 121 ends inside a route");
    let mut routes = Vec::new();
    while let Some((&length, rest)) = bytes.split_first() {
        let octets = usize::from(length.div_ceil(8));
        if length > 32 {
            return Err(ReadError::new(
                line,
                format!("option 121 has a prefix of length {length}"),
            ));
        }
        let (prefix, rest) = rest.split_at_checked(octets).ok_or_else(cut)?;
        let (_, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let mut address = [0; 4];
        address[..octets].copy_from_slice(prefix);
        routes.push(read_prefix(
            line,
            &format!("{}/{length}", Ipv4Addr::from(address)),
        )?);
        bytes = rest;
    }
    Ok(routes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_that_of_the_rfc() {
        let net = |text: &str| text.parse::<Ipv4Net>().expect("a prefix");
        let bytes = encode(&[net("10.0.0.0/8")], Ipv4Addr::new(172, 16, 1, 1));
        assert_eq!(bytes, [0x08, 0x0a, 0xac, 0x10, 0x01, 0x01]);
        // The examples of RFC 3442: /0, /8, /24, /16, /24, /25, /32 with as many octets as they need.
        let lengths = [
            "0.0.0.0/0",
            "10.0.0.0/24",
            "10.17.0.0/16",
            "10.27.129.0/24",
            "10.229.0.128/25",
            "10.198.122.47/32",
        ];
        let sizes = lengths.map(|text| encode(&[net(text)], Ipv4Addr::UNSPECIFIED).len() - 5);
        assert_eq!(sizes, [0, 3, 2, 3, 4, 4]);
    }
}
