//! Time to read a policy of a million prefixes, right and with one mistake.
//!
//! A plain loop: one reading takes a third of a second, and what matters is whether a reload takes seconds.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Instant;

use offramp::policy::{self, Style};

const PREFIXES: u32 = 1_000_000;

fn main() {
    let mut text =
        String::from("[vpn]\nclient_subnets = [\"172.16.0.0/12\"]\n[corporate]\nsubnets = [\n");
    for number in 0..PREFIXES {
        let address = Ipv4Addr::from(0x0a00_0000 + number * 4);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    \"{address}/30\",");
    }
    text.push_str("]\n");
    let cases = [
        ("right", text.clone()),
        (
            "host bits in one prefix",
            text.replace("10.0.0.8/30", "10.0.0.9/30"),
        ),
        (
            "one forgotten quote",
            text.replace("\"10.0.0.8/30", "10.0.0.8/30"),
        ),
    ];
    println!("{PREFIXES} prefixes, {} bytes", text.len());
    for (name, text) in &cases {
        let mut times: Vec<_> = (0..3).map(|_| time(text.as_bytes())).collect();
        times.sort();
        println!("{name}: {:?} (median of 3)", times[1]);
    }
}

fn time(text: &[u8]) -> std::time::Duration {
    let start = Instant::now();
    let result = policy::parse("million.toml", text);
    let drawn = match &result {
        Ok((_, warnings)) => warnings.render(Style::Plain),
        Err(errors) => errors.render(Style::Plain),
    };
    let elapsed = start.elapsed();
    assert!(
        !drawn.is_empty(),
        "a million prefixes earn at least a warning"
    );
    elapsed
}
