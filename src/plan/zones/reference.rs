//! Invariants of every answer, called by the property tests and the fuzzer.

use arbitrary::{Result, Unstructured};

use super::{Owner, Treatment, Zones};
use crate::filter::strategy;
use crate::name::{DnsName, record_type};
use crate::policy::Policy;

/// Builds a policy with names from arbitrary bytes.
///
/// # Errors
/// If the bytes end at an unexpected point.
pub fn policy_with_names(bytes: &mut Unstructured<'_>) -> Result<Policy> {
    let mut policy = strategy::policy(bytes)?;
    strategy::give_names(bytes, &mut policy)?;
    Ok(policy)
}

/// Compares the answers for the names of `zones`, their ancestors and arbitrary names with the rules.
///
/// # Panics
/// If an answer differs.
pub fn check_answers(zones: &Zones, bytes: &mut Unstructured<'_>) {
    let owners = zones.owners().iter().map(|owner| owner.name);
    let mut asked: Vec<DnsName> = owners.collect();
    asked.extend(
        zones
            .owners()
            .iter()
            .filter_map(|owner| owner.name.parent()),
    );
    while !bytes.is_empty() {
        let Ok(text) = strategy::name(bytes) else {
            break;
        };
        asked.push(text.parse().expect("a few short labels are a name"));
    }
    for name in &asked {
        let answer = zones.answer(name, record_type::ANY).word();
        assert_eq!(answer, by_the_rules(zones, name), "{name}");
        // The record type never decides whether a name with a local answer is forwarded.
        for (record_type, _) in record_type::NAMES {
            let word = zones.answer(name, *record_type).word();
            let is_right = word == answer || (word, answer) == ("no-data", "records");
            assert!(is_right, "{name}: {word}");
        }
    }
}

/// Returns the word of the answer for any type, by slow iteration: the nearest of the name and its ancestors decides,
/// and a name with a pinned name below it always exists.
fn by_the_rules(zones: &Zones, name: &DnsName) -> &'static str {
    let owners = zones.owners();
    let says = |name: &DnsName| owners.iter().find(|owner| owner.name == *name);
    let nearest = std::iter::successors(Some(*name), DnsName::parent).find_map(|it| says(&it));
    let pinned_below = |owner: &Owner| owner.is_pinned() && owner.name.is_below(name);
    match nearest.map(|owner| (&owner.treatment, owner.name == *name)) {
        Some((Treatment::Pinned(_), true)) => "records",
        Some((Treatment::NoData(_), true)) => "no-data",
        Some((Treatment::Hidden, _)) if owners.iter().any(pinned_below) => "no-data",
        Some((Treatment::Hidden, _)) => "no-such-name",
        Some((Treatment::Pinned(_) | Treatment::NoData(_), false)) | None => "forward",
    }
}
