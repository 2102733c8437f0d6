#![no_main]

use offramp::filter::strategy::Scenario;
use offramp::gateway::divert::ebpf::agreement::fuzz_programs;

libfuzzer_sys::fuzz_target!(|scenario: Scenario| fuzz_programs(&scenario));
