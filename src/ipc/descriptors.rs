//! The channel between supervisor and server: a pair of stream sockets, made before each fork of
//! the server. The supervisor sends the descriptors (SCM_RIGHTS, unix(7)) of a camera that was
//! added while the server runs; the server sends requests of a fixed size.
//!
//! Either side may be hostile or may have stopped reading: nothing here blocks, queues are bounded,
//! and every received descriptor is owned at once, so that none is leaked by an error.
//!
//! A message is a header of 16 bytes (magic, version, kind, length of the body, number of
//! descriptors; little-endian), then the body in JSON. The descriptors come with its first byte.
#![allow(unsafe_code)]

use super::mapping::Mapping;
use super::stream_memory::{StreamLayout, StreamMemory, StreamMemoryError};
use crate::media::id::InvalidCameraId;
use crate::media::{CameraId, MediaKind};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, send, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

const MAGIC: u32 = u32::from_le_bytes(*b"scfd");
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 16;
/// The longest body; a camera's is some hundred bytes.
const MAX_BODY_BYTES: usize = 4096;
/// The most descriptors of one message: two streams with 8 rings, a status and a control page each.
const MAX_DESCRIPTORS: usize = 40;
/// The most that the kernel passes with one message (SCM_MAX_FD).
const KERNEL_MAX_DESCRIPTORS: usize = 253;
/// Messages that wait for a server that does not read.
const MAX_QUEUED: usize = 64;

const KIND_NEW_CAMERA: u16 = 1;

const REQUEST_MAGIC: u32 = u32::from_le_bytes(*b"scrq");
const REQUEST_BYTES: usize = 16;
const REQUEST_CAMERA_RECEIVED: u16 = 1;

/// Makes a channel.
///
/// # Errors
/// Those of socketpair(2).
pub fn channel() -> io::Result<(DescriptorSender, DescriptorReceiver)> {
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
    )?;
    Ok((DescriptorSender::new(ours), DescriptorReceiver::new(theirs)))
}

/// A camera that was added: the memory of its streams.
pub struct NewCamera {
    pub camera: CameraId,
    pub streams: Vec<(MediaKind, StreamMemory)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCameraBody {
    camera: String,
    streams: Vec<StreamLayout>,
}

/// A request of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// This many cameras were received over this channel. (The server does not serve them yet.)
    CamerasReceived(u64),
}

/// Why the channel ended. It cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    #[error("the other process closed the channel")]
    Closed,
    #[error("the channel failed")]
    Io(#[source] io::Error),
    #[error("the other process does not read: {MAX_QUEUED} messages are waiting")]
    Full,
    #[error("the channel was closed within a message")]
    Truncated,
    #[error("a message does not begin with this program's magic number and version")]
    Header,
    #[error("a message is of unknown kind {0}")]
    Kind(u16),
    #[error("a message claims {0} bytes, over the limit of {MAX_BODY_BYTES}")]
    Oversized(u32),
    #[error("a message came with {found} descriptors instead of {expected}")]
    DescriptorCount { found: usize, expected: usize },
    #[error("descriptors of a message were lost: this process has too many open")]
    DescriptorsLost,
    #[error("a message has an invalid body")]
    Body(#[from] serde_json::Error),
    #[error("a message has an invalid camera")]
    Camera(#[from] InvalidCameraId),
    #[error("a message has no stream, or one twice")]
    Streams,
    #[error("a message has memory that cannot be used")]
    Memory(#[from] StreamMemoryError),
    #[error("a request is not valid")]
    Request,
}

/// The supervisor's half. Never blocks.
pub struct DescriptorSender {
    socket: OwnedFd,
    queue: VecDeque<Outgoing>,
    request: [u8; REQUEST_BYTES],
    received: usize,
}

struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    /// Keeps the descriptors open until they are sent.
    memory: Vec<Mapping>,
}

impl DescriptorSender {
    fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            queue: VecDeque::new(),
            request: [0; REQUEST_BYTES],
            received: 0,
        }
    }

    /// Queues a camera and sends as much as the socket takes; [`flush`](Self::flush) sends the rest.
    ///
    /// # Errors
    /// [`ChannelError::Full`] when 64 messages are queued: this one is not. [`ChannelError::Io`] and
    /// [`ChannelError::Closed`] as `flush`.
    pub fn send_camera(
        &mut self,
        camera: &CameraId,
        streams: &[(MediaKind, &StreamMemory)],
    ) -> Result<(), ChannelError> {
        if self.queue.len() >= MAX_QUEUED {
            return Err(ChannelError::Full);
        }
        let layouts: Vec<StreamLayout> = streams.iter().map(|(kind, s)| s.layout(*kind)).collect();
        let descriptors: usize = layouts.iter().map(StreamLayout::descriptors).sum();
        let body = serde_json::to_vec(&NewCameraBody {
            camera: camera.as_str().to_owned(),
            streams: layouts,
        })?;
        let bytes = [&header(KIND_NEW_CAMERA, body.len(), descriptors), &body[..]].concat();
        self.queue.push_back(Outgoing {
            bytes,
            sent: 0,
            memory: streams
                .iter()
                .flat_map(|(_, stream)| stream.mappings())
                .cloned()
                .collect(),
        });
        self.flush()
    }

    /// Sends queued messages until the socket takes no more. To be repeated while
    /// [`is_queued`](Self::is_queued).
    ///
    /// # Errors
    /// [`ChannelError::Closed`], [`ChannelError::Io`].
    pub fn flush(&mut self) -> Result<(), ChannelError> {
        while let Some(message) = self.queue.front_mut() {
            let fds: Vec<RawFd> = message.memory.iter().flat_map(Mapping::fds).collect();
            let rights = [ControlMessage::ScmRights(&fds)];
            let with_first_byte = if message.sent == 0 { &rights[..] } else { &[] };
            let sent = sendmsg::<()>(
                self.socket.as_raw_fd(),
                &[IoSlice::new(&message.bytes[message.sent..])],
                with_first_byte,
                MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
                None,
            );
            match sent {
                Ok(count) => {
                    message.sent += count;
                    if message.sent >= message.bytes.len() {
                        self.queue.pop_front();
                    }
                }
                // The second: too many descriptors wait in the socket (unix(7)).
                Err(Errno::EAGAIN | Errno::ETOOMANYREFS) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(e) => return Err(closed_or_io(e)),
            }
        }
        Ok(())
    }

    /// Whether messages wait for the socket.
    pub fn is_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The next request of the server; `None` when there is none. A hostile server can make them as
    /// fast as this is called: call it a bounded number of times.
    ///
    /// # Errors
    /// [`ChannelError::Closed`], [`ChannelError::Truncated`], [`ChannelError::Request`],
    /// [`ChannelError::Io`]: the channel must then be dropped.
    pub fn next_request(&mut self) -> Result<Option<Request>, ChannelError> {
        while self.received < REQUEST_BYTES {
            // `recv` without control data: descriptors that the server sends are closed by the kernel.
            match recv(
                self.socket.as_raw_fd(),
                &mut self.request[self.received..],
                MsgFlags::MSG_DONTWAIT,
            ) {
                Ok(0) if self.received == 0 => return Err(ChannelError::Closed),
                Ok(0) => return Err(ChannelError::Truncated),
                Ok(count) => self.received += count,
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(e) => return Err(closed_or_io(e)),
            }
        }
        self.received = 0;
        decode_request(self.request).map(Some)
    }
}

impl AsFd for DescriptorSender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The server's half. Never blocks.
pub struct DescriptorReceiver {
    socket: OwnedFd,
    /// What was received of the current message: its header, then its body.
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl DescriptorReceiver {
    fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            bytes: Vec::new(),
            descriptors: Vec::new(),
        }
    }

    /// The next camera; `None` when no whole message has arrived.
    ///
    /// # Errors
    /// [`ChannelError`]; the channel must then be dropped, which closes all descriptors received.
    pub fn receive(&mut self) -> Result<Option<NewCamera>, ChannelError> {
        if self.bytes.len() < HEADER_BYTES && !self.fill(HEADER_BYTES)? {
            return Ok(None);
        }
        let header = Header::decode(&self.bytes)?;
        if !self.fill(HEADER_BYTES + header.body_bytes)? {
            return Ok(None);
        }
        let bytes = std::mem::take(&mut self.bytes);
        let descriptors = std::mem::take(&mut self.descriptors);
        if descriptors.len() != header.descriptors {
            return Err(ChannelError::DescriptorCount {
                found: descriptors.len(),
                expected: header.descriptors,
            });
        }
        new_camera(&bytes[HEADER_BYTES..], descriptors).map(Some)
    }

    /// Sends a request. It is dropped when the supervisor does not read.
    ///
    /// # Errors
    /// [`ChannelError::Closed`], [`ChannelError::Io`].
    pub fn request(&self, request: Request) -> Result<(), ChannelError> {
        let sent = send(
            self.socket.as_raw_fd(),
            &encode_request(request),
            MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
        );
        match sent {
            // A stream socket takes so few bytes whole or not at all.
            Ok(_) | Err(Errno::EAGAIN) => Ok(()),
            Err(e) => Err(closed_or_io(e)),
        }
    }

    /// Reads until `length` bytes of the message are there; false when there are no more yet.
    fn fill(&mut self, length: usize) -> Result<bool, ChannelError> {
        while self.bytes.len() < length {
            let have = self.bytes.len();
            self.bytes.resize(length, 0);
            let received = receive_with_descriptors(
                &self.socket,
                &mut self.bytes[have..],
                &mut self.descriptors,
            );
            self.bytes.truncate(have + *received.as_ref().unwrap_or(&0));
            match received {
                Ok(0) if have == 0 && self.descriptors.is_empty() => {
                    return Err(ChannelError::Closed);
                }
                Ok(0) => return Err(ChannelError::Truncated),
                Ok(_) if self.descriptors.len() > MAX_DESCRIPTORS => {
                    return Err(ChannelError::DescriptorCount {
                        found: self.descriptors.len(),
                        expected: MAX_DESCRIPTORS,
                    });
                }
                Ok(_) => {}
                Err(Received::Nothing) => return Ok(false),
                Err(Received::Interrupted) => {}
                Err(Received::Error(e)) => return Err(e),
            }
        }
        Ok(true)
    }
}

impl AsFd for DescriptorReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

struct Header {
    body_bytes: usize,
    descriptors: usize,
}

impl Header {
    fn decode(bytes: &[u8]) -> Result<Self, ChannelError> {
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

fn header(kind: u16, body_bytes: usize, descriptors: usize) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    header[4..6].copy_from_slice(&VERSION.to_le_bytes());
    header[6..8].copy_from_slice(&kind.to_le_bytes());
    header[8..12].copy_from_slice(&(body_bytes as u32).to_le_bytes());
    header[12..16].copy_from_slice(&(descriptors as u32).to_le_bytes());
    header
}

fn new_camera(body: &[u8], descriptors: Vec<OwnedFd>) -> Result<NewCamera, ChannelError> {
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

fn encode_request(request: Request) -> [u8; REQUEST_BYTES] {
    let Request::CamerasReceived(count) = request;
    let mut bytes = [0; REQUEST_BYTES];
    bytes[0..4].copy_from_slice(&REQUEST_MAGIC.to_le_bytes());
    bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
    bytes[6..8].copy_from_slice(&REQUEST_CAMERA_RECEIVED.to_le_bytes());
    bytes[8..16].copy_from_slice(&count.to_le_bytes());
    bytes
}

fn decode_request(bytes: [u8; REQUEST_BYTES]) -> Result<Request, ChannelError> {
    let head = u64::from_le_bytes(*bytes.first_chunk().expect("a request has 16 bytes"));
    let value = u64::from_le_bytes(*bytes.last_chunk().expect("a request has 16 bytes"));
    let request = Request::CamerasReceived(value);
    let is_ours = encode_request(request).first_chunk() == Some(&head.to_le_bytes());
    is_ours.then_some(request).ok_or(ChannelError::Request)
}

fn closed_or_io(e: Errno) -> ChannelError {
    match e {
        Errno::EPIPE | Errno::ECONNRESET => ChannelError::Closed,
        e => ChannelError::Io(e.into()),
    }
}

enum Received {
    Nothing,
    Interrupted,
    Error(ChannelError),
}

/// recvmsg(2) once. Descriptors are added to `descriptors`, whatever else happens. By libc: nix's
/// iterator over control messages loses the descriptors of one that was cut off.
fn receive_with_descriptors(
    socket: &OwnedFd,
    into: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> Result<usize, Received> {
    let mut control = nix::cmsg_space!([RawFd; KERNEL_MAX_DESCRIPTORS]);
    let mut iov = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    // SAFETY: all zeros is a valid msghdr: no name, no buffers, no flags.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut iov;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = control.capacity() as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: `iov` is `into`, all of it; the control buffer is as long as it says; both are alive
    // and writable during the call.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    let received = match Errno::result(received) {
        Ok(count) => count as usize,
        Err(Errno::EAGAIN) => return Err(Received::Nothing),
        Err(Errno::EINTR) => return Err(Received::Interrupted),
        Err(e) => return Err(Received::Error(closed_or_io(e))),
    };
    // SAFETY: the kernel has filled the control buffer up to `msg_controllen`, and the macros stay
    // within it. Each descriptor is new in this process and owned by nobody else.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(&raw const message);
        while !at.is_null() {
            if ((*at).cmsg_level, (*at).cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                let data = libc::CMSG_DATA(at).cast::<RawFd>();
                let bytes = (*at).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                for i in 0..bytes / size_of::<RawFd>() {
                    descriptors.push(OwnedFd::from_raw_fd(data.add(i).read_unaligned()));
                }
            }
            at = libc::CMSG_NXTHDR(&raw const message, at);
        }
    }
    if message.msg_flags & libc::MSG_CTRUNC != 0 {
        return Err(Received::Error(ChannelError::DescriptorsLost));
    }
    Ok(received)
}

#[cfg(test)]
mod tests;
