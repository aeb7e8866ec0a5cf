//! A WebSocket pub/sub client that a bad network cannot confuse.
