#![no_main]
#[path = "../../crates/pubsub-server/tests/fuzzed/commands.rs"]
mod commands;

libfuzzer_sys::fuzz_target!(|data: &[u8]| commands::check(data));
