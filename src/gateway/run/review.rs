//! [`Review`]: what `offramp verify` says of the policy in force, and the age of its feeds, for the status.
//!
//! A policy is reviewed once, on a thread of its own: calls are predicted and sets compared, which takes long for large
//! feeds. The files are read again, for what there is to say of feeds. If they hold another policy than the one in force,
//! since that is refused or was taken from the copy, then nothing is said of their age.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinHandle;
use tracing::debug;

use crate::filter::{CompiledPolicy, Generation};
use crate::gateway::host::source::{PolicySource, Reviewed};
use crate::gateway::report::status::{FeedStatus, ReviewFindingStatus, ReviewStatus};
use crate::gateway::tun::publish::Enforced;
use crate::plan::{RoutePlan, Zones};
use crate::policy::Diagnostics;
use crate::verify::verify;

/// The review of the policy in force.
#[derive(Debug, Default)]
pub(super) struct Review {
    reviewing: Option<JoinHandle<Done>>,
    /// The last policy that a review was begun of.
    begun: Option<Generation>,
    done: Option<Done>,
}

/// A review that is done.
#[derive(Debug)]
struct Done {
    status: ReviewStatus,
    at: Instant,
}

impl Review {
    /// Begins to review `enforced`, unless that is done or under way. One under way is finished first.
    pub(super) fn begin(&mut self, source: &Arc<dyn PolicySource>, enforced: Arc<Enforced>) {
        let generation = enforced.policy().generation();
        if self.reviewing.is_some() || self.begun == Some(generation) {
            return;
        }
        self.begun = Some(generation);
        let source = Arc::clone(source);
        self.reviewing = Some(tokio::task::spawn_blocking(move || Done {
            status: review(&enforced, source.read_for_review()),
            at: Instant::now(),
        }));
    }

    /// Waits for the end of a review; forever where none is under way.
    pub(super) async fn done(&mut self) {
        let Some(reviewing) = &mut self.reviewing else {
            return std::future::pending().await;
        };
        let done = reviewing.await;
        self.reviewing = None;
        match done {
            Ok(done) => self.done = Some(done),
            Err(panic) => debug!("a review of the policy has failed: {panic}"),
        }
    }

    /// The review of `generation`; `None` until it is done.
    pub(super) fn status(&self, generation: Generation) -> Option<ReviewStatus> {
        let done = self.done.as_ref();
        let Done { status, at } = done.filter(|it| it.status.generation == generation.0)?;
        let days = at.elapsed().as_secs() / SECONDS_OF_A_DAY;
        let mut status = status.clone();
        for feed in &mut status.feeds {
            feed.age_days = feed.age_days.map(|age| age + days);
        }
        Some(status)
    }
}

fn review(enforced: &Enforced, read: Option<Reviewed>) -> ReviewStatus {
    let compiled = enforced.policy();
    let policy = compiled.policy();
    // As `offramp verify` asks: without the addresses of this host.
    let anywhere = CompiledPolicy::new(policy.clone(), compiled.generation());
    let (diagnostics, ages) = match read {
        Some(read) if read.policy == *policy => (read.diagnostics, read.feed_ages),
        Some(_) | None => (Diagnostics::default(), Vec::new()),
    };
    let findings = verify(
        anywhere.as_ref().unwrap_or(compiled),
        &RoutePlan::new(policy),
        &Zones::of(policy),
        &diagnostics,
    );
    let feeds = policy
        .feeds
        .iter()
        .enumerate()
        .map(|(at, feed)| FeedStatus {
            name: feed.name.value.clone(),
            line: feed.file.line,
            prefixes: feed.prefixes.as_ref().map(|it| it.len() as u64),
            age_days: ages
                .get(at)
                .copied()
                .flatten()
                .map(|age| age.as_secs() / SECONDS_OF_A_DAY),
            max_age_days: feed.max_age_days.into(),
        });
    ReviewStatus {
        generation: compiled.generation().0,
        findings: findings.iter().map(ReviewFindingStatus::from).collect(),
        feeds: feeds.collect(),
    }
}

const SECONDS_OF_A_DAY: u64 = 86_400;
