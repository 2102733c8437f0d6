//! Clients of the DNS server beside one that asks for the largest answers that it may, and that no cache keeps.
//!
//! Figures are those of `cargo bench --bench victim`. Here time is counted in answers of the attacker: however busy the machine is,
//! others get many in the time that one of its answers takes.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use crate::names::hostile::{connect, framed, long_name, query, receive, start_hostile_upstream};
use crate::names::{Client, NameServer, Upstream, question};
use crate::site::DEADLINE;

/// Questions that the attacker has on their way at any time.
const AT_A_TIME: u32 = 4;
/// Answers of the attacker within which others are counted.
const LARGE: usize = 8;
/// Answers that others get together, at least, in the time of each of them.
const RATIO: usize = 20;
/// More than any machine takes.
const PATIENCE: Duration = Duration::from_secs(100);

#[test]
fn others_get_many_answers_in_the_time_of_one_of_64_kib() {
    let upstream = Upstream {
        address: start_hostile_upstream(),
    };
    let server = NameServer::start("dns_victim", &[&upstream]);
    let address = server.address;
    // Clients of every thread: some of them meet that of the attacker.
    let clients: Vec<(u8, Client)> = (2..=9)
        .map(|number| {
            (
                number,
                Client::from(IpAddr::from([127, 0, 4, number]), address),
            )
        })
        .collect();
    let large = Arc::new(AtomicUsize::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let attacker = {
        let (large, is_over) = (Arc::clone(&large), Arc::clone(&is_over));
        thread::spawn(move || attack(address, &large, &is_over))
    };
    let start = Instant::now();
    // From the first answer on there are always more that wait.
    while large.load(Ordering::SeqCst) == 0 {
        assert!(start.elapsed() < PATIENCE && !attacker.is_finished());
        thread::yield_now();
    }
    let before = large.load(Ordering::SeqCst);
    let mut answers = 0;
    while large.load(Ordering::SeqCst) < before + LARGE {
        assert!(start.elapsed() < PATIENCE && !attacker.is_finished());
        for (number, client) in &clients {
            // One that needs no upstream, and one that is asked for.
            for name in ["sip.contoso.com", &format!("q{number}-{answers}.example")] {
                client.send(&question(1, name, RecordType::A));
                let answer = client.receive().expect("an answer");
                assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
                answers += 1;
            }
        }
    }
    let large = large.load(Ordering::SeqCst) - before;
    println!("{answers} answers beside {large} of 64 KiB");
    assert!(
        answers >= RATIO * large,
        "{answers} answers to others, {large} of 64 KiB meanwhile"
    );
    is_over.store(true, Ordering::SeqCst);
    attacker.join().expect("the attacker is answered");
}

/// Has some questions for large answers on their way until it is over, and counts the answers.
fn attack(server: SocketAddr, large: &AtomicUsize, is_over: &AtomicBool) {
    let mut stream = connect([127, 0, 4, 1].into(), server).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a duration");
    stream
        .set_write_timeout(Some(DEADLINE))
        .expect("a duration");
    let mut buffer = vec![0; 65_535];
    for number in 0.. {
        let question = query(1, &long_name(number));
        stream.write_all(&framed(&question)).expect("it reads");
        if number + 1 < AT_A_TIME {
            continue;
        }
        if is_over.load(Ordering::SeqCst) {
            return;
        }
        if receive(&mut stream, &mut buffer).expect("an answer") > 60_000 {
            large.fetch_add(1, Ordering::SeqCst);
        }
    }
}
