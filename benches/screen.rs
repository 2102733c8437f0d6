//! The cost of screening large answers of an upstream, as a hostile domain makes them.
//!
//! `cargo bench --bench screen`. Each answer fills a message of DNS over TCP with addresses. Owners are the long name that was
//! asked for, or names of their own below it; in the third the name is an alias of a pinned name, so that the answer is rebuilt; in the
//! last, records of a pinned name stand among the others.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use offramp::dns::{Incoming, Upstream, screen};
use offramp::plan::zones::Zones;

/// Bytes of a message by TCP.
const LIMIT: usize = 65_535;
/// Offset of the question's name.
const QUESTION: [u8; 2] = [0xc0, 12];

/// A name of 120 labels.
fn long_name() -> Vec<u8> {
    let mut name = b"\x01a".repeat(120);
    name.extend_from_slice(b"\x07example\x00");
    name
}

/// The header and the question of a message with this many answers.
fn head(answers: u16, flags: u16, name: &[u8]) -> Vec<u8> {
    let mut message = vec![0, 0];
    for half in [flags, 1, answers, 0, 0] {
        message.extend_from_slice(&half.to_be_bytes());
    }
    message.extend_from_slice(name);
    message.extend_from_slice(&[0, 1, 0, 1]);
    message
}

/// Answers with `owner(number)` and an address each, as many as a message takes, behind `first`.
fn answer(first: Option<&[u8]>, owner: impl Fn(u16) -> Vec<u8>) -> Vec<u8> {
    let name = long_name();
    let mut records = first.unwrap_or_default().to_vec();
    let mut count = u16::from(first.is_some());
    loop {
        let mut record = owner(count);
        record.extend_from_slice(&[0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
        if 12 + name.len() + 4 + records.len() + record.len() > LIMIT {
            break;
        }
        records.extend_from_slice(&record);
        count += 1;
    }
    [head(count, 0x8180, &name), records].concat()
}

fn main() {
    let text = "[vpn]\nclient_subnets = [\"172.16.0.0/16\"]\n\
                [[public]]\nname = \"edge\"\naddresses = [\"167.55.49.32\"]\nhosts = [\"sip.contoso.com\"]\n";
    let (policy, _) = offramp::policy::parse("bench.toml", text.as_bytes()).expect("in order");
    let zones = Zones::of(&policy);
    let query = head(0, 0x0100, &long_name());
    let Incoming::Ask(asked) = Incoming::read(&query) else {
        panic!("the question is in order");
    };
    let asked = Upstream::of(&asked);
    let own = |number: u16| {
        let text = format!("{number:04x}");
        let mut owner = vec![4];
        owner.extend_from_slice(text.as_bytes());
        // The long name without its first three labels.
        owner.extend_from_slice(&[0xc0, 18]);
        owner
    };
    let pinned = b"\x03sip\x07contoso\x03com\x00";
    let mut alias = [&QUESTION[..], &[0, 5, 0, 1, 0, 0, 0, 60, 0, 17]].concat();
    alias.extend_from_slice(pinned);
    let mut address = pinned.to_vec();
    address.extend_from_slice(&[0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 1, 0, 30]);
    let answers = [
        ("one owner", answer(None, |_| QUESTION.to_vec())),
        ("many owners", answer(None, own)),
        ("an alias of a pinned name", answer(Some(&alias), own)),
        ("records of a pinned name", answer(Some(&address), own)),
    ];
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("screen");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    for (name, message) in answers {
        group.throughput(Throughput::Bytes(message.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| screen(black_box(&message), &asked, &zones));
        });
    }
    group.finish();
    criterion.final_summary();
}
