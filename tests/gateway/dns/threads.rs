//! Several threads of the DNS server: a client meets one of them, and loses nothing by it.
//!
//! Each thread has a cache of its own. So the upstream is asked once for a name that a single client asks for, by whichever way and
//! port, and once by each thread for a name that all ask for: the test counts what it is asked.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;

use crate::names::{
    Client, NameServer, Upstream, addresses, free_address, hostile, policy, question,
    receive_framed, send_framed,
};
use crate::site::{DEADLINE, Daemon, in_nftables_sandbox};
use crate::support::{Folder, program, run};

use super::{Gate, ip};

/// The threads that a server has here.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |it| it.get().min(4))
}

/// An upstream that answers, and the number of questions that it was asked for each name.
fn counting() -> (Upstream, Arc<Mutex<HashMap<String, usize>>>) {
    let asked: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let counted = Arc::clone(&asked);
    let upstream = Upstream::start(move |asked| {
        let mut counts = counted.lock().expect("nobody panics with it");
        // A name is asked for under several types, each once.
        *counts
            .entry(format!("{} {}", asked.name(), asked.record_type()))
            .or_default() += 1;
        Some(asked.internal())
    });
    (upstream, asked)
}

/// Asks as `client` by UDP.
fn ask_by_udp(client: IpAddr, server: SocketAddr, name: &str) -> Message {
    let client = Client::from(client, server);
    client.send(&question(1, name, RecordType::A));
    client.receive().expect("an answer")
}

/// Opens a connection of `client`.
fn connect(client: IpAddr, server: SocketAddr) -> TcpStream {
    let stream = hostile::connect(client, server).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a duration");
    stream
}

/// Asks as `client` by TCP.
fn ask_by_tcp(client: IpAddr, server: SocketAddr, name: &str) -> Message {
    let mut stream = connect(client, server);
    let asked = question(1, name, RecordType::A);
    send_framed(&mut stream, &asked.to_vec().expect("a message")).expect("it reads");
    let answer = receive_framed(&mut stream).expect("an answer");
    Message::from_vec(&answer).expect("an answer")
}

#[test]
fn every_client_meets_one_thread_by_udp_and_tcp_over_ipv4_and_ipv6() {
    in_nftables_sandbox(&[], || {
        for number in 0..=24 {
            let address = format!("fd00:5::{number:x}/128");
            run(Command::new("ip").args(["address", "add", &address, "dev", "lo", "nodad"]))
                .success();
        }
        let (upstream, asked) = counting();
        let (socket, listener) = free_address();
        let v4 = socket.local_addr().expect("it is bound");
        drop((socket, listener));
        let v6 = SocketAddr::new(ip("fd00:5::"), v4.port());
        let folder = Folder::new("dns_threads");
        let text = policy(v4, &[upstream.address], "", "")
            .replace(
                "clients = [\"127.0.0.0/8\"]",
                "clients = [\"127.0.0.0/8\", \"fd00:5::/64\"]",
            )
            .replace(
                &format!("listen = [\"{v4}\"]"),
                &format!("listen = [\"{v4}\", \"{v6}\"]"),
            );
        let path = folder.write("policy.toml", text);
        let log = folder.path("dns.log");
        let mut daemon = Daemon::start_here("offramp dns", log, &mut program(&["dns", &path]));
        daemon.wait_for_log(&format!("DNS queries are answered at {v6}"));

        let clients_v4 = (1..=24).map(|number| (IpAddr::from([127, 0, 5, number]), v4));
        let clients_v6 = (1..=24).map(|number| (ip(&format!("fd00:5::{number:x}")), v6));
        let clients: Vec<_> = clients_v4.chain(clients_v6).collect();
        for (number, (client, server)) in clients.iter().enumerate() {
            let own = format!("own{number}.example");
            let family = if server.is_ipv4() { "v4" } else { "v6" };
            // The order of the ways changes.
            let ways = [ask_by_udp, ask_by_tcp];
            for turn in 0..6 {
                let ask = ways[(turn + number) % 2];
                for name in [&own, &format!("all-{family}.example")] {
                    let answer = ask(*client, *server, name);
                    assert_eq!(addresses(&answer), [ip("10.66.66.66")], "{client} {name}");
                }
            }
        }
        let asked = asked.lock().expect("nobody panics with it");
        for (name, times) in asked.iter() {
            let wanted = if name.starts_with("all") {
                threads()
            } else {
                1
            };
            assert_eq!(*times, wanted, "{name}: {asked:?}");
        }
        assert_eq!(asked.len(), clients.len() + 2);
        if threads() > 1 {
            daemon.wait_for_log(&format!("{} threads answer them", threads()));
        }
        assert!(daemon.terminate().success());
    });
}

#[test]
fn the_rate_of_a_client_is_that_of_all_its_ports_and_of_both_protocols() {
    let rate: usize = 50;
    let lines = format!("queries_per_second = {rate}");
    let upstream = Upstream::leaking();
    let server = NameServer::start_as("dns_threads_rate", &[&upstream], &lines, &[]);
    for number in 1..=4 {
        let greedy = IpAddr::from([127, 0, 6, number]);
        let start = Instant::now();
        let sockets: Vec<_> = (0..30)
            .map(|_| Client::from(greedy, server.address))
            .collect();
        let mut streams: Vec<_> = (0..10).map(|_| connect(greedy, server.address)).collect();
        let asked = question(1, "sip.contoso.com", RecordType::A);
        let bytes = asked.to_vec().expect("a message");
        for _ in 0..5 {
            for socket in &sockets {
                socket.send(&asked);
            }
            for stream in &mut streams {
                send_framed(stream, &bytes).expect("it reads");
            }
        }
        // Each connection is closed behind its last answer: all of them are there by then.
        let mut answers = 0;
        for stream in &mut streams {
            stream
                .shutdown(std::net::Shutdown::Write)
                .expect("it is open");
            while receive_framed(stream).is_ok() {
                answers += 1;
            }
        }
        // Another client is answered behind the datagrams, if it meets the same thread; some that do not are no harm.
        for other in 1..=8 {
            let other = IpAddr::from([127, 0, 7, other]);
            assert_eq!(
                ask_by_udp(other, server.address, "sip.contoso.com")
                    .answers
                    .len(),
                1
            );
        }
        for socket in &sockets {
            socket.0.set_nonblocking(true).expect("a socket");
            answers += std::iter::from_fn(|| socket.receive()).count();
        }
        let most = rate + (start.elapsed().as_secs_f64() * rate as f64).ceil() as usize;
        assert!(
            (1..=most).contains(&answers),
            "{greedy}: {answers} of 200, {most} are allowed"
        );
    }
}

#[test]
fn a_reload_loses_no_query_of_any_thread_and_every_thread_follows_it() {
    let gate = Gate::default();
    let held = gate.clone();
    let upstream = Upstream::start(move |asked| {
        held.wait();
        Some(asked.internal())
    });
    let mut server = NameServer::start("dns_threads_reload", &[&upstream]);
    let address = server.address;
    let of = move |number: u8| Client::from(Ipv4Addr::new(127, 0, 8, number).into(), address);
    let clients: Vec<Client> = (1..=32).map(of).collect();
    server.write_policy(
        "[[public]]\nname = \"Web\"\naddresses = [\"167.55.49.40\"]\nhosts = [\"www7.contoso.com\"]",
    );
    // The file is read once it has not changed for a moment: long enough for these queries to arrive first and wait.
    for client in &clients {
        client.send(&question(1, "www6.contoso.com", RecordType::A));
        client.send(&question(2, "www7.contoso.com", RecordType::A));
    }
    // Others are answered all the while.
    let over = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&over);
    let busy = std::thread::spawn(move || {
        let mut answered = 0;
        while !until.load(Ordering::SeqCst) {
            for number in 100..132 {
                let client = of(number);
                client.send(&question(3, "sip.contoso.com", RecordType::A));
                let answer = client.receive().expect("an answer");
                assert_eq!(addresses(&answer), [ip("167.55.49.32")]);
                answered += 1;
            }
        }
        answered
    });
    server.daemon.wait_for_log("reloaded: ");
    gate.open();
    for client in &clients {
        let mut answers: Vec<_> = (0..2)
            .map(|_| client.receive().expect("an answer"))
            .collect();
        answers.sort_by_key(|it| it.metadata.id);
        for (answer, expected) in answers.iter().zip(["10.66.66.66", "167.55.49.40"]) {
            assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
            assert_eq!(addresses(answer), [ip(expected)], "{answer}");
        }
    }
    // Every thread answers by the policy that is in force.
    for number in 200..232 {
        let client = Ipv4Addr::new(127, 0, 8, number).into();
        let answer = ask_by_udp(client, address, "www7.contoso.com");
        assert_eq!(addresses(&answer), [ip("167.55.49.40")], "{client}");
    }
    over.store(true, Ordering::SeqCst);
    assert!(busy.join().expect("everybody is answered") > 0);
    assert!(server.daemon.terminate().success());
}

#[test]
fn a_second_server_at_the_same_address_is_refused_while_the_first_answers() {
    let upstream = Upstream::leaking();
    let server = NameServer::start("dns_threads_second", &[&upstream]);
    let path = server.folder.path("policy.toml");
    let message = run(&mut program(&["dns", &path])).error(1);
    assert!(
        message.contains(&format!(
            "cannot answer DNS queries at {}: Address already in use",
            server.address
        )),
        "{message}"
    );
    assert!(
        message.contains("another program answers there"),
        "{message}"
    );
    for number in 1..=8 {
        let client = IpAddr::from([127, 0, 9, number]);
        let answer = ask_by_udp(client, server.address, "sip.contoso.com");
        assert_eq!(addresses(&answer), [ip("167.55.49.32")]);
    }
}
