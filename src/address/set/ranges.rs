//! [`Ranges`]: one family's addresses as sorted ranges that neither overlap nor touch.

/// The number of an address: `u32` or `u128`.
pub(super) trait Number: Copy + Ord {
    const ZERO: Self;
    const MAX: Self;
    fn successor(self) -> Option<Self>;
    fn predecessor(self) -> Option<Self>;
    /// The length of the largest prefix that begins at `self` and ends at or before `last`, and the last address of it.
    fn largest_block(self, last: Self) -> (u8, Self);
}

macro_rules! number {
    ($type:ty) => {
        impl Number for $type {
            const ZERO: Self = 0;
            const MAX: Self = <$type>::MAX;

            fn successor(self) -> Option<Self> {
                self.checked_add(1)
            }

            fn predecessor(self) -> Option<Self> {
                self.checked_sub(1)
            }

            fn largest_block(self, last: Self) -> (u8, Self) {
                // Aligned to its size, and no longer than what is left: 2^bits - 1 <= last - self.
                let aligned = self.trailing_zeros();
                let fits = match (last - self).checked_add(1) {
                    Some(count) => <$type>::BITS - 1 - count.leading_zeros(),
                    None => <$type>::BITS,
                };
                let bits = aligned.min(fits);
                let mask = <$type>::MAX.checked_shr(<$type>::BITS - bits).unwrap_or(0);
                ((<$type>::BITS - bits) as u8, self | mask)
            }
        }
    };
}

number!(u32);
number!(u128);

/// Addresses of one family.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Ranges<N>(Vec<(N, N)>);

impl<N> Default for Ranges<N> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<N> Ranges<N> {
    pub(super) const EMPTY: Self = Self(Vec::new());

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Number> Ranges<N> {
    pub(super) fn all() -> Self {
        Self(vec![(N::ZERO, N::MAX)])
    }

    /// The union of `spans`, each from its first to its last address.
    pub(super) fn of(mut spans: Vec<(N, N)>) -> Self {
        if !spans.is_sorted_by_key(|span| span.0) {
            spans.sort_unstable_by_key(|span| span.0);
        }
        // In place: the joined ranges are never more than the spans read so far.
        let mut kept = 0;
        for at in 0..spans.len() {
            let (first, last) = spans[at];
            if kept > 0 && joins(spans[kept - 1].1, first) {
                spans[kept - 1].1 = spans[kept - 1].1.max(last);
            } else {
                spans[kept] = (first, last);
                kept += 1;
            }
        }
        spans.truncate(kept);
        Self(spans)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (N, N)> {
        self.0.iter().copied()
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        let mut joined: Vec<(N, N)> = Vec::with_capacity(self.0.len() + other.0.len());
        let (mut left, mut right) = (&self.0[..], &other.0[..]);
        loop {
            let (first, last) = match (left.split_first(), right.split_first()) {
                (Some((a, rest)), Some((b, _))) if a.0 <= b.0 => {
                    left = rest;
                    *a
                }
                (_, Some((b, rest))) => {
                    right = rest;
                    *b
                }
                (Some((a, rest)), None) => {
                    left = rest;
                    *a
                }
                (None, None) => return Self(joined),
            };
            match joined.last_mut() {
                Some(open) if joins(open.1, first) => open.1 = open.1.max(last),
                Some(_) | None => joined.push((first, last)),
            }
        }
    }

    pub(super) fn intersect(&self, other: &Self) -> Self {
        let mut both = Vec::new();
        let (mut left, mut right) = (&self.0[..], &other.0[..]);
        while let (Some((a, rest_of_left)), Some((b, rest_of_right))) =
            (left.split_first(), right.split_first())
        {
            let (first, last) = (a.0.max(b.0), a.1.min(b.1));
            if first <= last {
                both.push((first, last));
            }
            if a.1 <= b.1 {
                left = rest_of_left;
            } else {
                right = rest_of_right;
            }
        }
        Self(both)
    }

    pub(super) fn subtract(&self, other: &Self) -> Self {
        let mut rest = Vec::with_capacity(self.0.len() + other.0.len());
        let mut taken = &other.0[..];
        for &(first, last) in &self.0 {
            let mut open = Some(first);
            while let (Some(start), Some((hole, after))) = (open, taken.split_first()) {
                if hole.1 < start {
                    taken = after;
                    continue;
                }
                if hole.0 > last {
                    break;
                }
                if let Some(end) = hole.0.predecessor().filter(|end| start <= *end) {
                    rest.push((start, end));
                }
                // A hole that reaches beyond this range may also cut the next one: it stays.
                open = hole.1.successor().filter(|start| *start <= last);
            }
            rest.extend(open.map(|start| (start, last)));
        }
        Self(rest)
    }

    pub(super) fn complement(&self) -> Self {
        let mut gaps = Vec::with_capacity(self.0.len() + 1);
        let mut open = Some(N::ZERO);
        for &(first, last) in &self.0 {
            if let (Some(start), Some(end)) = (open, first.predecessor())
                && start <= end
            {
                gaps.push((start, end));
            }
            open = last.successor();
        }
        gaps.extend(open.map(|start| (start, N::MAX)));
        Self(gaps)
    }

    pub(super) fn covers(&self, first: N, last: N) -> bool {
        self.at_or_before(first)
            .is_some_and(|range| range.1 >= last)
    }

    pub(super) fn overlaps(&self, first: N, last: N) -> bool {
        self.at_or_before(last)
            .is_some_and(|range| range.1 >= first)
    }

    /// The last range that begins at or before `address`.
    fn at_or_before(&self, address: N) -> Option<&(N, N)> {
        let after = self.0.partition_point(|range| range.0 <= address);
        self.0[..after].last()
    }

    /// The largest aligned blocks of each range, as first address and prefix length.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (N, u8)> {
        self.0.iter().flat_map(|&(first, last)| {
            let mut open = Some(first);
            std::iter::from_fn(move || {
                let start = open?;
                let (length, end) = start.largest_block(last);
                open = end.successor().filter(|next| *next <= last);
                Some((start, length))
            })
        })
    }
}

/// True if a range that begins at `first` overlaps or touches one that ends at `last` and began before it.
fn joins<N: Number>(last: N, first: N) -> bool {
    last.successor().is_none_or(|next| first <= next)
}
