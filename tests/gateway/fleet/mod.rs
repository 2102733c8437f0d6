//! A fleet with etcd as its store, and a gateway that follows the file which the agent writes; then other stores.

mod cluster;
mod consul;
mod nginx;

use std::fs;

use serde_json::Value;

use crate::site::plain::{MEDIA, OFFICE, PlainSite};
use crate::site::{Daemon, Host, in_nftables_sandbox, poll};
use crate::support::certificates::Certificates;
use crate::support::fleet::{Fleet, agent};
use crate::support::stores::Member;
use crate::support::{Ended, Folder, program};

/// The member of etcd that tests ask first.
const MEMBER: &str = "127.0.0.1:2379";

/// A member of etcd in this host, alone, with what it stores in the folder of the test.
fn etcd(host: &Host, fleet: &Fleet, log: &str, options: &[&str]) -> Daemon {
    cluster::start(host, fleet, &Member::alone(), log, options, &[])
}

fn etcdctl(host: &Host, arguments: &[&str]) -> Ended {
    host.run(&mut Member::alone().control(arguments))
}

/// The fleet of a test, with etcd as its store.
fn fleet(name: &str) -> Fleet {
    let mut fleet = Fleet::new(name);
    fleet.store = format!("etcd://{MEMBER}/contoso");
    fleet
}

/// Certificates of a store that asks for one, and of a gateway: paths of a certificate and its key.
struct Identities {
    authority: String,
    server: (String, String),
    gateway: (String, String),
}

impl Identities {
    /// `server` is the name or the address by which the store is reached.
    fn new(folder: &Folder, server: &str) -> Self {
        let authority = Certificates::new(folder);
        Self {
            server: authority.issue(folder, server),
            gateway: authority.issue(folder, "vpn1"),
            authority: authority.authority,
        }
    }

    /// The options by which a command shows the gateway's.
    fn options(&self) -> [&str; 4] {
        let (certificate, key) = &self.gateway;
        ["--client-certificate", certificate, "--client-key", key]
    }

    /// The lines of [fleet] by which the store is trusted.
    fn trusted(&self) -> String {
        format!("ca = \"{}\"\n", self.authority)
    }

    /// The same, and those by which the gateway's certificate is shown.
    fn known(&self) -> String {
        let (certificate, key) = &self.gateway;
        let shown = format!("client_certificate = \"{certificate}\"\nclient_key = \"{key}\"\n");
        format!("{}{shown}", self.trusted())
    }

    /// Checks that a gateway takes release 1 if it trusts the store and shows its certificate; returns why it does not if it shows none.
    #[track_caller]
    fn check_who_may_look(&self, site: &PlainSite, of: &Fleet) -> String {
        let look = |lines: &str| {
            let file = site_file(site, of, lines);
            site.concentrator.run(&mut agent(&file, &["--once"]))
        };
        let unknown = look("").error(1);
        assert!(unknown.contains("certificate"), "{unknown}");
        let refused = look(&self.trusted()).error(1);
        let taken = look(&self.known()).success();
        assert_eq!(taken, "the policy file has release 1\n");
        refused
    }
}

/// A policy that drops media, or forwards that to one port.
fn policy(is_allowed: bool) -> String {
    let allow = "[[allow]]\nname = \"media\"\nto = [\"10.0.0.0/8\", \"fd00:2::/48\"]\nports = [\"50020\"]\n";
    let corporate = "[corporate]\nsubnets = [\"10.0.0.0/8\", \"fd00:2::/48\"]\n";
    format!("{corporate}{}", if is_allowed { allow } else { "" })
}

/// Writes the site file of the plain site; `fleet` are lines of [fleet].
fn site_file(site: &PlainSite, of: &Fleet, lines: &str) -> String {
    let text = format!(
        "[vpn]\ninterfaces = [\"tun0\"]\nclient_subnets = [\"172.16.1.0/24\", \"fd00:1::/64\"]\n\
         [gateway]\ncontrol = \"{}\"\ndivert = \"policy\"\nmetrics = \"127.0.0.1:9464\"\n\
         [fleet]\nsource = \"{}\"\ngateway = \"vpn1\"\nsite = \"Berlin\"\npolicy = \"{}\"\n\
         public_keys = [\"{}\"]\n{lines}\n",
        site.folder.path("control.sock"),
        of.store,
        site.folder.path("policy.toml"),
        of.public_key,
    );
    site.folder.write("site.toml", text)
}

fn start_agent(site: &PlainSite, log: &str) -> Daemon {
    let file = site.folder.path("site.toml");
    let log = site.folder.path(log);
    Daemon::start(
        &site.concentrator,
        "agent",
        log,
        &mut agent(&file, &["--verbose"]),
    )
}

/// The clients of the plain site.
const CLIENTS: &str = "[vpn]\nclient_subnets = [\"172.16.1.0/24\", \"fd00:1::/64\"]\n";

/// Publishes by this host.
#[track_caller]
fn publish(host: &Host, of: &Fleet, text: &str, channel: &str) -> String {
    publish_for(CLIENTS, host, of, text, &["--channel", channel]).success()
}

/// Publishes by this host, after a check with the site file `vpn`.
#[track_caller]
fn publish_for(vpn: &str, host: &Host, of: &Fleet, text: &str, options: &[&str]) -> Ended {
    let policy = of.folder.write("fleet.toml", text);
    let site = of.folder.write("any.toml", vpn);
    let key = of.folder.path("keys.key");
    let given = ["fleet", "publish", &policy, "--site", &site, "--key", &key];
    let store = ["--store", &of.store];
    host.run(&mut program(&[&given[..], &store, options].concat()))
}

fn status(host: &Host, of: &Fleet) -> Ended {
    host.run(&mut program(&[
        "fleet", "status", "--json", "--store", &of.store,
    ]))
}

/// Waits until the only gateway has reported something that `is_it`.
#[track_caller]
fn wait_for_report(host: &Host, of: &Fleet, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    poll(what, || {
        let all = status(host, of);
        let report = serde_json::from_str::<Value>(&all.stdout).ok()?["gateways"][0].clone();
        is_it(&report).then_some(report)
    })
}

#[test]
fn a_release_in_etcd_comes_into_force_on_a_gateway_and_is_told_everywhere() {
    in_nftables_sandbox(&["etcd", "etcdctl"], || {
        let site = PlainSite::new("fleet_in_force");
        let fleet = fleet("fleet_in_force_store");
        let host = &site.concentrator;
        site.echo(OFFICE, MEDIA);
        let mut member = etcd(host, &fleet, "etcd.log", &[]);
        assert!(publish(host, &fleet, &policy(false), "stable").starts_with("release 1 "));
        site_file(&site, &fleet, "");
        let mut agent = start_agent(&site, "agent.log");
        agent.wait_for_log("release 1 is in ");
        let _gateway = site.start_again("gateway.log");
        assert!(!site.is_answered(OFFICE, MEDIA, 100));

        // The watch tells of the next one.
        publish(host, &fleet, &policy(true), "stable");
        site.wait_for_answer(OFFICE, MEDIA);
        let report = wait_for_report(host, &fleet, "release 2 in force", |report| {
            report["has"] == 2 && report["state"] == "in-force"
        });
        assert_eq!(
            (&report["site"], &report["lag"]),
            (&"Berlin".into(), &Value::Null)
        );
        assert_eq!(status(host, &fleet).code, Some(0));

        let told = site.status();
        assert_eq!(told["fleet"]["release"]["serial"], 2);
        let sha256 = told["fleet"]["release"]["sha256"]
            .as_str()
            .expect("a digest");
        assert_eq!(Some(sha256), report["sha256"].as_str());
        let (_, metrics) = site.get("/metrics");
        let info =
            format!("offramp_policy_info{{serial=\"2\",sha256=\"{sha256}\",channel=\"stable\"}} 1");
        assert!(metrics.contains(&info), "{metrics}");
        assert!(
            metrics.contains("offramp_fleet_last_contact_seconds "),
            "{metrics}"
        );
        let text = site.offramp(&["status", "--control", &site.folder.path("control.sock")]);
        assert!(
            text.success()
                .contains("release: 2 of the channel stable, sha256 ")
        );

        // Without the store, and without the agent, the policy stays.
        member.signal("KILL");
        member.wait();
        agent.wait_for_log("since the store does not answer");
        agent.signal("KILL");
        agent.wait();
        assert!(site.is_answered(OFFICE, MEDIA, 100));

        // Both come again, and follow.
        let _member = etcd(host, &fleet, "etcd-again.log", &[]);
        publish(host, &fleet, &policy(false), "stable");
        let mut agent = start_agent(&site, "agent-again.log");
        agent.wait_for_log("release 3 is in ");
        wait_for_report(host, &fleet, "release 3 in force", |report| {
            report["has"] == 3 && report["state"] == "in-force"
        });
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
    });
}

#[test]
fn a_canary_that_refuses_or_does_not_judge_by_it_holds_a_release_back() {
    in_nftables_sandbox(&["etcd", "etcdctl"], || {
        let site = PlainSite::new("fleet_canary");
        let fleet = fleet("fleet_canary_store");
        let host = &site.concentrator;
        let _member = etcd(host, &fleet, "etcd.log", &[]);
        site_file(&site, &fleet, "channel = \"canary\"");
        publish(host, &fleet, &policy(false), "canary");
        publish(host, &fleet, &policy(false), "stable");
        let promote = || {
            let arguments = [
                "fleet",
                "promote",
                "canary",
                "stable",
                "--store",
                &fleet.store,
            ];
            host.run(&mut program(&arguments))
        };
        let mut agent = start_agent(&site, "agent.log");
        agent.wait_for_log("release 1 is in ");
        // No gateway runs.
        publish(host, &fleet, &policy(true), "canary");
        wait_for_report(host, &fleet, "no answer", |report| {
            report["has"] == 3 && report["state"] == "no-answer"
        });
        let refused = promote().failure(3);
        assert!(refused.contains("gateway vpn1: no answer"), "{refused}");
        assert_eq!(status(host, &fleet).code, Some(3));

        let mut gateway = site.start_again("gateway.log");
        // The agent asks it with the next release.
        publish(host, &fleet, &policy(true), "canary");
        wait_for_report(host, &fleet, "release 4 in force", |report| {
            report["has"] == 4 && report["state"] == "in-force"
        });
        let moved = promote().success();
        assert_eq!(moved, "the channel stable is at release 4, as canary is\n");

        // A release that fails here alone: the site's clients are others than those of its test.
        let failing = format!(
            "{}[[test]]\nname = \"elsewhere\"\nfrom = \"172.16.1.10:50000\"\nto = \"203.0.113.7:50020\"\nprotocol = \"udp\"\nexpect = \"drop\"\n",
            policy(true)
        );
        let vpn = "[vpn]\nclient_subnets = [\"172.16.1.0/24\", \"203.0.113.0/24\"]\n";
        publish_for(vpn, host, &fleet, &failing, &["--channel", "canary"]).success();
        wait_for_report(host, &fleet, "refused", |report| {
            report["state"] == "refused"
        });
        let refused = promote().failure(3);
        assert!(refused.contains("it has refused release 5"), "{refused}");
        assert_eq!(site.status()["fleet"]["release"]["serial"], 4);
        gateway.terminate();
    });
}

#[test]
fn compaction_and_a_member_that_hangs_are_survived() {
    in_nftables_sandbox(&["etcd", "etcdctl"], || {
        let site = PlainSite::new("fleet_survives");
        let mut fleet = fleet("fleet_survives_store");
        let host = &site.concentrator;
        let member = etcd(host, &fleet, "etcd.log", &[]);
        // The first member is always away.
        fleet.store = format!("etcd://127.0.0.1:1,{MEMBER}/contoso");
        publish(host, &fleet, &policy(false), "stable");
        site_file(&site, &fleet, "poll_seconds = 2");
        let mut agent = start_agent(&site, "agent.log");
        agent.wait_for_log("release 1 is in ");

        // Everything before this moment is compacted away.
        etcdctl(host, &["put", "other", "1"]).success();
        let revision = etcdctl(host, &["get", "other", "--write-out=json"]).json();
        let revision = revision["header"]["revision"].to_string();
        etcdctl(host, &["compact", &revision]).success();
        publish(host, &fleet, &policy(true), "stable");
        agent.wait_for_log("release 2 is in ");

        wait_for_report(host, &fleet, "release 2", |report| report["has"] == 2);

        // A member that takes connections and says nothing.
        member.signal("STOP");
        agent.wait_for_log("since the store does not answer");
        member.signal("CONT");
        agent.wait_for_log("the store answers again");
    });
}

#[test]
fn a_store_that_is_full_is_followed_and_the_report_that_it_does_not_take_is_told() {
    in_nftables_sandbox(&["etcd", "etcdctl"], || {
        let site = PlainSite::new("fleet_full");
        let fleet = fleet("fleet_full_store");
        let host = &site.concentrator;
        let _member = etcd(
            host,
            &fleet,
            "etcd.log",
            &["--quota-backend-bytes", "1048576"],
        );
        publish(host, &fleet, &policy(false), "stable");
        let value = "x".repeat(100_000);
        let is_full = |key: u32| {
            let put = etcdctl(host, &["put", &format!("other{key}"), &value]);
            put.stderr.contains("database space exceeded")
        };
        assert!((0..100).any(is_full), "its quota is a mebibyte");
        site_file(&site, &fleet, "");
        let mut agent = start_agent(&site, "agent.log");
        agent.wait_for_log("release 1 is in ");
        agent.wait_for_log("the store does not take the report of this gateway");
        assert!(
            agent.log().contains("database space exceeded"),
            "{}",
            agent.log()
        );
    });
}

#[test]
fn the_packages_policy_is_taken_while_the_store_has_never_answered() {
    in_nftables_sandbox(&[], || {
        let site = PlainSite::new("fleet_fallback");
        let fleet = fleet("fleet_fallback_store");
        let fallback = site.folder.write("fallback.toml", policy(false));
        site_file(&site, &fleet, &format!("fallback = \"{fallback}\""));
        site.echo(OFFICE, MEDIA);
        let mut agent = start_agent(&site, "agent.log");
        agent.wait_for_log("until a release comes");
        let _gateway = site.start_again("gateway.log");
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
        let told = site.status();
        assert_eq!(
            told["fleet"],
            Value::Null,
            "there is no state before the first contact"
        );
        agent.wait_for_log("since the store does not answer");
        assert!(fs::read_to_string(site.folder.path("policy.toml")).is_ok());
    });
}

#[test]
fn etcd_with_users_is_followed_and_a_wrong_password_is_told() {
    in_nftables_sandbox(&["etcd", "etcdctl"], || {
        let site = PlainSite::new("fleet_users");
        let fleet = fleet("fleet_users_store");
        let host = &site.concentrator;
        let _member = etcd(host, &fleet, "etcd.log", &[]);
        publish(host, &fleet, &policy(false), "stable");
        for line in [
            "user add root:secret",
            "user grant-role root root",
            "role add gateways",
            "role grant-permission gateways read --prefix contoso/offramp/v1/",
            "role grant-permission gateways readwrite --prefix contoso/offramp/v1/gateway/",
            "user add gateways:word",
            "user grant-role gateways gateways",
            "auth enable",
        ] {
            etcdctl(host, &line.split(' ').collect::<Vec<_>>()).success();
        }
        let password = site.folder.write("password", "wrong\n");
        let login = format!("user = \"gateways\"\npassword_file = \"{password}\"");
        let file = site_file(&site, &fleet, &login);
        let look = || host.run(&mut agent(&file, &["--once"]));
        let refused = look().error(1);
        assert!(refused.contains("authentication failed"), "{refused}");
        fs::write(&password, "word\n").expect("a file");
        assert_eq!(look().success(), "the policy file has release 1\n");
        // Its report was taken, and nothing else is.
        let key = "contoso/offramp/v1/gateway/vpn1";
        let read = etcdctl(host, &["--user", "gateways:word", "get", key]).success();
        assert!(read.contains("\"state\":\"no-answer\""), "{read}");
        let put = [
            "--user",
            "gateways:word",
            "put",
            "contoso/offramp/v1/channel/stable",
            "9",
        ];
        assert_ne!(etcdctl(host, &put).code, Some(0));
    });
}
