//! [`Settings`]: the kernel's network settings, under `/proc/sys/net`.

use std::fs;
use std::path::Path;

/// The kernel's network settings; tests use settings of their own.
#[derive(Debug)]
pub struct Settings<Read> {
    /// Reads the value of a path under `/proc/sys/net`.
    pub read: Read,
}

impl Settings<fn(&str) -> Option<i64>> {
    /// The settings of this host.
    pub fn of_host() -> Self {
        Self {
            read: |key| {
                let path = Path::new("/proc/sys/net").join(key);
                fs::read_to_string(path).ok()?.trim().parse().ok()
            },
        }
    }
}

impl<Read: Fn(&str) -> Option<i64>> Settings<Read> {
    /// Returns the number at `key`, a path under `/proc/sys/net`.
    pub fn get(&self, key: &str) -> Option<i64> {
        (self.read)(key)
    }

    /// Returns the reverse path filter in force for `interface`: the larger of its own setting and that of `all`.
    pub fn rp_filter(&self, interface: &str) -> i64 {
        let of = |name: &str| self.get(&format!("ipv4/conf/{name}/rp_filter"));
        // An interface that does not exist yet gets the default.
        let own = of(interface).or_else(|| of("default")).unwrap_or(0);
        own.max(of("all").unwrap_or(0))
    }

    /// Returns `true` if the reverse path check of `interface` takes marks into account.
    pub fn src_valid_mark(&self, interface: &str) -> bool {
        let of = |name: &str| self.get(&format!("ipv4/conf/{name}/src_valid_mark"));
        [of("all"), of(interface).or_else(|| of("default"))].contains(&Some(1))
    }
}
