//! `offramp check` as a user runs it: refuses every class of mistake and names its place, and accepts valid policies.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::{Folder, is_installed, offramp, program, project, run};

/// A valid policy, to which tests add lines.
const GOOD: &str = r#"[vpn]
client_subnets = ["172.16.1.0/24"]

[corporate]
subnets = ["10.0.0.0/8"]

[media]
ports = ["50000-50059"]
"#;

/// Checks a policy that must be refused; returns the message.
#[track_caller]
fn refusal(path: &str) -> String {
    let ended = offramp(&["check", path]);
    assert_eq!(ended.stdout, "");
    ended.failure(2)
}

#[test]
fn every_example_is_in_order() {
    let folder = fs::read_dir(project("config")).expect("config/ is part of the repository");
    let mut count = 0;
    for entry in folder {
        let name = entry.expect("an entry of config/").file_name();
        let path = format!("config/{}", name.display());
        if !path.ends_with(".toml") {
            // Keys for dashboards and similar tools.
            continue;
        }
        let printed = offramp(&["check", &path]).success();
        assert!(
            printed.starts_with(&format!("{path} is in order")),
            "{printed}"
        );
        let ended = offramp(&["check", &path, "--json"]);
        let result = ended.json();
        assert_eq!(ended.stderr, "", "{path}");
        ended.success();
        assert_eq!(result["policy"], path);
        assert_eq!(result["in_order"], true);
        assert_eq!(result["broken_tests"].as_array().map(Vec::len), Some(0));
        assert!(result["table_bytes"].as_u64() > Some(0), "{result:#}");
        for diagnostic in result["diagnostics"].as_array().expect("a list") {
            assert_eq!(diagnostic["severity"], "warning", "{path}");
        }
        count += 1;
    }
    assert!(count >= 5, "only {count} examples");
}

/// Mistakes: the text added to the valid policy, the line it is in, the error code, and a part of the message.
const MISTAKES: [(&str, u32, &str, &str); 14] = [
    ("ports 50000\n", 9, "syntax", "not TOML"),
    (
        "ports = [\"1-2\"]\n",
        9,
        "duplicate-key",
        "`ports` is given twice",
    ),
    (
        "[filter]\nunknown_sorce = \"drop\"\n",
        10,
        "unknown-key",
        "did you mean `unknown_source`?",
    ),
    (
        "[corprate]\n",
        9,
        "unknown-section",
        "did you mean [corporate]?",
    ),
    (
        "[[allow]]\nname = \"A\"\nto = [\"10.1.0\"]\n",
        11,
        "bad-prefix",
        "did you mean 10.1.0.0/24?",
    ),
    (
        "[[allow]]\nname = \"A\"\nto = [\"10.1.0.1/16\"]\n",
        11,
        "host-bits",
        "10.1.0.1/16 has host bits set",
    ),
    (
        "[[allow]]\nname = \"A\"\nto = [\"::ffff:10.1.0.0/112\"]\n",
        11,
        "mapped-address",
        "write 10.1.0.0/16",
    ),
    (
        "[[allow]]\nname = \"A\"\nto = [\"fd00:c0de:\"]\n",
        11,
        "bad-",
        "fd00:c0de:",
    ),
    (
        "[[allow]]\nname = \"A\"\nto = []\n",
        11,
        "empty-list",
        "`to` of [[allow]] is empty",
    ),
    (
        "[[allow]]\nname = \"A\"\nports = [\"20-10\"]\n",
        11,
        "port-order",
        "did you mean 10-20?",
    ),
    (
        "[[allow]]\nname = \"A\"\nports = [\"70000\"]\n",
        11,
        "bad-port",
        "port 70000 is above 65535",
    ),
    (
        "[[allow]]\nname = \"A\"\nports = [\"0\"]\n",
        11,
        "bad-port",
        "port 0 is refused",
    ),
    (
        "[[server]]\nname = \"A\"\n[[server]]\nname = \"A\"\n",
        12,
        "duplicate-name",
        "two [[server]] are named \"A\"",
    ),
    (
        "[dns]\nlisten = [\"10.0.0.53\"]\n",
        10,
        "bad-address",
        "`10.0.0.53` has no port",
    ),
];

#[test]
fn every_class_of_mistakes_is_refused_with_file_and_line() {
    let folder = Folder::new("every_class_of_mistakes");
    for (addition, line, code, message) in MISTAKES {
        let path = folder.write("policy.toml", format!("{GOOD}{addition}"));
        let printed = refusal(&path);
        assert!(
            printed.contains(&format!("{path}:{line}:")),
            "{addition}: {printed}"
        );
        assert!(
            printed.contains(&format!("error[{code}")),
            "{addition}: {printed}"
        );
        assert!(printed.contains(message), "{addition}: {printed}");
        assert!(
            printed.contains(&format!("error: {path} is refused for ")),
            "{printed}"
        );
    }
}

#[test]
fn no_clients_the_whole_internet_and_a_dns_server_that_asks_itself_are_refused() {
    let folder = Folder::new("no_clients");
    let both = "\"172.16.1.0/24\"]\n\n[corporate]\nsubnets = [\"10.0.0.0/8\"]";
    let live = |clients: &str, corporate: &str| {
        // With an interface, this is a gateway's policy; without one, it may judge captures by all addresses.
        format!("\"{clients}\"]\ninterfaces = [\"tun0\"]\n[corporate]\nsubnets = [\"{corporate}\"]")
    };
    let itself = "\ndns_servers = [\"10.0.0.53\"]\n[dns]\nlisten = [\"10.0.0.53:53\"]\n[media]\n";
    let cases = [
        ("\"172.16.1.0/24\"", String::new(), 2, "empty-list"),
        (
            "client_subnets = [\"172.16.1.0/24\"]",
            String::new(),
            1,
            "missing-key",
        ),
        (both, live("0.0.0.0/0", "10.0.0.0/8"), 2, "whole-internet"),
        (
            both,
            live("172.16.1.0/24", "0.0.0.0/0"),
            5,
            "whole-internet",
        ),
        (both, live("172.16.1.0/24", "::/0"), 5, "whole-internet"),
        ("\n\n[media]\n", itself.to_owned(), 6, "dns-loop"),
    ];
    for (good, bad, line, code) in cases {
        let path = folder.write("policy.toml", GOOD.replacen(good, &bad, 1));
        let printed = refusal(&path);
        assert!(
            printed.contains(&format!("error[{code}]")),
            "{bad}: {printed}"
        );
        assert!(
            printed.contains(&format!("{path}:{line}:")),
            "{bad}: {printed}"
        );
    }
}

#[test]
fn a_policy_with_a_warning_is_in_order_and_the_warning_has_its_line() {
    for (code, section) in [
        (
            "allow-without-effect",
            "[[allow]]\nname = \"Elsewhere\"\nto = [\"192.0.2.0/24\"]\n",
        ),
        (
            "public-is-private",
            "[[public]]\nname = \"Edge\"\naddresses = [\"192.168.7.5\"]\nhosts = [\"sip.contoso.com\"]\n",
        ),
    ] {
        let folder = Folder::new("a_policy_with_a_warning");
        let path = folder.write("policy.toml", format!("{GOOD}\n{section}"));
        let ended = offramp(&["check", &path]);
        let warnings = &ended.stderr;
        assert!(warnings.contains(&format!("warning[{code}]")), "{warnings}");
        assert!(warnings.contains(&format!("{path}:12:")), "{warnings}");
        let printed = ended.success();
        assert!(printed.contains("is in order; see the "), "{printed}");
    }
}

#[test]
fn a_path_that_leads_to_no_file_is_called_what_it_is() {
    let folder = Folder::new("no_file");
    let dangling = folder.path("dangling.toml");
    std::os::unix::fs::symlink(folder.path("nowhere"), &dangling).expect("a symbolic link");
    let cases = [
        (folder.path("missing.toml"), "No such file"),
        (dangling, "No such file"),
        (folder.path(""), "it is a directory"),
        (folder.fifo("fifo"), "it is not a regular file"),
        ("/dev/zero".to_owned(), "it is not a regular file"),
    ];
    for (path, expected) in cases {
        let printed = refusal(&path);
        assert!(
            printed.starts_with(&format!("error: policy {path}: {expected}")),
            "{printed}"
        );
        assert_eq!(printed.lines().count(), 1, "{printed}");
    }
}

#[test]
fn a_mistake_in_a_value_of_megabytes_takes_little_memory() {
    if !is_installed("prlimit") {
        return;
    }
    let folder = Folder::new("megabytes");
    let value = "a".repeat(4 << 20);
    let text = format!("{GOOD}[[server]]\nname = \"{value}\"\naddresses = [\"10.1.0.10\"]\n");
    let path = folder.write("policy.toml", text);
    let mut check = Command::new("prlimit");
    // Some copies of the text, and the program itself.
    check.args(["--data=60000000", "--"]);
    check.args([env!("CARGO_BIN_EXE_offramp"), "check", &path]);
    let printed = run(&mut check).failure(2);
    assert!(printed.contains("is refused for 1 mistake"), "{printed}");
    assert!(printed.len() < 100_000, "{} bytes", printed.len());
}

#[test]
fn a_file_that_may_not_be_read_is_refused() {
    let folder = Folder::new("may_not_be_read");
    let path = folder.write("policy.toml", GOOD);
    let nobody = fs::Permissions::from_mode(0o000);
    fs::set_permissions(&path, nobody).expect("a file of ours");
    let mut check = program(&["check", &path]);
    if fs::read(&path).is_ok() {
        // Root can read every file until it loses these capabilities.
        if !is_installed("setpriv") {
            return;
        }
        let as_root = check;
        check = Command::new("setpriv");
        check
            .args(["--bounding-set", "-dac_override,-dac_read_search"])
            .arg(as_root.get_program())
            .args(as_root.get_args());
    }
    let printed = run(&mut check).failure(2);
    assert!(
        printed.starts_with(&format!("error: policy {path}: Permission denied")),
        "{printed}"
    );
}

#[test]
fn bytes_that_are_no_policy_are_refused_with_their_place() {
    let folder = Folder::new("no_policy");
    let pcap = fs::read(project("tests/captures/link-ethernet.pcap")).expect("a capture");
    let cases: [(&str, Vec<u8>, &str, &str); 5] = [
        ("an empty file", Vec::new(), "", "missing-key"),
        (
            "blanks and comments",
            b"\n# nothing\n\n".to_vec(),
            "",
            "missing-key",
        ),
        (
            "NUL bytes",
            [GOOD.as_bytes(), b"\0\0\0"].concat(),
            ":9:",
            "nul-byte",
        ),
        (
            "Latin-1",
            [GOOD.as_bytes(), b"# B\xfcro\n"].concat(),
            ":9:",
            "not-utf8",
        ),
        ("a capture", pcap, ":1:1", "not-utf8"),
    ];
    for (what, bytes, line, code) in cases {
        let path = folder.write("policy.toml", bytes);
        let printed = refusal(&path);
        assert!(
            printed.contains(&format!("> {path}{line}")),
            "{what}: {printed}"
        );
        assert!(
            printed.contains(&format!("error[{code}]")),
            "{what}: {printed}"
        );
        assert!(!printed.contains('\0'), "{what}: {printed:?}");
    }
}

#[test]
fn ten_megabytes_of_mistakes_end_soon_and_are_counted() {
    let folder = Folder::new("ten_megabytes");
    let path = folder.write("policy.toml", "client_subnets\n".repeat(700_000));
    let printed = refusal(&path);
    assert!(
        printed.contains(&format!("{path}:1:")),
        "{}",
        &printed[..400]
    );
}

#[test]
fn a_byte_order_mark_and_line_ends_of_windows_are_taken() {
    let folder = Folder::new("windows");
    let windows = format!("\u{feff}{GOOD}").replace('\n', "\r\n");
    let path = folder.write("policy.toml", &windows);
    let printed = offramp(&["check", &path]).success();
    assert!(printed.contains("is in order"), "{printed}");
    let path = folder.write("policy.toml", windows.replace("10.0.0.0/8", "10.0.0.1/8"));
    let printed = refusal(&path);
    assert!(printed.contains(&format!("{path}:5:12")), "{printed}");
}

const BROKEN_TEST: &str = r#"
[[test]]
name = "web pages load"
from = "172.16.1.10:51000"
to = "10.5.0.2:50010"
protocol = "tcp"
expect = "forward default"
"#;

#[test]
fn a_test_that_does_not_hold_refuses_the_policy() {
    let folder = Folder::new("a_test_that_does_not_hold");
    let path = folder.write("policy.toml", format!("{GOOD}{BROKEN_TEST}"));
    let printed = refusal(&path);
    let expected = format!(
        "{path}:15: test \"web pages load\" does not hold\n  expected  forward default\n  actual    drop media: corporate.subnets 10.0.0.0/8 in line 5\n"
    );
    assert!(printed.contains(&expected), "{printed}");
    assert!(
        printed.contains("is refused for 1 test that does not hold"),
        "{printed}"
    );

    let ended = offramp(&["check", &path, "--json"]);
    let result = ended.json();
    assert_eq!(result["in_order"], false);
    let broken = &result["broken_tests"][0];
    assert_eq!(
        (&broken["name"], &broken["line"]),
        (&"web pages load".into(), &15.into())
    );
    assert_eq!(
        (&broken["verdict"], &broken["reason"]),
        (&"drop".into(), &"media".into())
    );
    assert_eq!(broken["expected"], "forward default");
    ended.failure(2);
}

#[test]
fn mistakes_as_json_have_their_code_and_place() {
    let ended = offramp(&[
        "check",
        "tests/refused/host_bits_of_the_article.toml",
        "--json",
    ]);
    let result = ended.json();
    assert_eq!(ended.stderr, "");
    ended.failure(2);
    assert_eq!(result["in_order"], false);
    assert_eq!(result["table_bytes"], serde_json::Value::Null);
    let mistake = &result["diagnostics"][0];
    assert_eq!(
        (&mistake["severity"], &mistake["code"]),
        (&"error".into(), &"host-bits".into())
    );
    assert_eq!(
        (&mistake["line"], &mistake["column"]),
        (&2.into(), &19.into())
    );
    let message = mistake["message"].as_str().unwrap_or_default();
    assert!(message.contains("did you mean 172.16.1.0/24"), "{message}");
}

#[test]
fn mistakes_are_colored_for_those_who_ask() {
    let path = "tests/refused/host_bits.toml";
    assert!(!refusal(path).contains('\u{1b}'));
    let colored = offramp(&["check", path, "--color", "always"]).failure(2);
    assert!(colored.contains("\u{1b}["), "{colored}");
}

#[test]
fn mistakes_are_told_in_the_formats_of_code_hosts_with_their_start_and_end() {
    let folder = Folder::new("annotations");
    let path = folder.write(
        "site.toml",
        "[vpn]\nclient_subnets = [\"172.16.1.0/8\"]\n[corporate]\nsubnets = [\n  \"x\",\n]\n",
    );
    let ended = offramp(&["check", &path, "--format", "github"]);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    let place = "line=2,endLine=2,col=19,endColumn=33,title=host-bits::prefix 172.16.1.0/8 has host bits set";
    assert!(
        lines[0].starts_with("::error file=") && lines[0].contains(place),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].contains("line=5,endLine=5,col=3,endColumn=6,title=bad-address::"),
        "{}",
        lines[1]
    );
    assert_eq!(ended.code, Some(2));

    let ended = offramp(&["check", &path, "--format", "sarif"]);
    let log = ended.json();
    assert_eq!(log["version"], "2.1.0");
    let results = log["runs"][0]["results"].as_array().expect("a list");
    assert_eq!(results.len(), 2);
    let location = &results[0]["locations"][0]["physicalLocation"];
    assert_eq!(location["artifactLocation"]["uri"], path);
    let region =
        serde_json::json!({ "startLine": 2, "startColumn": 19, "endLine": 2, "endColumn": 33 });
    assert_eq!(location["region"], region);
    assert_eq!(results[0]["ruleId"], "host-bits");
    assert_eq!(ended.code, Some(2));
}

#[test]
fn warnings_fail_a_check_that_denies_them() {
    let good = "config/minimal.toml";
    offramp(&["check", good, "--deny-warnings"]).success();
    let warned = "tests/warned/families.toml";
    offramp(&["check", warned]).success();
    for format in ["text", "json", "github", "sarif"] {
        let ended = offramp(&["check", warned, "--deny-warnings", "--format", format]);
        assert_eq!(ended.code, Some(3), "{format}: {ended:#?}");
    }
    let github = offramp(&["check", warned, "--format", "github"]).success();
    assert!(
        github
            .lines()
            .all(|line| line.starts_with("::warning file=")),
        "{github}"
    );
    assert!(!github.is_empty());
}

/// A policy with a warning for its ports, and one for a feed that is not there.
const WARNED: &str = r#"[vpn]
client_subnets = ["172.16.1.0/24"]
[corporate]
subnets = ["10.0.0.0/8"]
[[feed]]
name = "Zoom"
format = "prefixes"
file = "zoom.txt"
"#;

#[test]
fn accepted_warnings_are_listed_apart_with_their_reason() {
    let folder = Folder::new("check-accept");
    let check = |accepts: &str, arguments: &[&str]| {
        let path = folder.write("site.toml", format!("{WARNED}{accepts}"));
        offramp(&[&["check", &path], arguments].concat())
    };
    let ports = "[[accept]]\nwarning = \"media-ports-cover-services\"\nreason = \"seen in May\"\n";
    let one = check(ports, &[]);
    assert!(
        !one.stderr.contains("media-ports-cover-services"),
        "{one:?}"
    );
    assert!(one.stderr.contains("warning[feed-not-loaded]"), "{one:?}");
    let told = one.success();
    assert!(
        told.contains("is in order; see the warning above"),
        "{told}"
    );
    assert!(
        told.contains("accepted: media-ports-cover-services, line "),
        "{told}"
    );
    assert!(told.contains("reason, line 10: seen in May"), "{told}");
    assert_eq!(check(ports, &["--deny-warnings"]).code, Some(3));

    let about = |text| {
        format!(
            "{ports}[[accept]]\nwarning = \"feed-not-loaded\"\nabout = \"{text}\"\nreason = \"it is fetched later\"\n"
        )
    };
    let both = check(&about("zoom.txt"), &["--deny-warnings", "--json"]);
    let result = both.json();
    assert_eq!(result["diagnostics"], serde_json::json!([]));
    assert_eq!(result["accepted"][1]["reason"], "it is fetched later");
    assert_eq!(result["accepted"][1]["accepted_in_line"], 13);
    both.success();
    let sarif = check(&about("zoom.txt"), &["--format", "sarif"]).json();
    let justification = &sarif["runs"][0]["results"][1]["suppressions"][0]["justification"];
    assert_eq!(justification, "it is fetched later");
    assert_eq!(
        check(&about("zoom.txt"), &["--format", "github"]).stdout,
        ""
    );

    // An entry that accepts nothing is one that would hide what comes.
    let idle = check(&about("webex.txt"), &["--deny-warnings"]);
    assert!(idle.stderr.contains("warning[feed-not-loaded]"), "{idle:?}");
    let wanted = "no warning `feed-not-loaded` about `webex.txt` is left to accept";
    assert!(idle.stderr.contains(wanted), "{idle:?}");
    assert_eq!(idle.code, Some(3));

    let wrong = ports.replace("media-ports-cover", "media-port-cover");
    let refused = check(&wrong, &[]).failure(2);
    assert!(
        refused.contains("did you mean `media-ports-cover-services`?"),
        "{refused}"
    );
    let without = check("[[accept]]\nwarning = \"host-bits\"\n", &[]).failure(2);
    assert!(without.contains("reason"), "{without}");
}

#[test]
fn other_commands_say_how_many_warnings_there_are() {
    let folder = Folder::new("check-count");
    let path = folder.write("site.toml", WARNED);
    let explain = [
        "explain",
        &path,
        "--from",
        "172.16.1.10",
        "--to",
        "10.1.0.10",
    ];
    let ended = offramp(&explain);
    assert_eq!(
        ended.stderr,
        format!("{path} has 2 warnings: offramp check {path}\n")
    );
    ended.success();
    let accepts = ["media-ports-cover-services", "feed-not-loaded"]
        .map(|code| format!("[[accept]]\nwarning = \"{code}\"\nreason = \"known\"\n"));
    folder.write("site.toml", WARNED.to_owned() + &accepts.concat());
    assert_eq!(offramp(&explain).stderr, "");
}
