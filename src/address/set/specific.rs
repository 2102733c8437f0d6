//! [`more_specific`]: the addresses that belong to the first of two lists of prefixes by longest-prefix match.

use ipnet::IpNet;

use super::PrefixSet;

/// The addresses whose longest prefix in both lists is in `these`; a prefix in both lists belongs to `others`.
///
/// ```
/// use offramp::address::more_specific;
/// let net = |text: &str| text.parse::<ipnet::IpNet>().expect("a literal prefix");
/// let public = [net("167.55.49.32/32"), net("10.0.0.0/8")];
/// let corporate = [net("167.55.0.0/16"), net("10.0.0.0/8")];
/// assert_eq!(more_specific(public, corporate).to_string(), "167.55.49.32/32");
/// ```
pub fn more_specific(
    these: impl IntoIterator<Item = IpNet>,
    others: impl IntoIterator<Item = IpNet>,
) -> PrefixSet {
    let these = these.into_iter().map(|net| (net.trunc(), Owner::These));
    let others = others.into_iter().map(|net| (net.trunc(), Owner::Others));
    let mut nets: Vec<(IpNet, Owner)> = these.chain(others).collect();
    // Outer before inner, and of equal prefixes the others' last: it is the innermost.
    nets.sort_unstable_by_key(|(net, owner)| (net.network(), net.prefix_len(), *owner));
    // A prefix matters only where its owner differs from that of the prefix around it. So owners alternate with depth:
    // prefixes at even depths add their addresses, those at odd depths take them away again.
    let mut depths: Vec<Vec<IpNet>> = Vec::new();
    let mut enclosing: Vec<(IpNet, Owner)> = Vec::new();
    for (net, owner) in nets {
        while enclosing
            .pop_if(|(outer, _)| !outer.contains(&net))
            .is_some()
        {}
        let outer = enclosing.last().map_or(Owner::Others, |(_, owner)| *owner);
        if outer == owner {
            continue;
        }
        let depth = enclosing.len();
        if depths.len() <= depth {
            depths.push(Vec::new());
        }
        depths[depth].push(net);
        enclosing.push((net, owner));
    }
    let mut set = PrefixSet::EMPTY;
    for (depth, nets) in depths.into_iter().enumerate() {
        let nets: PrefixSet = nets.into_iter().collect();
        set = if depth.is_multiple_of(2) {
            set.union(&nets)
        } else {
            set.subtract(&nets)
        };
    }
    set
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    These,
    Others,
}
