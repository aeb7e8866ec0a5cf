//! The words both sides share: the Centrifuge client protocol and the WebSocket frames that carry it.
//!
//! No I/O, no clock, no chance, no tokio and no logging: bytes and values only, so that server, client,
//! lab and fuzzer can all drive the same code. In reading order:
//!
//! - [`command`]: what a client asks; [`reply`]: what the server answers; [`push`]: what it tells unasked
//! - [`payload`]: application data that passes through unread; [`position`]: a place in a stream
//! - [`codec`]: messages to commands, replies to messages; the only place that knows JSON from protobuf
//! - [`codes`]: every error, unsubscribe and disconnect code, and what a client makes of it
//! - [`limits`]: the bounds that the wire itself sets
//! - [`websocket`]: RFC 6455 frames, for either role

pub mod codec;
pub mod codes;
pub mod command;
pub mod limits;
pub mod payload;
pub mod position;
pub mod push;
pub mod reply;
pub mod websocket;

pub use codec::Format;
pub use codes::{DisconnectCode, ErrorCode, UnsubscribeCode};
pub use command::Command;
pub use payload::Payload;
pub use position::StreamPosition;
pub use push::{ClientInfo, Publication, Push};
pub use reply::Reply;
