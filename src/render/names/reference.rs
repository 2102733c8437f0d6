//! What must hold of every file of names; the property tests and the fuzzer call it.

use arbitrary::Unstructured;

use super::{NameTarget, NamesError, names_difference, render_names};
use crate::plan::Zones;
use crate::plan::zones::reference::{check_answers, policy_with_names};
use crate::policy::Policy;

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
    for target in NameTarget::ALL {
        check_file(target, &policy, &zones);
    }
    fuzz_names_file(&policy, &String::from_utf8_lossy(data));
}

fn check_file(target: NameTarget, policy: &Policy, zones: &Zones) {
    let file = match render_names(target, policy) {
        Ok(file) => file,
        Err(NamesError::NoNames | NamesError::NoResolver { .. } | NamesError::TooLong { .. }) => {
            return;
        }
    };
    if let Some(difference) = names_difference(target, policy, &file.text) {
        assert_eq!(difference, Ok(Vec::new()), "{target}: {}", file.text);
    }
    // The view of BIND names a file that has them.
    if target == NameTarget::Bind {
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

/// Reads any text as the file of every target, and compares it with a policy: none may panic.
pub fn fuzz_names_file(policy: &Policy, text: &str) {
    for target in NameTarget::ALL {
        if let Some(Ok(lines)) = names_difference(target, policy, text) {
            assert!(lines.iter().all(|line| line.contains(": ")), "{lines:?}");
        }
    }
}
