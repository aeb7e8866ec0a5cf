//! RFC 6455 frames for either role.
