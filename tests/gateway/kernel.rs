//! The gateway in the kernel: its device, the interfaces that it watches, and host settings that must not matter.

use std::net::UdpSocket;
use std::process::Command;

use crate::site::plain::{self, CLIENT, DNS, ELSEWHERE, MEDIA, OFFICE, OFFICE6, PlainSite};
use crate::site::{Diversion, in_nftables_sandbox, in_sandbox, poll};

#[test]
fn a_packet_is_judged_once_and_comes_out_as_many_hops_on_as_it_is_forwarded() {
    in_sandbox(&[], || {
        let site = PlainSite::new("once");
        let _gateway = site.start("divert = \"all\"");
        let ping = |more: &[&str]| {
            let mut command = Command::new("ping");
            command.args(["-c", "1", "-W", "5"]).args(more).arg(OFFICE);
            site.client.run(&mut command)
        };
        ping(&[]).success();
        assert_eq!(site.count("forward", "default"), 1);
        // Forwarded into the filter and out of it, the path is three hops; programs add none.
        let [enough, too_few] = match Diversion::here() {
            Diversion::Nftables => ["3", "2"],
            Diversion::Ebpf => ["2", "1"],
        };
        ping(&["-t", enough]).success();
        assert_eq!(ping(&["-t", too_few]).code, Some(1));
    });
}

#[test]
fn a_device_that_is_deleted_ends_the_gateway_and_not_the_traffic() {
    in_sandbox(&[], || {
        let site = PlainSite::new("deleted");
        let before = site.kernel();
        site.echo(OFFICE, DNS);
        let mut gateway = site.start("");
        site.concentrator.ip("link del offramp0");
        let ended = gateway.wait();
        assert_eq!(ended.code(), Some(1), "{}", gateway.log());
        assert!(
            gateway.log().contains("the interface offramp0 was removed"),
            "{}",
            gateway.log()
        );
        assert!(site.is_answered(OFFICE, DNS, 100));
        assert_eq!(site.kernel(), before);
    });
}

#[test]
fn a_device_that_was_off_diverts_again() {
    in_sandbox(&[], || {
        let site = PlainSite::new("off");
        for (address, port) in [
            (OFFICE, MEDIA),
            (OFFICE, DNS),
            (OFFICE6, MEDIA),
            (OFFICE6, DNS),
        ] {
            site.echo(address, port);
        }
        let mut gateway = site.start("");
        site.concentrator.ip("link set offramp0 down");
        gateway.wait_for_log("offramp0 is off");
        site.concentrator.ip("link set offramp0 up");
        for address in [OFFICE, OFFICE6] {
            poll("media to be dropped again", || {
                (!site.is_answered(address, MEDIA, 100)).then_some(())
            });
            site.wait_for_answer(address, DNS);
        }
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn interfaces_that_come_later_are_watched_by_name_and_by_pattern() {
    in_sandbox(&[], || {
        let site = PlainSite::new("later");
        site.echo(OFFICE, MEDIA);
        site.echo(OFFICE, DNS);
        // As ocserv does it: one device per client, created after the gateway has started.
        let text = plain::policy(&site.folder, "").replace("\"tun0\"", "\"vpns*\", \"tun9\"");
        site.folder.write("policy.toml", text);
        let gateway = site.start_again("gateway.log");
        assert!(
            gateway.log().contains("no interface tun9 yet"),
            "{}",
            gateway.log()
        );
        assert!(
            site.is_answered(OFFICE, MEDIA, 100),
            "tun0 is no interface of the policy"
        );
        for name in ["vpns0", "vpns7", "tun9"] {
            site.concentrator.ip(&format!(
                "link set tun0 down\nlink set tun0 name {name}\nlink set {name} up"
            ));
            site.concentrator
                .ip(&format!("address replace fd00:1::1/64 dev {name}"));
            site.wait_for_answer(OFFICE, DNS);
            // The program is attached once the kernel has told of the name.
            poll(&format!("media to be dropped at {name}"), || {
                (!site.is_answered(OFFICE, MEDIA, 100)).then_some(())
            });
            site.concentrator.ip(&format!(
                "link set {name} down\nlink set {name} name tun0\nlink set tun0 up"
            ));
        }
    });
}

#[test]
fn strict_reverse_path_filters_of_other_interfaces_do_no_harm() {
    in_sandbox(&[], || {
        let site = PlainSite::new("strict");
        site.echo(OFFICE, DNS);
        for interface in ["tun0", "eth1", "default"] {
            site.concentrator
                .set(&format!("ipv4/conf/{interface}/rp_filter"), "1");
        }
        for divert in ["policy", "all"] {
            let mut gateway = site.start(&format!("divert = \"{divert}\""));
            assert!(site.is_answered(OFFICE, DNS, 100), "{divert}");
            gateway.terminate();
        }
    });
}

#[test]
fn several_workers_share_the_device() {
    in_sandbox(&[], || {
        let site = PlainSite::new("workers");
        for (address, port) in [
            (OFFICE, MEDIA),
            (OFFICE, DNS),
            (OFFICE6, MEDIA),
            (OFFICE6, DNS),
        ] {
            site.echo(address, port);
        }
        let before = site.kernel();
        let mut gateway = site.start("workers = 3");
        assert_eq!(site.status()["device"]["workers"], 3);
        // Each flow has its own source port, which selects its queue.
        for _ in 0..20 {
            for address in [OFFICE, OFFICE6] {
                assert!(site.is_answered(address, DNS, 100));
                assert!(site.is_answered(address, DNS, 4_000));
            }
        }
        for address in [OFFICE, OFFICE6] {
            assert!(!site.is_answered(address, MEDIA, 100));
            assert!(!site.is_answered(address, MEDIA, 4_000));
        }
        assert!(site.count("drop", "media") >= 10);
        assert_eq!(gateway.terminate().code(), Some(0));
        assert_eq!(site.kernel(), before);
    });
}

#[test]
fn the_device_takes_the_largest_packets_and_queues_thousands() {
    in_nftables_sandbox(&[], || {
        let site = PlainSite::new("device");
        site.echo(OFFICE, DNS);
        for (host, interface) in [
            (&site.client, "tun0"),
            (&site.concentrator, "tun0"),
            (&site.concentrator, "eth1"),
            (&site.corporate, "eth1"),
        ] {
            host.ip(&format!("link set {interface} mtu 9000"));
        }
        let gateway = site.start("");
        assert!(site.is_answered(OFFICE, DNS, 8_900));
        assert_eq!(site.count("forward", "default"), 1, "it came in one piece");

        // A reader that stalls: packets beyond the queue's capacity are counted as lost.
        gateway.signal("STOP");
        let sender = site
            .client
            .enter(|| UdpSocket::bind("0.0.0.0:0"))
            .expect("a free port");
        for _ in 0..6_000 {
            sender.send_to(&[0; 64], (OFFICE, DNS)).expect("a route");
        }
        gateway.signal("CONT");
        let lost = poll("the queue to be read", || {
            let judged = site.count("forward", "default");
            let lost = site.status()["device"]["overload_drops"].as_u64()?;
            // The kernel may send packets of its own there, which are lost, too.
            (judged + lost >= 6_001).then_some(lost)
        });
        assert!((950..=1_050).contains(&lost), "{lost}");
    });
}

#[test]
fn addresses_are_translated_where_packets_leave() {
    in_sandbox(&[], || {
        let site = PlainSite::new("translated");
        site.echo(OFFICE, DNS);
        site.echo(OFFICE, MEDIA);
        // As on sites with full tunnels; and a filter with connection tracking.
        site.concentrator.nft(
            "table ip nat { chain post { type nat hook postrouting priority 100; oifname \"eth1\" masquerade; }; }
             table inet site { chain forward { type filter hook forward priority 0; policy drop;
                 ct state invalid drop; ct state established,related accept; iifname \"tun0\" accept; iifname \"offramp0\" accept; }; }",
        );
        site.corporate.ip("route del default");
        for divert in ["policy", "all"] {
            let mut gateway = site.start(&format!("divert = \"{divert}\""));
            assert!(site.is_answered(OFFICE, DNS, 100), "{divert}");
            assert!(!site.is_answered(OFFICE, MEDIA, 100), "{divert}");
            assert!(!gateway.log().contains("WARN"), "{}", gateway.log());
            gateway.terminate();
        }
    });
}

#[test]
fn what_others_take_out_of_the_kernel_comes_back() {
    in_nftables_sandbox(&[], || {
        let site = PlainSite::new("taken");
        site.echo(OFFICE, MEDIA);
        let mut gateway = site.start("divert = \"suspects\"");
        let installed = site.kernel();
        let takes = [
            // The first line of Debian's /etc/nftables.conf.
            ("nft flush ruleset", "the nftables table"),
            ("ip rule del priority 902", "1 routing rules"),
            ("ip route flush table 28530", "2 routes"),
        ];
        for (take, missing) in takes {
            let words: Vec<&str> = take.split(' ').collect();
            site.concentrator
                .run(Command::new(words[0]).args(&words[1..]))
                .success();
            gateway.wait_for_log(&format!("another program has removed or changed {missing}"));
            assert_eq!(site.kernel(), installed, "{take}");
            assert!(!site.is_answered(OFFICE, MEDIA, 100), "{take}");
        }
    });
}

#[test]
fn a_table_that_others_empty_or_change_is_restored_and_reported() {
    in_nftables_sandbox(&[], || {
        let site = PlainSite::new("changed_table");
        site.echo(OFFICE, MEDIA);
        let gateway = site.start("divert = \"suspects\"");
        let installed = site.kernel();
        let handle = || -> String {
            let mut list = Command::new("nft");
            list.args(["-a", "list", "chain", "inet", "offramp", "enters_from_vpn"]);
            let chain = site.concentrator.run(&mut list).success();
            let rule = chain.lines().find(|line| line.contains("iifname"));
            let (_, handle) = rule.and_then(|it| it.rsplit_once(' ')).expect("a handle");
            handle.to_owned()
        };
        let changes: [&dyn Fn() -> String; 5] = [
            &|| "flush table inet offramp".to_owned(),
            &|| "flush chain inet offramp mark_for_filter".to_owned(),
            &|| {
                format!(
                    "delete rule inet offramp enters_from_vpn handle {}",
                    handle()
                )
            },
            &|| {
                let to = "iifname \"tun9\" goto mark_for_filter";
                format!(
                    "replace rule inet offramp enters_from_vpn handle {} {to}",
                    handle()
                )
            },
            &|| "insert rule inet offramp mark_for_filter accept".to_owned(),
        ];
        for (number, change) in (1..).zip(changes) {
            let change = change();
            site.concentrator.nft(&change);
            poll(&change, || {
                (site.status()["diversion"]["repairs"]["count"] == number).then_some(())
            });
            assert_eq!(site.kernel(), installed, "{change}");
            assert!(!site.is_answered(OFFICE, MEDIA, 100), "{change}");
        }
        let log = gateway.log();
        assert!(
            log.contains("another program has removed or changed 1 rule of the nftables table"),
            "{log}"
        );
    });
}

#[test]
fn hosts_that_have_switched_ipv6_off_are_no_exception() {
    in_sandbox(&[], || {
        let site = PlainSite::new("without_ipv6");
        for interface in ["all", "default"] {
            site.concentrator
                .set(&format!("ipv6/conf/{interface}/disable_ipv6"), "1");
        }
        site.echo(OFFICE, DNS);
        site.echo(OFFICE, MEDIA);
        let text = plain::policy(&site.folder, "");
        let text = text
            .replace(", \"fd00:1::/64\"", "")
            .replace(", \"fd00:2::/48\"", "");
        site.folder.write("policy.toml", text);
        let _gateway = site.start_again("gateway.log");
        assert!(site.is_answered(OFFICE, DNS, 100));
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
    });
}

#[test]
fn source_routes_are_diverted_wherever_they_claim_to_go() {
    in_sandbox(&["python3"], || {
        let site = PlainSite::new("source_routes");
        // A kernel with default settings drops them itself.
        for interface in ["all", "tun0"] {
            site.concentrator
                .set(&format!("ipv4/conf/{interface}/accept_source_route"), "1");
        }
        let _gateway = site.start("divert = \"policy\"");
        // A loose source route (RFC 791 §3.1, option 131) through a host outside the policy to an office.
        let send = format!(
            "import socket\n\
             s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)\n\
             a = socket.inet_aton\n\
             header = bytes([0x47,0,0,36, 0,1,0,0, 64,17,0,0]) + a('{CLIENT}') + a('{ELSEWHERE}')\n\
             option = bytes([131,7,4]) + a('{OFFICE}') + bytes([0])\n\
             s.sendto(header + option + bytes([0xc3,0x50, 0,53, 0,8,0,0]), ('{ELSEWHERE}', 0))\n"
        );
        site.client
            .run(Command::new("python3").args(["-c", &send]))
            .success();
        poll("the packet to be judged", || {
            (site.count("drop", "source-routed") == 1).then_some(())
        });
    });
}
