//! Tests the datapath between two tun devices held by the test, one in the role of the VPN daemon, the other of a
//! network card without segmentation or receive offload: bytes, order and number of the packets delivered.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::site::filter::Status;
use crate::site::{Daemon, Diversion, Host, in_ebpf_sandbox, in_sandbox, plain, poll};
use crate::support::{Folder, program, run, signal};
use etherparse::{
    IpHeaders, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, PacketBuilder, SlicedPacket,
    TcpHeader, TransportSlice,
};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use offramp::gateway::tun::make_plain_device;
use offramp::random::Random;

/// A concentrator without attached hosts.
struct Wire {
    concentrator: Host,
    folder: Folder,
    /// The VPN daemon's end of `tun0`.
    vpn: File,
    /// The corporate end of `eth1`.
    corporate: File,
}

impl Wire {
    fn new(name: &str) -> Self {
        let concentrator = Host::new("concentrator");
        let device = |name| {
            let file = concentrator.enter(|| make_plain_device(name));
            file.unwrap_or_else(|error| panic!("{name}: {error}"))
        };
        let corporate = device("eth1");
        fcntl(&corporate, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("an open file");
        let wire = Self {
            vpn: device("tun0"),
            corporate,
            folder: Folder::new(name),
            concentrator,
        };
        wire.concentrator.ip("
            link set tun0 txqueuelen 10000 up
            link set eth1 txqueuelen 10000 up
            address add 172.16.1.1/24 dev tun0
            address add fd00:1::1/64 dev tun0 nodad
            address add 10.0.0.1/8 dev eth1
            address add fd00:2::1/48 dev eth1 nodad");
        wire.concentrator.forward();
        wire
    }

    /// Starts a gateway that diverts everything.
    fn start(&self, gateway: &str) -> Daemon {
        let policy = self.policy(gateway);
        self.start_by(&mut program(&["run", &policy]))
    }

    /// Starts the same, with system calls that fail on purpose.
    fn start_with_faults(&self, faults: &[&str]) -> Daemon {
        let policy = self.policy("");
        let mut command = Command::new("strace");
        command.args(["-f", "--seccomp-bpf", "-o", "/dev/null"]);
        for fault in faults {
            command.args(["-e", &format!("inject={fault}")]);
        }
        command.args([env!("CARGO_BIN_EXE_offramp"), "run", &policy]);
        self.start_by(&mut command)
    }

    /// Writes the policy; returns its path.
    fn policy(&self, gateway: &str) -> String {
        // A stopped gateway is no reason to let packets pass: they are to queue up.
        let closed = match Diversion::here() {
            Diversion::Ebpf => "on_failure = \"closed\"\n",
            Diversion::Nftables => "",
        };
        let options = format!("divert = \"all\"\n{closed}{gateway}");
        let policy = plain::policy(&self.folder, &options);
        self.folder.write("policy.toml", policy)
    }

    fn start_by(&self, command: &mut Command) -> Daemon {
        let log = self.folder.path("gateway.log");
        let mut daemon = Daemon::start(&self.concentrator, "offramp run", log, command);
        daemon.wait_for_log(" ready: ");
        daemon
    }

    fn send(&self, packet: &[u8]) {
        let written = (&self.vpn).write(packet).expect("a device that is on");
        assert_eq!(written, packet.len());
    }

    /// Runs `work` while collecting packets at the other end; returns the results of `keep` for each packet.
    fn receive_while<T: Send>(
        &self,
        keep: impl Fn(&[u8]) -> Option<T> + Sync,
        work: impl FnOnce(&AtomicU64),
    ) -> Vec<T> {
        let (over, received) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                let mut kept = Vec::new();
                let mut packet = vec![0; 65_536];
                loop {
                    match (&self.corporate).read(&mut packet) {
                        // The kernel sends packets of its own.
                        Ok(length) if is_of_client(&packet[..length]) => {
                            kept.extend(keep(&packet[..length]));
                            received.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(_) => {}
                        Err(_) if over.load(Ordering::Relaxed) => return kept,
                        Err(_) => thread::sleep(Duration::from_micros(200)),
                    }
                }
            });
            // Also on a panic.
            let ends = Ends(&over);
            work(&received);
            drop(ends);
            receiver.join().expect("a receiver does not panic")
        })
    }

    fn status(&self) -> serde_json::Value {
        Status::ask(&self.folder.path("control.sock")).0
    }

    /// Returns the number of packets with this verdict.
    fn count(&self, action: &str, reason: &str) -> u64 {
        Status(self.status()).verdicts(action, reason)
    }

    /// Returns the number of writes by the gateway.
    fn written_back(&self) -> u64 {
        let mut show = Command::new("ip");
        show.args(["-json", "-stats", "link", "show", "offramp0"]);
        let link = self.concentrator.run(&mut show).json();
        let packets = link[0]["stats64"]["rx"]["packets"].as_u64();
        packets.expect("a number of packets")
    }
}

/// Stops a receiver on drop.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn is_of_client(packet: &[u8]) -> bool {
    match packet[0] >> 4 {
        4 => packet[12..15] == [172, 16, 1],
        _ => packet[8..12] == [0xfd, 0, 0, 1],
    }
}

/// Returns the IP header of client number `client` to the office.
fn header(version: u8, client: u8) -> IpHeaders {
    match version {
        4 => {
            let (from, to) = ([172, 16, 1, client], [10, 20, 0, 7]);
            let ip = Ipv4Header::new(0, 64, IpNumber::UDP, from, to).expect("short");
            IpHeaders::Ipv4(ip, Default::default())
        }
        _ => {
            let address = |network: u8, host: u8| {
                let mut address = [0; 16];
                (address[0], address[3], address[15]) = (0xfd, network, host);
                address
            };
            let ip = Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: 0,
                next_header: IpNumber::UDP,
                hop_limit: 64,
                source: address(1, client),
                destination: address(2, 7),
            };
            IpHeaders::Ipv6(ip, Default::default())
        }
    }
}

fn datagram(version: u8, client: u8, from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = PacketBuilder::ip(header(version, client)).udp(from, to);
    builder.write(&mut packet, payload).expect("room");
    packet
}

/// One direction of a connection that mostly behaves as usual.
struct Flow {
    version: u8,
    is_tcp: bool,
    port: u16,
    sequence: u32,
    id: u16,
}

impl Flow {
    fn send(&mut self, random: &mut Random) -> Vec<u8> {
        let oddity = random.below(40);
        let length = match oddity {
            0 | 1 => 300,
            2 => 0,
            _ => 1_000,
        };
        if oddity == 3 {
            self.sequence = self.sequence.wrapping_add(5_000);
            self.id = self.id.wrapping_add(5);
        }
        let payload: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
        let mut ip = header(self.version, 10);
        match &mut ip {
            IpHeaders::Ipv4(ip, _) => {
                ip.identification = self.id;
                ip.dont_fragment = oddity != 4;
                ip.time_to_live -= u8::from(oddity == 5);
                ip.dscp = u8::from(oddity == 6).try_into().expect("six bits");
            }
            IpHeaders::Ipv6(ip, _) => {
                ip.hop_limit -= u8::from(oddity == 5);
                ip.traffic_class = u8::from(oddity == 6);
            }
        }
        let mut packet = Vec::new();
        let builder = PacketBuilder::ip(ip);
        if self.is_tcp {
            let mut tcp = TcpHeader::new(self.port, 53, self.sequence, 500);
            (tcp.ack, tcp.acknowledgment_number) = (true, 1);
            tcp.psh = matches!(oddity, 0 | 7);
            (tcp.cwr, tcp.ece, tcp.fin) = (oddity == 8, oddity == 9, oddity == 10);
            tcp.window_size += u16::from(oddity == 11);
            let stamp = u8::from(oddity == 12);
            let options = [1, 1, 8, 10, 0, 0, 0, stamp, 0, 0, 0, 1];
            tcp.set_options_raw(&options).expect("12 bytes");
            builder
                .tcp_header(tcp)
                .write(&mut packet, &payload)
                .expect("room");
        } else {
            builder
                .udp(self.port, 53)
                .write(&mut packet, &payload)
                .expect("room");
        }
        // Oddity 13 is sent again.
        if oddity != 13 {
            self.sequence = self.sequence.wrapping_add(length);
            self.id = self.id.wrapping_add(1);
        }
        if oddity == 14 {
            // Corrupted in transit: in the payload or, if there is none, in the checksum.
            let last = packet.len() - 1;
            packet[last] ^= 4;
        }
        packet
    }
}

/// Returns the packet two hops later.
fn forwarded(packet: &[u8]) -> Vec<u8> {
    let hops = match Diversion::here() {
        Diversion::Nftables => 2,
        Diversion::Ebpf => 1,
    };
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 4 {
        let (mut ip, _) = Ipv4Header::from_slice(&packet).expect("a good header");
        ip.time_to_live -= hops;
        ip.header_checksum = ip.calc_header_checksum();
        packet[..20].copy_from_slice(&ip.to_bytes());
    } else {
        packet[7] -= hops;
    }
    packet
}

/// Returns version, protocol and ports, which identify a flow.
fn flow_of(packet: &[u8]) -> (u8, Vec<u8>) {
    let network = if packet[0] >> 4 == 4 { 20 } else { 40 };
    let protocol = if network == 20 { packet[9] } else { packet[6] };
    (
        protocol,
        [&[packet[0] >> 4], &packet[network..network + 4]].concat(),
    )
}

fn by_flow(packets: Vec<Vec<u8>>) -> BTreeMap<(u8, Vec<u8>), Vec<Vec<u8>>> {
    let mut flows = BTreeMap::<_, Vec<Vec<u8>>>::new();
    for packet in packets {
        flows.entry(flow_of(&packet)).or_default().push(packet);
    }
    flows
}

#[test]
fn what_the_kernel_makes_of_merged_packets_is_what_came_in() {
    in_sandbox(&[], || {
        const COUNT: u64 = 4_000;
        let wire = Wire::new("merged");
        let gateway = wire.start("");
        let mut random = Random(1);
        let mut flows: Vec<Flow> = (0..8_u16)
            .map(|number| Flow {
                version: if number % 2 == 0 { 4 } else { 6 },
                is_tcp: number % 4 < 2,
                port: 5_000 + number,
                sequence: u32::MAX - 50_000,
                id: u16::MAX - 100,
            })
            .collect();
        let mut sent = Vec::new();
        while sent.len() < COUNT as usize {
            let flow = random.below(8);
            for _ in 0..=random.below(20) {
                sent.push(flows[flow].send(&mut random));
            }
        }
        sent.truncate(COUNT as usize);
        let arrived = wire.receive_while(
            |packet| Some(packet.to_vec()),
            |received| {
                // Enough packets are queued at the restart to fill batches.
                gateway.signal("STOP");
                for packet in &sent {
                    wire.send(packet);
                }
                gateway.signal("CONT");
                poll("all packets", || {
                    (received.load(Ordering::Relaxed) >= COUNT).then_some(())
                });
            },
        );

        let writes = wire.written_back();
        println!("{COUNT} packets in {writes} writes");
        assert!(writes < COUNT / 2, "{writes} writes");
        let expected = sent.iter().map(|packet| forwarded(packet)).collect();
        let (expected, arrived) = (by_flow(expected), by_flow(arrived));
        assert_eq!(arrived.len(), expected.len());
        for (flow, expected) in &expected {
            let arrived = &arrived[flow];
            assert_eq!(arrived.len(), expected.len(), "{flow:?}");
            for (number, (arrived, expected)) in arrived.iter().zip(expected).enumerate() {
                assert_eq!(arrived, expected, "packet {number} of {flow:?}");
            }
        }
        // Counted in original packets; the kernel's own packets are not a client's.
        assert_eq!(wire.count("forward", "default"), COUNT);
    });
}

#[test]
fn several_workers_share_the_packets_and_keep_the_order_of_flows() {
    in_sandbox(&[], || {
        const FLOWS: u16 = 48;
        const EACH: u32 = 60;
        let wire = Wire::new("several_workers");
        let mut gateway = wire.start("workers = 3");
        let all = u64::from(FLOWS) * u64::from(EACH);
        let arrived = wire.receive_while(
            |packet| {
                let packet = SlicedPacket::from_ip(packet).ok()?;
                match packet.transport? {
                    TransportSlice::Udp(udp) => {
                        let number = udp.payload().first_chunk::<4>()?;
                        Some((udp.source_port(), u32::from_be_bytes(*number)))
                    }
                    _ => None,
                }
            },
            |received| {
                for number in 0..EACH {
                    for flow in 0..FLOWS {
                        let version = if flow % 2 == 0 { 4 } else { 6 };
                        let number = number.to_be_bytes();
                        wire.send(&datagram(version, 10, 5_000 + flow, 53, &number));
                    }
                }
                poll("all packets", || {
                    (received.load(Ordering::Relaxed) >= all).then_some(())
                });
            },
        );

        for flow in 0..FLOWS {
            let of = arrived.iter().filter(|(port, _)| *port == 5_000 + flow);
            let numbers: Vec<u32> = of.map(|(_, number)| *number).collect();
            assert_eq!(numbers, (0..EACH).collect::<Vec<_>>(), "flow {flow}");
        }
        let judged = wire.status()["device"]["judged"].clone();
        println!("packets of each worker: {judged}");
        let judged = judged.as_array().expect("a list").iter();
        let judged: Vec<u64> = judged.filter_map(serde_json::Value::as_u64).collect();
        assert_eq!(judged.len(), 3);
        // Routes spread flows; programs keep what is between two hosts together, and here are two pairs of them.
        let least = match Diversion::here() {
            Diversion::Nftables => 3,
            Diversion::Ebpf => 1,
        };
        let busy = judged.iter().filter(|packets| **packets > 0).count();
        assert!(busy >= least, "{judged:?}");
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn the_packets_of_clients_do_not_wait_behind_the_bulk_of_another_where_ebpf_diverts() {
    in_ebpf_sandbox(&[], || {
        const BULK: u16 = 3_000;
        let (bulk, others) = (10, 20..44);
        let wire = Wire::new("bulk_of_another");
        let mut gateway = wire.start("");
        let all = u64::from(BULK) + others.clone().count() as u64;
        let arrived = wire.receive_while(
            |packet| Some(*packet.get(15)?),
            |received| {
                // What comes while it does not run is read later, all at once.
                gateway.signal("STOP");
                for number in 0..BULK {
                    wire.send(&datagram(4, bulk, 5_000, 53, &number.to_be_bytes()));
                }
                for client in others.clone() {
                    wire.send(&datagram(4, client, 5_000, 53, b"single"));
                }
                gateway.signal("CONT");
                poll("all packets", || {
                    (received.load(Ordering::Relaxed) >= all).then_some(())
                });
            },
        );
        // A batch of the bulk may be read before the others', and with each of them.
        let soon = &arrived[..500];
        let early = others.filter(|client| soon.contains(client)).count();
        println!("{early} of 24 clients wait for less than 500 packets of 3000");
        // Some share the queue of the bulk: one of 16, by the hash of their addresses.
        assert!(early >= 14, "{early} of 24");
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn workers_run_where_and_when_the_policy_says() {
    in_sandbox(&[], || {
        let wire = Wire::new("schedule");
        let mut gateway = wire.start("workers = 2\nrealtime = 7\ncpus = [0, 1023]");
        let tasks = format!("/proc/{}/task", gateway.pid());
        let read = |worker: u8, file: &str| {
            let tasks = fs::read_dir(&tasks).expect("it runs");
            let folders = tasks.filter_map(|task| Some(task.ok()?.path()));
            let name = format!("offramp-{worker}\n");
            let mut folders = folders
                .filter(|it| fs::read_to_string(it.join("comm")).is_ok_and(|comm| comm == name));
            let folder = folders.next().expect("a worker");
            fs::read_to_string(folder.join(file)).expect("it runs")
        };
        gateway.wait_for_log("gateway.cpus: cannot pin worker 1 to [1023]");
        assert!(read(0, "status").contains("Cpus_allowed_list:\t0\n"));
        // Field 41 of proc_pid_stat(5); the name before it contains no blank.
        let stat = read(0, "stat");
        let policy = stat.split(' ').nth(40).map(str::to_owned);
        // A gateway gives up the right to it, and keeps the limit that it has set before.
        let mut chrt = Command::new("prlimit");
        let may = run(chrt.args(["--rtprio=7:7", "chrt", "--fifo", "7", "true"])).code == Some(0);
        if may {
            assert_eq!(policy.as_deref(), Some("1"), "SCHED_FIFO: {stat}");
        } else {
            gateway.wait_for_log("the kernel refuses gateway.realtime = 7");
            assert_eq!(policy.as_deref(), Some("0"), "{stat}");
        }
        // Their verdicts are the same.
        let arrived = wire.receive_while(
            |_| Some(()),
            |received| {
                wire.send(&datagram(4, 10, 5_000, 53, &[0; 100]));
                wire.send(&datagram(4, 10, 5_000, 50_020, &[0; 100]));
                wire.send(&datagram(4, 10, 5_000, 53, &[0; 100]));
                poll("two packets", || {
                    (received.load(Ordering::Relaxed) == 2).then_some(())
                });
            },
        );
        assert_eq!(arrived.len(), 2);

        let reloaded = plain::policy(&wire.folder, "divert = \"all\"\nworkers = 2\ncpus = [0]");
        wire.folder.write("policy.toml", reloaded);
        gateway.wait_for_log("gateway.realtime takes effect at the next start");
        gateway.wait_for_log("gateway.cpus takes effect at the next start");
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn without_io_uring_every_packet_has_a_system_call_of_its_own() {
    in_sandbox(&["strace"], || {
        let wire = Wire::new("without_io_uring");
        let gateway = wire.start_with_faults(&["io_uring_setup:error=EPERM"]);
        let log = gateway.log();
        assert!(log.contains("the system allows no io_uring"), "{log}");
        assert_eq!(wire.status()["device"]["io_uring"], false);
        arrive_in_order(&wire);
    });
}

#[test]
fn merged_packets_that_the_kernel_refuses_go_as_they_came() {
    in_sandbox(&["strace"], || {
        let wire = Wire::new("refused");
        let faults = ["io_uring_setup:error=EPERM", "writev:error=EINVAL"];
        let _gateway = wire.start_with_faults(&faults);
        arrive_in_order(&wire);
    });
}

/// Sends datagrams of one flow that queue up until batches are full; all must arrive, in order.
fn arrive_in_order(wire: &Wire) {
    const COUNT: u16 = 192;
    let status = wire.status();
    let process = status["pid"].as_u64().expect("a process") as u32;
    let signal = |name| signal(process, name);
    let arrived = wire.receive_while(
        |packet| Some(packet[28..].to_vec()),
        |received| {
            signal("STOP");
            for number in 0..COUNT {
                let mut packet = datagram(4, 10, 5_000, 53, &number.to_be_bytes());
                let (mut ip, _) = Ipv4Header::from_slice(&packet).expect("a good header");
                ip.identification = number;
                ip.header_checksum = ip.calc_header_checksum();
                packet[..20].copy_from_slice(&ip.to_bytes());
                wire.send(&packet);
            }
            signal("CONT");
            poll("all packets", || {
                (received.load(Ordering::Relaxed) == u64::from(COUNT)).then_some(())
            });
        },
    );
    let expected: Vec<Vec<u8>> = (0..COUNT).map(|it| it.to_be_bytes().to_vec()).collect();
    assert_eq!(arrived, expected);
}

#[test]
fn unfinished_fragments_take_little_room_and_nobodys_place() {
    in_sandbox(&[], || {
        const AMONG: u32 = 100;
        const MEDIA: u16 = 50_020;
        // More than twice the capacity of the fragment table; FLOOD=1000000 takes longer.
        let flood = std::env::var("FLOOD").map_or(150_000, |it| it.parse().expect("a number"));
        let wire = Wire::new("fragments");
        let gateway = wire.start("");
        let resident = || {
            let path = format!("/proc/{}/status", gateway.pid());
            let status = fs::read_to_string(path).expect("it runs");
            let line = status.lines().find(|line| line.starts_with("VmRSS:"));
            let words = line.and_then(|line| line.split_whitespace().nth(1));
            words.and_then(|kib| kib.parse::<u64>().ok()).expect("KiB")
        };
        // First fragments of datagrams that are never completed.
        let first_fragment = |number: u32, port: u16| {
            let mut packet = datagram(4, 10, 5_000, port, &[0; 16]);
            let (mut ip, _) = Ipv4Header::from_slice(&packet).expect("a good header");
            let [client, other, high, low] = number.to_be_bytes();
            ip.identification = u16::from_be_bytes([high, low]);
            ip.source = [172, 16, 1, 10 + client];
            ip.destination = [10, 21, other, 7];
            ip.more_fragments = true;
            ip.header_checksum = ip.calc_header_checksum();
            packet[..20].copy_from_slice(&ip.to_bytes());
            packet
        };

        let before = resident();
        let arrived = wire.receive_while(
            |packet| {
                let port = u16::from_be_bytes([packet[22], packet[23]]);
                let is_fragment = packet[6] & 0x20 != 0;
                (!is_fragment || port == MEDIA).then_some((is_fragment, port))
            },
            |received| {
                let mut in_flight = 0;
                for number in 0..flood {
                    wire.send(&first_fragment(number, 53));
                    in_flight += 1;
                    if number % AMONG == 0 {
                        wire.send(&first_fragment(number + flood, MEDIA));
                        wire.send(&datagram(4, 11, 5_000, 53, &[0; 32]));
                        in_flight += 1;
                    }
                    // No queue overflows: any loss is the filter's.
                    while in_flight > received.load(Ordering::Relaxed) + 1_000 {
                        thread::sleep(Duration::from_micros(200));
                    }
                }
                poll("all packets", || {
                    (received.load(Ordering::Relaxed) >= in_flight).then_some(())
                });
            },
        );
        let added = resident().saturating_sub(before);
        let evicted = wire.status()["evicted_fragments"].as_u64();
        println!("{added} KiB more, {evicted:?} forgotten");
        assert!(added <= 16 * 1_024, "{added} KiB");
        assert!(evicted > Some(u64::from(flood / 4)), "{evicted:?}");
        // Every legitimate datagram, and no media.
        assert_eq!(arrived.len(), (flood / AMONG) as usize);
        assert!(arrived.iter().all(|it| *it == (false, 53)));
        assert_eq!(wire.count("drop", "media"), u64::from(flood / AMONG));
    });
}
