//! Streaming: buffers of the driver, mapped, waited for, dequeued and queued again. Judges neither
//! timestamps nor frames.
#![allow(unsafe_code)]

use super::abi::ioctl;
use super::abi::*;
use super::device::Device;
use crate::media::MonoNs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

/// Buffers that the driver fills in turn. While all are full, drivers skip frames (a gap in the
/// sequence numbers). The caller has one at a time.
const BUFFERS: u32 = 4;

/// A device that is streaming. Dropping it stops the stream and closes the device, and never
/// panics.
pub(crate) struct Stream {
    device: Device,
    mappings: Vec<Mapping>,
    /// The dequeued buffer, which the caller reads.
    in_use: Option<u32>,
    start_time: MonoNs,
}

/// What the driver reports of a buffer that it filled. Its bytes: [`Stream::bytes`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct DequeuedBuffer {
    /// Bytes of the frame, at most the buffer's length.
    pub used: usize,
    pub sequence: u32,
    /// The driver's timestamp; 0 where it is negative.
    pub timestamp: MonoNs,
    /// The driver flags the timestamp as CLOCK_MONOTONIC.
    pub is_monotonic: bool,
    /// The timestamp is that of the frame's start, not of its end.
    pub is_frame_start: bool,
    /// V4L2_BUF_FLAG_ERROR: the frame may be damaged.
    pub has_error: bool,
    /// CLOCK_MONOTONIC right after the buffer was dequeued.
    pub dequeue_time: MonoNs,
}

/// What a wait for a buffer ended with.
pub(crate) enum PollResult {
    Buffer(DequeuedBuffer),
    TimedOut,
    /// The input signal changed its size: the device must be reopened.
    SourceChanged,
}

impl Stream {
    /// Maps buffers and starts streaming. The format must be set.
    ///
    /// # Errors
    /// EBUSY: another program streams. Other errors are the driver's.
    pub fn start(device: Device) -> io::Result<Self> {
        device.subscribe_source_changes();
        let mut stream = Self {
            device,
            mappings: Vec::new(),
            in_use: None,
            start_time: MonoNs(0),
        };
        let mut request = v4l2_requestbuffers::mmap(BUFFERS);
        ioctl::reqbufs(stream.device.as_fd(), &mut request)?;
        for index in 0..request.count {
            let mut buffer = v4l2_buffer::mmap(index);
            ioctl::querybuf(stream.device.as_fd(), &mut buffer)?;
            stream.mappings.push(Mapping::new(&stream.device, &buffer)?);
            stream.enqueue(index)?;
        }
        if stream.mappings.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        }
        stream.start_time = MonoNs::now();
        ioctl::streamon(
            stream.device.as_fd(),
            &mut (V4L2_BUF_TYPE_VIDEO_CAPTURE as i32),
        )?;
        Ok(stream)
    }

    /// The number of frames that the driver can hold.
    pub fn buffers(&self) -> usize {
        self.mappings.len()
    }

    /// When streaming was started.
    pub fn start_time(&self) -> MonoNs {
        self.start_time
    }

    /// Queues the buffer in use again and waits for the next one, until `deadline`.
    ///
    /// # Errors
    /// ENODEV: unplugged. Other errors are the driver's; EIO also where poll reports one that
    /// dequeueing does not.
    pub fn next_buffer(&mut self, deadline: Instant) -> io::Result<PollResult> {
        if let Some(index) = self.in_use.take() {
            self.enqueue(index)?;
        }
        loop {
            let events = match self.wait(deadline) {
                Ok(events) if events.is_empty() => return Ok(PollResult::TimedOut),
                Ok(events) => events,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            if events.contains(PollFlags::POLLPRI) && self.device.take_source_change()? {
                return Ok(PollResult::SourceChanged);
            }
            match self.dequeue() {
                Ok(buffer) => return Ok(PollResult::Buffer(buffer)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    // An error that dequeueing does not report would make this loop spin.
                    if events
                        .intersects(PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL)
                    {
                        return Err(io::Error::from_raw_os_error(libc::EIO));
                    }
                }
                Err(e) => return Err(e),
            }
        }
    }

    fn wait(&self, deadline: Instant) -> io::Result<PollFlags> {
        // Rounded up: a remainder below a millisecond must not spin.
        let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::from(u16::MAX));
        let mut fds = [PollFd::new(
            self.device.as_fd(),
            PollFlags::POLLIN | PollFlags::POLLPRI,
        )];
        poll(&mut fds, left)?;
        Ok(fds[0].revents().unwrap_or(PollFlags::POLLERR))
    }

    fn enqueue(&self, index: u32) -> io::Result<()> {
        ioctl::qbuf(self.device.as_fd(), &mut v4l2_buffer::mmap(index))
    }

    fn dequeue(&mut self) -> io::Result<DequeuedBuffer> {
        let mut b = v4l2_buffer::mmap(0);
        ioctl::dqbuf(self.device.as_fd(), &mut b)?;
        let dequeue_time = MonoNs::now();
        let Some(mapping) = self.mappings.get(b.index as usize) else {
            return Err(io::Error::other(
                "the driver returned a buffer number that it never had",
            ));
        };
        self.in_use = Some(b.index);
        let clock = b.flags & V4L2_BUF_FLAG_TIMESTAMP_MASK;
        let source = b.flags & V4L2_BUF_FLAG_TSTAMP_SRC_MASK;
        Ok(DequeuedBuffer {
            used: (b.bytesused as usize).min(mapping.length),
            sequence: b.sequence,
            timestamp: mono_ns(b.timestamp),
            is_monotonic: clock == V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC,
            is_frame_start: source == V4L2_BUF_FLAG_TSTAMP_SRC_SOE,
            has_error: b.flags & V4L2_BUF_FLAG_ERROR != 0,
            dequeue_time,
        })
    }

    /// The first `used` bytes of the buffer in use; none when there is none. For drivers that do
    /// not write to a dequeued buffer.
    pub fn bytes(&self, used: usize) -> &[u8] {
        let Some(mapping) = self.mapping_in_use() else {
            return &[];
        };
        // SAFETY: the mapping has `length` readable bytes for as long as `self` lives, `used` is
        // cut to that, and the driver does not write to a buffer from its dequeueing to its
        // queueing, which needs `&mut self`.
        unsafe { std::slice::from_raw_parts(mapping.start.as_ptr(), used.min(mapping.length)) }
    }

    /// The same, copied: v4l2loopback shares its buffers with its writer, which may overwrite a
    /// dequeued one.
    pub fn copy_bytes(&self, used: usize, to: &mut Vec<u8>) {
        to.clear();
        let Some(mapping) = self.mapping_in_use() else {
            return;
        };
        let used = used.min(mapping.length);
        to.reserve(used);
        // SAFETY: `used` bytes are readable in the mapping and were reserved in `to`, which is
        // another allocation. No reference to the shared bytes is made; torn ones are still bytes.
        unsafe {
            std::ptr::copy_nonoverlapping(mapping.start.as_ptr(), to.as_mut_ptr(), used);
            to.set_len(used);
        }
    }

    fn mapping_in_use(&self) -> Option<&Mapping> {
        self.mappings.get(self.in_use? as usize)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // An unplugged device refuses both (ENODEV); the kernel frees everything with the file.
        let _refused = ioctl::streamoff(
            self.device.as_fd(),
            &mut (V4L2_BUF_TYPE_VIDEO_CAPTURE as i32),
        );
        self.mappings.clear();
        let _refused = ioctl::reqbufs(self.device.as_fd(), &mut v4l2_requestbuffers::mmap(0));
    }
}

fn mono_ns(t: kernel_v4l2_timeval) -> MonoNs {
    let seconds = u64::try_from(t.tv_sec).unwrap_or(0);
    let micros = u64::try_from(t.tv_usec).unwrap_or(0);
    MonoNs(
        seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(micros.saturating_mul(1000)),
    )
}

/// One buffer of the driver in this process's memory, for reading.
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: a mapping is memory of the process, not of a thread.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps the buffer that QUERYBUF described.
    fn new(device: &Device, buffer: &v4l2_buffer) -> io::Result<Self> {
        let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
        let length = NonZeroUsize::new(buffer.length as usize).ok_or_else(invalid)?;
        // `off_t` has 32 bits on 32-bit machines.
        #[allow(clippy::unnecessary_fallible_conversions)]
        let offset = buffer.m.offset.try_into().map_err(|_| invalid())?;
        // SAFETY: without an address and MAP_FIXED the kernel chooses the place, so no memory of
        // ours is replaced. The kernel checks offset and length against the buffer.
        let start = unsafe {
            mmap(
                None,
                length,
                ProtFlags::PROT_READ,
                MapFlags::MAP_SHARED,
                device,
                offset,
            )?
        };
        Ok(Self {
            start: start.cast(),
            length: length.get(),
        })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped, and no slice of it outlives the stream that owns it.
        let _cannot_fail = unsafe { munmap(self.start.cast(), self.length) };
    }
}
