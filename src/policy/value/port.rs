//! Ports and port ranges as a policy writes them: `"N"` or `"LO-HI"`, both ends included.

use super::problem::Problem;
use crate::address::PortRange;
use crate::message::shorten;
use crate::policy::diagnostic::Code;

/// Reads `"N"` or `"LO-HI"`; port 0 is refused, no packet of a working application carries it.
pub(in crate::policy) fn parse_ports(text: &str) -> Result<PortRange, Problem> {
    let Some((first_text, last_text)) = text.split_once('-') else {
        return parse_port(text).map(PortRange::single);
    };
    if last_text.contains('-') {
        return Err(not_a_port(text));
    }
    let first = parse_port(first_text).map_err(|problem| within(text, problem))?;
    let last = parse_port(last_text).map_err(|problem| within(text, problem))?;
    PortRange::new(first, last).ok_or_else(|| {
        Problem::new(
            Code::PortOrder,
            format!("port range {first}-{last} is empty; did you mean {last}-{first}?"),
        )
        .label("the first port is above the last")
    })
}

/// Reads one port, 1 to 65535.
pub(in crate::policy) fn parse_port(text: &str) -> Result<u16, Problem> {
    let decimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !decimal {
        return Err(not_a_port(text));
    }
    let digits = text.trim_start_matches('0');
    if digits.is_empty() {
        return Err(Problem::new(
            Code::BadPort,
            "port 0 is refused; ports are 1 to 65535",
        ));
    }
    if digits.len() < text.len() {
        return Err(Problem::new(
            Code::LeadingZeros,
            format!(
                "port {} has leading zeros; did you mean {}?",
                shorten(text),
                shorten(digits)
            ),
        ));
    }
    digits.parse().map_err(|_| {
        Problem::new(
            Code::BadPort,
            format!("port {} is above 65535", shorten(text)),
        )
    })
}

fn within(text: &str, problem: Problem) -> Problem {
    if problem.message.contains("is not a port") {
        not_a_port(text)
    } else {
        problem
    }
}

fn not_a_port(text: &str) -> Problem {
    let problem = Problem::new(
        Code::BadPort,
        format!("`{}` is not a port or a range of ports", shorten(text)),
    );
    if matches!(text, "any" | "all" | "*") {
        return problem.help("for every port write \"1-65535\"");
    }
    if let Some((port, protocol @ ("tcp" | "udp"))) = text.split_once('/')
        && let Some(meant) = tidied(port)
    {
        return problem.help(format!(
            "did you mean \"{meant}\", and `protocols = [\"{protocol}\"]`?"
        ));
    }
    match tidied(text)
        .or_else(|| several(text))
        .or_else(|| open_ended(text))
    {
        Some(meant) => problem.help(format!("did you mean \"{meant}\"?")),
        None => problem.help("write \"N\" or \"LO-HI\", e.g. \"3389\" or \"1024-65535\""),
    }
}

/// The range that one without an end means: `1024-`, `1024+`, `>1023`, `>=1024`.
fn open_ended(text: &str) -> Option<String> {
    let text = text.replace(' ', "");
    let first = if let Some(first) = text
        .strip_suffix(['-', '+', ':'])
        .or(text.strip_prefix(">="))
    {
        first.parse::<u16>().ok()?
    } else {
        text.strip_prefix('>')?
            .parse::<u16>()
            .ok()?
            .checked_add(1)?
    };
    (first > 0).then(|| format!("{first}-65535"))
}

/// The entries that several ports in one string mean: `1433,1434` is `1433", "1434`.
fn several(text: &str) -> Option<String> {
    let parts = text.split([',', ';', ' ']).filter(|part| !part.is_empty());
    let parts: Option<Vec<String>> = parts.map(tidied).collect();
    parts.filter(|it| it.len() > 1).map(|it| it.join("\", \""))
}

/// The range that a differently written one means: `1024 - 65535`, `1024:65535`, `1024..65535`, `tcp/3389`.
fn tidied(text: &str) -> Option<String> {
    let mut text: String = text.chars().filter(|char| !char.is_whitespace()).collect();
    for protocol in ["tcp/", "udp/"] {
        if let Some(rest) = text.strip_prefix(protocol) {
            text = rest.to_owned();
        }
    }
    let text = text.replace("..", "-").replace([':', '\u{2013}'], "-");
    let all = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let valid = match text.split_once('-') {
        Some((first, last)) => {
            all(first) && all(last) && first.parse::<u16>().ok()? <= last.parse::<u16>().ok()?
        }
        None => all(&text) && text.parse::<u16>().is_ok(),
    };
    valid.then_some(text)
}
