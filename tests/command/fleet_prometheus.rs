//! Rules of Prometheus and the dashboard of Grafana for a fleet, tried by Prometheus' own `promtool`.

use std::fs;
use std::process::Command;

use crate::support::{Folder, is_installed, project, run};

/// Two gateways of a channel that judge by different releases, and one of no fleet.
const DIFFERING: &str = r#"rule_files: [RULES]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: 'offramp_policy_info{instance="a",channel="stable",serial="1",sha256="x"}'
        values: 1x60
      - series: 'offramp_policy_info{instance="b",channel="stable",serial="2",sha256="y"}'
        values: 1x60
      - series: 'offramp_policy_info{instance="c",channel="",serial="",sha256="y"}'
        values: 1x60
    promql_expr_test:
      - expr: channel:offramp_releases:count
        eval_time: 10m
        exp_samples:
          - labels: 'channel:offramp_releases:count{channel="stable"}'
            value: 2
    alert_rule_test:
      - alertname: OfframpReleasesDiffer
        eval_time: 45m
        exp_alerts:
          - exp_labels: {channel: stable}
            exp_annotations:
              summary: "Gateways of the channel stable judge by different releases: offramp fleet status names them"
"#;

#[test]
fn prometheus_takes_the_rules_and_tells_of_gateways_that_differ() {
    if !is_installed("promtool") {
        return;
    }
    let folder = Folder::new("fleet_rules");
    let rules = project("config/prometheus-offramp-fleet.yml");
    let tests = DIFFERING.replace("RULES", &rules.display().to_string());
    let tests = folder.write("tests.yml", tests);
    run(Command::new("promtool").args(["test", "rules", &tests])).success();
}

/// Two gateways of a channel, of which the second has not heard of its store, is not ready, and drops twice as much; one of no fleet.
const TWO_RELEASES: &str = r#"evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: 'offramp_policy_info{job="x",instance="a",channel="stable",serial="1",sha256="x"}'
        values: 1x60
      - series: 'offramp_policy_info{job="x",instance="b",channel="stable",serial="2",sha256="y"}'
        values: 1x60
      - series: 'offramp_policy_info{job="x",instance="c",channel="",serial="",sha256="y"}'
        values: 1x60
      - series: 'offramp_fleet_last_contact_seconds{job="x",instance="a"}'
        values: 10x60
      - series: 'offramp_fleet_last_contact_seconds{job="x",instance="b"}'
        values: 4000x60
      - series: 'offramp_ready{job="x",instance="a"}'
        values: 1x60
      - series: 'offramp_ready{job="x",instance="b"}'
        values: 0x60
      - series: 'offramp_ready{job="x",instance="c"}'
        values: 0x60
      - series: 'offramp_packets_total{job="x",instance="a",action="drop",reason="media"}'
        values: 0+60x60
      - series: 'offramp_packets_total{job="x",instance="b",action="drop",reason="media"}'
        values: 0+60x60
      - series: 'offramp_packets_total{job="x",instance="b",action="drop",reason="servers"}'
        values: 0+60x60
      - series: 'offramp_packets_total{job="x",instance="c",action="drop",reason="media"}'
        values: 0+600x60
    promql_expr_test:
"#;

#[test]
fn the_panels_of_the_dashboard_tell_two_releases_apart() {
    if !is_installed("promtool") {
        return;
    }
    let dashboard = fs::read(project("config/grafana-offramp-fleet.json")).expect("a file");
    let dashboard: serde_json::Value = serde_json::from_slice(&dashboard).expect("JSON");
    let mut tests = TWO_RELEASES.to_owned();
    for (panel, samples) in [
        ("Gateways", &[("", 2)][..]),
        ("Releases in force", &[("channel=\"stable\"", 2)]),
        ("Not heard of", &[("", 1)]),
        ("Not ready", &[("", 1)]),
        ("Policy refused", &[("", 0)]),
        (
            "Drops of a gateway, by release",
            &[
                ("channel=\"stable\",serial=\"1\"", 1),
                ("channel=\"stable\",serial=\"2\"", 2),
            ],
        ),
    ] {
        let panels = dashboard["panels"].as_array().expect("panels");
        let of_title = panels.iter().find(|it| it["title"] == panel);
        let query = &of_title.expect("a panel")["targets"][0]["expr"];
        let query = query.as_str().expect("a query").replace('\'', "''");
        let query = query.replace("$__rate_interval", "5m");
        let query = query.replace("$job", ".*").replace("$channel", ".*");
        tests +=
            &format!("      - expr: '{query}'\n        eval_time: 30m\n        exp_samples:\n");
        for (labels, value) in samples {
            tests += &format!("          - labels: '{{{labels}}}'\n            value: {value}\n");
        }
    }
    let folder = Folder::new("fleet_dashboard");
    let tests = folder.write("tests.yml", tests);
    run(Command::new("promtool").args(["test", "rules", &tests])).success();
}
