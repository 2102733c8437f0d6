//! [`Traffic`]: counts of packets and bytes on the wire.

/// Packets and bytes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Packets: more than one for a super-packet.
    pub packets: u64,
    /// Bytes of these packets, IP headers included.
    pub bytes: u64,
}

impl Traffic {
    /// One packet without bytes.
    pub const ONE_EMPTY: Self = Self {
        packets: 1,
        bytes: 0,
    };
}

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, more: Self) {
        self.packets += more.packets;
        self.bytes += more.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_adds_up() {
        let mut sum = Traffic::ONE_EMPTY;
        sum += Traffic {
            packets: 3,
            bytes: 4_000,
        };
        assert_eq!((sum.packets, sum.bytes), (4, 4_000));
    }
}
