//! The conditions on one payload: U1 to U10, and the headers of RTP and RTCP.

use crate::packet::media::{Evidence, Profile};

/// Evidence, and a mark of Microsoft beside it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) evidence: Evidence,
    pub(super) mark: bool,
}

impl Found {
    pub(super) fn counts(self, profile: Profile) -> bool {
        use Evidence as E;
        match profile {
            Profile::Any => true,
            Profile::Ice => matches!(
                self.evidence,
                E::StunCheck
                    | E::Stun
                    | E::StunClassic
                    | E::StunBare
                    | E::MsTurn
                    | E::MsMultiplexed
                    | E::ChannelData
                    | E::ZoomStun
                    | E::IceTcp
                    | E::TurnTcp
                    | E::MsTurnTcp
                    | E::MsPseudoTls
                    | E::GooglePseudoSsl
            ),
            Profile::Microsoft => {
                self.mark
                    && matches!(
                        self.evidence,
                        E::StunCheck
                            | E::Stun
                            | E::StunClassic
                            | E::MsTurn
                            | E::MsMultiplexed
                            | E::ChannelData
                            | E::IceTcp
                            | E::TurnTcp
                            | E::MsTurnTcp
                            | E::MsPseudoTls
                    )
            }
        }
    }
}

pub(super) const COOKIE: &[u8] = &[0x21, 0x12, 0xa4, 0x42];
pub(super) const MS_COOKIE: &[u8] = &[0x00, 0x0f, 0x00, 0x04, 0x72, 0xc6, 0x4b, 0xc6];

/// Bytes of a payload that has `size` on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) struct Payload<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) size: usize,
}

/// Attributes of a walk: type, and the walk's end.
pub(super) struct Walk {
    types: Vec<usize>,
    exact: bool,
}

impl<'a> Payload<'a> {
    pub(super) fn u8(self, at: usize) -> Option<usize> {
        self.bytes.get(at).map(|&byte| usize::from(byte))
    }

    pub(super) fn u16(self, at: usize) -> Option<usize> {
        Some(self.u8(at)? * 256 + self.u8(at + 1)?)
    }

    pub(super) fn u32(self, at: usize) -> Option<u32> {
        Some((self.u16(at)? * 65_536 + self.u16(at + 2)?) as u32)
    }

    pub(super) fn has(self, at: usize, wanted: &[u8]) -> bool {
        self.bytes.iter().skip(at).take(wanted.len()).eq(wanted)
    }

    pub(super) fn behind(self, at: usize, size: usize) -> Payload<'a> {
        let rest = &self.bytes[at.min(self.bytes.len())..];
        Payload {
            bytes: &rest[..size.min(rest.len())],
            size,
        }
    }

    pub(super) fn zero_bits(self) -> bool {
        self.u8(0).is_some_and(|first| first & 0xc0 == 0)
    }

    pub(super) fn exact(self) -> bool {
        self.bytes.len() >= 20 && self.u16(2).is_some_and(|length| 20 + length == self.size)
    }

    pub(super) fn u1(self) -> bool {
        self.zero_bits() && self.has(4, COOKIE) && self.exact()
    }

    pub(super) fn u2(self) -> bool {
        self.zero_bits() && self.exact() && self.size >= 28 && self.has(20, MS_COOKIE)
    }

    pub(super) fn walk(self, padded: bool) -> Walk {
        let mut at = 20;
        let mut types = Vec::new();
        let end = self.size.min(self.bytes.len());
        loop {
            if at == end {
                return Walk {
                    types,
                    exact: end == self.size,
                };
            }
            let (Some(kind), Some(length)) = (self.u16(at), self.u16(at + 2)) else {
                return Walk {
                    types,
                    exact: false,
                };
            };
            let mut next = at + 4 + length;
            if padded {
                while next % 4 != at % 4 {
                    next += 1;
                }
            }
            if next > end {
                return Walk {
                    types,
                    exact: false,
                };
            }
            types.push(kind);
            at = next;
        }
    }

    pub(super) fn best_walk(self) -> Walk {
        let (padded, plain) = (self.walk(true), self.walk(false));
        // A message of which a part is missing ends where what is there ends.
        let ends = |walk: &Walk, padded: bool| walk.exact || self.ends_where_cut(padded);
        if ends(&padded, true) || !ends(&plain, false) {
            padded
        } else {
            plain
        }
    }

    pub(super) fn ends_where_cut(self, padded: bool) -> bool {
        let there = Payload {
            bytes: self.bytes,
            size: self.bytes.len(),
        };
        there.size < self.size && there.walk(padded).exact
    }

    pub(super) fn mark(self) -> bool {
        const MARKS: [usize; 11] = [
            0x8006, 0x8008, 0x8036, 0x8037, 0x8039, 0x8050, 0x8054, 0x8055, 0x8070, 0x8090, 0x8095,
        ];
        self.has(20, MS_COOKIE)
            || self
                .best_walk()
                .types
                .iter()
                .any(|kind| MARKS.contains(kind))
    }

    pub(super) fn u3(self) -> Option<bool> {
        let kind = self.u16(0)?;
        if ![0x0001, 0x0101, 0x0111, 0x0002, 0x0102, 0x0112].contains(&kind) || !self.exact() {
            return None;
        }
        let known = |kind: &usize| {
            *kind >= 0x8000
                || (0x0001..=0x0016).contains(kind)
                || (0x0018..=0x001a).contains(kind)
                || [0x0020, 0x0022, 0x0024, 0x0025].contains(kind)
        };
        let fits = |padded| {
            let walk = self.walk(padded);
            walk.exact && !walk.types.is_empty() && walk.types.iter().all(known)
        };
        (fits(true) || fits(false)).then(|| self.mark_of_classic(fits(true)))
    }

    pub(super) fn mark_of_classic(self, padded: bool) -> bool {
        const MARKS: [usize; 11] = [
            0x8006, 0x8008, 0x8036, 0x8037, 0x8039, 0x8050, 0x8054, 0x8055, 0x8070, 0x8090, 0x8095,
        ];
        self.walk(padded)
            .types
            .iter()
            .any(|kind| MARKS.contains(kind))
    }

    pub(super) fn u4(self) -> bool {
        let different = |bytes: &[u8]| (0..=255u8).filter(|byte| bytes.contains(byte)).count();
        self.size == 20
            && self.bytes.len() == 20
            && self.has(0, &[0, 1, 0, 0])
            && different(&self.bytes[4..20]) > 8
    }

    /// U1 to U3, as a datagram or inside one.
    pub(super) fn message(self) -> Option<Found> {
        if self.u1() || self.u2() {
            return Some(self.named());
        }
        self.u3().map(|mark| Found {
            evidence: Evidence::StunClassic,
            mark,
        })
    }

    pub(super) fn named(self) -> Found {
        let is_check = self.u16(0) == Some(1) && self.best_walk().types.contains(&0x0006);
        Found {
            evidence: if self.size >= 28 && self.has(20, MS_COOKIE) {
                Evidence::MsTurn
            } else if is_check {
                Evidence::StunCheck
            } else {
                Evidence::Stun
            },
            mark: self.mark(),
        }
    }

    pub(super) fn multiplexed(self) -> Option<Payload<'a>> {
        let fits =
            self.bytes.len() >= 12 && self.has(0, &[0xff, 0x10]) && self.u16(2)? + 4 == self.size;
        (fits && self.size >= 12).then(|| self.behind(12, self.size - 12))
    }

    pub(super) fn channel_data(self) -> Option<Payload<'a>> {
        let length = self.u16(2)?;
        let fits = (0x40..=0x4f).contains(&self.u8(0)?)
            && (0..=3).any(|less| length + 4 + less == self.size);
        fits.then(|| self.behind(4, length))
    }

    pub(super) fn cookie(self) -> Option<Found> {
        if self.u1() {
            return Some(self.named());
        }
        if self.multiplexed().is_some_and(Payload::u1) {
            return Some(Found {
                evidence: Evidence::MsMultiplexed,
                mark: true,
            });
        }
        let inner = self.channel_data().filter(|inner| inner.u1())?;
        Some(Found {
            evidence: Evidence::ChannelData,
            mark: inner.mark(),
        })
    }

    pub(super) fn u7(self) -> bool {
        let check = || {
            let is_hello = self.u8(0)? == 22
                && [0xfeff, 0xfefd, 0x0100].contains(&self.u16(1)?)
                && self.u16(3)? == 0
                && [1, 2].contains(&self.u8(13)?)
                && self.u8(19)? == 0
                && self.u16(20)? == 0;
            let record = 13 + self.u16(11)?;
            let hello = 25 + self.u8(22)? * 65_536 + self.u16(23)?;
            let end = record.min(hello).min(self.bytes.len());
            let cut = Payload {
                bytes: &self.bytes[..end],
                size: end,
            };
            if !is_hello || end < 25 {
                return Some(false);
            }
            let mut at = 25 + 34;
            at += 1 + cut.u8(at)?;
            if self.u8(13)? == 1 {
                at += 1 + cut.u8(at)?;
                at += 2 + cut.u16(at)?;
                at += 1 + cut.u8(at)?;
            } else {
                at += 3;
            }
            let end = end.min(at + 2 + cut.u16(at)?);
            at += 2;
            while at + 4 <= end {
                if cut.u16(at)? == 14 {
                    return Some(true);
                }
                at += 4 + cut.u16(at + 2)?;
            }
            Some(false)
        };
        check().unwrap_or(false)
    }

    pub(super) fn u8_zrtp(self) -> bool {
        self.has(0, &[0x10]) && self.has(4, b"ZRTP") && self.has(12, b"PZ") && self.size >= 28
    }

    /// Types of the parts that end exactly at the end.
    pub(super) fn parts(self) -> Option<Vec<usize>> {
        let mut types = Vec::new();
        let mut at = 0;
        while at < self.size {
            let kind = self.u8(at + 1)?;
            if self.u8(at)? >> 6 != 2 || !(192..=223).contains(&kind) {
                return None;
            }
            types.push(kind);
            at += 4 * (self.u16(at + 2)? + 1);
        }
        (at == self.size && self.bytes.len() >= self.size).then_some(types)
    }

    pub(super) fn u9(self) -> bool {
        let check = || {
            let reports = self.u8(0)? & 0x1f;
            let needed = match self.u8(1)? {
                200 => 28 + 24 * reports,
                201 => 8 + 24 * reports,
                _ => return None,
            };
            Some(self.parts()?.len() >= 2 && 4 * (self.u16(2)? + 1) >= needed)
        };
        check().unwrap_or(false)
    }

    pub(super) fn u10(self) -> bool {
        (self.size == 44
            && self.has(0, &[0, 1, 0, 0x18])
            && self.has(20, &[1, 1, 0, 0x14])
            && self.has(24, b"1234567890123456789\0"))
            || (self.size == 32 && self.has(0, &[0, 2, 0, 12]) && self.has(20, &[1, 3, 0, 8, 0, 1]))
    }

    pub(super) fn single(self) -> Option<Found> {
        if let Some(found) = self.message() {
            return Some(found);
        }
        if self
            .multiplexed()
            .is_some_and(|inner| inner.message().is_some())
        {
            return Some(Found {
                evidence: Evidence::MsMultiplexed,
                mark: true,
            });
        }
        if let Some(found) = self.channel_data().and_then(Payload::message) {
            return Some(Found {
                evidence: Evidence::ChannelData,
                mark: found.mark,
            });
        }
        let others = [
            (self.u4(), Evidence::StunBare),
            (self.u10(), Evidence::ZoomStun),
            (self.u7(), Evidence::DtlsSrtp),
            (self.u8_zrtp(), Evidence::Zrtp),
            (self.u9(), Evidence::Rtcp),
        ];
        let (_, evidence) = others.into_iter().find(|(holds, _)| *holds)?;
        Some(Found {
            evidence,
            mark: false,
        })
    }

    /// Source, sequence, stamp, CC.
    pub(super) fn rtp(self) -> Option<(u32, usize, u32, usize)> {
        let (first, kind) = (self.u8(0)?, self.u8(1)? & 0x7f);
        let fields = (self.u32(8)?, self.u16(2)?, self.u32(4)?, first & 15);
        let fits = first >> 6 == 2 && !(64..=95).contains(&kind) && self.size >= 12 + 4 * fields.3;
        fits.then_some(fields)
    }

    /// Source, and whether it can be RTCP or SRTCP.
    pub(super) fn rtcp(self) -> Option<u32> {
        let fits = self.u8(0)? >> 6 == 2
            && (200..=207).contains(&self.u8(1)?)
            && 4 * (self.u16(2)? + 1) <= self.size;
        self.u32(4).filter(|_| fits)
    }

    pub(super) fn index(self, place: usize) -> Option<u32> {
        let at = self.size.checked_sub(place).filter(|at| *at >= 8)?;
        let word = self.u32(at)?;
        (word >> 31 == 1).then_some(word & 0x7fff_ffff)
    }
}
