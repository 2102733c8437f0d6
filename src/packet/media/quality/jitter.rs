//! [`Jitter`]: the interarrival jitter of a stream (RFC 3550 §6.4.1 and A.8).

/// Interarrival jitter by one clock, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Jitter {
    /// The smoothed estimate behind the last packet, as a receiver report has it.
    pub last: f64,
    /// The mean of the estimates behind each packet.
    pub mean: f64,
    /// The highest of them.
    pub max: f64,
}

/// The gain of the estimate is one by this.
const GAIN: f64 = 16.0;

impl Jitter {
    /// Adds a packet whose transit took longer, or less long, than that of the one before by `difference` seconds.
    ///
    /// `before` packets were received before it. Only the ones that count among `mean` and `max` are as Wireshark has
    /// them: neither marked ones, which follow silence or end a picture, nor comfort noise and what follows it.
    pub(super) fn add(&mut self, difference: f64, before: u64, counts: bool) {
        self.last += (difference.abs() - self.last) / GAIN;
        if counts {
            self.max = self.max.max(self.last);
            self.mean += (self.last - self.mean) / before as f64;
        }
    }
}
