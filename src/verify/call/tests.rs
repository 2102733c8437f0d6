//! Tests of predicted calls against known behavior in the field.

use super::*;
use crate::filter::Generation;
use crate::policy;

/// The article's site, as far as calls depend on it. Tests replace `PUBLIC` and other parts.
const SITE: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24"]
[corporate]
subnets = ["10.0.0.0/8"]
[filter]
leaked_public = "forward"
[[server]]
name = "Front End pool"
addresses = ["10.1.0.10"]
[[server]]
name = "Edge, internal interface"
addresses = ["10.2.0.5"]
[[public]]
name = "A/V Edge"
addresses = ["167.55.49.34"]
[routes]
tunnel = "split"
"#;

fn predicted(site: &str, call: &Call) -> Prediction {
    let (policy, _) = policy::parse("site.toml", site.as_bytes()).expect("a good policy");
    let plan = RoutePlan::new(&policy);
    let policy = CompiledPolicy::new(policy, Generation(1)).expect("a small policy");
    predict(&policy, &plan, call)
}

/// Returns `udp-relay outside: host 192.168.1.10 -> relay 167.55.49.34`, or `none`.
fn outcome(site: &str, call: &Call) -> String {
    let prediction = predicted(site, call);
    let Some(pair) = prediction.winner() else {
        return "none".to_owned();
    };
    format!(
        "{} {}: {} {} -> {} {}",
        pair.way().name(),
        if prediction.is_in_tunnel() {
            "inside"
        } else {
            "outside"
        },
        pair.local.kind,
        pair.local.address.ip(),
        pair.remote.kind,
        pair.remote.address.ip(),
    )
}

fn call(to: Side) -> Call {
    Call::new(Side::Vpn, to)
}

fn before(to: Side) -> Call {
    Call {
        gateway: GatewayMode::Open,
        ..call(to)
    }
}

fn replaced(what: &str, with: &str) -> String {
    assert!(SITE.contains(what), "{what}");
    SITE.replace(what, with)
}

#[test]
fn without_a_filter_calls_to_the_office_and_to_other_clients_take_the_tunnel() {
    assert_eq!(
        outcome(SITE, &before(Side::Internal)),
        "udp-direct inside: host 172.16.1.10 -> host 10.128.0.7"
    );
    assert_eq!(
        outcome(SITE, &before(Side::Vpn)),
        "udp-direct inside: host 172.16.1.10 -> host 172.16.1.11"
    );
}

#[test]
fn a_call_to_the_office_takes_the_relay_of_the_edge() {
    let expected = "udp-relay outside: host 192.168.1.10 -> relay 167.55.49.34";
    assert_eq!(outcome(SITE, &call(Side::Internal)), expected);
    let prediction = predicted(SITE, &call(Side::Internal));
    let direct = prediction.pairs.iter().find(|pair| {
        pair.local.interface == Interface::Tunnel && pair.remote.kind == CandidateKind::Host
    });
    let obstacle = direct.map(|pair| pair.outcome.clone());
    let Some(Err(Obstacle::Dropped { reason, line, .. })) = obstacle else {
        panic!("the gateway drops it: {obstacle:?}")
    };
    assert_eq!((reason, line), (Reason::Media, Some(5)));
}

#[test]
fn a_call_from_the_office_takes_it_too_although_nothing_from_inside_is_dropped() {
    let call = Call::new(Side::Internal, Side::Vpn);
    let prediction = predicted(SITE, &call);
    assert_eq!(prediction.winner().map(Pair::way), Some(Way::UdpRelay));
    assert!(!prediction.is_in_tunnel());
    // The check arrives, but the gateway drops its answer.
    let unanswered = prediction.pairs.iter().any(|pair| match &pair.outcome {
        Err(Obstacle::Unanswered(obstacle)) => obstacle.is_dropped(),
        Ok(_) | Err(_) => false,
    });
    assert!(unanswered, "{:#?}", prediction.pairs);
}

#[test]
fn clients_call_each_other_from_home_to_home() {
    assert_eq!(
        outcome(SITE, &call(Side::Vpn)),
        "udp-nat outside: host 192.168.1.10 -> srflx 203.0.113.2"
    );
}

#[test]
fn where_their_routers_choose_ports_anew_clients_call_each_other_by_relay() {
    let call = Call {
        translation: Translation::RandomPorts,
        ..call(Side::Vpn)
    };
    assert_eq!(
        outcome(SITE, &call),
        "udp-relay outside: host 192.168.1.10 -> relay 167.55.49.34"
    );
}

#[test]
fn a_home_without_udp_reaches_the_relay_by_tcp() {
    for to in [Side::Internal, Side::Vpn, Side::External] {
        let call = Call {
            home_udp: HomeUdp::Closed,
            ..call(to)
        };
        assert_eq!(
            outcome(SITE, &call),
            "tcp-relay outside: relay 167.55.49.34 -> relay 167.55.49.34"
        );
    }
}

#[test]
fn a_user_on_the_internet_is_called_outside_the_tunnel_either_way() {
    for call in [before(Side::External), call(Side::External)] {
        assert!(!predicted(SITE, &call).is_in_tunnel());
    }
    assert_eq!(
        outcome(SITE, &call(Side::External)),
        "udp-nat outside: host 192.168.1.10 -> srflx 203.0.113.2"
    );
}

#[test]
fn a_relay_inside_the_tunnel_that_the_gateway_blocks_leaves_no_media_at_all() {
    // The Edge's public addresses are listed among the servers, and routed like the rest of the company.
    let site = replaced(r#"["10.2.0.5"]"#, r#"["10.2.0.5", "167.55.49.34"]"#)
        .replace(r#"["10.0.0.0/8"]"#, r#"["10.0.0.0/8", "167.55.49.0/24"]"#)
        .replace(
            r#"addresses = ["167.55.49.34"]"#,
            r#"addresses = ["167.55.48.34"]"#,
        );
    let call = Call {
        relay: Some(IpAddr::from([167, 55, 49, 34])),
        ..call(Side::Internal)
    };
    assert_eq!(outcome(&site, &call), "none");
    let prediction = predicted(&site, &call);
    let dropped = prediction
        .attempts
        .iter()
        .filter(|it| it.obstacle.is_dropped());
    // Over UDP and over TCP.
    assert_eq!(dropped.count(), 2, "{:#?}", prediction.attempts);
}

#[test]
fn a_full_tunnel_that_takes_the_relay_along_and_drops_it_leaves_no_media_at_all() {
    let site = replaced(r#"["10.0.0.0/8"]"#, r#"["10.0.0.0/8", "167.55.49.34/32"]"#)
        .replace(r#"leaked_public = "forward""#, r#"leaked_public = "drop""#);
    assert_eq!(outcome(&site, &call(Side::Internal)), "none");
}

#[test]
fn a_relay_that_is_routed_into_the_tunnel_takes_the_media_there() {
    let site = replaced(r#"["10.0.0.0/8"]"#, r#"["10.0.0.0/8", "167.55.49.34/32"]"#);
    assert_eq!(
        outcome(&site, &call(Side::Internal)),
        "udp-relay inside: host 172.16.1.10 -> relay 167.55.49.34"
    );
}

#[test]
fn who_signs_in_inside_is_told_of_a_relay_that_is_blocked() {
    let site = SITE.to_owned()
        + r#"
[[allow]]
name = "the pool after all"
to = ["10.1.0.10"]
lifts = ["servers"]
"#;
    let prediction = predicted(&site, &call(Side::Internal));
    assert_eq!(prediction.parties[0].registration, Registration::Internal);
    // The client has no relay of its own, but reaches the other party's relay from home.
    assert!(
        prediction.candidates[0]
            .iter()
            .all(|it| it.kind == CandidateKind::Host)
    );
    let call = Call {
        home_udp: HomeUdp::Closed,
        ..call(Side::Internal)
    };
    assert_eq!(outcome(&site, &call), "none");
}

#[test]
fn a_full_tunnel_sends_calls_outside_only_where_the_relay_is_excluded() {
    let site = replaced(r#"tunnel = "split""#, r#"tunnel = "full""#);
    assert_eq!(
        outcome(&site, &call(Side::Internal)),
        "udp-relay outside: host 192.168.1.10 -> relay 167.55.49.34"
    );
    // There is no path from home to home: everything but the relay enters the tunnel.
    assert_eq!(
        outcome(&site, &call(Side::Vpn)),
        "udp-relay outside: host 192.168.1.10 -> relay 167.55.49.34"
    );
}

#[test]
fn ipv6_is_judged_like_ipv4() {
    let site = replaced(
        r#"client_subnets = ["172.16.1.0/24"]"#,
        r#"client_subnets = ["172.16.1.0/24", "fd00:172::/64"]"#,
    );
    let dual = site.replace(r#"["10.0.0.0/8"]"#, r#"["10.0.0.0/8", "fd00:10::/32"]"#);
    let before = predicted(&dual, &before(Side::Internal));
    let best = before.winner().expect("the tunnel");
    assert!(best.local.address.is_ipv6(), "{best:?}");
    assert!(!predicted(&dual, &call(Side::Internal)).is_in_tunnel());
    assert!(!predicted(&site, &call(Side::Vpn)).is_in_tunnel());
}

#[test]
fn a_call_in_one_family_has_candidates_of_it_alone() {
    for family in Family::BOTH {
        let call = Call {
            family: Some(family),
            ..call(Side::Internal)
        };
        let prediction = predicted(SITE, &call);
        let v4 = family == Family::V4;
        let candidates = prediction.candidates.iter().flatten();
        assert!(candidates.clone().all(|it| it.address.is_ipv4() == v4));
    }
}

mod properties {
    use std::time::Duration;

    use arbitrary::Unstructured;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;
    use crate::filter::reference::ReferenceFilter;
    use crate::filter::strategy;
    use crate::plan::enters_tunnel;
    use crate::policy::Policy;

    const SIDES: [Side; 3] = [Side::Vpn, Side::Internal, Side::External];

    fn any_call() -> impl Strategy<Value = Call> {
        let sides = prop::sample::select(SIDES.to_vec());
        (
            sides.clone(),
            sides,
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
        )
            .prop_map(|(from, to, judging, keeps, udp)| Call {
                gateway: if judging {
                    GatewayMode::Judging
                } else {
                    GatewayMode::Open
                },
                translation: if keeps {
                    Translation::KeepsPorts
                } else {
                    Translation::RandomPorts
                },
                home_udp: if udp { HomeUdp::Open } else { HomeUdp::Closed },
                ..Call::new(from, to)
            })
    }

    /// Returns the slow model's verdict on a media packet.
    fn is_forwarded(policy: &Policy, from: SocketAddr, to: SocketAddr) -> bool {
        let builder = match (from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                PacketBuilder::ipv4(from.octets(), to.octets(), 64)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                PacketBuilder::ipv6(from.octets(), to.octets(), 64)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        let mut bytes = Vec::new();
        builder
            .udp(from.port(), to.port())
            .write(&mut bytes, &[])
            .expect("an empty payload fits");
        let mut reference = ReferenceFilter::new(policy);
        let verdict = reference.judge(&bytes, bytes.len(), Duration::ZERO);
        verdict.action == Action::Forward
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Every packet that the prediction lets pass, the route table and the reference filter let pass as well.
        #[test]
        fn a_pair_that_works_is_routed_and_forwarded_by_the_oracles(
            bytes in prop::collection::vec(any::<u8>(), 0..600),
            call in any_call(),
        ) {
            let policy = strategy::policy(&mut Unstructured::new(&bytes)).expect("any bytes do");
            let plan = RoutePlan::new(&policy);
            let compiled = CompiledPolicy::new(policy.clone(), Generation(1)).expect("a small policy");
            let prediction = predict(&compiled, &plan, &call);
            let sorted = prediction.pairs.is_sorted_by_key(|pair| std::cmp::Reverse(pair.priority));
            prop_assert!(sorted, "{:#?}", prediction.pairs);
            for pair in &prediction.pairs {
                let (Ok(success), Side::Vpn) = (&pair.outcome, call.from) else {
                    continue;
                };
                if pair.local.kind != CandidateKind::Host || call.gateway == GatewayMode::Open {
                    continue;
                }
                let (from, to) = (pair.local.base, pair.remote.address);
                let inside = pair.local.interface == Interface::Tunnel;
                prop_assert_eq!(enters_tunnel(&policy, to.ip()), inside, "{:?}", pair);
                prop_assert_eq!(success.path.get(1) == Some(&Node::Gateway), inside, "{:?}", pair);
                prop_assert!(!inside || is_forwarded(&policy, from, to), "{:?}", pair);
            }
        }
    }
}
