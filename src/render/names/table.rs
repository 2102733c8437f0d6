//! [`NameTable`]: the answers that a file gives, to compare it with a policy whatever its lines look like.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::Shape;
use crate::message::shorten;
use crate::name::DnsName;
use crate::plan::Zones;
use crate::render::ReadError;

/// The answer for each name.
pub(in crate::render) type NameTable = BTreeMap<DnsName, NameAnswer>;

/// The answer for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::render) enum NameAnswer {
    /// It has these records, each as type and data, and no others.
    Records(BTreeSet<String>),
    /// It has no data.
    NoData,
    /// It does not exist.
    NoSuchName,
}

impl fmt::Display for NameAnswer {
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

/// The answers that a file must give; `lists_names_below`: a hidden name has an entry of its own for those below it.
pub(super) fn of(zones: &Zones, lists_names_below: bool) -> NameTable {
    let mut table = NameTable::new();
    for owner in zones.owners() {
        let shape = Shape::of(zones, owner);
        let answer = match shape {
            Shape::Pinned(records) => {
                let v4 = records.ipv4.iter().map(|it| format!("A {it}"));
                let v6 = records.ipv6.iter().map(|it| format!("AAAA {it}"));
                let srv = records.srv.iter().map(|it| format!("SRV {it}"));
                NameAnswer::Records(v4.chain(v6).chain(srv).collect())
            }
            Shape::Empty | Shape::HiddenBelow => NameAnswer::NoData,
            Shape::Hidden => NameAnswer::NoSuchName,
        };
        table.insert(owner.name, answer);
        let hides_below = matches!(shape, Shape::Hidden | Shape::HiddenBelow);
        if lists_names_below
            && hides_below
            && let Ok(below) = format!("*.{}", owner.name).parse()
        {
            table.insert(below, NameAnswer::NoSuchName);
        }
    }
    table
}

/// Records of a file, by their owner.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) by_name: BTreeMap<DnsName, BTreeSet<String>>,
    /// Owners of a start of authority.
    pub(super) authorities: BTreeSet<DnsName>,
}

impl Records {
    /// Adds the record of a line, which begins with its owner unless that is given.
    pub(super) fn add(
        &mut self,
        line: usize,
        owner: Option<&str>,
        text: &str,
    ) -> Result<(), ReadError> {
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

pub(super) fn read_name(line: usize, text: Option<&str>) -> Result<DnsName, ReadError> {
    let text = text.unwrap_or_default();
    text.parse()
        .map_err(|error| ReadError::new(line, format!("`{}` is no name: {error}", shorten(text))))
}
