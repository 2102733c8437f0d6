//! [`conditions`]: everything that keeps a running gateway from doing what its policy says, or from telling it.

use crate::cli::number;
use crate::gateway::record::RecordStatus;
use crate::gateway::report::status::Status;

/// A condition, and what solves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    /// True if traffic is not handled as configured.
    pub(super) is_error: bool,
    pub(super) what: String,
    pub(super) remedy: String,
}

/// Returns the conditions of the gateway, errors first.
pub(super) fn conditions(status: &Status) -> Vec<Condition> {
    let mut found = Vec::new();
    let mut add = |is_error: bool, what: String, remedy: &str| {
        found.push(Condition {
            is_error,
            what,
            remedy: remedy.to_owned(),
        });
    };
    let diversion = &status.diversion;
    if diversion.bypassed {
        let what = "bypass is on: everything passes unjudged";
        add(true, what.to_owned(), "offramp bypass off");
    }
    for failure in diversion.self_test.iter().flat_map(|it| &it.failures) {
        let what = format!("the self-test failed: {failure}");
        add(true, what, "the log of the gateway says more");
    }
    for finding in &status.health {
        add(
            finding.severity == "error",
            finding.what.clone(),
            &finding.remedy,
        );
    }
    if let Some(error) = &status.reloads.last_error {
        let first = error.lines().next().unwrap_or_default();
        let what = format!("the policy file is refused: {first}");
        add(
            true,
            what,
            "correct it; `offramp check POLICY` shows all mistakes",
        );
    }
    if let Some(gap) = &status.enforcement.gap {
        add(
            false,
            format!("not enforced: {gap}"),
            "set gateway.enforce and gateway.pilot when the policy is to take effect",
        );
    }
    for interface in &diversion.interfaces {
        if interface.present.is_empty() {
            let what = format!("no interface {} at the moment", interface.pattern);
            add(
                false,
                what,
                "nothing is judged until the VPN daemon has made it",
            );
        }
    }
    let counts = [
        (
            Some(diversion.unread_packets),
            "packets passed unjudged, since a worker did not read them in time",
            "look at the load of the host",
        ),
        (
            status.device.overload_drops,
            "packets lost because the filter did not keep up",
            "raise gateway.workers",
        ),
        (
            Some(status.device.failed_writes),
            "packets refused by the kernel on their way back",
            "the log of the gateway says more",
        ),
        (
            Some(diversion.repairs.count),
            "changes of other programs to the diversion were undone",
            "find the program that changes nftables or routes",
        ),
        (
            diversion.late.map(|it| it.interfaces),
            "interfaces were up before what enters there was judged",
            "`offramp status` tells for how long",
        ),
    ];
    for (count, what, remedy) in counts {
        if let Some(count @ 1..) = count {
            add(false, format!("{} {what}", number::whole(count)), remedy);
        }
    }
    let query_log = status.dns.as_ref().and_then(|dns| dns.query_log.as_ref());
    let records = [
        ("drop log", status.drop_log.as_ref()),
        ("capture of drops", status.drop_capture.as_ref()),
        ("query log", query_log),
    ];
    for (name, record) in records {
        if let Some(RecordStatus {
            place,
            error: Some(error),
            lost,
            ..
        }) = record
        {
            let lost = number::whole(*lost);
            let what = format!("the {name} {place} cannot be written: {error}; {lost} lost");
            add(false, what, "make room, or allow offramp to write there");
        }
    }
    if status.traces > 0 {
        let what = format!("clients are traced at the moment: {}", status.traces);
        add(false, what, "that ends by itself");
    }
    found.sort_by_key(|it| !it.is_error);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::status;
    use crate::gateway::report::status::FindingStatus;

    #[test]
    fn a_gateway_without_a_condition_has_none() {
        assert_eq!(conditions(&status()), []);
    }

    #[test]
    fn every_condition_is_named_errors_first() {
        let mut status = status();
        status.enforcement.gap = Some("the policy is not enforced".to_owned());
        status.diversion.interfaces[0].present.clear();
        status.device.overload_drops = Some(1_200);
        status.drop_log.as_mut().expect("it has one").error = Some("No space left".to_owned());
        status.diversion.bypassed = true;
        status.reloads.last_error = Some("error[unknown-key]: no\nmore".to_owned());
        status.health = vec![FindingStatus {
            severity: "error".to_owned(),
            what: "forwarding is off".to_owned(),
            remedy: "sysctl -w net.ipv4.ip_forward=1".to_owned(),
        }];
        let found = conditions(&status);
        let told: Vec<_> = found.iter().map(|it| (it.is_error, &*it.what)).collect();
        assert_eq!(
            told,
            [
                (true, "bypass is on: everything passes unjudged"),
                (true, "forwarding is off"),
                (true, "the policy file is refused: error[unknown-key]: no"),
                (false, "not enforced: the policy is not enforced"),
                (false, "no interface tun0 at the moment"),
                (
                    false,
                    "1,200 packets lost because the filter did not keep up"
                ),
                (
                    false,
                    "the drop log /var/log/offramp/drops.jsonl cannot be written: No space left; 0 lost"
                ),
            ]
        );
    }
}
