//! [`DnsName`]: a domain name in wire form, in lower case.

pub mod record_type;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use thiserror::Error;

/// A domain name in wire form (RFC 1035 §3.1): labels, each preceded by its length, and the empty label of the root.
///
/// ASCII letters are lower case (RFC 4343), so that equal names have equal bytes; every other byte is kept. The type
/// does not allocate, so the resolver can create one for each query.
///
/// ```
/// use offramp::name::DnsName;
///
/// let name: DnsName = "SiP.Contoso.com.".parse()?;
/// assert_eq!(name.wire(), b"\x03sip\x07contoso\x03com\x00");
/// assert_eq!(name.to_string(), "sip.contoso.com");
/// assert_eq!(DnsName::from_wire(b"\x03SIP\x07contoso\x03com\x00")?, name);
/// assert_eq!(DnsName::from_labels([&b"sip"[..], b"contoso", b"com"])?, name);
/// # Ok::<(), offramp::name::DnsNameError>(())
/// ```
#[derive(Clone, Copy)]
pub struct DnsName {
    length: u8,
    bytes: [u8; LONGEST],
}

/// The reason why bytes or text are not a domain name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DnsNameError {
    /// More than 255 bytes on the wire (RFC 1035 §2.3.4).
    #[error("the name is longer than 255 bytes")]
    TooLong,
    /// More than 63 bytes between two dots (RFC 1035 §2.3.4).
    #[error("a label is longer than 63 bytes")]
    LabelTooLong,
    /// Two adjacent dots, or a leading one.
    #[error("a label is empty")]
    EmptyLabel,
    /// `\` before anything other than a character or three digits up to 255.
    #[error("`\\` is not followed by a character or by a number up to 255 of three digits")]
    BadEscape,
    /// The bytes end inside the name, continue after it, or hold a compression pointer.
    #[error("the bytes are not one name in wire form")]
    NotWire,
}

impl DnsName {
    /// The root of all names.
    pub const ROOT: Self = Self {
        length: 1,
        bytes: [0; LONGEST],
    };

    /// Builds the name with these labels, from the leftmost to the one before the root.
    ///
    /// # Errors
    /// [`DnsNameError`] if a label is empty or too long, or the name is too long.
    pub fn from_labels<'l>(
        labels: impl IntoIterator<Item = &'l [u8]>,
    ) -> Result<Self, DnsNameError> {
        let mut name = Self::ROOT;
        for label in labels {
            name.push(label)?;
        }
        Ok(name)
    }

    /// Reads a name from its wire form, without compression (RFC 1035 §3.1).
    ///
    /// # Errors
    /// [`DnsNameError`] if they are not exactly one name.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, DnsNameError> {
        let mut root_at = 0;
        loop {
            match usize::from(*bytes.get(root_at).ok_or(DnsNameError::NotWire)?) {
                0 => break,
                length @ 1..=MAX_LABEL => root_at += 1 + length,
                _ => return Err(DnsNameError::NotWire),
            }
        }
        if root_at + 1 != bytes.len() {
            return Err(DnsNameError::NotWire);
        }
        let mut name = Self::ROOT;
        let place = name.bytes.get_mut(..bytes.len());
        let place = place.ok_or(DnsNameError::TooLong)?;
        place.copy_from_slice(bytes);
        // Lengths are no letters.
        const _: () = assert!(MAX_LABEL < b'A' as usize);
        place.make_ascii_lowercase();
        name.length = u8::try_from(bytes.len()).map_err(|_| DnsNameError::TooLong)?;
        Ok(name)
    }

    /// Adds a label at the right, before the root.
    fn push(&mut self, label: &[u8]) -> Result<(), DnsNameError> {
        if label.is_empty() {
            return Err(DnsNameError::EmptyLabel);
        }
        let length = u8::try_from(label.len()).map_err(|_| DnsNameError::LabelTooLong)?;
        if label.len() > MAX_LABEL {
            return Err(DnsNameError::LabelTooLong);
        }
        // The label's length overwrites the root's zero.
        let at = usize::from(self.length) - 1;
        let end = at + 1 + label.len();
        if end >= LONGEST {
            return Err(DnsNameError::TooLong);
        }
        self.bytes[at] = length;
        self.bytes[at + 1..end].copy_from_slice(label);
        self.bytes[at + 1..end].make_ascii_lowercase();
        self.bytes[end] = 0;
        self.length = u8::try_from(end + 1).map_err(|_| DnsNameError::TooLong)?;
        Ok(())
    }

    /// The name in wire form, the root's zero included.
    pub fn wire(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// Its labels, from the leftmost to the one before the root.
    pub fn labels(&self) -> Labels<'_> {
        Labels { rest: self.wire() }
    }

    /// The name without its leftmost label; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let rest = self.above()?;
        let mut parent = Self::ROOT;
        parent.bytes[..rest.len()].copy_from_slice(rest);
        parent.length = u8::try_from(rest.len()).ok()?;
        Some(parent)
    }

    /// The name of its last labels, this many at most.
    pub fn last_labels(&self, labels: usize) -> Self {
        let mut rest = self.labels();
        for _ in labels..self.labels().count() {
            rest.next();
        }
        let mut last = Self::ROOT;
        last.bytes[..rest.rest.len()].copy_from_slice(rest.rest);
        last.length = rest.rest.len() as u8;
        last
    }

    /// The wire form of the parent.
    fn above(&self) -> Option<&[u8]> {
        match self.wire().split_first() {
            Some((&length, rest)) if length > 0 => rest.get(usize::from(length)..),
            Some(_) | None => None,
        }
    }

    /// Returns `true` if the name is below `ancestor`; no name is below itself.
    pub fn is_below(&self, ancestor: &Self) -> bool {
        let mut labels = self.labels();
        while labels.next().is_some() {
            if labels.rest.len() <= ancestor.wire().len() {
                return labels.rest == ancestor.wire();
            }
        }
        false
    }
}

/// The labels of a [`DnsName`].
#[derive(Debug, Clone)]
pub struct Labels<'n> {
    rest: &'n [u8],
}

impl<'n> Iterator for Labels<'n> {
    type Item = &'n [u8];

    fn next(&mut self) -> Option<&'n [u8]> {
        let (&length, behind) = self.rest.split_first()?;
        if length == 0 {
            return None;
        }
        let (label, rest) = behind.split_at_checked(usize::from(length))?;
        self.rest = rest;
        Some(label)
    }
}

impl PartialEq for DnsName {
    fn eq(&self, other: &Self) -> bool {
        self.wire() == other.wire()
    }
}

impl Eq for DnsName {}

impl Hash for DnsName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.wire());
    }
}

impl PartialOrd for DnsName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Compares the bytes of the wire form: a total order, but not that of DNSSEC.
impl Ord for DnsName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.wire().cmp(other.wire())
    }
}

impl fmt::Debug for DnsName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "DnsName({self})")
    }
}

/// Writes the usual text (RFC 1035 §5.1), without the trailing dot, except for the root itself.
impl fmt::Display for DnsName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length == 1 {
            return out.write_str(".");
        }
        for (at, label) in self.labels().enumerate() {
            if at > 0 {
                out.write_str(".")?;
            }
            for &byte in label {
                match byte {
                    b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => {
                        write!(out, "\\{}", char::from(byte))?;
                    }
                    b'!'..=b'~' => write!(out, "{}", char::from(byte))?,
                    0..=b' ' | 0x7f..=0xff => write!(out, "\\{byte:03}")?,
                }
            }
        }
        Ok(())
    }
}

/// Reads the usual text, with or without the trailing dot; `\.` is a dot inside a label, `\255` any byte.
impl FromStr for DnsName {
    type Err = DnsNameError;

    fn from_str(text: &str) -> Result<Self, DnsNameError> {
        let mut name = Self::ROOT;
        if text == "." {
            return Ok(name);
        }
        let mut label = Vec::with_capacity(MAX_LABEL);
        let mut rest = text.as_bytes();
        while let Some((&byte, behind)) = rest.split_first() {
            rest = behind;
            match byte {
                b'.' => {
                    name.push(&label)?;
                    label.clear();
                    if rest.is_empty() {
                        return Ok(name);
                    }
                }
                b'\\' => {
                    let (byte, behind) = read_escape(rest).ok_or(DnsNameError::BadEscape)?;
                    label.push(byte);
                    rest = behind;
                }
                _ => label.push(byte),
            }
            if label.len() > MAX_LABEL {
                return Err(DnsNameError::LabelTooLong);
            }
        }
        name.push(&label)?;
        Ok(name)
    }
}

impl TryFrom<&str> for DnsName {
    type Error = DnsNameError;

    fn try_from(text: &str) -> Result<Self, DnsNameError> {
        text.parse()
    }
}

/// Reads the byte escaped by a `\`; returns it and the rest.
fn read_escape(rest: &[u8]) -> Option<(u8, &[u8])> {
    if let Some((digits, behind)) = rest.split_first_chunk::<3>()
        && digits.iter().all(u8::is_ascii_digit)
    {
        let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
        return Some((number, behind));
    }
    let (&byte, behind) = rest.split_first()?;
    (!byte.is_ascii_digit()).then_some((byte, behind))
}

/// RFC 1035 §2.3.4: bytes of a name on the wire.
const LONGEST: usize = 255;
/// RFC 1035 §2.3.4; the two bits above mark compression pointers (§4.1.4).
const MAX_LABEL: usize = 63;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> DnsName {
        text.parse().expect("a name")
    }

    #[test]
    fn case_and_the_last_dot_make_no_difference() {
        assert_eq!(name("SIP.contoso.COM."), name("sip.Contoso.com"));
        assert_ne!(name("xsip.contoso.com"), name("sip.contoso.com"));
        assert_eq!(name(".").to_string(), ".");
        // Only ASCII letters have a case (RFC 4343 §3).
        assert_ne!(name("\\196.x"), name("\\228.x"));
    }

    #[test]
    fn a_name_below_another_ends_in_its_labels() {
        let edge = name("sip.contoso.com");
        assert!(name("a.sip.contoso.com").is_below(&edge));
        assert!(name("a.b.sip.contoso.com").is_below(&edge));
        assert!(edge.is_below(&name("com")));
        assert!(edge.is_below(&DnsName::ROOT));
        for other in ["sip.contoso.com", "xsip.contoso.com", "contoso.com", "."] {
            assert!(!name(other).is_below(&edge), "{other}");
        }
        // The same bytes, cut inside a label.
        assert!(!name("a\\003sip.contoso.com").is_below(&edge));
        assert_eq!(edge.parent(), Some(name("contoso.com")));
        assert_eq!(name("com").parent(), Some(DnsName::ROOT));
        assert_eq!(DnsName::ROOT.parent(), None);
    }

    #[test]
    fn a_dot_inside_a_label_is_no_separator() {
        let name = name("a\\.b.c");
        assert_eq!(name.wire(), b"\x03a.b\x01c\x00");
        assert_eq!(name.to_string(), "a\\.b.c");
    }

    #[test]
    fn limits_are_those_of_the_rfc() {
        let label = "x".repeat(63);
        assert!(label.parse::<DnsName>().is_ok());
        assert_eq!(
            format!("{label}x").parse::<DnsName>(),
            Err(DnsNameError::LabelTooLong)
        );
        // 3 * 64 + 62 + 1 = 255 bytes on the wire.
        let longest = format!("{label}.{label}.{label}.{}", "y".repeat(61));
        assert_eq!(name(&longest).wire().len(), 255);
        assert_eq!(
            format!("{longest}y").parse::<DnsName>(),
            Err(DnsNameError::TooLong)
        );
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for (text, error) in [
            ("", DnsNameError::EmptyLabel),
            ("a..b", DnsNameError::EmptyLabel),
            (".a", DnsNameError::EmptyLabel),
            ("..", DnsNameError::EmptyLabel),
            ("a\\", DnsNameError::BadEscape),
            ("a\\25", DnsNameError::BadEscape),
            ("a\\256", DnsNameError::BadEscape),
        ] {
            assert_eq!(text.parse::<DnsName>(), Err(error), "{text:?}");
        }
        for wire in [
            &b""[..],
            b"\x03sip",
            b"\x03sip\x00\x00",
            b"\xc0\x0c",
            b"\x04sip\x00",
            b"\x40",
        ] {
            assert_eq!(
                DnsName::from_wire(wire),
                Err(DnsNameError::NotWire),
                "{wire:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn text_and_wire_lead_back_to_the_name(
            labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..12), 0..8),
        ) {
            let name = DnsName::from_labels(labels.iter().map(Vec::as_slice)).expect("short labels");
            prop_assert_eq!(DnsName::from_wire(name.wire()), Ok(name));
            prop_assert_eq!(name.to_string().parse(), Ok(name));
            prop_assert_eq!(DnsName::from_labels(name.labels()), Ok(name));
            let lower: Vec<Vec<u8>> = labels.iter().map(|label| label.to_ascii_lowercase()).collect();
            prop_assert_eq!(name.labels().map(<[u8]>::to_vec).collect::<Vec<_>>(), lower);
        }

        #[test]
        fn no_bytes_and_no_text_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in ".{0,300}") {
            if let Ok(name) = DnsName::from_wire(&bytes) {
                prop_assert_eq!(name.wire().to_ascii_lowercase(), bytes.to_ascii_lowercase());
            }
            if let Ok(name) = text.parse::<DnsName>() {
                prop_assert!(name.wire().len() <= 255);
            }
        }
    }
}
