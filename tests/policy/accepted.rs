//! Policies that are accepted: the examples in `config/`, with exactly the expected warnings, and everything the
//! format tolerates.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use offramp::policy::{self, Code, Diagnostics, Policy, PortRange, Severity, Style};

use crate::skip::recorded_captures;

fn accept(text: &[u8]) -> (Policy, Diagnostics) {
    match policy::parse("policy.toml", text) {
        Ok(accepted) => accepted,
        Err(errors) => panic!("refused:\n{}", errors.render(Style::Plain)),
    }
}

fn example(name: &str) -> (Policy, Diagnostics) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("config")
        .join(name);
    let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    accept(&text)
}

fn codes(diagnostics: &Diagnostics) -> Vec<Code> {
    diagnostics.iter().map(policy::Diagnostic::code).collect()
}

/// Asserts that a policy survives printing; line numbers are not compared.
fn assert_prints_itself(policy: &Policy) {
    let printed = policy.to_string();
    let (again, _) = accept(printed.as_bytes());
    assert_eq!(again.to_string(), printed);
}

#[test]
fn the_article_whole_is_accepted_with_its_exceptions() {
    let (policy, warnings) = example("contoso.toml");
    assert_eq!(
        codes(&warnings),
        [Code::MediaPortsCoverServices],
        "{warnings}"
    );
    let help = warnings
        .iter()
        .next()
        .map(|item| item.help().join("\n"))
        .unwrap_or_default();
    let left = "dropped: Oracle (tcp 1521), NFS (2049), MySQL (tcp 3306), PostgreSQL (tcp 5432), VNC (tcp 5900)\n";
    assert!(help.starts_with(left), "{help}");
    assert_eq!(policy.servers.len(), 5);
    assert_eq!(policy.publics.len(), 5);
    assert_eq!(policy.publics[0].srv[0].port, 443);
    assert_eq!(
        policy.vpn.client_subnets[0].value.to_string(),
        "172.16.1.0/24"
    );
    assert_eq!(policy.vpn.client_subnets[0].line, 10);
    assert_eq!(policy.tests[0].claim.expected(), "drop media");
    assert_prints_itself(&policy);
}

#[test]
fn each_example_earns_exactly_the_warnings_it_means_to() {
    let expected: [(&str, &[Code]); 6] = [
        ("contoso.toml", &[Code::MediaPortsCoverServices]),
        ("minimal.toml", &[]),
        ("mixed.toml", &[]),
        ("teams-only.toml", &[]),
        ("dual-stack.toml", &[]),
        ("ocserv-skype.toml", &[]),
    ];
    for (name, expected) in expected {
        let (policy, warnings) = example(name);
        assert_eq!(codes(&warnings), expected, "{name}: {warnings}");
        assert_prints_itself(&policy);
    }
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let files = fs::read_dir(directory).expect("config/ is part of the repository");
    let policies = files.filter(|file| {
        let path = file.as_ref().map(fs::DirEntry::path).unwrap_or_default();
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    assert_eq!(
        policies.count(),
        expected.len(),
        "an example is not in this test"
    );
}

#[test]
fn one_section_is_enough() {
    let (policy, warnings) = accept(b"[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n");
    assert_eq!(codes(&warnings), [Code::NoCorporate]);
    assert_eq!(
        Some(policy.media.ports[0].value),
        PortRange::new(1024, 65535)
    );
    assert_eq!(policy.media.ports[0].line, 0, "no line of the file says so");
    assert_prints_itself(&policy);
}

#[test]
fn an_allow_to_the_clients_says_so_when_it_is_printed() {
    let text = "[vpn]\nclient_subnets = [\"172.16.1.0/24\", \"fd00:1::/64\"]\n\
                [corporate]\nsubnets = [\"10.0.0.0/8\", \"fd00:2::/48\"]\n\
                [media]\nports = [\"50000-50059\"]\n\
                [[allow]]\nname = \"help\"\nto = [\"10.0.0.0/8\", \"clients\"]\n";
    let (policy, warnings) = accept(text.as_bytes());
    assert_eq!(codes(&warnings), []);
    let prefixes = policy.allows[0].prefixes(&policy.vpn);
    let prefixes: Vec<_> = prefixes.map(|it| (it.value.to_string(), it.line)).collect();
    let expected = ["10.0.0.0/8", "172.16.1.0/24", "fd00:1::/64"].map(|it| (it.to_owned(), 9));
    assert_eq!(prefixes, expected);
    assert!(
        policy
            .to_string()
            .contains("to = [\"10.0.0.0/8\", \"clients\"]\n")
    );
    assert_prints_itself(&policy);
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_change_nothing() {
    let unix =
        "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"fd00::/8\"]\n";
    let windows = format!("\u{feff}{}", unix.replace('\n', "\r\n"));
    let (plain, plain_warnings) = accept(unix.as_bytes());
    let (marked, marked_warnings) = accept(windows.as_bytes());
    assert_eq!(plain, marked);
    let places = |warnings: &Diagnostics| -> Vec<_> {
        let places = warnings
            .iter()
            .map(|item| (item.code(), item.line(), item.column()));
        places.collect()
    };
    assert_eq!(places(&plain_warnings), places(&marked_warnings));
}

#[test]
fn an_address_and_a_prefix_are_both_taken() {
    let text = "[vpn]\nclient_subnets = [\"172.16.1.7\", \"2001:db8::7\", \"172.16.0.0/12\"]\n";
    let (policy, _) = accept(text.as_bytes());
    let written: Vec<_> = policy
        .vpn
        .client_subnets
        .iter()
        .map(|prefix| prefix.value.to_string())
        .collect();
    assert_eq!(
        written,
        ["172.16.1.7/32", "2001:db8::7/128", "172.16.0.0/12"]
    );
}

#[test]
fn host_names_are_taken_without_regard_to_case_and_final_dot() {
    let text =
        "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[dns]\nsip_domains = [\"Contoso.COM.\"]\n";
    let (policy, _) = accept(text.as_bytes());
    assert_eq!(policy.dns.sip_domains[0].value, "contoso.com");
}

#[test]
fn policies_of_recorded_captures_are_accepted() {
    let Some(folder) = recorded_captures() else {
        return;
    };
    let files = fs::read_dir(&folder).expect("the folder of captures can be listed");
    let mut accepted = 0;
    let mut earned = BTreeSet::new();
    for file in files {
        let path = file.map(|file| file.path()).unwrap_or_default();
        if !path.to_string_lossy().ends_with(".policy.toml") {
            continue;
        }
        let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        match policy::parse(&path.to_string_lossy(), &text) {
            Ok((policy, warnings)) => {
                assert_eq!(warnings.count(Severity::Error), 0);
                earned.extend(codes(&warnings));
                assert_prints_itself(&policy);
            }
            Err(errors) => panic!("{}", errors.render(Style::Plain)),
        }
        accepted += 1;
    }
    assert!(accepted >= 60, "only {accepted} policies found");
    assert!(earned.contains(&Code::ServerAndPublic), "{earned:?}");
}
