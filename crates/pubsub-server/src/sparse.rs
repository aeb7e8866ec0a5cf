//! When a map has given away so much that its room should follow.

/// A map with room for so many times what it holds gives the rest back.
const SPARSE: usize = 4;

/// Whether something with room for `capacity` holds so little that the rest is to be given back.
pub(crate) fn is_sparse(len: usize, capacity: usize) -> bool {
    len * SPARSE < capacity
}
