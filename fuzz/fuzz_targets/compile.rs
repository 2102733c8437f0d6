#![no_main]

use offramp::filter::agreement::assert_agreement;
use offramp::filter::strategy::Scenario;

libfuzzer_sys::fuzz_target!(|scenario: Scenario| assert_agreement(&scenario));
