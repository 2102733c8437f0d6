//! Interprets `[gateway]`: defaults, and the keys that take effect only at a restart.

use std::net::SocketAddr;
use std::path::Path;

use crate::policy::GatewayOptions;

/// The address of the metrics endpoint, if the policy has one.
pub(super) fn metrics_address(gateway: &GatewayOptions) -> Option<SocketAddr> {
    gateway.metrics.as_ref().map(|address| address.value)
}

/// The address of the status page, if the policy has one.
pub(super) fn page_address(gateway: &GatewayOptions) -> Option<SocketAddr> {
    gateway.page.as_ref().map(|address| address.value)
}

/// The path of the control socket.
pub(super) fn control_path(gateway: &GatewayOptions) -> &Path {
    Path::new(
        gateway
            .control
            .as_ref()
            .map_or(GatewayOptions::CONTROL, |path| path.value.as_str()),
    )
}

/// The number of workers. One queue on a host with two cores or fewer: the sender of the packets needs one of them.
pub(super) fn workers_wanted(gateway: &GatewayOptions) -> usize {
    gateway.workers.map_or(1, usize::from)
}

/// The processors that the workers are pinned to.
pub(super) fn cpus(gateway: &GatewayOptions) -> impl Iterator<Item = usize> + '_ {
    gateway.cpus.iter().map(|cpu| cpu.value.into())
}

/// The keys of `[gateway]` that differ from those at the start and take effect at the next start only; those of the
/// diversion are its own.
pub(super) fn keys_for_restart(
    new: &GatewayOptions,
    started: &GatewayOptions,
) -> Vec<&'static str> {
    let checks = [
        (
            "gateway.workers",
            workers_wanted(new) != workers_wanted(started),
        ),
        ("gateway.realtime", new.realtime != started.realtime),
        ("gateway.cpus", cpus(new).ne(cpus(started))),
        (
            "gateway.control",
            control_path(new) != control_path(started),
        ),
        (
            "gateway.metrics",
            metrics_address(new) != metrics_address(started),
        ),
        ("gateway.page", page_address(new) != page_address(started)),
    ];
    let waiting = checks.iter().filter(|(_, changed)| *changed);
    waiting.map(|(key, _)| *key).collect()
}
