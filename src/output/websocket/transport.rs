//! A viewer's connection after the upgrade: readiness, and reads and writes that never wait. Knows TCP, and TLS by way of
//! `tls::session`; nothing of what goes over it.

#[cfg(feature = "tls")]
use crate::http::tls::session::Session;
use socket2::{SockRef, TcpKeepalive};
use std::future::poll_fn;
use std::io::{self, IoSlice};
#[cfg(feature = "tls")]
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;

/// Bytes that the kernel may hold unsent before it says that there is no room: about one frame. Without this it takes
/// seconds of frames, and a slow viewer sees the past. 16 to 40 KB measured alike.
const UNSENT_BYTES: u32 = 32 * 1024;
/// A peer that vanished without a word is noticed after about a minute, also while nothing is sent to it.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);

pub struct Socket {
    tcp: TcpStream,
    /// `None`: in the clear.
    #[cfg(feature = "tls")]
    tls: Option<Box<Mutex<Session>>>,
}

/// Options that every connection has from the start. The kernel ends one that takes nothing for `stalled` although there is
/// something for it.
pub fn prepare(stream: &TcpStream, stalled: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(3);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(stalled))?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)
}

impl Socket {
    /// For a stream that was [`prepare`]d.
    pub fn new(tcp: TcpStream) -> Self {
        Self {
            tcp,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// The same over TLS, its handshake done.
    #[cfg(feature = "tls")]
    pub fn with_tls(tcp: TcpStream, session: Session) -> Self {
        Self {
            tcp,
            tls: Some(Box::new(Mutex::new(session))),
        }
    }

    #[cfg(feature = "tls")]
    fn session(&self) -> Option<MutexGuard<'_, Session>> {
        self.tls.as_ref().map(|tls| {
            tls.lock()
                .expect("nothing panics while it holds the session")
        })
    }

    /// Ready when [`try_read`](Self::try_read) may give something, or the end.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        #[cfg(feature = "tls")]
        if self
            .session()
            .is_some_and(|mut session| session.has_plaintext())
        {
            return Poll::Ready(Ok(()));
        }
        self.tcp.poll_read_ready(cx)
    }

    /// Ready when [`try_write`](Self::try_write) or [`flush`](Self::flush) may get on.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp.poll_write_ready(cx)
    }

    pub async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_readable(cx)).await
    }

    pub async fn room(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_room(cx)).await
    }

    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(mut session) = self.session() {
            return session.try_read(&self.tcp, buf);
        }
        self.tcp.try_read(buf)
    }

    /// Writes as much of two slices as there is room for: nothing (`WouldBlock`) while too much is unsent. Over TLS a part
    /// may wait in the session: see [`flush`](Self::flush).
    pub fn try_write(&self, slices: [&[u8]; 2]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(mut session) = self.session() {
            session.flush(&self.tcp)?;
            // What is enciphered is begun, even if the kernel then takes none of it; so it is asked first.
            self.ask_for_room()?;
            return session.try_write(&self.tcp, slices);
        }
        match slices {
            [[], one] | [one, []] => self.tcp.try_write(one),
            [one, two] => self
                .tcp
                .try_write_vectored(&[IoSlice::new(one), IoSlice::new(two)]),
        }
    }

    /// `WouldBlock` when the kernel would not take a byte now; [`poll_room`](Self::poll_room) will then tell when it would.
    /// What tokio remembers is not enough: after a write it still says writable, although what is unsent fills the room.
    #[cfg(feature = "tls")]
    fn ask_for_room(&self) -> io::Result<()> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        use std::os::fd::AsFd;
        self.tcp.try_io(tokio::io::Interest::WRITABLE, || {
            let mut fds = [PollFd::new(self.tcp.as_fd(), PollFlags::POLLOUT)];
            // An error or a hang-up counts as room: the write that follows says what it is.
            match poll(&mut fds, PollTimeout::ZERO) {
                Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
                Ok(_) => Ok(()),
                Err(errno) => Err(errno.into()),
            }
        })
    }

    /// Gives the kernel what TLS has enciphered; `WouldBlock` when it does not take all of it.
    pub fn flush(&self) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(mut session) = self.session() {
            return session.flush(&self.tcp);
        }
        Ok(())
    }

    /// Nothing more will be written.
    pub fn shut_down_write(&self) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(mut session) = self.session() {
            session.close(&self.tcp)?;
        }
        SockRef::from(&self.tcp).shutdown(std::net::Shutdown::Write)
    }
}
