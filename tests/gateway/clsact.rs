//! The diversion by eBPF as on kernels before Linux 6.6, which attach programs as filters of the clsact qdisc.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::site::plain::{DNS, MEDIA, OFFICE, OFFICE6, PlainSite};
use crate::site::{in_ebpf_sandbox, poll};
use crate::support::{AtEnd, signal};

/// A site whose kernel is taken for an older one.
fn site(name: &str) -> PlainSite {
    let mut site = PlainSite::new(name);
    site.kernel = Some("5.10");
    for port in [DNS, MEDIA] {
        site.echo(OFFICE, port);
        site.echo(OFFICE6, port);
    }
    site
}

/// Runs `tc` on the concentrator; returns what it prints.
fn tc(site: &PlainSite, arguments: &str) -> String {
    let mut tc = Command::new("tc");
    site.concentrator
        .run(tc.args(arguments.split(' ')))
        .success()
}

/// The filters of what enters at the VPN's interface, one a line.
fn filters(site: &PlainSite) -> Vec<String> {
    let shown = tc(site, "filter show dev tun0 ingress");
    let filters = shown.lines().filter(|line| line.contains(" handle "));
    filters.map(str::to_owned).collect()
}

/// The number of those that are offramp's.
fn own_filters(site: &PlainSite) -> usize {
    let is_own = |filter: &&String| filter.contains("entry_ethernet");
    filters(site).iter().filter(is_own).count()
}

#[track_caller]
fn assert_judges(site: &PlainSite) {
    for address in [OFFICE, OFFICE6] {
        for length in [100, 4_000] {
            assert!(site.is_answered(address, DNS, length), "{address}");
        }
        assert!(!site.is_answered(address, MEDIA, 100), "{address}");
    }
}

fn kill(site: &PlainSite, process: u32) {
    signal(process, "KILL");
    poll("the device to go", || {
        (!site.concentrator.has_interface("offramp0")).then_some(())
    });
}

#[test]
fn media_is_dropped_and_other_traffic_passes_until_a_clean_stop() {
    in_ebpf_sandbox(&["tc"], || {
        let site = site("clsact");
        for divert in ["suspects", "all"] {
            let mut gateway = site.start(&format!("divert = \"{divert}\""));
            assert_eq!(own_filters(&site), 1);
            assert_judges(&site);
            let status = site.status();
            assert_eq!(status["diversion"]["kind"], "ebpf");
            let failures = &status["diversion"]["self_test"]["failures"];
            assert_eq!(failures.as_array().map(Vec::len), Some(0), "{failures}");
            assert_eq!(gateway.terminate().code(), Some(0));
            assert_eq!(filters(&site), [""; 0]);
            assert!(site.is_answered(OFFICE, MEDIA, 100));
        }
    });
}

#[test]
fn a_qdisc_of_others_and_their_filter_are_used_and_left_alone() {
    in_ebpf_sandbox(&["tc"], || {
        let site = site("clsact_others");
        for qdisc in ["ingress", "clsact"] {
            tc(&site, &format!("qdisc add dev tun0 {qdisc}"));
            // Both accept every packet, so that no filter behind them sees it: one at our priority, one behind it.
            for priority in [1, 10] {
                let filter = format!(
                    "filter add dev tun0 ingress pref {priority} protocol all bpf bytecode"
                );
                let mut add = Command::new("tc");
                add.args(filter.split(' ')).arg("1,6 0 0 4294967295");
                site.concentrator.run(&mut add).success();
            }
            let before = filters(&site);
            assert_eq!(before.len(), 2, "{before:?}");
            let mut gateway = site.start("");
            assert_eq!(own_filters(&site), 1);
            assert_judges(&site);
            assert_eq!(gateway.terminate().code(), Some(0));
            assert_eq!(filters(&site), before, "{qdisc}");
            let shown = tc(&site, "qdisc show dev tun0");
            assert!(shown.contains(&format!("qdisc {qdisc} ffff:")), "{shown}");
            tc(&site, &format!("qdisc del dev tun0 {qdisc}"));
        }
    });
}

#[test]
fn closed_holds_over_a_kill_and_a_failure_and_a_start_takes_over() {
    in_ebpf_sandbox(&["tc"], || {
        let site = site("clsact_closed");
        let gateway = site.start("on_failure = \"closed\"");
        assert_judges(&site);
        kill(&site, gateway.pid());
        assert_eq!(own_filters(&site), 1);
        assert!(!site.is_answered(OFFICE, MEDIA, 100));

        // What is left is exchanged: no media passes meanwhile.
        let is_over = AtomicBool::new(false);
        let mut gateway = thread::scope(|scope| {
            let _ends = AtEnd(&is_over);
            let media = scope.spawn(|| {
                // So many that some would come between a program and the next one.
                let socket = site.socket_to(OFFICE);
                socket.set_nonblocking(true).expect("a socket");
                let mut answered = 0;
                while !is_over.load(Ordering::Relaxed) {
                    _ = socket.send_to(&[7; 100], (OFFICE, MEDIA));
                    answered += usize::from(socket.recv(&mut [0; 256]).is_ok());
                }
                answered
            });
            let gateway = site.start_again("again.log");
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(media.join().expect("it asks"), 0);
            gateway
        });
        assert_eq!(own_filters(&site), 1);
        assert_judges(&site);

        // The filter ends against its will.
        site.concentrator.ip("link del offramp0");
        assert_eq!(gateway.wait().code(), Some(1));
        assert_eq!(own_filters(&site), 1);
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
        site.offramp(&["run", "--cleanup"]).success();
        assert_eq!(filters(&site), [""; 0]);
        assert!(site.is_answered(OFFICE, MEDIA, 100));
    });
}

#[test]
fn open_passes_after_a_kill_and_a_start_judges_again() {
    in_ebpf_sandbox(&["tc"], || {
        let site = site("clsact_open");
        let gateway = site.start("divert = \"all\"");
        assert_judges(&site);
        kill(&site, gateway.pid());
        site.wait_for_answer(OFFICE, MEDIA);
        assert_eq!(own_filters(&site), 1);
        let mut gateway = site.start_again("again.log");
        assert_eq!(own_filters(&site), 1);
        assert_judges(&site);
        assert_eq!(gateway.terminate().code(), Some(0));
        assert_eq!(filters(&site), [""; 0]);
    });
}
