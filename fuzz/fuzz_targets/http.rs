//! Heads, chunked bodies, targets and names of hosts: any bytes are read in one way or refused, without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = curb_http::fuzz::head(bytes);
    let _ = curb_http::fuzz::chunked(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        curb_http::fuzz::target(text);
        curb_http::fuzz::names(text);
    }
});
