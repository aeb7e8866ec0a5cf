#![no_main]
#[path = "../../crates/pubsub-server/tests/fuzzed/frames.rs"]
mod frames;

libfuzzer_sys::fuzz_target!(|data: &[u8]| frames::check(data));
