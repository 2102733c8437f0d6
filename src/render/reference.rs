//! Properties that hold for every rendering; the property tests and the fuzzer call it.

use super::{Form, Kind, Options, RenderError, Target, difference, read, render};
use crate::address::PrefixSet;
use crate::plan::RoutePlan;

/// Writes `plan` for every target in every form it has, reads each file back, and compares addresses.
///
/// # Panics
/// When a file says something else than the plan.
pub fn check_all(plan: &RoutePlan) {
    for target in Target::of_kind(Kind::Routes) {
        for form in [None, Some(Form::Include), Some(Form::Exclude)] {
            let options = Options {
                form,
                via: Some(std::net::Ipv4Addr::new(172, 16, 1, 1)),
                name: None,
            };
            match render(target, plan, &options) {
                Ok(rendered) => {
                    let pushed = read(target, &rendered.text)
                        .expect("a target of routes")
                        .unwrap_or_else(|error| panic!("{target}: {error}\n{}", rendered.text));
                    check(target, plan, &pushed.tunnel());
                    // Programs add routes one by one: of two to the same prefix the last one wins, or neither.
                    for prefix in &pushed.includes {
                        assert!(
                            !pushed.excludes.contains(prefix),
                            "{target}: {prefix} is both included and excluded\n{}",
                            rendered.text
                        );
                    }
                }
                Err(RenderError::Refused(_)) => assert!(plan.error().is_some()),
                Err(error) => assert!(
                    matches!(
                        error,
                        RenderError::NothingEnters { .. }
                            | RenderError::NoSuchForm { .. }
                            | RenderError::OverBudget { .. }
                    ),
                    "{target}: {error}"
                ),
            }
        }
    }
}

fn check(target: &Target, plan: &RoutePlan, read: &PrefixSet) {
    if let Some(difference) = difference(target, plan, read) {
        panic!("{target}: the file differs from the plan: {difference:?}");
    }
}

/// Plans the routes of any policy, and checks the plan against the rule for one address and every file against the plan;
/// what is left of `data` is read as the file of every target.
///
/// # Panics
/// When one of them says something else.
#[cfg(any(test, feature = "fuzzing"))]
pub fn fuzz_routes(data: &[u8]) {
    let mut bytes = arbitrary::Unstructured::new(data);
    let Ok(mut policy) = crate::filter::strategy::policy(&mut bytes) else {
        return;
    };
    if bytes.arbitrary().unwrap_or(false) {
        policy.routes.tunnel = crate::policy::TunnelMode::Full;
    }
    if let Ok(octets) = bytes.arbitrary::<[u8; 4]>() {
        policy.routes.gateways.push(crate::policy::Sourced {
            value: octets.into(),
            line: 1,
        });
    }
    let plan = RoutePlan::new(&policy);
    let sources: Vec<_> = plan.sources.iter().map(|source| source.prefix).collect();
    for address in crate::address::set::reference::edges(&sources) {
        let enters = crate::plan::enters_tunnel(&policy, address);
        assert_eq!(plan.tunnel.contains(address), enters, "{address}");
    }
    check_all(&plan);
    fuzz_read(&String::from_utf8_lossy(bytes.take_rest()));
}

/// Reads any text as the file of every target: none may panic, and what they read they read as prefixes.
pub fn fuzz_read(text: &str) {
    for target in Target::of_kind(Kind::Routes) {
        if let Some(Ok(pushed)) = read(target, text) {
            for prefix in pushed.includes.iter().chain(&pushed.excludes) {
                assert_eq!(prefix.trunc(), *prefix, "{target}: {prefix} has host bits");
            }
            let tunnel = pushed.tunnel();
            assert!(tunnel.prefixes().all(|prefix| tunnel.covers(prefix)));
        }
    }
}
