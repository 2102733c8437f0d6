//! `offramp dns`, and the same server inside `offramp run`: answers to clients, whatever upstreams and attackers send.

mod service;
mod threads;
mod victim;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::names::{
    Client, NameServer, Upstream, addresses, free_address, internal, policy, question,
    receive_framed, send_framed,
};
use crate::site::{DEADLINE, Daemon};
use crate::support::{Folder, is_installed, program, run};

/// The article's Tables 2, 3 and 4.
const PUBLIC: &[(&str, &str)] = &[
    ("sip.contoso.com", "167.55.49.32"),
    ("web.contoso.com", "167.55.49.33"),
    ("av.contoso.com", "167.55.49.34"),
    ("meet.contoso.com", "167.55.49.35"),
    ("dialin.contoso.com", "167.55.49.35"),
    ("webext.contoso.com", "167.55.49.35"),
    ("lyncdiscover.contoso.com", "167.55.49.35"),
    ("autodiscover.contoso.com", "167.55.49.36"),
    ("owa.contoso.com", "167.55.49.36"),
];

/// Records that lead to the internal servers.
const HIDDEN: &[&str] = &[
    "lyncdiscoverinternal.contoso.com",
    "sipinternal.contoso.com",
    "_sipinternaltls._tcp.contoso.com",
    "_sipinternal._tcp.contoso.com",
    "pool01.contoso.com",
    "edgeint.contoso.com",
];

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Returns the output of `dig`.
#[track_caller]
fn dig(server: &NameServer, arguments: &[&str]) -> String {
    let port = server.address.port().to_string();
    let mut command = Command::new("dig");
    command
        .args(["-r", "@127.0.0.1", "-p", &port, "+tries=1", "+time=10"])
        .args(arguments);
    run(&mut command).success()
}

#[test]
fn the_articles_tables_are_answered_by_udp_and_tcp_as_dig_asks() {
    if !is_installed("dig") {
        return;
    }
    let upstream = Upstream::leaking();
    let server = NameServer::start("dns_tables", &[&upstream]);
    for way in ["+notcp", "+tcp"] {
        // One run for all questions: `dig` takes a moment to start.
        let mut arguments = vec![way, "+short"];
        arguments.extend(PUBLIC.iter().map(|(name, _)| *name));
        arguments.extend(["_sip._tls.contoso.com", "SRV", "www.contoso.com", "A"]);
        let mut expected: Vec<_> = PUBLIC.iter().map(|(_, address)| *address).collect();
        expected.extend(["0 0 443 sip.contoso.com.", "10.66.66.66"]);
        let told = dig(&server, &arguments);
        assert_eq!(told.lines().collect::<Vec<_>>(), expected, "{way}");

        for (name, _) in PUBLIC {
            for record_type in ["AAAA", "TYPE65", "TYPE64", "MX"] {
                let told = dig(
                    &server,
                    &[way, "+noall", "+comments", "+answer", name, record_type],
                );
                assert!(told.contains("status: NOERROR"), "{told}");
                assert!(told.contains("ANSWER: 0"), "{name} {record_type}: {told}");
            }
            if way == "+tcp" {
                break;
            }
        }
        for name in HIDDEN {
            let told = dig(
                &server,
                &[way, "+noall", "+comments", "+authority", name, "ANY"],
            );
            assert!(told.contains("status: NXDOMAIN"), "{name}: {told}");
            assert!(told.contains("SOA"), "{name}: {told}");
        }
    }
    let told = dig(&server, &["+noall", "+comments", "SiP.ConToso.Com"]);
    assert!(told.contains("flags: qr aa rd ra;"), "{told}");
    assert!(told.contains("udp: 1232"), "{told}");
    let told = dig(
        &server,
        &[
            "+noall",
            "+comments",
            "+edns=1",
            "+noednsneg",
            "sip.contoso.com",
        ],
    );
    assert!(told.contains("status: BADVERS"), "{told}");
    let told = dig(
        &server,
        &["+noall", "+comments", "-c", "CH", "version.bind", "TXT"],
    );
    assert!(told.contains("status: REFUSED"), "{told}");
}

#[test]
fn a_resolver_library_finds_the_public_addresses() {
    use hickory_resolver::TokioResolver;
    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;

    let upstream = Upstream::leaking();
    let server = NameServer::start("dns_library", &[&upstream]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        for mut connection in [ConnectionConfig::udp(), ConnectionConfig::tcp()] {
            connection.port = server.address.port();
            let name_server = NameServerConfig::new(server.address.ip(), true, vec![connection]);
            let config = ResolverConfig::from_parts(None, vec![], vec![name_server]);
            let resolver =
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
                    .build()
                    .expect("a resolver");
            for (name, address) in PUBLIC {
                let found = resolver.lookup_ip(format!("{name}.")).await;
                let found: Vec<_> = found.expect("an address").iter().collect();
                assert_eq!(found, [ip(address)], "{name}");
            }
            for name in HIDDEN {
                let found = resolver.lookup_ip(format!("{name}.")).await;
                assert!(found.is_err_and(|error| error.is_nx_domain()), "{name}");
            }
        }
    });
}

#[test]
fn no_internal_address_of_a_pinned_or_hidden_name_gets_through_the_sockets() {
    let owned: HashSet<String> = PUBLIC
        .iter()
        .map(|(name, _)| *name)
        .chain(HIDDEN.iter().copied())
        .map(|name| format!("{name}."))
        .collect();
    let all: Vec<_> = owned.iter().cloned().collect();
    // The upstream answers with aliases of every pinned or hidden name, and their internal addresses in every section.
    let upstream = Upstream::start(move |asked| {
        let number = usize::from(asked.question.metadata.id);
        let target = Name::from_ascii(&all[number % all.len()]).expect("a name");
        let alias = RData::CNAME(CNAME(target.clone()));
        let owner = asked.question.queries[0].name().clone();
        let record_type = asked.record_type();
        let mut message = asked.answer(vec![
            Record::from_rdata(owner, 300, alias),
            internal(target.clone(), record_type),
        ]);
        message
            .authorities
            .push(internal(target.clone(), RecordType::A));
        message.additionals.push(internal(target, RecordType::AAAA));
        Some(message)
    });
    let server = NameServer::start("dns_leaks", &[&upstream]);
    let client = Client::of(server.address);
    let types = [
        RecordType::A,
        RecordType::AAAA,
        RecordType::HTTPS,
        RecordType::SRV,
    ];
    let mut answers = 0;
    for round in 0..100_u16 {
        let mut asked = 0;
        for at in 0..10 {
            let name = match at % 3 {
                0 => PUBLIC[usize::from(round + at) % PUBLIC.len()].0.to_owned(),
                1 => HIDDEN[usize::from(round + at) % HIDDEN.len()].to_owned(),
                _ => format!("alias{round}-{at}.contoso.com"),
            };
            let record_type = types[usize::from(round * 7 + at) % types.len()];
            client.send(&question(round * 10 + at, &name, record_type));
            asked += 1;
        }
        for _ in 0..asked {
            let answer = client.receive().expect("every question is answered");
            answers += 1;
            let records = answer.all_sections();
            for record in records.filter(|it| owned.contains(&it.name.to_ascii().to_lowercase())) {
                match &record.data {
                    RData::A(address) => assert!(
                        address.0.octets().starts_with(&[167, 55, 49]),
                        "{record} in {answer}"
                    ),
                    RData::SOA(_) => {}
                    other => panic!("{other:?} of a name that is ours in {answer}"),
                }
            }
        }
    }
    assert_eq!(answers, 1_000);
}

#[test]
fn what_others_send_in_place_of_the_upstream_is_not_believed() {
    let upstream = Upstream::start(|asked| {
        let good = asked.internal();
        let forged = |change: &dyn Fn(&mut Message)| {
            let mut message = asked.answer(vec![Record::from_rdata(
                asked.question.queries[0].name().clone(),
                300,
                RData::A(Ipv4Addr::new(203, 0, 113, 66).into()),
            )]);
            change(&mut message);
            message.to_vec().expect("a message")
        };
        // From the right address: with another id, another question, as a query, and garbage.
        for guess in 1..200_u16 {
            asked.send_before(&forged(&|it| {
                it.metadata.id = it.metadata.id.wrapping_add(guess)
            }));
        }
        asked.send_before(&forged(&|it| {
            it.queries[0].name = Name::from_ascii("www.contoso.org.").expect("a name");
        }));
        asked.send_before(&forged(&|it| it.queries[0].query_type = RecordType::TXT));
        asked.send_before(&forged(&|it| {
            it.metadata.message_type = hickory_proto::op::MessageType::Query;
        }));
        asked.send_before(b"garbage");
        // Correct in all fields, but from another port.
        let unrelated = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        unrelated
            .send_to(&forged(&|_| {}), asked.from)
            .expect("loopback");
        Some(good)
    });
    let server = NameServer::start("dns_spoofed", &[&upstream]);
    for number in 0..10 {
        let answer = server.ask(&format!("www{number}.contoso.com"), RecordType::A);
        assert_eq!(addresses(&answer), [ip("10.66.66.66")], "{answer}");
    }
}

#[test]
fn every_question_to_an_upstream_has_a_port_and_an_id_of_its_own() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let upstream = Upstream::start(move |asked| {
        let mut log = log.lock().expect("nobody panics with it");
        log.push((asked.from.port(), asked.question.metadata.id));
        Some(asked.internal())
    });
    let server = NameServer::start("dns_ports", &[&upstream]);
    for number in 0..64 {
        server.ask(&format!("www{number}.contoso.com"), RecordType::A);
    }
    let seen = seen.lock().expect("nobody panics with it");
    let ports: HashSet<_> = seen.iter().map(|(port, _)| port).collect();
    let ids: HashSet<_> = seen.iter().map(|(_, id)| id).collect();
    // Drawn at random: some may coincide by chance, and none follows from the one before.
    assert!(ports.len() > 55 && ids.len() > 55, "{seen:?}");
    let steps: HashSet<_> = seen
        .windows(2)
        .map(|two| two[1].0.wrapping_sub(two[0].0))
        .collect();
    assert!(steps.len() > 50, "{seen:?}");
}

#[test]
fn one_question_is_asked_for_all_who_wait_for_the_same() {
    let gate = Gate::default();
    let held = gate.clone();
    let count = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&count);
    let upstream = Upstream::start(move |asked| {
        *counted.lock().expect("nobody panics with it") += 1;
        held.wait();
        Some(asked.internal())
    });
    let server = NameServer::start("dns_same", &[&upstream]);
    let clients: Vec<_> = (0..20).map(|_| Client::of(server.address)).collect();
    for (id, client) in clients.iter().enumerate() {
        client.send(&question(id as u16, "www.contoso.com", RecordType::A));
    }
    // Answered after those in the same queue.
    server.ask("sip.contoso.com", RecordType::A);
    gate.open();
    for (id, client) in clients.iter().enumerate() {
        let answer = client.receive().expect("an answer");
        assert_eq!(usize::from(answer.metadata.id), id);
        assert_eq!(addresses(&answer), [ip("10.66.66.66")]);
    }
    // At most the retransmission of a datagram taken for lost in the meantime.
    assert!(*count.lock().expect("nobody panics with it") <= 2);
    server.ask("WWW.contoso.com", RecordType::A);
    assert!(
        *count.lock().expect("nobody panics with it") <= 2,
        "from the cache"
    );
}

#[test]
fn the_next_upstream_is_asked_when_one_is_silent_refuses_or_talks_nonsense() {
    let silent = Upstream::silent();
    let refusing = Upstream::start(|asked| Some(asked.code(ResponseCode::Refused)));
    let garbage = Upstream::start(|asked| {
        asked.send_before(b"\x00\x01garbage");
        None
    });
    let good = Upstream::leaking();
    for (name, first) in [
        ("dns_silent", &silent),
        ("dns_refusing", &refusing),
        ("dns_garbage", &garbage),
    ] {
        let server = NameServer::start(name, &[first, &good]);
        let answer = server.ask("www.contoso.com", RecordType::A);
        assert_eq!(addresses(&answer), [ip("10.66.66.66")], "{name}");
    }
}

#[test]
fn without_an_upstream_that_answers_names_of_the_policy_are_answered_all_the_same() {
    let silent = Upstream::silent();
    let server = NameServer::start("dns_dead", &[&silent]);
    let waiting = Client::of(server.address);
    waiting.send(&question(7, "www.contoso.com", RecordType::A));
    // Not after it.
    let answer = server.ask("sip.contoso.com", RecordType::A);
    assert_eq!(addresses(&answer), [ip("167.55.49.32")]);
    let answer = waiting.receive().expect("an answer");
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(answer.metadata.id, 7);
}

#[test]
fn an_answer_that_is_cut_is_asked_for_by_tcp_and_old_servers_without_edns() {
    let upstream = Upstream::start(|asked| {
        if asked.question.edns.is_some() {
            return Some(asked.code(ResponseCode::FormErr));
        }
        if !asked.by_tcp() {
            let mut cut = asked.code(ResponseCode::NoError);
            cut.metadata.truncation = true;
            return Some(cut);
        }
        let name = asked.question.queries[0].name().clone();
        let many = vec![internal(name, RecordType::A); 100];
        Some(asked.answer(many))
    });
    let server = NameServer::start("dns_cut", &[&upstream]);
    let cut = server.ask("www.contoso.com", RecordType::A);
    assert!(cut.metadata.truncation && cut.answers.is_empty(), "{cut}");
    let mut stream = TcpStream::connect(server.address).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a duration");
    let asked = question(9, "www.contoso.com", RecordType::A);
    send_framed(&mut stream, &asked.to_vec().expect("a message")).expect("it reads");
    let answer = receive_framed(&mut stream).expect("an answer");
    let answer = Message::from_vec(&answer).expect("an answer");
    assert_eq!(answer.answers.len(), 100);
}

#[test]
fn questions_of_one_connection_are_answered_as_the_answers_come() {
    let gate = Gate::default();
    let held = gate.clone();
    let upstream = Upstream::start(move |asked| {
        held.wait();
        Some(asked.internal())
    });
    let server = NameServer::start("dns_pipelined", &[&upstream]);
    let mut stream = TcpStream::connect(server.address).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a duration");
    for (id, name) in [(1, "www.contoso.com"), (2, "sip.contoso.com")] {
        let asked = question(id, name, RecordType::A);
        send_framed(&mut stream, &asked.to_vec().expect("a message")).expect("it reads");
    }
    let id = |stream: &mut TcpStream| {
        let answer = receive_framed(stream).expect("an answer");
        Message::from_vec(&answer).expect("an answer").metadata.id
    };
    assert_eq!(id(&mut stream), 2, "it needs no upstream");
    gate.open();
    assert_eq!(id(&mut stream), 1);
}

#[test]
fn a_byte_a_second_is_no_question_for_long() {
    let upstream = Upstream::leaking();
    let server = NameServer::start("dns_slow", &[&upstream]);
    let mut stream = TcpStream::connect(server.address).expect("it listens");
    let second = Some(Duration::from_secs(1));
    stream.set_read_timeout(second).expect("a duration");
    let asked = question(1, "sip.contoso.com", RecordType::A).to_vec();
    let mut framed = Vec::new();
    send_framed(&mut framed, &asked.expect("a message")).expect("into memory");
    let mut sent = 0;
    for byte in &framed {
        if stream.write_all(&[*byte]).is_err() || matches!(stream.read(&mut [0]), Ok(0)) {
            break;
        }
        sent += 1;
        // A client that queries normally is answered meanwhile.
        assert_eq!(
            server.ask("sip.contoso.com", RecordType::A).answers.len(),
            1
        );
    }
    assert!(
        (5..framed.len()).contains(&sent),
        "{sent} of {} bytes",
        framed.len()
    );
}

#[test]
fn strangers_are_refused_and_responses_are_not_answered() {
    let upstream = Upstream::leaking();
    let lines = "";
    let server = NameServer::start_as("dns_strangers", &[&upstream], lines, &[]);
    // A response, an echo of garbage, and a query that the loop itself made.
    let client = Client::of(server.address);
    let mut response = question(1, "sip.contoso.com", RecordType::A);
    response.metadata.message_type = hickory_proto::op::MessageType::Response;
    client.send(&response);
    client.0.send(b"\x00\x01\x80").expect("loopback");
    client.0.send(&[0xFF; 600]).expect("loopback");
    client.send(&question(2, "sip.contoso.com", RecordType::A));
    // There is one queue: earlier datagrams would have been answered earlier.
    assert_eq!(client.receive().expect("an answer").metadata.id, 2);
}

#[test]
fn who_is_no_client_of_the_vpn_is_refused() {
    let upstream = Upstream::leaking();
    let folder = Folder::new("dns_clients");
    let (socket, listener) = free_address();
    let address = socket.local_addr().expect("it is bound");
    drop((socket, listener));
    let text = policy(address, &[upstream.address], "", "");
    let text = text.replace(
        "clients = [\"127.0.0.0/8\"]",
        "clients = [\"127.0.7.0/24\"]",
    );
    let path = folder.write("policy.toml", text);
    let log = folder.path("dns.log");
    let mut daemon = Daemon::start_here("offramp dns", log, &mut program(&["dns", &path]));
    daemon.wait_for_log("DNS queries are answered at");
    for (own, code) in [
        ("127.0.7.7", ResponseCode::NoError),
        ("127.0.8.7", ResponseCode::Refused),
    ] {
        let client = Client::from(ip(own), address);
        client.send(&question(1, "sip.contoso.com", RecordType::A));
        let answer = client.receive().expect("an answer");
        assert_eq!(answer.metadata.response_code, code, "{own}");
        assert_eq!(
            answer.answers.len(),
            usize::from(code == ResponseCode::NoError)
        );
    }
}

#[test]
fn a_client_that_asks_too_much_is_left_waiting_and_others_are_not() {
    let upstream = Upstream::leaking();
    let lines = "queries_per_second = 1";
    let server = NameServer::start_as("dns_rate", &[&upstream], lines, &[]);
    let (greedy, other) = (ip("127.0.0.2"), ip("127.0.0.3"));
    let greedy = Client::from(greedy, server.address);
    for id in 0..30 {
        greedy.send(&question(id, "sip.contoso.com", RecordType::A));
    }
    let other = Client::from(other, server.address);
    other.send(&question(1, "sip.contoso.com", RecordType::A));
    assert_eq!(
        addresses(&other.receive().expect("an answer")),
        [ip("167.55.49.32")]
    );
    // Any answer is there by then.
    greedy.0.set_nonblocking(true).expect("a socket");
    let answers = std::iter::from_fn(|| greedy.receive()).count();
    assert!((1..30).contains(&answers), "{answers}");
}

/// A gate that blocks its callers until it is opened.
#[derive(Debug, Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn wait(&self) {
        let (open, opened) = &*self.0;
        let guard = open.lock().expect("nobody panics with it");
        let waited = opened.wait_timeout_while(guard, DEADLINE, |open| !*open);
        drop(waited.expect("nobody panics with it"));
    }

    fn open(&self) {
        let (open, opened) = &*self.0;
        *open.lock().expect("nobody panics with it") = true;
        opened.notify_all();
    }
}
