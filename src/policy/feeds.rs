//! [`Policy::take_feed`]: the prefixes of a feed become part of the policy.

use std::collections::{BTreeSet, HashMap};

use ipnet::IpNet;

use crate::address::PrefixSet;
use crate::feed::{
    Category, Document, EntryKey, FeedEntry, FeedError, guard, parse_aws, parse_list,
    parse_microsoft, parse_page, withdrawn_long_ago,
};
use crate::policy::meaning::Policy;
use crate::policy::section::feed::{
    EntryChoice, Feed, FeedFormat, FeedPrefix, ServerPrefixes, WidePrefixes,
};
use crate::policy::section::server::Server;
use crate::policy::value::Sourced;

impl Feed {
    /// Reads `bytes` as a file of this feed's format.
    ///
    /// # Errors
    /// [`FeedError`] at the first mistake.
    pub fn read(&self, bytes: &[u8]) -> Result<Document, FeedError> {
        match self.format {
            FeedFormat::Microsoft365 => parse_microsoft(bytes),
            FeedFormat::Prefixes => parse_list(bytes),
            FeedFormat::AwsIpRanges => parse_aws(bytes),
            FeedFormat::WebPage => parse_page(bytes),
        }
    }

    /// The prefixes of `document` that the policy selects, each once, ascending; none that [`guard`] refuses, or that overlap
    /// `servers`, those of the policy.
    ///
    /// A prefix that stands under several categories counts as of the weightiest.
    ///
    /// # Errors
    /// [`FeedError`] where nothing is selected, or something that no public feed has.
    pub fn select(
        &self,
        document: &Document,
        servers: &[Server],
    ) -> Result<Vec<FeedPrefix>, FeedError> {
        let mut weightiest: HashMap<IpNet, Category> = HashMap::new();
        for entry in &document.entries {
            for prefix in &entry.prefixes {
                let category = weightiest.entry(*prefix).or_insert(entry.category);
                *category = (*category).max(entry.category);
            }
        }
        let selected: Vec<&FeedEntry> = document
            .entries
            .iter()
            .filter(|entry| self.takes(entry))
            .collect();
        if selected.is_empty() {
            return Err(self.nothing_selected(document));
        }
        let pairs = selected.iter().flat_map(|entry| {
            let of_its_category = entry
                .prefixes
                .iter()
                .filter(|prefix| weightiest.get(prefix) == Some(&entry.category));
            of_its_category.map(|prefix| (entry.key, *prefix))
        });
        let pairs: Vec<(EntryKey, IpNet)> = pairs.collect();
        if pairs.is_empty() {
            return Err(FeedError::NoPrefixes);
        }
        // The widths first: of 0.0.0.0/0 there is more to say than that some of it is private.
        match self.wide_prefixes {
            WidePrefixes::Refuse => guard::refuse_wide(&pairs)?,
            WidePrefixes::Accept => {}
        }
        guard::refuse_not_public(&pairs)?;
        let mut prefixes: Vec<FeedPrefix> = pairs
            .into_iter()
            .map(|(entry, prefix)| FeedPrefix { prefix, entry })
            .collect();
        prefixes.sort_unstable();
        prefixes.dedup_by_key(|taken| taken.prefix);
        self.refuse_servers(&prefixes, servers)?;
        Ok(prefixes)
    }

    /// Refuses `prefixes` that overlap the addresses of `servers`, unless the policy accepts them.
    ///
    /// # Errors
    /// [`FeedError::OverServer`] for the first such prefix.
    fn refuse_servers(&self, prefixes: &[FeedPrefix], servers: &[Server]) -> Result<(), FeedError> {
        match self.server_prefixes {
            ServerPrefixes::Refuse => {}
            ServerPrefixes::Accept => return Ok(()),
        }
        let all: PrefixSet = servers
            .iter()
            .flat_map(|server| server.addresses.iter().map(|address| address.value))
            .collect();
        let Some(taken) = prefixes.iter().find(|taken| all.overlaps(taken.prefix)) else {
            return Ok(());
        };
        let found = servers.iter().find_map(|server| {
            let overlaps =
                |address: IpNet| address.contains(&taken.prefix) || taken.prefix.contains(&address);
            let mut addresses = server.addresses.iter().map(|address| address.value);
            Some((server, addresses.find(|address| overlaps(*address))?))
        });
        found.map_or(Ok(()), |(server, address)| {
            Err(FeedError::OverServer {
                entry: taken.entry,
                prefix: taken.prefix,
                address,
                server: server.name.value.clone(),
            })
        })
    }

    fn takes(&self, entry: &FeedEntry) -> bool {
        let names = |list: &[Sourced<String>], name: &str| {
            list.is_empty()
                || list
                    .iter()
                    .any(|wanted| wanted.value.eq_ignore_ascii_case(name))
        };
        let required = match self.entries {
            EntryChoice::All => true,
            EntryChoice::Required => entry.required,
        };
        names(&self.service_areas, &entry.service_area)
            && names(&self.categories, entry.category.name())
            && required
    }

    fn nothing_selected(&self, document: &Document) -> FeedError {
        let quoted = |names: &mut dyn Iterator<Item = &str>| {
            let names: BTreeSet<String> = names.map(|name| format!("\"{name}\"")).collect();
            names.into_iter().collect::<Vec<_>>().join(", ")
        };
        let mut wanted = Vec::new();
        for (what, list) in [
            ("service area", &self.service_areas),
            ("category", &self.categories),
        ] {
            if !list.is_empty() {
                let names = quoted(&mut list.iter().map(|name| name.value.as_str()));
                wanted.push(format!("the {what} {names}"));
            }
        }
        if self.entries == EntryChoice::Required {
            wanted.push("the mark \"required\"".to_owned());
        }
        let entries = &document.entries;
        let areas = quoted(&mut entries.iter().map(|entry| entry.service_area.as_str()));
        let categories = quoted(&mut entries.iter().map(|entry| entry.category.name()));
        FeedError::NothingSelected {
            wanted: wanted.join(" and "),
            offered: format!("the service areas {areas} and the categories {categories}"),
        }
    }

    /// The addresses that it takes out of the tunnel; none before it is loaded.
    pub fn addresses(&self) -> PrefixSet {
        let prefixes = self.prefixes.iter().flatten();
        prefixes.map(|taken| taken.prefix).collect()
    }
}

impl Policy {
    /// Takes the file `bytes` of the feed at `position`: its prefixes are public from then on. What it replaces is lost
    /// only where the file is in order.
    ///
    /// # Errors
    /// [`FeedError`] where the file has a mistake; the policy is as it was.
    ///
    /// # Panics
    /// If the policy has no feed at `position`.
    pub fn take_feed(&mut self, position: usize, bytes: &[u8]) -> Result<Document, FeedError> {
        let feed = &mut self.feeds[position];
        let document = feed.read(bytes)?;
        feed.prefixes = Some(feed.select(&document, &self.servers)?);
        Ok(document)
    }

    /// Checks the addresses that the feed at `position` has without a file: those that ship for a profile.
    ///
    /// # Errors
    /// [`FeedError::OverServer`] where they overlap a `[[server]]`.
    ///
    /// # Panics
    /// If the policy has no feed at `position`.
    pub fn check_shipped(&self, position: usize) -> Result<(), FeedError> {
        let feed = &self.feeds[position];
        let shipped = feed.prefixes.as_deref().unwrap_or_default();
        feed.refuse_servers(shipped, &self.servers)
    }

    /// Addresses that a `[[public]]` entry names by hand and a feed, as published in `document`, has only
    /// in part or no longer: what was copied from an earlier version, and has been withdrawn or cut since.
    ///
    /// A prefix without any address in `document` may be a service of the operator's own. It counts as withdrawn where
    /// `previous`, the version before, has it; of those that [`withdrawn_long_ago`] knows, `prefix-withdrawn` tells.
    pub fn withdrawn(
        &self,
        document: &Document,
        previous: Option<&Document>,
    ) -> Vec<Withdrawn<'_>> {
        let published = published(document);
        let before = previous.map(self::published).unwrap_or_default();
        let mut found = Vec::new();
        for public in &self.publics {
            for prefix in &public.addresses {
                let by_hand = PrefixSet::from_iter([prefix.value]);
                let still_there = by_hand.intersect(&published);
                let is_gone = match still_there.is_empty() {
                    true => {
                        before.covers(prefix.value) && withdrawn_long_ago(prefix.value).is_none()
                    }
                    false => still_there != by_hand,
                };
                if is_gone {
                    found.push(Withdrawn {
                        service: &public.name.value,
                        prefix: *prefix,
                        still_there,
                    });
                }
            }
        }
        found
    }
}

fn published(document: &Document) -> PrefixSet {
    let entries = document.entries.iter();
    entries
        .flat_map(|entry| entry.prefixes.iter().copied())
        .collect()
}

/// A prefix that the policy names by hand and a feed has only in part, or no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawn<'a> {
    /// Name of the `[[public]]` service.
    pub service: &'a str,
    /// The prefix, and its line.
    pub prefix: Sourced<IpNet>,
    /// The part of it that the feed still has; empty where it was withdrawn whole.
    pub still_there: PrefixSet,
}

#[cfg(test)]
mod tests {
    use crate::policy;

    const POLICY: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24"]
[corporate]
subnets = ["10.0.0.0/8"]
[[public]]
name = "Teams, by hand"
addresses = ["52.120.0.0/14", "52.112.0.0/14"]
[[feed]]
name = "Microsoft 365"
format = "microsoft-365"
file = "m365.json"
service_areas = ["Skype"]
categories = ["Optimize"]
"#;

    const FEED: &str = r#"[
{"id": 11, "serviceArea": "Skype", "category": "Optimize", "required": true, "ips": ["52.112.0.0/14", "52.122.0.0/15", "2603:1063::/38"]},
{"id": 12, "serviceArea": "Skype", "category": "Allow", "required": true, "ips": ["52.112.0.0/14", "52.238.119.141/32"]},
{"id": 1, "serviceArea": "Exchange", "category": "Optimize", "required": true, "ips": ["40.96.0.0/13"]}]"#;

    fn taken(change: impl Fn(&str) -> String) -> Result<Vec<String>, String> {
        let (mut policy, _) =
            policy::parse("feed.toml", change(POLICY).as_bytes()).expect("a good policy");
        policy
            .take_feed(0, FEED.as_bytes())
            .map_err(|error| error.to_string())?;
        let prefixes = policy.feeds[0].prefixes.iter().flatten();
        Ok(prefixes
            .map(|taken| format!("{} {}", taken.prefix, taken.entry))
            .collect())
    }

    #[test]
    fn only_the_selected_entries_are_taken_each_with_its_id() {
        assert_eq!(
            taken(str::to_owned).expect("a good feed"),
            [
                "52.112.0.0/14 id 11",
                "52.122.0.0/15 id 11",
                "2603:1063::/38 id 11"
            ]
        );
    }

    #[test]
    fn a_prefix_of_two_categories_counts_as_of_the_weightier() {
        let allow = taken(|policy| policy.replace("Optimize", "Allow"));
        assert_eq!(allow.expect("a good feed"), ["52.238.119.141/32 id 12"]);
    }

    #[test]
    fn a_selection_that_selects_nothing_says_what_there_is() {
        let error =
            taken(|policy| policy.replace("\"Skype\"", "\"Teams\"")).expect_err("no such area");
        assert_eq!(
            error,
            "no entry has the service area \"Teams\" and the category \"Optimize\"; the feed has the service areas \
             \"Exchange\", \"Skype\" and the categories \"Allow\", \"Optimize\""
        );
    }

    #[test]
    fn what_the_feed_has_withdrawn_of_a_prefix_named_by_hand_is_found() {
        let (mut policy, _) = policy::parse("feed.toml", POLICY.as_bytes()).expect("a good policy");
        let document = policy.take_feed(0, FEED.as_bytes()).expect("a good feed");
        let withdrawn = policy.withdrawn(&document, None);
        let [old] = &withdrawn[..] else {
            panic!("one of the two: {withdrawn:?}")
        };
        assert_eq!(old.prefix.value.to_string(), "52.120.0.0/14");
        assert_eq!(old.still_there.to_string(), "52.122.0.0/15");
    }

    #[test]
    fn a_prefix_that_was_withdrawn_whole_is_told_from_a_service_of_ones_own() {
        let text = POLICY.replace(
            "\"52.120.0.0/14\", \"52.112.0.0/14\"",
            "\"13.107.64.0/18\", \"52.252.0.0/16\", \"203.0.113.7\"",
        );
        let (mut policy, _) = policy::parse("feed.toml", text.as_bytes()).expect("a good policy");
        let document = policy.take_feed(0, FEED.as_bytes()).expect("a good feed");
        let prefixes = |previous| -> Vec<String> {
            let withdrawn = policy.withdrawn(&document, previous);
            assert!(withdrawn.iter().all(|it| it.still_there.is_empty()));
            let prefixes = withdrawn.iter().map(|it| it.prefix.value.to_string());
            prefixes.collect()
        };
        assert_eq!(prefixes(None), [""; 0]);
        let before = FEED.replace("52.238.119.141/32", "52.252.0.0/15");
        let before = policy.feeds[0].read(before.as_bytes()).expect("in order");
        assert_eq!(prefixes(Some(&before)), ["52.252.0.0/16"]);
    }

    #[test]
    fn a_feed_over_a_server_is_refused_unless_the_policy_accepts_it() {
        let server = |address: &str, more: &str| {
            let server = format!(
                "[[server]]\nname = \"Pool\"\naddresses = [\"10.1.0.10\", \"{address}\"]\n"
            );
            let feed = format!("name = \"Microsoft 365\"{more}");
            taken(|policy| {
                format!(
                    "{}{server}",
                    policy.replace("name = \"Microsoft 365\"", &feed)
                )
            })
        };
        // Inside a prefix of the feed, around one, and beside them.
        for address in ["52.113.7.7", "52.0.0.0/9"] {
            let error = server(address, "").expect_err(address);
            assert!(
                error.starts_with("id 11: 52.112.0.0/14 overlaps "),
                "{error}"
            );
            assert!(error.contains("of [[server]] \"Pool\", and public services come first"));
            assert!(error.ends_with("server_prefixes = \"accept\""), "{error}");
            let accepted = server(address, "\nserver_prefixes = \"accept\"");
            assert_eq!(accepted.expect("it is accepted").len(), 3);
        }
        assert_eq!(server("52.116.0.0/15", "").expect("beside them").len(), 3);
        // Prefixes that the policy leaves out are in nobody's way.
        assert_eq!(server("40.97.1.1", "").expect("of Exchange").len(), 3);
    }

    #[test]
    fn addresses_that_ship_with_a_profile_are_held_against_servers_too() {
        let read = |more: &str| {
            let text = format!(
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[[profile]]\nvendor = \"zoom\"\n{more}"
            );
            policy::parse("p.toml", text.as_bytes())
                .expect("a good policy")
                .0
        };
        let policy = read("");
        assert_eq!(policy.check_shipped(0), Ok(()));
        let shipped = policy.feeds[0].prefixes.as_ref().expect("they ship")[0].prefix;
        let server = format!("[[server]]\nname = \"Pool\"\naddresses = [\"{shipped}\"]\n");
        assert!(read(&server).check_shipped(0).is_err());
        let accepted = read(&format!("server_prefixes = \"accept\"\n{server}"));
        assert_eq!(accepted.check_shipped(0), Ok(()));
    }

    #[test]
    fn a_feed_that_is_refused_leaves_the_policy_as_it_was() {
        let (mut policy, _) = policy::parse("feed.toml", POLICY.as_bytes()).expect("a good policy");
        policy.take_feed(0, FEED.as_bytes()).expect("a good feed");
        let before = policy.clone();
        let wide = FEED.replace("52.122.0.0/15", "0.0.0.0/0");
        let error = policy.take_feed(0, wide.as_bytes()).expect_err("too wide");
        assert!(
            error
                .to_string()
                .starts_with("id 11: 0.0.0.0/0 is wider than /8"),
            "{error}"
        );
        assert_eq!(policy, before);
    }
}
