//! Messages of an agent in its log, each told once.

use tracing::{info, warn};

use super::{Agent, Synced};
use crate::gateway::fleet::store::StoreError;

/// Messages that were told.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) refusal: Option<String>,
    pub(super) trouble: Option<String>,
    pub(super) report: Option<String>,
    pub(super) site: Option<String>,
    pub(super) state: Option<String>,
    pub(super) expired: Option<u64>,
}

impl Agent {
    /// Tells the outcome of a look at the store, if it is another one than before.
    pub(super) fn tell_outcome(&mut self, synced: &Synced) {
        let refusal = match synced {
            Synced::Current(_) => None,
            Synced::Refused(why) => Some(why.clone()),
            Synced::NoRelease => Some(format!(
                "the channel {} has no release: offramp fleet publish",
                self.options.channel
            )),
        };
        if refusal != self.told.refusal {
            match &refusal {
                Some(why) => warn!("the policy stays as it is: {why}"),
                None => info!("the policy file has what the channel has"),
            }
            self.told.refusal = refusal;
        }
    }

    /// Tells why the store could not be asked.
    pub(super) fn tell_trouble(&mut self, error: &StoreError) {
        let trouble = error.to_string();
        if self.told.trouble.as_ref() != Some(&trouble) {
            warn!("the policy stays as it is, since the store does not answer: {trouble}");
        }
        self.told.trouble = Some(trouble);
    }
}
