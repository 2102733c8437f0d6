//! [`Said`]: what a file says of names, to compare it with a policy whatever its lines look like.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{NameTarget, Shape};
use crate::name::DnsName;
use crate::plan::Zones;
use crate::render::ReadError;
use crate::render::pushed::{code_lines, shorten};

/// What is said of each name.
pub(super) type Said = BTreeMap<DnsName, Saying>;

/// What is said of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Saying {
    /// It has these records, each as type and data, and no others.
    Records(BTreeSet<String>),
    /// It has no data.
    NoData,
    /// It does not exist.
    NoSuchName,
}

impl fmt::Display for Saying {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Records(records) => {
                let records: Vec<_> = records.iter().map(String::as_str).collect();
                out.write_str(&records.join(", "))
            }
            Self::NoData => out.write_str("no data"),
            Self::NoSuchName => out.write_str("no such name"),
        }
    }
}

/// What a file for `target` has to say of the names of a policy.
pub(super) fn of(target: NameTarget, zones: &Zones) -> Said {
    let mut said = Said::new();
    for owner in zones.owners() {
        let shape = Shape::of(zones, owner);
        let saying = match shape {
            Shape::Pinned(records) => {
                let v4 = records.ipv4.iter().map(|it| format!("A {it}"));
                let v6 = records.ipv6.iter().map(|it| format!("AAAA {it}"));
                let srv = records.srv.iter().map(|it| format!("SRV {it}"));
                Saying::Records(v4.chain(v6).chain(srv).collect())
            }
            Shape::Empty | Shape::HiddenBelow => Saying::NoData,
            Shape::Hidden => Saying::NoSuchName,
        };
        said.insert(owner.name, saying);
        // Only a policy zone says apart what is below.
        let hides_below = matches!(shape, Shape::Hidden | Shape::HiddenBelow);
        if target == NameTarget::Rpz
            && hides_below
            && let Ok(below) = format!("*.{}", owner.name).parse()
        {
            said.insert(below, Saying::NoSuchName);
        }
    }
    said
}

/// What the text of a file for `target` says; `None` for targets whose files are not read.
pub(super) fn read(target: NameTarget, text: &str) -> Option<Result<Said, ReadError>> {
    match target {
        NameTarget::Unbound => Some(read_unbound(text)),
        NameTarget::Rpz => Some(read_rpz(text)),
        NameTarget::Dnsmasq => Some(read_dnsmasq(text)),
        NameTarget::Bind
        | NameTarget::WindowsDnscmd
        | NameTarget::WindowsDns
        | NameTarget::WindowsDnsPolicy
        | NameTarget::WindowsNrpt => None,
    }
}

/// `local-zone` and `local-data`; what else there is does not bear on names.
fn read_unbound(text: &str) -> Result<Said, ReadError> {
    let mut zones: Vec<(usize, DnsName, String)> = Vec::new();
    let mut records = Records::default();
    for (number, line) in code_lines(text, &['#']) {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.replace('"', " ");
        let mut words = value.split_whitespace();
        match key.trim() {
            "local-zone" => {
                let name = read_name(number, words.next())?;
                zones.push((number, name, words.next().unwrap_or_default().to_owned()));
            }
            "local-data" => records.add(number, None, &value)?,
            _ => {}
        }
    }
    let mut said = Said::new();
    for (number, name, kind) in zones {
        let has_authority = records.authorities.contains(&name);
        let saying = match (records.by_name.remove(&name), kind.as_str()) {
            (Some(records), "transparent" | "static") => Saying::Records(records),
            (None, "transparent" | "always_nodata") => Saying::NoData,
            (None, "static") if has_authority => Saying::NoData,
            (None, "static" | "always_nxdomain") => Saying::NoSuchName,
            (Some(_) | None, kind) => {
                let kind = shorten(kind);
                let message = format!("a zone {name} of the type `{kind}` answers in another way");
                return Err(ReadError::new(number, message));
            }
        };
        said.insert(name, saying);
    }
    // Data without a zone of its own name leaves the other types to the upstream.
    match records.by_name.into_iter().next() {
        None => Ok(said),
        Some((name, _)) => Err(ReadError::new(
            1,
            format!("{name} has data and no zone: its other types would be forwarded"),
        )),
    }
}

fn read_rpz(text: &str) -> Result<Said, ReadError> {
    let mut said = Said::new();
    let mut records = Records::default();
    let lines = code_lines(text, &[';']);
    for (number, line) in lines.filter(|(_, line)| !line.starts_with(['$', '@'])) {
        let target = line.split_once("CNAME").map(|(_, target)| target.trim());
        let saying = match target {
            Some(".") => Saying::NoSuchName,
            Some("*.") => Saying::NoData,
            Some(_) | None => {
                records.add(number, None, line)?;
                continue;
            }
        };
        said.insert(read_name(number, line.split_whitespace().next())?, saying);
    }
    let records = records.by_name.into_iter();
    said.extend(records.map(|(name, records)| (name, Saying::Records(records))));
    Ok(said)
}

fn read_dnsmasq(text: &str) -> Result<Said, ReadError> {
    let mut local = Vec::new();
    let mut given_back = BTreeSet::new();
    let mut records = Records::default();
    for (number, line) in code_lines(text, &[]).filter(|(_, line)| !line.starts_with('#')) {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let domain = value
            .strip_prefix('/')
            .and_then(|rest| rest.split_once('/'));
        let parts: Vec<&str> = value.split(',').collect();
        match (key, domain, &parts[..]) {
            ("local", Some((name, "")), _) => local.push(read_name(number, Some(name))?),
            ("address", Some((name, "")), _) => local.push(read_name(number, Some(name))?),
            ("server", Some((name, "#")), _) => {
                let name = name.strip_prefix("*.").unwrap_or(name);
                given_back.insert(read_name(number, Some(name))?);
            }
            ("host-record", _, [name, addresses @ ..]) => {
                for address in addresses {
                    let kind = if address.contains(':') { "AAAA" } else { "A" };
                    records.add(number, Some(name), &format!("{kind} {address}"))?;
                }
            }
            ("srv-host", _, [name, target, port, priority, weight]) => {
                let data = format!("SRV {priority} {weight} {port} {target}");
                records.add(number, Some(name), &data)?;
            }
            ("host-record" | "srv-host", _, _) => {
                return Err(ReadError::new(
                    number,
                    format!("`{}` is incomplete", shorten(line)),
                ));
            }
            _ => {}
        }
    }
    let pinned: Vec<DnsName> = records.by_name.keys().copied().collect();
    let mut said = Said::new();
    for name in local {
        let exists = given_back.contains(&name) || pinned.iter().any(|it| it.is_below(&name));
        let saying = match records.by_name.remove(&name) {
            Some(records) => Saying::Records(records),
            None if exists => Saying::NoData,
            None => Saying::NoSuchName,
        };
        said.insert(name, saying);
    }
    match records.by_name.into_iter().next() {
        None => Ok(said),
        Some((name, _)) => Err(ReadError::new(
            1,
            format!(
                "{name} has records and no `local=/{name}/`: its other types would be forwarded"
            ),
        )),
    }
}

/// Records of a file, by their owner.
#[derive(Debug, Default)]
struct Records {
    by_name: BTreeMap<DnsName, BTreeSet<String>>,
    /// Owners of a start of authority.
    authorities: BTreeSet<DnsName>,
}

impl Records {
    /// Adds the record of a line, which begins with its owner unless that is given.
    fn add(&mut self, line: usize, owner: Option<&str>, text: &str) -> Result<(), ReadError> {
        let mut words = text.split_whitespace();
        let owner = read_name(line, owner.or_else(|| words.next()))?;
        let is_ttl = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
        let mut words = words.skip_while(|word| is_ttl(word) || *word == "IN");
        let wrong = || ReadError::new(line, format!("`{}` is no record", shorten(text.trim())));
        let record_type = words.next().ok_or_else(wrong)?;
        let data: Vec<&str> = words.collect();
        let data = data.join(" ").to_ascii_lowercase();
        if data.is_empty() {
            return Err(wrong());
        }
        if record_type == "SOA" {
            self.authorities.insert(owner);
            return Ok(());
        }
        let data = data.strip_suffix('.').unwrap_or(&data);
        let records = self.by_name.entry(owner).or_default();
        records.insert(format!("{record_type} {data}"));
        Ok(())
    }
}

fn read_name(line: usize, text: Option<&str>) -> Result<DnsName, ReadError> {
    let text = text.unwrap_or_default();
    text.parse()
        .map_err(|error| ReadError::new(line, format!("`{}` is no name: {error}", shorten(text))))
}
