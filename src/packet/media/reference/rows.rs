//! Rows of packets, worked out anew for each packet from all that came before.

use std::time::Duration;

use super::payload::Payload;

/// Packets of a flow, each with its size and its time.
pub(super) type Looks = [(Vec<u8>, usize, Duration)];

/// One row: its last packet, when it came, packets, moves of the clock.
pub(super) type RtpRow = ((u32, usize, u32, usize), Duration, usize, usize);

/// True if the last packet makes a row media; true if a row is under way.
pub(super) fn rows(looks: &Looks) -> (bool, bool) {
    let mut rows: Vec<RtpRow> = Vec::new();
    let mut is_media = false;
    for (bytes, size, now) in looks {
        is_media = false;
        let Some(header) = (Payload { bytes, size: *size }).rtp() else {
            continue;
        };
        let Some(row) = rows.iter_mut().find(|row| row.0.0 == header.0) else {
            if rows.len() == 4 {
                let oldest = (0..4).min_by_key(|&at| rows[at].1).expect("four rows");
                rows[oldest] = (header, *now, 1, 0);
            } else {
                rows.push((header, *now, 1, 0));
            }
            continue;
        };
        let step = (header.1 + 65_536 - row.0.1) % 65_536;
        if step == 0 || step >= 65_536 - 32 {
            continue;
        }
        let since = now.saturating_sub(row.1);
        let clock = header.2.wrapping_sub(row.0.2);
        let limit = 90_000 * (since.as_nanos() + 100_000_000);
        let moved = clock >= 32 && u128::from(clock) * 1_000_000_000 <= limit;
        let fits = step <= 32
            && header.3 == row.0.3
            && since <= Duration::from_millis(500)
            && (moved || clock == 0);
        *row = if fits {
            (header, *now, row.2 + 1, row.3 + usize::from(moved))
        } else {
            (header, *now, 1, 0)
        };
        is_media = row.2 >= 3 && row.3 >= 2;
    }
    (is_media, rows.iter().any(|row| row.2 >= 2))
}

/// True if the last packet and the one before it of its source are RTCP or SRTCP.
pub(super) fn srtcp(looks: &Looks) -> bool {
    let mut sources: Vec<(u32, usize)> = Vec::new();
    let mut found = false;
    for (at, (bytes, size, _)) in looks.iter().enumerate() {
        found = false;
        let this = Payload { bytes, size: *size };
        // A payload that can be RTP is none of RTCP: their types differ.
        let Some(source) = this.rtcp() else {
            continue;
        };
        if let Some(before) = sources.iter_mut().find(|(known, _)| *known == source) {
            let (bytes, size, _) = &looks[before.1];
            let last = Payload { bytes, size: *size };
            let moved = |place| match (last.index(place), this.index(place)) {
                (Some(before), Some(after)) => {
                    (before + 1..=before.saturating_add(64)).contains(&after)
                }
                _ => false,
            };
            found = (last.parts().is_some() && this.parts().is_some())
                || [14, 15, 18, 4].into_iter().any(moved);
            before.1 = at;
        } else if sources.len() == 4 {
            let time = |&slot: &usize| looks[sources[slot].1].2;
            let oldest = (0..4).min_by_key(time).expect("four sources");
            sources[oldest] = (source, at);
        } else {
            sources.push((source, at));
        }
    }
    found
}
