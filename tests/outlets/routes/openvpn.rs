//! OpenVPN's server pushes the rendered routes, and the client's kernel routes are the plan.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::{Client, FULL, SERVER, assert_routed, comparable, plan, rendered, split};
use crate::support::Folder;
use crate::support::certificates::Certificates;
use crate::support::host::Daemon;
use crate::support::sandbox::in_sandbox;
use offramp::plan::RoutePlan;
use offramp::render::{Form, Options, render, routes};

const PROGRAMS: &[&str] = &["openvpn"];

/// Runs the server with these files and options, and a client; checks that the client's kernel routes are the plan.
/// Returns the server with the folder of its log.
fn assert_pushed(
    name: &str,
    plan: &RoutePlan,
    server_options: impl FnOnce(&Folder) -> Vec<String>,
) -> (Folder, Daemon) {
    let folder = Folder::new(name);
    let client = Client::start();
    let certificates = Certificates::new(&folder);
    let (certificate, key) = certificates.issue(&folder, "server");
    let common = [
        "--dev",
        "tun0",
        "--proto",
        "udp4",
        "--ca",
        &certificates.authority,
        "--verb",
        "3",
    ];
    let mut server = Daemon::start_here(
        "openvpn, server",
        folder.path("server.log"),
        Command::new("openvpn")
            .args(common)
            .args([
                "--cert",
                &certificate,
                "--key",
                &key,
                "--dh",
                "none",
                "--local",
                SERVER,
            ])
            .args([
                "--topology",
                "subnet",
                "--server",
                "172.16.1.0",
                "255.255.255.0",
            ])
            .args([
                "--server-ipv6",
                "fd00:1::/64",
                "--script-security",
                "2",
                "--disable-dco",
            ])
            .args(server_options(&folder)),
    );
    server.wait_for_log("Initialization Sequence Completed");
    let (certificate, key) = certificates.issue(&folder, "client");
    let mut connected = Daemon::start(
        &client.host,
        "openvpn, client",
        folder.path("client.log"),
        Command::new("openvpn")
            .args(common)
            .args([
                "--cert",
                &certificate,
                "--key",
                &key,
                "--client",
                "--nobind",
                "--remote",
                SERVER,
            ])
            .args(["--disable-dco"]),
    );
    connected.wait_for_log("Initialization Sequence Completed");
    server.wait_for_log("SENT CONTROL");
    let enters = client.enters("tun0");
    assert_eq!(
        comparable(&enters),
        comparable(&plan.tunnel),
        "{}",
        connected.log()
    );
    assert_routed(&client, plan, "tun0");
    (folder, server)
}

fn config(folder: &Folder, text: &str) -> Vec<String> {
    vec!["--config".to_owned(), folder.write("routes.conf", text)]
}

#[test]
fn a_full_tunnel_leaves_out_the_public_services() {
    in_sandbox(PROGRAMS, || {
        let plan = plan(FULL);
        let rendered =
            render(&routes::openvpn::TARGET, &plan, &Options::default()).expect("no limit");
        let (_folder, mut server) = assert_pushed("openvpn-full", &plan, |folder| {
            config(folder, &rendered.text)
        });
        server.wait_for_log("push-continuation 1");
        // The server splits its push into as many messages as predicted.
        let log = server.log();
        let sent = log.lines().filter(|line| line.contains("'PUSH_REPLY,"));
        assert_eq!(Some(sent.count()), rendered.measures.messages, "{log}");
    });
}

#[test]
fn the_include_form_leads_to_the_same_routes() {
    in_sandbox(PROGRAMS, || {
        let plan = plan(FULL);
        let text = rendered(&routes::openvpn::TARGET, &plan, Some(Form::Include));
        assert!(!text.contains("redirect-gateway"), "{text}");
        assert_pushed("openvpn-include", &plan, |folder| config(folder, &text));
    });
}

#[test]
fn public_addresses_inside_a_pushed_prefix_go_by_the_clients_own_gateway() {
    in_sandbox(PROGRAMS, || {
        let plan = plan(&split());
        let text = rendered(&routes::openvpn::TARGET, &plan, None);
        assert!(
            text.contains("push \"route 167.55.49.32 255.255.255.252 net_gateway\""),
            "{text}"
        );
        assert_pushed("openvpn-split", &plan, |folder| config(folder, &text));
    });
}

/// The options that the server would push to other clients.
const OF_THE_SERVER: [&str; 4] = [
    "--push",
    "route 203.0.113.0 255.255.255.0",
    "--push",
    "route-ipv6 2001:db8:dead::/48",
];

#[test]
fn a_clients_own_file_takes_the_place_of_the_servers_routes() {
    in_sandbox(PROGRAMS, || {
        let plan = plan(&split());
        assert_pushed("openvpn-ccd", &plan, |folder| {
            let path = folder.path("ccd");
            fs::create_dir(&path).expect("a folder");
            folder.write(
                "ccd/client",
                rendered(&routes::openvpn_ccd::TARGET, &plan, None),
            );
            let mut options: Vec<String> = OF_THE_SERVER.map(str::to_owned).to_vec();
            options.extend(["--client-config-dir".to_owned(), path]);
            options
        });
    });
}

#[test]
fn a_client_connect_script_takes_the_place_of_the_servers_routes() {
    in_sandbox(PROGRAMS, || {
        let plan = plan(FULL);
        assert_pushed("openvpn-connect", &plan, |folder| {
            let script = folder.write(
                "connect.sh",
                rendered(&routes::openvpn_client_connect::TARGET, &plan, None),
            );
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("our own file");
            let mut options: Vec<String> = OF_THE_SERVER.map(str::to_owned).to_vec();
            options.extend(["--client-connect".to_owned(), script]);
            options
        });
    });
}
