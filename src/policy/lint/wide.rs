//! Checks for entries that take more than their section is for.

use ipnet::IpNet;

use super::{List, Scope, labels, names};
use crate::policy::diagnostic::{Code, Collector, Diagnostic};
use crate::policy::meaning::Policy;
use crate::policy::section::feed::{self, FeedFormat};
use crate::policy::syntax::{Place, PolicyFile};

/// Warns of a feed of all services of a cloud, of which calls use one.
pub(super) fn check_feeds(policy: &Policy, file: &PolicyFile<'_>, out: &mut Collector<'_>) {
    for (position, feed) in policy.feeds.iter().enumerate() {
        let (publisher, more) = match feed.format {
            FeedFormat::Microsoft365 => ("Microsoft 365", "mail and files, too"),
            FeedFormat::AwsIpRanges => ("Amazon", "everything that anybody runs there"),
            FeedFormat::Prefixes | FeedFormat::WebPage => continue,
        };
        let has_all = feed.service_areas.is_empty() && feed.categories.is_empty();
        // The choice of a profile is the vendor's.
        if !has_all || feed.vendor.is_some() {
            continue;
        }
        let span = file.span(Place {
            section: &feed::SECTION,
            position,
            key: &feed::FORMAT,
            item: 0,
        });
        let message = format!(
            "feed \"{}\" takes every service of {publisher} out of the tunnel: {more}",
            feed.name.value
        );
        let label = out.text.label(span, "all service areas and categories");
        let problem = Diagnostic::warning(Code::FeedUnfiltered, message).with_label(label);
        if feed.format == FeedFormat::AwsIpRanges {
            let help = "for huddles of Slack alone: service_areas = [\"CHIME_MEETINGS\"]";
            out.add(problem.with_help(help));
            continue;
        }
        out.add(
            problem
                .with_help("for calls and meetings alone: service_areas = [\"Skype\"]")
                .with_help("to take them all on purpose, name them: service_areas = [\"Common\", \"Exchange\", \"SharePoint\", \"Skype\"]"),
        );
    }
}

/// Warns of prefixes of a server that have far more than servers: everything in them is dropped, whatever the port.
pub(super) fn check_server(
    name: &str,
    list: &List<'_>,
    file: &PolicyFile<'_>,
    scope: &Scope,
    out: &mut Collector<'_>,
) {
    let is_wide = |prefix: IpNet| {
        let host_bits = prefix.max_prefix_len() - prefix.prefix_len();
        let subnet = match prefix {
            IpNet::V4(_) => 12,
            IpNet::V6(_) => 64,
        };
        // `0.0.0.0/0` has an entry of its own.
        prefix.prefix_len() > 0 && (host_bits > subnet || has_corporate_inside(scope, prefix))
    };
    let wide = list.matching(file, is_wide);
    if wide.is_empty() {
        return;
    }
    let message = format!(
        "[[server]] \"{name}\" has more than servers: {}",
        names(&wide)
    );
    let mut problem = Diagnostic::warning(Code::WideServer, message);
    problem.labels = labels(&wide, "everything here is dropped, at every port", out);
    out.add(
        problem.with_help("write the servers' own addresses, or the subnets that have only them"),
    );
}

/// True if a whole corporate prefix is inside `prefix`.
fn has_corporate_inside(scope: &Scope, prefix: IpNet) -> bool {
    let mut corporate = scope.corporate.prefixes();
    corporate.any(|it| prefix.contains(&it))
}
