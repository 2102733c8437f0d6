//! A fleet whose folder nginx serves, by HTTPS: as a web server is used, not one of our own.

use std::fs;
use std::process::Command;

use super::{Identities, policy, publish, site_file, start_agent};
use crate::site::plain::{OFFICE, PlainSite};
use crate::site::{Daemon, Host, in_nftables_sandbox, poll};
use crate::support::fleet::{Fleet, agent};
use crate::support::stores::Nginx;
use crate::support::{Ended, run};

/// Starts nginx on `host`, which serves the fleet's folder; returns once it listens.
fn start(host: &Host, fleet: &Fleet, nginx: &Nginx<'_>, log: &str) -> Daemon {
    let mut command = nginx.command(&fleet.folder);
    let mut daemon = Daemon::start(host, "nginx", fleet.folder.path(log), &mut command);
    daemon.wait_until("it listens", |_| host.listens("--tcp", &nginx.socket()));
    daemon
}

/// nginx at an address; `verify` is `on` if clients have to show a certificate.
fn nginx<'a>(tls: &'a Identities, address: &'a str, verify: &'a str) -> Nginx<'a> {
    Nginx {
        address,
        server: &tls.server,
        authority: &tls.authority,
        verify,
    }
}

/// Number of answers with this status for a path that ends so.
fn answered(fleet: &Fleet, end: &str, status: u16) -> usize {
    let log = fs::read_to_string(fleet.folder.path("access.log")).unwrap_or_default();
    let line_end = format!("{end} {status}");
    log.lines().filter(|line| line.ends_with(&line_end)).count()
}

/// The site file of a gateway that asks nginx at `address`.
fn site_of(site: &PlainSite, fleet: &Fleet, address: &str, lines: &str) -> String {
    let source = format!("https://{address}:8443");
    let text = fs::read_to_string(site_file(site, fleet, lines)).expect("it was just written");
    let text = text.replace(&fleet.store, &source);
    site.folder.write("site.toml", text)
}

#[test]
fn nginx_is_asked_by_its_etag_and_followed_again_after_a_stop() {
    in_nftables_sandbox(&["nginx"], || {
        let site = PlainSite::new("fleet_nginx");
        let fleet = Fleet::new("fleet_nginx_store");
        let host = &site.concentrator;
        let tls = Identities::new(&fleet.folder, "127.0.0.1");
        let nginx = nginx(&tls, "127.0.0.1", "off");
        let mut server = start(host, &fleet, &nginx, "nginx.log");
        publish(host, &fleet, &policy(false), "stable");
        let lines = format!("{}poll_seconds = 1", tls.trusted());
        site_of(&site, &fleet, "127.0.0.1", &lines);
        let mut agent = start_agent(&site, "agent.log");
        agent.wait_for_log("release 1 is in ");
        poll("an answer without a body", || {
            (answered(&fleet, "/channel/stable", 304) > 0).then_some(())
        });
        publish(host, &fleet, &policy(true), "stable");
        agent.wait_for_log("release 2 is in ");
        assert_eq!(answered(&fleet, "/release/1/policy.toml.gz", 200), 1);

        server.signal("KILL");
        server.wait();
        agent.wait_for_log("since the store does not answer");
        publish(host, &fleet, &policy(false), "stable");
        let _server = start(host, &fleet, &nginx, "nginx-again.log");
        agent.wait_for_log("the store answers again");
        agent.wait_for_log("release 3 is in ");
    });
}

#[test]
fn nginx_that_asks_for_a_certificate_tells_a_gateway_without_one_so() {
    in_nftables_sandbox(&["nginx"], || {
        let site = PlainSite::new("fleet_nginx_certificate");
        let mut fleet = Fleet::new("fleet_nginx_certificate_store");
        let host = &site.concentrator;
        let tls = Identities::new(&fleet.folder, "127.0.0.1");
        publish(host, &fleet, &policy(false), "stable");
        let nginx = nginx(&tls, "127.0.0.1", "on");
        let _server = start(host, &fleet, &nginx, "nginx.log");
        fleet.store = "https://127.0.0.1:8443".to_owned();
        let refused = tls.check_who_may_look(&site, &fleet);
        assert!(
            refused.contains("answered 400: No required SSL certificate was sent"),
            "{refused}"
        );
    });
}

#[test]
fn nginx_is_reached_through_a_proxy_where_there_is_no_other_way() {
    in_nftables_sandbox(&["nginx", "tinyproxy"], || {
        let site = PlainSite::new("fleet_nginx_proxy");
        let fleet = Fleet::new("fleet_nginx_proxy_store");
        let store = &site.corporate;
        let tls = Identities::new(&fleet.folder, OFFICE);
        publish(store, &fleet, &policy(false), "stable");
        let nginx = nginx(&tls, OFFICE, "on");
        let _server = start(store, &fleet, &nginx, "nginx.log");
        let settings = format!(
            "Port 3128\nListen {OFFICE}\nTimeout 60\nMaxClients 10\nAllow 10.0.0.1\nConnectPort 8443\nLogLevel Connect\n"
        );
        let settings = fleet.folder.write("tinyproxy.conf", settings);
        let mut command = Command::new("tinyproxy");
        command.args(["-d", "-c", &settings]);
        let log = fleet.folder.path("tinyproxy.log");
        let mut proxy = Daemon::start(store, "tinyproxy", log, &mut command);
        let socket = format!("{OFFICE}:3128");
        proxy.wait_until("it listens", |_| store.listens("--tcp", &socket));
        store.nft(
            "table inet closed {
                chain input {
                    type filter hook input priority 0
                    iifname eth1 tcp dport 8443 reject
                }
            }",
        );

        let look = |lines: &str| {
            let file = site_of(&site, &fleet, OFFICE, lines);
            site.concentrator.run(&mut agent(&file, &["--once"]))
        };
        look(&tls.known()).failure(1);
        let through = format!("{}proxy = \"http://{OFFICE}:3128\"", tls.known());
        look(&through).success();
        let asked = proxy.log();
        assert!(asked.contains(&format!("CONNECT {OFFICE}:8443")), "{asked}");
    });
}

#[test]
fn nginx_that_serves_the_wrong_files_changes_nothing() {
    in_nftables_sandbox(&["nginx"], || {
        let site = PlainSite::new("fleet_nginx_lies");
        let fleet = Fleet::new("fleet_nginx_lies_store");
        let host = &site.concentrator;
        let tls = Identities::new(&fleet.folder, "127.0.0.1");
        for is_allowed in [false, true] {
            publish(host, &fleet, &policy(is_allowed), "stable");
        }
        let nginx = nginx(&tls, "127.0.0.1", "off");
        let _server = start(host, &fleet, &nginx, "nginx.log");
        let file = site_of(&site, &fleet, "127.0.0.1", &tls.trusted());
        let look = || -> Ended { host.run(&mut agent(&file, &["--once"])) };
        look().success();
        let policy_file = site.folder.path("policy.toml");
        let before = fs::read(&policy_file).expect("it was written");
        publish(host, &fleet, &policy(false), "stable");

        let third = |part: &str| fleet.stored(&format!("release/3/{part}"));
        let second = |part: &str| fleet.stored(&format!("release/2/{part}"));
        let right = fleet.folder.path("right");
        let copy = |from: &str, to: &str| {
            run(Command::new("cp").args(["-r", "--no-target-directory", from, to])).success();
        };
        copy(&fleet.stored("release/3"), &right);
        let lie = |what: &str, expected: &str| {
            let refused = look().error(3);
            assert!(refused.contains(expected), "{what}: {refused}");
            assert_eq!(
                fs::read(&policy_file).expect("it is there"),
                before,
                "{what}"
            );
            copy(&right, &fleet.stored("release/3"));
        };
        copy(&second("policy.toml.gz"), &third("policy.toml.gz"));
        lie("another policy", "its policy has the digest");
        let whole = fs::read(third("policy.toml.gz")).expect("it is there");
        fs::write(third("policy.toml.gz"), &whole[..whole.len() / 2]).expect("a file");
        lie("half a policy", "its policy cannot be uncompressed");
        fs::write(third("policy.toml.gz"), "<html>").expect("a file");
        lie("a page", "its policy cannot be uncompressed");
        copy(&second("manifest"), &third("manifest"));
        lie("an old manifest", "its signature is not of this manifest");
        copy(&fleet.stored("release/2"), &fleet.stored("release/3"));
        lie("an old release", "its manifest is that of release 2");
        fs::write(fleet.stored("channel/stable"), "1\n").expect("a file");
        lie("an old channel", "release 1 is earlier than 2");
        fs::write(fleet.stored("channel/stable"), "3\n").expect("a file");
        assert_eq!(look().success(), "the policy file has release 3\n");
    });
}
