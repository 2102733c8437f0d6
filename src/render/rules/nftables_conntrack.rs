//! nftables with connection tracking: replies over TCP to sessions that were opened from inside pass.

use super::nftables::{Tracking, write};
use crate::render::{Families, Naming, Read, Target, Write};

/// nftables, replies over TCP left alone.
pub const TARGET: Target = Target {
    name: "nftables-conntrack",
    about: "the same, but replies over TCP to sessions that were opened from inside pass",
    accepted_by: "nft and the kernel",
    caveats: "",
    file: "offramp-rules-conntrack.nft",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::GatewayRules(Naming::Fixed, |rules, _| write(rules, Tracking::Replies)),
    read: Read::Lines { comment: "#" },
};
