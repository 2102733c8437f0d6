//! Few series, all of them right, whatever the policy and the traffic.

use super::*;
use crate::gateway::push::{PushState, PushStatus};
use crate::gateway::record::RecordStatus;
use crate::gateway::report::status::{
    BucketStatus, DeviceStatus, DiversionStatus, EnforcementStatus, EvidenceStatus, FileStatus,
    FindingStatus, FleetStatus, FlowsStatus, HistogramStatus, InterfaceStatus, LateStatus,
    LatencyStatus, MediaStatus, OutcomeStatus, QualityStatus, RejectionStatus, ReleaseStatus,
    Reloads, Repairs, SelfTestStatus, StreamGroupStatus, TrialState, TrialStatus, VerdictStatus,
};

fn rule(kind: &str, name: &str, packets: u64) -> RuleStatus {
    RuleStatus {
        kind: kind.to_owned(),
        name: name.to_owned(),
        line: None,
        packets,
        bytes: 100 * packets,
    }
}

fn interface(pattern: &str, present: &[&str]) -> InterfaceStatus {
    InterfaceStatus {
        pattern: pattern.to_owned(),
        present: present.iter().map(|&name| name.to_owned()).collect(),
    }
}

fn record(written: u64, lost: u64, error: Option<&str>) -> RecordStatus {
    RecordStatus {
        place: "drops".to_owned(),
        written,
        lost,
        error: error.map(str::to_owned),
    }
}

/// Streams with as many in each bucket.
fn group(peer: &str, streams: u64) -> StreamGroupStatus {
    let histogram = |bounds: &[u64]| HistogramStatus {
        buckets: bounds
            .iter()
            .copied()
            .map(Some)
            .chain([None])
            .map(|up_to| BucketStatus { up_to, streams })
            .collect(),
        sum: 1_000 * streams,
    };
    StreamGroupStatus {
        pool: Some("172.16.1.0/24".to_owned()),
        peer: peer.to_owned(),
        loss_millionths: histogram(&LOSS_BOUNDS),
        jitter_microseconds: histogram(&JITTER_BOUNDS),
        longest_seconds: 60,
    }
}

fn snapshot(rules: Vec<RuleStatus>) -> Snapshot {
    Snapshot {
        status: Status {
            version: "1.2.3".to_owned(),
            pid: 7,
            uptime_seconds: 60,
            policy: "policy.toml".to_owned(),
            generation: 3,
            rejections: RejectionStatus {
                rst: 31,
                unreachable: 32,
                suppressed: 33,
            },
            not_ready: None,
            files: vec![FileStatus {
                path: "/etc/offramp/policy.toml".to_owned(),
                sha256: Some("c0".repeat(32)),
            }],
            fleet: Some(FleetStatus {
                release: Some(ReleaseStatus {
                    serial: 41,
                    sha256: "ab".repeat(32),
                    channel: "stable".to_owned(),
                    since: "2026-11-29T12:00:00Z".to_owned(),
                    expires: None,
                }),
                last_contact_seconds: Some(12),
            }),
            reloads: Reloads {
                taken: 2,
                refused: 1,
                last_error: Some("a mistake".to_owned()),
                recent: Vec::new(),
            },
            enforcement: EnforcementStatus {
                gap: Some("the policy is not enforced".to_owned()),
                packets: 41,
                bytes: 42,
                trial: Some(TrialStatus {
                    state: TrialState::Running,
                    seconds_left: Some(43),
                    file_enforces: false,
                }),
            },
            diversion: DiversionStatus {
                kind: "ebpf".to_owned(),
                bypassed: false,
                unread_packets: 7,
                late: Some(LateStatus {
                    interfaces: 2,
                    packets: 21,
                    longest_microseconds: 2_500,
                }),
                flows: Some(FlowsStatus {
                    cleared: 12,
                    evicted: 1,
                }),
                self_test: Some(SelfTestStatus::default()),
                scope: "policy".to_owned(),
                on_failure: "open".to_owned(),
                prefixes: 5,
                interfaces: vec![
                    interface("tun0", &[]),
                    interface("vpns*", &["vpns0", "vpns1"]),
                ],
                repairs: Repairs::default(),
            },
            device: DeviceStatus {
                name: "offramp0".to_owned(),
                workers: 2,
                judged: vec![20, 20],
                io_uring: true,
                overload_drops: Some(11),
                failed_writes: 12,
            },
            health: vec![FindingStatus {
                severity: "error".to_owned(),
                what: "this host does not forward".to_owned(),
                remedy: "switch it on".to_owned(),
            }],
            health_checks: 1,
            verdicts: vec![VerdictStatus {
                action: "drop".to_owned(),
                reason: "media".to_owned(),
                packets: 40,
                bytes: 4_000,
            }],
            rules,
            evicted_fragments: 13,
            media: Some(MediaStatus {
                r#match: "ice".to_owned(),
                flows: 21,
                evicted_flows: 22,
                evidence: vec![EvidenceStatus {
                    evidence: "stun-check".to_owned(),
                    by: "packet".to_owned(),
                    packets: 23,
                    bytes: 2_300,
                }],
                quality: QualityStatus {
                    streams: 24,
                    evicted_streams: 25,
                    groups: vec![group("corporate", 1), group("client", 10)],
                },
            }),
            drop_log: Some(record(14, 15, None)),
            drop_table: None,
            traces: 0,
            pushes: vec![PushStatus {
                target: "openvpn:/run/management.sock".to_owned(),
                state: PushState::Failed,
                time: None,
                generation: None,
                result: String::new(),
                pushed: 51,
                failed: 52,
            }],
            drop_capture: Some(record(16, 17, Some("the disk is full"))),
            losses: None,
            review: None,
            dns: None,
        },
        ready: true,
    }
}

fn dns() -> DnsStatus {
    let bounds = [
        Some(100),
        Some(1_000),
        Some(10_000),
        Some(100_000),
        Some(1_000_000),
        None,
    ];
    DnsStatus {
        listen: vec![([172, 16, 1, 1], 53).into()],
        threads: 2,
        outcomes: Outcome::ALL
            .into_iter()
            .map(|outcome| OutcomeStatus {
                outcome: outcome.name().to_owned(),
                queries: outcome as u64,
            })
            .collect(),
        latency: bounds
            .into_iter()
            .map(|up_to_microseconds| LatencyStatus {
                up_to_microseconds,
                answers: 3,
            })
            .collect(),
        latency_microseconds: 2_500_000,
        crowded_out_connections: 20,
        not_enforced: 21,
        query_log: Some(record(18, 19, None)),
    }
}

fn series() -> Series {
    Series::new(UNIX_EPOCH + std::time::Duration::from_millis(1_790_000_000_250))
}

/// The series of a scrape, without comments.
fn scrape(series: &mut Series, rules: Vec<RuleStatus>) -> Vec<String> {
    let text = series.render(&Arc::new(snapshot(rules)));
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(str::to_owned).collect()
}

#[track_caller]
fn assert_has(samples: &[String], wanted: &str) {
    let has = samples.iter().any(|sample| sample == wanted);
    assert!(has, "no {wanted} in {samples:#?}");
}

#[test]
fn everything_that_is_reported_is_reported_with_its_unit_and_what_it_means() {
    let rules = vec![
        rule("media", "media", 40),
        rule("public", "Access Edge", 0),
        rule("server", "Front \"End\" C:\\pool\nZürich 東京", 2),
    ];
    insta::assert_snapshot!(series().render(&Arc::new(snapshot(rules))));
}

#[test]
fn names_are_reported_by_what_became_of_them_and_how_long_it_took() {
    let mut snapshot = snapshot(Vec::new());
    snapshot.status.dns = Some(dns());
    let text = series().render(&Arc::new(snapshot));
    for wanted in [
        "offramp_dns_queries_total{outcome=\"pinned\"} 0\n",
        "offramp_dns_queries_total{outcome=\"dropped\"} 6\n",
        // Each bound counts what is below it, too.
        "offramp_dns_answer_seconds_bucket{le=\"0.0001\"} 3\n",
        "offramp_dns_answer_seconds_bucket{le=\"0.01\"} 9\n",
        "offramp_dns_answer_seconds_bucket{le=\"+Inf\"} 18\n",
        "offramp_dns_answer_seconds_sum 2.5\n",
        "offramp_dns_answer_seconds_count 18\n",
        "offramp_dns_not_enforced_queries_total 21\n",
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
}

#[test]
fn every_reason_is_there_before_any_packet_is() {
    let samples = scrape(&mut series(), Vec::new());
    for reason in Reason::ALL {
        let label = format!("reason=\"{reason}\"");
        let of = |name: &str| {
            samples
                .iter()
                .any(|it| it.starts_with(name) && it.contains(&label))
        };
        assert!(
            of("offramp_packets_total") && of("offramp_bytes_total"),
            "{reason}"
        );
    }
}

#[test]
fn a_verdict_that_should_not_be_is_reported_all_the_same() {
    let mut snapshot = snapshot(Vec::new());
    "forward".clone_into(&mut snapshot.status.verdicts[0].action);
    let text = series().render(&Arc::new(snapshot));
    let wanted = "offramp_packets_total{action=\"forward\",reason=\"media\"} 40\n";
    assert!(text.contains(wanted), "{text}");
}

#[test]
fn whatever_the_policy_and_the_traffic_there_is_an_end_to_the_series() {
    let kinds = RuleKind::ALL.map(RuleKind::name);
    let rules = (0..4_000).map(|at| {
        let kind = kinds[at % kinds.len()];
        rule(kind, &format!("rule {at}"), at as u64)
    });
    let mut most = snapshot(rules.collect());
    most.status.diversion.interfaces = (0..100)
        .map(|at| interface(&format!("tun{at}"), &["present"]))
        .collect();
    most.status.verdicts = Reason::ALL
        .into_iter()
        .flat_map(|reason| {
            ["forward", "drop"].map(|action| VerdictStatus {
                action: action.to_owned(),
                reason: reason.to_string(),
                packets: 1,
                bytes: 1,
            })
        })
        .collect();
    most.status.dns = Some(dns());
    let text = series().render(&Arc::new(most));
    let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(samples.len(), ALL_SERIES, "{text}");
    let others = "offramp_interfaces_present{pattern=\"(others)\"} 92";
    assert!(samples.contains(&others), "{text}");
}

#[test]
fn the_busiest_rules_have_series_and_the_rest_are_summed_by_kind() {
    let mut rules: Vec<_> = (0..1_000)
        .map(|at| rule("server", &format!("server {at:03}"), at))
        .collect();
    rules.push(rule("public", "Edge", 5));
    let samples = scrape(&mut series(), rules);
    assert_has(
        &samples,
        r#"offramp_rule_packets_total{kind="server",name="server 950"} 950"#,
    );
    // 0 + 1 + … + 949
    assert_has(
        &samples,
        r#"offramp_rule_packets_total{kind="server",name="(others)"} 450775"#,
    );
    assert_has(
        &samples,
        r#"offramp_rule_bytes_total{kind="server",name="(others)"} 45077500"#,
    );
    assert_has(
        &samples,
        r#"offramp_rule_packets_total{kind="public",name="(others)"} 5"#,
    );
}

#[test]
fn no_counter_of_a_rule_ever_goes_back() {
    let mut series = series();
    let mut before: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..50_u64 {
        // Others are busy each time, and more of them.
        let rules = (0..200_u64).map(|at| {
            let times = (at * 37 + 11) % 200;
            rule(
                "server",
                &format!("server {at}"),
                round.saturating_sub(times / 5) * times,
            )
        });
        let samples = scrape(&mut series, rules.collect());
        let of_rules = samples.iter().filter(|it| it.contains("_rule_"));
        let after: BTreeMap<String, u64> = of_rules
            .map(|sample| {
                let (name, value) = sample.rsplit_once(' ').expect("a name and a value");
                (name.to_owned(), value.parse().expect("a number"))
            })
            .collect();
        for (name, value) in &before {
            assert!(after.get(name) >= Some(value), "{name} was {value}");
        }
        before = after;
    }
}

#[test]
fn a_rule_that_is_gone_leaves_its_series_to_another_and_counts_twice_nowhere() {
    let mut series = series();
    let mut gone = 0;
    for round in 1..=1_000_u64 {
        let before = scrape(
            &mut series,
            vec![rule("server", &format!("pool {}", round - 1), 7)],
        );
        assert!(!before.is_empty());
        // One more packet came before it was renamed, and it is summed with the others.
        gone += 8;
        let others = rule("server", OTHERS, gone);
        let next = rule("server", &format!("pool {round}"), 7);
        let samples = scrape(&mut series, vec![others, next]);
        assert_has(
            &samples,
            &format!("offramp_rule_packets_total{{kind=\"server\",name=\"pool {round}\"}} 7"),
        );
        assert_has(
            &samples,
            &format!("offramp_rule_packets_total{{kind=\"server\",name=\"(others)\"}} {round}"),
        );
        assert_eq!(series.named.len(), 1);
    }
}

#[test]
fn what_the_kernel_does_not_say_is_not_reported_as_nothing() {
    let mut snapshot = snapshot(Vec::new());
    snapshot.status.device.overload_drops = None;
    let text = series().render(&Arc::new(snapshot));
    assert!(!text.contains("overload"), "{text}");
}

#[test]
fn a_rule_that_is_called_like_the_others_is_one_of_them() {
    let mut rules: Vec<_> = (0..100)
        .map(|at| rule("allow", &format!("allow {at}"), 1_000))
        .collect();
    rules.push(rule("allow", OTHERS, 1_000_000));
    let samples = scrape(&mut series(), rules);
    assert_has(
        &samples,
        r#"offramp_rule_packets_total{kind="allow",name="(others)"} 1050000"#,
    );
}

#[test]
fn the_dashboards_ask_for_nothing_that_is_not_reported() {
    let reported = series().render(&Arc::new(snapshot(vec![rule("media", "media", 1)])));
    let reported: BTreeSet<&str> = reported
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    for (dashboard, families) in [
        (include_str!("../../../../config/grafana-offramp.json"), 20),
        (
            include_str!("../../../../config/grafana-offramp-fleet.json"),
            6,
        ),
    ] {
        let dashboard = serde_json::from_str(dashboard).expect("the dashboard is JSON");
        let mut expressions = Vec::new();
        strings_of("expr", &dashboard, &mut expressions);
        strings_of("query", &dashboard, &mut expressions);
        let is_part_of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut asked = BTreeSet::new();
        for expression in &expressions {
            let words = expression.split(|c| !is_part_of_a_name(c));
            asked.extend(words.filter(|word| word.starts_with("offramp_")));
        }
        assert!(asked.len() >= families, "{asked:?}");
        assert!(
            asked.is_subset(&reported),
            "{:?}",
            asked.difference(&reported).collect::<Vec<_>>()
        );
    }
}

/// The strings under `key`, wherever they are.
fn strings_of<'j>(key: &str, json: &'j serde_json::Value, found: &mut Vec<&'j str>) {
    if let Some(object) = json.as_object() {
        found.extend(object.get(key).and_then(|value| value.as_str()));
        object
            .values()
            .for_each(|value| strings_of(key, value, found));
    }
    for value in json.as_array().into_iter().flatten() {
        strings_of(key, value, found);
    }
}
