//! The wire format of DNS messages: header, names, records (RFC 1035 §4.1).
//!
//! ```text
//!  0       2       4       6       8       10      12
//!  │ id    │ flags │QDCOUNT│ANCOUNT│NSCOUNT│ARCOUNT│ question │ answers │ authorities │ additional │
//! ```
//!
//! A pointer in a name must lead backwards, to labels that end before those that it continues. This rules out loops,
//! makes every reader see the same name, and keeps bytes behind a name out of it. A pointer must not lead into the
//! header either: parts of the header are rewritten for each client, which would change the name.

use super::DnsName;

/// Size of the header in bytes.
pub(super) const HEADER: usize = 12;

/// Bits of the second and third byte of the header (RFC 1035 §4.1.1, RFC 4035 §3).
pub(super) mod flag {
    /// The message is a response.
    pub(in crate::dns) const QR: u16 = 1 << 15;
    /// Operation code; 0 is a query.
    pub(in crate::dns) const OPCODE: u16 = 0xF << 11;
    /// Authoritative answer.
    pub(in crate::dns) const AA: u16 = 1 << 10;
    /// Truncated.
    pub(in crate::dns) const TC: u16 = 1 << 9;
    /// Recursion desired.
    pub(in crate::dns) const RD: u16 = 1 << 8;
    /// Recursion available.
    pub(in crate::dns) const RA: u16 = 1 << 7;
    /// Authentic data.
    pub(in crate::dns) const AD: u16 = 1 << 5;
    /// Checking disabled.
    pub(in crate::dns) const CD: u16 = 1 << 4;
    /// The response code.
    pub(in crate::dns) const RCODE: u16 = 0xF;
}

/// Types and classes that this module reads (IANA's DNS parameters).
pub(super) mod number {
    /// RFC 1035.
    pub(in crate::dns) const CNAME: u16 = 5;
    /// RFC 1035.
    pub(in crate::dns) const SOA: u16 = 6;
    /// RFC 6672.
    pub(in crate::dns) const DNAME: u16 = 39;
    /// RFC 6891.
    pub(in crate::dns) const OPT: u16 = 41;
    /// RFC 4034.
    pub(in crate::dns) const RRSIG: u16 = 46;
    /// RFC 9460.
    pub(in crate::dns) const SVCB: u16 = 64;
    /// RFC 9460.
    pub(in crate::dns) const HTTPS: u16 = 65;
    /// The first meta-type, which is a query and not a record (RFC 6895 §3.1): TKEY, TSIG, IXFR, AXFR, ANY, ...
    pub(in crate::dns) const FIRST_META: u16 = 249;
    /// Any type, in queries (RFC 8482).
    pub(in crate::dns) const ANY: u16 = 255;
    /// The class of the Internet.
    pub(in crate::dns) const IN: u16 = 1;
}

/// Error: the bytes are not a DNS message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a DNS message")]
pub struct Malformed;

/// The header of a message (RFC 1035 §4.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Transaction id.
    pub(super) id: u16,
    /// Combination of [`flag`]s.
    pub(super) flags: u16,
    /// Number of entries in each of the four sections.
    pub(super) counts: [u16; 4],
}

impl Header {
    /// Reads the header at the start of `message`.
    pub(super) fn read(message: &[u8]) -> Option<Self> {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *message.first_chunk::<HEADER>()?;
        let number = |high, low| u16::from_be_bytes([high, low]);
        Some(Self {
            id: number(a, b),
            flags: number(c, d),
            counts: [number(e, f), number(g, h), number(i, j), number(k, l)],
        })
    }

    /// Appends the header to `out`.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        let [a, b, c, d] = self.counts;
        for number in [self.id, self.flags, a, b, c, d] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// The section of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// Records that answer the question.
    Answer,
    /// Records of the authoritative servers.
    Authority,
    /// Additional records that may be useful.
    Additional,
}

/// A record, described by the offsets of its parts in the message.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordView {
    /// Its section.
    pub(super) section: Section,
    /// Its owner.
    pub(super) owner: DnsName,
    /// True if it is the same pointer as that of the record before, and so the same name.
    pub(super) is_repeated: bool,
    /// Its type.
    pub(super) record_type: u16,
    /// Its class.
    pub(super) class: u16,
    /// Its TTL in seconds.
    pub(super) ttl: u32,
    /// Offset of its first byte.
    pub(super) start: usize,
    /// Offset of its TTL.
    pub(super) ttl_at: usize,
    /// Offset of its data.
    pub(super) data: usize,
    /// Offset of its end.
    pub(super) end: usize,
}

/// The records of a message, in order; iteration ends at the first malformed one.
#[derive(Debug, Clone)]
pub(super) struct Records<'m> {
    message: &'m [u8],
    at: usize,
    left: [u16; 3],
    broken: bool,
    /// The pointer that was the owner of the last record, and the name behind it.
    last_owner: Option<([u8; 2], DnsName)>,
}

impl<'m> Records<'m> {
    /// Reads the records of `message`, which has this header and whose questions end at `at`.
    pub(super) fn new(message: &'m [u8], header: Header, at: usize) -> Self {
        let [_, answers, authorities, additional] = header.counts;
        Self {
            message,
            at,
            left: [answers, authorities, additional],
            broken: false,
            last_owner: None,
        }
    }

    /// Returns the offset of the next record, or of the end of the message.
    pub(super) const fn position(&self) -> usize {
        self.at
    }

    fn read(&mut self, section: Section) -> Option<RecordView> {
        let start = self.at;
        let pointer = *self.message.get(start..)?.first_chunk::<2>()?;
        let (owner, at, is_repeated) = match self.last_owner {
            Some((last, owner)) if last == pointer => (owner, start + 2, true),
            _ => {
                let (owner, at) = read_name(self.message, start)?;
                self.last_owner = (pointer[0] >> 6 == 0b11).then_some((pointer, owner));
                (owner, at, false)
            }
        };
        let fixed = self.message.get(at..)?.first_chunk::<10>()?;
        let [t0, t1, c0, c1, l0, l1, l2, l3, n0, n1] = *fixed;
        let data = at + fixed.len();
        let end = data + usize::from(u16::from_be_bytes([n0, n1]));
        if end > self.message.len() {
            return None;
        }
        self.at = end;
        Some(RecordView {
            section,
            owner,
            is_repeated,
            record_type: u16::from_be_bytes([t0, t1]),
            class: u16::from_be_bytes([c0, c1]),
            // RFC 2181 §8: a TTL with the highest bit set counts as zero.
            ttl: match u32::from_be_bytes([l0, l1, l2, l3]) {
                ttl if ttl > i32::MAX.unsigned_abs() => 0,
                ttl => ttl,
            },
            start,
            ttl_at: at + 4,
            data,
            end,
        })
    }
}

impl Iterator for Records<'_> {
    type Item = Result<RecordView, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken {
            return None;
        }
        let sections = [Section::Answer, Section::Authority, Section::Additional];
        let (section, left) = sections
            .into_iter()
            .zip(&mut self.left)
            .find(|(_, left)| **left > 0)?;
        *left -= 1;
        let record = self.read(section);
        self.broken = record.is_none();
        Some(record.ok_or(Malformed))
    }
}

/// Reads the name at `at`. Returns it and the offset behind it.
pub(super) fn read_name(message: &[u8], at: usize) -> Option<(DnsName, usize)> {
    let mut wire = [0; MAX_NAME];
    let mut length = 0;
    let mut append = |labels: &[u8]| {
        let end = length + labels.len();
        wire.get_mut(length..end)?.copy_from_slice(labels);
        length = end;
        Some(end)
    };
    // Start of these labels, which are copied at their end: the labels that a pointer leads to must end before it.
    let mut run = at;
    let mut limit = message.len();
    let mut at = at;
    let mut behind = None;
    loop {
        let first = *message.get(at)?;
        match first >> 6 {
            0 => {
                at += 1 + usize::from(first);
                if at > limit || at - run > MAX_NAME {
                    return None;
                }
                if first == 0 {
                    let length = append(&message[run..at])?;
                    let name = DnsName::from_wire(&wire[..length]).ok()?;
                    return Some((name, behind.unwrap_or(at)));
                }
            }
            0b11 => {
                let low = *message[..limit].get(at + 1)?;
                behind.get_or_insert(at + 2);
                append(&message[run..at])?;
                let target = usize::from(u16::from_be_bytes([first & 0x3F, low]));
                if target >= run || target < HEADER {
                    return None;
                }
                limit = run;
                run = target;
                at = target;
            }
            // 01 was withdrawn by RFC 6891 §5, and 10 was never assigned.
            _ => return None,
        }
    }
}

/// Returns `true` if part of the name at `at`, which must be readable, overlaps one of the TTLs at the offsets `ttls`.
/// Such a name would change as its TTL counts down.
pub(super) fn stands_in_ttl(message: &[u8], mut at: usize, ttls: &[u16]) -> bool {
    for _ in 0..MAX_NAME {
        let Some(&first) = message.get(at) else {
            return true;
        };
        let is_pointer = first >> 6 == 0b11;
        let end = if is_pointer {
            at + 2
        } else {
            at + 1 + usize::from(first)
        };
        // Most names end before the first record, at the name of the question.
        let is_before_all = ttls.first().is_none_or(|ttl| usize::from(*ttl) >= end);
        if !is_before_all {
            let next = ttls.partition_point(|ttl| usize::from(*ttl) + 4 <= at);
            if ttls.get(next).is_some_and(|ttl| usize::from(*ttl) < end) {
                return true;
            }
        }
        at = match (is_pointer, message.get(at + 1)) {
            (true, Some(&low)) => usize::from(u16::from_be_bytes([first & 0x3F, low])),
            (true, None) => return true,
            (false, _) if first == 0 => return false,
            (false, _) => end,
        };
    }
    true
}

/// RFC 1035 §2.3.4: maximum length of a name on the wire, in bytes.
const MAX_NAME: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &[u8], at: usize) -> Option<(String, usize)> {
        read_name(message, at).map(|(name, end)| (name.to_string(), end))
    }

    /// Reads the name at `at` behind a header. Returns it and its end, both relative to the end of the header.
    fn read_behind_header(message: &[u8], at: usize) -> Option<(String, usize)> {
        let message = [&[0; HEADER][..], message].concat();
        read(&message, HEADER + at).map(|(name, end)| (name, end - HEADER))
    }

    #[test]
    fn a_name_continues_where_a_pointer_leads() {
        let message = b"\x03com\x00\x07contoso\xc0\x0c\x03SIP\xc0\x11";
        let read = |at| read_behind_header(message, at);
        assert_eq!(read(0), Some(("com".to_owned(), 5)));
        assert_eq!(read(5), Some(("contoso.com".to_owned(), 15)));
        assert_eq!(read(15), Some(("sip.contoso.com".to_owned(), 21)));
    }

    #[test]
    fn a_pointer_that_does_not_lead_backwards_is_refused() {
        // A pointer to itself, forwards, and to labels that lead to it.
        assert_eq!(read_behind_header(b"\xc0\x0c", 0), None);
        assert_eq!(read_behind_header(b"\xc0\x0e\x00", 0), None);
        assert_eq!(read_behind_header(b"\x01a\xc0\x0c", 0), None);
        // A loop between two names.
        assert_eq!(read_behind_header(b"\x01a\xc0\x10\x01b\xc0\x0c", 4), None);
    }

    #[test]
    fn labels_that_run_on_into_those_which_led_to_them_are_refused() {
        // Three bytes, the last two of which would be the pointer.
        assert_eq!(read_behind_header(b"\x03a\xc0\x0c\x00", 2), None);
        assert_eq!(
            read_behind_header(b"\x01a\x00\xc0\x0c\x00", 3),
            Some(("a".to_owned(), 5))
        );
    }

    #[test]
    fn a_pointer_into_the_header_is_refused() {
        // The pointer leads to the count of additional records, which reads as an empty label while the count is zero.
        assert_eq!(read_behind_header(b"\x01a\xc0\x0b", 0), None);
    }

    #[test]
    fn names_end_with_the_message_and_have_255_bytes() {
        for cut in [&b""[..], b"\x03si", b"\x03sip", b"\xc0", b"\x40", b"\x80a"] {
            assert_eq!(read(cut, 0), None, "{cut:?}");
        }
        let mut long = Vec::new();
        for _ in 0..4 {
            long.push(63);
            long.extend_from_slice(&[b'x'; 63]);
        }
        long.push(0);
        assert_eq!(read(&long, 0), None);
        // Three labels of 63 and one of 61: 255 bytes.
        assert!(read(&[&long[..192], &[61], &[b'x'; 61], &[0]].concat(), 0).is_some());
    }
}
