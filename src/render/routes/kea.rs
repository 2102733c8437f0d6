//! Kea's DHCPv4 server: the options as data, in its JSON with comments.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use ipnet::IpNet;

use super::dhcp::{OPTIONS, StaticRoutes};
use super::pushed::{Pushed, read_prefix};
use crate::message::shorten;
use crate::plan::RoutePlan;
use crate::render::{
    Families, Limit, Measure, Options, Read, ReadError, RenderError, Rendered, Target, Write,
};

/// Kea's DHCPv4 server.
pub const TARGET: Target = Target {
    name: "kea",
    about: "option-data for DHCP options 121 and 249 (`<?include \"FILE\"?>`)",
    accepted_by: "`kea-dhcp4 -t`",
    caveats: "",
    file: "kea-option-data.json",
    is_executable: false,
    families: Families::V4,
    limits: // RFC 2132 §2: the length of an option is one byte. RFC 3396 lets long ones be cut in pieces, which not every client
    // puts together.
    &[Limit {
        measure: Measure::Bytes,
        most: 255,
        is_strict: false,
        whose: "clients that do not join options in pieces, RFC 3396",
    }],
    write: Write::Routes(write),
    read: Read::Routes(read),
};

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    let routes = StaticRoutes::of(&TARGET, plan, options)?;
    let data: String = routes
        .bytes
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let mut text = String::new();
    for line in &routes.head {
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
    Ok(routes.rendered(text))
}

fn read(text: &str) -> Result<Pushed, ReadError> {
    let mut pushed = Pushed::default();
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
