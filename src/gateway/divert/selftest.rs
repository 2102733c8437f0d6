//! The parts of a self-test that every diversion has: turns of interfaces, limits, and the comparison with the policy.

use std::time::Duration;

use crate::gateway::tun::ArrivedProbe;
use crate::verdict::Action;
use crate::verify::probe::SelfTestPacket;

/// The outcome of a self-test.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SelfTestOutcome {
    /// Descriptions of what went wrong.
    pub failures: Vec<String>,
    /// Descriptions of what could not be tested, and why.
    pub untested: Vec<String>,
}

/// The time that the packets of a self-test may take to the filter.
pub(super) const LIMIT: Duration = Duration::from_secs(1);

/// The interface that the next self-test begins with: there are more than one takes where ocserv makes one for each client.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Turn {
    /// Its index, or one below.
    next: u32,
}

impl Turn {
    /// Interfaces that a self-test takes.
    const MOST: usize = 16;

    /// The interfaces of the next self-test, each with its index and name: all, or as many as it may take, beginning where the last one ended.
    pub(super) fn take<'a>(
        &mut self,
        interfaces: impl Iterator<Item = (u32, &'a str)>,
    ) -> Vec<(u32, String)> {
        let (before, after): (Vec<_>, Vec<_>) = interfaces
            .map(|(index, name)| (index, name.to_owned()))
            .partition(|(index, _)| *index < self.next);
        let mut taken = [after, before].concat();
        taken.truncate(Self::MOST);
        self.next = taken.last().map_or(0, |(index, _)| index + 1);
        taken
    }
}

/// The difference between the verdict on a packet that entered at `interface` and that of the policy.
pub(super) fn disagreement(
    interface: &str,
    sent: &SelfTestPacket,
    arrival: &ArrivedProbe,
) -> Option<String> {
    let SelfTestPacket { to, verdict, .. } = sent;
    if arrival.verdict.action != verdict.action {
        Some(format!(
            "a packet to {to} that enters at {interface} is met with \"{}\", and the policy says \"{verdict}\"",
            arrival.verdict
        ))
    } else if arrival.passes && verdict.action == Action::Drop {
        Some(format!(
            "the program at {interface} would pass a packet to {to}, and the policy says \"{verdict}\""
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_has_its_turn() {
        let all: Vec<(u32, String)> = (3..43).map(|at| (at, format!("vpns{at}"))).collect();
        let mut turn = Turn::default();
        let mut take = || -> Vec<u32> {
            let taken = turn.take(all.iter().map(|(index, name)| (*index, name.as_str())));
            taken.into_iter().map(|(index, _)| index).collect()
        };
        assert_eq!(take(), (3..19).collect::<Vec<_>>());
        assert_eq!(take(), (19..35).collect::<Vec<_>>());
        assert_eq!(take(), (35..43).chain(3..11).collect::<Vec<_>>());
    }
}
