//! A WebSocket pub/sub server that Centrifugo SDKs use unchanged.

pub mod channel;
pub mod config;
