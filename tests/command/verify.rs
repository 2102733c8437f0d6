//! `offramp verify` and `offramp call`: predictions from a policy about calls.
//!
//! Each file of `tests/verify/` is a policy with a mistake: its first line describes it, `# expect:` lists the codes of
//! all expected findings, and `# <- here` marks the line that one of them must point at. `# feed: NAME, N days old:
//! PREFIXES` puts a feed beside it. To add a case, add a file; `docs/verify.md` has a line for each.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use crate::support::{Ended, Folder, offramp, project};
use serde_json::Value;

const DAY: Duration = Duration::from_secs(86_400);

/// A file of `tests/verify/`.
pub(crate) struct Case {
    /// Its name, without the extension.
    name: String,
    pub(crate) text: String,
}

impl Case {
    pub(crate) fn all() -> Vec<Self> {
        let entries = fs::read_dir(project("tests/verify")).expect("a folder of cases");
        let mut cases: Vec<Self> = entries
            .map(|entry| {
                let path = entry.expect("a case").path();
                let name = path.file_stem().expect("a name").to_string_lossy();
                Self {
                    name: name.into_owned(),
                    text: fs::read_to_string(&path).expect("a case is text"),
                }
            })
            .collect();
        cases.sort_by(|one, other| one.name.cmp(&other.name));
        cases
    }

    /// Returns the description of the mistake.
    fn title(&self) -> &str {
        let first = self.text.lines().next().unwrap_or_default();
        first.trim_start_matches("# ").trim_end_matches('.')
    }

    fn header(&self, key: &str) -> Option<&str> {
        let mut lines = self.text.lines().filter_map(|line| line.strip_prefix("# "));
        lines.find_map(|line| line.strip_prefix(key))
    }

    fn codes(&self) -> BTreeSet<&str> {
        let codes = self
            .header("expect: ")
            .expect("a case says what it expects");
        codes.split(", ").collect()
    }

    /// Returns the line that a finding must point at; `None` if the mistake is a missing line.
    fn marked_line(&self) -> Option<usize> {
        let mut lines = self.text.lines();
        lines
            .position(|line| line.ends_with("# <- here"))
            .map(|at| at + 1)
    }

    /// Writes it into a folder, with its feed; returns the path of the policy.
    pub(crate) fn write(&self, folder: &Folder) -> String {
        if let Some(feed) = self.header("feed: ") {
            let (name, rest) = feed.split_once(", ").expect("the feed's name");
            let (days, prefixes) = rest.split_once(" days old: ").expect("the feed's age");
            let path = folder.write(name, prefixes.replace(' ', "\n"));
            let age = DAY * days.parse().expect("a number of days");
            let file = File::options().append(true).open(path).expect("the feed");
            file.set_modified(SystemTime::now() - age)
                .expect("the feed's age can be set");
        }
        folder.write(&format!("{}.toml", self.name), &self.text)
    }
}

fn findings(ended: &Ended) -> Vec<Value> {
    let answer = ended.json();
    answer["findings"]
        .as_array()
        .expect("a list of findings")
        .clone()
}

#[test]
fn every_seeded_mistake_is_found_where_it_stands_and_nothing_else() {
    let cases = Case::all();
    assert!(cases.len() >= 30, "only {} cases", cases.len());
    let mut wrong = String::new();
    for case in &cases {
        // A folder for each: other cases have feeds, too.
        let folder = Folder::new(&format!("verify-{}", case.name));
        let ended = offramp(&["verify", &case.write(&folder), "--json"]);
        if ended.code != Some(3) {
            wrong += &format!(
                "{}: exit code {:?}\n{}\n",
                case.name, ended.code, ended.stderr
            );
            continue;
        }
        let found = findings(&ended);
        for finding in &found {
            let why = finding["why"].as_array().expect("a list of reasons");
            let instead = finding["instead"].as_str().unwrap_or_default();
            assert!(
                !why.is_empty() && !instead.is_empty(),
                "{}: {finding:#}",
                case.name
            );
        }
        let codes: BTreeSet<&str> = found.iter().filter_map(|it| it["code"].as_str()).collect();
        let points_at = |line: usize| {
            let mut lines = found
                .iter()
                .filter_map(|it| it["lines"].as_array())
                .flatten();
            lines.any(|it| it.as_u64() == Some(line as u64))
        };
        let here = case.marked_line();
        if codes != case.codes() || here.is_some_and(|line| !points_at(line)) {
            wrong += &format!(
                "{}: expected {:?} at {here:?}, found {:#}\n",
                case.name,
                case.codes(),
                Value::from(found)
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn nothing_is_found_in_the_policies_that_are_shipped() {
    for entry in fs::read_dir(project("config")).expect("a folder of policies") {
        let path = entry.expect("a policy").path();
        // The lists of its vendors are not there, which is found.
        let has_profiles = path.ends_with("mixed.toml");
        if path.extension().is_some_and(|end| end == "toml") && !has_profiles {
            let ended = offramp(&["verify", &path.display().to_string()]);
            assert_eq!(ended.code, Some(0), "{}: {}", path.display(), ended.stdout);
            assert!(ended.stdout.ends_with("filter, routes and names agree\n"));
        }
    }
}

#[test]
fn a_site_with_profiles_is_in_order_once_their_lists_are_fetched() {
    let folder = Folder::new("verify-profiles");
    let text = fs::read_to_string(project("config/mixed.toml")).expect("a policy");
    let policy = folder.write("site.toml", text);
    let stale = offramp(&["verify", &policy]);
    assert_eq!(
        stale.stdout.matches("STALE: profile").count(),
        4,
        "{stale:?}"
    );
    folder.write(
        "m365-worldwide.json",
        r#"[{"id": 11, "serviceArea": "Skype", "category": "Optimize", "ips": ["52.112.0.0/14", "52.122.0.0/15"]}]"#,
    );
    folder.write("zoom.txt", "170.114.0.0/16\n");
    folder.write("webex.html", "<table><td>66.163.32.0/19</td></table>");
    folder.write("meet.html", "<ul><li>IPv4: 74.125.250.0/24</ul>");
    let ended = offramp(&["verify", &policy]);
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
}

#[test]
fn every_code_has_cases_and_every_case_a_line_in_the_documentation() {
    let cases = Case::all();
    let documentation = fs::read_to_string(project("docs/verify.md")).expect("docs/verify.md");
    for case in &cases {
        let line = format!("| `{}` | {} |", case.name, case.title());
        assert!(
            documentation.contains(&line),
            "docs/verify.md has no line\n{line}"
        );
    }
    let listed = offramp(&["verify", "--codes"]).success();
    // Files in use alone give it: `tests/against/` has cases.
    let of_policies = |code: &&str| *code != "NOT-READ";
    let codes = listed.lines().filter_map(|line| line.split(' ').next());
    for code in codes.filter(of_policies) {
        assert!(
            cases.iter().any(|case| case.codes().contains(code)),
            "no case for {code}"
        );
        assert!(
            documentation.contains(&format!("## {code}\n")),
            "{code} is not documented"
        );
    }
}

#[test]
fn a_finding_is_drawn_with_its_place_and_its_remedy() {
    let folder = Folder::new("verify-drawn");
    let cases = Case::all();
    let case = cases
        .iter()
        .find(|it| it.name.ends_with("blackhole-relay-dropped-in-the-tunnel"));
    let path = case.expect("the classic of all findings").write(&folder);
    let ended = offramp(&["verify", &path]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    insta::assert_snapshot!("verify-blackhole", ended.stdout.replace(&path, "site.toml"));
}

#[test]
fn files_of_others_are_held_against_the_policy() {
    let folder = Folder::new("verify-against");
    let server = folder.write(
        "server.conf",
        "server 172.16.1.0 255.255.255.0\npush \"route 10.0.0.0 255.0.0.0\"\npush \"dhcp-option DNS 172.16.1.1\"\n",
    );
    let good = offramp(&["verify", "config/contoso.toml", "--against", &server]);
    good.success();

    let full = folder.write(
        "full.conf",
        "server 172.16.1.0 255.255.255.0\npush \"redirect-gateway def1\"\n",
    );
    let zone = folder.write(
        "uc.rpz",
        "@ SOA localhost. root.localhost. 1 3600 600 86400 60\nsip.contoso.com A 10.1.0.10\n",
    );
    let ended = offramp(&[
        "verify",
        "config/contoso.toml",
        "--json",
        "--against",
        &full,
        &zone,
    ]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let found = findings(&ended);
    let has = |code: &str, what: &str| {
        found
            .iter()
            .any(|it| it["code"] == code && it["what"].as_str().is_some_and(|it| it.contains(what)))
    };
    assert!(
        has(
            "LEAK",
            "leads \"A/V Edge\" into the tunnel: 167.55.49.34/32"
        ),
        "{found:#?}"
    );
    assert!(
        has("LEAK", "sip.contoso.com resolves to 10.1.0.10"),
        "{found:#?}"
    );
    assert!(
        has(
            "INTERNAL-REGISTRATION",
            "lyncdiscoverinternal.contoso.com is not hidden"
        ),
        "{found:#?}"
    );

    let conf = offramp(&["render", "bind", "config/contoso.toml"]).success();
    let conf = folder.write("named.conf", conf);
    let ended = offramp(&["verify", "config/contoso.toml", "--against", &conf]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let said = &ended.stdout;
    assert!(
        said.contains("NOT-READ") && said.contains("offramp.rpz"),
        "{said}"
    );
    let zone = offramp(&["render", "rpz", "config/contoso.toml"]).success();
    folder.write("offramp.rpz", zone.replace("167.55.49.34", "10.1.0.10"));
    let ended = offramp(&[
        "verify",
        "config/contoso.toml",
        "--json",
        "--against",
        &conf,
    ]);
    let found = findings(&ended);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0]["code"], "LEAK");
    folder.write("offramp.rpz", zone);
    offramp(&["verify", "config/contoso.toml", "--against", &conf]).success();

    let other = folder.write("other.conf", "hello\n");
    let error = offramp(&["verify", "config/contoso.toml", "--against", &other]).error(1);
    assert!(error.contains("not a configuration of"), "{error}");
}

#[test]
fn a_policy_with_mistakes_of_the_file_is_refused_before_it_is_verified() {
    let error = offramp(&["verify", "tests/refused/host_bits.toml"]).failure(2);
    assert!(error.contains("error[host-bits]"), "{error}");
}

#[test]
fn the_articles_figures_are_told_as_text() {
    for (to, name) in [
        ("internal", "call-internal"),
        ("vpn", "call-vpn"),
        ("external", "call-external"),
    ] {
        let said = offramp(&["call", "config/contoso.toml", "--from", "vpn", "--to", to]).success();
        insta::assert_snapshot!(name, said);
    }
}

#[test]
fn a_call_from_a_home_without_udp_takes_tcp_to_the_relay() {
    let call = [
        "call",
        "config/contoso.toml",
        "--from",
        "vpn",
        "--to",
        "internal",
    ];
    let ended = offramp(&[&call[..], &["--no-udp", "--json"]].concat());
    let prediction = ended.json();
    assert_eq!(prediction["with"]["way"], "tcp-relay", "{prediction:#}");
    assert_eq!(prediction["with"]["in_tunnel"], false);
    assert_eq!(prediction["without"]["way"], "udp-direct");
    assert_eq!(prediction["prediction"], true);
    ended.success();
}

#[test]
fn a_call_without_media_is_found() {
    let folder = Folder::new("call-blackhole");
    let cases = Case::all();
    let case = cases
        .iter()
        .find(|it| it.name.ends_with("blackhole-relay-dropped-in-the-tunnel"));
    let path = case.expect("the classic of all findings").write(&folder);
    let ended = offramp(&["call", &path, "--from", "vpn", "--to", "internal"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let said = ended.stdout;
    assert!(said.contains("With offramp: no media at all"), "{said}");
    assert!(said.contains("dropped on the gateway: public"), "{said}");
}

#[test]
fn the_picture_is_xml_and_shows_both_ways() {
    let folder = Folder::new("call-picture");
    let file = folder.path("call.svg");
    let call = [
        "call",
        "config/contoso.toml",
        "--from",
        "vpn",
        "--to",
        "vpn",
        "--svg",
        &file,
    ];
    offramp(&call).success();
    let picture = fs::read_to_string(&file).expect("the picture");
    let document = roxmltree::Document::parse(&picture).expect("XML");
    let texts: Vec<&str> = document.descendants().filter_map(|it| it.text()).collect();
    for text in [
        "Without offramp: ",
        "UDP direct, through the tunnel",
        "UDP NAT, outside the tunnel",
    ] {
        assert!(texts.contains(&text), "{text}: {texts:?}");
    }
}
