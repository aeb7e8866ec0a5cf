//! Bounds that the wire sets, not a configuration.

/// A close frame's reason: a control frame carries at most 125 bytes, two of them the code (RFC 6455, 5.5).
pub const CLOSE_REASON_BYTES_MAX: usize = 123;

/// A control frame's payload (RFC 6455, 5.5).
pub const CONTROL_PAYLOAD_BYTES_MAX: usize = 125;

/// `connect.name`: what a client calls itself.
pub const CLIENT_NAME_BYTES_MAX: usize = 16;

/// `connect.version`: the version a client gives of itself.
pub const CLIENT_VERSION_BYTES_MAX: usize = 64;

/// `publish.idempotency_key`: a ULID or UUID, and room for a prefix.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 64;

/// Seconds in 365 days: the longest `ttl` a client is told. Some platforms keep timers in 32-bit milliseconds.
pub const TTL_SECONDS_MAX: u64 = 365 * 24 * 60 * 60;

/// How deep the JSON of a publication may be nested. One publisher could otherwise lock out every subscriber whose parser
/// recurses: Python's gives up near 1,000, serde's at 128.
pub const PAYLOAD_DEPTH_MAX: usize = 128;
