//! WireGuard loads the rendered file, and its own list of allowed addresses is the plan.

use std::process::Command;

use super::{FULL, plan, rendered, split};
use crate::support::host::Daemon;
use crate::support::sandbox::in_sandbox;
use crate::support::{Folder, run};
use ipnet::IpNet;
use offramp::address::PrefixSet;
use offramp::render::routes;

fn assert_allowed(name: &str, text: &str) {
    let plan = plan(text);
    let folder = Folder::new(name);
    let keys = || run(Command::new("wg").arg("genkey")).success();
    let (private, other) = (keys(), keys());
    let config = format!(
        "[Interface]\nPrivateKey = {private}\n[Peer]\nPublicKey = {other}\nEndpoint = 192.0.2.1:51820\n{}",
        rendered(&routes::wireguard::TARGET, &plan, None)
    );
    let config = folder.write("wg.conf", config);
    // In user space: not every kernel has the module.
    let mut daemon = Daemon::start_here(
        "wireguard-go",
        folder.path("wireguard.log"),
        Command::new("wireguard-go")
            .args(["--foreground", "wg0"])
            .env("LOG_LEVEL", "error"),
    );
    daemon.wait_until("its interface", |_| {
        run(Command::new("wg").args(["show", "wg0"])).code == Some(0)
    });
    run(Command::new("wg").args(["setconf", "wg0", &config])).success();
    let shown = run(Command::new("wg").args(["show", "wg0", "allowed-ips"])).success();
    let prefixes: Vec<IpNet> = shown
        .split_whitespace()
        .skip(1)
        .map(|prefix| prefix.parse().expect("a prefix"))
        .collect();
    assert_eq!(prefixes.len(), plan.includes.len());
    assert_eq!(prefixes.into_iter().collect::<PrefixSet>(), plan.tunnel);
}

#[test]
fn a_full_tunnel_is_the_complement_without_the_peer_itself() {
    in_sandbox(&["wg", "wireguard-go"], || {
        assert_allowed("wireguard-full", FULL);
    });
}

#[test]
fn a_split_tunnel_is_the_corporate_prefixes() {
    in_sandbox(&["wg", "wireguard-go"], || {
        assert_allowed("wireguard-split", &split());
    });
}
