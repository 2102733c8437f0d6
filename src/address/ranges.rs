//! [`flatten`]: converts overlapping prefixes to disjoint ranges of one class each.

use super::{BuildError, ClassNumber, NO_CLASS};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The addresses from `start` up to the start of the next range, or to the end of the family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Range<Address> {
    pub(crate) start: Address,
    pub(crate) class: ClassNumber,
}

/// A prefix as the span of addresses that it covers.
pub(crate) trait Prefix: Copy + Into<IpNet> {
    type Address: Copy + Ord;
    const ZERO: Self::Address;
    fn first(self) -> Self::Address;
    fn last(self) -> Self::Address;
    fn successor(address: Self::Address) -> Option<Self::Address>;
}

impl Prefix for Ipv4Net {
    type Address = u32;
    const ZERO: u32 = 0;
    fn first(self) -> u32 {
        self.network().to_bits()
    }
    fn last(self) -> u32 {
        self.broadcast().to_bits()
    }
    fn successor(address: u32) -> Option<u32> {
        address.checked_add(1)
    }
}

impl Prefix for Ipv6Net {
    type Address = u128;
    const ZERO: u128 = 0;
    fn first(self) -> u128 {
        self.network().to_bits()
    }
    fn last(self) -> u128 {
        self.broadcast().to_bits()
    }
    fn successor(address: u128) -> Option<u128> {
        address.checked_add(1)
    }
}

struct Span<Net: Prefix> {
    first: Net::Address,
    last: Net::Address,
    class: ClassNumber,
    net: Net,
}

/// Cuts the whole address space into ranges, sorted, neighbors of different classes.
///
/// The first range starts at address 0, so every address lies in exactly one. Host bits of a
/// prefix are ignored. Prefixes nest or are apart, never half overlap, so one pass with a stack
/// of the prefixes that are open at an address is enough.
pub(crate) fn flatten<Net: Prefix>(
    prefixes: impl IntoIterator<Item = (Net, ClassNumber)>,
) -> Result<Vec<Range<Net::Address>>, BuildError> {
    let mut spans: Vec<Span<Net>> = prefixes
        .into_iter()
        .map(|(net, class)| Span {
            first: net.first(),
            last: net.last(),
            class,
            net,
        })
        .collect();
    // Outer before inner; equal prefixes side by side.
    spans.sort_unstable_by(|a, b| (a.first, b.last, a.class).cmp(&(b.first, a.last, b.class)));
    for pair in spans.windows(2) {
        let [a, b] = pair else { continue };
        if a.first == b.first && a.last == b.last && a.class != b.class {
            return Err(BuildError::Conflict {
                prefix: a.net.into().trunc(),
                one: a.class,
                other: b.class,
            });
        }
    }

    let mut ranges = Vec::with_capacity(spans.len() + 1);
    let mut open: Vec<(Net::Address, ClassNumber)> = Vec::new();
    begin(&mut ranges, Net::ZERO, NO_CLASS);
    for span in &spans {
        close::<Net>(&mut ranges, &mut open, Some(span.first));
        begin(&mut ranges, span.first, span.class);
        open.push((span.last, span.class));
    }
    close::<Net>(&mut ranges, &mut open, None);
    ranges.shrink_to_fit();
    Ok(ranges)
}

/// Ends the open prefixes that lie before `limit` (all of them without one).
fn close<Net: Prefix>(
    ranges: &mut Vec<Range<Net::Address>>,
    open: &mut Vec<(Net::Address, ClassNumber)>,
    limit: Option<Net::Address>,
) {
    while let Some((last, _)) = open.pop_if(|(last, _)| limit.is_none_or(|limit| *last < limit)) {
        if let Some(after) = Net::successor(last) {
            let outer = open.last().map_or(NO_CLASS, |(_, class)| *class);
            begin(ranges, after, outer);
        }
    }
}

/// Begins a range of `class` at `start`, which ends at the next call.
fn begin<Address: Copy + Ord>(
    ranges: &mut Vec<Range<Address>>,
    start: Address,
    class: ClassNumber,
) {
    ranges.pop_if(|range| range.start == start);
    if ranges.last().is_none_or(|range| range.class != class) {
        ranges.push(Range { start, class });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(text: &str) -> Ipv4Net {
        text.parse().expect("a literal prefix")
    }

    #[test]
    fn nested_prefixes_become_ranges_in_order() {
        let ranges = flatten([
            (v4("10.1.2.0/24"), 1),
            (v4("10.0.0.0/8"), 1),
            (v4("10.1.0.0/16"), 2),
        ])
        .expect("no conflict");
        let expected = [
            (0x0000_0000, 0),
            (0x0a00_0000, 1),
            (0x0a01_0000, 2),
            (0x0a01_0200, 1),
            (0x0a01_0300, 2),
            (0x0a02_0000, 1),
            (0x0b00_0000, 0),
        ];
        assert_eq!(
            ranges,
            expected.map(|(start, class)| Range { start, class })
        );
    }

    #[test]
    fn adjacent_prefixes_of_one_class_merge() {
        let ranges = flatten([(v4("0.0.0.0/1"), 7), (v4("128.0.0.0/1"), 7)]).expect("no conflict");
        assert_eq!(ranges, [Range { start: 0, class: 7 }]);
    }

    #[test]
    fn one_prefix_with_two_classes_is_refused_host_bits_or_not() {
        let error = flatten([(v4("10.0.0.0/8"), 2), (v4("10.1.2.3/8"), 1)]).expect_err("conflict");
        assert_eq!(
            error.to_string(),
            "prefix 10.0.0.0/8 is given twice, with class 1 and with class 2"
        );
    }
}
