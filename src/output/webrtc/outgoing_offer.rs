//! Our offer to a media server, until its answer makes it a session.

use super::address_guard::AddressGuard;
use super::session::{Session, SessionContext};
use super::signalling::BadAnswer;
use str0m::Rtc;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::Mid;
use tokio::sync::watch;

/// Our offer to a media server, until its answer.
pub(crate) struct OutgoingOffer {
    pub(crate) sdp: String,
    pub(super) rtc: Rtc,
    pub(super) pending: SdpPendingOffer,
    pub(super) context: SessionContext,
    pub(super) video: Option<Mid>,
    pub(super) audio: Option<Mid>,
    pub(super) connected: watch::Receiver<bool>,
}

impl OutgoingOffer {
    /// The session, and a flag that turns true once media can flow.
    ///
    /// # Errors
    /// The answer does not fit the offer, or accepts no media.
    pub(crate) fn accept(
        mut self,
        answer: SdpAnswer,
    ) -> Result<(Session, watch::Receiver<bool>), BadAnswer> {
        let password = self.rtc.direct_api().local_ice_credentials().pass;
        let guard = AddressGuard::new(&answer.to_sdp_string(), &password);
        self.rtc
            .sdp_api()
            .accept_answer(self.pending, answer)
            .map_err(|e| BadAnswer::Refused(e.to_string()))?;
        let session = Session::publishing(self.rtc, self.context, guard, self.video, self.audio)
            .ok_or(BadAnswer::NothingInCommon)?;
        Ok((session, self.connected))
    }
}
