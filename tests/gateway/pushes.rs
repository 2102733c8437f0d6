//! Pushes of routes (`routes.push`) to management sockets that a test plays, to that of a real OpenVPN, and to files.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::Value;

use crate::site::plain::{DNS, OFFICE, PlainSite, policy};
use crate::site::{DEADLINE, Daemon, in_nftables_sandbox, in_sandbox, poll};

/// Answers like the server of OpenVPN 2.7 with three clients, of which two are of 2.7; tells the commands of each connection.
fn management(path: &str) -> Receiver<Vec<String>> {
    let listener = UnixListener::bind(path).expect("a free path");
    let (tell, told) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            _ = tell.send(serve(stream));
        }
    });
    told
}

fn serve(mut stream: UnixStream) -> Vec<String> {
    let mut say = {
        let mut stream = stream.try_clone().expect("a descriptor");
        move |line: &str| _ = stream.write_all(format!("{line}\r\n").as_bytes())
    };
    say(">INFO:OpenVPN Management Interface Version 6 -- type 'help' for more info");
    let mut commands = Vec::new();
    for line in BufReader::new(&mut stream).lines().map_while(Result::ok) {
        if line == "load-stats" {
            say("SUCCESS: nclients=3,bytesin=1959,bytesout=2102");
        } else if line.starts_with("push-update-broad ") {
            say(">BYTECOUNT_CLI:0,1,2");
            say("SUCCESS: 2 client(s) updated");
            say("SUCCESS: push-update command succeeded");
        } else if line == "quit" {
            break;
        }
        commands.push(line);
    }
    commands
}

/// The policy of the site with one more corporate network, and these targets.
fn with_network(site: &PlainSite, network: &str, push: &str) -> String {
    let text =
        policy(&site.folder, "").replace("\"10.0.0.0/8\"", &format!("\"10.0.0.0/8\"{network}"));
    format!("{text}[routes]\npush = [{push}]\n")
}

fn start(site: &PlainSite, push: &str) -> Daemon {
    site.folder
        .write("policy.toml", with_network(site, "", push));
    site.start_again("gateway.log")
}

/// The status of the first target, once it is in `state`.
fn wait_for(site: &PlainSite, state: &str) -> Value {
    poll(&format!("the state {state}"), || {
        let push = site.status()["pushes"][0].clone();
        (push["state"] == state).then_some(push)
    })
}

#[test]
fn a_reload_that_changes_routes_reaches_connected_clients_at_most_once_a_minute() {
    in_sandbox(&[], || {
        let site = PlainSite::new("pushed");
        site.echo(OFFICE, DNS);
        let socket = site.folder.path("management.sock");
        let told = management(&socket);
        let push = format!("\"openvpn:{socket}\"");
        let mut gateway = start(&site, &push);
        assert_eq!(
            wait_for(&site, "unchanged")["target"],
            format!("openvpn:{socket}")
        );

        site.folder.write(
            "policy.toml",
            with_network(&site, ", \"192.168.7.0/24\"", &push),
        );
        let commands = told.recv_timeout(DEADLINE).expect("a push");
        assert_eq!(
            commands,
            [
                "load-stats",
                "push-update-broad \"route 10.0.0.0 255.0.0.0,route 172.16.1.0 255.255.255.0,route 192.168.7.0 255.255.255.0,\
                 route-ipv6 fd00:1::/64,route-ipv6 fd00:2::/48\"",
            ]
        );
        let status = wait_for(&site, "pushed");
        assert_eq!(
            (&status["generation"], &status["pushed"]),
            (&2.into(), &1.into())
        );
        let result = status["result"].as_str().unwrap_or_default();
        assert!(result.starts_with("2 of 3 connected clients"), "{result}");
        gateway.wait_for_log("routes pushed to openvpn:");

        // A reload without other routes sends nothing; one with others waits for its minute.
        let ended = site.offramp(&["reload", "--control", &site.folder.path("control.sock")]);
        ended.success();
        assert_eq!(site.status()["pushes"][0]["state"], "pushed");
        site.folder.write(
            "policy.toml",
            with_network(&site, ", \"192.168.8.0/24\"", &push),
        );
        wait_for(&site, "waiting");
        assert!(told.try_recv().is_err());
        // Back to what was pushed: nothing is left to do.
        site.folder.write(
            "policy.toml",
            with_network(&site, ", \"192.168.7.0/24\"", &push),
        );
        wait_for(&site, "unchanged");
        assert!(site.is_answered(OFFICE, DNS, 100));
    });
}

#[test]
fn a_dry_run_says_what_would_be_pushed_and_pushes_nothing() {
    in_nftables_sandbox(&[], || {
        let site = PlainSite::new("would-push");
        let file = site.folder.path("group.conf");
        let _gateway = start(&site, &format!("\"ocserv:{file}\""));
        wait_for(&site, "pushed");
        let control = site.folder.path("control.sock");
        let dry_run = || site.offramp(&["reload", "--dry-run", "--control", &control]);
        assert!(
            !dry_run().success().contains("push to"),
            "it has the routes"
        );

        fs::remove_file(&file).expect("it is there");
        let ended = dry_run();
        assert_eq!(ended.code, Some(3), "{ended:#?}");
        let line = format!("push to ocserv:{file}: {file} is written, ");
        assert!(ended.stdout.contains(&line), "{ended:#?}");
        assert!(!fs::exists(&file).expect("a folder"));
    });
}

#[test]
fn a_server_that_hangs_holds_nothing_up_and_is_reported() {
    in_nftables_sandbox(&[], || {
        let site = PlainSite::new("hanging");
        site.echo(OFFICE, DNS);
        let socket = site.folder.path("management.sock");
        let _listener = UnixListener::bind(&socket).expect("a free path");
        let push = format!("\"openvpn:{socket}\"");
        let mut gateway = start(&site, &push);
        site.folder.write(
            "policy.toml",
            with_network(&site, ", \"192.168.7.0/24\"", &push),
        );
        poll("the next generation", || {
            (site.status()["generation"] == 2).then_some(())
        });
        assert!(site.is_answered(OFFICE, DNS, 100));
        let status = poll("the failure", || {
            let push = site.status()["pushes"][0].clone();
            (push["failed"] == 1).then_some(push)
        });
        let result = status["result"].as_str().unwrap_or_default();
        assert!(result.contains("no answer within 5 seconds"), "{result}");
        assert!(status["generation"].is_null());
        gateway.wait_for_log("routes are not pushed to openvpn:");
    });
}

#[test]
fn a_policy_that_is_not_enforced_pushes_nothing_until_it_is() {
    in_nftables_sandbox(&[], || {
        let site = PlainSite::new("held");
        let socket = site.folder.path("management.sock");
        let told = management(&socket);
        let push = format!("\"openvpn:{socket}\"");
        let _gateway = start(&site, &push);
        let text = with_network(&site, ", \"192.168.7.0/24\"", &push);
        let off = text.replace("divert =", "enforce = false\ndivert =");
        site.folder.write("policy.toml", off);
        wait_for(&site, "held");
        assert!(told.try_recv().is_err());
        site.folder.write("policy.toml", text);
        assert!(told.recv_timeout(DEADLINE).is_ok());
    });
}

#[test]
fn files_are_written_for_clients_that_connect_later_and_foreign_ones_are_left_alone() {
    in_sandbox(&[], || {
        let site = PlainSite::new("pushed-files");
        let folder = site.folder.path("servers");
        fs::create_dir(&folder).expect("a folder");
        let foreign = format!("{folder}/ocserv.conf");
        fs::write(&foreign, "auth = certificate\n").expect("a file");
        let push = format!(
            "\"ocserv:{folder}/group.conf\", \"openvpn-ccd:{folder}/DEFAULT\", \"wireguard:{folder}\", \"ocserv:{foreign}\""
        );
        let _gateway = start(&site, &push);
        let states = |wanted: [&str; 4]| {
            poll(&format!("{wanted:?}"), || {
                let status = site.status();
                let states: Vec<&str> = (0..4)
                    .filter_map(|at| status["pushes"][at]["state"].as_str())
                    .collect();
                (states == wanted).then_some(())
            });
        };
        states(["pushed", "pushed", "pushed", "failed"]);
        let read = |name: &str| fs::read_to_string(format!("{folder}/{name}")).expect("a file");
        assert!(read("group.conf").contains("route = 10.0.0.0/255.0.0.0\n"));
        assert!(read("DEFAULT").contains("push \"route 10.0.0.0 255.0.0.0\"\n"));
        let wireguard = read("wireguard-allowed-ips.conf");
        assert!(wireguard.contains("AllowedIPs = 10.0.0.0/8"));
        assert!(wireguard.contains("WireGuard pushes nothing"));
        assert_eq!(read("ocserv.conf"), "auth = certificate\n");
        let result = site.status()["pushes"][3]["result"].to_string();
        assert!(result.contains("offramp did not write"), "{result}");
    });
}

#[test]
fn a_real_server_before_2_7_is_named_as_the_reason() {
    in_nftables_sandbox(&["openvpn"], || {
        let site = PlainSite::new("old-server");
        let socket = site.folder.path("management.sock");
        let mut command = Command::new("openvpn");
        command.args(["--dev", "null", "--management-hold", "--verb", "1"]);
        command.args([
            "--remote",
            "127.0.0.1",
            "--client",
            "--management",
            &socket,
            "unix",
        ]);
        // It waits for its release, and reads no certificate until then.
        command.args([
            "--ca",
            "/dev/null",
            "--auth-user-pass",
            "--management-query-passwords",
        ]);
        let mut server = Daemon::start(
            &site.concentrator,
            "openvpn",
            site.folder.path("openvpn.log"),
            &mut command,
        );
        server.wait_until("its socket", |_| fs::exists(&socket).is_ok_and(|it| it));
        let push = format!("\"openvpn:{socket}\"");
        let _gateway = start(&site, &push);
        site.folder.write(
            "policy.toml",
            with_network(&site, ", \"192.168.7.0/24\"", &push),
        );
        let status = wait_for(&site, "failed");
        let result = status["result"].as_str().unwrap_or_default();
        assert!(result.contains("it takes OpenVPN 2.7 or later"), "{result}");
    });
}
