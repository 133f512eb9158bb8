//! A TLS session driven by hand over a TCP stream, with reads and writes that never wait. Knows rustls; knows nothing of what
//! goes over it.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ServerConnection;

/// The most plaintext that is enciphered at once, bytes: what the kernel does not take of it is kept here.
const AT_ONCE: usize = 32 * 1024;

/// Reads from the kernel, of 4 KiB each, for one read of plaintext.
const READS: usize = 4;

pub struct Session {
    tls: ServerConnection,
}

impl Session {
    pub fn new(mut tls: ServerConnection) -> Self {
        tls.set_buffer_limit(Some(AT_ONCE));
        Self { tls }
    }

    /// Whether something is there to read without asking the kernel.
    pub fn has_plaintext(&mut self) -> bool {
        self.tls
            .process_new_packets()
            .is_ok_and(|state| state.plaintext_bytes_to_read() > 0)
    }

    /// As read(2) on a non-blocking socket; 0 at the end, orderly or not. `WouldBlock` also when a few reads gave nothing but
    /// empty records: the socket then stays readable, and the caller's turn ends.
    pub fn try_read(&mut self, tcp: &TcpStream, buf: &mut [u8]) -> io::Result<usize> {
        for _ in 0..READS {
            match self.tls.reader().read(buf) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            self.tls.read_tls(&mut Tcp(tcp))?;
            let processed = self.tls.process_new_packets();
            // What the protocol answers (an alert, new keys), as far as there is room.
            match self.flush(tcp) {
                Err(e) if e.kind() != ErrorKind::WouldBlock => return Err(e),
                _ => {}
            }
            processed.map_err(|e| io::Error::new(ErrorKind::InvalidData, e))?;
        }
        match self.tls.reader().read(buf) {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(0),
            read => read,
        }
    }

    /// As writev(2) on a non-blocking socket, for a caller who has [`flush`](Self::flush)ed. What the kernel does not take of
    /// the ciphertext waits for the next flush.
    pub fn try_write(&mut self, tcp: &TcpStream, slices: [&[u8]; 2]) -> io::Result<usize> {
        let taken = self
            .tls
            .writer()
            .write_vectored(&slices.map(IoSlice::new))?;
        match self.flush(tcp) {
            Err(e) if e.kind() != ErrorKind::WouldBlock => Err(e),
            _ => Ok(taken),
        }
    }

    /// Gives the kernel all ciphertext; `WouldBlock` when it does not take all of it.
    pub fn flush(&mut self, tcp: &TcpStream) -> io::Result<()> {
        while self.tls.wants_write() {
            if self.tls.write_tls(&mut Tcp(tcp))? == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Tells the peer that nothing more will be written.
    pub fn close(&mut self, tcp: &TcpStream) -> io::Result<()> {
        self.tls.send_close_notify();
        self.flush(tcp)
    }
}

/// The stream's non-blocking side, as rustls wants it.
struct Tcp<'a>(&'a TcpStream);

impl Read for Tcp<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buf)
    }
}

impl Write for Tcp<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
