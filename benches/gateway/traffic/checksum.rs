//! The Internet checksum (RFC 1071), in two steps: packets that differ in a word or two share the sum of the rest.

/// Returns the sum of 16-bit words in network order, not yet folded.
pub(super) fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|word| match *word {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(high) << 8,
        _ => 0,
    });
    words.sum()
}

/// Returns the sum of a 32-bit word.
pub(super) fn sum_of(word: u32) -> u32 {
    (word >> 16) + (word & 0xffff)
}

/// Folds a sum and complements it.
pub(super) fn complement(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = sum_of(sum);
    }
    !(sum as u16)
}
