//! A gateway that refuses to start: it states the reason, with advice, before it changes anything.

use std::net::TcpListener;
use std::process::Command;

use crate::site::in_nftables_sandbox;
use crate::site::plain::{self, PlainSite};
use crate::support::run;

#[test]
fn addresses_that_are_taken_are_found_before_the_start() {
    in_nftables_sandbox(&[], || {
        let site = PlainSite::new("taken_addresses");
        let listen = || TcpListener::bind("127.0.0.1:9100");
        let _other = site.concentrator.enter(listen).expect("a free port");
        site.folder.write("folder", "a file");
        let long = "x".repeat(120);
        for (control, says) in [
            ("folder/control.sock", "not a directory"),
            ("folder", "a file that is not a socket has this path"),
            (&long, "path must be shorter than"),
        ] {
            let options = "metrics = \"127.0.0.1:9100\"";
            let text = plain::policy(&site.folder, options).replace("control.sock", control);
            let policy = site.folder.write("policy.toml", text);
            let said = site.offramp(&["run", &policy]).failure(1);
            let rehearsed = site.offramp(&["run", &policy, "--dry-run"]);
            assert_eq!(rehearsed.code, Some(1), "{rehearsed:#?}");
            for said in [said, rehearsed.stdout] {
                assert!(said.contains(says), "{control}: {said}");
                assert!(
                    said.contains("cannot serve metrics at 127.0.0.1:9100"),
                    "{said}"
                );
            }
        }
    });
}

#[test]
fn the_control_socket_of_somebody_else_is_left_alone() {
    in_nftables_sandbox(&[], || {
        let site = PlainSite::new("socket");
        let path = site.folder.path("control.sock");
        let other = std::os::unix::net::UnixListener::bind(&path).expect("a free place");
        let policy = plain::policy(&site.folder, "");
        let policy = site.folder.write("policy.toml", policy);
        let said = site.offramp(&["run", &policy]).failure(1);
        assert!(said.contains("another program listens there"), "{said}");
        let rehearsed = site.offramp(&["run", &policy, "--dry-run"]);
        assert_eq!(rehearsed.code, Some(1), "{rehearsed:#?}");
        assert!(
            rehearsed.stdout.contains("another program listens there"),
            "{rehearsed:#?}"
        );
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
        drop(other);
        // A stale socket, on which no process listens, is replaced.
        let _gateway = site.start("");
        assert_eq!(site.status()["generation"], 1);
    });
}

/// Returns the reason of a refused start on a host changed by `spoil`.
#[track_caller]
fn refused(site: &PlainSite, options: &str) -> String {
    let policy = site
        .folder
        .write("policy.toml", plain::policy(&site.folder, options));
    let before = site.kernel();
    let ended = site.offramp(&["run", &policy]);
    assert_eq!(site.kernel(), before, "it has changed something");
    let said = ended.failure(1);
    // A dry run finds the same.
    let rehearsed = site.offramp(&["run", &policy, "--dry-run"]);
    assert_eq!(rehearsed.code, Some(1), "{rehearsed:#?}");
    said
}

#[test]
fn what_would_break_it_is_refused_with_advice_before_anything_is_changed() {
    in_nftables_sandbox(&[], || {
        let site = PlainSite::new("refused");
        let concentrator = &site.concentrator;
        let says = |options: &str, parts: [&str; 2]| {
            let said = refused(&site, options);
            for part in parts {
                assert!(said.contains(part), "{said}");
            }
        };

        concentrator.set("ipv4/conf/all/rp_filter", "1");
        says(
            "",
            [
                "net.ipv4.conf.all.rp_filter is 1",
                "sysctl -w net.ipv4.conf.all.rp_filter=0",
            ],
        );
        concentrator.set("ipv4/conf/all/rp_filter", "0");

        concentrator.set("ipv4/conf/all/src_valid_mark", "1");
        concentrator.set("ipv4/conf/tun0/rp_filter", "1");
        says(
            "",
            ["src_valid_mark is 1", "net.ipv4.conf.all.src_valid_mark=0"],
        );
        concentrator.set("ipv4/conf/all/src_valid_mark", "0");

        concentrator.set("ipv4/ip_forward", "0");
        says(
            "",
            ["does not forward IPv4", "sysctl -w net.ipv4.ip_forward=1"],
        );
        concentrator.set("ipv4/ip_forward", "1");
        // Switching it resets the interfaces.
        concentrator.set("ipv4/conf/all/rp_filter", "0");

        concentrator.set("ipv6/conf/all/forwarding", "0");
        says(
            "",
            ["does not forward IPv6", "net.ipv6.conf.all.forwarding=1"],
        );
        concentrator.set("ipv6/conf/all/forwarding", "1");

        concentrator.ip("route add 198.51.100.0/24 dev eth1 table 28529");
        says(
            "",
            [
                "route table 28529 holds routes of somebody else",
                "[gateway] table",
            ],
        );
        concentrator.ip("route del 198.51.100.0/24 dev eth1 table 28529");

        concentrator.ip("rule add priority 700 fwmark 0x20000000/0x20000000 table 52");
        says(
            "",
            ["shares bits with the filter's 0x30000000", "[gateway] mark"],
        );
        concentrator.ip("rule del priority 700");

        concentrator.ip("link add offramp0 type bridge");
        says(
            "",
            ["there is an interface offramp0 already", "[gateway] device"],
        );
        concentrator.ip("link del offramp0");

        concentrator.nft(
            "table inet fw { chain forward { type filter hook forward priority 0; \
                 iifname \"tun0\" accept; ct state established accept; reject; }; }",
        );
        says(
            "",
            ["stops what it does not know", "oifname \"offramp0\" accept"],
        );
        concentrator.nft("delete table inet fw");

        let policy = site
            .folder
            .write("policy.toml", plain::policy(&site.folder, ""));
        let mut without = Command::new("setpriv");
        let binary = env!("CARGO_BIN_EXE_offramp");
        without.args([
            "--bounding-set",
            "-net_admin",
            "--inh-caps",
            "-net_admin",
            binary,
            "run",
            &policy,
        ]);
        let said = concentrator.run(&mut without).failure(1);
        assert!(
            said.contains("may not change the network") && said.contains("CAP_NET_ADMIN"),
            "{said}"
        );

        // The sandbox has a mount namespace of its own.
        let nft = run(Command::new("sh").args(["-c", "command -v nft"])).success();
        run(Command::new("mount").args(["--bind", "/dev/null", nft.trim()])).success();
        let said = site.offramp(&["run", &policy]).failure(1);
        assert!(said.contains("there is no nft"), "{said}");
        assert!(said.contains("apt-get install nftables"), "{said}");
        run(Command::new("umount").arg(nft.trim())).success();

        run(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/dev/net"])).success();
        says("", ["cannot open /dev/net/tun", "modprobe tun"]);
        run(Command::new("umount").arg("/dev/net")).success();

        // Once all of it is fixed, it starts.
        let _gateway = site.start("");
    });
}
