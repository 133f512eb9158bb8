//! Slows down clients that guess a token: after a few wrong ones the requests of that address are
//! answered one after the other, with a pause that doubles. Other addresses are not delayed.
//!
//! Requests with the right token wait too where they come from an address that guesses: if only wrong
//! tokens waited, a fast answer would tell the right one. Pure: it takes the time as an argument.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Wrong tokens of an address that are answered at once: someone mistypes, or several clients have an
/// old token.
const FREE: u32 = 10;
/// The first pause; each further wrong token doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// A request that would have to wait for longer is answered with 429.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// One wrong token less is remembered after this time without one.
const FORGET_ONE: Duration = Duration::from_secs(30);
/// Addresses that are remembered; beyond it the one that was quiet for longest is forgotten.
const MAX_ADDRESSES: usize = 1024;
/// A wrong token is logged once per address in this time.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// Lines in this time, of all addresses: whoever has many addresses cannot fill the log.
const LOG_LINES: u32 = 30;

/// The wrong tokens of each address.
#[derive(Default)]
pub(super) struct Guesses(Mutex<State>);

#[derive(Default)]
struct State {
    addresses: HashMap<IpAddr, Address>,
    /// When the current period of the log began, and its lines.
    logging: Option<(Instant, u32)>,
}

struct Address {
    wrong: u32,
    last: Instant,
    /// The next request with a token is not judged before.
    next: Instant,
    logged: Option<Instant>,
    /// Wrong tokens since that line.
    unlogged: u32,
}

/// When a request with a token may be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// At this instant. To be handed back to [`Guesses::judged`].
    At(Instant),
    /// Too many of this address are waiting: not at all.
    Never,
}

impl Guesses {
    /// Takes a turn for a request of `peer` that has a token.
    pub(super) fn turn(&self, peer: IpAddr, now: Instant) -> Turn {
        let mut state = self.lock();
        let Some(address) = state.addresses.get_mut(&network(peer)) else {
            return Turn::At(now);
        };
        address.forget(now);
        let at = address.next.max(now);
        if at.saturating_duration_since(now) > LONGEST_WAIT {
            return Turn::Never;
        }
        address.next = at + pause(address.wrong);
        Turn::At(at)
    }

    /// Takes the outcome of a request whose turn was `turn`. Returns the line to be logged, if one
    /// is due: the number of wrong tokens of this address that it stands for.
    pub(super) fn judged(
        &self,
        peer: IpAddr,
        turn: Instant,
        is_right: bool,
        now: Instant,
    ) -> Option<u32> {
        let mut state = self.lock();
        let key = network(peer);
        if is_right {
            if let Some(address) = state.addresses.get_mut(&key)
                && address.next == turn + pause(address.wrong)
            {
                // Nobody else waits: a right token need not be followed by a pause.
                address.next = turn;
            }
            return None;
        }
        state.make_room(&key);
        let address = state.addresses.entry(key).or_insert(Address {
            wrong: 0,
            last: now,
            next: now,
            logged: None,
            unlogged: 0,
        });
        address.wrong = address.wrong.saturating_add(1);
        address.last = now;
        address.next = address.next.max(now + pause(address.wrong));
        address.unlogged = address.unlogged.saturating_add(1);
        let is_due = address
            .logged
            .is_none_or(|at| now.saturating_duration_since(at) >= LOG_EVERY);
        if !is_due {
            return None;
        }
        let count = address.unlogged;
        let (began, lines) = match state.logging {
            Some((began, lines)) if now.saturating_duration_since(began) < LOG_EVERY => {
                (began, lines)
            }
            _ => (now, 0),
        };
        if lines == LOG_LINES {
            return None;
        }
        state.logging = Some((began, lines + 1));
        if let Some(address) = state.addresses.get_mut(&key) {
            (address.logged, address.unlogged) = (Some(now), 0);
        }
        Some(count)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("no panic while the table is held")
    }
}

impl State {
    fn make_room(&mut self, key: &IpAddr) {
        if self.addresses.len() < MAX_ADDRESSES || self.addresses.contains_key(key) {
            return;
        }
        let quietest = self
            .addresses
            .iter()
            .min_by_key(|(_, address)| address.last);
        if let Some(ip) = quietest.map(|(ip, _)| *ip) {
            self.addresses.remove(&ip);
        }
    }
}

impl Address {
    fn forget(&mut self, now: Instant) {
        let quiet = now.saturating_duration_since(self.last);
        let forgotten = quiet.as_secs() / FORGET_ONE.as_secs();
        let forgotten = u32::try_from(forgotten).unwrap_or(u32::MAX);
        self.wrong = self.wrong.saturating_sub(forgotten);
        self.last += FORGET_ONE * forgotten;
    }
}

/// The pause after so many wrong tokens.
fn pause(wrong: u32) -> Duration {
    match wrong.saturating_sub(FREE) {
        0 => Duration::ZERO,
        n => FIRST_PAUSE
            .saturating_mul(1 << (n - 1).min(16))
            .min(LONGEST_PAUSE),
    }
}

/// What one client can choose its address from: an IPv6 client usually has 2^64.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (!0 << 64)).into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUESSER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 66));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    /// One wrong token at its turn; the instant at which it was judged.
    fn guess(guesses: &Guesses, peer: IpAddr, now: Instant) -> Instant {
        let Turn::At(at) = guesses.turn(peer, now) else {
            panic!("it has to wait for too long");
        };
        guesses.judged(peer, at, false, at);
        at
    }

    #[test]
    fn guesses_pause_doubles_up_to_a_limit_and_concerns_one_address() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        let mut at = start;
        let mut pauses = Vec::new();
        for _ in 0..FREE + 9 {
            let judged = guess(&guesses, GUESSER, at);
            pauses.push((judged - at).as_millis());
            at = judged;
        }
        let (free, rest) = pauses.split_at(FREE as usize + 1);
        assert!(free.iter().all(|pause| *pause == 0), "{free:?}");
        assert_eq!(rest, [250, 500, 1000, 2000, 4000, 4000, 4000, 4000]);
        assert_eq!(guesses.turn(OTHER, at), Turn::At(at), "another address");
    }

    #[test]
    fn guesses_at_the_same_time_are_judged_one_after_the_other() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for _ in 0..=FREE {
            guess(&guesses, GUESSER, now);
        }
        let turns: Vec<_> = (0..1000).map(|_| guesses.turn(GUESSER, now)).collect();
        let waiting = turns.iter().filter(|turn| **turn != Turn::Never);
        let waits: Vec<_> = waiting
            .map(|turn| match turn {
                Turn::At(at) => (*at - now).as_millis(),
                Turn::Never => 0,
            })
            .collect();
        assert_eq!(waits[..3], [250, 500, 750]);
        assert_eq!(waits.len(), 40, "the others are refused");
        assert_eq!(guesses.turn(OTHER, now), Turn::At(now));
    }

    #[test]
    fn guesses_right_token_of_a_guessing_address_waits_once() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for _ in 0..=FREE {
            guess(&guesses, GUESSER, now);
        }
        let Turn::At(at) = guesses.turn(GUESSER, now) else {
            panic!("nobody else waits");
        };
        assert_eq!((at - now).as_millis(), 250);
        guesses.judged(GUESSER, at, true, at);
        assert_eq!(guesses.turn(GUESSER, at), Turn::At(at), "and then no more");
    }

    #[test]
    fn guesses_are_forgotten_with_time_and_addresses_are_bounded() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        let mut at = start;
        for _ in 0..FREE + 3 {
            at = guess(&guesses, GUESSER, at);
        }
        let later = at + FORGET_ONE * (FREE + 3);
        assert_eq!(guesses.turn(GUESSER, later), Turn::At(later));
        let again = later + Duration::from_millis(1);
        assert_eq!(guesses.turn(GUESSER, again), Turn::At(again), "no pause");
        for n in 0..3 * MAX_ADDRESSES as u32 {
            let peer = IpAddr::from(std::net::Ipv4Addr::from_bits(n));
            guess(&guesses, peer, later);
        }
        assert_eq!(guesses.lock().addresses.len(), MAX_ADDRESSES);
    }

    #[test]
    fn guesses_are_logged_once_a_minute_per_address_and_within_limits() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        let wrong = |peer, ms| {
            let now = start + Duration::from_millis(ms);
            guesses.judged(peer, now, false, now)
        };
        assert_eq!(wrong(GUESSER, 0), Some(1));
        assert_eq!(wrong(GUESSER, 1), None);
        assert_eq!(wrong(OTHER, 2), Some(1));
        assert_eq!(wrong(GUESSER, 59_999), None);
        assert_eq!(wrong(GUESSER, 60_000), Some(3));
        let lines = (0..1000_u32).filter_map(|n| {
            let peer = IpAddr::from(std::net::Ipv4Addr::from_bits(n));
            wrong(peer, 60_001)
        });
        assert_eq!(lines.count(), LOG_LINES as usize - 1);
    }

    #[test]
    fn guesses_of_one_ipv6_network_count_together() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let ip = |text: &str| -> IpAddr { text.parse().expect("an address") };
        for n in 0..=FREE {
            guess(&guesses, ip(&format!("2001:db8:1:2::{n}")), now);
        }
        let waits = |peer| guesses.turn(peer, now) != Turn::At(now);
        assert!(waits(ip("2001:db8:1:2:ffff::1")));
        assert!(!waits(ip("2001:db8:1:3::1")));
        for _ in 0..=FREE {
            guess(&guesses, ip("::ffff:192.0.2.66"), now);
        }
        assert!(waits(GUESSER), "IPv4-mapped");
    }
}
