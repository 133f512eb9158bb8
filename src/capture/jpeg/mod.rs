//! JPEG: where an image begins and ends, what is repaired in a camera's own, and the encoders. Knows no device and no
//! ring.

pub mod markers;

pub use markers::size_of;
