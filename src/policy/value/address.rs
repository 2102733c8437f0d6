//! Addresses, prefixes and sockets as a policy writes them: strictly, so that no typing error becomes a wrong network.
//!
//! `ipnet` alone would take `172.16.1.0/8` (16.7 million addresses, Google's among them) and `010.0.0.0/08`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::port::parse_port;
use super::problem::Problem;
use crate::message::shorten;
use crate::policy::diagnostic::Code;

/// Reads an address or a prefix; an address alone is the prefix that holds only it.
pub(in crate::policy) fn parse_prefix(text: &str) -> Result<IpNet, Problem> {
    if let Some(problem) = written_otherwise(text) {
        return Err(problem);
    }
    let (address_text, length_text) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address = read_address(address_text).map_err(|fault| prefix_problem(text, fault))?;
    let widest = address_width(address);
    let length = match length_text {
        None => widest,
        Some(length) => read_length(text, address, length)?,
    };
    if let Some(embedded) = mapped(address) {
        return Err(mapped_problem(
            text,
            "prefix",
            embedded,
            length_text.map(|_| length),
        ));
    }
    // `read_length` bounds the length by the family.
    let prefix = IpNet::new(address, length).map_err(|_| length_problem(text, address))?;
    if prefix.trunc() != prefix {
        return Err(host_bits_problem(prefix));
    }
    Ok(prefix)
}

/// Prefixes as other programs write them: several in one string, with a netmask behind a space, with `*` for octets, in brackets.
fn written_otherwise(text: &str) -> Option<Problem> {
    let tidied = |text: &str| -> Option<String> {
        let strict = |text: &str| text.parse::<IpNet>().ok().filter(|it| it.trunc() == *it);
        if let Some((address, mask)) = text.split_once(' ') {
            let mask: Ipv4Addr = mask.trim().parse().ok()?;
            let length = u32::from(mask).leading_ones();
            return strict(&format!("{address}/{length}")).map(|it| it.to_string());
        }
        if let Some(octets) = text.strip_suffix(".*") {
            let octets = octets.trim_end_matches(".*");
            let count = octets.split('.').count();
            let zeros = ".0".repeat(4_usize.checked_sub(count)?);
            return strict(&format!("{octets}{zeros}/{}", count * 8)).map(|it| it.to_string());
        }
        let plain = text.replace(['[', ']'], "");
        let meant = strict(&plain).map(|it| it.to_string());
        meant.or_else(|| plain.parse::<IpAddr>().ok().map(|it| it.to_string()))
    };
    let problem = |message: &str, meant: &str| {
        let message = format!("`{}` {message}", shorten(text));
        Some(Problem::new(Code::BadPrefix, message).help(format!("did you mean \"{meant}\"?")))
    };
    let parts = text.split([',', ';']).map(str::trim);
    let several: Option<Vec<String>> = parts.filter(|part| !part.is_empty()).map(tidied).collect();
    match several {
        Some(several) if several.len() > 1 => {
            return problem("is several values in one string", &several.join("\", \""));
        }
        Some(_) | None => {}
    }
    if !text.contains([' ', '*', '[']) || text.trim() != text {
        return None;
    }
    problem("is not a prefix", &tidied(text)?)
}

/// Reads one address.
pub(in crate::policy) fn parse_address(text: &str) -> Result<IpAddr, Problem> {
    if let Some((address, length)) = text.split_once('/')
        && read_address(address).is_ok()
    {
        let problem = Problem::new(
            Code::BadAddress,
            format!(
                "`{}` is a prefix; one address is wanted here",
                shorten(text)
            ),
        );
        let whole = length == "32" || length == "128";
        return Err(if whole {
            problem.help(format!("write \"{address}\""))
        } else {
            problem.help("write each address")
        });
    }
    let address = read_address(text).map_err(|fault| address_problem(text, fault))?;
    match mapped(address) {
        Some(embedded) => Err(mapped_problem(text, "address", embedded, None)),
        None => Ok(address),
    }
}

/// Reads `A:PORT` or `[A]:PORT`; the port is required and not 0.
pub(in crate::policy) fn parse_socket(text: &str) -> Result<SocketAddr, Problem> {
    let (address, port) = parse_endpoint(text)?;
    match port {
        Some(port) => Ok(SocketAddr::new(address, port)),
        None => {
            let problem =
                Problem::new(Code::BadAddress, format!("`{}` has no port", shorten(text)));
            let example = SocketAddr::new(address, 53);
            Err(match without_brackets(text) {
                Some(meant) => problem.help(format!(
                    "did you mean \"{meant}\"? Else write the port behind the bracket, e.g. \"{example}\""
                )),
                None => problem.help(format!("write the port, e.g. \"{example}\"")),
            })
        }
    }
}

/// The IPv6 address and port that `2001:db8::1:53` may mean, which is an address as it stands.
fn without_brackets(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.rsplit_once(':')?;
    let address: Ipv6Addr = address.parse().ok()?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    Some(SocketAddr::new(address.into(), port))
}

/// Reads `A`, `A:PORT` or `[A]:PORT`.
pub(in crate::policy) fn parse_endpoint(text: &str) -> Result<(IpAddr, Option<u16>), Problem> {
    if let Ok(address) = read_address(text) {
        return parse_address(text).map(|_| (address, None));
    }
    let (address, port) = if let Some(rest) = text.strip_prefix('[') {
        match rest.split_once(']') {
            Some((address, "")) => (address, None),
            Some((address, port)) if port.starts_with(':') => (address, Some(&port[1..])),
            _ => return Err(endpoint_problem(text)),
        }
    } else {
        match text.rsplit_once(':') {
            Some((address, _)) if address.contains(':') => return Err(endpoint_problem(text)),
            Some((address, port)) => (address, Some(port)),
            None => (text, None),
        }
    };
    if let Some(problem) = no_address(text, address, port) {
        return Err(problem);
    }
    let address = parse_address(address)?;
    if text.starts_with('[') != address.is_ipv6() {
        return Err(endpoint_problem(text));
    }
    Ok((address, port.map(parse_port).transpose()?))
}

/// Words that other programs take in place of an address before a port: nothing, `*`, `localhost`.
fn no_address(text: &str, address: &str, port: Option<&str>) -> Option<Problem> {
    let (message, meant) = match address {
        "" => ("has no address", "127.0.0.1"),
        "localhost" => ("names a host", "127.0.0.1"),
        "*" => ("names every address", "0.0.0.0"),
        _ => return None,
    };
    let port = port.map_or_else(String::new, |port| format!(":{}", shorten(port)));
    let problem = Problem::new(Code::BadAddress, format!("`{}` {message}", shorten(text)));
    Some(problem.help(format!("write \"{meant}{port}\"")))
}

/// The mistake that keeps a text from being an address.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    /// Octets with leading zeros; the address they most likely mean.
    LeadingZeros(Option<Ipv4Addr>),
    /// Spaces around the value.
    Spaces(IpAddr),
    /// `fe80::1%eth0`.
    Zone,
    /// Fewer than four octets; the address with the missing ones as 0, and how many there were.
    Short(Ipv4Addr, u8),
    /// Something else.
    Other,
}

fn read_address(text: &str) -> Result<IpAddr, Fault> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Ok(address) = text.trim().parse() {
        return Err(Fault::Spaces(address));
    }
    if let Some((address, _)) = text.split_once('%')
        && address.parse::<Ipv6Addr>().is_ok()
    {
        return Err(Fault::Zone);
    }
    Err(read_octets(text).unwrap_or(Fault::Other))
}

/// Describes the mistake in a dotted text that `Ipv4Addr` refuses.
fn read_octets(text: &str) -> Option<Fault> {
    let mut octets = [0_u8; 4];
    let mut zeros = false;
    let mut count = 0_u8;
    for part in text.split('.') {
        let digits =
            !part.is_empty() && part.len() <= 16 && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || count == 4 {
            return None;
        }
        zeros |= part.len() > 1 && part.starts_with('0');
        let value = part.trim_start_matches('0');
        octets[usize::from(count)] = if value.is_empty() {
            0
        } else {
            value.parse().ok()?
        };
        count += 1;
    }
    match (zeros, count) {
        (true, 4) => Some(Fault::LeadingZeros(Some(octets.into()))),
        (true, _) => Some(Fault::LeadingZeros(None)),
        (false, 1..=3) => Some(Fault::Short(octets.into(), count)),
        (false, _) => None,
    }
}

fn read_length(text: &str, address: IpAddr, length: &str) -> Result<u8, Problem> {
    let decimal = !length.is_empty()
        && length.len() <= 16
        && length.bytes().all(|byte| byte.is_ascii_digit());
    if decimal && length.len() > 1 && length.starts_with('0') {
        let meant = length.trim_start_matches('0');
        let meant = if meant.is_empty() { "0" } else { meant };
        let address = address_part(text);
        return Err(Problem::new(
            Code::LeadingZeros,
            format!(
                "prefix {} has leading zeros; did you mean {address}/{meant}?",
                shorten(text)
            ),
        ));
    }
    if let (IpAddr::V4(_), Ok(mask)) = (address, length.parse::<Ipv4Addr>()) {
        return Err(netmask_problem(text, mask));
    }
    let value = if decimal {
        length.parse::<u8>().ok()
    } else {
        None
    };
    value
        .filter(|&value| value <= address_width(address))
        .ok_or_else(|| length_problem(text, address))
}

const fn address_width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn address_part(text: &str) -> &str {
    text.split_once('/').map_or(text, |(address, _)| address)
}

/// The IPv4 address inside an IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2).
fn mapped(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => address.to_ipv4_mapped(),
    }
}

fn mapped_problem(text: &str, what: &str, embedded: Ipv4Addr, length: Option<u8>) -> Problem {
    let meant = match length {
        Some(length @ 96..) => format!("{embedded}/{}", length - 96),
        Some(_) | None => embedded.to_string(),
    };
    Problem::new(
        Code::MappedAddress,
        format!(
            "{what} {} is an IPv4 one written as IPv6; write {meant}",
            shorten(text)
        ),
    )
    .help("packets carry the IPv4 address itself, which this would never match")
}

fn netmask_problem(text: &str, mask: Ipv4Addr) -> Problem {
    let bits = u32::from(mask);
    let problem = Problem::new(
        Code::BadPrefix,
        format!("prefix {} has a netmask; write its length", shorten(text)),
    );
    let address = address_part(text);
    if bits.leading_ones() + bits.trailing_zeros() >= 32 {
        problem.help(format!("did you mean {address}/{}?", bits.leading_ones()))
    } else if (!bits).leading_ones() + (!bits).trailing_zeros() >= 32 {
        problem.help(format!("did you mean {address}/{}?", bits.leading_zeros()))
    } else {
        problem
    }
}

fn length_problem(text: &str, address: IpAddr) -> Problem {
    let (family, widest) = match address {
        IpAddr::V4(_) => ("IPv4", 32),
        IpAddr::V6(_) => ("IPv6", 128),
    };
    Problem::new(
        Code::BadPrefix,
        format!(
            "prefix {} has no valid length; {family} takes /0 to /{widest}",
            shorten(text)
        ),
    )
}

/// Both readings of a prefix with host bits: the network that keeps the address, and the one that keeps the length.
fn host_bits_problem(prefix: IpNet) -> Problem {
    let keeps_address = match prefix.addr() {
        IpAddr::V4(address) => {
            // 172.16.1.0 is /24, 10.1.0.0 is /16: networks end on octets by custom where the last octet is 0.
            let exact = 32 - u32::from(address).trailing_zeros();
            if exact <= 24 {
                exact.next_multiple_of(8)
            } else if exact == 31 {
                // Nobody routes a pair of hosts to VPN clients: an even host address is one host.
                32
            } else {
                exact
            }
        }
        IpAddr::V6(address) => (128 - u128::from(address).trailing_zeros()).next_multiple_of(16),
    };
    Problem::new(
        Code::HostBits,
        format!(
            "prefix {prefix} has host bits set; did you mean {}/{keeps_address} or {}?",
            prefix.addr(),
            prefix.trunc(),
        ),
    )
    .label(format!("bits set beyond /{}", prefix.prefix_len()))
}

fn prefix_problem(text: &str, fault: Fault) -> Problem {
    let length = text.split_once('/').map(|(_, length)| length);
    if let Fault::Short(address, octets) = fault {
        let length = length.map_or_else(|| (octets * 8).to_string(), str::to_owned);
        return Problem::new(
            Code::BadPrefix,
            format!(
                "prefix {} has {octets} of 4 octets; did you mean {address}/{length}?",
                shorten(text)
            ),
        );
    }
    if length.is_none() {
        return address_problem(text, fault);
    }
    let length = length.unwrap_or_default();
    match fault {
        Fault::LeadingZeros(Some(meant)) => {
            let length = length.trim_start_matches('0');
            let length = if length.is_empty() { "0" } else { length };
            Problem::new(
                Code::LeadingZeros,
                format!(
                    "prefix {} has leading zeros; did you mean {meant}/{length}?",
                    shorten(text)
                ),
            )
            .help("some programs read a leading zero as octal: 010 would be 8")
        }
        Fault::Spaces(address) => Problem::new(
            Code::BadPrefix,
            format!(
                "prefix `{}` has spaces; did you mean {address}/{}?",
                shorten(text),
                length.trim()
            ),
        ),
        Fault::Zone => zone_problem(text),
        Fault::LeadingZeros(None) | Fault::Short(..) | Fault::Other => Problem::new(
            Code::BadPrefix,
            format!("`{}` is not a prefix", shorten(text)),
        )
        .help("write an address and a length, e.g. \"10.0.0.0/8\" or \"2001:db8::/32\""),
    }
}

fn address_problem(text: &str, fault: Fault) -> Problem {
    match fault {
        Fault::LeadingZeros(Some(meant)) => Problem::new(
            Code::LeadingZeros,
            format!(
                "address {} has leading zeros; did you mean {meant}?",
                shorten(text)
            ),
        )
        .help("some programs read a leading zero as octal: 010 would be 8"),
        Fault::Spaces(address) => Problem::new(
            Code::BadAddress,
            format!(
                "address `{}` has spaces; did you mean {address}?",
                shorten(text)
            ),
        ),
        Fault::Zone => zone_problem(text),
        Fault::LeadingZeros(None) | Fault::Short(..) | Fault::Other => {
            let problem = Problem::new(
                Code::BadAddress,
                format!("`{}` is not an address", shorten(text)),
            );
            match what_instead(text) {
                Some(help) => problem.help(help),
                None => problem
                    .help("write an IPv4 or IPv6 address, e.g. \"10.1.0.10\" or \"2001:db8::10\""),
            }
        }
    }
}

/// Advice for texts that are something else.
fn what_instead(text: &str) -> Option<String> {
    let written = |advice: &str| Some(advice.to_owned());
    let is_name = text.contains('.')
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && !text.contains(':');
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Some(format!("no port stands here: write \"{}\"", socket.ip()));
    }
    if matches!(text, "any" | "all" | "*") {
        return written("write the prefixes that are meant, e.g. those of `corporate.subnets`");
    }
    if let Some((first, last)) = text.split_once('-')
        && read_address(first.trim()).is_ok()
        && !last.is_empty()
    {
        return written("ranges are not taken: write the prefixes that make up the range");
    }
    if is_name {
        return written(
            "names are not looked up: write the addresses, and the name under `hosts` where the rule has it",
        );
    }
    None
}

fn zone_problem(text: &str) -> Problem {
    Problem::new(
        Code::BadAddress,
        format!(
            "`{}` has a zone; packets from a VPN carry none",
            shorten(text)
        ),
    )
    .help("write the address without `%` and what follows")
}

fn endpoint_problem(text: &str) -> Problem {
    Problem::new(
        Code::BadAddress,
        format!(
            "`{}` is not an address with or without a port",
            shorten(text)
        ),
    )
    .help("write \"10.0.0.1\", \"10.0.0.1:5061\", \"2001:db8::1\" or \"[2001:db8::1]:5061\"")
}
