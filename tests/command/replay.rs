//! `offramp replay` as a user runs it: the verdicts, captures and summaries it writes, and files it cannot use.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::support::{
    Folder, OwnCapture, TIME_LIMIT, is_installed, offramp, program, project, run, wait,
};

/// A capture of each kind of file, some link types, and the themes with the most reasons.
const CAPTURES: [&str; 14] = [
    "checksums-and-lengths.pcapng",
    "format-gzip.pcap.gz",
    "format-empty.pcap",
    "format-microseconds-big-endian.pcap",
    "format-nanoseconds-little-endian.pcap",
    "format-packet-blocks.pcapng",
    "format-simple-packets.pcapng",
    "format-two-interfaces-big-endian.pcapng",
    "ipv4-fragments.pcapng",
    "ipv6-fragments.pcapng",
    "leaked-public.pcapng",
    "link-ethernet.pcap",
    "link-sll2-276.pcap",
    "other-protocols.pcapng",
];

/// Returns the stable part of a line of verdicts: the reason why a frame holds no IP packet is not.
fn promised(line: &str) -> &str {
    match line.split_once(" skip ") {
        Some((frame, _)) => &line[..frame.len() + " skip".len()],
        None => line,
    }
}

#[track_caller]
fn assert_verdicts(printed: &str, own: &OwnCapture) {
    let printed: Vec<&str> = printed.lines().map(promised).collect();
    let expected: Vec<&str> = own.verdicts.iter().map(|line| promised(line)).collect();
    assert_eq!(printed, expected, "{}", own.capture);
}

#[test]
fn every_frame_gets_its_line_of_verdict_and_reason() {
    for file in CAPTURES {
        let own = OwnCapture::named(file);
        let ended = offramp(&["replay", &own.policy, &own.capture, "--verdicts", "-"]);
        assert_verdicts(&ended.success(), &own);
    }
}

#[test]
fn verdicts_in_a_file_are_those_of_standard_output() {
    let folder = Folder::new("verdicts_in_a_file");
    let own = OwnCapture::named("ipv4-options.pcapng");
    let file = folder.write(
        "verdicts",
        "something longer that was there before\n".repeat(100),
    );
    let printed = offramp(&["replay", &own.policy, &own.capture, "--verdicts", &file]).success();
    assert_eq!(printed, "");
    assert_verdicts(&fs::read_to_string(&file).expect("verdicts"), &own);
}

#[test]
fn a_capture_that_is_cut_off_is_judged_as_far_as_it_goes() {
    let own = OwnCapture::named("cut-off.pcap");
    assert!(own.verdicts.len() >= 3);
    let ended = offramp(&["replay", &own.policy, &own.capture, "--verdicts", "-"]);
    assert_verdicts(&ended.stdout, &own);
    let warning = ended.error(1);
    assert!(
        warning.starts_with("warning: capture tests/captures/cut-off.pcap: "),
        "{warning}"
    );

    let ended = offramp(&["replay", &own.policy, &own.capture, "--json"]);
    assert_eq!(ended.json()["judged"]["packets"], own.verdicts.len());
    ended.failure(1);
}

/// Number and comment of every packet of a capture, as tshark reads it.
fn comments(capture: &str) -> Vec<String> {
    let fields = ["-T", "fields", "-e", "frame.number", "-e", "frame.comment"];
    let printed = run(Command::new("tshark").args(["-r", capture]).args(fields)).success();
    printed
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

#[test]
fn dropped_and_forwarded_packets_are_captures_that_tshark_reads() {
    if !is_installed("tshark") {
        return;
    }
    let folder = Folder::new("dropped_and_forwarded");
    for file in [
        "ipv4-fragments.pcapng",
        "link-ethernet.pcap",
        "link-null-big-endian.pcap",
    ] {
        let own = OwnCapture::named(file);
        let (dropped, forwarded) = (
            folder.path("dropped.pcapng"),
            folder.path("forwarded.pcapng"),
        );
        let outputs = ["--write-dropped", &dropped, "--write-forwarded", &forwarded];
        let arguments = [&["replay", &own.policy, &own.capture], &outputs[..]].concat();
        offramp(&arguments).success();

        let reasons = own
            .verdicts
            .iter()
            .filter_map(|line| line.split_once(" drop "));
        let expected = reasons.enumerate().map(|(at, (_, reason))| {
            // A drop by a rule names the rule.
            let comment = match reason {
                "media" | "hairpin" | "tiny-fragment" => format!("{reason}: media"),
                "servers" => "servers: Front End pool".to_owned(),
                reason => reason.to_owned(),
            };
            format!("{}\t{comment}", at + 1)
        });
        assert_eq!(comments(&dropped), expected.collect::<Vec<_>>(), "{file}");
        let expected = (1..=own.count("forward")).map(|number| number.to_string());
        assert_eq!(comments(&forwarded), expected.collect::<Vec<_>>(), "{file}");
    }
}

#[test]
fn what_was_dropped_is_dropped_again_and_what_was_forwarded_passes_again() {
    let folder = Folder::new("judged_again");
    let own = OwnCapture::named("ipv4-options.pcapng");
    let (dropped, forwarded) = (
        folder.path("dropped.pcapng"),
        folder.path("forwarded.pcapng"),
    );
    let outputs = ["--write-dropped", &dropped, "--write-forwarded", &forwarded];
    offramp(&[&["replay", &own.policy, &own.capture], &outputs[..]].concat()).success();
    for (capture, verdict) in [(&dropped, "drop"), (&forwarded, "forward")] {
        let printed = offramp(&["replay", &own.policy, capture, "--verdicts", "-"]).success();
        assert_eq!(printed.lines().count(), own.count(verdict));
        for line in printed.lines() {
            assert_eq!(line.split(' ').nth(1), Some(verdict), "{line}");
        }
    }
}

/// Returns a capture with the packets of one of ours repeated `times` times: more verdicts than a pipe holds.
fn long_capture(folder: &Folder, times: usize) -> String {
    let bytes = fs::read(project("tests/captures/link-raw-101.pcap")).expect("a capture");
    let (header, records) = bytes.split_at(24);
    folder.write("long.pcap", [header, &records.repeat(times)].concat())
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let folder = Folder::new("a_reader_that_leaves_early");
    let own = OwnCapture::named("link-raw-101.pcap");
    let capture = long_capture(&folder, 30_000);
    let mut child = program(&["replay", &own.policy, &capture, "--verdicts", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let stderr = crate::support::read_all(child.stderr.take().expect("piped just above"));
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("piped just above"));
    stdout.read_line(&mut line).expect("a line of verdicts");
    drop(stdout);
    let status = wait(&mut child, TIME_LIMIT).expect("it ends");
    assert_eq!(line.trim_end(), own.verdicts[0]);
    let stderr = stderr.join().expect("a reader does not panic");
    assert!(
        !stderr.contains("panicked") && !stderr.contains("error:"),
        "{stderr}"
    );
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_capture_is_written_whole_though_the_reader_of_the_verdicts_has_gone() {
    let folder = Folder::new("written_whole");
    let own = OwnCapture::named("link-raw-101.pcap");
    let capture = long_capture(&folder, 30_000);
    let (whole, with_reader_gone) = (folder.path("whole.pcapng"), folder.path("gone.pcapng"));
    offramp(&["replay", &own.policy, &capture, "--write-dropped", &whole]).success();
    let mut child = program(&["replay", &own.policy, &capture, "--verdicts", "-"])
        .args(["--write-dropped", &with_reader_gone])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    wait(&mut child, TIME_LIMIT).expect("it ends");
    let read = |path: &str| fs::read(path).expect("a capture was written");
    assert!(
        read(&whole) == read(&with_reader_gone),
        "packets are missing"
    );
}

#[test]
fn outputs_follow_no_link_and_devices_and_pipes_are_written_to() {
    let folder = Folder::new("replay_links");
    let own = OwnCapture::named("link-ethernet.pcap");
    let precious = folder.write("precious", "precious\n");
    let link = folder.path("link");
    std::os::unix::fs::symlink(&precious, &link).expect("a symbolic link");
    for option in ["--verdicts", "--write-dropped", "--write-forwarded"] {
        let message = offramp(&["replay", &own.policy, &own.capture, option, &link]).error(1);
        assert!(
            message.contains(&format!("it is a symbolic link to {precious}")),
            "{message}"
        );
    }
    assert_eq!(fs::read_to_string(&precious).expect("a file"), "precious\n");
    let told = offramp(&[
        "replay",
        &own.policy,
        &own.capture,
        "--verdicts",
        "/dev/stdout",
        "--write-dropped",
        "/dev/null",
    ]);
    let told = told.success();
    assert_eq!(told.lines().count(), own.verdicts.len(), "{told}");
    assert!(told.starts_with("1 drop media\n"), "{told}");
}

#[test]
fn what_is_read_is_never_written_over() {
    let folder = Folder::new("never_written_over");
    let own = OwnCapture::named("link-ethernet.pcap");
    let bytes = fs::read(project(&own.capture)).expect("a capture");
    let text = fs::read(project(&own.policy)).expect("a policy");
    let capture = folder.write("office.pcap", &bytes);
    let policy = folder.write("policy.toml", &text);
    let (link, hard_link) = (folder.path("link.pcap"), folder.path("hard-link.pcap"));
    std::os::unix::fs::symlink(&capture, &link).expect("a symbolic link");
    fs::hard_link(&capture, &hard_link).expect("a hard link");
    let roundabout = folder.path("../never_written_over/office.pcap");
    for option in ["--verdicts", "--write-dropped", "--write-forwarded"] {
        for output in [&capture, &policy, &link, &hard_link, &roundabout] {
            let message = offramp(&["replay", &policy, &capture, option, output]).error(2);
            let expected = format!("error: {output} would be written over ");
            assert!(message.starts_with(&expected), "{message}");
            assert_eq!(
                fs::read(&capture).expect("the capture"),
                bytes,
                "{option} {output}"
            );
            assert_eq!(
                fs::read(&policy).expect("the policy"),
                text,
                "{option} {output}"
            );
        }
    }
}

#[test]
fn two_outputs_never_share_a_file() {
    let folder = Folder::new("two_outputs");
    let own = OwnCapture::named("link-ethernet.pcap");
    let (one, other) = (
        folder.path("out.pcapng"),
        folder.path("../two_outputs/out.pcapng"),
    );
    for other in [&one, &other] {
        let outputs = ["--write-dropped", &one, "--write-forwarded", other];
        let ended = offramp(&[&["replay", &own.policy, &own.capture], &outputs[..]].concat());
        let message = ended.error(2);
        assert!(message.contains("would be written over"), "{message}");
        assert!(
            !fs::exists(&one).expect("a folder of ours"),
            "nothing is created"
        );
    }
}

#[test]
fn a_full_disk_is_an_error_that_names_the_file() {
    let folder = Folder::new("a_full_disk");
    let own = OwnCapture::named("link-raw-101.pcap");
    // A short output fails on flush, a long one in the middle.
    for capture in [own.capture.clone(), long_capture(&folder, 3_000)] {
        for option in ["--verdicts", "--write-dropped", "--write-forwarded"] {
            let message =
                offramp(&["replay", &own.policy, &capture, option, "/dev/full"]).failure(1);
            assert!(
                message.contains("/dev/full: No space left"),
                "{option}: {message}"
            );
        }
    }
    let full = || {
        fs::File::options()
            .write(true)
            .open("/dev/full")
            .expect("/dev/full")
    };
    for arguments in [&["--verdicts", "-"][..], &["--json"], &[]] {
        let arguments = [&["replay", &own.policy, &own.capture], arguments].concat();
        let mut child = program(&arguments)
            .stdout(full())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = crate::support::read_all(child.stderr.take().expect("piped just above"));
        let status = wait(&mut child, TIME_LIMIT).expect("it ends");
        let stderr = stderr.join().expect("a reader does not panic");
        let message = stderr.lines().last().unwrap_or_default();
        assert!(
            message.starts_with("error: cannot write the output: "),
            "{stderr}"
        );
        assert_eq!(status.code(), Some(1));
    }
}

#[test]
fn a_file_that_is_no_capture_is_called_what_it_is() {
    let folder = Folder::new("no_capture");
    let gzip = fs::read(project("tests/captures/format-gzip.pcap.gz")).expect("a capture");
    let cases = [
        (folder.path("missing.pcap"), "No such file"),
        (folder.path(""), "it is a directory"),
        (folder.fifo("fifo"), "it is not a regular file"),
        (folder.write("empty.pcap", ""), "the file is empty"),
        (
            folder.write("text.pcap", "frame 1\nframe 2\n"),
            "the file is text",
        ),
        (folder.write("broken.gz", &gzip[..12]), "deflate"),
    ];
    for (capture, expected) in cases {
        let ended = offramp(&["replay", "config/minimal.toml", &capture]);
        assert_eq!(ended.stdout, "");
        let line = ended.error(1);
        assert!(
            line.starts_with(&format!("error: capture {capture}: ")),
            "{line}"
        );
        assert!(line.contains(expected), "expected `{expected}`: {line}");
    }
}

#[test]
fn the_totals_of_the_json_summary_are_those_of_the_verdicts() {
    for file in CAPTURES {
        let own = OwnCapture::named(file);
        let ended = offramp(&["replay", &own.policy, &own.capture, "--json"]);
        let report = ended.json();
        ended.success();
        let (forwarded, dropped) = (own.count("forward"), own.count("drop"));
        assert_eq!(report["judged"]["packets"], forwarded + dropped, "{file}");
        assert_eq!(report["forwarded"]["packets"], forwarded, "{file}");
        assert_eq!(report["dropped"]["packets"], dropped, "{file}");
        assert_eq!(report["skipped"], own.count("skip"), "{file}");
        let reasons = report["reasons"].as_array().expect("a list of reasons");
        for reason in reasons {
            let verdict = format!("{} {}", reason["action"], reason["reason"]).replace('"', "");
            let has = |line: &&String| line.split_once(' ').is_some_and(|(_, it)| it == verdict);
            let expected = own.verdicts.iter().filter(has).count();
            assert_eq!(reason["packets"], expected, "{file}: {verdict}");
        }
    }
}

#[test]
fn colors_are_for_terminals_and_those_who_ask_for_them() {
    let own = OwnCapture::named("link-ethernet.pcap");
    let summary = |color: &[&str]| {
        offramp(&[&["replay", &own.policy, &own.capture], color].concat()).success()
    };
    let plain = summary(&[]);
    assert!(
        !plain.contains('\u{1b}') && plain.contains("media"),
        "{plain}"
    );
    assert_eq!(summary(&["--color", "never"]), plain);
    assert!(summary(&["--color", "always"]).contains("\u{1b}["));
    let verdicts = offramp(&["replay", &own.policy, &own.capture, "--verdicts", "-"]).success();
    assert!(!verdicts.contains('\u{1b}'), "{verdicts}");
}

const MORNING: &str = "tests/captures/contoso-morning.pcapng";

/// Writes the article's policy with `media.match = "ice"`; returns its path.
fn recognizing(folder: &Folder) -> String {
    let policy = fs::read_to_string(project("config/contoso.toml")).expect("the article's policy");
    let recognizing = policy.replace("match = \"ports\"", "match = \"ice\"");
    assert_ne!(recognizing, policy);
    folder.write("ice.toml", recognizing)
}

#[test]
fn the_values_of_match_are_set_side_by_side() {
    let arguments = ["replay", "config/contoso.toml", MORNING, "--compare-match"];
    let compared = offramp(&arguments).success();
    insta::assert_snapshot!("compare-match", compared);

    let json = offramp(&[&arguments[..], &["--json"]].concat()).json();
    let dropped = |word: &str| json[word]["dropped"]["packets"].as_u64();
    assert!(dropped("ports") > dropped("ice"), "{json:#}");
    assert!(dropped("ice") > dropped("ice-microsoft"), "{json:#}");
    // The page on captures has the table.
    let page = fs::read_to_string(project("docs/replay.md")).expect("docs/replay.md");
    for line in compared.lines().take(6) {
        assert!(page.contains(line), "docs/replay.md has no line\n{line}");
    }
}

#[test]
fn a_summary_says_what_lives_because_media_is_recognized() {
    let folder = Folder::new("what_lives");
    let policy = recognizing(&folder);
    let text = offramp(&["replay", &policy, MORNING]).success();
    insta::assert_snapshot!("replay-ice", text);
    let json = offramp(&["replay", &policy, MORNING, "--json"]).json();
    let kept = json["kept"]["services"].as_array().expect("services");
    let names: Vec<_> = kept.iter().filter_map(|it| it["name"].as_str()).collect();
    assert_eq!(names, ["RDP", "Oracle", "NFS"], "{json:#}");
    assert_eq!(json["cut_off"].as_array().map(Vec::len), Some(0));
    let by_ports = offramp(&["replay", "config/contoso.toml", MORNING, "--json"]).json();
    assert!(by_ports["kept"].is_null());
}

#[test]
fn comments_of_dropped_packets_name_the_evidence() {
    let folder = Folder::new("evidence_in_comments");
    let policy = recognizing(&folder);
    let dropped = folder.path("dropped.pcapng");
    offramp(&["replay", &policy, MORNING, "--write-dropped", &dropped]).success();
    let bytes = fs::read(&dropped).expect("the capture");
    let has = |text: &str| bytes.windows(text.len()).any(|it| it == text.as_bytes());
    assert!(has("media: stun"));
    assert!(has("hairpin: flow of stun"));
    assert!(has("servers: Front End pool"));
}

/// One call with connectivity checks, and one of a telephone, which has none.
#[test]
fn a_summary_says_how_well_calls_came_through_and_which_would_still_take_the_tunnel() {
    let own = OwnCapture::named("rtp-quality.pcap");
    let text = offramp(&["replay", &own.policy, &own.capture]).success();
    let (_, quality) = text
        .split_once("Quality of calls, by their RTP streams\n")
        .expect("there are streams");
    let (quality, _) = quality.split_once("\n\n").unwrap_or((quality, ""));
    insta::assert_snapshot!("replay-quality", quality);
    let page = fs::read_to_string(project("docs/replay.md")).expect("docs/replay.md");
    for line in quality.lines().take(5) {
        assert!(page.contains(line), "docs/replay.md has no line\n{line}");
    }

    let json = offramp(&["replay", &own.policy, &own.capture, "--json"]).json();
    let calls = &json["quality"]["calls"];
    let numbers = ["count", "tunnel", "tunnel_with_ice"].map(|key| calls[key].as_u64());
    assert_eq!(numbers, [Some(2), Some(0), Some(1)], "{calls:#}");
    let streams = json["quality"]["streams"].as_array().expect("streams");
    assert_eq!(streams.len(), 5);
    let opus = streams.iter().find(|it| it["payload_type"] == 111);
    let opus = opus.expect("a stream of a dynamic type");
    assert_eq!(opus["clock"]["rate"], 48_000);
    assert_eq!(opus["clock"]["basis"], "estimated");
    assert_eq!(opus["source"], "172.16.1.10:50010");
    assert_eq!(opus["pool"], "172.16.1.0/24");
    assert_eq!(opus["lost"], 5);
    assert!(opus["jitter_seconds"]["mean"].as_f64() > Some(0.006));
}
