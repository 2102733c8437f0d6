#![no_main]

use offramp::gateway::machine::fuzz_machine;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_machine(data));
