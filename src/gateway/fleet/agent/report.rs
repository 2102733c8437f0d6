//! The report of an agent: what the gateway on its host makes of the release, by its metrics.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tracing::{info, warn};

use super::{Agent, Synced, now};
use crate::files::regular;
use crate::gateway::fleet::layout;
use crate::gateway::fleet::report::{GatewayReport, GatewayState, LEASE, REPORT_INTERVAL};
use crate::gateway::fleet::running::Running;
use crate::gateway::host::fleet_state::FleetState;
use crate::policy::{self, MAX_FILE_SIZE};

impl Agent {
    /// Writes a report where something has changed, or the last one is old.
    pub(super) fn report(&mut self, synced: &Synced, wanted: Option<u64>, state: &FleetState) {
        let is_there = state.serial > 0;
        let (gateway_state, mut reason) = match synced {
            Synced::Refused(why) => (GatewayState::Refused, Some(why.clone())),
            Synced::NoRelease => (GatewayState::NoRelease, None),
            Synced::Current(serial) => self.running(*serial),
        };
        self.is_settled = !matches!(
            gateway_state,
            GatewayState::Pending | GatewayState::NotReady | GatewayState::NoAnswer
        );
        if state.expires.is_some() && is_expired(state) {
            let expires = state.expires.as_deref().unwrap_or_default();
            let why = format!("release {} has expired, on {expires}", state.serial);
            if self.told.expired != Some(state.serial) {
                warn!("{why}; it stays in force: publish a later one");
                self.told.expired = Some(state.serial);
            }
            reason = reason.or(Some(why));
        }
        let report = GatewayReport {
            gateway: self.gateway.clone(),
            site: self.options.site.clone(),
            channel: self.options.channel.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            wanted,
            has: is_there.then_some(state.serial),
            sha256: is_there.then(|| state.sha256.clone()),
            since: is_there.then(|| state.since.clone()),
            state: gateway_state,
            reason,
            seen: now(),
        };
        let is_known = self.reported.as_ref().is_some_and(|(before, at)| {
            let same = GatewayReport {
                seen: before.seen.clone(),
                ..report.clone()
            };
            same == *before && at.elapsed() < REPORT_INTERVAL
        });
        if is_known {
            return;
        }
        let key = layout::gateway(&self.gateway);
        match self.store.report(&key, &report.to_json(), LEASE) {
            Ok(_) => {
                if let Some(trouble) = self.told.report.take() {
                    info!("the store takes reports again, after: {trouble}");
                }
                self.reported = Some((report, Instant::now()));
            }
            Err(error) => {
                let trouble = error.to_string();
                if self.told.report.as_ref() != Some(&trouble) {
                    warn!("the store does not take the report of this gateway: {trouble}");
                }
                self.told.report = Some(trouble);
            }
        }
    }

    /// Asks the gateway on this host for the release in its policy file.
    fn running(&self, serial: u64) -> (GatewayState, Option<String>) {
        let Some(address) = self.metrics() else {
            let why = "gateway.metrics is not set, so the gateway cannot be asked";
            return (GatewayState::Unconfirmed, Some(why.to_owned()));
        };
        let began = Instant::now();
        loop {
            let (state, why) = match Running::ask(address, serial) {
                Running::InForce { ready: true } => return (GatewayState::InForce, None),
                Running::InForce { ready: false } => (
                    GatewayState::NotReady,
                    "the gateway is not ready: offramp status",
                ),
                Running::Another => (
                    GatewayState::Pending,
                    "the gateway judges by another policy: its log and `offramp status` say why",
                ),
                Running::Silent => (GatewayState::NoAnswer, "the gateway does not answer"),
            };
            // A reload takes a moment.
            if began.elapsed() >= RELOAD_PATIENCE || state == GatewayState::NoAnswer {
                return (state, Some(why.to_owned()));
            }
            thread::sleep(RELOAD_PATIENCE / 20);
        }
    }

    /// The address of the gateway's metrics, by the policy file.
    fn metrics(&self) -> Option<SocketAddr> {
        let text = regular::read(self.spool.policy(), MAX_FILE_SIZE as u64 + 1).ok()?;
        let (policy, _) = policy::parse("", &text).ok()?;
        Some(policy.gateway.metrics?.value)
    }
}

fn is_expired(state: &FleetState) -> bool {
    let expires = state.expires.as_deref();
    let expires = expires.and_then(|it| humantime::parse_rfc3339(it).ok());
    expires.is_some_and(|at| at <= SystemTime::now())
}

/// The time that a gateway may take to reload.
const RELOAD_PATIENCE: Duration = Duration::from_secs(5);
