//! Sets up a PCM before it runs (format, channels, rate, periods, clock), and the errors of
//! microphones.

use super::convert::SampleFormat;
use super::find;
use super::find::{CapturePcm, Identity, alsa_format, errno};
use crate::config;
use crate::config::Microphone;
use crate::media::StampSource;
use crate::source::SourceError;
use alsa::ValueOr;
use alsa::pcm::{Access, Frames, HwParams, PCM, TstampType};

/// Interrupts a second: each is one observation for the sample clock.
const PERIODS: u32 = 100;
/// The largest number of channels that are captured.
pub(super) const MAX_CHANNELS: u32 = 2;

/// The settings that the device accepted.
pub(super) struct Setting {
    pub format: SampleFormat,
    pub channels: u32,
    pub rate_hz: u32,
    pub stamp_source: StampSource,
}

/// Sets all parameters and prepares the PCM.
///
/// # Errors
/// It is in use, or offers none of the parameters needed.
pub(super) fn configure(
    pcm: &PCM,
    audio: &config::AudioConfig,
    title: &str,
) -> Result<Setting, SourceError> {
    let failed = |doing| move |e| io_error(title, doing, &e);
    let setting = {
        let hw = HwParams::any(pcm).map_err(failed("asking what it can do"))?;
        // A plugin's resampling would delay the audio by an unknown time. `hw:` PCMs have none.
        hw.set_rate_resample(false)
            .map_err(failed("asking for its own rate"))?;
        hw.set_access(Access::RWInterleaved)
            .map_err(|_| unsupported(title, "it offers no interleaved samples".into()))?;
        let format = SampleFormat::ALL
            .into_iter()
            .find(|f| hw.test_format(alsa_format(*f)).is_ok());
        let format = format.ok_or_else(|| {
            let known = SampleFormat::ALL.map(SampleFormat::name).join(", ");
            unsupported(
                title,
                format!("it offers none of the sample formats {known}"),
            )
        })?;
        hw.set_format(alsa_format(format))
            .map_err(failed("setting its sample format"))?;
        let channels = device_channels(&hw).map_err(failed("setting its channels"))?;
        let rate_hz = device_rate(&hw, audio.rate_hz).map_err(failed("setting its rate"))?;
        let period = (rate_hz / PERIODS) as Frames;
        hw.set_period_size_near(period, ValueOr::Nearest)
            .map_err(failed("setting its period"))?;
        hw.set_buffer_size_near(rate_hz as Frames)
            .map_err(failed("setting the size of its ring"))?;
        pcm.hw_params(&hw).map_err(|e| match errno(&e) {
            libc::EBUSY => SourceError::Busy {
                device: title.into(),
            },
            _ => failed("accepting its settings")(e),
        })?;
        Setting {
            format,
            channels,
            rate_hz,
            stamp_source: StampSource::Driver,
        }
    };
    let software = || -> alsa::Result<bool> {
        let period = pcm.hw_params_current()?.get_period_size()?;
        let sw = pcm.sw_params_current()?;
        // Less than a period: otherwise a device that interrupts by a coarse timer (snd-aloop: 12
        // ms, 8 ms) is seen only at every other interrupt.
        sw.set_avail_min((period / 4).max(1))?;
        sw.set_tstamp_mode(true)?;
        sw.set_tstamp_type(TstampType::Monotonic)?;
        pcm.sw_params(&sw)?;
        Ok(pcm.sw_params_current()?.get_tstamp_type()? == TstampType::Monotonic)
    };
    let monotonic = software().map_err(failed("setting its clock"))?;
    pcm.prepare().map_err(failed("preparing"))?;
    Ok(Setting {
        stamp_source: if monotonic {
            StampSource::Driver
        } else {
            StampSource::Dequeue
        },
        ..setting
    })
}

/// Two channels where the device has them, else the next higher number, else its maximum.
fn device_channels(hw: &HwParams) -> alsa::Result<u32> {
    let most = hw.get_channels_max()?;
    let chosen = (MAX_CHANNELS..=most.min(64))
        .find(|n| hw.test_channels(*n).is_ok())
        .unwrap_or(most);
    hw.set_channels(chosen)?;
    Ok(chosen)
}

/// One rate for all encoders: 48 kHz, which Opus needs, or `asked` where that is higher; else the
/// next higher common one; else 44.1 kHz, else the nearest. To a rate below 48 kHz the server
/// resamples.
fn device_rate(hw: &HwParams, asked: Option<u32>) -> alsa::Result<u32> {
    let wanted = asked.unwrap_or(0).max(48_000);
    let target = [wanted, 88_200, 96_000, 176_400, 192_000]
        .into_iter()
        .filter(|rate| *rate == wanted || (wanted > 48_000 && *rate > wanted))
        .chain((wanted == 48_000).then_some(44_100))
        .find(|rate| hw.test_rate(*rate).is_ok())
        .unwrap_or(wanted);
    hw.set_rate_near(target, ValueOr::Nearest)
}

/// The error for a microphone that is not in `list`, or where this user may not open any.
pub(super) fn missing(
    which: &Microphone,
    known: Option<&Identity>,
    list: &[CapturePcm],
) -> SourceError {
    let device = wanted(which, known);
    if list.is_empty() && find::has_forbidden_cards() {
        return forbidden(device);
    }
    SourceError::Missing {
        device,
        available: lines(list),
    }
}

fn wanted(which: &Microphone, known: Option<&Identity>) -> String {
    if let Some(known) = known {
        let serial = known
            .serial
            .as_ref()
            .map(|s| format!(", serial {s}"))
            .unwrap_or_default();
        return format!("the microphone {}{serial}", known.model);
    }
    match which {
        Microphone::Default => "the microphone".into(),
        Microphone::Index(n) => format!("microphone {n}"),
        Microphone::Named(name) => format!("the microphone \"{name}\""),
    }
}

pub(super) fn lines(list: &[CapturePcm]) -> Vec<String> {
    list.iter()
        .enumerate()
        .map(|(n, pcm)| format!("{n}: {}", pcm.title()))
        .collect()
}

fn forbidden(device: String) -> SourceError {
    SourceError::Failed {
        device,
        why: "this user may not open sound devices; add it to the group \"audio\"".into(),
    }
}

/// "1 channel", "2 channels".
pub(super) fn channels(n: u32) -> String {
    format!("{n} channel{}", if n == 1 { "" } else { "s" })
}

pub(super) fn unsupported(title: &str, why: String) -> SourceError {
    SourceError::Unsupported {
        device: title.into(),
        why,
    }
}

pub(super) fn open_error(title: &str, e: &alsa::Error, list: &[CapturePcm]) -> SourceError {
    let device = title.to_string();
    match errno(e) {
        libc::ENOENT | libc::ENODEV | libc::ENXIO => SourceError::Missing {
            device,
            available: lines(list),
        },
        libc::EBUSY | libc::EAGAIN => SourceError::Busy { device },
        libc::EACCES | libc::EPERM => SourceError::Failed {
            device,
            why: "permission denied; add the user to the group \"audio\"".into(),
        },
        _ => io_error(title, "opening", e),
    }
}

pub(super) fn io_error(title: &str, doing: &'static str, e: &alsa::Error) -> SourceError {
    SourceError::Io {
        device: title.into(),
        doing,
        source: std::io::Error::from_raw_os_error(errno(e)),
    }
}
