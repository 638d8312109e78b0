//! Any body of a submission is answered without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| curb_server::fuzz::submission(body));
