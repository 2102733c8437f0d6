//! The company's DNS server: it answers every query with an internal address.

use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::thread;

use offramp::name::DnsName;

use crate::site::Host;

/// The addresses of every name.
const V4: Ipv4Addr = Ipv4Addr::new(10, 66, 66, 66);
const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x66, 0, 0, 0, 0, 0, 0x66);

/// Names with this prefix are aliases of the rest.
pub(super) const ALIAS: &str = "alias-of-";

/// Starts it in `host`, at port 53 of `address`; it ends with the test.
pub(super) fn start(host: &Host, address: &str) {
    let socket = host
        .enter(|| UdpSocket::bind((address, 53)))
        .expect("nobody else is at this address");
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            if let Some(reply) = reply(&buffer[..length]) {
                // A client that has disconnected needs none.
                _ = socket.send_to(&reply, client);
            }
        }
    });
}

/// Returns the reply to a query with one question (RFC 1035 §4.1).
fn reply(query: &[u8]) -> Option<Vec<u8>> {
    let question = query.get(12..)?;
    let name_length = question.iter().position(|&byte| byte == 0)? + 1;
    let name = DnsName::from_wire(&question[..name_length]).ok()?;
    let question = question.get(..name_length + 4)?;
    let record_type = u16::from_be_bytes([question[name_length], question[name_length + 1]]);

    let text = name.to_string();
    let (first, domain) = text.split_once('.').unwrap_or((&text, ""));
    let mut answers = Vec::new();
    let mut beside = Vec::new();
    let missing = first == "missing";
    if let Some(target) = first.strip_prefix(ALIAS) {
        let target: DnsName = format!("{target}.{domain}").parse().ok()?;
        answers.push(record(&name, CNAME, target.wire()));
        answers.extend(data(record_type).map(|data| record(&target, record_type, &data)));
    } else if !missing {
        answers.extend(data(record_type).map(|data| record(&name, record_type, &data)));
    }
    if matches!(record_type, SRV | MX) && !missing {
        for beside_name in ["sip.contoso.com", "pool01.contoso.com"] {
            let owner: DnsName = beside_name.parse().ok()?;
            for record_type in [A, AAAA] {
                beside.extend(data(record_type).map(|data| record(&owner, record_type, &data)));
            }
        }
    }
    let mut reply = query[..2].to_vec();
    // A response, authoritative, recursion desired and available; NXDOMAIN is 3.
    reply.extend([0x85, if missing { 0x83 } else { 0x80 }]);
    for count in [1, answers.len(), 0, beside.len()] {
        reply.extend(u16::try_from(count).ok()?.to_be_bytes());
    }
    reply.extend(question);
    answers
        .iter()
        .chain(&beside)
        .for_each(|record| reply.extend(record));
    Some(reply)
}

fn record(owner: &DnsName, record_type: u16, data: &[u8]) -> Vec<u8> {
    let mut record = owner.wire().to_vec();
    record.extend(record_type.to_be_bytes());
    record.extend(1u16.to_be_bytes());
    record.extend(300u32.to_be_bytes());
    record.extend(
        u16::try_from(data.len())
            .expect("little data")
            .to_be_bytes(),
    );
    record.extend(data);
    record
}

/// Returns the data of this type for every name.
fn data(record_type: u16) -> Option<Vec<u8>> {
    let name = |text: &str| -> DnsName { text.parse().expect("a name") };
    Some(match record_type {
        A => V4.octets().to_vec(),
        AAAA => V6.octets().to_vec(),
        // RFC 9460 §2.2: priority, target, and the parameters 4 and 6, the address hints.
        HTTPS | SVCB => [
            &[0, 1, 0, 0, 4, 0, 4][..],
            &V4.octets(),
            &[0, 6, 0, 16],
            &V6.octets(),
        ]
        .concat(),
        SRV => [&[0, 0, 0, 0, 0x13, 0xc5], name("pool01.contoso.com").wire()].concat(),
        MX => [&[0, 10], name("sip.contoso.com").wire()].concat(),
        TXT => b"\x08internal".to_vec(),
        _ => return None,
    })
}

const A: u16 = 1;
const CNAME: u16 = 5;
const MX: u16 = 15;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const SVCB: u16 = 64;
const HTTPS: u16 = 65;
