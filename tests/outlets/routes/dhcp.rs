//! Kea and dnsmasq accept the rendered files, and a DHCP client gets the plan from dnsmasq.

use std::process::Command;

use super::{Client, FULL, plan, rendered, split};
use crate::support::host::Daemon;
use crate::support::sandbox::in_sandbox;
use crate::support::{Folder, run};
use ipnet::IpNet;
use offramp::address::PrefixSet;
use offramp::render::{Options, RenderError, render, routes};

#[test]
fn kea_accepts_the_options() {
    in_sandbox(&["kea-dhcp4"], || {
        for (name, text) in [("kea-full", FULL.to_owned()), ("kea-split", split())] {
            let folder = Folder::new(name);
            let options = folder.write(
                "options.json",
                rendered(&routes::kea::TARGET, &plan(&text), None),
            );
            let config = format!(
                "{{ \"Dhcp4\": {{ \"lease-database\": {{ \"type\": \"memfile\", \"persist\": false }},\n\
                 \"option-def\": [ {{ \"name\": \"classless\", \"code\": 249, \"space\": \"dhcp4\", \"type\": \"binary\" }} ],\n\
                 \"option-data\": <?include \"{options}\"?>,\n\
                 \"subnet4\": [ {{ \"id\": 1, \"subnet\": \"172.16.1.0/24\", \"pools\": [ {{ \"pool\": \"172.16.1.10-172.16.1.99\" }} ] }} ] }} }}\n"
            );
            let config = folder.write("kea.conf", config);
            let checked = run(Command::new("kea-dhcp4")
                .args(["-t", &config])
                .env("KEA_LOCKFILE_DIR", "none"));
            assert_eq!(checked.code, Some(0), "{checked:?}");
        }
    });
}

#[test]
fn a_client_of_dnsmasq_gets_the_routes_of_the_plan() {
    in_sandbox(&["dnsmasq", "busybox"], || {
        let plan = plan(&split());
        let folder = Folder::new("dnsmasq");
        let routes = folder.write(
            "routes.conf",
            rendered(&routes::dnsmasq::TARGET, &plan, None),
        );
        run(Command::new("dnsmasq").args([
            "--test",
            "--conf-file",
            &format!("--conf-file={routes}"),
        ]))
        .success();
        let client = Client::start();
        let mut server = Daemon::start_here(
            "dnsmasq",
            folder.path("dnsmasq.log"),
            Command::new("dnsmasq").args([
                // In the foreground, and as the only user that a sandbox has.
                "--no-daemon",
                "--log-facility=-",
                "--log-dhcp",
                "--port=0",
                "--interface=up0",
                "--bind-interfaces",
                "--dhcp-range=192.0.2.10,192.0.2.20,1h",
                "--dhcp-leasefile=/run/leases",
                "--pid-file=/run/dnsmasq.pid",
                &format!("--conf-file={routes}"),
            ]),
        );
        server.wait_for_log("DHCP, sockets bound");
        let script = folder.write(
            "lease.sh",
            "#!/bin/sh\n[ \"$1\" = bound ] && echo \"routes $staticroutes\"\nexit 0\n",
        );
        run(Command::new("chmod").args(["+x", &script])).success();
        let udhcpc = [
            "udhcpc", "-f", "-q", "-n", "-i", "up1", "-O", "121", "-s", &script,
        ];
        let leased = client.host.run(Command::new("busybox").args(udhcpc));
        let line = leased
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix("routes "));
        let line = line.unwrap_or_else(|| panic!("{leased:?}\n{}", server.log()));
        let words: Vec<&str> = line.split_whitespace().collect();
        let routes = words.chunks(2).map(|pair| {
            assert_eq!(pair[1], "172.16.1.1");
            pair[0].parse::<IpNet>().expect("a prefix")
        });
        let routes: PrefixSet = routes.collect();
        assert_eq!(routes, plan.included_but_gateways().only_v4());
    });
}

#[test]
fn what_does_not_fit_an_option_is_refused_for_dnsmasq_and_doubted_for_kea() {
    let many: Vec<String> = (0..60).map(|at| format!("\"10.{at}.0.0/24\"")).collect();
    let plan = plan(&split().replace("\"10.0.0.0/8\"", &many.join(", ")));
    let options = Options {
        via: Some("172.16.1.1".parse().expect("an address")),
        ..Options::default()
    };
    let refused = render(&routes::dnsmasq::TARGET, &plan, &options).expect_err("480 bytes");
    assert!(
        matches!(refused, RenderError::OverBudget { most: 255, .. }),
        "{refused}"
    );
    let doubted = render(&routes::kea::TARGET, &plan, &options).expect("in pieces, RFC 3396");
    assert!(
        doubted.warnings[0].contains("takes 255 bytes at most"),
        "{:?}",
        doubted.warnings
    );
    assert_eq!(
        render(&routes::kea::TARGET, &plan, &Options::default()),
        Err(RenderError::NoVia {
            target: &routes::kea::TARGET
        })
    );
}
