//! What libFuzzer runs: every binary is this file, and its name says which target it is.

#![no_main]

mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let target = targets::TARGETS.iter().find(|target| target.name == env!("CARGO_BIN_NAME"));
    (target.expect("the binary is named after a target").check)(bytes);
});
