//! Readers of the clients' files, independent of the renderers: registry values, command lines, a grammar, JSON.

use std::collections::BTreeSet;

use ipnet::{IpNet, Ipv4Net};

use offramp::address::PrefixSet;
use offramp::plan::{Direction, EndpointRule, EndpointRules};
use offramp::policy::{FirewallProfile, InterfaceType, Policy};
use offramp::render::{Options, Target, render, rules};

use super::policies;

/// Endpoints that differ in every property of a rule, with names that are hard to quote.
const SITE: &str = r#"[vpn]
client_subnets = ["172.16.1.0/24", "172.16.2.7", "fd00:1::/64"]
[corporate]
subnets = ["10.0.0.0/8", "192.168.7.7", "fd00:2::/48"]
[[endpoint]]
name = "it's \"quoted\" | & %PATH% $(x) `y` ‘z’ !v! ^"
programs = ['%ProgramFiles(x86)%\Microsoft Lync\communicator.exe', 'C:\It''s; here\100%\a b.exe']
profile = "domain"
interface_type = "remote-access"
[[endpoint]]
name = "Lync 2013"
product = "lync-2013"
profile = "private"
interface_type = "wired"
remote = ["10.1.0.0/16"]
[[endpoint]]
name = "Attendee"
product = "lync-2010-attendee"
profile = "public"
interface_type = "wireless"
local = ["172.16.1.0/25"]
remote = ["10.1.0.0/16"]
[[endpoint]]
name = "Live Meeting"
product = "live-meeting"
[[endpoint]]
name = "Teams"
product = "teams"
"#;

fn site() -> Policy {
    // A TOML string in single quotes cannot express one.
    policies::parsed(&SITE.replace("It''s; here", "Its; here"))
}

/// A rule as read from a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Read {
    program: String,
    direction: &'static str,
    profile: &'static str,
    interface_type: &'static str,
    local: String,
    remote: String,
}

/// Returns the rules that a file must contain.
fn planned(keeps: impl Fn(&EndpointRule) -> bool) -> BTreeSet<Read> {
    let rules = EndpointRules::of(&site()).rules;
    let kept = rules.iter().filter(|rule| keeps(rule));
    let read = kept.flat_map(|rule| {
        Direction::BOTH.map(|direction| Read {
            program: rule.program().unwrap_or_default().to_owned(),
            direction: direction.name(),
            profile: match rule.profile {
                FirewallProfile::Domain => "domain",
                FirewallProfile::Private => "private",
                FirewallProfile::Public => "public",
                FirewallProfile::Any => "any",
            },
            interface_type: match rule.interface_type {
                InterfaceType::RemoteAccess => "remote access",
                InterfaceType::Wired => "wired",
                InterfaceType::Wireless => "wireless",
                InterfaceType::Any => "any",
            },
            local: rule.local.to_string(),
            remote: rule.remote.to_string(),
        })
    });
    read.collect()
}

fn fixed(rule: &EndpointRule) -> bool {
    !rule.is_looked_up()
}

fn rendered(target: &'static Target) -> String {
    let name = (*target == rules::windows_firewall_gpo::TARGET)
        .then(|| r"contoso.com\Lync 'over' VPN".to_owned());
    let options = Options {
        name,
        ..Options::default()
    };
    let rendered = render(target, &site(), &options);
    rendered.unwrap_or_else(|error| panic!("{error}")).text
}

/// Returns a set from prefixes and single addresses.
fn set<'t>(parts: impl IntoIterator<Item = &'t str>) -> String {
    let net = |part: &str| -> IpNet {
        if let Some((address, mask)) = part.split_once('/').filter(|it| it.1.contains('.')) {
            let (address, mask) = (address.parse().expect("IPv4"), mask.parse().expect("IPv4"));
            return Ipv4Net::with_netmask(address, mask)
                .expect("a netmask")
                .into();
        }
        let address = part.parse::<std::net::IpAddr>().map(IpNet::from);
        address.unwrap_or_else(|_| part.parse().expect("a prefix"))
    };
    parts
        .into_iter()
        .map(net)
        .collect::<PrefixSet>()
        .to_string()
}

fn word<'w>(words: &[(&str, &'w str)], text: &str) -> &'w str {
    let known = words.iter().find(|(word, _)| *word == text);
    known
        .unwrap_or_else(|| panic!("`{text}` is none of {words:?}"))
        .1
}

/// Names and data of the values in a .reg file; `None` deletes one.
fn registry_values(text: &str) -> Vec<(String, Option<String>)> {
    let mut lines = text
        .split("\r\n")
        .filter(|line| !line.is_empty() && !line.starts_with(';'));
    assert_eq!(lines.next(), Some("Windows Registry Editor Version 5.00"));
    assert_eq!(
        lines.next(),
        Some(r"[HKEY_LOCAL_MACHINE\SOFTWARE\Policies\Microsoft\WindowsFirewall\FirewallRules]")
    );
    let unquoted = |text: &str| -> (String, String) {
        let mut chars = text.strip_prefix('"').expect("a quote").chars();
        let mut value = String::new();
        loop {
            match chars.next().expect("a closing quote") {
                '"' => return (value, chars.collect()),
                '\\' => value.push(chars.next().expect("an escaped character")),
                char => value.push(char),
            }
        }
    };
    let value = |line: &str| {
        let (name, rest) = unquoted(line);
        match rest.strip_prefix('=').expect("a value") {
            "-" => (name, None),
            data => {
                let (data, rest) = unquoted(data);
                assert_eq!(rest, "");
                (name, Some(data))
            }
        }
    };
    lines.map(value).collect()
}

#[test]
fn the_registry_form_is_read_back_as_it_was_planned() {
    let values = registry_values(&rendered(&rules::windows_registry::TARGET));
    let mut read = BTreeSet::new();
    let mut names = BTreeSet::new();
    for (name, data) in &values {
        assert!(names.insert(name.clone()), "{name} comes twice");
        let data = data.as_ref().expect("a rule");
        // [MS-GPFAS] 2.2.2.19: a version, then fields, each followed by a bar.
        let fields = data.strip_prefix("v2.10|").expect("a version");
        let fields: Vec<(&str, &str)> = fields
            .strip_suffix('|')
            .expect("a bar at the end")
            .split('|')
            .map(|field| field.split_once('=').expect("a field"))
            .collect();
        let all = |keys: [&str; 2]| -> Vec<&str> {
            let of_key = fields.iter().filter(|(key, _)| keys.contains(key));
            of_key.map(|(_, value)| *value).collect()
        };
        let one = |key: &str| match all([key, key])[..] {
            [] => "",
            [value] => value,
            _ => panic!("{key} comes twice: {data}"),
        };
        assert_eq!((one("Action"), one("Active")), ("Block", "TRUE"));
        assert_eq!(one("EmbedCtxt"), "offramp");
        assert!(one("Name").starts_with("offramp: ") && !one("Desc").is_empty());
        assert!(
            all(["Protocol", "LPort"]).is_empty(),
            "all protocols and ports"
        );
        read.insert(Read {
            program: one("App").to_owned(),
            direction: word(&[("In", "in"), ("Out", "out")], one("Dir")),
            profile: word(
                &[
                    ("Domain", "domain"),
                    ("Private", "private"),
                    ("Public", "public"),
                    ("", "any"),
                ],
                one("Profile"),
            ),
            interface_type: word(
                &[
                    ("RemoteAccess", "remote access"),
                    ("Lan", "wired"),
                    ("Wireless", "wireless"),
                    ("", "any"),
                ],
                one("IFType"),
            ),
            local: set(all(["LA4", "LA6"])),
            remote: set(all(["RA4", "RA6"])),
        });
    }
    assert_eq!(read, planned(fixed));
    // The removal names exactly these values, and no others.
    let removal = registry_values(&rendered(&rules::windows_registry_remove::TARGET));
    let removed: BTreeSet<String> = removal
        .into_iter()
        .map(|(name, data)| {
            assert_eq!(data, None);
            name
        })
        .collect();
    assert_eq!(removed, names);
}

/// Returns the words of a command as cmd passes them to a program: quotes keep words together, `%%` is a percent sign.
fn command_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        let last = words.last_mut().expect("never empty");
        match char {
            '"' => is_quoted = !is_quoted,
            '%' => {
                assert_eq!(
                    chars.next(),
                    Some('%'),
                    "a variable would be expanded: {line}"
                );
                last.push('%');
            }
            ' ' if !is_quoted => words.push(String::new()),
            '&' | '^' | '<' if !is_quoted => panic!("cmd would act on `{char}`: {line}"),
            char => last.push(char),
        }
    }
    assert!(!is_quoted, "{line}");
    words
}

#[test]
fn the_batch_file_is_read_back_as_it_was_planned() {
    let text = rendered(&rules::windows_netsh::TARGET);
    let mut read = BTreeSet::new();
    let mut removals = 0;
    for line in text.split("\r\n") {
        assert!(line.len() < 8_191 && !line.contains('\n'), "{line}");
        if line.starts_with("rem ") {
            continue;
        }
        let Some(command) = line.strip_prefix("netsh advfirewall firewall ") else {
            continue;
        };
        if let Some(rule) = command.strip_prefix("delete rule ") {
            assert_eq!(rule, "name=\"offramp\" >nul");
            removals += 1;
            continue;
        }
        let command = command
            .strip_suffix(" >nul || exit /b 1")
            .expect("a checked command");
        let words = command_words(command);
        let value = |key: &str| {
            let of_key = words.iter().filter_map(|word| word.split_once('='));
            let values: Vec<&str> = of_key.filter(|it| it.0 == key).map(|it| it.1).collect();
            assert_eq!(values.len(), 1, "{key} in {line}");
            values[0].to_owned()
        };
        assert_eq!(words[..2], ["add", "rule"]);
        for (key, expected) in [
            ("name", "offramp"),
            ("action", "block"),
            ("protocol", "any"),
            ("enable", "yes"),
        ] {
            assert_eq!(value(key), expected);
        }
        let same = |words: &[&'static str], text: &str| {
            let known = words.iter().find(|word| **word == text);
            *known.unwrap_or_else(|| panic!("{text}"))
        };
        read.insert(Read {
            program: value("program"),
            direction: same(&["in", "out"], &value("dir")),
            profile: same(&["domain", "private", "public", "any"], &value("profile")),
            interface_type: word(
                &[
                    ("ras", "remote access"),
                    ("lan", "wired"),
                    ("wireless", "wireless"),
                    ("any", "any"),
                ],
                &value("interfacetype"),
            ),
            local: set(value("localip").split(',')),
            remote: set(value("remoteip").split(',')),
        });
    }
    assert_eq!(read, planned(fixed));
    assert_eq!(
        removals, 1,
        "everything the last run added goes by its name"
    );
}

#[test]
fn a_long_list_of_addresses_is_split_over_lines_that_cmd_takes() {
    let subnets: Vec<String> = (0..200).map(|at| format!("\"fd00:{at:x}::/33\"")).collect();
    let text = format!(
        "[vpn]\nclient_subnets = [\"fd01::/64\"]\n[corporate]\nsubnets = [{}]\n[[endpoint]]\nname = \"x\"\nproduct = \"lync-2010\"\n",
        subnets.join(", ")
    );
    let policy = policies::parsed(&text);
    let rendered =
        render(&rules::windows_netsh::TARGET, &policy, &Options::default()).expect("a program");
    assert!(rendered.measures.rules > 4);
    assert!(rendered.text.lines().all(|line| line.len() < 8_191));
}

#[test]
fn the_grammar_of_powershell_accepts_every_script_and_sees_its_commands() {
    let mut parser = tree_sitter::Parser::new();
    parser
        .set_language(&tree_sitter_powershell::LANGUAGE.into())
        .expect("a grammar of this version");
    let of_rules = [
        "ForEach-Object",
        "Get-Command",
        "Get-Wanted",
        "New-NetFirewallRule",
        "Out-Null",
        "Remove-NetFirewallRule",
        "Resolve-Path",
        "Write-Output",
        "Write-Warning",
    ];
    let of_clients = [
        "Get-NetFirewallProfile",
        "Test-Path",
        "Test-Profiles",
        "Where-Object",
    ];
    let of_comparison = [
        "Get-Difference",
        "Get-NetFirewallApplicationFilter",
        "Get-NetFirewallRule",
    ];
    let of_task = [
        "New-Item",
        "New-Object",
        "New-ScheduledTaskAction",
        "New-ScheduledTaskTrigger",
        "New-TimeSpan",
        "Get-Date",
        "Register-ScheduledTask",
        "Remove-Item",
        "Unregister-ScheduledTask",
    ];
    let looked_up = || planned(|_| true);
    for (target, programs, commands) in [
        (
            &rules::windows_firewall::TARGET,
            looked_up(),
            [&of_rules[..], &of_clients].concat(),
        ),
        (
            &rules::windows_firewall_gpo::TARGET,
            planned(fixed),
            [&of_rules[..], &["Open-NetGPO", "Save-NetGPO"]].concat(),
        ),
        (
            &rules::windows_remediation::TARGET,
            planned(|rule| rule.endpoint.is_ascii()),
            [&of_rules[..], &of_clients].concat(),
        ),
        (
            &rules::windows_remediation_detect::TARGET,
            planned(|rule| rule.endpoint.is_ascii()),
            [
                &[
                    "ForEach-Object",
                    "Get-Wanted",
                    "Resolve-Path",
                    "Select-Object",
                    "Write-Output",
                    "Write-Warning",
                ][..],
                &of_clients,
                &of_comparison,
            ]
            .concat(),
        ),
        // Its rules are in the text that the task is made of.
        (
            &rules::windows_task::TARGET,
            looked_up(),
            [&["Test-Path", "Out-Null"][..], &of_task].concat(),
        ),
    ] {
        let text = rendered(target);
        // Names with non-ASCII letters need the byte order mark, which is not part of the script.
        assert_eq!(text.starts_with('\u{feff}'), !text.is_ascii());
        let text = text.trim_start_matches('\u{feff}').to_owned();
        let tree = parser.parse(&text, None).expect("no limit was set");
        assert!(!tree.root_node().has_error(), "{text}");
        if let Some((_, script)) = text.split_once("@'\n") {
            let (script, _) = script.split_once("\n'@\n").expect("the end of the script");
            let tree = parser.parse(script, None).expect("no limit was set");
            assert!(!tree.root_node().has_error(), "{script}");
        }
        // Text from a policy stays text.
        let mut found = Vec::new();
        names_of_commands(tree.root_node(), &text, &mut found);
        let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
        let commands: BTreeSet<&str> = commands.into_iter().collect();
        assert_eq!(found, commands, "{target}: {text}");
        let paths: BTreeSet<String> = programs.into_iter().map(|it| it.program).collect();
        let written = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Path = '"));
        let written: BTreeSet<String> = written
            .map(|path| path.trim_end_matches('\'').replace("''", "'"))
            .collect();
        assert_eq!(written, paths);
    }
}

fn names_of_commands(node: tree_sitter::Node<'_>, text: &str, names: &mut Vec<String>) {
    if node.kind() == "command_name" {
        names.push(text[node.byte_range()].to_owned());
    }
    let mut cursor = node.walk();
    for child in node.children(&mut cursor) {
        names_of_commands(child, text, names);
    }
}

#[test]
fn what_intune_gets_is_read_back_as_it_was_planned() {
    let text = rendered(&rules::windows_intune::TARGET);
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let list = |value: &serde_json::Value| -> String {
        let items = value.as_array().expect("a list");
        set(items.iter().map(|item| item.as_str().expect("text")))
    };
    let rules = json["firewallRules"].as_array().expect("a list").iter();
    let read = rules.map(|rule| {
        assert_eq!(rule["action"], "blocked");
        Read {
            program: text(&rule["filePath"]),
            direction: word(
                &[("in", "in"), ("out", "out")],
                &text(&rule["trafficDirection"]),
            ),
            profile: word(
                &[
                    ("domain", "domain"),
                    ("private", "private"),
                    ("public", "public"),
                    ("notConfigured", "any"),
                ],
                &text(&rule["profileTypes"]),
            ),
            interface_type: word(
                &[
                    ("remoteAccess", "remote access"),
                    ("lan", "wired"),
                    ("wireless", "wireless"),
                    ("notConfigured", "any"),
                ],
                &text(&rule["interfaceTypes"]),
            ),
            local: list(&rule["localAddressRanges"]),
            remote: list(&rule["remoteAddressRanges"]),
        }
    });
    assert_eq!(read.collect::<BTreeSet<_>>(), planned(fixed));
}
