//! The channel between supervisor and server: a pair of stream sockets, made before each fork of
//! the server. The supervisor sends the descriptors (SCM_RIGHTS, unix(7)) of a camera that was
//! added while the server runs; the server sends requests of a fixed size.
//!
//! Either side may be hostile or may have stopped reading: nothing here blocks, queues are bounded,
//! and every received descriptor is owned at once, so that none is leaked by an error. The
//! descriptors come with the first byte of their `message`.

mod message;
mod scm_rights;

use super::mapping::Mapping;
use super::stream_memory::{StreamMemory, StreamMemoryError};
use crate::media::id::InvalidCameraId;
use crate::media::{CameraId, MediaKind};
use message::{
    HEADER_BYTES, Header, MAX_BODY_BYTES, MAX_DESCRIPTORS, REQUEST_BYTES, decode_camera,
    decode_request, encode_camera, encode_request,
};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, send, sendmsg, socketpair,
};
use scm_rights::{Received, receive_with_descriptors};
use std::collections::VecDeque;
use std::io;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Messages that wait for a server that does not read.
const MAX_QUEUED: usize = 64;

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

    /// Queues a camera and sends as much as the socket takes; [`flush`](Self::flush) sends the
    /// rest.
    ///
    /// # Errors
    /// [`ChannelError::Full`] when 64 messages are queued: this one is not. [`ChannelError::Io`]
    /// and [`ChannelError::Closed`] as `flush`.
    pub fn send_camera(
        &mut self,
        camera: &CameraId,
        streams: &[(MediaKind, &StreamMemory)],
    ) -> Result<(), ChannelError> {
        if self.queue.len() >= MAX_QUEUED {
            return Err(ChannelError::Full);
        }
        let bytes = encode_camera(camera, streams)?;
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
            // `recv` without control data: descriptors that the server sends are closed by the
            // kernel.
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
        decode_camera(&bytes[HEADER_BYTES..], descriptors).map(Some)
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

fn closed_or_io(e: Errno) -> ChannelError {
    match e {
        Errno::EPIPE | Errno::ECONNRESET => ChannelError::Closed,
        e => ChannelError::Io(e.into()),
    }
}

#[cfg(test)]
mod tests;
