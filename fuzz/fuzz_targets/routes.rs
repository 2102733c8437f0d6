#![no_main]

use offramp::render::reference::fuzz_routes;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_routes(data));
