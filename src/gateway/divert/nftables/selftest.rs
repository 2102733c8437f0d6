//! [`SelfTest`]: packets of the gateway's own that enter at the interfaces of the VPN as clients' do.
//!
//! ```text
//!  control ──▶ offramp0 ── tc: u32, mirred ──▶ tun0 ── marks, routes, firewalls ──▶ offramp0 ──▶ worker ──▶ control
//! ```
//!
//! Each is a connectivity check, whose transaction id tells the worker that it is the gateway's own and ends there. The filters of tc
//! are there while a test lasts, and their qdisc as long as the device: to add it the kernel stops the device for a moment, which would cost
//! packets. The packets come from an address that the main table routes to the interface, so that they are what a client there could send.
//!
//! Where a test fails because a packet to be dropped does not arrive, those of clients to media ports do not either. A packet that the filter is to
//! forward hides its ports behind an option, to be led there at all, and firewalls may drop such packets for that: it is told as not tested.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ipnet::IpNet;
use nix::errno::Errno;
use rtnetlink::packet_route::tc::{
    TcAction, TcActionAttribute, TcActionMirror, TcActionMirrorOption, TcActionOption,
    TcActionType, TcFilterU32Option, TcMirror, TcMirrorActionType, TcU32Key, TcU32Selector,
    TcU32SelectorFlags,
};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::Diversion;
use super::observe::inputs;
use super::route::{RoutedPacket, WayOut};
use crate::address::Family;
use crate::gateway::divert::SelfTestOutcome;
use crate::gateway::divert::netlink::{Netlink, NetlinkError, failed};
use crate::gateway::divert::selftest::{LIMIT, Turn, disagreement};
use crate::gateway::tun::{ArrivedProbe, DeviceWriter, ProbeId};
use crate::packet::virtio::VirtioHeader;
use crate::verdict::Action;
use crate::verify::probe::SelfTestPacket;

/// An end of the filter's device, and the reports of its workers.
#[derive(Debug)]
pub(super) struct SelfTest {
    writer: DeviceWriter,
    arrivals: UnboundedReceiver<ArrivedProbe>,
    /// Tells workers which packets are those of a self-test.
    secret: Arc<AtomicU32>,
    /// The interface that the next one begins with.
    turn: Turn,
    /// True if the kernel cannot lead packets from one interface to another, which was logged.
    is_impossible: bool,
}

/// A packet on its way.
struct Sent<'a> {
    id: ProbeId,
    interface: &'a str,
    packet: &'a SelfTestPacket,
    frame: Vec<u8>,
}

impl SelfTest {
    /// Adds the qdisc for the filters of tests, before anything is led to the device.
    pub(super) async fn prepare(&mut self, netlink: &Netlink, device: u32) {
        if let Err(error) = netlink.add_ingress_qdisc(device).await {
            self.do_without(&error);
        }
    }

    pub(super) fn new(
        writer: DeviceWriter,
        arrivals: UnboundedReceiver<ArrivedProbe>,
        secret: Arc<AtomicU32>,
    ) -> Self {
        Self {
            writer,
            arrivals,
            secret,
            turn: Turn::default(),
            is_impossible: false,
        }
    }

    /// Has each of `packets` enter at each interface of the VPN, 16 of them at a time; `None` if the kernel has no way to do so.
    pub(super) async fn run(
        &mut self,
        diversion: &Diversion,
        netlink: &Netlink,
        device: u32,
        packets: &[SelfTestPacket],
    ) -> Option<SelfTestOutcome> {
        if self.is_impossible {
            return None;
        }
        let failed = |error: NetlinkError| {
            Some(SelfTestOutcome {
                failures: vec![error.to_string()],
                untested: Vec::new(),
            })
        };
        let links = match netlink.links().await {
            Ok(links) => links,
            Err(error) => return failed(error),
        };
        let before = self.turn;
        let inputs = inputs(diversion, &links).into_iter();
        let interfaces = self
            .turn
            .take(inputs.map(|it| (it.index, it.name.as_str())));
        let indices: Vec<u32> = interfaces.iter().map(|(index, _)| *index).collect();
        let secret = rand::random::<u32>().max(1);
        if let Err(error) = netlink.add_redirects(device, secret, &indices).await {
            _ = netlink.remove_redirects(device).await;
            let lacking = [Errno::ENOENT, Errno::EOPNOTSUPP];
            let code = error.source.raw_os_error().map(Errno::from_raw);
            if code.is_some_and(|it| lacking.contains(&it)) {
                self.do_without(&error);
                return None;
            }
            return failed(error);
        }
        // Those of an earlier test that came too late.
        while self.arrivals.try_recv().is_ok() {}
        self.secret.store(secret, Ordering::Release);
        let mut outcome = SelfTestOutcome::default();
        let way = Way {
            diversion,
            netlink,
            device,
        };
        let sent = way
            .packets(secret, &interfaces, packets, &mut outcome)
            .await;
        self.follow_all(sent, netlink, &mut outcome).await;
        self.secret.store(0, Ordering::Release);
        if let Err(error) = netlink.remove_redirects(device).await {
            outcome.failures.push(error.to_string());
        }
        if !outcome.failures.is_empty() {
            // The same interfaces are tested again, until they pass.
            self.turn = before;
        }
        Some(outcome)
    }

    /// Takes note, and says, that no packets can be led to interfaces.
    fn do_without(&mut self, error: &NetlinkError) {
        self.is_impossible = true;
        warn!(
            "no packets of a self-test enter at the interfaces of the VPN: {error}; the kernel may lack sch_ingress, cls_u32 or act_mirred: \
             `modprobe sch_ingress; modprobe cls_u32; modprobe act_mirred`, and start again. Tables, routes and marks are compared all the \
             same"
        );
    }

    /// Sends the packets, again where they do not arrive at once, and notes what becomes of them.
    async fn follow_all(
        &mut self,
        mut awaited: Vec<Sent<'_>>,
        netlink: &Netlink,
        outcome: &mut SelfTestOutcome,
    ) {
        for _ in 0..TRIES {
            for sent in &awaited {
                // A packet that the kernel refuses does not arrive.
                _ = self.writer.write(&sent.frame);
            }
            let deadline = Instant::now() + LIMIT / TRIES;
            while !awaited.is_empty() {
                let Ok(Some(arrival)) = timeout_at(deadline, self.arrivals.recv()).await else {
                    break;
                };
                let id = ProbeId::of(&arrival.packet);
                if let Some(at) = awaited.iter().position(|it| Some(it.id) == id) {
                    let sent = awaited.swap_remove(at);
                    let failure = disagreement(sent.interface, sent.packet, &arrival);
                    outcome.failures.extend(failure);
                }
            }
        }
        if awaited.is_empty() {
            return;
        }
        // It may have gone down, or away, meanwhile.
        let links = netlink.links().await.unwrap_or_default();
        let is_up = |index| links.iter().any(|it| it.index == index && it.is_up);
        for sent in awaited.iter().filter(|it| is_up(it.id.interface)) {
            let (to, interface) = (sent.packet.to, sent.interface);
            match sent.packet.verdict.action {
                Action::Drop => outcome.failures.push(format!(
                    "a packet to {to} that enters at {interface} does not reach the filter: a firewall drops it, or a rule changes its \
                     mark or takes it elsewhere (`nft list ruleset`, `iptables-save`, `ip rule`, `ip xfrm policy`, `tc filter`), or the \
                     filter's queue is full"
                )),
                Action::Forward => outcome.untested.push(format!(
                    "a packet with options to {to} that enters at {interface} does not reach the filter: a firewall drops such, or \
                     diverts it"
                )),
            }
        }
    }
}

/// The way to the filter.
#[derive(Clone, Copy)]
struct Way<'a> {
    diversion: &'a Diversion,
    netlink: &'a Netlink,
    /// The index of the filter's device.
    device: u32,
}

impl Way<'_> {
    /// The packets of a test; notes the interfaces and families that there is no source for.
    async fn packets<'a>(
        self,
        secret: u32,
        interfaces: &'a [(u32, String)],
        packets: &'a [SelfTestPacket],
        outcome: &mut SelfTestOutcome,
    ) -> Vec<Sent<'a>> {
        let mut made = Vec::new();
        for (interface, name) in interfaces {
            let clients = match self.netlink.routed_to(*interface).await {
                Ok(routed) => clients_in(&routed, &self.diversion.clients),
                Err(error) => {
                    outcome.untested.push(error.to_string());
                    continue;
                }
            };
            let mut is_lacking = [false; 2];
            for packet in packets {
                let Some(source) = self.source_of(*interface, packet, &clients).await else {
                    is_lacking[usize::from(packet.to.is_ipv6())] = true;
                    continue;
                };
                let id = ProbeId {
                    secret,
                    interface: *interface,
                    number: made.len() as u32,
                };
                if let Some(bytes) = packet.through_the_stack(source, id.to_bytes()) {
                    made.push(Sent {
                        id,
                        interface: name,
                        packet,
                        frame: [&[0; VirtioHeader::LENGTH], &*bytes].concat(),
                    });
                }
            }
            let lacking = Family::BOTH.into_iter().zip(is_lacking);
            for (family, _) in lacking.filter(|(_, is_lacking)| *is_lacking) {
                outcome.untested.push(format!(
                    "no packet of a self-test by {} enters at {name}: the main table routes no address of vpn.client_subnets there, or \
                     not to the filter what comes from it",
                    family.name()
                ));
            }
        }
        made
    }

    /// A source that `packet` can have at the interface `input`, for which the kernel's routes and its reverse-path filter lead it to the filter.
    async fn source_of(
        self,
        input: u32,
        packet: &SelfTestPacket,
        clients: &[IpAddr],
    ) -> Option<IpAddr> {
        let destination = packet.to.ip();
        let mark = match packet.verdict.action {
            Action::Forward => self.diversion.mark.anywhere(),
            Action::Drop => self.diversion.mark_of(packet.to.port()),
        };
        let clients = clients
            .iter()
            .filter(|it| it.is_ipv4() == destination.is_ipv4() && **it != destination);
        for &source in clients.take(MAX_SOURCES) {
            let routed = RoutedPacket {
                input,
                mark,
                source,
                destination,
            };
            let way_out = self.netlink.way_out(&routed).await;
            if way_out.is_ok_and(|it| it == WayOut::Interface(self.device)) {
                return Some(source);
            }
        }
        None
    }
}

/// Addresses of clients among the destinations that are routed to their interface: a few of each.
fn clients_in(routed: &[IpNet], pools: &[IpNet]) -> Vec<IpAddr> {
    let in_pools = routed.iter().filter_map(|routed| {
        let in_pool = |pool: &&IpNet| pool.contains(routed) || routed.contains(*pool);
        let pool = pools.iter().find(in_pool)?;
        Some(if pool.contains(routed) {
            *routed
        } else {
            *pool
        })
    });
    // The last host may be the gateway itself.
    in_pools
        .flat_map(|prefix| prefix.hosts().rev().take(2))
        .collect()
}

impl Netlink {
    /// Adds the qdisc that has the filters.
    async fn add_ingress_qdisc(&self, device: u32) -> Result<(), NetlinkError> {
        let qdisc = self.handle.qdisc().add(device as i32).ingress();
        let added = qdisc.execute().await;
        added.map_err(|error| failed("add an ingress qdisc to the filter's device", error))
    }

    /// Has packets of the self-test with this secret that enter at `device` enter at the interface that they name.
    async fn add_redirects(
        &self,
        device: u32,
        secret: u32,
        interfaces: &[u32],
    ) -> Result<(), NetlinkError> {
        // Those of an interrupted test.
        self.remove_redirects(device).await?;
        const IPV4: u16 = 0x0800;
        const IPV6: u16 = 0x86dd;
        let kinds = [(IPV4, ProbeId::IN_IPV4), (IPV6, ProbeId::IN_IPV6)];
        let kinds = kinds
            .into_iter()
            .flat_map(|(protocol, places)| places.map(|place| (protocol, place)));
        let filters = interfaces
            .iter()
            .flat_map(|interface| kinds.clone().map(move |kind| (*interface, kind)));
        for (priority, (interface, (protocol, place))) in (1..).zip(filters) {
            let filter = self.handle.traffic_filter(device as i32).add();
            let filter = filter
                .parent(INGRESS)
                .priority(priority)
                .protocol(protocol.to_be());
            let keys = [(place, secret), (place + 4, interface)];
            let options = [
                TcFilterU32Option::Selector(selector(&keys)),
                TcFilterU32Option::Action(vec![redirection(interface)]),
            ];
            let added = match filter.u32(&options) {
                Ok(filter) => filter.execute().await,
                Err(error) => Err(error),
            };
            match added.map_err(|error| failed("add a filter of tc to the filter's device", error))
            {
                // The interface has gone meanwhile.
                Err(error) if error.source.raw_os_error() == Some(Errno::ENODEV as i32) => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Removes these filters.
    async fn remove_redirects(&self, device: u32) -> Result<(), NetlinkError> {
        let filters = self.handle.traffic_filter(device as i32).del();
        let removed = filters.parent(INGRESS).execute().await;
        removed.map_err(|error| failed("remove the filters of tc from the filter's device", error))
    }
}

/// The words of a packet that a filter asks for, each with its place behind the beginning of the IP header.
fn selector(words: &[(u8, u32)]) -> TcU32Selector {
    let mut selector = TcU32Selector::default();
    selector.flags = TcU32SelectorFlags::Terminal;
    selector.nkeys = words.len() as u8;
    let keys = words.iter().map(|&(place, word)| {
        let mut key = TcU32Key::default();
        key.mask = u32::MAX;
        key.val = word;
        key.off = place.into();
        key
    });
    selector.keys = keys.collect();
    selector
}

/// The action that has a packet enter at an interface.
fn redirection(interface: u32) -> TcAction {
    let mut mirror = TcMirror::default();
    mirror.generic.action = TcActionType::Stolen;
    mirror.eaction = TcMirrorActionType::IngressRedir;
    mirror.ifindex = interface;
    let mut action = TcAction::default();
    action.tab = 1;
    action.attributes = vec![
        TcActionAttribute::Kind(TcActionMirror::KIND.to_owned()),
        TcActionAttribute::Options(vec![TcActionOption::Mirror(TcActionMirrorOption::Parms(
            mirror,
        ))]),
    ];
    action
}

/// The handle of an ingress qdisc.
const INGRESS: u32 = 0xffff_0000;
/// Times that a packet is sent.
const TRIES: u32 = 3;
/// Sources that are tried for a packet.
const MAX_SOURCES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::host::sample;
    use crate::verify::probe::thorough_self_test;

    #[test]
    fn workers_and_filters_find_the_id_of_every_packet() {
        let policy = sample::compiled(
            "[[server]]\nname = \"pool\"\naddresses = [\"10.1.0.10\"]\n",
            1,
        );
        let packets = thorough_self_test(&policy);
        let id = ProbeId {
            secret: 0x0102_0304,
            interface: 7,
            number: 9,
        };
        let mut places = Vec::new();
        for packet in &packets {
            let bytes = packet.through_the_stack(packet.from.ip(), id.to_bytes());
            let bytes = bytes.expect("both are of one family");
            assert_eq!(ProbeId::of(&bytes), Some(id), "{bytes:02x?}");
            let place = bytes.windows(4).position(|it| it == [1, 2, 3, 4]);
            places.extend(place);
            // Somebody else's packet with the same bytes in their place.
            for (at, other) in [(0, 0x47), (place.expect("a place") - 1, 0)] {
                let mut bytes = bytes.clone();
                bytes[at] = other;
                assert_eq!(ProbeId::of(&bytes), None, "{bytes:02x?}");
            }
        }
        places.sort_unstable();
        places.dedup();
        let filtered = [ProbeId::IN_IPV4, ProbeId::IN_IPV6].concat();
        assert_eq!(
            places,
            filtered.into_iter().map(usize::from).collect::<Vec<_>>()
        );
    }

    #[test]
    fn sources_are_clients_that_are_routed_to_the_interface() {
        let nets = |text: &str| -> Vec<IpNet> {
            text.split(' ')
                .map(|it| it.parse().expect("a prefix"))
                .collect()
        };
        let pools = nets("172.16.0.0/16 10.9.0.0/24 fd00:1::/64");
        let routed = nets("172.16.1.0/24 172.16.2.7/32 10.0.0.0/8 192.168.1.0/24 fd00:1::/64");
        let found = clients_in(&routed, &pools)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>();
        assert_eq!(
            found,
            [
                "172.16.1.254",
                "172.16.1.253",
                "172.16.2.7",
                "10.9.0.254",
                "10.9.0.253",
                "fd00:1::ffff:ffff:ffff:ffff",
                "fd00:1::ffff:ffff:ffff:fffe",
            ]
        );
    }
}
