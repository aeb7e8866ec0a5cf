//! The stress lab.
fn main() {}
