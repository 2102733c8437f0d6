//! [`TraceTasks`]: the traces of clients that a running gateway serves, each by a task.

use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;

use super::Gateway;
use crate::gateway::divert::{Divert, DivertPlan};
use crate::gateway::record::trace::Traces;
use crate::gateway::report::status::scope_word;
use crate::gateway::report::trace::{self, TraceBegin, TraceRequest};

/// The tasks that serve traces.
pub(super) struct TraceTasks {
    tasks: JoinSet<()>,
    stops: watch::Sender<bool>,
}

impl TraceTasks {
    pub(super) fn new() -> Self {
        Self {
            tasks: JoinSet::new(),
            stops: watch::Sender::new(false),
        }
    }

    /// Has the traces tell their end; gives up on those that nobody reads.
    pub(super) async fn stop(&mut self) {
        self.stops.send_replace(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        _ = tokio::time::timeout(PATIENCE, ended).await;
    }
}

impl<D: Divert> Gateway<D> {
    /// Begins a trace on the connection of a client of the control socket, or tells it why not.
    pub(super) fn trace(&mut self, stream: UnixStream, request: TraceRequest) {
        while self.traces.tasks.try_join_next().is_some() {}
        let enforced = self.published.current();
        let policy = enforced.policy();
        let mut pools = policy.policy().vpn.client_subnets.iter();
        if !pools.any(|pool| pool.value.contains(&request.client)) {
            let why = format!(
                "{} is in none of vpn.client_subnets of {}: name a client's address inside the VPN",
                request.client, self.name
            );
            self.traces.tasks.spawn(trace::refuse(stream, why));
            return;
        }
        let Some(reader) = self.published.traces().begin(request.client) else {
            let why = format!(
                "{} traces are running, which is as many as there may be: wait for the end of one",
                Traces::MAX_TRACES
            );
            self.traces.tasks.spawn(trace::refuse(stream, why));
            return;
        };
        // The log has no addresses of clients.
        info!(
            "a client is traced for {} seconds at most, as the control socket asked for",
            request.seconds
        );
        let begin = TraceBegin {
            client: request.client,
            seconds: request.seconds,
            packets: request.packets,
            packets_per_second: Traces::RATE,
            policy: self.name.clone(),
            generation: policy.generation().0,
            diversion: D::NAME.to_owned(),
            scope: scope_word(self.divert.plan().summary().scope).to_owned(),
            bypassed: self.bypassed,
        };
        let stops = self.traces.stops.subscribe();
        let served = trace::serve(stream, reader, begin, stops);
        self.traces.tasks.spawn(served);
    }
}

/// Time limit to tell the end of the traces.
const PATIENCE: Duration = Duration::from_millis(500);
