//! The checks of an offer or an answer before str0m sees it, and our answer's last touch. Pure; what a stranger sends is bounded
//! here.

use super::fields::{self, BadField};
use std::collections::{HashMap, HashSet};
use str0m::change::{SdpAnswer, SdpOffer};

/// The media type of both.
pub const SDP: &str = "application/sdp";

/// Bytes; Chromium's offer of video and sound is 6.5 KB, aiortc's 3; a dozen interfaces make it twice as long.
pub const MAX_OFFER: usize = 16 * 1024;
/// Chromium's has about 250. str0m takes its time for each, most where it finds a fault.
const MAX_LINES: usize = 400;
const MAX_MEDIA: usize = 4;
/// Each is sent checks wherever it points to, for as long as a peer has to connect, so a stranger's word is believed so often and no
/// more. Whoever reaches us is answered in any case.
const MAX_CANDIDATES: usize = 16;
/// RFC 8853, RFC 8851, draft-hancke-tsvwg-snap.
const UNUSED: [&str; 3] = ["a=simulcast:", "a=rid:", "a=sctp-init:"];

/// Why an offer is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOffer {
    #[error("the offer is larger than {MAX_OFFER} bytes")]
    TooLarge,
    #[error("the offer is no SDP of WebRTC")]
    Malformed,
    #[error("the offer's {0}")]
    Field(#[from] BadField),
    #[error("the offer has more than {MAX_MEDIA} media or {MAX_LINES} lines")]
    TooMuch,
    #[error(
        "nothing of the offer can be sent: H.264 video (packetization-mode=1) and Opus sound are, to a=recvonly or a=sendrecv"
    )]
    NothingInCommon,
    /// str0m's words.
    #[error("the offer cannot be answered: {0}")]
    Refused(String),
}

/// Reads an offer that has something for us, as one that receives and sends nothing.
pub fn check(text: &str) -> Result<SdpOffer, BadOffer> {
    check_size(text)?;
    fields::check(text)?;
    let text = tamed(text);
    if !is_sound(&text) {
        return Err(BadOffer::Malformed);
    }
    let offer = SdpOffer::from_sdp_string(&text).map_err(|_| BadOffer::Malformed)?;
    if sections(&text).any(|section| is_for_us(&section)) {
        Ok(offer)
    } else {
        Err(BadOffer::NothingInCommon)
    }
}

fn check_size(text: &str) -> Result<(), BadOffer> {
    if text.len() > MAX_OFFER {
        return Err(BadOffer::TooLarge);
    }
    let media = text.lines().filter(|line| line.starts_with("m=")).count();
    if media > MAX_MEDIA || text.lines().count() > MAX_LINES {
        Err(BadOffer::TooMuch)
    } else {
        Ok(())
    }
}

/// A pruned offer without what the peer would send, which str0m would keep for nobody to take.
fn tamed(offer: &str) -> String {
    let pruned = pruned(offer);
    let (directions, session): (Vec<&str>, Vec<&str>) = pruned
        .lines()
        .take_while(|line| !line.starts_with("m="))
        .partition(is_direction);
    // RFC 8866, section 6.7.
    let default = directions.first().copied().unwrap_or("a=sendrecv");
    let media = sections(&pruned).flat_map(|section| receiving(section, default));
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

/// An m-section that receives, or nothing at all. `default`: where it says nothing.
fn receiving<'a>(mut section: Vec<&'a str>, default: &'a str) -> Vec<&'a str> {
    let asked = section
        .iter()
        .copied()
        .find(is_direction)
        .unwrap_or(default);
    section.retain(|line| !is_direction(line));
    // Attributes are a section's last lines.
    let at = section
        .iter()
        .position(|line| line.starts_with("a="))
        .unwrap_or(section.len());
    section.insert(
        at,
        if matches!(asked, "a=sendrecv" | "a=recvonly") {
            "a=recvonly"
        } else {
            "a=inactive"
        },
    );
    section
}

/// Removes what str0m would act on and nobody uses: simulcast layers, each of which would become a stream of its own (one is
/// sent), an SCTP handshake within SDP, and all but the first addresses of UDP. Over TCP the peer connects to us.
fn pruned(text: &str) -> String {
    let mut kept = HashSet::new();
    let mut stays = |line: &&str| {
        if UNUSED.iter().any(|unused| line.starts_with(unused)) {
            return false;
        }
        let Some(candidate) = line.trim_end().strip_prefix("a=candidate:") else {
            return true;
        };
        fields::address(candidate)
            .is_some_and(|address| kept.len() < MAX_CANDIDATES && kept.insert(address))
    };
    text.split_inclusive('\n')
        .filter(|line| stays(line))
        .collect()
}

/// Why an answer to our offer is of no use.
#[derive(Debug, thiserror::Error)]
pub enum BadAnswer {
    #[error("it is too large or names too much")]
    TooMuch,
    #[error("it is no SDP of WebRTC")]
    Malformed,
    #[error(transparent)]
    Field(#[from] BadField),
    #[error("it takes neither H.264 nor Opus")]
    NothingInCommon,
    /// str0m's words, which quote the server's: not for a log line.
    #[error("it does not fit our offer")]
    Refused(String),
}

/// Reads an answer.
pub fn check_answer(text: &str) -> Result<SdpAnswer, BadAnswer> {
    check_size(text).map_err(|_| BadAnswer::TooMuch)?;
    fields::check(text)?;
    if !is_sound(text) {
        return Err(BadAnswer::Malformed);
    }
    SdpAnswer::from_sdp_string(&pruned(text)).map_err(|_| BadAnswer::Malformed)
}

/// Whether a payload type has 7 bits (RFC 3551), one meaning (RFC 8843, section 9.1), and repeats one other at most: str0m may panic
/// where it finds otherwise.
fn is_sound(text: &str) -> bool {
    let mut known: HashMap<u8, Vec<&str>> = HashMap::new();
    sections(text).all(|section| {
        let mut formats: HashMap<u8, Vec<&str>> = HashMap::new();
        for line in section {
            let said = line
                .strip_prefix("a=rtpmap:")
                .or_else(|| line.strip_prefix("a=fmtp:"));
            let number = said
                .and_then(|said| said.split(' ').next())
                .and_then(|number| number.parse().ok());
            if let Some(number) = number {
                formats.entry(number).or_default().push(line);
            }
        }
        formats.into_iter().all(|(number, lines)| {
            let named = lines
                .iter()
                .filter(|line| line.starts_with("a=rtpmap:"))
                .count();
            let repeats: usize = lines
                .iter()
                .map(|line| line.to_ascii_lowercase().matches("apt=").count())
                .sum();
            number < 128
                && named <= 1
                && repeats <= 1
                && known.entry(number).or_insert_with(|| lines.clone()) == &lines
        })
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

fn is_for_us(section: &[&str]) -> bool {
    let codec = match section.first() {
        Some(media) if media.starts_with("m=video ") => "h264/90000",
        Some(media) if media.starts_with("m=audio ") => "opus/48000",
        _ => return false,
    };
    let receives = section.contains(&"a=recvonly");
    let speaks = |line: &&str| {
        let name = line
            .strip_prefix("a=rtpmap:")
            .and_then(|map| map.split_once(' '))
            .map(|(_, name)| name.to_ascii_lowercase());
        name.is_some_and(|name| name.starts_with(codec))
    };
    receives && section.iter().any(speaks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_addresses_of_udp_are_kept() {
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
            pruned(&text),
            format!("v=0\r\n{expected}{expected}a=mid:0\r\n").replacen(&expected, "", 1)
        );
    }
}
