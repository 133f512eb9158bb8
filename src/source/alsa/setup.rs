//! What is agreed with a PCM before it runs (format, channels, rate, periods, clock), and the words for what goes wrong. Owns
//! no device.

use super::convert::SampleFormat;
use super::find;
use super::find::{CapturePcm, Identity, alsa_format, errno};
use crate::config;
use crate::config::Microphone;
use crate::media::StampSource;
use crate::source::SourceError;
use alsa::ValueOr;
use alsa::pcm::{Access, Frames, HwParams, PCM, TstampType};

/// The device interrupts so often a second: each interrupt is one observation for the fit.
const PERIODS: u32 = 100;

/// What the device agreed to.
pub(super) struct Setting {
    pub format: SampleFormat,
    pub channels: u32,
    pub rate_hz: u32,
    pub stamp_source: StampSource,
}

pub(super) fn configure(
    pcm: &PCM,
    sound: &config::AudioConfig,
    title: &str,
) -> Result<Setting, SourceError> {
    let failed = |doing| move |e| io_error(title, doing, &e);
    let setting = {
        let hw = HwParams::any(pcm).map_err(failed("asking what it can do"))?;
        // A plugin's own resampling would delay the sound by an unknown time. `hw:` PCMs do not have any.
        hw.set_rate_resample(false)
            .map_err(failed("asking for its own rate"))?;
        hw.set_access(Access::RWInterleaved)
            .map_err(|_| unsupported(title, "it offers no interleaved sound".into()))?;
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
        let channels = device_channels(&hw, u32::from(sound.channels))
            .map_err(failed("setting its channels"))?;
        let rate_hz = device_rate(&hw, sound.rate_hz).map_err(failed("setting its rate"))?;
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
        // Less than a period: a device that interrupts by a coarse timer (snd-aloop: 12 ms, 8 ms) would else be seen only at
        // every other interrupt.
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

/// The asked number of channels, else the next higher, else the most that there are.
fn device_channels(hw: &HwParams, asked: u32) -> alsa::Result<u32> {
    let most = hw.get_channels_max()?;
    let fitting = (asked..=most.min(64))
        .find(|n| hw.test_channels(*n).is_ok())
        .unwrap_or(most);
    hw.set_channels(fitting)?;
    Ok(fitting)
}

/// The asked rate, else the next higher that is common, else the nearest; without one, 48 kHz, 44.1 kHz or the nearest.
fn device_rate(hw: &HwParams, asked: Option<u32>) -> alsa::Result<u32> {
    let good = match asked {
        Some(asked) => [asked, 16_000, 32_000, 44_100, 48_000, 88_200, 96_000]
            .into_iter()
            .filter(|r| *r >= asked)
            .collect(),
        None => vec![48_000, 44_100],
    };
    let target = good
        .into_iter()
        .find(|rate| hw.test_rate(*rate).is_ok())
        .or(asked)
        .unwrap_or(48_000);
    hw.set_rate_near(target, ValueOr::Nearest)
}

/// The microphone that is meant is not among `list`, or no microphone can be seen at all.
pub(super) fn missing(
    which: &Microphone,
    known: Option<&Identity>,
    list: &[CapturePcm],
) -> SourceError {
    let device = wanted(which, known);
    if list.is_empty() && find::forbidden() {
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
