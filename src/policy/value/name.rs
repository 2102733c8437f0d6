//! Names as a policy writes them: of rules, hosts, services and interfaces.

use std::net::IpAddr;

use super::problem::Problem;
use crate::message::shorten;
use crate::policy::diagnostic::Code;

/// Reads the name of a rule: any text of one line.
pub(in crate::policy) fn parse_name(text: &str) -> Result<String, Problem> {
    if text.trim().is_empty() {
        return Err(Problem::new(Code::BadName, "the name is empty")
            .help("write what you call it, e.g. \"Front End pool\""));
    }
    if text.chars().any(char::is_control) {
        return Err(Problem::new(
            Code::BadName,
            format!("name `{}` has control characters", shorten(text)),
        )
        .help("names stand in logs and generated files: keep them to one line of text"));
    }
    if text.len() > MAX_NAME {
        return Err(Problem::new(
            Code::BadName,
            format!("the name has {} bytes; {MAX_NAME} is the most", text.len()),
        ));
    }
    Ok(text.to_owned())
}

/// Reads a host name (RFC 1123 §2.1); the value is lower case, without a trailing dot.
pub(in crate::policy) fn parse_host(text: &str) -> Result<String, Problem> {
    let bad = |why: &str| {
        Problem::new(
            Code::BadHost,
            format!("host name `{}` {why}", shorten(text)),
        )
    };
    if text.parse::<IpAddr>().is_ok() {
        return Err(bad("is an address").help("addresses belong under `addresses`"));
    }
    if text.contains('*') {
        return Err(bad("has a wildcard")
            .help("write each name: a wildcard would also capture names that stay internal"));
    }
    if let Some(host) = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
    {
        let host = host.split('/').next().unwrap_or_default();
        return Err(bad("is a URL").help(format!("write the name alone: \"{}\"", shorten(host))));
    }
    if let Some((name, port)) = text.split_once(':')
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(bad("has a port").help(format!("write the name alone: \"{}\"", shorten(name))));
    }
    if let Some((_, domain)) = text.split_once('@') {
        let meant = format!("did you mean \"{}\"?", shorten(domain));
        return Err(bad("has `@` in it").help(meant));
    }
    if text.starts_with('_') {
        return Err(bad("is a service name").help("service records belong under `srv`"));
    }
    let labels = read_labels(text).map_err(|why| bad(&why))?;
    if labels
        .last()
        .is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return Err(bad("ends in a number, as an address does"));
    }
    Ok(labels.join("."))
}

/// Reads the owner name of a service record, `_service._protocol.domain` (RFC 2782).
pub(in crate::policy) fn parse_service(text: &str) -> Result<String, Problem> {
    let bad = |why: &str| {
        Problem::new(
            Code::BadService,
            format!("service name `{}` {why}", shorten(text)),
        )
        .help("write _service._protocol.domain, e.g. \"_sip._tls.contoso.com\"")
    };
    let labels = read_labels(text).map_err(|why| bad(&why))?;
    let underscored = labels
        .iter()
        .take_while(|label| label.len() > 1 && label.starts_with('_'))
        .count();
    if underscored < 2 {
        return Err(bad("does not begin with _service._protocol"));
    }
    if labels.len() < 3 {
        return Err(bad("has no domain"));
    }
    Ok(labels.join("."))
}

/// Reads the name of a network interface; a `*` at its end stands for any rest.
pub(in crate::policy) fn parse_interface(text: &str) -> Result<String, Problem> {
    let bad = |why: &str| {
        Problem::new(
            Code::BadInterface,
            format!("interface name `{}` {why}", shorten(text)),
        )
    };
    if text.is_empty() || text == "." || text == ".." {
        return Err(bad("cannot exist").help("write it as `ip link` shows it, e.g. \"tun0\""));
    }
    if text == "*" {
        return Err(bad("matches every interface, the uplink too")
            .help("write the part the VPN daemon's interfaces share, e.g. \"vpns*\""));
    }
    // As iptables and ocserv write it.
    if let Some(stem) = text.strip_suffix('+').or(text.strip_suffix("%d")) {
        let meant = if stem.is_empty() { "tun" } else { stem };
        return Err(
            bad("is no pattern here").help(format!("did you mean \"{}*\"?", shorten(meant)))
        );
    }
    if text.contains(',') {
        let names = text.split(',').map(str::trim).filter(|it| !it.is_empty());
        let meant = names.collect::<Vec<_>>().join("\", \"");
        return Err(bad("is several names in one string")
            .help(format!("did you mean \"{}\"?", shorten(&meant))));
    }
    let stem = text.strip_suffix('*').unwrap_or(text);
    if stem.contains('*') {
        return Err(bad("has a `*` that is not at its end"));
    }
    if stem.contains(|char: char| {
        char.is_whitespace() || char.is_control() || matches!(char, '/' | ':' | '"')
    }) {
        return Err(bad("has characters that no interface name has")
            .help("write it as `ip link` shows it, e.g. \"tun0\""));
    }
    if stem.len() > MAX_INTERFACE {
        return Err(bad(&format!(
            "has {} bytes; Linux takes {MAX_INTERFACE}",
            stem.len()
        )));
    }
    Ok(text.to_owned())
}

/// Reads the name of one network interface that is to be made.
pub(in crate::policy) fn parse_device(text: &str) -> Result<String, Problem> {
    if text.ends_with('*') {
        return Err(Problem::new(
            Code::BadInterface,
            format!("device name `{}` has a `*`", shorten(text)),
        )
        .help("the filter makes one device of its own: name it, e.g. \"offramp0\""));
    }
    parse_interface(text)
}

/// The labels of a domain name in lower case, or why it is none (RFC 1035 §2.3.4).
fn read_labels(text: &str) -> Result<Vec<String>, String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if text.len() > MAX_HOST {
        return Err(format!("has {} bytes; {MAX_HOST} is the most", text.len()));
    }
    text.split('.').map(read_label).collect()
}

fn read_label(label: &str) -> Result<String, String> {
    if label.is_empty() {
        return Err("has an empty label between two dots".to_owned());
    }
    if label.len() > MAX_LABEL {
        return Err(format!(
            "has a label of {} bytes; {MAX_LABEL} is the most",
            label.len()
        ));
    }
    if !label.is_ascii() {
        return Err("is not ASCII; write its xn-- form".to_owned());
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if let Some(wrong) = label.bytes().find(|&byte| !allowed(byte)) {
        return Err(format!("has `{}` in it", char::from(wrong).escape_debug()));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err("has a label that begins or ends with a hyphen".to_owned());
    }
    Ok(label.to_ascii_lowercase())
}

/// Bytes of a rule's name: it stands in log lines and table columns.
const MAX_NAME: usize = 200;
/// RFC 1035 §2.3.4: 255 bytes on the wire are 253 as text.
const MAX_HOST: usize = 253;
/// RFC 1035 §2.3.4.
const MAX_LABEL: usize = 63;
/// Linux's IFNAMSIZ is 16, with the NUL at the end.
const MAX_INTERFACE: usize = 15;
