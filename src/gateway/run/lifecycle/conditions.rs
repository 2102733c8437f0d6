//! The conditions of the host, and what follows from them while the gateway runs.

use tracing::{error, info};

use super::super::loader::ReloadTrigger;
use super::super::pools::Share;
use super::super::recheck::check_mounts;
use super::Gateway;
use crate::gateway::divert::Divert;
use crate::policy::FailMode;
use crate::verdict::Reason;

impl<D: Divert> Gateway<D> {
    /// Begins to ask for the conditions of the host again.
    pub(super) async fn look(&mut self) {
        if self.recheck.is_due(self.loader.files()) {
            self.ask_for_policy(ReloadTrigger::FileChange);
        }
        if self.health.is_looking() {
            // Firewalls of many rules take long to list: what else there is does not wait for them.
            return self.conclude_look().await;
        }
        let enforced = self.published.current();
        let health = &mut self.health;
        health
            .look::<D>(self.divert.plan(), enforced, &self.netlink)
            .await;
    }

    /// Takes note of the conditions of the host, once its firewalls are known.
    pub(super) async fn conclude_look(&mut self) {
        let enforced = self.published.current();
        let mut share = Share::default();
        for ((reason, _), traffic) in self.verdicts() {
            share.add(reason == Reason::NotAClient, traffic);
        }
        self.stand_aside_or_back().await;
        let replaced = check_mounts(self.loader.files());
        let health = &mut self.health;
        health
            .conclude(
                &self.divert,
                enforced.policy(),
                share,
                replaced,
                &self.netlink,
            )
            .await;
    }

    /// Ends the diversion while it would open what a firewall of the host closes, and takes it up again.
    async fn stand_aside_or_back(&mut self) {
        let opens = self.health.opens();
        if opens == self.aside {
            return;
        }
        match self.divert.stand_aside(opens).await {
            Ok(()) => self.aside = opens,
            Err(error) => return error!("cannot change the diversion: {error}"),
        }
        match (opens, self.options.on_failure) {
            (false, _) => info!("packets are diverted to the filter again"),
            (true, FailMode::Open) => error!(
                "a firewall would let pass behind the filter what it stops without: nothing is diverted meanwhile, and traffic \
                 passes unjudged"
            ),
            (true, FailMode::Closed) => error!(
                "a firewall would let pass behind the filter what it stops without: what is diverted is stopped meanwhile"
            ),
        }
    }
}
