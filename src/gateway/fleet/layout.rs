//! The keys of a store, which are paths where the store is a folder or a web server.

/// The key of the serial that the channel `name` is at.
pub fn channel(name: &str) -> String {
    format!("{CHANNELS}/{name}")
}

/// The key of the status of the gateway `id`.
pub fn gateway(id: &str) -> String {
    format!("{GATEWAYS}/{id}")
}

/// The key of the part `name` of the release `serial`.
pub fn release(serial: u64, name: &str) -> String {
    format!("{RELEASES}/{serial}/{name}")
}

/// Reads what stands under the key of a channel: a serial, from 1.
pub fn parse_serial(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| is_plain)
}

/// Above all releases, by their serials.
pub const RELEASES: &str = "offramp/v1/release";
/// Above all channels.
pub const CHANNELS: &str = "offramp/v1/channel";
/// Above the status of all gateways.
pub const GATEWAYS: &str = "offramp/v1/gateway";

/// The policy, compressed by gzip.
pub const POLICY: &str = "policy.toml.gz";
/// The facts of a release, as JSON.
pub const MANIFEST: &str = "manifest";
/// The signature of [`MANIFEST`].
pub const SIGNATURE: &str = "manifest.minisig";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_is_a_whole_number_from_one() {
        assert_eq!(parse_serial(b"41\n"), Some(41));
        for wrong in [
            &b""[..],
            b"0",
            b"+1",
            b"01",
            b"-1",
            b"1.0",
            b"latest",
            b"\xff",
        ] {
            assert_eq!(parse_serial(wrong), None, "{wrong:?}");
        }
    }
}
