//! What a target takes: limits, whose they are, and what would help.

use std::fmt;

use super::{Form, Options, RenderError, Rendered, Target, write};
use crate::plan::RoutePlan;
use crate::policy::TunnelMode;

/// What can be counted of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    /// Prefixes of both families.
    Entries,
    /// Prefixes of IPv4.
    V4Entries,
    /// Prefixes of IPv6.
    V6Entries,
    /// Bytes of what the program hands on: of one DHCP option, or of one command.
    Bytes,
}

impl fmt::Display for Measure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Entries => "entries",
            Self::V4Entries => "IPv4 entries",
            Self::V6Entries => "IPv6 entries",
            Self::Bytes => "bytes",
        })
    }
}

/// The size of a file, as its program counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Measures {
    /// Prefixes of IPv4.
    pub v4_entries: usize,
    /// Prefixes of IPv6.
    pub v6_entries: usize,
    /// Bytes of what the program hands on, where it has a limit.
    pub bytes: usize,
    /// Messages in which the program hands it on, where it cuts it.
    pub messages: Option<usize>,
}

impl Measures {
    /// The count of one measure.
    pub const fn of(&self, measure: Measure) -> usize {
        match measure {
            Measure::Entries => self.v4_entries + self.v6_entries,
            Measure::V4Entries => self.v4_entries,
            Measure::V6Entries => self.v6_entries,
            Measure::Bytes => self.bytes,
        }
    }
}

/// A limit of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What is counted.
    pub measure: Measure,
    /// How many it takes.
    pub most: usize,
    /// Whether more is refused; else it is a warning.
    pub is_strict: bool,
    /// Whose limit it is.
    pub whose: &'static str,
}

const fn limit(measure: Measure, most: usize, is_strict: bool, whose: &'static str) -> Limit {
    Limit {
        measure,
        most,
        is_strict,
        whose,
    }
}

impl Target {
    /// Its limits.
    pub const fn limits(self) -> &'static [Limit] {
        const OPENVPN: &[Limit] = &[limit(
            Measure::V4Entries,
            100,
            false,
            "clients before OpenVPN 2.4",
        )];
        // A parameter of a management command is read into 256 bytes; a command replaces all routes, so it cannot be cut.
        const PUSH_UPDATE: &[Limit] = &[limit(
            Measure::Bytes,
            256,
            true,
            "one parameter of a management command",
        )];
        const ANYCONNECT: &[Limit] = &[
            limit(Measure::V4Entries, 2_500, true, "Cisco's clients"),
            limit(Measure::V6Entries, 2_500, true, "Cisco's clients"),
            limit(Measure::Entries, 200, false, "older AnyConnect clients"),
        ];
        const WIREGUARD: &[Limit] = &[limit(
            Measure::Entries,
            200,
            false,
            "several graphical and mobile clients",
        )];
        // RFC 7296 §3.13: the number of traffic selectors of a payload is one byte.
        const IKE: &[Limit] = &[limit(
            Measure::Entries,
            255,
            true,
            "one traffic selector payload",
        )];
        // Each subnet of the Unity extension takes 14 bytes of an attribute whose length has 16 bits.
        const UNITY: &[Limit] = &[limit(
            Measure::V4Entries,
            4_681,
            true,
            "one attribute of the Unity extension",
        )];
        const WINDOWS: &[Limit] = &[limit(
            Measure::Entries,
            1_000,
            false,
            "Windows clients, which add routes one by one",
        )];
        // RFC 2132 §2: the length of an option is one byte. RFC 3396 lets long ones be cut in pieces, which dnsmasq does
        // not do, and which not every client puts together.
        const KEA: &[Limit] = &[limit(
            Measure::Bytes,
            255,
            false,
            "clients that do not join options in pieces, RFC 3396",
        )];
        const DNSMASQ: &[Limit] = &[limit(Measure::Bytes, 255, true, "one DHCP option")];
        match self {
            Self::OpenVpn | Self::OpenVpnCcd | Self::OpenVpnClientConnect => OPENVPN,
            Self::OpenVpnPushUpdate => PUSH_UPDATE,
            Self::Ocserv | Self::CiscoAsa => ANYCONNECT,
            Self::WireGuard => WIREGUARD,
            Self::StrongSwan => IKE,
            Self::StrongSwanUnity => UNITY,
            Self::WindowsProfileXml | Self::WindowsPowerShell => WINDOWS,
            Self::Kea => KEA,
            Self::Dnsmasq => DNSMASQ,
            Self::Prefixes | Self::Json => &[],
        }
    }
}

/// Refuses what is past a strict limit, and warns of the others.
pub(super) fn check(
    target: Target,
    plan: &RoutePlan,
    options: &Options,
    rendered: &mut Rendered,
) -> Result<(), RenderError> {
    for limit in target.limits() {
        let count = rendered.measures.of(limit.measure);
        if count <= limit.most {
            continue;
        }
        let shrink = shrink(target, plan, options, rendered.form, limit);
        let over = RenderError::OverBudget {
            target,
            measure: limit.measure,
            count,
            most: limit.most,
            whose: limit.whose,
            shrink,
        };
        if limit.is_strict {
            return Err(over);
        }
        rendered.warnings.push(over.to_string());
    }
    Ok(())
}

/// What would bring it below the limit.
fn shrink(
    target: Target,
    plan: &RoutePlan,
    options: &Options,
    form: Form,
    limit: &Limit,
) -> String {
    let other = match form {
        Form::Include => Form::Exclude,
        Form::Exclude => Form::Include,
    };
    let options = Options {
        form: Some(other),
        ..options.clone()
    };
    let mut ways = Vec::new();
    if let Ok(rendered) = write(target, plan, &options)
        && rendered.measures.of(limit.measure) <= limit.most
    {
        let count = rendered.measures.of(limit.measure);
        ways.push(format!("--form {other} has {count}"));
    }
    if plan.mode == TunnelMode::Full && limit.measure != Measure::Bytes {
        ways.push(format!(
            "--widen-to {} takes wider prefixes out of the tunnel, and lists what that adds",
            limit.most
        ));
    }
    if plan.mode == TunnelMode::Split && limit.measure != Measure::Bytes {
        ways.push("write fewer, wider corporate subnets".to_owned());
    }
    if ways.is_empty() {
        ways.push("take fewer services, or categories of a feed, out of the tunnel".to_owned());
    }
    format!("; {}", ways.join("; "))
}
