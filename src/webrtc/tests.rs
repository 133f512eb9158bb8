//! What a hostile offer can do: nothing.

use super::fuzz::{OFFER, answer};
use super::signalling::{BadOffer, check};
use proptest::prelude::*;

fn refused(offer: &str) -> BadOffer {
    check(offer).err().unwrap_or_else(|| panic!("taken: {offer}"))
}

#[test]
fn offers_are_taken_or_refused_for_what_they_are() {
    assert!(check(OFFER).is_ok());
    assert!(check(&OFFER.replace("a=recvonly", "a=sendrecv")).is_ok());
    assert!(check(&OFFER.replace("H264", "VP8")).is_ok(), "its sound is for us");
    assert_eq!(refused(&OFFER.replace("H264", "VP8").replace("opus", "G722")), BadOffer::NothingInCommon);
    assert_eq!(refused(&OFFER.replace("a=recvonly", "a=sendonly")), BadOffer::NothingInCommon);
    assert_eq!(refused("hello"), BadOffer::Malformed);
    assert_eq!(refused(""), BadOffer::Malformed);
    let candidate = "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n";
    assert_eq!(refused(&format!("{OFFER}{}", candidate.repeat(65))), BadOffer::TooMuch);
    assert_eq!(refused(&"x".repeat(1 << 20)), BadOffer::TooLarge);
}

#[test]
fn an_answer_sends_and_names_both_codecs() {
    let sdp = answer(OFFER).expect("it is answered");
    assert!(sdp.contains("a=sendonly") && sdp.contains("H264/90000") && sdp.contains("opus/48000"), "{sdp}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_offer_makes_the_signalling_panic(at in 0..OFFER.len(), cut in 0..40usize, with in "[ -~\r\n]{0,12}") {
        let mut offer = OFFER.to_owned();
        offer.replace_range(at..(at + cut).min(OFFER.len()), &with);
        answer(&offer);
    }

    #[test]
    fn no_line_left_out_or_doubled_makes_the_signalling_panic(lines in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 1..6)) {
        let mut offer: Vec<&str> = OFFER.split_inclusive("\r\n").collect();
        for (at, double) in lines {
            if offer.is_empty() { break }
            let at = at.index(offer.len());
            if double { offer.insert(at, offer[at]) } else { offer.remove(at); }
        }
        answer(&offer.concat());
    }
}
