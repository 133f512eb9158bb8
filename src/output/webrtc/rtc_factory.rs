//! Makes the str0m instance of a session: certificate, codecs, header extensions, local candidates,
//! and the shift of its clock.

use super::clock_shift::{Epoch, Shift};
use super::port::Port;
use super::stun_client::{Mapping, StunClient};
use crate::media::clock::Clock;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use str0m::media::Pt;
use str0m::rtp::Extension;
use str0m::{Candidate, Rtc, RtcConfig};

/// The id that most senders use for abs-capture-time; an offer may name another.
const CAPTURE_TIME_ID: u8 = 9;
/// How often str0m reports the loss of each track.
const STATS_INTERVAL: Duration = Duration::from_secs(1);
/// The longest time until an unanswered check is repeated: a lost datagram delays a session by no
/// more.
const MAX_CHECK_INTERVAL: Duration = Duration::from_millis(1500);

/// H.264 in our offers, all of it decodable by a decoder of constrained baseline, which is sent:
/// payload type, that of retransmissions (RFC 4588), profile and level 3.1. Some servers know plain
/// baseline only.
const OFFERED_H264: [(u8, u8, u32); 2] = [(108, 109, 0x42_e01f), (127, 121, 0x42_001f)];

pub(super) struct RtcFactory {
    port: Arc<Port>,
    stun_client: Arc<StunClient>,
    public_ip: Option<IpAddr>,
    clock: Arc<Clock>,
    certificate: str0m::config::DtlsCert,
    epoch: Epoch,
}

impl RtcFactory {
    /// Makes the DTLS certificate that all sessions use.
    ///
    /// # Errors
    /// The certificate cannot be made.
    pub(super) fn new(
        port: Arc<Port>,
        stun_client: Arc<StunClient>,
        public_ip: Option<IpAddr>,
        clock: Arc<Clock>,
    ) -> io::Result<Self> {
        let provider = str0m::crypto::from_feature_flags();
        let certificate = provider
            .dtls_provider
            .generate_certificate()
            .ok_or_else(|| io::Error::other("cannot make a DTLS certificate"))?;
        // str0m reads its clocks at its first use, which this is.
        drop(RtcConfig::new().build(Instant::now()));
        let epoch = Epoch::new(Instant::now(), clock.unix_now());
        Ok(Self {
            port,
            stun_client,
            public_ip,
            clock,
            certificate,
            epoch,
        })
    }

    /// For an offer of a peer.
    pub(super) fn answering(&self) -> (Rtc, Shift) {
        let config = RtcConfig::new().clear_codecs();
        let config = config.enable_h264(true).enable_opus(true, false);
        self.build(config, &self.stun_client.mappings())
    }

    /// For an offer of ours.
    pub(super) fn offering(&self) -> (Rtc, Shift) {
        let mut config = RtcConfig::new().clear_codecs().enable_opus(true, false);
        for (payload_type, retransmission, profile) in OFFERED_H264 {
            config.codec_config().add_h264(
                Pt::new_with_value(payload_type),
                Some(Pt::new_with_value(retransmission)),
                true,
                profile,
            );
        }
        self.build(config, &self.stun_client.mappings_for_offers())
    }

    fn build(&self, config: RtcConfig, mappings: &[Mapping]) -> (Rtc, Shift) {
        let now = Instant::now();
        let shift = self.epoch.shift(now, self.clock.unix_now());
        let mut config = without_transport_feedback(config)
            .set_dtls_cert(self.certificate.clone())
            .set_stats_interval(Some(STATS_INTERVAL))
            .set_extension(CAPTURE_TIME_ID, Extension::AbsoluteCaptureTime);
        config.set_max_stun_rto(MAX_CHECK_INTERVAL);
        let mut rtc = config.build(shift.apply(now));
        for candidate in candidates(&self.port.addresses(), mappings, self.public_ip) {
            rtc.add_local_candidate(candidate);
        }
        (rtc, shift)
    }
}

/// Transport-wide feedback is not used (the bit rate follows receiver reports), and str0m 0.25
/// panics at such a report that has a run of no packets (`TwccIter::next`) once it has numbered
/// packets for it.
fn without_transport_feedback(mut config: RtcConfig) -> RtcConfig {
    let kept: Vec<_> = config
        .extension_map()
        .iter()
        .map(|(id, extension)| (id, extension.clone()))
        .filter(|(_, extension)| *extension != Extension::TransportSequenceNumber)
        .collect();
    kept.into_iter()
        .fold(config.clear_extension_map(), |config, (id, extension)| {
            config.set_extension(id, extension)
        })
}

/// Our candidates on UDP and TCP. `addresses`: those of the port; `mappings`: what STUN servers
/// reported of them.
pub(super) fn candidates(
    addresses: &[SocketAddr],
    mappings: &[Mapping],
    public_ip: Option<IpAddr>,
) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for address in addresses.iter().copied() {
        candidates.extend(Candidate::host(address, "udp"));
        candidates.extend(
            Candidate::builder()
                .tcp()
                .host(address)
                .tcptype(str0m::net::TcpType::Passive)
                .build(),
        );
        if let Some(ip) =
            public_ip.filter(|ip| ip.is_ipv4() == address.is_ipv4() && !address.ip().is_loopback())
        {
            candidates.extend(Candidate::server_reflexive(
                (ip, address.port()).into(),
                address,
                "udp",
            ));
        }
        // Without a NAT the mapped address is a host candidate already.
        let is_new = |public: SocketAddr| !addresses.contains(&public);
        let mapped = mappings
            .iter()
            .filter(|mapping| mapping.base == address && is_new(mapping.public));
        candidates.extend(mapped.filter_map(|mapping| {
            Candidate::server_reflexive(mapping.public, address, "udp").ok()
        }));
    }
    candidates
}
