//! ip6tables-restore: the same as [`super::iptables`], for IPv6.

use super::iptables::write;
use crate::address::Family;
use crate::render::{Families, Naming, Read, Target, Write};

/// ip6tables-restore.
pub const TARGET: Target = Target {
    name: "ip6tables",
    about: "the filter's IPv6 rules for `ip6tables-restore --noflush`, in a chain of their own",
    accepted_by: "ip6tables-restore and the kernel: every packet as the filter",
    caveats: "",
    file: "offramp.rules.v6",
    is_executable: false,
    families: Families::V6,
    limits: &[],
    write: Write::GatewayRules(Naming::Fixed, |rules, _| write(rules, Family::V6)),
    read: Read::Lines { comment: "#" },
};
