//! The sources of packets that no client sent: a mistyped subnet makes every client one of them.

use super::{MAX_OTHERS, Text, add, count, table, whole};
use crate::audit::Report;

impl Text {
    pub(super) fn strangers(&mut self, report: &Report) {
        let packets: u64 = report.strangers.iter().map(|it| it.traffic.packets).sum();
        if packets * 100 < report.judged.packets * TOLD_PERCENT || packets == 0 {
            return;
        }
        self.title("Sources outside vpn.client_subnets, which nothing is dropped of");
        let shown = &report.strangers[..report.strangers.len().min(MAX_OTHERS)];
        let mut table = table(&["Source", "Packets"], 1, self.options.width);
        for source in shown {
            let row = [source.from.to_string(), whole(source.traffic.packets)];
            add(&mut table, 1, row);
        }
        for line in self.table(&mut table, 0) {
            self.line(&line);
        }
        let left = &report.strangers[shown.len()..];
        if !left.is_empty() {
            let packets = left.iter().map(|it| it.traffic.packets).sum();
            self.line(&format!(
                "  and {} more with {}",
                whole(left.len() as u64),
                count(packets, "packet")
            ));
        }
        self.line("  If one of them is a pool of the VPN, it is missing in vpn.client_subnets.");
    }
}

/// Share of all packets from which they are told.
const TOLD_PERCENT: u64 = 5;
