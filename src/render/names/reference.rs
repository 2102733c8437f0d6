//! Properties that hold for every file of names; the property tests and the fuzzer call it.

use arbitrary::Unstructured;

use super::bind;
use crate::plan::Zones;
use crate::plan::zones::reference::{check_answers, policy_with_names};
use crate::policy::Policy;
use crate::render::{
    CompareError, Difference, Kind, Options, RenderError, Target, compare, render,
};

/// Checks answers and files of any policy with names, and reads `data` itself as the file of every target.
///
/// # Panics
/// When an answer is not what the rules say, a file leaves a name out, or one is read back as something else.
pub fn fuzz_names(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let Ok(policy) = policy_with_names(&mut bytes) else {
        return;
    };
    let zones = Zones::of(&policy);
    check_answers(&zones, &mut bytes);
    for target in Target::of_kind(Kind::Names) {
        check_file(target, &policy, &zones);
    }
    fuzz_names_file(&policy, &String::from_utf8_lossy(data));
}

fn check_file(target: &'static Target, policy: &Policy, zones: &Zones) {
    let options = Options::default();
    let file = match render(target, policy, &options) {
        Ok(file) => file,
        Err(
            RenderError::NoNames | RenderError::NoResolver { .. } | RenderError::NameTooLong { .. },
        ) => return,
        Err(error) => panic!("{target}: {error}"),
    };
    match compare(target, policy, &options, &file.text) {
        Ok(difference) => assert_eq!(difference, None, "{target}: {}", file.text),
        Err(CompareError::NotRead { .. }) => {}
        Err(error) => panic!("{target}: {error}\n{}", file.text),
    }
    // The view of BIND names a file that has them.
    if *target == bind::TARGET {
        return;
    }
    let said = file.text + &file.warnings.concat();
    for owner in zones.owners() {
        assert!(
            said.contains(&owner.name.to_string()),
            "{target}: {}\n{said}",
            owner.name
        );
    }
}

/// Reads any text as the file of every target, and compares it with a policy.
///
/// # Panics
/// When a difference is not a line about a name.
pub fn fuzz_names_file(policy: &Policy, text: &str) {
    for target in Target::of_kind(Kind::Names) {
        if let Ok(Some(Difference::Names(lines))) =
            compare(target, policy, &Options::default(), text)
        {
            assert!(lines.iter().all(|line| line.contains(": ")), "{lines:?}");
        }
    }
}
