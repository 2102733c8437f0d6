//! OPNsense: the same rules as for pfSense, with aliases where OPNsense has them.

use super::pfsense::{CAVEATS, INTERFACE, Product, write};
use crate::render::{Families, Read, Target, Write as Writer};

/// Parts of OPNsense's config.xml.
pub const TARGET: Target = Target {
    name: "opnsense",
    about: "the filter's rules as aliases and floating rules of OPNsense, parts of config.xml (`--name INTERFACE`)",
    accepted_by: "a parser of XML, a reader of the tests, whose decisions are compared with the filter's, and FWShift, a converter of others; no OPNsense was tried, and pfctl is on no Linux (unverified)",
    caveats: CAVEATS,
    file: "opnsense-offramp.xml",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Writer::GatewayRules(INTERFACE, |rules, name| {
        write(rules, name, Product::OpnSense)
    }),
    read: Read::Lines { comment: "<!--" },
};
