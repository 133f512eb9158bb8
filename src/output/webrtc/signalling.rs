//! Checks offers and answers, and reduces them to what is used, before str0m parses them. Pure.

use super::fields::{self, BadField};
use std::collections::{HashMap, HashSet};
use str0m::change::{SdpAnswer, SdpOffer};

/// The media type of offers and answers.
pub const SDP: &str = "application/sdp";

/// Chromium's offer of video and audio has 6.5 KB, aiortc's 3 KB; twice that with a dozen
/// interfaces.
pub const MAX_OFFER_BYTES: usize = 16 * 1024;
/// Chromium's offer has about 250. The time that str0m takes grows with them.
const MAX_LINES: usize = 400;
const MAX_MEDIA: usize = 4;
/// Checks are sent to each address, which may be anybody's, until the peer connects or the time for
/// it is over. Checks from other addresses are answered too.
const MAX_CANDIDATES: usize = 16;
/// Of RFC 8853, RFC 8851 and draft-hancke-tsvwg-snap.
const UNUSED_ATTRIBUTES: [&str; 3] = ["a=simulcast:", "a=rid:", "a=sctp-init:"];

/// Why an offer is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOffer {
    #[error("the offer is larger than {MAX_OFFER_BYTES} bytes")]
    TooLarge,
    #[error("the offer is not valid SDP for WebRTC")]
    Malformed,
    #[error("the offer's {0}")]
    Field(#[from] BadField),
    #[error("the offer has more than {MAX_MEDIA} media or {MAX_LINES} lines")]
    TooMuch,
    #[error(
        "nothing in common: the offer must receive (a=recvonly or a=sendrecv) H.264 video with packetization-mode=1 or Opus audio"
    )]
    NothingInCommon,
    /// With str0m's message.
    #[error("the offer cannot be answered: {0}")]
    Refused(String),
}

/// Parses an offer, changed to receive only.
///
/// # Errors
/// The offer is too large, not valid, or receives neither H.264 nor Opus.
pub fn check(text: &str) -> Result<SdpOffer, BadOffer> {
    check_size(text)?;
    fields::check(text)?;
    let text = receive_only(text);
    if !has_consistent_payload_types(&text) {
        return Err(BadOffer::Malformed);
    }
    let offer = SdpOffer::from_sdp_string(&text).map_err(|_| BadOffer::Malformed)?;
    if sections(&text).any(|section| receives_our_codec(&section)) {
        Ok(offer)
    } else {
        Err(BadOffer::NothingInCommon)
    }
}

fn check_size(text: &str) -> Result<(), BadOffer> {
    if text.len() > MAX_OFFER_BYTES {
        return Err(BadOffer::TooLarge);
    }
    let media = text.lines().filter(|line| line.starts_with("m=")).count();
    if media > MAX_MEDIA || text.lines().count() > MAX_LINES {
        Err(BadOffer::TooMuch)
    } else {
        Ok(())
    }
}

/// A reduced offer without the directions in which the peer would send: str0m would keep what is
/// received.
fn receive_only(offer: &str) -> String {
    let reduced = reduced(offer);
    let (directions, session): (Vec<&str>, Vec<&str>) = reduced
        .lines()
        .take_while(|line| !line.starts_with("m="))
        .partition(is_direction);
    // RFC 8866, section 6.7.
    let default = directions.first().copied().unwrap_or("a=sendrecv");
    let media = sections(&reduced).flat_map(|section| receiving_section(section, default));
    session
        .into_iter()
        .chain(media)
        .flat_map(|line| [line, "\r\n"])
        .collect()
}

fn is_direction(line: &&str) -> bool {
    matches!(
        *line,
        "a=sendrecv" | "a=sendonly" | "a=recvonly" | "a=inactive"
    )
}

/// An m-section that receives or is inactive. `default`: the direction of one without.
fn receiving_section<'a>(mut section: Vec<&'a str>, default: &'a str) -> Vec<&'a str> {
    let direction = section
        .iter()
        .copied()
        .find(is_direction)
        .unwrap_or(default);
    section.retain(|line| !is_direction(line));
    // Attributes are the last lines of a section.
    let at = section
        .iter()
        .position(|line| line.starts_with("a="))
        .unwrap_or(section.len());
    section.insert(
        at,
        if matches!(direction, "a=sendrecv" | "a=recvonly") {
            "a=recvonly"
        } else {
            "a=inactive"
        },
    );
    section
}

/// Removes what str0m would act on and is not used: simulcast layers, each of which would become a
/// stream (one is sent), an SCTP handshake within SDP, and all candidates but the first of UDP.
/// Over TCP the peer connects to us.
fn reduced(text: &str) -> String {
    let mut kept = HashSet::new();
    let mut is_kept = |line: &&str| {
        if UNUSED_ATTRIBUTES
            .iter()
            .any(|unused| line.starts_with(unused))
        {
            return false;
        }
        let Some(candidate) = line.trim_end().strip_prefix("a=candidate:") else {
            return true;
        };
        fields::address(candidate)
            .is_some_and(|address| kept.len() < MAX_CANDIDATES && kept.insert(address))
    };
    text.split_inclusive('\n')
        .filter(|line| is_kept(line))
        .collect()
}

/// Why an answer to our offer is not usable.
#[derive(Debug, thiserror::Error)]
pub enum BadAnswer {
    #[error("it is too large or has too many media or lines")]
    TooMuch,
    #[error("it is not valid SDP for WebRTC")]
    Malformed,
    #[error(transparent)]
    Field(#[from] BadField),
    #[error("it accepts neither H.264 nor Opus")]
    NothingInCommon,
    /// With str0m's message, which quotes the server's answer: not for a log line.
    #[error("it does not fit our offer")]
    Refused(String),
}

/// Parses an answer.
///
/// # Errors
/// The answer is too large or not valid.
pub fn check_answer(text: &str) -> Result<SdpAnswer, BadAnswer> {
    check_size(text).map_err(|_| BadAnswer::TooMuch)?;
    fields::check(text)?;
    if !has_consistent_payload_types(text) {
        return Err(BadAnswer::Malformed);
    }
    SdpAnswer::from_sdp_string(&reduced(text)).map_err(|_| BadAnswer::Malformed)
}

/// Whether each payload type has 7 bits (RFC 3551), one meaning (RFC 8843, section 9.1), and
/// retransmits at most one other: str0m may panic otherwise.
fn has_consistent_payload_types(text: &str) -> bool {
    let mut known: HashMap<u8, Vec<&str>> = HashMap::new();
    sections(text).all(|section| {
        let mut formats: HashMap<u8, Vec<&str>> = HashMap::new();
        for line in section {
            let value = line
                .strip_prefix("a=rtpmap:")
                .or_else(|| line.strip_prefix("a=fmtp:"));
            let number = value
                .and_then(|value| value.split(' ').next())
                .and_then(|number| number.parse().ok());
            if let Some(number) = number {
                formats.entry(number).or_default().push(line);
            }
        }
        formats.into_iter().all(|(number, lines)| {
            let mappings = lines
                .iter()
                .filter(|line| line.starts_with("a=rtpmap:"))
                .count();
            let retransmitted: usize = lines
                .iter()
                .map(|line| line.to_ascii_lowercase().matches("apt=").count())
                .sum();
            number < 128
                && mappings <= 1
                && retransmitted <= 1
                && known.entry(number).or_insert_with(|| lines.clone()) == &lines
        })
    })
}

/// The peer's ICE password: like str0m, of the session part or else the first m-section that has
/// credentials.
pub fn ice_password(sdp: &str) -> Option<&str> {
    let session = sdp
        .lines()
        .take_while(|line| !line.starts_with("m="))
        .collect();
    let mut parts = std::iter::once(session).chain(sections(sdp));
    parts.find_map(|lines| {
        let value = |name| lines.iter().find_map(|line| line.strip_prefix(name));
        value("a=ice-ufrag:").and_then(|_| value("a=ice-pwd:"))
    })
}

/// The lines of each m-section.
fn sections(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let mut lines = text
        .lines()
        .skip_while(|line| !line.starts_with("m="))
        .peekable();
    std::iter::from_fn(move || {
        let mut section = vec![lines.next()?];
        while let Some(line) = lines.next_if(|line| !line.starts_with("m=")) {
            section.push(line);
        }
        Some(section)
    })
}

fn receives_our_codec(section: &[&str]) -> bool {
    let codec = match section.first() {
        Some(media) if media.starts_with("m=video ") => "h264/90000",
        Some(media) if media.starts_with("m=audio ") => "opus/48000",
        _ => return false,
    };
    let receives = section.contains(&"a=recvonly");
    let has_codec = |line: &&str| {
        let name = line
            .strip_prefix("a=rtpmap:")
            .and_then(|map| map.split_once(' '))
            .map(|(_, name)| name.to_ascii_lowercase());
        name.is_some_and(|name| name.starts_with(codec))
    };
    receives && section.iter().any(has_codec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ice_password_is_of_the_session_or_the_first_section_with_credentials() {
        let with = |session: &str, video: &str, audio: &str| {
            ice_password(&format!(
                "v=0\r\n{session}m=video 9\r\n{video}m=audio 9\r\n{audio}"
            ))
            .map(str::to_owned)
        };
        let of = |n: u8| format!("a=ice-ufrag:{n}\r\na=ice-pwd:{n}\r\n");
        assert_eq!(with("", "", ""), None);
        assert_eq!(with("", &of(1), &of(2)).as_deref(), Some("1"));
        assert_eq!(with("", "a=ice-pwd:3\r\n", &of(2)).as_deref(), Some("2"));
        assert_eq!(with(&of(4), &of(1), "").as_deref(), Some("4"));
    }

    #[test]
    fn reduced_keeps_16_addresses_of_udp() {
        let line = |n: u16, protocol: &str, ip: &str| {
            format!(
                "a=candidate:{n} 1 {protocol} 2113937151 {ip} {} typ host\r\n",
                4_000 + n
            )
        };
        let many: String = (0..40).map(|n| line(n, "udp", "192.0.2.7")).collect();
        let others = "a=rid:a recv\r\na=simulcast:recv a;b\r\na=sctp-init:AAAA\r\n".to_owned()
            + &line(50, "tcp", "192.0.2.7")
            + &line(51, "udp", "0f9a.local")
            + "a=candidate:52\r\n";
        let text = format!("v=0\r\n{others}{many}{many}a=mid:0\r\n");
        let expected: String = (0..16).map(|n| line(n, "udp", "192.0.2.7")).collect();
        assert_eq!(
            reduced(&text),
            format!("v=0\r\n{expected}{expected}a=mid:0\r\n").replacen(&expected, "", 1)
        );
    }
}
