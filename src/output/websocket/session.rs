//! One viewer of `/stream`: the task that owns its socket from the upgrade to the end. Knows the hub.
//!
//! It writes straight to the socket. What is next is offered to the kernel when everything before it is gone, and stays in
//! the hub's queue, to be replaced by a newer frame, until the kernel takes its first byte; then it is finished. Between
//! frames go the answers that the protocol owes (see `incoming`).

use super::reader::{Ended, Heard, Incoming};
use super::transport::Socket;
use super::writer::{Manner, Outgoing};
use crate::http::Limits;
use crate::hub::{Hub, Subscription, Taken};
use crate::media::MonoNs;
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

/// Messages read, and items written, in one turn; then other viewers get theirs.
const TURN: usize = 32;
/// How long a viewer may take for the last frame and the close frame.
const GOODBYE: Duration = Duration::from_millis(800);
/// The reason in the close frame when the hub ends.
const STOPS: &str = "the server stops";

pub struct Viewer {
    hub: Arc<Hub>,
    subscription: Subscription,
    incoming: Incoming,
    outgoing: Outgoing,
    /// Since when the kernel has taken nothing although there was something, and what it had taken by then.
    blocked: Option<(Instant, u64)>,
    /// How long that may last.
    patience: Duration,
}

/// Why a direction rests.
#[derive(Clone, Copy, PartialEq)]
enum Rest {
    /// There is nothing to do; the task is woken when there is.
    Idle,
    /// There is no room: in the kernel (the task is woken when there is), or for more answers.
    Blocked,
    /// There may be more, but it is the turn of others.
    TurnOver,
}

impl Viewer {
    pub fn new(
        hub: Arc<Hub>,
        subscription: Subscription,
        socket: Socket,
        read_ahead: Vec<u8>,
        manner: Manner,
        limits: Limits,
    ) -> Self {
        let incoming = Incoming::new(socket, read_ahead, limits.message);
        Self {
            hub,
            subscription,
            incoming,
            outgoing: Outgoing::new(manner),
            blocked: None,
            patience: limits.stalled,
        }
    }

    /// Serves until one side ends it; says why.
    pub async fn run(mut self) -> Ended {
        let alarm = sleep_until(Instant::now() + self.patience);
        tokio::pin!(alarm);
        let mut ended = poll_fn(|cx| self.poll(cx, alarm.as_mut())).await;
        if let Ended::Refused { code, reason } = &ended {
            self.incoming.refuse(*code, reason);
        }
        if matches!(ended, Ended::Refused { .. } | Ended::ByViewer)
            && self.say_goodbye().await.is_err()
        {
            ended = Ended::Gone;
        }
        ended
    }

    /// One turn. By hand, and not with `select!` over futures: it runs once per viewer and frame, and making, registering and
    /// dropping those cost a fifth of what the kernel takes to send the frame (docs/performance.md).
    fn poll(&mut self, cx: &mut Context<'_>, alarm: Pin<&mut Sleep>) -> Poll<Ended> {
        let (reading, writing) = match self.turn(cx) {
            Ok(rests) => rests,
            Err(ended) => return Poll::Ready(ended),
        };
        // Answers that were in the way of reading may be gone by now.
        if reading == Rest::TurnOver
            || writing == Rest::TurnOver
            || reading == Rest::Blocked && self.incoming.may_read()
        {
            cx.waker().wake_by_ref();
        }
        if writing != Rest::Blocked {
            self.blocked = None;
            return Poll::Pending;
        }
        if self.subscription.poll_closed(cx).is_ready() {
            return Poll::Ready(Ended::refused(1001, STOPS));
        }
        self.poll_stalled(cx, alarm)
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Result<(Rest, Rest), Ended> {
        Ok((self.read(cx)?, self.write(cx)?))
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<Rest, Ended> {
        for _ in 0..TURN {
            if self.incoming.poll_readable(cx)?.is_pending() {
                return Ok(Rest::Idle);
            }
            if !self.incoming.may_read() {
                return Ok(Rest::Blocked);
            }
            match self.incoming.read(|| self.hub.unix(MonoNs::now()))? {
                Heard::Ack => self.outgoing.acknowledged(),
                Heard::Other | Heard::Nothing => {}
                Heard::Enough => return Ok(Rest::TurnOver),
            }
        }
        Ok(Rest::TurnOver)
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<Rest, Ended> {
        let Self {
            hub,
            subscription,
            incoming,
            outgoing,
            ..
        } = self;
        for _ in 0..TURN {
            let mut room = outgoing.send(incoming.socket())?;
            if room {
                incoming.take_answers(outgoing.head(), || hub.unix(MonoNs::now()));
                let video_allowed = outgoing.window_is_open();
                match subscription.take_if(cx, video_allowed, |item| {
                    outgoing.begin(item, incoming.socket())
                })? {
                    Taken::Yes { more } => {
                        room = outgoing.send(incoming.socket())?;
                        if room && !more {
                            return Ok(Rest::Idle);
                        }
                    }
                    Taken::Refused => room = false,
                    Taken::Closed => return Err(Ended::refused(1001, STOPS)),
                    Taken::Nothing if outgoing.is_empty() => return Ok(Rest::Idle),
                    // Answers alone.
                    Taken::Nothing => {}
                }
            }
            if !room && incoming.socket().poll_room(cx)?.is_pending() {
                return Ok(Rest::Blocked);
            }
        }
        Ok(Rest::TurnOver)
    }

    /// Ready when the viewer has taken nothing for too long. The alarm rings once in a while, not for each frame: a timer
    /// per frame would cost more than it tells.
    fn poll_stalled(&mut self, cx: &mut Context<'_>, mut alarm: Pin<&mut Sleep>) -> Poll<Ended> {
        let taken = self.outgoing.taken();
        let since = match self.blocked {
            Some((since, before)) if before == taken => since,
            _ => self.blocked.insert((Instant::now(), taken)).0,
        };
        while alarm.as_mut().poll(cx).is_ready() {
            if since.elapsed() >= self.patience {
                return Poll::Ready(Ended::Stalled);
            }
            alarm.as_mut().reset(since + self.patience);
        }
        Poll::Pending
    }

    /// Finishes the frame that is begun, sends the close frame, and reads until the viewer has hung up: were the socket
    /// closed with unread bytes in it, the kernel would reset the connection and the viewer never see our reason.
    async fn say_goodbye(&mut self) -> std::io::Result<()> {
        let deadline = Instant::now() + GOODBYE;
        let Self {
            hub,
            incoming,
            outgoing,
            ..
        } = self;
        loop {
            if !outgoing.send(incoming.socket())? {
                timeout_at(deadline, incoming.socket().room()).await??;
                continue;
            }
            incoming.take_answers(outgoing.head(), || hub.unix(MonoNs::now()));
            if outgoing.is_empty() {
                break;
            }
        }
        let socket = incoming.socket();
        socket.shut_down_write()?;
        while !discard(socket)? {
            // A peer that floods is always ready: others get their turn, and the clock is looked at.
            yield_now().await;
            if Instant::now() >= deadline || timeout_at(deadline, socket.readable()).await.is_err()
            {
                break;
            }
        }
        Ok(())
    }
}

/// Reads and drops a bounded amount of what is there. True at the end of the stream.
fn discard(socket: &Socket) -> std::io::Result<bool> {
    let mut scratch = [0; 4096];
    for _ in 0..TURN {
        match socket.try_read(&mut scratch) {
            Ok(0) => return Ok(true),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(e) => return Err(e),
        }
    }
    Ok(false)
}
