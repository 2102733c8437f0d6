#![no_main]

use offramp::filter::agreement::fuzz_compiled;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_compiled(data));
