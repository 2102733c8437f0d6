//! Requests of clients of the control socket.

use tracing::{error, info, warn};

use super::Gateway;
use super::selftest::Extent;
use crate::gateway::divert::Divert;
use crate::gateway::report::control::{self, Asked, Request};
use crate::gateway::run::loader::ReloadTrigger;

impl<D: Divert> Gateway<D> {
    /// Has everything pass unjudged, or has traffic judged again.
    async fn bypass(&mut self, on: bool) {
        match self.divert.bypass(on).await {
            Ok(()) if self.bypassed == on => {}
            Ok(()) if on => {
                warn!("bypass is on: everything passes unjudged, until `offramp bypass off`")
            }
            Ok(()) => info!("bypass is off: traffic is judged again"),
            Err(error) => {
                error!("cannot switch the bypass: {error}");
                return;
            }
        }
        self.bypassed = on;
        self.self_tests.forget();
    }

    /// Does what a client of the control socket asks for, and tells it the status.
    pub(super) async fn obey(&mut self, Asked { request, stream }: Asked) {
        match request {
            Request::Status | Request::Addresses => {}
            Request::Trace(wanted) => return self.trace(stream, wanted),
            Request::Bypass(on) => self.bypass(on).await,
            Request::SelfTest if !self.bypassed => self.test_itself(Extent::Thorough).await,
            Request::SelfTest => {}
            Request::Enforce(duration) => self.begin_trial(duration),
            Request::Keep => self.keep_trial(),
            Request::EndTrial => self.end_trial(),
            Request::Reload => {
                self.waiting.add(stream, self.loader.is_loading());
                return self.ask_for_policy(ReloadTrigger::Signal);
            }
            Request::TryReload => return self.try_reload(stream),
        }
        let mut status = self.status().await;
        status.rules.retain(|rule| rule.packets > 0);
        if request == Request::Addresses {
            status.drop_table = self.drops.table_status(true);
        }
        tokio::spawn(control::tell(stream, status));
    }
}
