//! The command line itself: help, completions, the manual page, and rejected arguments.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{
    Folder, TIME_LIMIT, is_installed, offramp, program, project, run, skip, wait,
};

/// Returns the commands that `offramp --help` lists.
fn commands() -> Vec<String> {
    let help = offramp(&["--help"]).success();
    let (_, list) = help.split_once("Commands:\n").expect("a list of commands");
    let names: Vec<String> = list
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' ')) // a description goes on
        .filter_map(|line| line.split(' ').next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect();
    assert!(names.len() >= 6, "{names:?}");
    names
}

#[test]
fn the_help_of_every_command_has_an_example_of_it() {
    for command in commands() {
        let help = offramp(&[&command, "--help"]).success();
        let (_, examples) = help
            .rsplit_once("Example")
            .unwrap_or_else(|| panic!("{help}"));
        let example = format!("\n  offramp {command}");
        assert!(examples.contains(&example), "{help}");
    }
}

#[test]
fn the_examples_of_explain_run_as_they_stand() {
    let help = offramp(&["explain", "--help"]).success();
    let help = help.replace("\\\n     ", "");
    let examples: Vec<&str> = help
        .lines()
        .filter_map(|line| line.strip_prefix("  offramp "))
        .collect();
    assert!(examples.len() >= 3, "{help}");
    for example in examples {
        let answer = offramp(&example.split_whitespace().collect::<Vec<_>>()).success();
        let (verdicts, _) = answer
            .split_once("\n\n")
            .expect("the verdicts, then the sets");
        assert!(
            verdicts.contains("drop ")
                || verdicts.contains("forward gateway")
                || example.contains("--name "),
            "an example that shows nothing: {example}\n{answer}"
        );
        assert!(
            !verdicts.contains("is in none of vpn.client_subnets"),
            "{example}\n{answer}"
        );
    }
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = offramp(&["completions", shell]).success();
        for command in commands() {
            assert!(script.contains(&command), "{shell}: {command}");
        }
    }
    let message = offramp(&["completions", "dosh"]).failure(2);
    assert!(message.contains("bash"), "{message}");
}

#[test]
fn bash_takes_its_completions() {
    let folder = Folder::new("completions");
    if is_installed("bash") {
        let script = folder.write("bash", offramp(&["completions", "bash"]).success());
        run(Command::new("bash").args(["-n", &script])).success();
    }
}

#[test]
fn the_manual_pages_are_such_that_groff_draws_them_without_a_warning() {
    let page = offramp(&["man"]).success();
    assert!(page.starts_with(".ie") || page.starts_with(".TH"), "{page}");
    for command in commands() {
        assert!(page.contains(&command), "{command} is missing");
    }
    let of_policy = offramp(&["man", "policy"]).success();
    if !is_installed("groff") {
        return;
    }
    let folder = Folder::new("manual");
    for (name, page) in [("offramp.1", page), ("offramp.toml.5", of_policy)] {
        let file = folder.write(name, page);
        let draw = |more: &[&str]| {
            let mut groff = Command::new("groff");
            run(groff.args(["-man", "-Tascii", "-ww"]).args(more).arg(&file))
        };
        let ended = draw(&["-z"]);
        assert_eq!(ended.stderr, "", "{name}");
        ended.success();
        if name.ends_with(".5") {
            let drawn = draw(&["-P-cbou"]).success();
            // Markdown is left nowhere, and nothing is taken for a request.
            assert!(!drawn.contains('`') && !drawn.contains("]("), "{drawn}");
            assert!(
                drawn.contains("client_subnets") && drawn.contains("[[server]]"),
                "{drawn}"
            );
        }
    }
}

#[test]
fn the_schema_takes_every_example_and_refuses_what_the_parser_refuses_by_keys_and_types() {
    if !is_installed("python3") || !Path::new("/usr/lib/python3/dist-packages/jsonschema").exists()
    {
        return skip("python3-jsonschema is not installed");
    }
    let folder = Folder::new("schema");
    let schema = folder.write("schema.json", offramp(&["schema"]).success());
    // By Python's readers of TOML and of schemas: nothing of ours.
    let script = "import json, jsonschema, sys, tomllib\n\
                  schema = json.load(open(sys.argv[1]))\n\
                  jsonschema.Draft7Validator.check_schema(schema)\n\
                  for path in sys.argv[2:]:\n    \
                      errors = jsonschema.Draft7Validator(schema).iter_errors(tomllib.load(open(path, 'rb')))\n    \
                      print(path, next((error.message for error in errors), 'fine'), sep=': ')\n";
    let validate = |files: &[String]| {
        let mut python = Command::new("python3");
        run(python.args(["-c", script, &schema]).args(files)).success()
    };
    let named = |folder: &str, names: &[&str]| -> Vec<String> {
        let path = |name: &&str| {
            project(&format!("{folder}/{name}.toml"))
                .display()
                .to_string()
        };
        names.iter().map(path).collect()
    };
    let examples = [
        "contoso",
        "dual-stack",
        "minimal",
        "mixed",
        "ocserv-skype",
        "teams-only",
    ];
    let taken = validate(&named("config", &examples));
    assert_eq!(
        taken
            .lines()
            .filter(|line| line.ends_with(": fine"))
            .count(),
        6,
        "{taken}"
    );
    let mistakes = [
        "unknown_key",
        "unknown_section",
        "unknown_words",
        "wrong_type",
        "missing_vpn",
        "missing_keys",
        "empty_lists",
        "wrong_table_form",
    ];
    let refused = validate(&named("tests/refused", &mistakes));
    assert!(!refused.contains(": fine"), "{refused}");
    assert_eq!(refused.lines().count(), mistakes.len(), "{refused}");
}

#[test]
fn what_is_no_command_is_refused_with_the_one_meant() {
    let message = offramp(&["replya"]).failure(2);
    assert!(
        message.contains("'replya'") && message.contains("'replay'"),
        "{message}"
    );
    let ended = offramp(&[]);
    assert!(ended.stderr.contains("Usage: offramp"), "{}", ended.stderr);
    ended.failure(2);
    let message = offramp(&["check"]).failure(2);
    assert!(message.contains("POLICY"), "{message}");
    let message = offramp(&["check", "config/minimal.toml", "--jsn"]).failure(2);
    assert!(message.contains("--json"), "{message}");
}

#[test]
fn the_version_is_that_of_the_package() {
    let expected = format!("offramp {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(offramp(&["--version"]).success(), expected);
    assert_eq!(offramp(&["-V"]).success(), expected);
}

#[test]
fn an_error_that_cannot_be_printed_keeps_its_exit_code() {
    for (arguments, code) in [
        (&["check", "tests/refused/host_bits.toml"][..], 2),
        (&["check", "missing.toml"], 2),
        (&["check", "config/minimal.toml"], 0),
        (&["replay", "config/minimal.toml", "missing.pcap"], 1),
        (&["replya"], 2),
    ] {
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .expect("/dev/full");
        let mut child = program(arguments)
            .stdout(Stdio::null())
            .stderr(full)
            .spawn()
            .expect("the program starts");
        let status = wait(&mut child, TIME_LIMIT).expect("it ends");
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn words_of_other_programs_are_answered_with_the_command_that_is_meant() {
    for (word, meant) in [
        ("validate", "offramp check POLICY"),
        ("stop", "systemctl stop offramp"),
        ("setup", "offramp init"),
        ("logs", "offramp trace CLIENT"),
        ("version", "offramp --version"),
    ] {
        let refused = offramp(&[word, "x"]).error(2);
        assert!(
            refused.contains(&format!("there is no command `{word}`")),
            "{refused}"
        );
        assert!(refused.contains(meant), "{refused}");
    }
    let near = offramp(&["chekc"]).failure(2);
    assert!(near.contains("'check'"), "{near}");
}

#[test]
fn arguments_are_taken_in_any_order_that_can_be_told() {
    let straight = offramp(&["render", "openvpn", "config/minimal.toml"]).success();
    let turned = offramp(&["render", "config/minimal.toml", "openvpn"]).success();
    assert_eq!(straight, turned);
    let flags_first = ["render", "--json", "config/minimal.toml", "openvpn"];
    assert_eq!(offramp(&flags_first).json()["target"], "openvpn");
    let no_target = offramp(&["render", "config/minimal.toml", "openvpm"]).failure(2);
    assert!(no_target.contains("invalid value"), "{no_target}");
    let short = [
        "explain",
        "--dst",
        "10.20.0.7:50020",
        "--src",
        "172.16.1.10",
        "-p",
        "udp",
        "config/contoso.toml",
    ];
    assert!(offramp(&short).success().contains("drop media"));
    let capture = "tests/captures/contoso-morning.pcapng";
    let refused = offramp(&["replay", capture, "config/contoso.toml"]).error(2);
    let wanted = format!("offramp replay config/contoso.toml {capture}");
    assert!(refused.contains(&wanted), "{refused}");
}

/// Runs the program with a policy on its standard input.
fn with_input(arguments: &[&str], policy: &str) -> (Option<i32>, String, String) {
    let mut child = program(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let text = fs::read(project(policy)).expect("a policy");
    let mut input = child.stdin.take().expect("a pipe");
    // One that does not read it has refused it.
    _ = input.write_all(&text);
    drop(input);
    let ended = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

#[test]
fn a_policy_may_come_by_standard_input_where_it_is_read_once() {
    let (code, told, _) = with_input(&["check", "-"], "config/minimal.toml");
    assert_eq!(code, Some(0));
    assert!(told.starts_with("standard input is in order"), "{told}");
    let explain = [
        "explain",
        "-",
        "--from",
        "172.16.1.10",
        "--to",
        "10.1.0.10:5061",
    ];
    let (code, told, _) = with_input(&explain, "config/contoso.toml");
    assert_eq!(code, Some(0));
    assert!(told.contains("(standard input:31)"), "{told}");
    let (code, _, refused) = with_input(&["run", "-"], "config/contoso.toml");
    assert_eq!(code, Some(2));
    assert!(
        refused.contains("it takes a file, and not standard input"),
        "{refused}"
    );
    let (code, _, refused) = with_input(&["check", "-"], "tests/captures/contoso-morning.pcapng");
    assert_eq!(code, Some(2));
    assert!(
        refused.contains("the file is damaged or not text"),
        "{refused}"
    );
}

#[test]
fn several_policies_are_checked_and_the_worst_one_decides() {
    let folder = Folder::new("line-several");
    let bad = folder.write("bad.toml", "[vpn]\nclient_subnets = [\"172.16.1.0/8\"]\n");
    let good = "config/minimal.toml";
    let warned = "config/contoso.toml";
    let both = offramp(&["check", good, warned]);
    assert!(
        both.stdout.contains("minimal.toml is in order")
            && both.stdout.contains("contoso.toml is in order")
    );
    assert_eq!(both.code, Some(0));
    assert_eq!(
        offramp(&["check", "--deny-warnings", good, warned]).code,
        Some(3)
    );
    let worst = offramp(&["check", "--deny-warnings", &bad, warned]);
    assert_eq!(worst.code, Some(2));
    assert!(
        worst.stdout.contains("contoso.toml is in order"),
        "the others are checked all the same"
    );
    let json = offramp(&["check", "--json", good, &bad]).json();
    assert_eq!(
        (&json[0]["in_order"], &json[1]["in_order"]),
        (&true.into(), &false.into())
    );
    let sarif = offramp(&["check", "--format", "sarif", &bad, warned]).json();
    assert_eq!(sarif["runs"].as_array().map(Vec::len), Some(2));
}
