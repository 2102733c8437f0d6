//! Names of interfaces, as a policy has them, and the mark of packets that enter from one a second time.

/// The mark of packets that come back from the filter, under eBPF, until they have entered again: the stack never sees it, but
/// who listens at the interface does. One more is that of the self-test.
pub const RETURN_MARK: u32 = 0x0ff7_a3b1;

/// Returns `true` if `pattern`, an entry of `vpn.interfaces`, matches `interface`: a trailing `*` matches any suffix.
pub fn names(pattern: &str, interface: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(stem) => interface.starts_with(stem),
        None => interface == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn an_interface_is_named_by_its_name_or_by_its_stem() {
        let named = |pattern, interfaces: [&str; 4]| interfaces.map(|name| names(pattern, name));
        assert_eq!(
            named("tun0", ["tun0", "tun", "tun00", "xtun0"]),
            [true, false, false, false]
        );
        assert_eq!(
            named("vpns*", ["vpns", "vpns12", "vpn", "xvpns0"]),
            [true, true, false, false]
        );
    }
}
