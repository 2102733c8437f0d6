#![no_main]

use offramp::feed::reference::fuzz_feed;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_feed(data));
