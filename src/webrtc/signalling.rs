//! The checks of an offer or an answer before str0m sees it, and our answer's last touch. Pure; what a stranger sends is bounded
//! here.

use str0m::change::{SdpAnswer, SdpOffer};

/// The media type of both.
pub const SDP: &str = "application/sdp";

/// Far more than any browser offers: each candidate is paired with each of ours.
const MAX_CANDIDATES: usize = 64;
const MAX_MEDIA: usize = 16;
/// Bytes; Chromium's offer for all its codecs is about 6 KB.
pub const MAX_OFFER: usize = 64 * 1024;

/// Why an offer is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOffer {
    #[error("the offer is larger than {MAX_OFFER} bytes")]
    TooLarge,
    #[error("the offer is no SDP of WebRTC")]
    Malformed,
    #[error("the offer has more than {MAX_MEDIA} media or {MAX_CANDIDATES} candidates")]
    TooMuch,
    #[error("nothing of the offer can be sent: H.264 video (packetization-mode=1) and Opus sound are, to a=recvonly or a=sendrecv")]
    NothingInCommon,
    /// str0m's words.
    #[error("the offer cannot be answered: {0}")]
    Refused(String),
}

/// Reads an offer that has something for us.
pub fn check(text: &str) -> Result<SdpOffer, BadOffer> {
    check_size(text)?;
    let offer = SdpOffer::from_sdp_string(text).map_err(|_| BadOffer::Malformed)?;
    if sections(text).any(|section| is_for_us(&section)) { Ok(offer) } else { Err(BadOffer::NothingInCommon) }
}

fn check_size(text: &str) -> Result<(), BadOffer> {
    if text.len() > MAX_OFFER {
        return Err(BadOffer::TooLarge);
    }
    let count = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    if count("m=") > MAX_MEDIA || count("a=candidate:") > MAX_CANDIDATES { Err(BadOffer::TooMuch) } else { Ok(()) }
}

/// Why an answer to our offer is of no use.
#[derive(Debug, thiserror::Error)]
pub enum BadAnswer {
    #[error("it is too large or names too much")]
    TooMuch,
    #[error("it is no SDP of WebRTC")]
    Malformed,
    #[error("it takes neither H.264 nor Opus")]
    NothingInCommon,
    /// str0m's words.
    #[error("{0}")]
    Refused(String),
}

/// Reads an answer.
pub fn check_answer(text: &str) -> Result<SdpAnswer, BadAnswer> {
    check_size(text).map_err(|_| BadAnswer::TooMuch)?;
    SdpAnswer::from_sdp_string(text).map_err(|_| BadAnswer::Malformed)
}

/// The lines of each m-section.
fn sections(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let mut lines = text.lines().map(str::trim_end).skip_while(|line| !line.starts_with("m=")).peekable();
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
    let receives = !section.iter().any(|line| matches!(*line, "a=sendonly" | "a=inactive"));
    let speaks = |line: &&str| {
        let name = line.strip_prefix("a=rtpmap:").and_then(|map| map.split_once(' ')).map(|(_, name)| name.to_ascii_lowercase());
        name.is_some_and(|name| name.starts_with(codec))
    };
    receives && section.iter().any(speaks)
}

/// str0m writes an m-line that it rejects without any format, which browsers do not parse (RFC 8866, section 9: one at least).
pub fn readable(answer: String) -> String {
    answer.replace("UDP/TLS/RTP/SAVPF \r\n", "UDP/TLS/RTP/SAVPF 0\r\n")
}
