//! A fleet with Consul as its store: a server of its own for each test, as Debian 11 has it (version 1.8). Debian 12 has none: where
//! `tests/run` could not fetch it, these tests are skipped.

use std::fs;
use std::process::Command;

use offramp::gateway::fleet::store::{self, Store, StoreError};
use offramp::policy::site::{FleetAccess, FleetSource};
use serde_json::Value;

use super::{
    CLIENTS, Identities, policy, publish, publish_for, site_file, start_agent, status,
    wait_for_report,
};
use crate::site::plain::PlainSite;
use crate::site::{Daemon, Host, in_nftables_sandbox, poll};
use crate::support::fleet::{Fleet, agent};
use crate::support::skip::is_there;
use crate::support::{Ended, program};

const SERVER: &str = "127.0.0.1:8500";

/// Runs `body`, a closure of the test itself, in a sandbox, if there is a Consul to start.
fn with_consul(body: impl FnOnce()) {
    if is_there("consul") {
        in_nftables_sandbox(&["curl"], body);
    }
}

/// A server of Consul, alone, with what it stores in the folder of the test; `settings` are lines of its configuration.
fn start_consul(host: &Host, of: &Fleet, log: &str, settings: &str) -> Daemon {
    let settings = format!(
        "performance {{\n  raft_multiplier = 1\n}}\ndisable_update_check = true\n{settings}\n"
    );
    let file = of.folder.write("consul.hcl", settings);
    let data = of.folder.path("consul");
    let mut command = Command::new("consul");
    command.args(["agent", "-server", "-bootstrap", "-node", "one"]);
    command.args(["-bind", "127.0.0.1", "-client", "127.0.0.1"]);
    command.args(["-data-dir", &data, "-config-file", &file]);
    Daemon::start(host, "consul", of.folder.path(log), &mut command)
}

/// The same, with the default settings; returns once it takes values.
fn consul(host: &Host, of: &Fleet, log: &str) -> Daemon {
    let mut server = start_consul(host, of, log, "");
    server.wait_until("it takes values", |_| {
        control(host, &["kv", "put", "ready", "1"]).code == Some(0)
    });
    server
}

/// Runs a command of Consul.
fn control(host: &Host, arguments: &[&str]) -> Ended {
    host.run(Command::new("consul").args(arguments))
}

/// Asks Consul's HTTP API.
fn ask(host: &Host, path: &str) -> Value {
    let url = format!("http://{SERVER}/v1/{path}");
    host.run(Command::new("curl").args(["--silent", &url]))
        .json()
}

/// The fleet of a test, with Consul as its store.
fn fleet(name: &str) -> Fleet {
    let mut fleet = Fleet::new(name);
    fleet.store = format!("consul://{SERVER}/contoso");
    fleet
}

#[test]
fn a_release_in_consul_is_followed_reported_and_promoted() {
    with_consul(|| {
        let site = PlainSite::new("fleet_consul");
        let fleet = fleet("fleet_consul_store");
        let host = &site.concentrator;
        let mut server = consul(host, &fleet, "consul.log");
        let channel = "channel = \"canary\"";
        site_file(&site, &fleet, channel);
        let mut agent = start_agent(&site, "agent.log");
        agent.wait_for_log("the channel canary has no release");

        // The wait for a key that is not there ends with the first release, the next one with the second.
        assert!(publish(host, &fleet, &policy(false), "canary").starts_with("release 1 "));
        agent.wait_for_log("release 1 is in ");
        publish(host, &fleet, &policy(true), "canary");
        agent.wait_for_log("release 2 is in ");
        let report = wait_for_report(host, &fleet, "release 2", |report| report["has"] == 2);
        assert_eq!(report["state"], "no-answer");
        let told = status(host, &fleet);
        assert_eq!(
            (told.code, &told.json()["channels"]["canary"]),
            (Some(3), &2.into())
        );
        let promote = [
            "fleet",
            "promote",
            "canary",
            "stable",
            "--force",
            "--store",
            &fleet.store,
        ];
        let moved = host.run(&mut program(&promote)).success();
        assert_eq!(moved, "the channel stable is at release 2, as canary is\n");

        // A server that goes and comes again.
        server.signal("KILL");
        server.wait();
        agent.wait_for_log("since the store does not answer");
        let _server = consul(host, &fleet, "consul-again.log");
        agent.wait_for_log("the store answers again");
        publish(host, &fleet, &policy(false), "canary");
        agent.wait_for_log("release 3 is in ");
    });
}

#[test]
fn a_report_in_consul_lives_as_long_as_its_session_which_a_later_agent_takes_over() {
    with_consul(|| {
        let site = PlainSite::new("fleet_consul_session");
        let fleet = fleet("fleet_consul_session_store");
        let host = &site.concentrator;
        let _server = consul(host, &fleet, "consul.log");
        publish(host, &fleet, &policy(false), "stable");
        let file = site_file(&site, &fleet, "");
        let look = || host.run(&mut agent(&file, &["--once"])).success();
        look();
        let sessions = ask(host, "session/list");
        let session = &sessions[0];
        assert_eq!(
            (
                &session["TTL"],
                &session["Behavior"],
                &session["NodeChecks"]
            ),
            (
                &"86400s".into(),
                &"delete".into(),
                &Value::Array(Vec::new())
            ),
        );
        let key = "kv/contoso/offramp/v1/gateway/vpn1";
        assert_eq!(ask(host, key)[0]["Session"], session["ID"]);

        publish(host, &fleet, &policy(true), "stable");
        look();
        assert_eq!(ask(host, "session/list").as_array().map(Vec::len), Some(1));
        assert_eq!(ask(host, key)[0]["Session"], session["ID"]);
        wait_for_report(host, &fleet, "release 2", |report| report["has"] == 2);

        let id = session["ID"].as_str().expect("an id");
        let url = format!("http://{SERVER}/v1/session/destroy/{id}");
        let destroy = ["--silent", "--fail", "--request", "PUT", &url];
        host.run(Command::new("curl").args(destroy)).success();
        poll("no report", || {
            let all = status(host, &fleet).json();
            all["gateways"].as_array()?.is_empty().then_some(())
        });
    });
}

#[test]
fn an_index_of_consul_that_goes_backwards_stops_nobody() {
    with_consul(|| {
        let site = PlainSite::new("fleet_consul_index");
        let fleet = fleet("fleet_consul_index_store");
        let host = &site.concentrator;
        let _server = consul(host, &fleet, "consul.log");
        publish(host, &fleet, &policy(false), "stable");
        let snapshot = fleet.folder.path("snapshot");
        control(host, &["snapshot", "save", &snapshot]).success();
        for number in 0..50 {
            let key = format!("contoso/offramp/v1/channel/other{number}");
            control(host, &["kv", "put", &key, "1"]).success();
        }
        // The same serial once more: the index of the channel rises above those of the snapshot.
        let key = "contoso/offramp/v1/channel/stable";
        control(host, &["kv", "put", key, "1"]).success();
        let index = |host: &Host| ask(host, &format!("kv/{key}"))[0]["ModifyIndex"].as_u64();
        let before = index(host);
        site_file(&site, &fleet, "");
        let mut agent = start_agent(&site, "agent.log");
        agent.wait_for_log("release 1 is in ");
        wait_for_report(host, &fleet, "release 1", |report| report["has"] == 1);

        control(host, &["snapshot", "restore", &snapshot]).success();
        assert!(index(host) < before, "{before:?}");
        publish(host, &fleet, &policy(true), "stable");
        agent.wait_for_log("release 2 is in ");
    });
}

#[test]
fn of_two_that_write_to_consul_at_the_same_time_one_is_refused() {
    with_consul(|| {
        let host = Host::new("store");
        let fleet = fleet("fleet_consul_two");
        let _server = consul(&host, &fleet, "consul.log");
        let source = FleetSource::parse(&fleet.store).expect("an address");
        host.enter(|| {
            let open = || store::open(&source, &FleetAccess::default()).expect("no files to read");
            let (mut one, mut other) = (open(), open());
            let key = "offramp/v1/channel/stable";
            let exists = |done| matches!(done, Err(StoreError::Exists(_)));
            one.create(key, b"1\n").expect("it is the first");
            assert!(exists(other.create(key, b"2\n")));
            let read = |store: &mut dyn Store| store.read(key, 64).expect("it answers");
            let (of_one, of_other) = (read(&mut *one), read(&mut *other));
            let version = |it: &Option<store::Entry>| it.as_ref().map(|it| it.version.clone());
            one.exchange(key, version(&of_one).as_ref(), b"2\n")
                .expect("it is the first");
            let late = other.exchange(key, version(&of_other).as_ref(), b"3\n");
            assert!(matches!(late, Err(StoreError::Changed(_))), "{late:?}");
            assert_eq!(read(&mut *other).expect("it is there").bytes, b"2\n");
            let names = one.names("offramp/v1/channel").expect("it answers");
            assert_eq!(names, ["stable"]);
            assert_eq!(one.names("offramp/v1/none").expect("it answers"), [""; 0]);
        });
    });
}

#[test]
fn a_policy_that_consul_has_no_room_for_is_refused_with_the_way_out() {
    with_consul(|| {
        let site = PlainSite::new("fleet_consul_large");
        let fleet = fleet("fleet_consul_large_store");
        let host = &site.concentrator;
        let _server = consul(host, &fleet, "consul.log");
        // Random digits take three eighths of their length once they are compressed.
        let mut random = offramp::random::Random(7);
        let digits = |count: usize, random: &mut offramp::random::Random| -> String {
            let lines = (0..count / 16).map(|_| format!("# {:016x}\n", random.next_u64()));
            lines.collect()
        };
        let large = format!("{}{}", policy(false), digits(800_000, &mut random));
        publish(host, &fleet, &large, "stable");
        let release = "kv/contoso/offramp/v1/release/1/policy.toml.gz?raw";
        let url = format!("http://{SERVER}/v1/{release}");
        let stored = fleet.folder.path("stored");
        host.run(Command::new("curl").args(["--silent", "--output", &stored, &url]))
            .success();
        let bytes = fs::metadata(&stored).expect("it was fetched").len();
        assert!((400_000..=524_288).contains(&bytes), "{bytes}");
        let file = site_file(&site, &fleet, "");
        let looked = host.run(&mut agent(&file, &["--once"])).success();
        assert_eq!(looked, "the policy file has release 1\n");

        let larger = format!("{large}{}", digits(400_000, &mut random));
        let refused = publish_for(CLIENTS, host, &fleet, &larger, &["--channel", "stable"]);
        let why = refused.error(1);
        assert!(why.contains("and Consul takes 524288 at most"), "{why}");
        assert!(why.contains("publish into etcd (etcd://…)"), "{why}");
        assert_eq!(status(host, &fleet).json()["channels"]["stable"], 1);
    });
}

#[test]
fn consul_with_access_control_is_followed_and_a_wrong_token_is_told() {
    with_consul(|| {
        let site = PlainSite::new("fleet_consul_token");
        let fleet = fleet("fleet_consul_token_store");
        let host = &site.concentrator;
        let settings = "acl {\n  enabled = true\n  default_policy = \"deny\"\n}";
        let mut server = start_consul(host, &fleet, "consul.log", settings);
        let mut management = String::new();
        server.wait_until("it gives its first token", |_| {
            let given = control(host, &["acl", "bootstrap", "-format=json"]);
            if given.code == Some(0) {
                let id = given.json()["SecretID"].as_str().map(str::to_owned);
                management = id.expect("a token");
            }
            !management.is_empty()
        });
        let rights = "key_prefix \"contoso/offramp/v1/\" { policy = \"read\" }\n\
             key_prefix \"contoso/offramp/v1/gateway/\" { policy = \"write\" }\n\
             session_prefix \"\" { policy = \"write\" }\n";
        let by_management = |arguments: &[&str]| {
            let mut command = Command::new("consul");
            command.env("CONSUL_HTTP_TOKEN", &management);
            host.run(command.args(arguments))
        };
        let policy_of = ["acl", "policy", "create", "-name", "gateways"];
        by_management(&[&policy_of[..], &["-rules", rights]].concat()).success();
        let token = ["acl", "token", "create", "-policy-name", "gateways"];
        let token = by_management(&[&token[..], &["-format=json"]].concat()).json();
        let token = token["SecretID"].as_str().expect("a token").to_owned();

        let publisher = fleet.folder.write("management", &management);
        let options = ["--channel", "stable", "--token-file", &publisher];
        publish_for(CLIENTS, host, &fleet, &policy(false), &options).success();
        let file_of_token = fleet
            .folder
            .write("token", "00000000-0000-4000-8000-000000000000\n");
        let file = site_file(&site, &fleet, &format!("token_file = \"{file_of_token}\""));
        let look = || host.run(&mut agent(&file, &["--once"]));
        let refused = look().error(1);
        assert!(refused.contains("answered 403: ACL not found"), "{refused}");
        fs::write(&file_of_token, format!("{token}\n")).expect("a file");
        assert_eq!(look().success(), "the policy file has release 1\n");
        let report = ["kv", "get", "contoso/offramp/v1/gateway/vpn1"];
        assert!(by_management(&report).success().contains("\"has\":1"));

        // A gateway's token moves no channel.
        let options = ["--channel", "stable", "--token-file", &file_of_token];
        let refused = publish_for(CLIENTS, host, &fleet, &policy(true), &options).error(1);
        assert!(refused.contains("answered 403"), "{refused}");
    });
}

#[test]
fn consul_behind_tls_is_followed_by_whoever_has_a_certificate() {
    with_consul(|| {
        let site = PlainSite::new("fleet_consul_tls");
        let mut fleet = fleet("fleet_consul_tls_store");
        let host = &site.concentrator;
        let tls = Identities::new(&fleet.folder, "127.0.0.1");
        let settings = format!(
            "ports {{\n  http = -1\n  https = 8501\n}}\nverify_incoming_https = true\n\
             ca_file = \"{}\"\ncert_file = \"{}\"\nkey_file = \"{}\"",
            tls.authority, tls.server.0, tls.server.1
        );
        let mut server = start_consul(host, &fleet, "consul.log", &settings);
        fleet.store = "consuls://127.0.0.1:8501/contoso".to_owned();
        let trusted = ["--channel", "stable", "--ca", &tls.authority];
        let known = [&trusted[..], &tls.options()].concat();
        server.wait_until("it takes a release", |_| {
            publish_for(CLIENTS, host, &fleet, &policy(false), &known).code == Some(0)
        });
        publish_for(CLIENTS, host, &fleet, &policy(false), &trusted).failure(1);
        tls.check_who_may_look(&site, &fleet);
    });
}

#[test]
fn a_server_of_consul_that_hangs_is_told_and_followed_once_it_goes_on() {
    with_consul(|| {
        let site = PlainSite::new("fleet_consul_hangs");
        let fleet = fleet("fleet_consul_hangs_store");
        let host = &site.concentrator;
        let server = consul(host, &fleet, "consul.log");
        publish(host, &fleet, &policy(false), "stable");
        site_file(&site, &fleet, "poll_seconds = 1");
        let mut agent = start_agent(&site, "agent.log");
        agent.wait_for_log("release 1 is in ");
        wait_for_report(host, &fleet, "release 1", |report| report["has"] == 1);
        server.signal("STOP");
        agent.wait_for_log("since the store does not answer");
        server.signal("CONT");
        agent.wait_for_log("the store answers again");
        publish(host, &fleet, &policy(true), "stable");
        agent.wait_for_log("release 2 is in ");
    });
}
