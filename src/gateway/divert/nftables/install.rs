//! [`Installation`]: the diversion in the kernel, from its start to its end.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use caps::Capability;
use ipnet::IpNet;
use tokio::task::AbortHandle;
use tracing::warn;

use super::cleared::ClearedFlows;
use super::ipsec;
use super::nft::{self, Contents, NftError, run_nft};
use super::observe::{self, Restored};
use super::preflight;
use super::selftest::SelfTest;
use super::{Diversion, DivertRoute, MarkRule, RouteTarget};
use crate::gateway::divert::firewall::{Firewalls, check_passage, opens};
use crate::gateway::divert::netlink::{Netlink, NetlinkError};
use crate::gateway::divert::settings::{DeviceSetting, Unset};
use crate::gateway::divert::{Divert, FlowCounts, LateInterfaces, SelfTestOutcome};
use crate::gateway::tun::{Feedback, TunDevice};
use crate::packet::Traffic;
use crate::packet::virtio::Framing;
use crate::policy::FailMode;
use crate::verdict::Verdict;
use crate::verify::Finding;
use crate::verify::probe::SelfTestPacket;

/// A diversion by marks, routing rules and routes that is in the kernel.
#[derive(Debug)]
pub struct Installation {
    netlink: Netlink,
    /// The index of the filter's device.
    device: u32,
    installed: Diversion,
    /// True if no packet is to be marked, by command.
    bypassed: bool,
    /// The flows that workers have cleared, and the task that hands them to the kernel.
    flows: Arc<ClearedFlows>,
    handing_over: AbortOnDrop,
    self_test: SelfTest,
    /// True if nothing is to go to the filter, because a firewall would let pass behind it what it stops without.
    is_aside: bool,
    /// Packets whose mark another program had changed.
    restored: Restored,
    /// False if IPv6 is off at the device and cannot be switched on: no IPv6 route can lead there.
    has_ipv6: bool,
    /// The table of marks as the kernel listed it after the installation; `None` if another program changed it before.
    table: Option<Contents>,
}

/// The state that the installation shares with the workers.
#[derive(Debug)]
pub struct Prepared {
    flows: Arc<ClearedFlows>,
    feedback: Feedback,
    self_test: SelfTest,
}

/// The reason why the kernel's part could not be set up, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum DivertError {
    /// Links, routes and rules.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The marks.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// A setting of the filter's device.
    #[error("cannot set {key} to {value}: {source}; {remedy}")]
    Setting {
        /// Its path under `/proc/sys`.
        key: String,
        /// The value that it should have.
        value: u8,
        /// The system's error.
        source: io::Error,
        /// The change that solves it.
        remedy: &'static str,
    },
    /// An end of the filter's device.
    #[error("cannot open another end of the filter's device: {0}")]
    Device(#[source] io::Error),
    /// A policy with IPv6 clients, where the filter's device has no IPv6 since the start.
    #[error(
        "IPv6 has been off at {0} since the start, and the policy has clients with IPv6; {IPV6_REMEDY}, and start again"
    )]
    NoIpv6(String),
}

impl Divert for Installation {
    type Plan = Diversion;
    type Prepared = Prepared;
    type Error = DivertError;

    const NAME: &'static str = "nftables";
    const FRAMING: Framing = Framing::Ip;
    const USES_BACKLOG: bool = false;
    const SETTINGS: &'static [DeviceSetting] = &SETTINGS;
    /// Its packets meet the host's firewalls, and filters of tc are made for each.
    const SELF_TEST_PAUSE: Duration = Duration::from_secs(60);

    fn programs() -> Vec<PathBuf> {
        Firewalls::programs()
    }

    fn capabilities() -> Vec<Capability> {
        vec![Capability::CAP_NET_ADMIN]
    }

    fn written() -> Vec<PathBuf> {
        Vec::new()
    }

    fn check_rights() -> Result<(), DivertError> {
        Ok(nft::try_out()?)
    }

    async fn check_start(plan: &Diversion, netlink: &Netlink) -> Vec<Finding> {
        preflight::check_tables(plan, netlink).await
    }

    async fn check_plan(plan: &Diversion, netlink: &Netlink) -> Vec<Finding> {
        let mut findings = preflight::check_settings_and_rules(plan, netlink).await;
        findings.extend(ipsec::check(plan));
        findings
    }

    fn opens(plan: &Diversion, firewalls: &Firewalls, present: &[String]) -> bool {
        opens(firewalls, &plan.passage(), present)
    }

    async fn observe(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if !self.bypassed && !self.is_aside {
            findings = observe::check_routes(&self.installed, &self.netlink, self.device).await;
        }
        let device = &self.installed.device;
        findings.extend(self.restored.finding(device, Instant::now()));
        if !self.has_ipv6 {
            findings.push(Finding::host_warning(
                format!(
                    "IPv6 is off at {device} and could not be switched on, since /proc/sys is read-only: what enters by IPv6 is not \
                     judged (the policy has no clients with IPv6)"
                ),
                format!("if clients get IPv6 addresses, {IPV6_REMEDY}"),
            ));
        }
        findings
    }

    /// As a bypass does where the filter fails open; where it fails closed, what is diverted ends in blackholes.
    async fn stand_aside(&mut self, on: bool) -> Result<(), DivertError> {
        self.is_aside = on;
        let installed = self.installed.clone();
        if on && installed.on_failure == FailMode::Open && !self.bypassed {
            self.flows.follow(None);
            run_nft(nft::remove).await?;
        }
        self.write(&self.routes(&installed), &installed.rules(), &installed)
            .await
    }

    fn check_firewalls(
        plan: &Diversion,
        firewalls: &Firewalls,
        present: &[String],
    ) -> Vec<Finding> {
        check_passage(firewalls, &plan.passage(), present)
    }

    /// Those of the VPN, and the filter's device, from which judged packets enter again.
    fn inputs(plan: &Diversion) -> Vec<String> {
        let interfaces = plan.interfaces.iter().cloned();
        interfaces.chain([plan.device.clone()]).collect()
    }

    fn prepare(_plan: &Diversion, device: &TunDevice) -> Result<Self::Prepared, DivertError> {
        let flows: Arc<ClearedFlows> = Arc::default();
        let (feedback, arrivals) = Feedback::with_probes();
        let writer = device.writer().map_err(DivertError::Device)?;
        let self_test = SelfTest::new(writer, arrivals, Arc::clone(feedback.secret()));
        Ok(Prepared {
            feedback: feedback.with_flows(flows.clone()),
            flows,
            self_test,
        })
    }

    /// A worker that hangs is the service manager's concern.
    fn feedback(prepared: &Self::Prepared) -> Feedback {
        prepared.feedback.clone()
    }

    /// Nothing is diverted before the last step, which is atomic.
    async fn install(
        netlink: Netlink,
        plan: Diversion,
        prepared: Self::Prepared,
    ) -> Result<Self, DivertError> {
        let Prepared {
            flows, self_test, ..
        } = prepared;
        let handing_over = tokio::spawn(Arc::clone(&flows).hand_over());
        let mut installation = Self {
            netlink,
            device: 0,
            installed: plan,
            bypassed: false,
            flows,
            handing_over: AbortOnDrop(handing_over.abort_handle()),
            self_test,
            is_aside: false,
            restored: Restored::default(),
            has_ipv6: true,
            table: None,
        };
        match installation.install_all().await {
            Ok(()) => Ok(installation),
            Err(error) => {
                // The first error is the one to report.
                _ = installation.abandon().await;
                Err(error)
            }
        }
    }

    fn plan(&self) -> &Diversion {
        &self.installed
    }

    /// Marks do not count, and no packet is forwarded by them.
    fn passed(&self) -> Vec<(Verdict, Traffic)> {
        Vec::new()
    }

    /// Marks are for names of interfaces, which need not exist.
    async fn follow(&mut self, _heard: Instant) -> Result<(), DivertError> {
        Ok(())
    }

    /// The device, the bits of the mark and the tables stay those of the start.
    async fn change(&mut self, plan: Diversion) -> Result<Vec<(Verdict, Traffic)>, DivertError> {
        let before = self.installed.clone();
        let wanted = Diversion {
            device: before.device.clone(),
            mark: before.mark,
            table: before.table,
            ..plan
        };
        match self.change_to(&wanted).await {
            Ok(()) => {
                self.installed = wanted;
                Ok(Vec::new())
            }
            Err(error) => {
                // The first error is the one to report.
                _ = self.change_to(&before).await;
                Err(error)
            }
        }
    }

    /// Routes vanish when the device goes down; rules and tables when other programs replace the whole set with theirs.
    async fn repair(&mut self) -> Result<Option<String>, DivertError> {
        let diversion = self.installed.clone();
        let routes = self
            .netlink
            .set_routes(&self.routes(&diversion), self.device)
            .await?;
        let rules = self
            .netlink
            .set_rules(&diversion.rules(), diversion.mark.mask())
            .await?;
        let mut missing = Vec::new();
        let now = run_nft(nft::contents).await?;
        let restored = now.as_ref().map_or(0, Contents::restored);
        self.restored.note(restored, Instant::now());
        let difference = match &self.table {
            _ if !self.marks() => None,
            Some(installed) => Contents::difference(now.as_ref(), installed),
            None => Some("the nftables table".to_owned()),
        };
        if let Some(difference) = difference {
            self.install_marks(&diversion).await?;
            missing.push(difference);
        }
        for (count, what) in [(rules, "routing rules"), (routes, "routes")] {
            if count > 0 {
                missing.push(format!("{count} {what}"));
            }
        }
        Ok((!missing.is_empty()).then(|| missing.join(", ")))
    }

    async fn self_test(&mut self, packets: &[SelfTestPacket]) -> Option<SelfTestOutcome> {
        if self.bypassed || self.is_aside {
            return None;
        }
        let (plan, device) = (&self.installed, self.device);
        self.self_test
            .run(plan, &self.netlink, device, packets)
            .await
    }

    /// Without marks nothing is diverted.
    async fn bypass(&mut self, on: bool) -> Result<(), DivertError> {
        if on {
            self.flows.follow(None);
            run_nft(nft::remove).await?;
        }
        self.bypassed = on;
        let diversion = self.installed.clone();
        self.install_marks(&diversion).await
    }

    fn unread(&self) -> Traffic {
        Traffic::default()
    }

    fn late(&self) -> Option<LateInterfaces> {
        None
    }

    fn flows(&self) -> Option<FlowCounts> {
        self.installed.clears().then(|| self.flows.counts())
    }

    /// Both steps are tried: without marks or without rules nothing is diverted.
    async fn stop(&mut self) -> Result<(), DivertError> {
        self.handing_over.0.abort();
        let marks = run_nft(nft::remove).await;
        let rules = self.netlink.set_rules(&[], 0).await;
        marks?;
        rules?;
        Ok(())
    }

    async fn remove(self) -> Result<(), DivertError> {
        Self::remove_leftovers(&self.netlink).await
    }

    async fn abandon(&mut self) -> Result<(), DivertError> {
        let diversion = self.installed.clone();
        match diversion.on_failure {
            FailMode::Open => Self::remove_leftovers(&self.netlink).await,
            FailMode::Closed => {
                let mut blackholes = blackholes(&diversion);
                blackholes.retain(|it| self.has_ipv6 || is_ipv4(&it.prefix));
                self.write(&blackholes, &diversion.rules(), &diversion)
                    .await
            }
        }
    }

    async fn remove_leftovers(netlink: &Netlink) -> Result<(), DivertError> {
        // Each step is tried, even if another has failed.
        let marks = run_nft(nft::remove).await;
        let rules = netlink.set_rules(&[], 0).await;
        netlink.remove_routes().await?;
        marks?;
        rules?;
        Ok(())
    }
}

impl Installation {
    async fn install_all(&mut self) -> Result<(), DivertError> {
        let diversion = self.installed.clone();
        // Before the device is up, or it sends packets of its own at once.
        let device = diversion.device.as_str();
        for unset in self.netlink.set_device(device, &SETTINGS).await? {
            self.go_without(unset)?;
        }
        self.device = self.netlink.set_up_device(device).await?;
        self.self_test.prepare(&self.netlink, self.device).await;
        self.write(&self.routes(&diversion), &diversion.rules(), &diversion)
            .await
    }

    /// Tells of a setting that could not be set, if the diversion can do without it.
    fn go_without(&mut self, unset: Unset) -> Result<(), DivertError> {
        let Unset { setting, source } = unset;
        let (key, value) = (setting.key(&self.installed.device), setting.value());
        let remedy = match setting {
            DeviceSetting::NO_ROUTER_ADVERTISEMENTS | DeviceSetting::IPV6_FORWARDING => {
                warn!(
                    "{key} cannot be set to {value}: {source}; the gateway works without, since no router advertisement is led there"
                );
                return Ok(());
            }
            DeviceSetting::NO_IPV6_ADDRESS => {
                warn!(
                    "{key} cannot be set to {value}: {source}; the gateway works without: the kernel sends packets of its own there, \
                     which the filter judges as those of no client"
                );
                return Ok(());
            }
            DeviceSetting::IPV6_ON if !has_ipv6_clients(&self.installed) => {
                // A finding says so for as long as it holds.
                self.has_ipv6 = false;
                return Ok(());
            }
            DeviceSetting::IPV6_ON => IPV6_REMEDY,
            _ => {
                "have rtnetlink take it (CAP_NET_ADMIN in this network namespace), or mount /proc/sys writable"
            }
        };
        Err(DivertError::Setting {
            key,
            value,
            source,
            remedy,
        })
    }

    /// Installs these routes and rules, then the marks of `diversion`: in this order marked packets find their route.
    async fn write(
        &mut self,
        routes: &[DivertRoute],
        rules: &[MarkRule],
        diversion: &Diversion,
    ) -> Result<(), DivertError> {
        let mask = diversion.mark.mask();
        self.netlink.set_routes(routes, self.device).await?;
        self.netlink.set_rules(rules, mask).await?;
        self.install_marks(diversion).await
    }

    async fn change_to(&mut self, wanted: &Diversion) -> Result<(), DivertError> {
        if !self.has_ipv6 && has_ipv6_clients(wanted) {
            return Err(DivertError::NoIpv6(wanted.device.clone()));
        }
        let routes = [self.routes(&self.installed), self.routes(wanted)].concat();
        let mut rules = [self.installed.rules(), wanted.rules()].concat();
        rules.sort_unstable();
        rules.dedup();
        self.write(&routes, &rules, wanted).await?;
        let mask = wanted.mark.mask();
        self.netlink.set_rules(&wanted.rules(), mask).await?;
        self.netlink
            .set_routes(&self.routes(wanted), self.device)
            .await?;
        Ok(())
    }

    /// True if packets are to be marked.
    fn marks(&self) -> bool {
        let passes = self.is_aside && self.installed.on_failure == FailMode::Open;
        !self.bypassed && !passes
    }

    /// The routes for `diversion`: none to the filter while nothing is to go there, and to pass neither.
    fn routes(&self, diversion: &Diversion) -> Vec<DivertRoute> {
        let mut routes = match (self.is_aside, diversion.on_failure) {
            (true, FailMode::Closed) => blackholes(diversion),
            (true, FailMode::Open) | (false, _) => diversion.routes(),
        };
        routes.retain(|it| self.has_ipv6 || is_ipv4(&it.prefix));
        routes
    }

    async fn install_marks(&mut self, diversion: &Diversion) -> Result<(), DivertError> {
        if !self.marks() {
            return Ok(());
        }
        let wanted = diversion.clone();
        self.table = run_nft(move || nft::install(&wanted)).await?;
        let generation = diversion.clears().then_some(diversion.generation);
        self.flows.follow(generation);
        Ok(())
    }
}

fn blackholes(diversion: &Diversion) -> Vec<DivertRoute> {
    let routes = diversion.routes().into_iter();
    routes
        .filter(|it| it.target == RouteTarget::Blackhole)
        .collect()
}

/// A task that ends with its owner.
#[derive(Debug)]
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The settings that the filter's device needs. Policies of IPsec are set aside for IPv4 alone (ip-sysctl.rst of Linux 6.18).
pub(super) const SETTINGS: [DeviceSetting; 8] = [
    DeviceSetting::IPV6_ON,
    DeviceSetting::NO_REVERSE_PATH_FILTER,
    DeviceSetting::FORWARDING,
    DeviceSetting::NO_IPSEC,
    DeviceSetting::NO_IPSEC_POLICY,
    DeviceSetting::NO_IPV6_ADDRESS,
    DeviceSetting::NO_ROUTER_ADVERTISEMENTS,
    DeviceSetting::IPV6_FORWARDING,
];

/// The way to have IPv6 where it is off for every device that is made, as in a container of a network without it.
const IPV6_REMEDY: &str = "have the namespace made with the sysctl net.ipv6.conf.default.disable_ipv6=0 (`--sysctl` of Docker and Podman, \
     `securityContext.sysctls` of Kubernetes), or mount /proc/sys writable";

fn has_ipv6_clients(diversion: &Diversion) -> bool {
    !diversion.clients.iter().all(is_ipv4)
}

fn is_ipv4(prefix: &IpNet) -> bool {
    prefix.addr().is_ipv4()
}
