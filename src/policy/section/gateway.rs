//! `[gateway]`: the sidecar itself: diversion, workers, fail mode, metrics, status page, drop log.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::policy::diagnostic::{Code, Collector, Diagnostic};
use crate::policy::syntax::write::{header, list, pair, raw, values};
use crate::policy::syntax::{Form, Header, Key, Kind, PolicyFile, Section, SectionTable};
use crate::policy::value::{
    STANDARD_OUTPUT, Sourced, Word, parse_device, parse_log, parse_path, parse_prefix, parse_socket,
};

/// `[gateway]`: diversion, workers, fail mode, metrics and page addresses, drop log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GatewayOptions {
    /// `gateway.diversion`.
    pub diversion: DiversionChoice,
    /// `gateway.divert`.
    pub divert: DivertScope,
    /// Name of the filter's tun device; `None` is [`GatewayOptions::DEVICE`].
    pub device: Option<Sourced<String>>,
    /// Bits of the firewall mark; `None` is [`MarkBits::DEFAULT`].
    pub mark: Option<Sourced<MarkBits>>,
    /// The first of the three route tables that lead to the filter; `None` is [`GatewayOptions::TABLE`].
    pub table: Option<Sourced<u32>>,
    /// Worker threads; `None` lets the gateway choose.
    pub workers: Option<u16>,
    /// Real-time priority of the workers (SCHED_FIFO, 1 to 99); `None` leaves them to the ordinary scheduler.
    pub realtime: Option<u8>,
    /// Processors that the workers keep to, each to its share of them; empty for any.
    pub cpus: Vec<Sourced<u16>>,
    /// `gateway.on_failure`.
    pub on_failure: FailMode,
    /// `gateway.enforce` and `gateway.pilot`.
    pub enforcement: Enforcement,
    /// Seconds for which there may be no interface of the VPN; `None` for ever.
    pub require_interfaces: Option<u32>,
    /// `gateway.without_interfaces`.
    pub without_interfaces: WithoutInterfaces,
    /// Path of the control socket; `None` is [`GatewayOptions::CONTROL`].
    pub control: Option<Sourced<String>>,
    /// Address of the metrics endpoint; `None` switches it off.
    pub metrics: Option<Sourced<SocketAddr>>,
    /// Address of the status page; `None` switches it off.
    pub page: Option<Sourced<SocketAddr>>,
    /// Absolute path of the log of dropped packets, or [`GatewayOptions::STANDARD_OUTPUT`]; `None` switches it off.
    pub drop_log: Option<Sourced<String>>,
    /// Lines a second at most for each reason; `None` is [`GatewayOptions::DROP_LOG_RATE`].
    pub drop_log_rate: Option<Sourced<u32>>,
}

impl GatewayOptions {
    /// The filter's tun device where the file names none.
    pub const DEVICE: &'static str = "offramp0";
    /// The first route table where the file names none; above the 256 that are usually given names.
    pub const TABLE: u32 = 28_528;
    /// The control socket where the file names none.
    pub const CONTROL: &'static str = "/run/offramp/control.sock";
    /// Name that stands for standard output.
    pub const STANDARD_OUTPUT: &'static str = STANDARD_OUTPUT;
    /// Lines a second of the drop log, for each reason, where the file leaves it open: to read along, and for no disk a load.
    pub const DROP_LOG_RATE: u32 = 10;
}

/// The way in which packets are led to the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DiversionChoice {
    /// eBPF where the kernel and the rights of the process allow it, else nftables.
    #[default]
    Auto,
    /// Programs at the interfaces of the VPN.
    Ebpf,
    /// Marks, routing rules and routes.
    Nftables,
}

impl Word for DiversionChoice {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("ebpf", Self::Ebpf),
        ("nftables", Self::Nftables),
    ];
}

/// How much the gateway diverts from the kernel's path.
///
/// Whatever is left in the kernel is not judged, and not counted. Fragments, and packets with IP options or extension headers,
/// are diverted under every scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DivertScope {
    /// Everything that enters from the VPN.
    All,
    /// Packets to the policy's destination prefixes.
    Policy,
    /// Packets that a rule could drop or count: to servers and public services, to media ports at corporate and client
    /// addresses, and to those whatever hides its ports.
    #[default]
    Suspects,
}

impl Word for DivertScope {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("suspects", Self::Suspects),
        ("policy", Self::Policy),
        ("all", Self::All),
    ];
}

/// Treatment of traffic while the filter is not running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FailMode {
    /// Traffic passes unfiltered.
    #[default]
    Open,
    /// Diverted traffic stops.
    Closed,
}

impl Word for FailMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("open", Self::Open), ("closed", Self::Closed)];
}

/// The consequence of having no interface of the VPN for longer than `gateway.require_interfaces`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WithoutInterfaces {
    /// The gateway goes on, and is not ready.
    #[default]
    NotReady,
    /// It ends, for a supervisor to start it anew.
    Exit,
}

impl Word for WithoutInterfaces {
    const WORDS: &'static [(&'static str, Self)] =
        &[("not-ready", Self::NotReady), ("exit", Self::Exit)];
}

/// The clients for whom the policy takes effect. What others send is judged, counted and logged, and passes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Enforcement {
    /// Why it takes effect for nobody.
    pub off: Option<EnforcementOff>,
    /// `gateway.pilot`: only these, unless it is empty.
    pub pilot: Vec<Sourced<IpNet>>,
}

/// The reason why a policy takes effect for nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnforcementOff {
    /// `gateway.enforce` is false.
    File,
    /// A trial (`offramp enforce --for`, `offramp run --for`) has ended, and nobody kept it.
    TrialOver,
}

impl Enforcement {
    /// Returns `true` if it takes effect for every client.
    pub fn is_whole(&self) -> bool {
        self.off.is_none() && self.pilot.is_empty()
    }

    /// Returns `true` if it takes effect for `client`.
    pub fn is_for(&self, client: IpAddr) -> bool {
        let is_pilot = || {
            self.pilot
                .iter()
                .any(|prefix| prefix.value.contains(&client))
        };
        self.is_whole() || self.off.is_none() && is_pilot()
    }

    /// Describes the part that is not enforced; `None` if everything is.
    pub fn gap(&self) -> Option<String> {
        let pilot = self.pilot.iter().map(|prefix| prefix.value.to_string());
        match self {
            it if it.is_whole() => None,
            Self {
                off: Some(EnforcementOff::File),
                ..
            } => Some("the policy is not enforced (gateway.enforce = false)".to_owned()),
            Self {
                off: Some(EnforcementOff::TrialOver),
                ..
            } => Some("the policy is not enforced (its trial has ended)".to_owned()),
            Self { .. } => Some(format!(
                "the policy is enforced for {} only (gateway.pilot)",
                pilot.collect::<Vec<_>>().join(", ")
            )),
        }
    }
}

/// Two adjacent bits of a packet's firewall mark, by which the kernel knows what to divert.
///
/// The three values that are not 0 each lead to a route table of their own. The other 30 bits belong to whoever else marks
/// packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MarkBits {
    mask: u32,
}

impl MarkBits {
    /// Bits that the usual users of marks leave alone: Kubernetes, Calico, Tailscale and Docker keep to the lower half,
    /// or to bits 14 to 23.
    pub const DEFAULT: Self = Self { mask: 0x3000_0000 };

    /// The two bits that are set in `mask`; `None` unless they are two, side by side.
    pub const fn new(mask: u32) -> Option<Self> {
        if mask != 0 && mask >> mask.trailing_zeros() == 0b11 {
            Some(Self { mask })
        } else {
            None
        }
    }

    /// Both bits.
    pub const fn mask(self) -> u32 {
        self.mask
    }

    /// A packet of which nothing special is known.
    pub const fn ordinary(self) -> u32 {
        1 << self.mask.trailing_zeros()
    }

    /// A packet that goes to the filter wherever it goes.
    pub const fn anywhere(self) -> u32 {
        self.mask ^ self.ordinary()
    }

    /// A packet that may be media.
    pub const fn may_be_media(self) -> u32 {
        self.mask
    }
}

const DIVERSION: Key = Key::new("diversion", Kind::word::<DiversionChoice>())
    .default("\"auto\"")
    .example("\"nftables\"")
    .means("The way to the filter: programs at the interfaces of the VPN (`ebpf`), or marks, rules and routes (`nftables`); `auto` takes eBPF where the kernel and the rights of the process allow it")
    .since("0.1");

const DIVERT: Key = Key::new("divert", Kind::word::<DivertScope>())
    .default("\"suspects\"")
    .example("\"policy\"")
    .means("Packets that go to the filter: those that a rule could drop or count and those that hide their ports; all to the policy's prefixes; or all from the VPN")
    .since("0.1");

const WORKERS: Key = Key::new("workers", Kind::Integer(1, MAX_WORKERS))
    .otherwise("1")
    .example("2")
    .means("Threads that judge packets, each with queues of its own")
    .since("0.1");

const REALTIME: Key = Key::new("realtime", Kind::Integer(1, MAX_PRIORITY))
    .otherwise("the ordinary scheduler")
    .example("10")
    .means("Priority of the workers under SCHED_FIFO")
    .since("0.1");

const CPUS: Key = Key::new("cpus", Kind::Integers(0, MAX_CPU))
    .otherwise("any processor")
    .example("[0, 1]")
    .means("Processors that the workers are pinned to, each to its share of them")
    .since("0.1");

const ON_FAILURE: Key = Key::new("on_failure", Kind::word::<FailMode>())
    .default("\"open\"")
    .example("\"closed\"")
    .means("Traffic while the process is down, also after kill -9: passes unjudged, or what is diverted stops, from the first successful start to a clean stop")
    .since("0.1");

const DEVICE: Key = Key::new("device", Kind::Text(Form::Device))
    .default("\"offramp0\"")
    .example("\"offramp1\"")
    .means("Name of the filter's device: a tap under eBPF, a tun under nftables")
    .since("0.1");

const MARK: Key = Key::new("mark", Kind::Integer(0, u32::MAX as i64))
    .default("0x30000000")
    .example("0x0c000000")
    .means("Two adjacent bits of the firewall mark, as a mask, by which the kernel knows what to divert; the other 30 are left alone")
    .since("0.1");

const TABLE: Key = Key::new("table", Kind::Integer(MIN_TABLE, MAX_TABLE))
    .default("28528")
    .example("30000")
    .means(
        "Number of the first of three route tables, one after the other, that lead to the filter",
    )
    .since("0.1");

pub(in crate::policy) const ENFORCE: Key = Key::new("enforce", Kind::Boolean)
    .default("true")
    .example("false")
    .means("`false`: packets are judged, counted and logged, but none is dropped or answered, and the DNS server hides no name; `status`, metrics and the log say so")
    .since("0.1");

pub(in crate::policy) const PILOT: Key = Key::new("pilot", Kind::Texts(Form::Prefix))
    .otherwise("all clients")
    .example("[\"172.16.1.0/28\"]")
    .means("The clients for whom the policy is enforced, prefixes inside `vpn.client_subnets`: what others send is treated as under `enforce = false`")
    .since("0.1");

const REQUIRE_INTERFACES: Key = Key::new("require_interfaces", Kind::Integer(1, MAX_ABSENCE))
    .otherwise("off")
    .example("30")
    .means("Seconds after which it is an error that no interface of the VPN is there: `/readyz` and `offramp status --ready` say so; for a sidecar, whose VPN's container may have got another network namespace, and not for a VRRP standby")
    .since("0.1");

const WITHOUT_INTERFACES: Key = Key::new("without_interfaces", Kind::word::<WithoutInterfaces>())
    .default("\"not-ready\"")
    .example("\"exit\"")
    .means("After these seconds: the gateway goes on and is not ready, or it ends with exit code 1, for a supervisor to start it anew")
    .since("0.1");

const CONTROL: Key = Key::new("control", Kind::Text(Form::Path))
    .default("\"/run/offramp/control.sock\"")
    .example("\"/run/offramp/second.sock\"")
    .means("Socket that `offramp status` connects to")
    .since("0.1");

pub(in crate::policy) const METRICS: Key = Key::new("metrics", Kind::Text(Form::Socket))
    .otherwise("off")
    .example("\"127.0.0.1:9464\"")
    .means("Listen address of the metrics endpoint: `/metrics` for Prometheus, `/healthz` and `/readyz`")
    .since("0.1");

pub(in crate::policy) const PAGE: Key = Key::new("page", Kind::Text(Form::Socket))
    .otherwise("off")
    .example("\"127.0.0.1:9465\"")
    .means("Listen address of the status page, for browsers: read-only and without login, so leave it at a loopback address; it tells what `offramp status` tells, and explains packets")
    .since("0.1");

const DROP_LOG: Key = Key::new("drop_log", Kind::Text(Form::Log))
    .otherwise("off")
    .example("\"/var/log/offramp/drops.jsonl\"")
    .means("Log with a JSON line for each dropped packet, sampled; it has addresses of clients")
    .since("0.1");

const DROP_LOG_RATE: Key = Key::new("drop_log_rate", Kind::Integer(1, MAX_LOG_RATE))
    .default("10")
    .example("100")
    .means("Lines of `drop_log` a second, at most, for each reason")
    .since("0.1");

pub(in crate::policy) const SECTION: SectionTable = SectionTable {
    name: "gateway",
    header: Header::Single,
    meaning: "The sidecar, `offramp run`, on the concentrator.",
    keys: &[
        DIVERSION,
        DIVERT,
        DEVICE,
        MARK,
        TABLE,
        WORKERS,
        REALTIME,
        CPUS,
        ON_FAILURE,
        ENFORCE,
        PILOT,
        REQUIRE_INTERFACES,
        WITHOUT_INTERFACES,
        CONTROL,
        METRICS,
        PAGE,
        DROP_LOG,
        DROP_LOG_RATE,
    ],
    examples: &[],
};

/// Route tables for the filter: not the 256 that have names, and room for the second and the third.
const MIN_TABLE: i64 = 256;
const MAX_TABLE: i64 = i32::MAX as i64 - 2;

/// Lines of a log, for each reason or outcome: a bound for what a disk is asked to take, of about ten times a few hundred
/// bytes.
pub(in crate::policy) const MAX_LOG_RATE: i64 = 1_000;

/// Queues that Linux gives one tun device (MAX_TAP_QUEUES); each worker owns one at least.
const MAX_WORKERS: i64 = 256;

/// A day: whoever waits longer for the VPN waits for ever.
const MAX_ABSENCE: i64 = 86_400;

/// The priorities that Linux takes for SCHED_FIFO are 1 to this (sched(7)).
const MAX_PRIORITY: i64 = 99;

/// The last processor that an affinity mask of the C library has a bit for (CPU_SETSIZE).
const MAX_CPU: i64 = 1_023;

/// Reads the section.
pub(in crate::policy) fn read(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> GatewayOptions {
    let Some(section) = Section::single(file, &SECTION, out) else {
        return GatewayOptions::default();
    };
    GatewayOptions {
        diversion: section.word_or_default(&DIVERSION, out),
        divert: section.word_or_default(&DIVERT, out),
        device: section.string(&DEVICE, parse_device, out),
        mark: read_mark(&section, out),
        table: section.integer(&TABLE, out),
        workers: section.integer(&WORKERS, out).map(|it| it.value),
        realtime: section.integer(&REALTIME, out).map(|it| it.value),
        cpus: section.integers(&CPUS, out),
        on_failure: section.word_or_default(&ON_FAILURE, out),
        enforcement: Enforcement {
            off: (!section.boolean(&ENFORCE, out)).then_some(EnforcementOff::File),
            pilot: section.list(&PILOT, parse_prefix, out),
        },
        require_interfaces: section.integer(&REQUIRE_INTERFACES, out).map(|it| it.value),
        without_interfaces: section.word_or_default(&WITHOUT_INTERFACES, out),
        control: section.string(&CONTROL, parse_path, out),
        metrics: section.string(&METRICS, parse_socket, out),
        page: section.string(&PAGE, parse_socket, out),
        drop_log: section.string(&DROP_LOG, parse_log, out),
        drop_log_rate: section.integer(&DROP_LOG_RATE, out),
    }
}

/// The bits of the firewall mark.
fn read_mark(section: &Section<'_, '_>, out: &mut Collector<'_>) -> Option<Sourced<MarkBits>> {
    let mark: Sourced<u32> = section.integer(&MARK, out)?;
    let bits = MarkBits::new(mark.value);
    if bits.is_none() {
        let span = section.span_of(&MARK);
        let label = out.text.label(span, "not two bits side by side");
        let message = format!("`mark` is {:#x}; it takes two adjacent bits", mark.value);
        let problem = Diagnostic::error(Code::OutOfRange, message).with_label(label);
        out.add(problem.with_help(
            "choose two bits that nothing else on this host marks with, e.g. `mark = 0x30000000`",
        ));
    }
    bits.map(|bits| mark.map(|_| bits))
}

impl GatewayOptions {
    /// Writes the section.
    pub(in crate::policy) fn write(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        header(out, &SECTION)?;
        pair(out, &DIVERSION, self.diversion.word())?;
        pair(out, &DIVERT, self.divert.word())?;
        if let Some(device) = &self.device {
            pair(out, &DEVICE, &device.value)?;
        }
        if let Some(mark) = self.mark {
            raw(out, &MARK, format_args!("{:#x}", mark.value.mask()))?;
        }
        if let Some(table) = self.table {
            raw(out, &TABLE, table.value)?;
        }
        if let Some(workers) = self.workers {
            raw(out, &WORKERS, workers)?;
        }
        if let Some(realtime) = self.realtime {
            raw(out, &REALTIME, realtime)?;
        }
        if !self.cpus.is_empty() {
            let cpus = self.cpus.iter().map(|cpu| cpu.value.to_string());
            let cpus = cpus.collect::<Vec<_>>().join(", ");
            raw(out, &CPUS, format_args!("[{cpus}]"))?;
        }
        pair(out, &ON_FAILURE, self.on_failure.word())?;
        raw(out, &ENFORCE, self.enforcement.off.is_none())?;
        if !self.enforcement.pilot.is_empty() {
            list(out, &PILOT, values(&self.enforcement.pilot))?;
        }
        if let Some(seconds) = self.require_interfaces {
            raw(out, &REQUIRE_INTERFACES, seconds)?;
        }
        pair(out, &WITHOUT_INTERFACES, self.without_interfaces.word())?;
        if let Some(control) = &self.control {
            pair(out, &CONTROL, &control.value)?;
        }
        if let Some(address) = self.metrics {
            pair(out, &METRICS, address.value)?;
        }
        if let Some(address) = self.page {
            pair(out, &PAGE, address.value)?;
        }
        if let Some(place) = &self.drop_log {
            pair(out, &DROP_LOG, &place.value)?;
        }
        if let Some(rate) = self.drop_log_rate {
            raw(out, &DROP_LOG_RATE, rate.value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::syntax::Absent;

    #[test]
    fn the_defaults_of_the_manual_are_those_of_the_options() {
        let defaults = [
            (DEVICE, format!("\"{}\"", GatewayOptions::DEVICE)),
            (MARK, format!("{:#x}", MarkBits::DEFAULT.mask())),
            (TABLE, GatewayOptions::TABLE.to_string()),
            (CONTROL, format!("\"{}\"", GatewayOptions::CONTROL)),
            (DROP_LOG_RATE, GatewayOptions::DROP_LOG_RATE.to_string()),
        ];
        for (key, value) in defaults {
            let is_said = matches!(key.absent, Absent::Value(text) if text == value);
            assert!(is_said, "`{}` is {value} by default", key.name);
        }
    }
}
