//! [`Site`]: what one gateway of a fleet adds to the policy that all of them share.
//!
//! ```text
//!  site file       [fleet] ──▶ FleetOptions: where releases come from
//!                  [vpn] [gateway] dns.listen ─┐
//!  fleet's policy  everything else ────────────┴──▶ one policy file, as any other program reads it
//! ```
//!
//! A table that both have is a mistake, and the message has both lines: neither overrides the other, so whoever reads one of the two
//! files knows what holds.

mod fleet;

use std::fmt::Write as _;

use toml::de::{DeTable, DeValue};

use super::diagnostic::{Code, Collector, Diagnostic, Diagnostics, SourceText};
use super::section::{SECTIONS, dns, gateway, vpn};
use super::syntax::encoding::{Decoded, decode};
use super::syntax::{Header, PolicyFile, Section, SectionTable, file, recovery};
use crate::message::shorten;

pub use fleet::{FleetAccess, FleetOptions, FleetSource, is_word};

/// The part of a policy that one gateway of a fleet adds.
#[derive(Debug, Clone)]
pub struct Site {
    origin: String,
    source: String,
    /// `[fleet]`; `None` where the file has none, and then it is fit to check policies with.
    pub fleet: Option<FleetOptions>,
    /// `[vpn]` and `[gateway]`.
    tables: Vec<SiteTable>,
    /// The value of `dns.listen` as the file has it.
    listen: Option<Part>,
}

/// A table that goes into the policy.
#[derive(Debug, Clone)]
struct SiteTable {
    name: &'static str,
    /// Bytes of its header.
    span: std::ops::Range<usize>,
    /// Its keys and values as TOML.
    text: String,
}

/// A part of the site file.
#[derive(Debug, Clone)]
struct Part {
    span: std::ops::Range<usize>,
    text: String,
}

/// `[dns]` of a site file has this key alone; the rest is the fleet's.
const SITE_DNS: SectionTable = SectionTable {
    name: "dns",
    header: Header::Single,
    meaning: "",
    keys: &[dns::LISTEN],
    examples: &[],
};

/// The tables that go into the policy as they are.
const SITE_TABLES: [&SectionTable; 2] = [&vpn::SECTION, &gateway::SECTION];

impl Site {
    /// Reads the site file `text`; `origin` names it in messages.
    ///
    /// # Errors
    /// Every mistake of the file.
    pub fn parse(origin: &str, text: &[u8]) -> Result<Self, Diagnostics> {
        let Decoded {
            text,
            problems,
            is_readable,
        } = decode(text);
        let mut out = Collector::new(&text);
        problems.into_iter().for_each(|problem| out.add(problem));
        let site = match is_readable {
            true => Self::read(origin, &text, &mut out),
            false => None,
        };
        match site {
            Some(site) if !out.has_errors() => Ok(site),
            Some(_) | None => Err(out.finish(origin)),
        }
    }

    fn read(origin: &str, text: &SourceText<'_>, out: &mut Collector<'_>) -> Option<Self> {
        let source = text.as_str();
        let parsed = match PolicyFile::parse(source) {
            Ok(parsed) => parsed,
            Err(error) => {
                let (_, errors) = recovery::recover(source, &error);
                errors
                    .iter()
                    .for_each(|it| out.add(file::report(it, source, text)));
                return None;
            }
        };
        check_sections(&parsed, out);
        let fleet = fleet::read(&parsed, out);
        // Their values are checked here, where a message has the line of this file.
        if parsed.root().contains_key(vpn::SECTION.name) {
            vpn::read(&parsed, out);
        }
        gateway::read(&parsed, out);
        if let Some(section) = Section::single(&parsed, &SITE_DNS, out) {
            dns::read_listen(&section, out);
        }
        let tables = SITE_TABLES.into_iter().filter_map(|section| {
            let value = parsed.root().get(section.name)?;
            Some(SiteTable {
                name: section.name,
                span: value.span(),
                text: lines(value.get_ref().as_table()?, source),
            })
        });
        let dns = parsed.root().get("dns");
        let listen = dns.and_then(|dns| dns.get_ref().as_table()?.get("listen"));
        Some(Self {
            origin: origin.to_owned(),
            source: source.to_owned(),
            fleet,
            tables: tables.collect(),
            listen: listen.map(|value| Part {
                span: value.span(),
                text: source[value.span()].to_owned(),
            }),
        })
    }

    /// Name of the file.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns the policy file that consists of the fleet's `policy` and what this site adds; `headline` is its first line, a
    /// comment. `origin` names the fleet's policy in messages.
    ///
    /// # Errors
    /// Tables that both have, about the lines of this file; or what is not TOML in the fleet's policy.
    pub fn complete(
        &self,
        origin: &str,
        policy: &[u8],
        headline: &str,
    ) -> Result<String, Diagnostics> {
        let decoded = decode(policy);
        let text = &decoded.text;
        let parsed = match PolicyFile::parse(text.as_str()) {
            Ok(parsed) if decoded.is_readable && decoded.problems.is_empty() => parsed,
            // Read as a policy, it has every mistake told.
            Ok(_) | Err(_) => {
                return Err(match super::parse(origin, policy) {
                    Err(errors) => errors,
                    Ok((_, warnings)) => warnings,
                });
            }
        };
        self.check_overlap(origin, &parsed, text)?;
        let mut whole = format!("# {headline}\n");
        self.write_policy(&mut whole, &parsed, text.as_str());
        for SiteTable { name, text, .. } in &self.tables {
            // Writing to a String cannot fail.
            _ = write!(whole, "\n[{name}]\n{text}");
        }
        Ok(whole)
    }

    /// Writes the fleet's policy, with this site's `dns.listen` in its `[dns]`.
    fn write_policy(&self, whole: &mut String, parsed: &PolicyFile<'_>, text: &str) {
        let mut rest = text;
        if let Some(listen) = &self.listen {
            match parsed.root().get("dns") {
                Some(dns) => {
                    let (before, after) = text.split_at(dns.span().end);
                    _ = write!(whole, "{before}\nlisten = {}", listen.text);
                    // What follows on the line of the header is a comment.
                    rest = after;
                }
                None => {
                    whole.push_str(text);
                    _ = write!(whole, "\n[dns]\nlisten = {}", listen.text);
                    rest = "";
                }
            }
        }
        whole.push_str(rest);
        if !whole.ends_with('\n') {
            whole.push('\n');
        }
    }

    /// Checks that the fleet's policy has nothing that this site has.
    fn check_overlap(
        &self,
        origin: &str,
        parsed: &PolicyFile<'_>,
        text: &SourceText<'_>,
    ) -> Result<(), Diagnostics> {
        let own = SourceText::new(self.source.as_str().into());
        let mut out = Collector::new(&own);
        let clash = |name: &str, span: &std::ops::Range<usize>, line: u32| {
            let message = format!("{name} stands here, and in line {line} of {origin}");
            let label = own.label(span.clone(), "here");
            Diagnostic::error(Code::DuplicateKey, message)
                .with_label(label)
                .with_help("take it out of one of the two: neither overrides the other")
        };
        for table in &self.tables {
            if let Some(other) = parsed.root().get(table.name) {
                let line = text.line(other.span().start);
                out.add(clash(&format!("[{}]", table.name), &table.span, line));
            }
        }
        if let (Some(listen), Some(dns)) = (&self.listen, parsed.root().get("dns")) {
            let other = dns.get_ref().as_table().and_then(|it| it.get("listen"));
            if let Some(other) = other {
                let line = text.line(other.span().start);
                out.add(clash("dns.listen", &listen.span, line));
            } else if !text.as_str()[dns.span()].starts_with('[') {
                let line = text.line(dns.span().start);
                let message = format!(
                    "dns.listen cannot be added to `dns` in line {line} of {origin}, which is no table with a header"
                );
                let problem = Diagnostic::error(Code::WrongType, message);
                let problem = problem.with_label(own.label(listen.span.clone(), "here"));
                out.add(
                    problem.with_help("write [dns] on a line of its own there, and its keys below"),
                );
            }
        }
        match out.has_errors() {
            true => Err(out.finish(&self.origin)),
            false => Ok(()),
        }
    }
}

/// Reports whatever stands at the top of a site file and is none of its tables.
fn check_sections(parsed: &PolicyFile<'_>, out: &mut Collector<'_>) {
    const KNOWN: &str = "a site file has [vpn], [gateway], [fleet], and [dns] with `listen` alone";
    for (key, _) in parsed.root().iter() {
        let name: &str = key.get_ref();
        if matches!(name, "vpn" | "gateway" | "fleet" | "dns") {
            continue;
        }
        let message = match SECTIONS.iter().find(|section| section.name == name) {
            Some(section) => format!("{} belongs to the fleet's policy", section.title()),
            None => format!("unknown section or key `{}`", shorten(name)),
        };
        let label = out.text.label(key.span(), "");
        let problem = Diagnostic::error(Code::UnknownSection, message).with_label(label);
        out.add(problem.with_help(KNOWN));
    }
}

/// The keys and values of a table, each on a line of its own, as `source` writes them.
fn lines(table: &DeTable<'_>, source: &str) -> String {
    let mut lines = String::new();
    for (key, value) in table.iter() {
        // No key of these tables holds another table.
        if !matches!(value.get_ref(), DeValue::Table(_)) {
            _ = writeln!(lines, "{} = {}", key.get_ref(), &source[value.span()]);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{self, Style};

    const SITE: &str = "\
[vpn]
interfaces = [\"tun0\"]
client_subnets = [
  \"172.16.1.0/24\", # the pool
]
[gateway]
metrics = \"127.0.0.1:9464\"
[dns]
listen = [\"172.16.1.1:53\"]
[fleet]
source = \"https://policies.contoso.com/\"
channel = \"canary\"
public_keys = [\"RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\"]
";
    const POLICY: &str = "\
[corporate]
subnets = [\"10.0.0.0/8\"]
dns_servers = [\"10.0.0.53\"]
[dns] # names
sip_domains = [\"contoso.com\"]
[[test]]
name = \"a call\"
from = \"172.16.1.10:50000\"
to = \"10.2.0.20:50010\"
protocol = \"udp\"
expect = \"drop\"";

    fn site(text: &str) -> Site {
        let read = Site::parse("site.toml", text.as_bytes());
        read.unwrap_or_else(|errors| panic!("{}", errors.render(Style::Plain)))
    }

    fn refused(text: &str) -> String {
        let read = Site::parse("site.toml", text.as_bytes());
        read.expect_err("a mistake").render(Style::Plain)
    }

    #[test]
    fn the_policy_and_the_site_make_one_policy_file() {
        let whole = site(SITE).complete("release 1", POLICY.as_bytes(), "written by a test");
        let whole = whole.expect("nothing is in both");
        let (policy, _) = policy::parse("policy.toml", whole.as_bytes()).expect("it is in order");
        assert_eq!(policy.vpn.interfaces[0].value, "tun0");
        assert_eq!(policy.vpn.client_subnets.len(), 1);
        assert_eq!(policy.dns.listen.len(), 1);
        assert_eq!(policy.dns.sip_domains[0].value, "contoso.com");
        assert_eq!(policy.tests.len(), 1);
        assert!(policy.gateway.metrics.is_some());
        assert!(whole.starts_with("# written by a test\n"));
    }

    #[test]
    fn a_policy_without_dns_gets_the_listener_of_the_site() {
        let policy = "[corporate]\nsubnets = [\"10.0.0.0/8\"]\ndns_servers = [\"10.0.0.53\"]";
        let whole = site(SITE).complete("release 1", policy.as_bytes(), "x");
        let whole = whole.expect("nothing is in both");
        let (policy, _) = policy::parse("policy.toml", whole.as_bytes()).expect("it is in order");
        assert_eq!(policy.dns.listen.len(), 1);
    }

    #[test]
    fn a_table_in_both_files_is_a_mistake_with_both_lines() {
        let policy = format!("{POLICY}\n[gateway]\nworkers = 2\n");
        let errors = site(SITE).complete("release 41", policy.as_bytes(), "x");
        let errors = errors.expect_err("both have [gateway]");
        let first = errors.iter().next().expect("one");
        assert_eq!(
            first.message(),
            "[gateway] stands here, and in line 12 of release 41"
        );
        assert_eq!((errors.origin(), first.line()), ("site.toml", 6));
    }

    #[test]
    fn a_listener_in_both_files_is_a_mistake_with_both_lines() {
        let policy = POLICY.replace("sip_domains", "listen = [\"10.0.0.1:53\"]\nsip_domains");
        let errors = site(SITE).complete("release 41", policy.as_bytes(), "x");
        let errors = errors.expect_err("both have dns.listen");
        let first = errors.iter().next().expect("one");
        assert_eq!(
            first.message(),
            "dns.listen stands here, and in line 5 of release 41"
        );
        assert_eq!(first.line(), 9);
    }

    #[test]
    fn a_dns_table_that_cannot_be_added_to_is_told() {
        let policy =
            "corporate.dns_servers = [\"10.0.0.53\"]\ndns = { sip_domains = [\"contoso.com\"] }\n";
        let errors = site(SITE).complete("release 41", policy.as_bytes(), "x");
        let errors = errors.expect_err("there is no place for the key");
        let message = errors.iter().next().expect("one").message();
        assert!(message.contains("line 2 of release 41"), "{message}");
    }

    #[test]
    fn sections_of_the_fleet_and_unknown_keys_are_refused_in_a_site_file() {
        let errors = refused(&format!("{SITE}[media]\nports = [\"1024-65535\"]\n"));
        assert!(
            errors.contains("[media] belongs to the fleet's policy"),
            "{errors}"
        );
        let errors = refused(&SITE.replace("channel =", "chanel ="));
        assert!(errors.contains("did you mean `channel`?"), "{errors}");
        let errors = refused(&SITE.replace("listen = [\"172.16.1.1:53\"]", "ttl_seconds = 30"));
        assert!(errors.contains("unknown key `ttl_seconds`"), "{errors}");
        let errors = refused(&SITE.replace("172.16.1.0/24", "172.16.1.0/8"));
        assert!(errors.contains("host bits"), "{errors}");
        let errors = refused(&SITE.replace("channel =", "user = \"me\"\nchannel ="));
        assert!(
            errors.contains("`user` without `password_file`"),
            "{errors}"
        );
        for (source, key, remedy) in [
            ("https://contoso.com", "user", "client_certificate"),
            ("file:///srv", "token_file", "leave it out"),
            ("etcd://a:1", "token_file", "etcd takes `user`"),
            ("consul://a:1", "user", "Consul takes `token_file`"),
        ] {
            let fleet = format!(
                "source = \"{source}\"\nuser = \"me\"\npassword_file = \"/p\"\ntoken_file = \"/t\""
            );
            let errors = refused(&format!("[fleet]\nchannel = \"a\"\n{fleet}\n"));
            let told = format!("`{key}` has no effect on this `source`");
            assert!(
                errors.contains(&told) && errors.contains(remedy),
                "{errors}"
            );
        }
        let errors = refused("[fleet]\nchannel = \"a/b\"\n");
        assert!(errors.contains("no name of a channel"), "{errors}");
        let errors = refused("[vpn\n");
        assert!(errors.contains("not TOML"), "{errors}");
    }

    #[test]
    fn mistakes_in_the_fleets_policy_are_told_with_its_own_lines() {
        let errors = site(SITE).complete("release 41", b"[corporate]\nsubnets = [\n", "x");
        let errors = errors.expect_err("not TOML");
        assert_eq!(errors.origin(), "release 41");
    }

    #[test]
    fn every_key_of_the_fleet_is_explained_in_its_page() {
        let page = include_str!("../../../docs/fleet.md");
        for key in fleet::SECTION.keys {
            assert!(page.contains(&format!("`{}`", key.name)), "{}", key.name);
        }
    }
}
