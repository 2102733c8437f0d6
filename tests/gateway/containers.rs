//! The gateway where container runtimes take away what a host has.

use std::fs;
use std::process::Command;

use crate::site::plain::{self, DNS, MEDIA, OFFICE, OFFICE6, PlainSite};
use crate::site::{Daemon, Diversion, in_nftables_sandbox, in_sandbox, poll};
use crate::support::{Folder, program, run, signal, skip};

/// Mounts /proc/sys of the sandbox read-only, as Docker, Podman and containerd do for every container.
fn lock_settings() {
    for options in ["bind", "remount,bind,ro"] {
        run(Command::new("mount").args(["-o", options, "/proc/sys", "/proc/sys"])).success();
    }
}

fn settings_of_the_device(site: &PlainSite) -> Vec<String> {
    let keys = [
        "ipv4/conf/offramp0/rp_filter",
        "ipv4/conf/offramp0/forwarding",
        "ipv4/conf/offramp0/disable_xfrm",
        "ipv4/conf/offramp0/disable_policy",
        "ipv6/conf/offramp0/addr_gen_mode",
    ];
    let read = |key: &&str| {
        let path = format!("/proc/sys/net/{key}");
        let value = site
            .concentrator
            .run(Command::new("cat").arg(path))
            .success();
        format!("{key} {}", value.trim())
    };
    keys.iter().map(read).collect()
}

#[test]
fn read_only_settings_stop_no_start() {
    in_sandbox(&[], || {
        let site = PlainSite::new("read-only-settings");
        for (address, port) in [
            (OFFICE, DNS),
            (OFFICE, MEDIA),
            (OFFICE6, DNS),
            (OFFICE6, MEDIA),
        ] {
            site.echo(address, port);
        }
        // Devices that are made get the opposite of the settings that the filter's needs.
        site.concentrator.set("ipv4/conf/default/rp_filter", "1");
        site.concentrator.set("ipv4/conf/default/forwarding", "0");
        site.concentrator.set("ipv6/conf/default/accept_ra", "1");
        lock_settings();

        let mut gateway = site.start("divert = \"all\"");
        for address in [OFFICE, OFFICE6] {
            site.wait_for_answer(address, DNS);
            assert!(!site.is_answered(address, MEDIA, 100), "{address}");
        }
        let log = gateway.log();
        let settings = settings_of_the_device(&site);
        match Diversion::here() {
            Diversion::Nftables => {
                let wanted = [
                    "ipv4/conf/offramp0/rp_filter 0",
                    "ipv4/conf/offramp0/forwarding 1",
                    "ipv4/conf/offramp0/disable_xfrm 1",
                    "ipv4/conf/offramp0/disable_policy 1",
                    "ipv6/conf/offramp0/addr_gen_mode 1",
                ];
                assert_eq!(settings, wanted);
                assert!(log.contains("accept_ra cannot be set to 0"), "{log}");
            }
            Diversion::Ebpf => {
                assert_eq!(settings[4], "ipv6/conf/offramp0/addr_gen_mode 1");
                assert!(log.contains("disable_ipv6 cannot be set to 1"), "{log}");
            }
        }
        assert!(!log.contains("ERROR"), "{log}");
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn ipv6_that_is_off_and_cannot_be_switched_on_is_told() {
    in_nftables_sandbox(&[], || {
        let site = PlainSite::new("no-ipv6");
        site.echo(OFFICE, DNS);
        site.echo(OFFICE, MEDIA);
        // As in a container whose network has no IPv6.
        site.concentrator.set("ipv6/conf/default/disable_ipv6", "1");
        lock_settings();
        let with_ipv6 = plain::policy(&site.folder, "divert = \"all\"");
        let path = site.folder.write("policy.toml", &with_ipv6);
        let said = site.offramp(&["run", &path]).failure(1);
        assert!(
            said.contains("disable_ipv6 to 0: Read-only file system")
                && said.contains("net.ipv6.conf.default.disable_ipv6=0"),
            "{said}"
        );

        let without = with_ipv6.replace(", \"fd00:1::/64\"", "");
        site.folder.write("policy.toml", &without);
        let gateway = site.start_again("gateway.log");
        site.wait_for_answer(OFFICE, DNS);
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
        poll("a warning", || {
            let health = site.status()["health"].to_string();
            health.contains("IPv6 is off at offramp0").then_some(())
        });

        site.folder.write("policy.toml", &with_ipv6);
        signal(gateway.pid(), "HUP");
        let refused = poll("a refusal", || {
            let status = site.status();
            status["reloads"]["last_error"].as_str().map(str::to_owned)
        });
        assert!(
            refused.contains("the policy has clients with IPv6"),
            "{refused}"
        );
        site.wait_for_answer(OFFICE, DNS);
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
    });
}

#[test]
fn a_gateway_without_interfaces_of_the_vpn_is_not_ready_after_the_time_of_the_policy() {
    in_sandbox(&[], || {
        let site = PlainSite::new("no-interfaces");
        let mut gateway = site.start("metrics = \"127.0.0.1:9464\"\nrequire_interfaces = 1");
        let control = site.folder.path("control.sock");
        let is_ready = ["status", "--control", &control, "--ready"];
        assert_eq!(site.get("/readyz").0, 200);
        assert_eq!(site.offramp(&is_ready).success(), "");

        // As where the VPN's container was started anew, and has another network namespace.
        site.concentrator.ip("link del tun0");
        let said = poll("not ready", || {
            let (code, text) = site.get("/readyz");
            (code == 503).then_some(text)
        });
        let what = "no interface of the VPN (tun0) has been there for 1 s";
        assert!(said.contains(what), "{said}");
        let asked = site.offramp(&is_ready);
        assert!(
            asked.stdout.starts_with(&format!("not ready: {what}")),
            "{asked:?}"
        );
        assert_eq!(asked.code, Some(3));
        let health = site.status()["health"].to_string();
        assert!(health.contains(what), "{health}");
        gateway.wait_for_log(what);

        site.concentrator
            .ip("link add tun0 type veth peer name tun0 netns client\nlink set tun0 up");
        poll("ready again", || {
            (site.get("/readyz").0 == 200).then_some(())
        });
        gateway.wait_for_log("resolved: no interface of the VPN");
    });
}

#[test]
fn a_gateway_without_interfaces_of_the_vpn_ends_if_the_policy_says_so() {
    in_sandbox(&[], || {
        let site = PlainSite::new("no-interfaces-exit");
        let mut gateway = site.start("require_interfaces = 1\nwithout_interfaces = \"exit\"");
        site.concentrator.ip("link del tun0");
        assert_eq!(gateway.wait().code(), Some(1), "{}", gateway.log());
        assert!(
            gateway
                .log()
                .contains("and gateway.without_interfaces is \"exit\""),
            "{}",
            gateway.log()
        );
        assert!(!site.concentrator.has_interface("offramp0"));
    });
}

/// Mounts `from` alone at `to`, as `-v FILE:FILE` does.
fn mount_alone(from: &str, to: &str) {
    run(Command::new("mount").args(["--bind", from, to])).success();
}

fn digest_in_force(site: &PlainSite) -> String {
    let status = site.status();
    let digest = status["files"][0]["sha256"].as_str();
    digest.expect("the policy was read").to_owned()
}

#[test]
fn a_policy_that_is_mounted_alone_is_loaded_when_it_is_written_and_told_when_it_is_replaced() {
    in_sandbox(&[], || {
        let site = PlainSite::new("mounted-alone");
        let elsewhere = Folder::new("mounted-alone-source");
        let source = elsewhere.write("policy.toml", plain::policy(&site.folder, ""));
        // In a folder of its own: where the log is, every line of it is a change that the kernel tells.
        let quiet = Folder::new("mounted-alone-target");
        let mounted = quiet.write("policy.toml", "");
        mount_alone(&source, &mounted);
        let mut gateway = Daemon::start(
            &site.concentrator,
            "offramp run",
            site.folder.path("gateway.log"),
            &mut program(&["run", &mounted]),
        );
        gateway.wait_for_log(" ready: ");
        let sum_of = |path: &str| {
            let said = run(Command::new("sha256sum").arg(path)).success();
            said.split(' ').next().unwrap_or_default().to_owned()
        };
        assert_eq!(digest_in_force(&site), sum_of(&source));
        let said = site
            .offramp(&["status", "--control", &site.folder.path("control.sock")])
            .success();
        let line = format!("  sha256 {}  {mounted}\n", sum_of(&source));
        assert!(said.contains(&line), "{said}");

        // Written in place, where no watch of the folder hears of it.
        elsewhere.write(
            "policy.toml",
            plain::policy(&site.folder, "# another\nenforce = false"),
        );
        poll("a reload", || {
            (digest_in_force(&site) == sum_of(&source)).then_some(())
        });
        assert_eq!(site.status()["generation"], 2, "{}", gateway.log());

        // Replaced, as editors do.
        let new = elsewhere.write("new", plain::policy(&site.folder, ""));
        fs::rename(new, &source).expect("both are there");
        let told = poll("a warning", || {
            let health = site.status()["health"].to_string();
            health.contains("is mounted alone").then_some(health)
        });
        assert!(told.contains("was replaced where it comes from"), "{told}");
        run(Command::new("umount").arg(&mounted)).success();
    });
}

#[test]
fn a_bare_dev_without_standard_input_is_enough() {
    in_nftables_sandbox(&[], || {
        let site = PlainSite::new("bare-dev");
        site.echo(OFFICE, DNS);
        site.echo(OFFICE, MEDIA);
        let bare = "mkdir -p \"$0/net\" && for name in null random urandom net/tun; do \
                    touch \"$0/$name\" && mount --bind \"/dev/$name\" \"$0/$name\" || exit 1; done; \
                    mount --rbind \"$0\" /dev";
        // The sandbox has its mounts and its /run for itself.
        run(Command::new("sh").args(["-c", bare, "/run/dev"])).success();
        assert!(fs::symlink_metadata("/dev/stdin").is_err());
        let mut gateway = site.start("divert = \"all\"");
        site.wait_for_answer(OFFICE, DNS);
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
        assert_eq!(gateway.terminate().code(), Some(0), "{}", gateway.log());
    });
}

#[test]
fn in_a_user_namespace_it_starts_and_says_what_it_does_without() {
    // The sandbox is one, as a pod with `hostUsers: false` is.
    in_nftables_sandbox(&[], || {
        let owner = fs::read_to_string("/proc/self/uid_map").expect("every process has one");
        if owner.split_whitespace().nth(2) == Some("4294967295") {
            return skip("this system gives no user namespaces");
        }
        let site = PlainSite::new("user-namespace");
        let gateway = site.start("diversion = \"auto\"");
        let log = gateway.log();
        let said = "diversion by nftables, since eBPF cannot be used here";
        assert!(log.contains(said), "{log}");
        assert_eq!(site.status()["diversion"]["kind"], "nftables");
        drop(gateway);

        let policy = plain::policy(&site.folder, "diversion = \"ebpf\"");
        let path = site.folder.write("policy.toml", policy);
        let refused = site.offramp(&["run", &path]).error(1);
        assert!(refused.contains("eBPF"), "{refused}");
    });
}
