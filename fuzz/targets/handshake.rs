#![no_main]
#[path = "../../crates/pubsub-server/tests/fuzzed/handshake.rs"]
mod handshake;

libfuzzer_sys::fuzz_target!(|data: &[u8]| handshake::check(data));
