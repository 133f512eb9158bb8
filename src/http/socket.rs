//! A viewer's connection after the upgrade: readiness, and reads and writes that never wait. Knows TCP, and TLS by way of
//! `tls::session`; nothing of what goes over it.

#[cfg(feature = "tls")]
use super::tls::session::Session;
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::AsFd;
#[cfg(feature = "tls")]
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::{Interest, Ready};
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
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_EVERY).with_retries(3);
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
        Self { tcp, tls: Some(Box::new(Mutex::new(session))) }
    }

    #[cfg(feature = "tls")]
    fn session(&self) -> Option<MutexGuard<'_, Session>> {
        self.tls.as_ref().map(|tls| tls.lock().expect("nothing panics while it holds the session"))
    }

    /// Returns when one of `interest` may succeed, or the peer is gone.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        #[cfg(feature = "tls")]
        loop {
            let (plaintext, owes) = match self.session() {
                Some(mut session) => (session.has_plaintext(), session.owes_ciphertext()),
                None => break,
            };
            if plaintext && interest.is_readable() {
                return Ok(Ready::READABLE);
            }
            if !owes {
                break;
            }
            let ready = self.tcp.ready(interest | Interest::WRITABLE).await?;
            let flushed = self.session().map_or(Ok(()), |mut session| session.flush(&self.tcp));
            match flushed {
                Ok(()) if interest.is_writable() => return Ok(ready),
                Err(e) if e.kind() != ErrorKind::WouldBlock => return Err(e),
                _ => {}
            }
            if ready.is_readable() && interest.is_readable() {
                return Ok(ready);
            }
        }
        self.tcp.ready(interest).await
    }

    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(mut session) = self.session() {
            return session.try_read(&self.tcp, buf);
        }
        self.tcp.try_read(buf)
    }

    /// Writes what the kernel takes of two slices. After `WouldBlock` the same bytes are to be offered again.
    pub fn try_write(&self, slices: [&[u8]; 2]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(mut session) = self.session() {
            return session.try_write(&self.tcp, slices);
        }
        match slices {
            [[], one] | [one, []] => self.tcp.try_write(one),
            [one, two] => self.tcp.try_write_vectored(&[IoSlice::new(one), IoSlice::new(two)]),
        }
    }

    /// Asks the kernel whether there is room for a new frame now. `false`: [`ready`](Self::ready) for writing will tell.
    ///
    /// What tokio remembers is not enough: after a write it still says writable, although what is unsent fills the room.
    pub fn has_room(&self) -> io::Result<bool> {
        let asked = self.flush().and_then(|()| {
            self.tcp.try_io(Interest::WRITABLE, || {
                use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
                let mut fds = [PollFd::new(self.tcp.as_fd(), PollFlags::POLLOUT)];
                // An error or a hang-up counts as room: the write that follows says what it is.
                match poll(&mut fds, PollTimeout::ZERO) {
                    Ok(0) => Err(ErrorKind::WouldBlock.into()),
                    Ok(_) => Ok(()),
                    Err(errno) => Err(errno.into()),
                }
            })
        });
        match asked {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// What TLS itself still has to send.
    fn flush(&self) -> io::Result<()> {
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
