//! Types of DNS records: their numbers and names (IANA's "Resource Record (RR) TYPEs").

/// IPv4 address (RFC 1035 §3.4.1).
pub const A: u16 = 1;
/// IPv6 address (RFC 3596).
pub const AAAA: u16 = 28;
/// Location of a service (RFC 2782).
pub const SRV: u16 = 33;
/// Service binding for HTTPS, with address hints (RFC 9460).
pub const HTTPS: u16 = 65;
/// Any type (RFC 8482).
pub const ANY: u16 = 255;

/// The usual text of a type: its name, or `TYPE` and its number (RFC 3597 §5).
///
/// ```
/// use offramp::name::record_type;
/// assert_eq!(record_type::text(65), "HTTPS");
/// assert_eq!(record_type::text(65_280), "TYPE65280");
/// assert_eq!(record_type::read("https"), Some(65));
/// assert_eq!(record_type::read("TYPE65280"), Some(65_280));
/// assert_eq!(record_type::read("HTTP"), None);
/// ```
pub fn text(record_type: u16) -> String {
    let known = NAMES.iter().find(|(number, _)| *number == record_type);
    known.map_or_else(
        || format!("TYPE{record_type}"),
        |(_, name)| (*name).to_owned(),
    )
}

/// Reads the name of a type, in any case, or `TYPE` and a number.
pub fn read(text: &str) -> Option<u16> {
    let upper = text.to_ascii_uppercase();
    if let Some(&(number, _)) = NAMES.iter().find(|(_, name)| *name == upper) {
        return Some(number);
    }
    let number = upper.strip_prefix("TYPE")?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| number.parse().ok()).flatten()
}

/// Common types, by number.
pub const NAMES: &[(u16, &str)] = &[
    (A, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (12, "PTR"),
    (15, "MX"),
    (16, "TXT"),
    (AAAA, "AAAA"),
    (SRV, "SRV"),
    (35, "NAPTR"),
    (39, "DNAME"),
    (43, "DS"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (52, "TLSA"),
    (64, "SVCB"),
    (HTTPS, "HTTPS"),
    (ANY, "ANY"),
    (257, "CAA"),
];
