//! [`Standing`]: whether it works, in one word, and why.

use maud::{Markup, html};

use super::{counted, prose, sentence};
use crate::gateway::report::status::Status;

/// Verdict on the gateway itself: at work, hindered, or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Traffic is judged, and every client's.
    Working,
    /// No interface of the VPN is present.
    Waiting,
    /// The policy does not take effect for every client: the part that does not.
    NotEnforced(String),
    /// Everything passes by command.
    Bypassed,
    /// Traffic is not handled as the policy says: why.
    Broken(Vec<String>),
    /// The control loop does not answer.
    Unanswered,
}

impl Standing {
    /// The standing of a gateway with this status; `ready` is true if traffic is judged as far as the control loop knows.
    pub(super) fn of(status: &Status, ready: bool) -> Self {
        let diversion = &status.diversion;
        if diversion.bypassed {
            return Self::Bypassed;
        }
        let failures = diversion.self_test.iter().flat_map(|it| &it.failures);
        let mut reasons: Vec<String> = failures
            .map(|failure| format!("The self-test failed: {failure}"))
            .collect();
        let errors = status.health.iter().filter(|it| it.severity == "error");
        reasons.extend(errors.map(|it| format!("{}; {}", it.what, it.remedy)));
        if !ready && reasons.is_empty() {
            reasons.push(format!(
                "The device {} is down, the diversion is not complete, or a worker does not answer; the log says which",
                status.device.name
            ));
        }
        if !reasons.is_empty() {
            return Self::Broken(reasons);
        }
        if let Some(gap) = &status.enforcement.gap {
            return Self::NotEnforced(gap.clone());
        }
        let mut interfaces = diversion.interfaces.iter();
        match interfaces.all(|it| it.present.is_empty()) {
            true => Self::Waiting,
            false => Self::Working,
        }
    }

    /// The verdict, and the class of its colors.
    fn words(&self) -> (&'static str, &'static str) {
        match self {
            Self::Working => ("Working: traffic is judged", "good"),
            Self::Waiting => (
                "Waiting: no interface of the VPN is present, so nothing is judged",
                "doubt",
            ),
            Self::NotEnforced(_) => ("Not enforced for every client", "doubt"),
            Self::Bypassed => (
                "Bypassed: everything passes unjudged, until `offramp bypass off`",
                "bad",
            ),
            Self::Broken(_) => ("Broken: traffic is not judged as the policy says", "bad"),
            Self::Unanswered => ("Broken: the gateway does not answer", "bad"),
        }
    }

    /// The content of its part.
    pub(super) fn view(&self, status: &Status) -> Markup {
        let warnings = status.health.iter().filter(|it| it.severity == "warning");
        let warnings = warnings.count() as u64;
        html! {
            (self.view_alone())
            @if warnings > 0 {
                p { a href="#health" { (counted(warnings, "warning", "warnings")) } " about this host." }
            }
            @if let Some(why) = &status.reloads.last_error {
                div.notice {
                    p {
                        strong { "The policy file was refused." }
                        " Generation " (status.generation) " stays in force, until the file is corrected:"
                    }
                    pre id="refusal" tabindex="0" aria-label="Why the policy file was refused" { (why.trim_end()) }
                }
            }
        }
    }

    /// The verdict without what the status adds to it.
    pub(super) fn view_alone(&self) -> Markup {
        let (words, class) = self.words();
        html! {
            p class={ "standing " (class) } { (prose(words)) }
            @match self {
                Self::Broken(reasons) => ul { @for reason in reasons { li { (prose(reason)) } } },
                Self::NotEnforced(gap) => p {
                    (sentence(gap)) ". What others send is judged and counted, and passes."
                },
                Self::Unanswered => p {
                    (prose("Its control loop has not answered for seconds; what stands below is from before. The log, and \
                            `systemctl status offramp`, say more."))
                },
                Self::Working | Self::Waiting | Self::Bypassed => {}
            }
        }
    }
}
