//! [`Sum`]: the Internet checksum (RFC 1071), computed as fast as memory can be read.

/// A ones' complement sum in host byte order; only the result is converted (RFC 1071 §2 B).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The sum of `bytes`; a last odd byte counts as the first half of a word.
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        Self(0).and(bytes)
    }

    /// The sum with `bytes` added, which follow an even number of others.
    #[inline]
    pub fn and(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut sum = u128::from(self.0);
        for word in words {
            sum += u128::from(u64::from_ne_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        sum += u128::from(u64::from_ne_bytes(last));
        // Far fewer than 2^32 words were added: the second fold carries nothing out.
        let folded = (sum & u128::from(u64::MAX)) + (sum >> 64);
        let folded = (folded & u128::from(u64::MAX)) + (folded >> 64);
        Self(folded as u64)
    }

    fn fold(self) -> u16 {
        let mut sum = self.0;
        while let high @ 1.. = sum >> 16 {
            sum = (sum & 0xffff) + high;
        }
        sum as u16
    }

    /// The sum as 16 bits, as a packet with an incomplete checksum has it.
    pub fn folded(self) -> [u8; 2] {
        self.fold().to_ne_bytes()
    }

    /// The checksum of the summed bytes, as a packet has it.
    pub fn checksum(self) -> [u8; 2] {
        (!self.fold()).to_ne_bytes()
    }

    /// True if the summed bytes include a correct checksum of the others.
    pub fn is_whole(self) -> bool {
        self.fold() == u16::MAX
    }
}

/// True if `checksum` is the form that TCP stacks write, of two correct ones: zero, not all ones.
pub fn is_canonical_tcp(checksum: [u8; 2]) -> bool {
    checksum != [0xff, 0xff]
}

/// The same for UDP: all ones, as zero means no checksum (RFC 768).
pub fn is_canonical_udp(checksum: [u8; 2]) -> bool {
    checksum != [0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_that_of_another_implementation(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0..150_usize) {
            let theirs = etherparse::checksum::Sum16BitWords::new().add_slice(&bytes);
            prop_assert_eq!(Sum::of(&bytes).checksum(), theirs.ones_complement().to_ne_bytes());
            let (one, other) = bytes.split_at((cut * 2).min(bytes.len() / 2 * 2));
            prop_assert_eq!(Sum::of(one).and(other).fold(), Sum::of(&bytes).fold());
        }
    }

    #[test]
    fn a_carry_out_of_the_first_fold_is_added() {
        let bytes = [&[0xff; 16][..], &1_u64.to_ne_bytes()].concat();
        let theirs = etherparse::checksum::Sum16BitWords::new().add_slice(&bytes);
        assert_eq!(
            Sum::of(&bytes).checksum(),
            theirs.ones_complement().to_ne_bytes()
        );
    }

    #[test]
    fn sums_that_overflow_carry() {
        let ones = [0xff; 65_536];
        assert!(Sum::of(&ones).and(&ones).is_whole());
        assert_eq!(Sum::of(&[0xff; 16]).and(&[0, 1]).folded(), [0, 1]);
        assert_eq!(Sum::of(&[]).checksum(), [0xff, 0xff]);
    }
}
