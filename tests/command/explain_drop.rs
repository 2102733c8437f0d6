//! `offramp explain --last-drop` and `--drop-log-line`: lines of a drop log, whole, cut short or missing.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::{Ended, Folder, offramp, program};

const POLICY: &str = "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n\
    [[server]]\nname = \"Front End\"\naddresses = [\"10.1.0.10\"]\n";

/// A line of a drop log, with `port` as destination.
fn line(reason: &str, source: &str, destination: &str, port: u16) -> String {
    format!(
        "{{\"time\":\"2026-11-29T08:00:01.250000Z\",\"reason\":\"{reason}\",\"enforced\":true,\"kind\":null,\"rule\":null,\
         \"source\":\"{source}\",\"source_port\":50000,\"destination\":\"{destination}\",\"destination_port\":{port},\
         \"protocol\":\"udp\",\"length\":48,\"generation\":3,\"unwritten\":0,\"evidence\":null,\"evidence_by\":null,\
         \"payload\":\"other\",\"malformed\":null}}\n"
    )
}

fn media(port: u16) -> String {
    line("media", "172.16.1.10", "10.20.0.7", port)
}

/// A policy whose drop log has `text`.
fn with_log(folder: &Folder, text: &str) -> String {
    let log = folder.write("drops.jsonl", text);
    folder.write(
        "policy.toml",
        format!("{POLICY}[gateway]\ndrop_log = \"{log}\"\n"),
    )
}

fn last_drop(policy: &str, arguments: &[&str]) -> Ended {
    offramp(&[&["explain", policy, "--last-drop"], arguments].concat())
}

#[test]
fn the_newest_line_that_matches_is_explained_also_from_rotated_files() {
    let folder = Folder::new("last_drop_newest");
    let text = [
        media(50_001),
        media(50_002),
        line("servers", "172.16.1.11", "10.1.0.10", 5_061),
    ];
    let policy = with_log(&folder, &text.concat());
    folder.write(
        "drops.jsonl.1",
        line("media", "172.16.1.77", "10.20.0.8", 50_003),
    );
    let shown = last_drop(&policy, &[]).success();
    assert!(shown.contains("to 10.1.0.10:5061, drop servers"), "{shown}");
    let shown = last_drop(&policy, &["--client", "172.16.1.10"]).success();
    assert!(shown.contains("to 10.20.0.7:50002"), "{shown}");
    let shown = last_drop(&policy, &["--to", "10.20.0.7:50001"]).success();
    assert!(shown.contains("to 10.20.0.7:50001"), "{shown}");
    let shown = last_drop(&policy, &["--client", "172.16.1.77"]).success();
    assert!(shown.contains("to 10.20.0.8:50003"), "{shown}");
    let said = last_drop(&policy, &["--client", "172.16.1.99"]).error(1);
    assert!(
        said.contains("none of the 4 lines") && said.contains("from 172.16.1.99"),
        "{said}"
    );
}

#[test]
fn a_policy_without_a_log_or_with_one_on_standard_output_is_told_what_to_do() {
    let folder = Folder::new("last_drop_none");
    let policy = folder.write("none.toml", POLICY);
    let said = last_drop(&policy, &[]).error(2);
    assert!(
        said.contains("has no drop log: write drop_log = "),
        "{said}"
    );
    let policy = folder.write(
        "output.toml",
        format!("{POLICY}[gateway]\ndrop_log = \"-\"\n"),
    );
    let said = last_drop(&policy, &[]).error(2);
    assert!(
        said.contains("standard output of the gateway") && said.contains("--drop-log-line"),
        "{said}"
    );
    let missing = folder.path("missing.jsonl");
    let policy = folder.write(
        "missing.toml",
        format!("{POLICY}[gateway]\ndrop_log = \"{missing}\"\n"),
    );
    let said = last_drop(&policy, &[]).error(1);
    assert!(said.contains("has no line"), "{said}");
}

#[test]
fn a_line_that_was_not_written_to_its_end_is_left_out_and_said() {
    let folder = Folder::new("last_drop_torn");
    let torn = &media(50_002)[..100];
    let policy = with_log(&folder, &format!("{}{torn}", media(50_001)));
    let ended = last_drop(&policy, &[]);
    assert!(
        ended.stderr.contains("a line of") && ended.stderr.contains("is cut short"),
        "{ended:?}"
    );
    assert!(ended.success().contains("to 10.20.0.7:50001"));

    let said = offramp(&["explain", &policy, "--drop-log-line", torn]).error(2);
    assert!(said.contains("the line is cut short"), "{said}");
    let said = offramp(&["explain", &policy, "--drop-log-line", "{\"time\":\"now\"}"]).error(2);
    assert!(
        said.contains("is none of a drop log: missing field `reason`"),
        "{said}"
    );
    let said = offramp(&["explain", &policy, "--drop-log-line", ""]).error(2);
    assert!(said.contains("there is no line"), "{said}");
}

#[test]
fn a_line_from_standard_input_is_explained() {
    let folder = Folder::new("drop_line_input");
    let policy = folder.write("policy.toml", POLICY);
    let mut command = program(&["explain", &policy, "--drop-log-line", "-", "--json"]);
    let explain = |command: &mut Command, text: &str| {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program");
        let mut input = child.stdin.take().expect("it is piped");
        input.write_all(text.as_bytes()).expect("it reads");
        drop(input);
        let output = child.wait_with_output().expect("it ends");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Ended {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    };
    let ended = explain(&mut command, &media(50_020));
    let told = ended.json();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(told["agrees"], true);
    assert_eq!(told["explanation"]["answers"][0]["reason"], "media");
    let two = [media(1_024), media(1_025)].concat();
    let said = explain(&mut command, &two).error(2);
    assert!(said.contains("these are several lines"), "{said}");
}

#[test]
fn a_policy_that_has_changed_since_is_said() {
    let folder = Folder::new("drop_line_changed");
    let policy = folder.write("policy.toml", POLICY);
    let line = line("servers", "172.16.1.10", "10.1.0.99", 53);
    let shown = offramp(&["explain", &policy, "--drop-log-line", &line]).success();
    assert!(shown.contains("forward default"), "{shown}");
    assert!(
        shown.contains("The gateway dropped it as \"servers\""),
        "{shown}"
    );
    assert!(shown.contains("(generation 3)"), "{shown}");
}

#[test]
fn what_the_header_alone_decided_is_explained_by_the_meaning_of_the_reason() {
    let folder = Folder::new("drop_line_header");
    let policy = folder.write("policy.toml", POLICY);
    let line = media(1)
        .replace("\"media\"", "\"malformed\"")
        .replace("\"172.16.1.10\"", "null")
        .replace("\"10.20.0.7\"", "null")
        .replace(
            "\"malformed\":null",
            "\"malformed\":\"shorter than its header\"",
        );
    let shown = offramp(&["explain", &policy, "--drop-log-line", &line]).success();
    assert!(
        shown.contains("drop malformed: The header is one that no host accepts"),
        "{shown}"
    );
    assert!(shown.contains("Here: shorter than its header."), "{shown}");
}

#[test]
fn flags_that_make_no_sense_together_are_refused() {
    for arguments in [
        &["--last-drop", "--from", "172.16.1.10"][..],
        &["--last-drop", "--protocol", "udp"],
        &["--client", "172.16.1.10"],
        &["--last-drop", "--drop-log-line", "{}"],
        &["--to", "10.0.0.1"],
        &[],
    ] {
        let ended = offramp(&[&["explain", "config/contoso.toml"], arguments].concat());
        ended.failure(2);
    }
}
