//! The sections of a policy, a file for each: its types, the table of its keys, its reader and its printer.
//!
//! To add a key: declare it as a constant beside the others, list it in the section's table, read it in `read`, write it in
//! `write`. Messages, did-you-mean and `docs/policy.md` follow from the table.

pub(in crate::policy) mod accept;
pub(in crate::policy) mod allow;
pub(in crate::policy) mod corporate;
pub(in crate::policy) mod dns;
pub(in crate::policy) mod endpoint;
pub(in crate::policy) mod feed;
pub(in crate::policy) mod filter;
pub(in crate::policy) mod gateway;
pub(in crate::policy) mod media;
pub(in crate::policy) mod profile;
pub(in crate::policy) mod public;
pub(in crate::policy) mod routes;
pub(in crate::policy) mod server;
pub(in crate::policy) mod test;
pub(in crate::policy) mod vpn;

use toml::de::DeValue;

use crate::message::shorten;
use crate::policy::diagnostic::{Code, Collector, Diagnostic};
use crate::policy::syntax::{Header, PolicyFile, SectionTable, is_array_of_tables};
use crate::policy::value::nearest;

/// Every section, in the order in which a policy is printed and explained.
pub(in crate::policy) const SECTIONS: &[&SectionTable] = &[
    &vpn::SECTION,
    &corporate::SECTION,
    &media::SECTION,
    &filter::SECTION,
    &server::SECTION,
    &allow::SECTION,
    &public::SECTION,
    &feed::SECTION,
    &profile::SECTION,
    &routes::SECTION,
    &dns::SECTION,
    &gateway::SECTION,
    &endpoint::SECTION,
    &test::SECTION,
    &accept::SECTION,
];

/// Reports whatever stands at the top of a file and is no section.
pub(in crate::policy) fn check_sections(file: &PolicyFile<'_>, out: &mut Collector<'_>) {
    let known: Vec<_> = SECTIONS.iter().map(|section| section.name).collect();
    let titles: Vec<_> = SECTIONS.iter().map(|section| section.title()).collect();
    for (key, value) in file
        .root()
        .iter()
        .filter(|(key, _)| !known.contains(&key.get_ref().as_ref()))
    {
        let name = shorten(key.get_ref());
        let is_table = matches!(value.get_ref(), DeValue::Table(_)) || is_array_of_tables(value);
        let (code, message) = if is_table {
            let meant = nearest(key.get_ref(), &known);
            let meant = meant.and_then(|meant| SECTIONS.iter().find(|it| it.name == meant));
            let message = match meant {
                Some(meant) => {
                    format!("unknown section `{name}`; did you mean {}?", meant.title())
                }
                None => format!("unknown section `{name}`"),
            };
            (Code::UnknownSection, message)
        } else {
            let message = match home_of(key.get_ref()) {
                Some(home) => format!(
                    "`{name}` stands before any section; did you mean it in {}?",
                    home.title()
                ),
                None => format!("unknown key `{name}` before any section"),
            };
            (Code::UnknownKey, message)
        };
        let label = out.text.label(key.span(), "");
        let problem = Diagnostic::error(code, message).with_label(label);
        out.add(problem.with_help(format!("a policy has the sections {}", titles.join(", "))));
    }
}

/// The title of the section, of those that stand once, that a key belongs to.
pub(in crate::policy) fn title_of_home(key: &str) -> Option<String> {
    home_of(key).map(SectionTable::title)
}

/// The section, of those that stand once, that a key belongs to.
fn home_of(key: &str) -> Option<&'static SectionTable> {
    let mut single = SECTIONS
        .iter()
        .filter(|section| section.header == Header::Single);
    single
        .find(|section| section.names().contains(&key))
        .copied()
}
