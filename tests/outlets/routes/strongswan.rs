//! strongSwan's charon loads the rendered file, and lists it as its traffic selectors.

use std::process::Command;

use super::{FULL, plan, rendered, split};
use crate::support::host::Daemon;
use crate::support::sandbox::in_sandbox;
use crate::support::{Folder, run};
use ipnet::IpNet;
use offramp::address::PrefixSet;
use offramp::policy::TunnelMode;
use offramp::render::routes;

/// The path on Debian.
const CHARON: &str = "/usr/lib/ipsec/charon";

fn assert_loaded(name: &str, text: &str) {
    if !std::fs::exists(CHARON).unwrap_or(false) {
        return crate::support::skip("strongswan-charon is not installed");
    }
    let plan = plan(text);
    let folder = Folder::new(name);
    let selectors = folder.write(
        "local-ts.conf",
        rendered(&routes::strongswan::TARGET, &plan, None),
    );
    let unity = folder.write(
        "attr.conf",
        rendered(&routes::strongswan_unity::TARGET, &plan, None),
    );
    let socket = "unix:///run/offramp-test.vici";
    let settings = folder.write(
        "strongswan.conf",
        format!(
            "charon {{\n  load_modular = no\n  load = random nonce aes sha1 sha2 hmac pem pkcs1 x509 openssl kernel-netlink socket-default attr unity vici\n  filelog {{ stderr {{ default = 2 }} }}\n  \
             plugins {{\n    vici {{ socket = {socket} }}\n  }}\n}}\ninclude {unity}\n"
        ),
    );
    let connections = folder.write(
        "swanctl.conf",
        format!(
            "connections {{\n  vpn {{\n    version = 2\n    local {{ auth = psk }}\n    remote {{ auth = psk }}\n    \
             children {{\n      all {{\n        include {selectors}\n      }}\n    }}\n  }}\n}}\n"
        ),
    );
    let mut charon = Daemon::start_here(
        "charon",
        folder.path("charon.log"),
        Command::new(CHARON).env("STRONGSWAN_CONF", &settings),
    );
    charon.wait_until("its socket", |_| {
        std::fs::exists("/run/offramp-test.vici").unwrap_or(false)
    });
    let swanctl = |arguments: &[&str]| {
        let mut command = Command::new("swanctl");
        command
            .args(arguments)
            .args(["--uri", socket])
            .env("STRONGSWAN_CONF", &settings);
        run(&mut command)
    };
    // The attr plugin logs the values it read: address and mask.
    charon.wait_for_log("loaded plugins:");
    let log = charon.log();
    let attributes = log
        .lines()
        .filter_map(|line| line.split_once("loaded attribute UNITY_"));
    let attributes: Vec<(&str, IpNet)> = attributes
        .map(|(_, attribute)| {
            let (kind, bytes) = attribute.split_once(": ").expect("a kind and bytes");
            let octets: Vec<u8> = bytes
                .split(':')
                .map(|octet| u8::from_str_radix(octet, 16).expect("hexadecimal"))
                .collect();
            let octet = |at: usize| {
                <[u8; 4]>::try_from(&octets[at..at + 4])
                    .expect("four octets")
                    .into()
            };
            let net = ipnet::Ipv4Net::with_netmask(octet(0), octet(4)).expect("a netmask");
            (kind, IpNet::V4(net))
        })
        .collect();
    let (kind, wanted) = match plan.mode {
        TunnelMode::Full => ("LOCAL_LAN", plan.excluded()),
        TunnelMode::Split => ("SPLIT_INCLUDE", plan.included_but_gateways()),
    };
    assert!(
        attributes.iter().all(|(it, _)| *it == kind),
        "{attributes:?}"
    );
    let read: PrefixSet = attributes.iter().map(|(_, net)| *net).collect();
    assert_eq!(read, wanted.only_v4(), "{}", charon.log());
    let loaded = swanctl(&["--load-conns", "--file", &connections]);
    assert_eq!(loaded.code, Some(0), "{loaded:?} {}", charon.log());
    let listed = swanctl(&["--list-conns"]).success();
    let local = listed
        .lines()
        .find_map(|line| line.trim().strip_prefix("local:  "));
    let local = listed
        .lines()
        .filter_map(|line| line.trim().strip_prefix("local:"))
        .map(str::trim)
        .find(|value| value.contains('/'))
        .or(local)
        .unwrap_or_else(|| panic!("no selectors in\n{listed}"));
    let prefixes: Vec<IpNet> = local
        .split_whitespace()
        .map(|selector| {
            selector
                .parse()
                .unwrap_or_else(|_| panic!("`{selector}` in\n{listed}"))
        })
        .collect();
    // The gateway needs no exclusion here.
    assert_eq!(
        prefixes.into_iter().collect::<PrefixSet>(),
        plan.included_but_gateways()
    );
}

#[test]
fn a_full_tunnel_is_the_complement_in_traffic_selectors() {
    in_sandbox(&["swanctl"], || {
        assert_loaded("strongswan-full", FULL);
    });
}

#[test]
fn a_split_tunnel_is_the_corporate_prefixes_in_traffic_selectors() {
    in_sandbox(&["swanctl"], || {
        assert_loaded("strongswan-split", &split());
    });
}
