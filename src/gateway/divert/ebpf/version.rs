//! The version of the kernel, and what offramp does by it.

use std::sync::LazyLock;

use aya::util::KernelVersion;
use tracing::{info, warn};

/// The environment variable with an older version, e.g. `5.10`, that the kernel is to be taken for.
const ASSUMED: &str = "OFFRAMP_KERNEL";

/// True if the kernel has links of programs at interfaces (TCX): Linux 6.6.
pub(super) fn has_links() -> bool {
    is_at_least(6, 6)
}

/// True if programs may read the coarse clock, which costs less: Linux 5.11.
pub(super) fn has_coarse_clock() -> bool {
    is_at_least(5, 11)
}

/// True if a process without CAP_BPF may change maps that it has open: Linux 5.19.
pub(super) fn may_change_maps() -> bool {
    is_at_least(5, 19)
}

fn is_at_least(major: u8, minor: u8) -> bool {
    static VERSION: LazyLock<Option<KernelVersion>> = LazyLock::new(|| {
        let own = KernelVersion::current().ok()?;
        let Ok(text) = std::env::var(ASSUMED) else {
            return Some(own);
        };
        let assumed = parse(&text).filter(|it| *it < own);
        match assumed {
            Some(_) => info!("the kernel is taken for Linux {text} ({ASSUMED})"),
            None => warn!("{ASSUMED}={text} is ignored: write an older version, such as 5.10"),
        }
        Some(assumed.unwrap_or(own))
    });
    VERSION.is_some_and(|version| version >= KernelVersion::new(major, minor, 0))
}

/// Reads `MAJOR.MINOR`.
fn parse(text: &str) -> Option<KernelVersion> {
    let (major, minor) = text.split_once('.')?;
    Some(KernelVersion::new(
        major.parse().ok()?,
        minor.parse().ok()?,
        0,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_two_numbers() {
        assert_eq!(parse("5.10"), Some(KernelVersion::new(5, 10, 0)));
        for nonsense in ["", "5", "5.x", "5.10.1", "old"] {
            assert_eq!(parse(nonsense), None, "{nonsense}");
        }
    }
}
