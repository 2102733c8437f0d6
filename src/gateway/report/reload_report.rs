//! [`ReloadReport`]: what a reload has done, or would do.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::Effects;

/// The outcome of a reload, or of a try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// The policy file.
    pub policy: String,
    /// Generation of the policy in force.
    pub generation: u64,
    /// Why the file is refused; `null` if it is not.
    pub refused: Option<String>,
    /// Conditions of the host that are worth a warning under the new policy, with what to do.
    pub warnings: Vec<String>,
    /// Keys whose change takes effect at the next start only.
    pub at_next_start: Vec<String>,
    /// The pushes of routes that would follow (`routes.push`), a line each; of a try alone.
    #[serde(default)]
    pub pushes: Vec<String>,
    /// The differences between the policy that was in force and the one of the file, for people, a line each.
    pub text: String,
    /// The same for programs; `null` if they are not known.
    pub difference: Value,
}

impl ReloadReport {
    /// Returns a report without warnings, by the difference or the reason why there is none.
    pub fn new(policy: &str, generation: u64, outcome: Result<&Effects, String>) -> Self {
        let (refused, text, difference) = match outcome {
            Ok(effects) => (None, effects.to_string(), effects.as_json()),
            Err(why) => (Some(why), String::new(), Value::Null),
        };
        Self {
            policy: policy.to_owned(),
            generation,
            refused,
            warnings: Vec::new(),
            at_next_start: Vec::new(),
            pushes: Vec::new(),
            text,
            difference,
        }
    }

    /// Returns a report of a policy that is not refused, and not compared either, for the reason `why`.
    pub fn without_difference(policy: &str, generation: u64, why: &str) -> Self {
        Self {
            refused: None,
            text: format!("the difference is not known: {why}\n"),
            ..Self::new(policy, generation, Err(String::new()))
        }
    }
}
