//! The types that every folder shares: time, ids, encodings, packet metadata, losses; and pure
//! media arithmetic. Imports no other folder.

pub mod clock;
mod description;
mod encoding;
pub mod frame;
pub mod frame_rate;
pub mod id;
mod loss;
mod packet;
mod printable;
pub mod resample;
#[cfg(feature = "webrtc")]
pub mod rtp_time;
pub mod test_pattern;
mod time;
pub mod timecode;

pub use description::{StampMark, StampSource, StreamInfo, WorkerState};
pub use encoding::{Encoding, OPUS_PACKET, Shape, default_h264_bps};
pub use id::{CameraId, MediaKind, StreamId, TrackId};
pub use loss::{Cause, Gap, Losses};
pub use packet::PacketMeta;
pub use printable::{
    MAX_PRINTABLE_CHARS, escape_unprintable, is_printable, printable, printable_bytes,
};
pub use time::{MonoNs, UnixNs};
