//! The wire between vhci_hcd and a device: USB/IP (the kernel's
//! Documentation/usb/usbip_protocol.rst) over a socket pair. Knows transfers, not what they carry.

use crate::{Answer, Setup};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const CMD_SUBMIT: u32 = 1;
const CMD_UNLINK: u32 = 2;
const RET_SUBMIT: u32 = 3;
const RET_UNLINK: u32 = 4;
const HEADER_BYTES: usize = 48;
const PACKET_BYTES: usize = 16;
/// More isochronous packets than this in one transfer means the field is not in use (0xffff_ffff
/// for the other kinds).
const MAX_PACKETS: usize = 1024;
const EPIPE: i32 = 32;
const ECONNRESET: i32 = 104;
/// `enum usb_device_speed`.
const USB_SPEED_HIGH: u32 = 3;

/// One transfer that the host asks for.
pub struct Submit {
    pub sequence: u32,
    pub endpoint: u32,
    pub to_host: bool,
    /// Bytes that the host offers to take.
    pub length: usize,
    pub setup: Setup,
    /// What the host sends.
    pub data: Vec<u8>,
    /// The descriptors of an isochronous transfer's packets, as they came.
    packets: Vec<[u8; PACKET_BYTES]>,
}

impl Submit {
    pub fn packet_count(&self) -> usize {
        self.packets.len()
    }
}

pub enum Request {
    Submit(Submit),
    /// The host takes back a transfer that it asked for.
    Unlink {
        sequence: u32,
        victim: u32,
    },
}

/// The cable. Dropping it unplugs the device.
pub struct Link {
    socket: UnixStream,
}

impl Link {
    /// Plugs a high-speed device into port 0 to 7 of the virtual host controller.
    pub fn attach(port: u32) -> io::Result<Self> {
        let (kernel, socket) = UnixStream::pair()?;
        let device_id = port + 1;
        std::fs::write(
            "/sys/devices/platform/vhci_hcd.0/attach",
            format!("{port} {} {device_id} {USB_SPEED_HIGH}", kernel.as_raw_fd()),
        )?;
        Ok(Self { socket })
    }

    pub fn readable_within(&self, timeout: Duration) -> io::Result<bool> {
        let mut wait = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        Ok(ppoll(&mut wait, Some(TimeSpec::from_duration(timeout)), None)? > 0)
    }

    /// The next request; an error when the host has gone.
    pub fn read(&mut self) -> io::Result<Request> {
        let mut header = [0; HEADER_BYTES];
        self.socket.read_exact(&mut header)?;
        let word = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        match word(0) {
            CMD_UNLINK => Ok(Request::Unlink {
                sequence: word(4),
                victim: word(20),
            }),
            CMD_SUBMIT => {
                let to_host = word(12) == 1;
                let length = word(24) as usize;
                let mut data = vec![0; if to_host { 0 } else { length }];
                self.socket.read_exact(&mut data)?;
                let count = word(32) as usize;
                let mut packets =
                    vec![[0; PACKET_BYTES]; if count < MAX_PACKETS { count } else { 0 }];
                for packet in &mut packets {
                    self.socket.read_exact(packet)?;
                }
                let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
                Ok(Request::Submit(Submit {
                    sequence: word(4),
                    endpoint: word(16),
                    to_host,
                    length,
                    setup: Setup {
                        request_type: header[40],
                        request: header[41],
                        value: half(42),
                        index: half(44),
                        length: half(46).into(),
                    },
                    data,
                    packets,
                }))
            }
            other => Err(io::Error::other(format!(
                "USB/IP command {other} is unknown"
            ))),
        }
    }

    /// Ends a control transfer.
    pub fn answer(&mut self, transfer: &Submit, answer: Answer) -> io::Result<()> {
        match answer {
            Answer::Data(mut bytes) => {
                bytes.truncate(transfer.setup.length);
                self.deliver(transfer, &bytes)
            }
            Answer::Accepted => self.accepted(transfer),
            Answer::Refused => self.submitted(transfer.sequence, -EPIPE, 0, 0, &[]),
        }
    }

    /// Ends a transfer to the host with data.
    pub fn deliver(&mut self, transfer: &Submit, bytes: &[u8]) -> io::Result<()> {
        self.submitted(transfer.sequence, 0, bytes.len(), 0, bytes)
    }

    /// Ends a transfer from the host: all of it was taken.
    pub fn accepted(&mut self, transfer: &Submit) -> io::Result<()> {
        self.submitted(transfer.sequence, 0, transfer.length, 0, &[])
    }

    /// Ends an isochronous transfer to the host: every packet holds an equal share of `bytes`.
    pub fn deliver_packets(&mut self, transfer: &Submit, bytes: &[u8]) -> io::Result<()> {
        let count = transfer.packets.len();
        let each = (bytes.len() / count) as u32;
        let mut body = bytes.to_vec();
        for packet in &transfer.packets {
            body.extend_from_slice(&packet[..8]); // offset and length stay as asked
            body.extend_from_slice(&each.to_be_bytes());
            body.extend_from_slice(&0u32.to_be_bytes()); // status
        }
        self.submitted(transfer.sequence, 0, bytes.len(), count, &body)
    }

    /// Answers an unlink request: `found` when the transfer was still waiting.
    pub fn unlinked(&mut self, sequence: u32, found: bool) -> io::Result<()> {
        let status = if found { -ECONNRESET } else { 0 };
        self.send(&[RET_UNLINK, sequence, 0, 0, 0, status as u32], &[])
    }

    fn submitted(
        &mut self,
        sequence: u32,
        status: i32,
        actual: usize,
        packets: usize,
        body: &[u8],
    ) -> io::Result<()> {
        self.send(
            &[
                RET_SUBMIT,
                sequence,
                0,
                0,
                0,
                status as u32,
                actual as u32,
                0,
                packets as u32,
            ],
            body,
        )
    }

    fn send(&mut self, words: &[u32], body: &[u8]) -> io::Result<()> {
        let mut message: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
        message.resize(HEADER_BYTES, 0);
        message.extend_from_slice(body);
        self.socket.write_all(&message)
    }
}
