//! The gateway's own addresses: what clients send to it, whichever prefix of the policy they lie in.

use std::net::SocketAddr;

use offramp::gateway::testbed::traffic::serve_udp;

use crate::site::plain::PlainSite;
use crate::site::{Diversion, in_sandbox, poll};

/// Multicast DNS has it, and some resolvers: one of the ports of media.
const PORT: u16 = 5353;

/// Answers every datagram to this address of the concentrator, for as long as the test runs.
fn serve(site: &PlainSite, address: &str) {
    let address = SocketAddr::new(address.parse().expect("an address"), PORT);
    serve_udp(site.concentrator.namespace(), address).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn what_clients_send_to_the_gateway_itself_passes_also_to_an_address_that_it_gets_later() {
    in_sandbox(&[], || {
        let site = PlainSite::new("own_addresses");
        let mut gateway = site.start("divert = \"all\"");
        let wait_for_generation = |generation: u64| {
            poll("the policy for other addresses", || {
                (site.status()["generation"] == generation).then_some(())
            });
        };
        for pool_address in ["172.16.1.1", "fd00:1::1"] {
            serve(&site, pool_address);
            assert!(site.is_answered(pool_address, PORT, 100), "{pool_address}");
        }
        let passed = || site.count("forward", "gateway");
        // Marks divert what is routed on, and this is not.
        let is_judged = Diversion::here() == Diversion::Ebpf;
        assert_eq!(passed() > 0, is_judged);
        assert_eq!(site.count("drop", "hairpin"), 0);

        let later = "10.0.0.2";
        assert!(!site.is_answered(later, PORT, 100));
        let media = site.count("drop", "media");
        assert!(media > 0, "so far it is an office's");
        site.concentrator.ip("address add 10.0.0.2/32 dev eth1");
        wait_for_generation(2);
        let before = passed();
        serve(&site, later);
        assert!(site.is_answered(later, PORT, 100));
        assert_eq!(passed() > before, is_judged);
        assert_eq!(site.count("drop", "media"), media);

        site.concentrator.ip("address delete 10.0.0.2/32 dev eth1");
        wait_for_generation(3);
        assert!(!site.is_answered(later, PORT, 100));
        assert!(site.count("drop", "media") > media);
        assert!(site.is_answered("172.16.1.1", PORT, 100));

        assert_eq!(site.status()["reloads"]["taken"], 2);
        assert_eq!(site.status()["reloads"]["refused"], 0);
        let log = gateway.log();
        assert_eq!(
            log.matches("addresses of this host have changed").count(),
            2,
            "{log}"
        );
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}
