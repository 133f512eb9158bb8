//! Cameras: each kind is a folder that implements [`VideoSource`](super::VideoSource). Knows no encoder and no network.

pub mod test;
