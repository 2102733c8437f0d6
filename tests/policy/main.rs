//! Policy files through the library's public interface: accepted, refused, accepted with warnings, and arbitrary bytes.
//!
//! Needs no feature: these tests also run on the pure half.

#[path = "../support/skip.rs"]
mod skip;

mod accepted;
mod any_bytes;
mod refused;
mod warned;

/// The policies of `tests/NAME`, by their names without the end, in order.
fn cases(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name);
    let entries = std::fs::read_dir(&folder).expect("a folder of this repository");
    let mut cases: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let path = entry.expect("an entry of it").path();
            let stem = path.file_stem().expect("a file has a name");
            let stem = stem.to_str().expect("a name in ASCII").to_owned();
            (stem, std::fs::read(&path).expect("a case"))
        })
        .collect();
    cases.sort();
    cases
}
