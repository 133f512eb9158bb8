//! One viewer of `/stream`, from the upgrade to the end.
//!
//! It writes directly to the socket. The next item is offered to the kernel when everything before
//! it has been sent, and stays in the hub's queue, to be replaced by a newer frame, until the
//! kernel takes its first byte; then it is sent whole. Between frames go the answers that the
//! protocol requires (see `reader`).

use super::reader::{CloseReason, ReadOutcome, Reader};
use super::writer::{StreamOptions, Writer};
use crate::config::Limits;
use crate::http::{Upgraded, UpgradedStream};
use crate::hub::{Hub, Peek, Request, Subscription};
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tracing::info;

/// Messages read, and items written, per poll; then other tasks run.
const TURN: usize = 32;
/// Time for the last frame, the close frame and the viewer's answer.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(800);
/// The reason in the close frame when the hub ends.
const STOPS: &str = "the server stops";

/// A viewer whose upgrade was accepted.
pub(super) struct PendingViewer {
    pub(super) hub: Arc<Hub>,
    pub(super) request: Request,
    pub(super) subscription: Subscription,
    pub(super) options: StreamOptions,
    pub(super) limits: Limits,
    /// Among the viewers; free again when dropped.
    pub(super) permit: OwnedSemaphorePermit,
}

/// Serves one viewer until either side ends the connection.
pub(super) async fn serve_viewer(viewer: PendingViewer, upgraded: Upgraded) {
    let PendingViewer {
        hub,
        request,
        subscription,
        options,
        limits,
        permit,
    } = viewer;
    let Upgraded {
        stream,
        read_ahead,
        client,
    } = upgraded;
    let streams = match (request.video, request.audio) {
        (Some(_), Some(_)) => "video and audio",
        (Some(_), None) => "video",
        (None, Some(_)) => "audio",
        (None, None) => "events",
    };
    let (format, delivery) = (options.format.name(), request.delivery.name());
    info!("viewer {client} joined: {streams}, {format}, {delivery}");
    let session = Session {
        hub,
        subscription,
        reader: Reader::new(stream, read_ahead, limits.message_bytes),
        writer: Writer::new(options),
        blocked: None,
        max_stalled: limits.stalled,
    };
    let reason = session.run().await;
    drop(permit);
    info!("viewer {client} left: {reason}");
}

struct Session {
    hub: Arc<Hub>,
    subscription: Subscription,
    reader: Reader,
    writer: Writer,
    /// Since when the kernel has taken nothing although there was something, and the bytes that it
    /// had taken by then.
    blocked: Option<(Instant, u64)>,
    /// How long that may last.
    max_stalled: Duration,
}

/// How far one direction got in a poll.
#[derive(Clone, Copy, PartialEq)]
enum Progress {
    /// Nothing is left to do; the task is woken when there is.
    Idle,
    /// No room: in the kernel (the task is woken when there is), or for more answers.
    Blocked,
    /// There may be more, but other tasks run first.
    Yielded,
}

impl Session {
    async fn run(mut self) -> CloseReason {
        let alarm = sleep_until(Instant::now() + self.max_stalled);
        tokio::pin!(alarm);
        let mut reason = poll_fn(|cx| self.poll(cx, alarm.as_mut())).await;
        if let CloseReason::Refused { code, reason } = &reason {
            self.reader.refuse(*code, reason);
        }
        if matches!(reason, CloseReason::Refused { .. } | CloseReason::ByViewer)
            && self.close().await.is_err()
        {
            reason = CloseReason::Lost;
        }
        reason
    }

    /// One poll. By hand, not with `select!` over futures: it runs once per viewer and frame, and
    /// creating, registering and dropping those cost a fifth of what the kernel takes to send the
    /// frame (docs/performance.md).
    fn poll(&mut self, cx: &mut Context<'_>, alarm: Pin<&mut Sleep>) -> Poll<CloseReason> {
        let (reading, writing) = match self.read_and_write(cx) {
            Ok(progress) => progress,
            Err(reason) => return Poll::Ready(reason),
        };
        // Answers that kept us from reading may have been sent by now.
        if reading == Progress::Yielded
            || writing == Progress::Yielded
            || reading == Progress::Blocked && self.reader.may_read()
        {
            cx.waker().wake_by_ref();
        }
        if writing != Progress::Blocked {
            self.blocked = None;
            return Poll::Pending;
        }
        if self.subscription.poll_closed(cx).is_ready() {
            return Poll::Ready(CloseReason::refused(1001, STOPS));
        }
        self.poll_stalled(cx, alarm)
    }

    fn read_and_write(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Result<(Progress, Progress), CloseReason> {
        Ok((self.read(cx)?, self.write(cx)?))
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<Progress, CloseReason> {
        for _ in 0..TURN {
            if self.reader.poll_readable(cx)?.is_pending() {
                return Ok(Progress::Idle);
            }
            if !self.reader.may_read() {
                return Ok(Progress::Blocked);
            }
            match self.reader.read(|| self.hub.clock().unix_now())? {
                ReadOutcome::Ack => self.writer.acknowledged(),
                ReadOutcome::Other | ReadOutcome::Nothing => {}
                ReadOutcome::Yield => return Ok(Progress::Yielded),
            }
        }
        Ok(Progress::Yielded)
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<Progress, CloseReason> {
        let Self {
            hub,
            subscription,
            reader,
            writer,
            ..
        } = self;
        for _ in 0..TURN {
            let mut room = writer.send(reader.stream())?;
            if room {
                reader.take_answers(writer.head(), || hub.clock().unix_now());
                let video_allowed = writer.window_is_open();
                match subscription.peek(cx, video_allowed) {
                    Peek::Item(next) => {
                        room = writer.begin(next.item(), reader.stream())?;
                        if room {
                            let more = next.commit();
                            room = writer.send(reader.stream())?;
                            if room && !more {
                                return Ok(Progress::Idle);
                            }
                        }
                    }
                    Peek::Closed => return Err(CloseReason::refused(1001, STOPS)),
                    Peek::Empty if writer.is_empty() => return Ok(Progress::Idle),
                    // Answers alone.
                    Peek::Empty => {}
                }
            }
            if !room && reader.stream().poll_writable(cx)?.is_pending() {
                return Ok(Progress::Blocked);
            }
        }
        Ok(Progress::Yielded)
    }

    /// Ready when the viewer has taken nothing for too long. The alarm is set once in a while, not
    /// for each frame, which would cost more.
    fn poll_stalled(
        &mut self,
        cx: &mut Context<'_>,
        mut alarm: Pin<&mut Sleep>,
    ) -> Poll<CloseReason> {
        let taken = self.writer.taken();
        let since = match self.blocked {
            Some((since, before)) if before == taken => since,
            _ => self.blocked.insert((Instant::now(), taken)).0,
        };
        while alarm.as_mut().poll(cx).is_ready() {
            if since.elapsed() >= self.max_stalled {
                return Poll::Ready(CloseReason::Stalled);
            }
            alarm.as_mut().reset(since + self.max_stalled);
        }
        Poll::Pending
    }

    /// Finishes the frame that was begun, sends the close frame, and reads until the viewer closes:
    /// if the socket were closed with unread bytes, the kernel would reset the connection and the
    /// viewer would not see the reason.
    async fn close(&mut self) -> std::io::Result<()> {
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        let Self {
            hub,
            reader,
            writer,
            ..
        } = self;
        loop {
            if !writer.send(reader.stream())? {
                timeout_at(deadline, reader.stream().writable()).await??;
                continue;
            }
            reader.take_answers(writer.head(), || hub.clock().unix_now());
            if writer.is_empty() {
                break;
            }
        }
        let stream = reader.stream();
        stream.shut_down_write()?;
        while !discard(stream)? {
            // A peer that floods is always ready: other tasks run, and the deadline is checked.
            yield_now().await;
            if Instant::now() >= deadline || timeout_at(deadline, stream.readable()).await.is_err()
            {
                break;
            }
        }
        Ok(())
    }
}

/// Reads and drops a bounded number of bytes. True at the end of the stream.
fn discard(stream: &UpgradedStream) -> std::io::Result<bool> {
    let mut scratch = [0; 4096];
    for _ in 0..TURN {
        match stream.try_read(&mut scratch) {
            Ok(0) => return Ok(true),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(e) => return Err(e),
        }
    }
    Ok(false)
}
