//! A viewer's connection after the upgrade: readiness, and reads and writes that never wait. Knows TCP and nothing of what
//! goes over it. (TLS will be a second variant here; nothing outside this file knows that it is TCP.)

use socket2::{SockRef, TcpKeepalive};
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::AsFd;
use std::time::Duration;
use tokio::io::{Interest, Ready};
use tokio::net::TcpStream;

/// Bytes that the kernel may hold unsent before it says that there is no room: about one frame. Without this it takes
/// seconds of frames, and a slow viewer sees the past. 16 to 40 KB measured alike.
const UNSENT_BYTES: u32 = 32 * 1024;
/// A peer that vanished without a word is noticed after about a minute, also while nothing is sent to it.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);

const TAKES_NOTHING: Duration = Duration::from_secs(60);

pub struct Socket(TcpStream);

/// Options that every connection has from the start. The kernel ends one that takes nothing for `stalled` although there is
/// something for it.
pub fn prepare(stream: &TcpStream, stalled: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_user_timeout(Some(stalled))?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_EVERY).with_retries(3);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    // A peer that takes nothing of what waits for it.
    socket.set_tcp_user_timeout(Some(TAKES_NOTHING))?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)
}

impl Socket {
    /// For a stream that was [`prepare`]d.
    pub fn new(stream: TcpStream) -> Self {
        Self(stream)
    }

    /// Returns when one of `interest` may succeed, or the peer is gone.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        self.0.ready(interest).await
    }

    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buf)
    }

    /// Writes what the kernel takes of two slices.
    pub fn try_write(&self, slices: [&[u8]; 2]) -> io::Result<usize> {
        match slices {
            [[], one] | [one, []] => self.0.try_write(one),
            [one, two] => self.0.try_write_vectored(&[IoSlice::new(one), IoSlice::new(two)]),
        }
    }

    /// Asks the kernel whether there is room for a new frame now. `false`: [`ready`](Self::ready) for writing will tell.
    ///
    /// What tokio remembers is not enough: after a write it still says writable, although what is unsent fills the room.
    pub fn has_room(&self) -> io::Result<bool> {
        let asked = self.0.try_io(Interest::WRITABLE, || {
            use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
            let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
            // An error or a hang-up counts as room: the write that follows says what it is.
            match poll(&mut fds, PollTimeout::ZERO) {
                Ok(0) => Err(ErrorKind::WouldBlock.into()),
                Ok(_) => Ok(()),
                Err(errno) => Err(errno.into()),
            }
        });
        match asked {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Nothing more will be written.
    pub fn shut_down_write(&self) -> io::Result<()> {
        SockRef::from(&self.0).shutdown(std::net::Shutdown::Write)
    }
}
