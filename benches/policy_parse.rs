//! The time to read a policy of a million prefixes, correct and with one mistake.
//!
//! A plain loop: one read takes a third of a second, and the question is only whether a reload takes seconds.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Instant;

use offramp::policy::{self, Style};

fn main() {
    // Without it, this is a test that the benchmark works.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let (prefixes, readings) = if is_bench { (1_000_000, 3) } else { (1_000, 1) };
    let mut text =
        String::from("[vpn]\nclient_subnets = [\"172.16.0.0/12\"]\n[corporate]\nsubnets = [\n");
    for number in 0..prefixes {
        let address = Ipv4Addr::from(0x0a00_0000_u32 + number * 4);
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
    println!("{prefixes} prefixes, {} bytes", text.len());
    for (name, text) in &cases {
        let mut times: Vec<_> = (0..readings).map(|_| time(text.as_bytes())).collect();
        times.sort();
        println!("{name}: {:?} (median of {readings})", times[readings / 2]);
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
        "so many prefixes earn at least a warning"
    );
    elapsed
}
