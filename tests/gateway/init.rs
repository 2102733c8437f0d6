//! `offramp init` beside running VPN servers, and a gateway that starts with what it has written.

use std::fs;
use std::process::Command;

use crate::site::filter::Status;
use crate::site::ocserv::Ocserv;
use crate::site::openvpn::OpenVpn;
use crate::site::{Daemon, Site, Translation, Vpn as _, in_sandbox};
use crate::support::program;

/// The socket of the gateway: the path of the unit is in a folder that systemd makes.
const CONTROL: &str = "/run/offramp-of-the-test.sock";

/// Starts a device of WireGuard without a configuration file.
fn wireguard(site: &Site) -> Daemon {
    let mut command = Command::new("wireguard-go");
    command
        .args(["--foreground", "wg0"])
        .env("LOG_LEVEL", "verbose");
    let log = site.folder.path("wg0.log");
    let mut daemon = Daemon::start(&site.concentrator, "wireguard-go", log, &mut command);
    daemon.wait_for_log("UAPI listener started");
    site.concentrator
        .ip("address add 10.99.0.1/24 dev wg0\nlink set wg0 up");
    daemon
}

#[test]
fn a_policy_written_beside_running_servers_has_their_clients_and_starts() {
    in_sandbox(&["openvpn", "openssl", "wireguard-go"], || {
        let site = Site::new("init", Translation::KeepsPorts);
        let _openvpn = OpenVpn::start(&site);
        let _wireguard = wireguard(&site);
        let policy = site.folder.path("policy.toml");
        let arguments = ["init", &policy, "--yes", "--json"];
        let ended = site.concentrator.run(&mut program(&arguments));
        assert!(
            ended
                .stderr
                .contains("no configuration of wg0 was read: that its clients are in 10.99.0.0/24"),
            "{ended:#?}"
        );
        let json = ended.json();
        ended.success();
        assert_eq!(json["findings"].as_array().map(Vec::len), Some(0));
        let text = fs::read_to_string(&policy).expect("a policy");
        let server = site.folder.path("server.conf");
        for line in [
            format!("\"tun0\",  # OpenVPN, {server}:3\n"),
            "\"wg0\",  # an interface of this host (tun)\n".to_owned(),
            format!("\"172.16.1.0/24\",  # OpenVPN, {server}:6\n"),
            format!("\"fd00:172:16:1::/64\",  # OpenVPN, {server}:7\n"),
            "\"10.99.0.0/24\",  # network of wg0\n".to_owned(),
            format!("\"10.0.0.0/8\",  # clients are given this route, {server}:8\n"),
            "enforce = false\n".to_owned(),
        ] {
            assert!(text.contains(&line), "{line}: {text}");
        }
        let control = format!("enforce = false\ncontrol = \"{CONTROL}\"\n");
        fs::write(&policy, text.replace("enforce = false\n", &control)).expect("a policy");

        let rehearsed = site
            .concentrator
            .run(&mut program(&["run", &policy, "--dry-run"]));
        assert!(!rehearsed.success().contains("# error"));
        let log = site.folder.path("offramp.log");
        let mut command = program(&["run", &policy]);
        let mut gateway = Daemon::start(&site.concentrator, "offramp", log, &mut command);
        gateway.wait_for_log("ready");
        let status = Status::ask(CONTROL);
        assert_eq!(status.interfaces().len(), 2, "{status:?}");
        assert_eq!(
            status.0["enforcement"]["gap"],
            "the policy is not enforced (gateway.enforce = false)"
        );
        assert!(gateway.terminate().success());
    });
}

/// A daemon that was restarted with another pool than its file has, and a file of a daemon that does not run.
#[test]
fn facts_that_contradict_are_told() {
    in_sandbox(&["openvpn", "openssl"], || {
        let site = Site::new("init-contradict", Translation::KeepsPorts);
        let _openvpn = OpenVpn::start(&site);
        let path = site.folder.path("server.conf");
        let text = fs::read_to_string(&path).expect("a configuration");
        let changed = text.replace("server 172.16.1.0", "server 172.16.9.0");
        fs::write(&path, changed).expect("a configuration");
        let ended = site.concentrator.run(&mut program(&["init", "-", "--yes"]));
        assert!(
            ended.stderr.contains(&format!(
                "tun0 is in 172.16.1.0/24, and the clients of {path} are in 172.16.9.0/24"
            )),
            "{ended:#?}"
        );
        assert!(ended.success().contains("\"172.16.9.0/24\""));
    });
}

/// A running ocserv clears its command line.
#[test]
fn a_configuration_that_a_daemon_does_not_name_is_told() {
    in_sandbox(Ocserv::PROGRAMS, || {
        let site = Site::new("init-ocserv", Translation::KeepsPorts);
        let _ocserv = Ocserv::start(&site);
        let ended = site.concentrator.run(&mut program(&["init", "-", "--yes"]));
        let hidden = "ocserv does not tell the file that it was started with";
        assert_eq!(ended.stderr.matches(hidden).count(), 1, "{ended:#?}");
    });
}
