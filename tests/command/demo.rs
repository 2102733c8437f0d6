//! `offramp demo` as a new user runs it.

use std::path::Path;
use std::process::Command;

use crate::support::{Ended, Folder, is_installed, program, project, run, skip};

/// Runs the demo with temporary files in `temporary`; `None` if the system lacks something it needs.
fn demo(arguments: &[&str], temporary: &Folder) -> Option<Ended> {
    if !["ip", "nft", "nsenter", "setpriv"].iter().all(is_installed) {
        return None;
    }
    if !Path::new("/dev/net/tun").exists() {
        skip("this system has no /dev/net/tun");
        return None;
    }
    let mut demo = program(&[&["demo"][..], arguments].concat());
    Some(run(demo.env("TMPDIR", temporary.path(""))))
}

/// Returns the state of the host that a demo must not change.
fn surroundings() -> String {
    let list = |words: &[&str]| run(Command::new(words[0]).args(&words[1..])).stdout;
    [
        list(&["ip", "-brief", "link"]),
        list(&["ip", "rule"]),
        list(&["ip", "netns"]),
    ]
    .join("\n")
}

#[test]
fn the_demo_shows_the_articles_traffic_before_and_after_and_leaves_nothing() {
    let before = surroundings();
    let temporary = Folder::new("demo");
    let Some(ended) = demo(&[], &temporary) else {
        return;
    };
    let steps = ended.stderr.clone();
    let text = ended.success();
    let row = |name: &str| {
        let found = text.lines().find(|line| line.starts_with(name));
        found.unwrap_or_else(|| panic!("{name}: {text}")).to_owned()
    };
    for dropped in [
        "SIP to the Front End",
        "media to an office",
        "media to the other client",
    ] {
        assert!(row(dropped).contains("passes  blocked"), "{text}");
    }
    for passes in [
        "media relayed by the A/V Edge",
        "HTTPS",
        "SMB",
        "Remote Desktop",
        "ping",
    ] {
        assert!(row(passes).contains("passes  passes"), "{text}");
    }
    let sip = row("sip.contoso.com");
    assert!(sip.contains("10.1.0.10  167.55.49.32"), "{text}");
    let internal = row("lyncdiscoverinternal.contoso.com");
    assert!(internal.contains("10.1.0.10  no such name"), "{text}");
    let intranet = row("intranet.contoso.com");
    assert!(intranet.contains("10.5.0.2"), "{text}");
    assert!(text.contains("12 of 12 match the policy"), "{text}");
    let wide = text.lines().find(|line| line.chars().count() > 80);
    assert_eq!(wide, None, "for a terminal of 80 columns");
    let readme = std::fs::read_to_string(project("README.md")).expect("README.md");
    let mut blocks = readme.split("```text\n");
    let shown = blocks.find(|block| block.starts_with("Traffic "));
    let shown = shown.expect("the demo's output");
    let (shown, _) = shown.split_once("```").expect("its end");
    // Retransmissions vary in number.
    for line in shown.lines().filter(|line| !line.contains("packets.")) {
        assert!(
            text.lines().any(|it| it == line),
            "README.md has {line}\n{text}"
        );
    }
    assert!(
        steps.contains("starting offramp run on the concentrator"),
        "{steps}"
    );
    assert_eq!(surroundings(), before);
    let left = std::fs::read_dir(temporary.path("")).expect("it was made above");
    assert_eq!(left.count(), 0, "temporary files are left");
}

#[test]
fn the_demo_is_also_for_programs() {
    let temporary = Folder::new("demo-json");
    let Some(ended) = demo(&["--json"], &temporary) else {
        return;
    };
    let result = ended.json();
    ended.success();
    let traffic = result["traffic"].as_array().expect("a list");
    assert_eq!(traffic.len(), 8);
    assert!(
        traffic.iter().all(|case| case["as_expected"] == true),
        "{result:#}"
    );
    let names = result["names"].as_array().expect("a list");
    assert_eq!(names.len(), 4);
    assert!(
        names.iter().all(|name| name["as_expected"] == true),
        "{result:#}"
    );
    let dropped = result["status"]["verdicts"].as_array().expect("a list");
    for reason in ["servers", "media", "hairpin"] {
        assert!(
            dropped.iter().any(|verdict| verdict["reason"] == reason),
            "{result:#}"
        );
    }
}

#[test]
fn where_namespaces_are_forbidden_the_demo_says_what_to_do() {
    if !["unshare", "setpriv"].iter().all(is_installed) {
        return;
    }
    // A process of the user nobody, in a user namespace that allows no nested ones.
    let demo = program(&["demo"]);
    let mut forbidden = Command::new("unshare");
    forbidden
        .args(["--user", "--map-root-user", "sh", "-c"])
        .arg(format!(
            "echo 0 > /proc/sys/user/max_user_namespaces && \
         exec setpriv --bounding-set -all --inh-caps -all --no-new-privs {} demo",
            demo.get_program().display()
        ));
    let ended = run(&mut forbidden);
    if ended.stderr.contains("cannot open /proc/sys") || ended.stderr.contains("unshare") {
        return skip("this system does not let user namespaces be limited");
    }
    let said = ended.failure(1);
    assert!(said.contains("sudo offramp demo"), "{said}");
}
