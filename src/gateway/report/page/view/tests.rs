use super::*;
use crate::gateway::record::RecordStatus;
use crate::gateway::report::page::ask::{Asked, Reply};
use crate::gateway::report::status::{
    BucketStatus, DeviceStatus, DiversionStatus, DnsStatus, EnforcementStatus, FeedStatus,
    FindingStatus, HistogramStatus, InterfaceStatus, LossStatus, LostServiceStatus, MediaStatus,
    OutcomeStatus, QualityStatus, RejectionStatus, Reloads, Repairs, ReviewFindingStatus,
    ReviewStatus, RuleStatus, SelfTestStatus, Status, StreamGroupStatus, TrialState, TrialStatus,
    VerdictStatus,
};

/// The state of a gateway that works, and has something to say in every part.
pub(in crate::gateway::report::page) fn snapshot() -> Snapshot {
    let verdict = |action: &str, reason: &str, packets: u64| VerdictStatus {
        action: action.to_owned(),
        reason: reason.to_owned(),
        packets,
        bytes: 1_200 * packets,
    };
    let rule = |kind: &str, name: &str, line, packets: u64| RuleStatus {
        kind: kind.to_owned(),
        name: name.to_owned(),
        line,
        packets,
        bytes: 1_200 * packets,
    };
    Snapshot {
        status: Status {
            version: "1.2.3".to_owned(),
            pid: 7,
            uptime_seconds: 93_784,
            policy: "/etc/offramp/policy.toml".to_owned(),
            generation: 3,
            not_ready: None,
            files: Vec::new(),
            fleet: None,
            reloads: Reloads {
                taken: 2,
                ..Reloads::default()
            },
            enforcement: EnforcementStatus::default(),
            diversion: DiversionStatus {
                kind: "ebpf".to_owned(),
                bypassed: false,
                unread_packets: 7,
                flows: None,
                late: None,
                self_test: Some(SelfTestStatus::default()),
                scope: "suspects".to_owned(),
                on_failure: "open".to_owned(),
                prefixes: 5,
                interfaces: vec![
                    InterfaceStatus {
                        pattern: "tun0".to_owned(),
                        present: vec!["tun0".to_owned()],
                    },
                    InterfaceStatus {
                        pattern: "vpns*".to_owned(),
                        present: Vec::new(),
                    },
                ],
                repairs: Repairs {
                    count: 1,
                    last: Some("the program at tun0".to_owned()),
                },
            },
            device: DeviceStatus {
                name: "offramp0".to_owned(),
                workers: 1,
                judged: vec![20],
                io_uring: true,
                overload_drops: Some(0),
                failed_writes: 0,
            },
            verdicts: vec![
                verdict("drop", "media", 4_000),
                verdict("forward", "default", 12_345_678),
                verdict("forward", "public", 12),
                verdict("drop", "servers", 27),
            ],
            rules: vec![
                rule("allow", "Remote Desktop <jump hosts>", Some(57), 3),
                rule("feed", "Microsoft 365", Some(90), 4),
                rule("media", "media", None, 4_000),
                rule("public", "A/V Edge", Some(70), 8),
                rule("server", "Front End pool", Some(30), 27),
                rule("server", "Old pool", None, 5),
                rule("server", "Forgotten pool", None, 0),
            ],
            evicted_fragments: 0,
            health: vec![FindingStatus {
                severity: "warning".to_owned(),
                what: "there is no interface vpns* yet".to_owned(),
                remedy: "start the VPN daemon".to_owned(),
            }],
            health_checks: 1,
            media: Some(MediaStatus {
                r#match: "ice".to_owned(),
                flows: 2,
                evicted_flows: 0,
                evidence: Vec::new(),
                quality: QualityStatus {
                    streams: 1,
                    evicted_streams: 0,
                    groups: vec![StreamGroupStatus {
                        pool: Some("172.16.1.0/24".to_owned()),
                        peer: "elsewhere".to_owned(),
                        loss_millionths: HistogramStatus {
                            buckets: vec![BucketStatus {
                                up_to: Some(10_000),
                                streams: 3,
                            }],
                            sum: 9_000,
                        },
                        jitter_microseconds: HistogramStatus::default(),
                        longest_seconds: 61,
                    }],
                },
            }),
            rejections: RejectionStatus::default(),
            dns: Some(DnsStatus {
                listen: vec![([172, 16, 1, 1], 53).into()],
                threads: 2,
                outcomes: vec![OutcomeStatus {
                    outcome: "pinned".to_owned(),
                    queries: 5,
                }],
                latency: Vec::new(),
                latency_microseconds: 0,
                crowded_out_connections: 0,
                not_enforced: 0,
                query_log: None,
            }),
            drop_log: Some(RecordStatus {
                place: "/var/log/offramp/drops.jsonl".to_owned(),
                written: 14,
                lost: 2,
                error: None,
            }),
            drop_capture: None,
            drop_table: None,
            traces: 0,
            pushes: Vec::new(),
            losses: Some(LossStatus {
                generation: 3,
                examined: 4_000,
                services: vec![
                    LostServiceStatus {
                        nature: "service".to_owned(),
                        name: Some("RDP".to_owned()),
                        protocol: "tcp".to_owned(),
                        ports: "3389".to_owned(),
                        role: "request".to_owned(),
                        scope: "corporate".to_owned(),
                        packets: 137,
                        bytes: 17_000,
                        hosts: 2,
                        attempts_only: true,
                        allow: Some("[[allow]]\nname = \"RDP (tcp 3389)\"\n".to_owned()),
                    },
                    LostServiceStatus {
                        nature: "media".to_owned(),
                        ports: "1024-65535".to_owned(),
                        ..LostServiceStatus::default()
                    },
                ],
                left_out: 0,
                shortpath: None,
            }),
            review: Some(ReviewStatus {
                generation: 3,
                findings: vec![ReviewFindingStatus {
                    code: "LEAK".to_owned(),
                    severity: "error".to_owned(),
                    what: "\"A/V Edge\" enters the tunnel".to_owned(),
                    lines: vec![70, 71],
                    why: vec![("routes".to_owned(), "10.0.0.0/8 holds it".to_owned())],
                    remedy: "exclude it:\n[[public]]\nname = \"A/V Edge\"".to_owned(),
                }],
                feeds: vec![
                    FeedStatus {
                        name: "Microsoft 365".to_owned(),
                        line: 92,
                        prefixes: Some(11),
                        age_days: Some(40),
                        max_age_days: 30,
                    },
                    FeedStatus {
                        name: "Others".to_owned(),
                        line: 99,
                        prefixes: None,
                        age_days: None,
                        max_age_days: 30,
                    },
                ],
            }),
        },
        ready: true,
    }
}

fn with(change: impl FnOnce(&mut Snapshot)) -> Parts {
    let mut snapshot = snapshot();
    change(&mut snapshot);
    parts(&snapshot)
}

#[test]
fn every_part_says_what_the_status_says() {
    let parts = parts(&snapshot());
    let text: Vec<String> = parts
        .0
        .iter()
        .map(|part| format!("#{}\n{}\n", part.id, part.html.replace("><", ">\n<")))
        .collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn the_headline_names_the_worst() {
    let told = |change: fn(&mut Snapshot)| {
        let parts = with(change);
        let html = parts.html("standing").to_owned();
        let (_, rest) = html.split_once("<p class=\"standing ").expect("a headline");
        let (class, rest) = rest.split_once("\">").expect("its end");
        let (words, _) = rest.split_once("</p>").expect("its end");
        (class.to_owned(), words.to_owned())
    };
    type Change = fn(&mut Snapshot);
    let failed: Change = |it| {
        it.status.diversion.self_test = Some(SelfTestStatus {
            failures: vec!["tun0: a packet did not arrive".to_owned()],
            ..SelfTestStatus::default()
        });
        it.ready = false;
    };
    let table: [(Change, &str, &str); 8] = [
        (|_| {}, "good", "Working: "),
        (failed, "bad", "Broken: "),
        (|it| it.ready = false, "bad", "Broken: "),
        (
            |it| it.status.health[0].severity = "error".to_owned(),
            "bad",
            "Broken: ",
        ),
        (
            |it| it.status.enforcement.gap = Some("the policy is not enforced".to_owned()),
            "doubt",
            "Not enforced",
        ),
        (
            |it| {
                it.status.diversion.bypassed = true;
                it.status.enforcement.gap = Some("the policy is not enforced".to_owned());
                it.ready = false;
            },
            "bad",
            "Bypassed: ",
        ),
        (
            |it| it.status.diversion.interfaces[0].present.clear(),
            "doubt",
            "Waiting: ",
        ),
        (
            |it| {
                it.status.diversion.interfaces[0].present.clear();
                it.ready = false;
            },
            "bad",
            "Broken: ",
        ),
    ];
    for (at, (change, class, words)) in table.into_iter().enumerate() {
        let (of, told) = told(change);
        assert_eq!(of, class, "{at}: {told}");
        assert!(told.starts_with(words), "{at}: {told}");
    }
}

#[test]
fn a_refused_policy_is_told_with_its_mistake() {
    let parts = with(|it| it.status.reloads.last_error = Some("line 3: <mistake>\n".to_owned()));
    let html = parts.html("standing");
    assert!(html.contains("Generation 3 stays in force"), "{html}");
    assert!(html.contains("line 3: &lt;mistake&gt;</pre>"), "{html}");
}

#[test]
fn what_is_not_enforced_does_not_count_as_kept_off() {
    let parts = with(|it| {
        it.status.enforcement.gap = Some("the policy is not enforced".to_owned());
        it.status.enforcement.packets = 4_027;
    });
    let html = parts.html("effect");
    assert!(html.contains("0 of 12,349,717 packets"), "{html}");
    assert!(html.contains("4,027 more would have been"), "{html}");
    assert!(!html.contains(">kept off<"), "{html}");
}

#[test]
fn a_policy_of_thousands_of_rules_shows_the_first_and_counts_the_rest() {
    let parts = with(|it| {
        let rule = |line: u32| RuleStatus {
            kind: "server".to_owned(),
            name: format!("Server {line}"),
            line: Some(line),
            packets: 0,
            bytes: 0,
        };
        it.status.rules = (1..=5_000).rev().map(rule).collect();
    });
    let html = parts.html("rules");
    assert!(html.contains("Server 1<") && html.contains("Server 200<"));
    assert!(!html.contains("Server 201<"));
    assert!(html.contains("And 4,800 more rules"), "the rest is told");
}

#[test]
fn nothing_to_tell_is_told_too() {
    let parts = with(|it| {
        it.status.verdicts.clear();
        it.status.rules.clear();
        it.status.losses = None;
        it.status.review = None;
        it.status.health.clear();
        it.status.health_checks = 0;
    });
    for (id, words) in [
        ("effect", "No packet has been judged so far."),
        ("losses", "no service is cut off"),
        ("health", "This host was not checked yet."),
        ("agreement", "is being verified"),
        ("feeds", "They are being read."),
    ] {
        assert!(parts.html(id).contains(words), "{id}: {}", parts.html(id));
    }
}

#[test]
fn a_trial_is_told_with_the_time_that_is_left() {
    let parts = with(|it| {
        it.status.enforcement.trial = Some(TrialStatus {
            state: TrialState::Running,
            seconds_left: Some(125),
            file_enforces: false,
        });
    });
    let html = parts.html("health");
    assert!(html.contains("enforced for 2 min 5 s more"), "{html}");
    // It changes all the time: nobody is to be interrupted by it.
    assert!(!parts.html("standing").contains("2 min"));
}

#[test]
fn words_between_backticks_are_code_and_one_backtick_is_text() {
    let of = |text| prose(text).into_string();
    assert_eq!(of("run `a <b>` now"), "run <code>a &lt;b&gt;</code> now");
    assert_eq!(of("no `end"), "no `end");
    assert_eq!(of("`a` and ` alone"), "<code>a</code> and ` alone");
    assert_eq!(of(""), "");
    assert_eq!(sentence("the `a`").into_string(), "The <code>a</code>");
}

#[test]
fn an_event_has_the_parts_that_differ_on_one_line() {
    let (before, after) = (
        parts(&snapshot()),
        with(|it| it.status.uptime_seconds += 86_400),
    );
    let event = after.event_since(&before);
    assert!(event.starts_with("data: {\"process\":\""), "{event}");
    assert!(event.ends_with("}\n\n") && event.trim_end().lines().count() == 1);
    assert_eq!(after.event_since(&after), "data: {}\n\n");
    let all = after.event_since(&Parts::default());
    assert_eq!(all.trim_end().lines().count(), 1, "texts have line breaks");
}

#[test]
fn the_page_is_whole_without_its_script() {
    let asked = Asked {
        from: "\"><script>".to_owned(),
        ..Asked::default()
    };
    let reply = Reply::busy(asked);
    let page = document(&parts(&snapshot()), Some(&reply), "0123").into_string();
    for part in [
        "<html lang=\"en\">",
        "<main>",
        "Working: traffic is judged",
        "Front End pool",
        "value=\"&quot;&gt;&lt;script&gt;\"",
        "ask again",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(page.matches("<script").count(), 1);
    assert!(
        !page.contains("Forgotten pool"),
        "it is gone, and decided nothing"
    );
}
