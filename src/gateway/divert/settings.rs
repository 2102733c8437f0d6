//! [`DeviceSetting`]: the kernel's settings of the filter's device, by rtnetlink, or under `/proc/sys`.
//!
//! Container runtimes mount `/proc/sys` read-only (`readonlyPaths` of the OCI runtime specification, which Docker, Podman
//! and containerd fill by default). rtnetlink takes the settings of IPv4 there, too, and the generation of IPv6 addresses:
//!
//! ```text
//!  IFLA_AF_SPEC ─┬─ AF_INET  ─ IFLA_INET_CONF ─ number of the setting: value     linux/ip.h, net/ipv4/devinet.c
//!                └─ AF_INET6 ─ IFLA_INET6_ADDR_GEN_MODE: value                   net/ipv6/addrconf.c
//! ```
//!
//! The other settings of IPv6 are under `/proc/sys` alone (Linux 6.18). So rtnetlink comes first, then `/proc/sys` for
//! those that still differ, and what differs after that is returned.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rtnetlink::LinkUnspec;
use rtnetlink::packet_core::DefaultNla;
use rtnetlink::packet_route::link::{AfSpecInet, AfSpecInet6, AfSpecUnspec, LinkAttribute};

use super::netlink::{Netlink, NetlinkError, failed};

/// A setting of the filter's device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceSetting {
    family: SettingFamily,
    name: &'static str,
    value: u8,
}

/// The family of a setting, with its number in rtnetlink if it has one there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SettingFamily {
    /// IPv4; the number is one of `IPV4_DEVCONF_*` (linux/ip.h).
    V4(u16),
    /// IPv6, under `/proc/sys` alone.
    V6,
    /// The generation of IPv6 addresses.
    V6AddressGeneration,
}

/// A setting that has another value than it should, and the reason why it could not be set.
#[derive(Debug)]
pub struct Unset {
    /// The setting.
    pub setting: DeviceSetting,
    /// The system's error.
    pub source: io::Error,
}

impl DeviceSetting {
    /// Switches IPv6 on: it may be off by default, and then no IPv6 route can use the device.
    pub const IPV6_ON: Self = Self::v6("disable_ipv6", 0);
    /// Switches IPv6 off: nothing but the filter is to send or receive there.
    pub const IPV6_OFF: Self = Self::v6("disable_ipv6", 1);
    /// Has packets pass that the filter writes back, whose sources are routed elsewhere.
    pub const NO_REVERSE_PATH_FILTER: Self = Self::v4("rp_filter", 8, 0);
    /// Has them forwarded.
    pub const FORWARDING: Self = Self::v4("forwarding", 1, 1);
    /// Has policies of IPsec not take what is on its way to the filter.
    pub const NO_IPSEC: Self = Self::v4("disable_xfrm", 15, 1);
    /// Has them not ask a second time how what comes back was protected on its way here.
    pub const NO_IPSEC_POLICY: Self = Self::v4("disable_policy", 16, 1);
    /// Gives the device no IPv6 address of its own, so it sends nothing.
    pub const NO_IPV6_ADDRESS: Self = Self {
        family: SettingFamily::V6AddressGeneration,
        name: "addr_gen_mode",
        value: 1,
    };
    /// Has router advertisements ignored. None is led there: ff00::/8 is in the table `local`, before that of the filter.
    pub const NO_ROUTER_ADVERTISEMENTS: Self = Self::v6("accept_ra", 0);
    /// Makes the host a router there. Whether packets are forwarded depends on `all` (ip-sysctl.rst of Linux 6.18).
    pub const IPV6_FORWARDING: Self = Self::v6("forwarding", 1);

    const fn v4(name: &'static str, number: u16, value: u8) -> Self {
        Self {
            family: SettingFamily::V4(number),
            name,
            value,
        }
    }

    const fn v6(name: &'static str, value: u8) -> Self {
        Self {
            family: SettingFamily::V6,
            name,
            value,
        }
    }

    /// Returns its path under `/proc/sys` for `device`.
    pub fn key(self, device: &str) -> String {
        let family = match self.family {
            SettingFamily::V4(_) => "ipv4",
            SettingFamily::V6 | SettingFamily::V6AddressGeneration => "ipv6",
        };
        format!("net/{family}/conf/{device}/{}", self.name)
    }

    /// Returns the value that it should have.
    pub fn value(self) -> u8 {
        self.value
    }

    /// Returns its path for `device`.
    pub fn path(self, device: &str) -> PathBuf {
        Path::new("/proc/sys").join(self.key(device))
    }

    /// Returns `true` if it has another value; `false` where it does not exist, as in a kernel without IPv6.
    fn differs(self, device: &str) -> bool {
        match fs::read_to_string(self.path(device)) {
            Ok(text) => text.trim() != self.value.to_string(),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    fn write(self, device: &str) -> io::Result<()> {
        fs::write(self.path(device), self.value.to_string())
    }
}

impl Netlink {
    /// Gives the device called `name` these settings, before it is up; returns those that could not be set.
    ///
    /// # Errors
    /// [`NetlinkError`] if there is no such device.
    pub async fn set_device(
        &self,
        name: &str,
        settings: &[DeviceSetting],
    ) -> Result<Vec<Unset>, NetlinkError> {
        let index = self.link(name, "set up").await?.header.index;
        for family in by_family(settings) {
            let change = LinkUnspec::new_with_index(index)
                .append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![family]))
                .build();
            let changed = self.handle.link().change(change).execute().await;
            if let Err(error) = changed {
                let error = failed("set up the device", error);
                tracing::debug!("{name}: {error}: /proc/sys is tried");
            }
        }
        let mut unset = Vec::new();
        for &setting in settings.iter().filter(|it| it.differs(name)) {
            if let Err(source) = setting.write(name) {
                unset.push(Unset { setting, source });
            }
        }
        Ok(unset)
    }
}

/// Those of `settings` that rtnetlink takes, one attribute a family: a kernel without IPv6 takes the others.
fn by_family(settings: &[DeviceSetting]) -> Vec<AfSpecUnspec> {
    let mut v4 = Vec::new();
    let mut v6 = Vec::new();
    for setting in settings {
        match setting.family {
            SettingFamily::V4(number) => {
                let value = u32::from(setting.value).to_ne_bytes();
                v4.extend(ATTRIBUTE_LENGTH.to_ne_bytes());
                v4.extend(number.to_ne_bytes());
                v4.extend(value);
            }
            SettingFamily::V6AddressGeneration => {
                v6.push(AfSpecInet6::AddrGenMode(setting.value.into()));
            }
            SettingFamily::V6 => {}
        }
    }
    let mut families = Vec::new();
    if !v4.is_empty() {
        let values = DefaultNla::new(IFLA_INET_CONF, v4);
        families.push(AfSpecUnspec::Inet(vec![AfSpecInet::Other(values)]));
    }
    if !v6.is_empty() {
        families.push(AfSpecUnspec::Inet6(v6));
    }
    families
}

/// The settings of IPv4, each an attribute of its number (linux/if_link.h).
const IFLA_INET_CONF: u16 = 1;

/// An attribute's header, which is of four bytes (netlink(7)), and a value of four.
const ATTRIBUTE_LENGTH: u16 = 8;
