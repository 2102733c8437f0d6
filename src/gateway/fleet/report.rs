//! [`GatewayReport`]: what a gateway of a fleet tells in the store: which release it wants and has, and what became of it.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// Report of a gateway in the store; at most [`MAX_REPORT`] bytes of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayReport {
    /// Its name.
    pub gateway: String,
    /// The name of its site.
    pub site: String,
    /// The channel that it follows.
    pub channel: String,
    /// Version of the program.
    pub version: String,
    /// The serial that the channel had.
    pub wanted: Option<u64>,
    /// The serial of its policy file.
    pub has: Option<u64>,
    /// Digest of that release's policy.
    pub sha256: Option<String>,
    /// The time since when it has that (RFC 3339).
    pub since: Option<String>,
    /// The outcome of the release that it wants.
    pub state: GatewayState,
    /// Reason of a state that is no success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The time of this report (RFC 3339).
    pub seen: String,
}

/// The outcome of the release that a gateway wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatewayState {
    /// The gateway judges by it, and is ready.
    InForce,
    /// The gateway judges by it, and is not ready.
    NotReady,
    /// The policy file has it; the gateway judges by an earlier one.
    Pending,
    /// The policy file has it; the gateway does not answer.
    NoAnswer,
    /// The policy file has it; `gateway.metrics` is not set, so the gateway cannot be asked.
    Unconfirmed,
    /// It was refused, and the policy file has an earlier one.
    Refused,
    /// There is no release in the channel.
    NoRelease,
}

impl GatewayState {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::InForce => "in force",
            Self::NotReady => "not ready",
            Self::Pending => "pending",
            Self::NoAnswer => "no answer",
            Self::Unconfirmed => "unconfirmed",
            Self::Refused => "refused",
            Self::NoRelease => "no release",
        }
    }
}

impl GatewayReport {
    /// Its JSON, within the bound.
    pub fn to_json(&self) -> Vec<u8> {
        let mut report = self.clone();
        report.reason = report.reason.map(|it| shorten(&it, MAX_REASON));
        // Strings and numbers have a form as JSON.
        serde_json::to_vec(&report).unwrap_or_default()
    }

    /// Reads one; `None` if it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The time since it was written; `None` if it does not say.
    pub fn age(&self, now: SystemTime) -> Option<Duration> {
        let seen = humantime::parse_rfc3339(&self.seen).ok()?;
        // A gateway's clock may be ahead.
        Some(now.duration_since(seen).unwrap_or_default())
    }

    /// Reason why this gateway does not have `serial`, which its channel is at; `None` if it does, as far as it can tell.
    pub fn lag(&self, serial: u64, now: SystemTime) -> Option<String> {
        let reason = self.reason.as_deref();
        let because = reason.map_or(String::new(), |reason| format!(": {reason}"));
        if self.age(now).is_none_or(|age| age > SILENT) {
            return Some(format!("nothing was heard of it since {}", self.seen));
        }
        match self.state {
            GatewayState::Refused if self.wanted == Some(serial) => {
                Some(format!("it has refused release {serial}{because}"))
            }
            _ if self.has != Some(serial) => Some(match self.has {
                Some(has) => format!("it has release {has}"),
                None => "it has no release".to_owned(),
            }),
            GatewayState::InForce | GatewayState::Unconfirmed => None,
            GatewayState::NotReady
            | GatewayState::Pending
            | GatewayState::NoAnswer
            | GatewayState::Refused
            | GatewayState::NoRelease => Some(format!("{}{because}", self.state.word())),
        }
    }
}

/// Cuts `text` to its first line, and to so many bytes.
fn shorten(text: &str, most: usize) -> String {
    let text: String = text.lines().next().unwrap_or_default().to_owned();
    if text.len() <= most {
        return text;
    }
    let end = text.floor_char_boundary(most);
    format!("{}…", &text[..end])
}

/// Bytes of a report: with thousands of gateways a store keeps megabytes.
pub const MAX_REPORT: usize = 1024;
/// Bytes of a reason; in JSON a byte may take six.
const MAX_REASON: usize = 300;
/// The time between two reports of a gateway to which nothing happens.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(600);
/// The time without a report after which a gateway counts as gone: three that did not come.
pub const SILENT: Duration = Duration::from_secs(1_830);
/// The time for which a store keeps the report of a gateway that is gone: a week, so that a gateway that is missing after a
/// weekend is still told of.
pub const LEASE: Duration = Duration::from_secs(7 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    fn report(state: GatewayState) -> GatewayReport {
        GatewayReport {
            gateway: "vpn1".to_owned(),
            site: "Berlin".to_owned(),
            channel: "stable".to_owned(),
            version: "0.1.0".to_owned(),
            wanted: Some(41),
            has: Some(41),
            sha256: Some("0".repeat(64)),
            since: None,
            state,
            reason: None,
            seen: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        }
    }

    #[test]
    fn a_report_is_short_whatever_the_reason() {
        let mut long = report(GatewayState::Refused);
        long.reason = Some("ä".repeat(10_000));
        (long.gateway, long.site, long.channel) = ("g".repeat(64), "ä".repeat(32), "c".repeat(64));
        let json = long.to_json();
        assert!(json.len() <= MAX_REPORT, "{}", json.len());
        assert!(GatewayReport::parse(&json).is_some());
    }

    #[test]
    fn a_gateway_lags_unless_it_has_the_serial_and_says_nothing_against_it() {
        let now = SystemTime::now();
        assert_eq!(report(GatewayState::InForce).lag(41, now), None);
        assert_eq!(report(GatewayState::Unconfirmed).lag(41, now), None);
        for state in [
            GatewayState::NotReady,
            GatewayState::Pending,
            GatewayState::NoAnswer,
            GatewayState::Refused,
        ] {
            assert!(report(state).lag(41, now).is_some(), "{state:?}");
        }
        let lag = report(GatewayState::InForce).lag(42, now);
        assert_eq!(lag.as_deref(), Some("it has release 41"));
        let later = now + SILENT + Duration::from_secs(2);
        let lag = report(GatewayState::InForce).lag(41, later);
        assert!(
            lag.expect("it is silent")
                .starts_with("nothing was heard of it since")
        );
    }
}
