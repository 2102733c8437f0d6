//! The command line itself: help, completions, the manual page, and rejected arguments.

use std::process::{Command, Stdio};

use crate::support::{Folder, TIME_LIMIT, is_installed, offramp, program, run, wait};

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
fn the_manual_page_is_one_that_groff_draws_without_a_warning() {
    let page = offramp(&["man"]).success();
    assert!(page.starts_with(".ie") || page.starts_with(".TH"), "{page}");
    for command in commands() {
        assert!(page.contains(&command), "{command} is missing");
    }
    if !is_installed("groff") {
        return;
    }
    let folder = Folder::new("manual");
    let file = folder.write("offramp.1", page);
    let ended = run(Command::new("groff").args(["-man", "-Tascii", "-ww", "-z", &file]));
    assert_eq!(ended.stderr, "");
    ended.success();
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
