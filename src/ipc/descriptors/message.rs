//! The messages of the channel as bytes: a header of 16 bytes (magic, version, kind, length of the
//! body, number of descriptors; little-endian), then the body in JSON; and the requests of the
//! server, 16 bytes each. Pure.

use super::{ChannelError, NewCamera, Request};
use crate::ipc::stream_memory::{StreamLayout, StreamMemory, StreamMemoryError};
use crate::media::{CameraId, MediaKind};
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;

const MAGIC: u32 = u32::from_le_bytes(*b"scfd");
const VERSION: u16 = 1;
pub(super) const HEADER_BYTES: usize = 16;
/// The longest body; a camera's is some hundred bytes.
pub(super) const MAX_BODY_BYTES: usize = 4096;
/// The most descriptors of one message: two streams with 8 rings, a status and a control page each.
pub(super) const MAX_DESCRIPTORS: usize = 40;

pub(super) const KIND_NEW_CAMERA: u16 = 1;

const REQUEST_MAGIC: u32 = u32::from_le_bytes(*b"scrq");
pub(super) const REQUEST_BYTES: usize = 16;
const REQUEST_CAMERA_RECEIVED: u16 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewCameraBody {
    pub camera: String,
    pub streams: Vec<StreamLayout>,
}

pub(super) struct Header {
    pub body_bytes: usize,
    pub descriptors: usize,
}

impl Header {
    /// `bytes` has at least 16.
    ///
    /// # Errors
    /// [`ChannelError`]: the header is not valid, or over a limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, ChannelError> {
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
        if (u32_at(0), u16_at(4)) != (MAGIC, VERSION) {
            return Err(ChannelError::Header);
        }
        if u16_at(6) != KIND_NEW_CAMERA {
            return Err(ChannelError::Kind(u16_at(6)));
        }
        if u32_at(8) as usize > MAX_BODY_BYTES {
            return Err(ChannelError::Oversized(u32_at(8)));
        }
        if u32_at(12) as usize > MAX_DESCRIPTORS {
            return Err(ChannelError::DescriptorCount {
                found: u32_at(12) as usize,
                expected: MAX_DESCRIPTORS,
            });
        }
        Ok(Self {
            body_bytes: u32_at(8) as usize,
            descriptors: u32_at(12) as usize,
        })
    }
}

pub(super) fn header(kind: u16, body_bytes: usize, descriptors: usize) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    header[4..6].copy_from_slice(&VERSION.to_le_bytes());
    header[6..8].copy_from_slice(&kind.to_le_bytes());
    header[8..12].copy_from_slice(&(body_bytes as u32).to_le_bytes());
    header[12..16].copy_from_slice(&(descriptors as u32).to_le_bytes());
    header
}

/// The message for a camera with these streams, without its descriptors.
///
/// # Errors
/// [`ChannelError::Body`].
pub(super) fn encode_camera(
    camera: &CameraId,
    streams: &[(MediaKind, &StreamMemory)],
) -> Result<Vec<u8>, ChannelError> {
    let layouts: Vec<StreamLayout> = streams.iter().map(|(kind, s)| s.layout(*kind)).collect();
    let descriptors: usize = layouts.iter().map(StreamLayout::descriptors).sum();
    let body = serde_json::to_vec(&NewCameraBody {
        camera: camera.as_str().to_owned(),
        streams: layouts,
    })?;
    Ok([&header(KIND_NEW_CAMERA, body.len(), descriptors), &body[..]].concat())
}

/// The camera that a message's body and descriptors describe.
///
/// # Errors
/// [`ChannelError`]: the body is not valid, or does not fit the descriptors, which are then closed.
pub(super) fn decode_camera(
    body: &[u8],
    descriptors: Vec<OwnedFd>,
) -> Result<NewCamera, ChannelError> {
    let body: NewCameraBody = serde_json::from_slice(body)?;
    let camera = CameraId::new(&body.camera)?;
    let kinds: Vec<MediaKind> = body.streams.iter().map(|stream| stream.kind).collect();
    let is_twice = |(at, kind): (usize, &MediaKind)| kinds[..at].contains(kind);
    if kinds.is_empty() || kinds.iter().enumerate().any(is_twice) {
        return Err(ChannelError::Streams);
    }
    let expected: usize = body.streams.iter().map(StreamLayout::descriptors).sum();
    if descriptors.len() != expected {
        return Err(ChannelError::DescriptorCount {
            found: descriptors.len(),
            expected,
        });
    }
    let mut descriptors = descriptors.into_iter();
    let streams = body
        .streams
        .iter()
        .map(|layout| {
            let next = || descriptors.next().expect("as many as the layouts have");
            Ok((layout.kind, StreamMemory::adopt(layout, next)?))
        })
        .collect::<Result<_, StreamMemoryError>>()?;
    Ok(NewCamera { camera, streams })
}

pub(super) fn encode_request(request: Request) -> [u8; REQUEST_BYTES] {
    let Request::CamerasReceived(count) = request;
    let mut bytes = [0; REQUEST_BYTES];
    bytes[0..4].copy_from_slice(&REQUEST_MAGIC.to_le_bytes());
    bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
    bytes[6..8].copy_from_slice(&REQUEST_CAMERA_RECEIVED.to_le_bytes());
    bytes[8..16].copy_from_slice(&count.to_le_bytes());
    bytes
}

/// # Errors
/// [`ChannelError::Request`].
pub(super) fn decode_request(bytes: [u8; REQUEST_BYTES]) -> Result<Request, ChannelError> {
    let head = u64::from_le_bytes(*bytes.first_chunk().expect("a request has 16 bytes"));
    let value = u64::from_le_bytes(*bytes.last_chunk().expect("a request has 16 bytes"));
    let request = Request::CamerasReceived(value);
    let is_ours = encode_request(request).first_chunk() == Some(&head.to_le_bytes());
    is_ours.then_some(request).ok_or(ChannelError::Request)
}
