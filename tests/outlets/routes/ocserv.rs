//! ocserv pushes the rendered routes to openconnect, whose vpnc-script installs the plan in the kernel.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use super::{Client, FULL, SERVER, assert_enters, assert_routed, plan, rendered, split};
use crate::support::certificates::Certificates;
use crate::support::host::Daemon;
use crate::support::sandbox::in_sandbox;
use crate::support::{Folder, run};
use offramp::plan::RoutePlan;
use offramp::render::{self, Options, routes};

const PROGRAMS: &[&str] = &["ocserv", "ocpasswd", "openconnect"];
/// The script's path on Debian.
const SCRIPT: &str = "/usr/share/vpnc-scripts/vpnc-script";

/// The client is of the group, if one is given, and has an address that begins so.
fn assert_given(name: &str, plan: &RoutePlan, routes: &str, group: Option<(&str, &str)>) {
    if !fs::exists(SCRIPT).unwrap_or(false) {
        return crate::support::skip("vpnc-scripts is not installed");
    }
    let folder = Folder::new(name);
    let client = Client::start();
    let certificates = Certificates::new(&folder);
    let (certificate, key) = certificates.issue(&folder, SERVER);
    let passwords = folder.path("passwords");
    let mut ocpasswd = Command::new("ocpasswd")
        .args(["-c", &passwords])
        .args(group.iter().flat_map(|(group, _)| ["-g", group]))
        .arg("user")
        .stdin(Stdio::piped())
        .spawn()
        .expect("ocpasswd starts");
    let mut input = ocpasswd.stdin.take().expect("piped just above");
    input.write_all(b"secret\nsecret\n").expect("it reads both");
    drop(input);
    assert!(ocpasswd.wait().expect("a child").success());
    let config = format!(
        "auth = \"plain[passwd={passwords}]\"\ntcp-port = 4443\nsocket-file = /run/ocserv-socket\n\
         server-cert = {certificate}\nserver-key = {key}\n\
         isolate-workers = false\nmax-clients = 4\ndevice = vpns\nipv4-network = 172.16.1.0/24\n\
         ipv6-network = fd00:1::/64\nipv6-subnet-prefix = 128\nuse-occtl = false\npid-file = /run/ocserv.pid\n\
         cisco-client-compat = true\n{routes}"
    );
    let config = folder.write("ocserv.conf", config);
    let mut server = Daemon::start_here(
        "ocserv",
        folder.path("ocserv.log"),
        Command::new("ocserv").args([
            "--foreground",
            "--log-stderr",
            "--debug",
            "2",
            "--config",
            &config,
        ]),
    );
    server.wait_for_log("initialized");
    // The script would overwrite the host's file.
    let resolv = folder.write("resolv.conf", "");
    run(Command::new("mount").args(["--bind", &resolv, "/etc/resolv.conf"])).success();
    let password = folder.write("password", "secret\n");
    let group_option = group.map_or(String::new(), |(group, _)| format!("--authgroup={group}"));
    let mut connected = Daemon::start(&client.host, "openconnect", folder.path("openconnect.log"), Command::new("sh").args([
        "-c",
        &format!(
            "exec openconnect --protocol=anyconnect --user=user --passwd-on-stdin --cafile={} --non-inter {group_option} \
             --interface=oc0 --no-dtls --script={SCRIPT} https://{SERVER}:4443 < {password}",
            certificates.authority
        ),
    ]));
    // It reports the connection once its script, which sets the routes, has ended.
    let address = group.map_or("", |(_, address)| address);
    connected.wait_for_log(&format!("Configured as {address}"));
    assert_enters(&client, plan, "oc0");
    assert_routed(&client, plan, "oc0");
}

#[test]
fn a_full_tunnel_leaves_out_the_public_services() {
    in_sandbox(PROGRAMS, || {
        let plan = plan(FULL);
        let routes = rendered(&routes::ocserv::TARGET, &plan, None);
        assert!(
            routes.contains("no-route = 52.112.0.0/255.252.0.0"),
            "{routes}"
        );
        assert_given("ocserv-full", &plan, &routes, None);
    });
}

#[test]
fn a_split_tunnel_has_the_corporate_prefixes() {
    in_sandbox(PROGRAMS, || {
        let plan = plan(&split());
        let routes = rendered(&routes::ocserv::TARGET, &plan, None);
        assert!(!routes.contains("no-route"), "{routes}");
        assert_given("ocserv-split", &plan, &routes, None);
    });
}

/// The groups, the first byte after 172.16 of their pools, and their policies.
fn groups() -> [(&'static str, &'static str, RoutePlan); 2] {
    let office = split()
        .replace("172.16.1.0/24", "172.16.2.0/24")
        .replace("fd00:1::/64", "fd00:2::/64");
    [
        ("roaming", "172.16.1.", plan(FULL)),
        ("office", "172.16.2.", plan(&office)),
    ]
}

/// The server has the files of both groups, and a route of its own, which no client of a group may get.
fn assert_group_is_given(group: &str) {
    let folder = Folder::new(&format!("ocserv-groups-of-{group}"));
    let files = folder.path("groups");
    fs::create_dir(&files).expect("a folder that is not there yet");
    let mut config = format!("config-per-group = {files}\nroute = 198.18.0.0/255.254.0.0\n");
    for (name, _, plan) in &groups() {
        let options = Options {
            name: Some((*name).to_owned()),
            ..Options::default()
        };
        let file = render::render(&routes::ocserv_group::TARGET, plan, &options);
        let file = file.expect("within the limits");
        assert_eq!(file.warnings, [] as [&str; 0]);
        folder.write(&format!("groups/{name}"), file.text);
        config.push_str(&format!("select-group = {name}\n"));
    }
    let [(_, pool, plan)] = groups()
        .into_iter()
        .filter(|it| it.0 == group)
        .collect::<Vec<_>>()
        .try_into()
        .expect("one of that name");
    let name = format!("ocserv-group-{group}");
    assert_given(&name, &plan, &config, Some((group, pool)));
}

#[test]
fn a_client_of_a_group_with_a_full_tunnel_has_the_routes_of_its_policy() {
    in_sandbox(PROGRAMS, || assert_group_is_given("roaming"));
}

#[test]
fn a_client_of_a_group_with_a_split_tunnel_has_the_routes_of_its_policy() {
    in_sandbox(PROGRAMS, || assert_group_is_given("office"));
}
