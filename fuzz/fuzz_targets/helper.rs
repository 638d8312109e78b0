//! Whatever the agent's side sends to its helper is refused, or is one of its verbs in the one way in which it is written.
#![no_main]

use curb_agent::wire::{Answer, Verb};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(verb) = Verb::decode(bytes) {
        assert_eq!(verb.encode().as_deref(), Ok(bytes), "there is one way to say it");
    }
    let _read_without_a_panic = Answer::decode(bytes);
});
