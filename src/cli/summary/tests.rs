use std::time::Duration;

use super::*;
use crate::audit::Audit;
use crate::audit::testing::{tcp, udp};
use crate::filter::{Capacity, CompiledPolicy, Generation, Judge};
use crate::packet::{PacketView, Received};

const POLICY: &str = r#"[vpn]
client_subnets = ["172.16.1.0/24"]
[corporate]
subnets = ["10.0.0.0/8"]
[[server]]
name = "Front End pool"
addresses = ["10.1.0.10"]
[[public]]
name = "Access Edge"
addresses = ["167.55.49.32"]
"#;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

fn report(packets: &[Vec<u8>]) -> Report {
    let (policy, _) =
        crate::policy::parse("policy.toml", POLICY.as_bytes()).expect("the policy is in order");
    let policy = CompiledPolicy::new(policy, Generation(1)).expect("the policy is small");
    let mut judge = Judge::new(Capacity::of(4));
    let mut audit = Audit::new();
    for packet in packets {
        let verdict = judge.judge_one(&policy, Received::whole(packet, Duration::ZERO));
        audit.record(verdict, PacketView::parse(packet), packet.len());
    }
    audit.skip();
    audit.report(&policy)
}

fn mixed() -> Report {
    let rtp = [0x80; 172];
    let mut packets = vec![
        tcp("172.16.1.5:50000", "10.0.0.9:443", ACK, b"GET /"),
        tcp("172.16.1.5:50001", "10.1.0.10:5061", SYN, b""),
        tcp("172.16.1.5:50002", "167.55.49.32:443", SYN, b""),
        tcp("172.16.1.5:50003", "10.0.0.2:135", ACK, b"map"),
        tcp("172.16.1.5:50004", "10.0.0.2:49670", SYN, b""),
        tcp("172.16.1.5:50004", "10.0.0.2:49670", ACK, b"bind"),
        tcp("172.16.1.7:3389", "10.4.0.20:50123", ACK, b"screen"),
        tcp("172.16.1.5:50005", "172.16.1.6:5900", SYN, b""),
        tcp("172.16.1.5:50006", "10.0.0.77:7001", ACK, b"?"),
        udp("172.16.1.5:50040", "10.0.0.9:3478", &[0; 4]),
    ];
    for host in 1..=6 {
        let to = format!("10.9.0.{host}:3389");
        packets.extend(vec![tcp("172.16.1.5:50007", &to, ACK, b"keys"); 8 - host]);
    }
    packets.extend(vec![udp("172.16.1.5:50020", "10.0.0.77:24000", &rtp); 100]);
    packets.extend(vec![udp("172.16.1.5:50020", "172.16.1.6:24000", &rtp); 50]);
    report(&packets)
}

#[test]
fn a_summary_tells_what_breaks_and_what_keeps_it() {
    insta::assert_snapshot!(render(&mixed(), None, None, &TextOptions::default()));
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let report = mixed();
    for width in [60, 80, 120] {
        let options = TextOptions {
            width,
            ..TextOptions::default()
        };
        let text = render(&report, None, None, &options);
        // The policy entries are for the clipboard; they are drawn as they will stand in the file.
        let (tables, _) = text.split_once("To keep").expect("there are suggestions");
        let widest = tables.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(usize::from(width)), "{width}:\n{text}");
    }
}

#[test]
fn colors_come_only_when_asked_for() {
    let report = mixed();
    let plain = render(&report, None, None, &TextOptions::default());
    assert!(!plain.contains('\u{1b}'));
    let options = TextOptions {
        style: Style::Colored,
        ..TextOptions::default()
    };
    let colored = render(&report, None, None, &options);
    assert!(colored.contains('\u{1b}'));
    let mut stripped = String::new();
    for part in colored.split('\u{1b}') {
        stripped += match part.strip_prefix('[').and_then(|part| part.split_once('m')) {
            Some((_, text)) => text,
            None => part,
        };
    }
    assert_eq!(stripped, plain);
}

#[test]
fn traffic_that_all_passes_is_one_sentence_and_its_verdicts() {
    let web = tcp("172.16.1.5:50000", "10.0.0.9:443", ACK, b"");
    let text = render(
        &report(&[web.clone(), web]),
        None,
        None,
        &TextOptions::default(),
    );
    assert!(text.starts_with("All 2 packets would pass.\n"), "{text}");
    assert!(!text.contains("cut off"), "{text}");
    let nothing = render(&report(&[]), None, None, &TextOptions::default());
    assert!(
        nothing.starts_with("No IP packet was judged.\n"),
        "{nothing}"
    );
}
