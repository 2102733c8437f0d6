//! [`Absence`]: the time for which no interface of the VPN was there (`gateway.require_interfaces`).
//!
//! A sidecar shares the network namespace of the VPN's container. Where a new container gets another namespace, the sidecar
//! stays in the old one, which no client reaches, and everything that it can see there is as it should be.

use std::time::{Duration, Instant};

use crate::policy::{GatewayOptions, WithoutInterfaces};
use crate::verify::Finding;

/// The time for which no interface of the VPN was there.
#[derive(Debug, Default)]
pub(super) struct Absence {
    since: Option<Instant>,
}

impl Absence {
    /// Takes note whether an interface of `patterns` is there; none for as long as `options` allow is a finding.
    pub(super) fn check(
        &mut self,
        options: &GatewayOptions,
        patterns: &[String],
        is_there: bool,
        now: Instant,
    ) -> Option<Finding> {
        if is_there {
            self.since = None;
            return None;
        }
        let since = *self.since.get_or_insert(now);
        let seconds = options.require_interfaces?;
        let is_over = now.duration_since(since) >= Duration::from_secs(seconds.into());
        is_over.then(|| {
            Finding::host_error(
                format!(
                    "no interface of the VPN ({}) has been there for {seconds} s (gateway.require_interfaces): nothing is judged",
                    patterns.join(", ")
                ),
                "start the VPN daemon; where its container was started anew and has another network namespace, start offramp's \
                 container anew, too",
            )
        })
    }
}

/// Returns `true` if the gateway is to end over such a finding.
pub(super) fn ends(options: &GatewayOptions) -> bool {
    match options.without_interfaces {
        WithoutInterfaces::Exit => true,
        WithoutInterfaces::NotReady => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_that_were_missing_for_the_whole_time_are_a_finding() {
        let start = Instant::now();
        let mut absence = Absence::default();
        let mut found = |require_interfaces, is_there, seconds| {
            let options = GatewayOptions {
                require_interfaces,
                ..GatewayOptions::default()
            };
            let now = start + Duration::from_secs(seconds);
            let patterns = ["wg0".to_owned()];
            absence
                .check(&options, &patterns, is_there, now)
                .map(|finding| finding.what)
        };
        assert_eq!(found(Some(30), false, 0), None);
        assert_eq!(found(Some(30), false, 29), None);
        let what = found(Some(30), false, 30).expect("30 seconds have passed");
        assert!(what.contains("(wg0)"), "{what}");
        assert!(
            found(Some(30), false, 33).is_some(),
            "it stays, in the same words"
        );
        assert_eq!(found(Some(30), true, 36), None);
        assert_eq!(found(Some(30), false, 39), None, "the time begins again");
        assert_eq!(found(None, false, 1_000), None, "off by default");
        assert!(
            found(Some(30), false, 1_003).is_some(),
            "a reload has set it"
        );
    }
}
