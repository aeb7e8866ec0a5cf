#![no_main]
#[path = "../../crates/pubsub-server/tests/fuzzed/conversation.rs"]
mod conversation;

libfuzzer_sys::fuzz_target!(|data: &[u8]| conversation::check(data));
