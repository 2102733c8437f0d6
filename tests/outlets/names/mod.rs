//! `offramp dns`, and other DNS servers with rendered files, answer clients according to the policy.
//!
//! Each gets the same queries, with a company DNS server behind it whose every answer is internal. The answers that a
//! server cannot give are in its list of differences, with the reason; one that no longer occurs fails the test, too.

mod dig;
mod leaky;
mod table;

use std::collections::BTreeSet;
use std::process::Command;

use crate::site::{Daemon, Host, in_sandbox};
use crate::support::{Folder, program, run};
use offramp::plan::Zones;
use offramp::render::{Options, Target, names, render};

/// A DNS server started with a rendered file, and its known differences.
struct Server {
    name: &'static str,
    address: &'static str,
    start: fn(&Host, &Folder, &str) -> Daemon,
    differences: &'static [Difference],
}

/// Queries with a different answer, and the reason.
struct Difference {
    /// Prefix of the queried name.
    name: &'static str,
    /// A part of the line that describes the difference.
    says: &'static str,
    why: &'static str,
}

impl Difference {
    fn tells(&self, line: &str) -> bool {
        line.starts_with(self.name) && line.contains(self.says)
    }
}

const fn differs(name: &'static str, says: &'static str, why: &'static str) -> Difference {
    Difference { name, says, why }
}

const SERVERS: [Server; 4] = [
    Server {
        name: "offramp",
        address: "127.0.0.14",
        start: start_offramp,
        differences: &[],
    },
    Server {
        name: "unbound",
        address: "127.0.0.11",
        start: start_unbound,
        differences: &[
            differs(
                "alias-of-",
                ": leaks ",
                "it looks at the name that is asked for, not at where an alias leads",
            ),
            differs(
                "",
                " SOA: {\"localhost.",
                "the start of authority of negative answers is data of the name",
            ),
            differs(
                "",
                " ANY: {} for ",
                "beside a start of authority it answers ANY with nothing; no client asks that",
            ),
        ],
    },
    Server {
        name: "named",
        address: "127.0.0.12",
        start: start_named,
        differences: &[],
    },
    Server {
        name: "dnsmasq",
        address: "127.0.0.13",
        start: start_dnsmasq,
        differences: &[
            differs(
                "alias-of-",
                ": leaks ",
                "it hands on what an alias leads to",
            ),
            differs(
                "",
                " SRV: leaks ",
                "it hands on what stands beside an answer",
            ),
            differs("", " MX: leaks ", "likewise"),
            differs(
                "use-application-dns.net ",
                ": NXDOMAIN for NOERROR",
                "a name of its own without records does not exist",
            ),
            differs(
                "mask.icloud.com ",
                ": NXDOMAIN for NOERROR",
                "likewise; to those who ask, both say the same",
            ),
            differs("_dns.resolver.arpa ", ": NXDOMAIN for NOERROR", "likewise"),
        ],
    },
];

fn rendered(target: &'static Target, listen: &str) -> String {
    let policy = table::policy(listen);
    render(target, &policy, &Options::default())
        .expect("all of it can be said")
        .text
}

fn start_offramp(host: &Host, folder: &Folder, address: &str) -> Daemon {
    let text = table::policy_text(&format!("{address}:53"));
    // The test is one client, and sends all queries at once.
    let text = text.replace("[dns]", "[dns]\nqueries_per_second = 1000000");
    let policy = folder.write("offramp.toml", text);
    let mut offramp = program(&["dns", &policy]);
    Daemon::start(
        host,
        "offramp dns",
        folder.path("offramp.log"),
        &mut offramp,
    )
}

fn start_unbound(host: &Host, folder: &Folder, address: &str) -> Daemon {
    let upstream = table::UPSTREAM;
    let view = folder.write(
        "unbound-offramp.conf",
        rendered(&names::unbound::TARGET, "127.0.0.1:53"),
    );
    let config = folder.write(
        "unbound.conf",
        format!(
            "server:\n  interface: {address}\n  do-not-query-localhost: no\n  username: \"\"\n  chroot: \"\"\n  \
             directory: \"{}\"\n  pidfile: \"\"\n  use-syslog: no\n  module-config: \"iterator\"\n\
             forward-zone:\n  name: \".\"\n  forward-addr: {upstream}\ninclude: \"{view}\"\n",
            folder.path("")
        ),
    );
    run(Command::new("unbound-checkconf").arg(&config)).success();
    let mut unbound = Command::new("unbound");
    unbound.args(["-d", "-c", &config]);
    Daemon::start(host, "unbound", folder.path("unbound.log"), &mut unbound)
}

fn start_named(host: &Host, folder: &Folder, address: &str) -> Daemon {
    let zone = folder.write("offramp.rpz", rendered(&names::rpz::TARGET, "127.0.0.1:53"));
    let view = folder.write(
        "named-offramp.conf",
        rendered(&names::bind::TARGET, "127.0.0.1:53"),
    );
    let here = folder.path("");
    let config = folder.write(
        "named.conf",
        format!(
            "options {{ directory \"{here}\"; listen-on {{ {address}; }}; listen-on-v6 {{ none; }};\n\
             pid-file none; session-keyfile none; dnssec-validation no; }};\ncontrols {{ }};\ninclude \"{view}\";\n"
        ),
    );
    run(Command::new("named-checkconf").args(["-z", &config])).success();
    let checked = run(Command::new("named-checkzone").args(["offramp.rpz", &zone])).success();
    assert!(checked.trim_end().ends_with("OK"), "{checked}");
    let mut named = Command::new("named");
    named.args(["-g", "-n", "1", "-c", &config]);
    let mut named = Daemon::start(host, "named", folder.path("named.log"), &mut named);
    // It answers as soon as it runs, a little before it has loaded the policy zone.
    named.wait_for_log("rpz: offramp.rpz: reload done: success");
    named
}

fn start_dnsmasq(host: &Host, folder: &Folder, address: &str) -> Daemon {
    let listen = format!("{address}:53");
    let config = folder.write(
        "dnsmasq-names.conf",
        rendered(&names::dnsmasq::TARGET, &listen),
    );
    run(Command::new("dnsmasq").args(["--test", &format!("--conf-file={config}")])).success();
    let mut dnsmasq = Command::new("dnsmasq");
    dnsmasq.args([
        "--no-daemon",
        "--pid-file=",
        &format!("--conf-file={config}"),
    ]);
    Daemon::start(host, "dnsmasq", folder.path("dnsmasq.log"), &mut dnsmasq)
}

#[test]
fn every_server_answers_as_the_policy_says() {
    let programs = [
        "dig",
        "unbound",
        "unbound-checkconf",
        "named",
        "named-checkconf",
        "named-checkzone",
        "dnsmasq",
    ];
    in_sandbox(&programs, || {
        let host = Host::new("resolver");
        // BIND listens at addresses that an interface has.
        host.ip("address add 127.0.0.12/8 dev lo");
        let folder = Folder::new("names_servers");
        leaky::start(&host, table::UPSTREAM);
        let questions = table::questions();
        let zones = Zones::of(&table::policy("127.0.0.1:53"));
        let direct = dig::ask(&host, &folder, table::UPSTREAM, &questions);
        let mut wrong = Vec::new();
        for server in SERVERS {
            let mut daemon = (server.start)(&host, &folder, server.address);
            let socket = format!("{}:53", server.address);
            daemon.wait_until("it listens", |_| host.listens("--udp", &socket));
            let replies = dig::ask(&host, &folder, server.address, &questions);
            let found = table::differences(&zones, &questions, &direct, &replies);
            wrong.extend(unexpected(&server, &found));
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

/// Differences that are not in the server's list, and entries of the list without a difference.
fn unexpected(server: &Server, found: &BTreeSet<String>) -> Vec<String> {
    let Server {
        name, differences, ..
    } = server;
    let surplus = found
        .iter()
        .filter(|line| !differences.iter().any(|it| it.tells(line)));
    let gone = differences
        .iter()
        .filter(|it| !found.iter().any(|line| it.tells(line)));
    surplus
        .map(|line| format!("{name}: {line}"))
        .chain(gone.map(|it| {
            format!(
                "{name}: no line tells {:?} {:?} any more ({})",
                it.name, it.says, it.why
            )
        }))
        .collect()
}

#[test]
fn the_grammar_of_powershell_accepts_every_script() {
    let mut parser = tree_sitter::Parser::new();
    parser
        .set_language(&tree_sitter_powershell::LANGUAGE.into())
        .expect("a grammar of this version");
    for target in [
        &names::windows_dns::TARGET,
        &names::windows_dns_policy::TARGET,
        &names::windows_nrpt::TARGET,
    ] {
        let text = rendered(target, "172.16.1.1:53");
        let tree = parser.parse(&text, None).expect("no limit was set");
        assert!(!tree.root_node().has_error(), "{target}\n{text}");
        if *target == names::windows_nrpt::TARGET {
            // A rule for each name, and what a run begins with.
            let rules = text.matches("\nAdd-DnsClientNrptRule ").count();
            assert_eq!(commands(tree.root_node()), rules + 4, "{text}");
            continue;
        }
        // Every line is an intended command: none hides in another's text.
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let piped = text.matches(" | ").count();
        assert_eq!(
            commands(tree.root_node()),
            lines.count() + piped,
            "{target}\n{text}"
        );
    }
}

fn commands(node: tree_sitter::Node<'_>) -> usize {
    let mut cursor = node.walk();
    let below: usize = node.children(&mut cursor).map(commands).sum();
    below + usize::from(node.kind() == "command")
}

#[test]
fn every_line_of_dnscmd_is_a_command_that_it_knows() {
    let text = rendered(&names::windows_dnscmd::TARGET, "172.16.1.1:53");
    assert!(is_crlf(&text), "cmd.exe reads lines that end in CR LF");
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["rem", ..] => {}
            ["dnscmd", ".", "/zoneadd", zone, "/primary", "/file", file] => {
                assert_eq!(format!("{zone}dns"), file, "{line}");
            }
            ["dnscmd", ".", "/recordadd", _, "@", "60", "A", address] => {
                assert!(address.parse::<std::net::Ipv4Addr>().is_ok(), "{line}");
            }
            ["dnscmd", ".", "/recordadd", _, "@", "60", "AAAA", address] => {
                assert!(address.parse::<std::net::Ipv6Addr>().is_ok(), "{line}");
            }
            [
                "dnscmd",
                ".",
                "/recordadd",
                _,
                "@",
                "60",
                "SRV",
                _,
                _,
                _,
                target,
            ] => {
                assert!(target.ends_with('.'), "{line}");
            }
            _ => panic!("{line}"),
        }
    }
}

fn is_crlf(text: &str) -> bool {
    text.split_inclusive('\n')
        .all(|line| line.ends_with("\r\n"))
}
