//! Slows down clients that guess a token: after a few wrong ones the requests of that address are
//! checked one after the other, with a pause that doubles. Other addresses are not delayed.
//!
//! Requests with the right token wait too where they come from an address that guesses: if only
//! wrong tokens waited, a fast answer would tell the right one. The same wrong token again is no guess: a
//! program that still has an old token does not lock out others behind the same address. Pure: it
//! takes the time as an argument.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Wrong tokens of an address that are answered at once: someone mistypes, or several clients have
/// an old token.
const FREE: u32 = 10;
/// More are not counted, so that all are forgotten after a limited time. Here the pause is at its
/// longest.
const MAX_COUNT: u32 = FREE + 5;
/// The first pause; each further wrong token doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// A request that would have to wait for longer is answered with 429.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Requests of all addresses that wait at a time; beyond it 429.
const MAX_WAITING: usize = 100;
/// The count falls by one after this time without a new wrong token.
const FORGET_ONE: Duration = Duration::from_secs(30);
/// Wrong tokens of an address that are recognised when they are sent again.
const REMEMBERED: usize = 8;
/// Addresses that are remembered; beyond it the one that was quiet for longest is forgotten.
const MAX_ADDRESSES: usize = 1024;
/// A wrong token is logged once per address in this time.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// Lines in this time, of all addresses: whoever has many addresses cannot fill the log.
const LOG_LINES: u32 = 30;

/// The wrong tokens of each address.
#[derive(Default)]
pub(super) struct Guesses {
    /// Keyed at random, so that nobody can choose tokens with the same hash. Tokens are not kept.
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    addresses: HashMap<IpAddr, Address>,
    /// Requests that wait.
    waiting: usize,
    /// When the current period of the log began, and its lines.
    logging: Option<(Instant, u32)>,
}

struct Address {
    wrong: u32,
    last: Instant,
    /// The next request with a token is not checked before.
    next: Instant,
    /// The end of the pause after the last wrong token.
    pause_end: Instant,
    /// Hashes of the last wrong tokens, the latest at the end.
    tokens: VecDeque<u64>,
    logged: Option<Instant>,
    /// Wrong tokens since that line.
    unlogged: u32,
}

/// The time at which a request's token may be checked. Given back where it is dropped without an
/// outcome, as when the client disconnects.
pub(super) struct Reservation<'a> {
    guesses: &'a Guesses,
    network: IpAddr,
    token: u64,
    at: Instant,
    is_waiting: bool,
    /// How much later than without it the next request is checked.
    pause: Duration,
}

impl Guesses {
    /// Reserves a time for a request of `peer` with `token`. `None`: too many are waiting.
    pub(super) fn reserve(
        &self,
        peer: IpAddr,
        token: &str,
        now: Instant,
    ) -> Option<Reservation<'_>> {
        let mut reservation = Reservation {
            guesses: self,
            network: network(peer),
            token: self.hasher.hash_one(token),
            at: now,
            is_waiting: false,
            pause: Duration::ZERO,
        };
        let mut state = self.lock();
        let waiting = state.waiting;
        if let Some(address) = state.addresses.get_mut(&reservation.network)
            && !address.tokens.contains(&reservation.token)
        {
            address.forget(now);
            let at = address.next.max(now);
            let is_waiting = at > now;
            if at.saturating_duration_since(now) > LONGEST_WAIT
                || (is_waiting && waiting >= MAX_WAITING)
            {
                return None;
            }
            let pause = pause(address.wrong);
            address.next = at + pause;
            (reservation.at, reservation.is_waiting) = (at, is_waiting);
            reservation.pause = pause;
            state.waiting += usize::from(is_waiting);
        }
        Some(reservation)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the table is held")
    }
}

impl Reservation<'_> {
    /// When the token may be checked.
    pub(super) fn at(&self) -> Instant {
        self.at
    }

    /// Takes the outcome of the check. Returns the line to be logged, if one is due: the number of
    /// different wrong tokens of this address that it stands for.
    pub(super) fn checked(mut self, is_right: bool, now: Instant) -> Option<u32> {
        let mut state = self.guesses.lock();
        if is_right {
            // It may have been wrong before the token was changed.
            if let Some(address) = state.addresses.get_mut(&self.network) {
                address.tokens.retain(|token| *token != self.token);
            }
            return None;
        }
        let address = state.address(self.network, now);
        if address.is_repeated(self.token) {
            return None;
        }
        address.count(self.token, now);
        let line = state.line(self.network, now);
        drop(state);
        // The pause stays: only those of a right token and of a repeated one are given back.
        self.pause = Duration::ZERO;
        line
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut state = self.guesses.lock();
        state.waiting -= usize::from(self.is_waiting);
        if let Some(address) = state.addresses.get_mut(&self.network) {
            let earlier = address.next.checked_sub(self.pause);
            address.next = earlier.unwrap_or(address.next).max(address.pause_end);
        }
    }
}

impl State {
    /// The entry of an address; where the table is full, it replaces another.
    fn address(&mut self, key: IpAddr, now: Instant) -> &mut Address {
        if self.addresses.len() >= MAX_ADDRESSES && !self.addresses.contains_key(&key) {
            let oldest = self
                .addresses
                .iter()
                .min_by_key(|(_, address)| address.last);
            if let Some(ip) = oldest.map(|(ip, _)| *ip) {
                self.addresses.remove(&ip);
            }
        }
        self.addresses.entry(key).or_insert_with(|| Address {
            wrong: 0,
            last: now,
            next: now,
            pause_end: now,
            tokens: VecDeque::new(),
            logged: None,
            unlogged: 0,
        })
    }

    /// The number of wrong tokens in the line to be logged for an address, if one is due.
    fn line(&mut self, key: IpAddr, now: Instant) -> Option<u32> {
        let address = self.addresses.get_mut(&key)?;
        let is_due = address
            .logged
            .is_none_or(|at| now.saturating_duration_since(at) >= LOG_EVERY);
        let (began, lines) = match self.logging {
            Some((began, lines)) if now.saturating_duration_since(began) < LOG_EVERY => {
                (began, lines)
            }
            _ => (now, 0),
        };
        if !is_due || lines == LOG_LINES {
            return None;
        }
        self.logging = Some((began, lines + 1));
        address.logged = Some(now);
        Some(std::mem::take(&mut address.unlogged))
    }
}

impl Address {
    /// Whether the token is one of the last wrong ones, of which it becomes the latest.
    fn is_repeated(&mut self, token: u64) -> bool {
        let found = self.tokens.iter().position(|known| *known == token);
        let token = found.and_then(|at| self.tokens.remove(at));
        self.tokens.extend(token);
        token.is_some()
    }

    fn count(&mut self, token: u64, now: Instant) {
        self.forget(now);
        if self.tokens.len() == REMEMBERED {
            self.tokens.pop_front();
        }
        self.tokens.push_back(token);
        self.wrong = (self.wrong + 1).min(MAX_COUNT);
        self.last = now;
        self.pause_end = now + pause(self.wrong);
        self.next = self.next.max(self.pause_end);
        self.unlogged = self.unlogged.saturating_add(1);
    }

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

    /// Checks a wrong token at its time, which it returns.
    fn guess(guesses: &Guesses, peer: IpAddr, token: u32, now: Instant) -> Instant {
        let reserved = guesses.reserve(peer, &token.to_string(), now);
        let reserved = reserved.expect("not too many are waiting");
        let at = reserved.at();
        reserved.checked(false, at);
        at
    }

    /// After that, requests of the address have to wait.
    fn guess_until_paused(guesses: &Guesses, peer: IpAddr, now: Instant) {
        for token in 0..=FREE {
            guess(guesses, peer, token, now);
        }
    }

    /// When a token that was not sent before would be checked; its time is given back.
    fn next_check(guesses: &Guesses, peer: IpAddr, now: Instant) -> Instant {
        let reserved = guesses.reserve(peer, "never sent before", now);
        reserved.expect("not too many are waiting").at()
    }

    #[test]
    fn guesses_pause_doubles_up_to_a_limit_and_concerns_one_address() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        let mut at = start;
        let mut pauses = Vec::new();
        for token in 0..FREE + 9 {
            let checked = guess(&guesses, GUESSER, token, at);
            pauses.push((checked - at).as_millis());
            at = checked;
        }
        let (free, rest) = pauses.split_at(FREE as usize + 1);
        assert!(free.iter().all(|pause| *pause == 0), "{free:?}");
        assert_eq!(rest, [250, 500, 1000, 2000, 4000, 4000, 4000, 4000]);
        assert_eq!(next_check(&guesses, OTHER, at), at, "another address");
    }

    #[test]
    fn guesses_at_the_same_time_are_checked_one_after_the_other() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        guess_until_paused(&guesses, GUESSER, now);
        let reserved: Vec<_> = (100..1100)
            .filter_map(|token| guesses.reserve(GUESSER, &token.to_string(), now))
            .collect();
        let waits = reserved.iter().map(|r| (r.at() - now).as_millis());
        let waits: Vec<_> = waits.collect();
        assert_eq!(waits[..3], [250, 500, 750]);
        assert_eq!(waits.len(), 40, "the others are refused");
        assert_eq!(next_check(&guesses, OTHER, now), now);
    }

    #[test]
    fn guesses_right_token_of_a_guessing_address_waits_once() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        guess_until_paused(&guesses, GUESSER, now);
        let right = guesses.reserve(GUESSER, "right", now);
        let right = right.expect("nobody else waits");
        let at = right.at();
        assert_eq!((at - now).as_millis(), 250);
        right.checked(true, at);
        assert_eq!(next_check(&guesses, GUESSER, at), at, "and then no more");
    }

    #[test]
    fn guesses_same_wrong_tokens_again_are_neither_counted_nor_delayed() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        let mut lines = 0;
        for ms in 0..1000 {
            // Two programs with an old token each, behind the address of others with the new one.
            for stale in ["old", "older"] {
                let now = start + Duration::from_millis(ms);
                let reserved = guesses.reserve(GUESSER, stale, now).expect("no wait");
                assert_eq!(reserved.at(), now);
                lines += u32::from(reserved.checked(false, now).is_some());
            }
        }
        let later = start + Duration::from_secs(1);
        assert_eq!(next_check(&guesses, GUESSER, later), later);
        assert_eq!(lines, 1);
        let mut at = later;
        for token in 0..100 {
            at = guess(&guesses, GUESSER, token, at);
            let stale = guesses.reserve(GUESSER, "old", at).expect("no wait");
            assert_eq!(stale.at(), at, "the latest are remembered");
            stale.checked(false, at);
        }
        assert!(next_check(&guesses, GUESSER, at) > at, "others are guesses");
        assert_eq!(guesses.lock().addresses[&GUESSER].tokens.len(), REMEMBERED);
    }

    #[test]
    fn guesses_wrong_token_that_became_right_is_no_longer_known_as_wrong() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        guess(&guesses, GUESSER, 1, now);
        let renewed = guesses.reserve(GUESSER, "1", now).expect("no wait");
        assert_eq!(renewed.checked(true, now), None);
        assert!(guesses.lock().addresses[&GUESSER].tokens.is_empty());
    }

    #[test]
    fn guesses_reservation_that_is_dropped_is_given_back() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        guess_until_paused(&guesses, GUESSER, now);
        let first = next_check(&guesses, GUESSER, now);
        for token in 100..1100 {
            // Its client disconnects.
            drop(guesses.reserve(GUESSER, &token.to_string(), now));
        }
        assert_eq!(next_check(&guesses, GUESSER, now), first);
        // No pause after a wrong token is shortened by it.
        let [one, two] = ["a", "b"].map(|token| guesses.reserve(GUESSER, token, now));
        one.expect("no more wait").checked(false, first);
        drop(two);
        let pause = next_check(&guesses, GUESSER, first) - first;
        assert_eq!(pause.as_millis(), 500);
        assert_eq!(guesses.lock().waiting, 0);
    }

    #[test]
    fn guesses_waiting_requests_of_all_addresses_are_limited() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let peers = (0..10).map(|n| IpAddr::from([198, 51, 100, n]));
        let mut waiting = Vec::new();
        for peer in peers {
            guess_until_paused(&guesses, peer, now);
            let reserved = (100..130).map(|n: u32| guesses.reserve(peer, &n.to_string(), now));
            waiting.extend(reserved.flatten());
        }
        assert_eq!(waiting.len(), MAX_WAITING);
        assert_eq!(next_check(&guesses, OTHER, now), now, "who need not wait");
        waiting.pop();
        let freed = guesses.reserve([198, 51, 100, 0].into(), "a", now);
        assert!(freed.is_some());
    }

    #[test]
    fn guesses_are_forgotten_with_time_and_addresses_are_bounded() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        let mut at = start;
        for token in 0..500 {
            at = guess(&guesses, GUESSER, token, at);
        }
        let later = at + FORGET_ONE * (MAX_COUNT - FREE);
        guesses
            .reserve(GUESSER, "right", later)
            .expect("no wait")
            .checked(true, later);
        assert_eq!(next_check(&guesses, GUESSER, later), later, "no pause");
        for n in 0..3 * MAX_ADDRESSES as u32 {
            let peer = IpAddr::from(std::net::Ipv4Addr::from_bits(n));
            guess(&guesses, peer, 0, later);
        }
        assert_eq!(guesses.lock().addresses.len(), MAX_ADDRESSES);
    }

    #[test]
    fn guesses_are_logged_once_a_minute_per_address_and_within_limits() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        let mut token = 0;
        let mut wrong = |peer, ms| {
            let now = start + Duration::from_millis(ms);
            token += 1;
            let reserved = guesses.reserve(peer, &token.to_string(), now);
            reserved.expect("no wait").checked(false, now)
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
            guess(&guesses, ip(&format!("2001:db8:1:2::{n}")), n, now);
        }
        let waits = |peer| next_check(&guesses, peer, now) != now;
        assert!(waits(ip("2001:db8:1:2:ffff::1")));
        assert!(!waits(ip("2001:db8:1:3::1")));
        guess_until_paused(&guesses, ip("::ffff:192.0.2.66"), now);
        assert!(waits(GUESSER), "IPv4-mapped");
    }
}
