//! Lists the microphones, one entry per card and capture PCM; selects the one that the options
//! name; and recognises a device after it was replugged. Opens a PCM only to read its parameters.

use super::convert::SampleFormat;
use crate::config::Microphone;
use crate::media::{printable, printable_bytes};
use alsa::pcm::{Access, Format, HwParams, PCM};
use alsa::{Direction, card};
use serde::{Deserialize, Serialize};
use std::ffi::CString;
use std::fmt;
use std::path::Path;

/// The kernel's sound cards (Documentation/ABI/testing/sysfs-class-sound).
pub(super) const SYSFS: &str = "/sys/class/sound";
/// Rates that are tested; a device may have others between them.
const RATES_HZ: [u32; 10] = [
    8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000,
];

/// Identifies a device under any card number. Never matches a device of another model or with
/// another serial number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// USB vendor and product ("0d8c:0014"), else the card's name.
    pub model: String,
    /// The PCM's number on its card.
    pub device: u32,
    /// USB serial number.
    pub serial: Option<String>,
    /// False when another device of the model had the same serial number (cheap ones share one):
    /// then the port decides.
    pub serial_is_unique: bool,
    /// The port: its path under /sys/devices.
    pub port: String,
}

/// One capture PCM of one card.
#[derive(Clone, Debug)]
pub struct CapturePcm {
    /// The card's number, which may change when it is replugged.
    pub card: u32,
    pub device: u32,
    pub card_id: String,
    /// ALSA's short name: "Fake Mic".
    pub card_name: String,
    /// ALSA's long name: "Acme Fake Mic at usb-vhci_hcd.0-1, full speed".
    pub card_long_name: String,
    pub pcm_name: String,
    pub identity: Identity,
}

/// The parameters with which a PCM can record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parameters {
    Known {
        rates_hz: Vec<u32>,
        channels: (u32, u32),
        formats: Vec<&'static str>,
    },
    /// In use by another program.
    Busy,
    /// It cannot be opened, with the system's error.
    Unknown(String),
}

impl CapturePcm {
    /// "hw:CARD=Mic,DEV=0": stable as long as the card keeps its id.
    pub fn pcm(&self) -> String {
        format!("hw:CARD={},DEV={}", self.card_id, self.device)
    }

    /// For messages: "Fake Mic (hw:CARD=Mic,DEV=0)".
    pub fn title(&self) -> String {
        format!("{} ({})", self.card_name, self.pcm())
    }

    /// One line for `--list-devices`: PCM, name, rates, channels, formats, serial number. Opens the
    /// PCM (see [`parameters`](Self::parameters)).
    pub fn describe(&self) -> String {
        self.line(&self.parameters())
    }

    fn line(&self, parameters: &Parameters) -> String {
        let pcm_name = match self.pcm_name.as_str() {
            "" => String::new(),
            same if same == self.card_name => String::new(),
            other => format!(", {other}"),
        };
        let serial = self
            .identity
            .serial
            .as_ref()
            .map(|s| format!(", serial {s}"))
            .unwrap_or_default();
        format!(
            "{}  {}{pcm_name}: {parameters}{serial}",
            self.pcm(),
            self.card_name
        )
    }

    /// Opens the PCM for some milliseconds, in which no other program can open it.
    pub fn parameters(&self) -> Parameters {
        silence_alsa_lib();
        let read = || -> alsa::Result<Parameters> {
            let pcm = open(&format!("hw:{},{}", self.card, self.device))?;
            let hw = HwParams::any(&pcm)?;
            hw.set_access(Access::RWInterleaved)?;
            let formats = SampleFormat::ALL
                .into_iter()
                .filter(|f| hw.test_format(alsa_format(*f)).is_ok());
            Ok(Parameters::Known {
                rates_hz: RATES_HZ
                    .into_iter()
                    .filter(|rate| hw.test_rate(*rate).is_ok())
                    .collect(),
                channels: (hw.get_channels_min()?, hw.get_channels_max()?),
                formats: formats.map(SampleFormat::name).collect(),
            })
        };
        match read() {
            Ok(parameters) => parameters,
            Err(e) if matches!(errno(&e), libc::EBUSY | libc::EAGAIN) => Parameters::Busy,
            Err(e) => Parameters::Unknown(std::io::Error::from_raw_os_error(errno(&e)).to_string()),
        }
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known {
                rates_hz,
                channels: (min, max),
                formats,
            } => {
                let rates: Vec<String> = match rates_hz.as_slice() {
                    [low, .., high] if rates_hz.len() > 3 => vec![format!("{low} to {high}")],
                    few => few.iter().map(u32::to_string).collect(),
                };
                let channels = if min == max {
                    min.to_string()
                } else {
                    format!("{min} to {max}")
                };
                let plural = if *max == 1 { "" } else { "s" };
                write!(
                    f,
                    "{} Hz, {channels} channel{plural}, {}",
                    rates.join("/"),
                    formats.join("/")
                )
            }
            Self::Busy => f.write_str("in use by another program"),
            Self::Unknown(why) => write!(f, "cannot be opened: {why}"),
        }
    }
}

/// All capture PCMs, in the order of `--audio-device N`: by card, then by device number. Opens none
/// of them.
pub fn list_microphones() -> Vec<CapturePcm> {
    silence_alsa_lib();
    let mut all: Vec<CapturePcm> = card::Iter::new()
        .map_while(Result::ok)
        .take(256)
        .flat_map(|card| pcms_of(&card))
        .collect();
    mark_shared_serials(&mut all);
    all
}

/// Whether there are sound cards that this user may not open: alsa-lib does not list those.
pub(super) fn has_forbidden_cards() -> bool {
    let nodes = std::fs::read_dir("/dev/snd")
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let mut controls =
        nodes.filter(|node| node.file_name().to_string_lossy().starts_with("controlC"));
    controls.any(|node| {
        std::fs::File::open(node.path())
            .is_err_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied)
    })
}

/// Keeps alsa-lib from writing its errors to stderr; they are also returned.
pub(super) fn silence_alsa_lib() {
    // Also empties the previous buffer.
    if let Err(e) = alsa::Output::local_error_handler() {
        tracing::debug!("alsa-lib's messages cannot be kept off stderr: {e}");
    }
}

fn pcms_of(card: &alsa::Card) -> Vec<CapturePcm> {
    let Ok(number) = u32::try_from(card.get_index()) else {
        return Vec::new();
    };
    // A card that is unplugged meanwhile is left out.
    let Ok(ctl) = alsa::Ctl::from_card(card, true) else {
        return Vec::new();
    };
    let Ok(info) = ctl.card_info() else {
        return Vec::new();
    };
    // A device chooses its names.
    let text = |field: alsa::Result<&str>| printable(field.unwrap_or_default().trim());
    let card_name = text(info.get_name());
    let devices = alsa::ctl::DeviceIter::new(&ctl)
        .take(64)
        .filter_map(|device| u32::try_from(device).ok());
    devices
        .filter_map(|device| {
            let pcm = ctl.pcm_info(device, 0, Direction::Capture).ok()?;
            Some(CapturePcm {
                card: number,
                device,
                card_id: text(info.get_id()),
                card_name: card_name.clone(),
                card_long_name: text(info.get_longname()),
                pcm_name: text(pcm.get_name()),
                identity: identity(Path::new(SYSFS), number, device, &card_name),
            })
        })
        .collect()
}

/// Reads the identity of card `number` from sysfs. A card that is not a USB device has no serial
/// number, and its name as the model.
pub(super) fn identity(sysfs: &Path, number: u32, device: u32, card_name: &str) -> Identity {
    let device_dir =
        std::fs::canonicalize(sysfs.join(format!("card{number}/device"))).unwrap_or_default();
    let read = |path: &Path, name: &str| {
        let text = std::fs::read(path.join(name)).ok()?;
        Some(printable_bytes(text.trim_ascii())).filter(|t| !t.is_empty())
    };
    // A USB card's device is its interface; the parent directory has the serial number.
    let usb = device_dir
        .parent()
        .filter(|_| device_dir.join("bInterfaceNumber").exists());
    let (port, model, serial) = match usb {
        Some(usb) => {
            let id = |name| read(usb, name).unwrap_or_default();
            (
                usb,
                format!("{}:{}", id("idVendor"), id("idProduct")),
                read(usb, "serial"),
            )
        }
        None => (device_dir.as_path(), card_name.to_string(), None),
    };
    Identity {
        model,
        device,
        serial,
        serial_is_unique: true,
        port: port.display().to_string(),
    }
}

fn mark_shared_serials(all: &mut [CapturePcm]) {
    let identities: Vec<Identity> = all.iter().map(|p| p.identity.clone()).collect();
    for pcm in all {
        let mine = &mut pcm.identity;
        let same = identities.iter().filter(|other| {
            (&other.model, &other.serial, other.device) == (&mine.model, &mine.serial, mine.device)
        });
        mine.serial_is_unique = same.count() == 1;
    }
}

/// Opens a PCM for capture, without waiting until it is free.
///
/// # Errors
/// Those of snd_pcm_open.
pub(super) fn open(name: &str) -> alsa::Result<PCM> {
    let name = CString::new(name).map_err(|_| alsa::Error::new("snd_pcm_open", libc::ENOENT))?;
    PCM::open(&name, Direction::Capture, true)
}

/// The error number; the crate returns some with the sign reversed.
pub(super) fn errno(e: &alsa::Error) -> i32 {
    e.errno().saturating_abs()
}

pub(super) fn alsa_format(format: SampleFormat) -> Format {
    match format {
        SampleFormat::S16 => Format::S16LE,
        SampleFormat::S32 => Format::S32LE,
        SampleFormat::S24Packed => Format::S243LE,
        SampleFormat::S24 => Format::S24LE,
        SampleFormat::Float => Format::FloatLE,
    }
}

/// The meaning of ALSA's PCM `default` on this system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SystemDefault {
    /// alsa-lib's own definition: this card (number or id) and device.
    Card(String, u32),
    /// A sound server's or the user's definition, which only alsa-lib can resolve.
    Defined,
}

impl SystemDefault {
    /// Reads alsa-lib's configuration, with all files that it includes (/etc/asound.conf,
    /// ~/.asoundrc, conf.d).
    pub fn read() -> Self {
        let saved = alsa::config::update_ref().and_then(|config| {
            let mut text = alsa::Output::buffer_open()?;
            config.save(&mut text)?;
            Ok(text.to_string())
        });
        let environment = ["ALSA_PCM_CARD", "ALSA_CARD"]
            .iter()
            .find_map(|name| std::env::var(name).ok());
        Self::from_config(&saved.unwrap_or_default(), environment)
    }

    /// `text` is the output of `snd_config_save`: one top-level key per line.
    fn from_config(text: &str, environment: Option<String>) -> Self {
        let value = |key: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
            Some(line.trim().trim_matches('\'').to_string())
        };
        // alsa-lib's own alsa.conf refers `default` to the card's definition.
        if value("pcm.default").is_some_and(|definition| definition != "cards.pcm.default") {
            return Self::Defined;
        }
        let card = environment
            .or_else(|| value("defaults.pcm.card"))
            .unwrap_or_else(|| "0".into());
        let device = value("defaults.pcm.device")
            .and_then(|d| d.parse().ok())
            .unwrap_or(0);
        Self::Card(card, device)
    }
}

/// The selected microphone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The entry of the list with this number.
    Listed(usize),
    /// A name that alsa-lib must resolve: a sound server, or the user's own definition.
    Named(String),
}

/// Selects the microphone that the options name; `None` when it is not found. `known` is the
/// identity of the device that was open before: then no other one is selected.
pub(super) fn choose(
    list: &[CapturePcm],
    wanted: &Microphone,
    known: Option<&Identity>,
    default: impl FnOnce() -> SystemDefault,
) -> Option<Choice> {
    if let Some(known) = known {
        return find_again(list, known).map(Choice::Listed);
    }
    match wanted {
        Microphone::Index(n) => usize::try_from(*n)
            .ok()
            .filter(|n| *n < list.len())
            .map(Choice::Listed),
        Microphone::Named(name) => by_name(list, name),
        Microphone::Default => match default() {
            SystemDefault::Defined => Some(Choice::Named("default".into())),
            SystemDefault::Card(card, device) => {
                let is_default = |p: &CapturePcm| is_card(p, &card) && p.device == device;
                let first = if list.is_empty() { None } else { Some(0) };
                list.iter()
                    .position(is_default)
                    .or(first)
                    .map(Choice::Listed)
            }
        },
    }
}

fn find_again(list: &[CapturePcm], known: &Identity) -> Option<usize> {
    let same = |p: &&CapturePcm| {
        let i = &p.identity;
        (&i.model, i.device, &i.serial) == (&known.model, known.device, &known.serial)
    };
    let candidates: Vec<&CapturePcm> = list.iter().filter(same).collect();
    let found = match candidates.as_slice() {
        [only] if known.serial.is_some() && known.serial_is_unique => Some(*only),
        several => several
            .iter()
            .copied()
            .find(|p| p.identity.port == known.port),
    }?;
    list.iter().position(|p| std::ptr::eq(p, found))
}

fn by_name(list: &[CapturePcm], name: &str) -> Option<Choice> {
    let listed =
        |test: &dyn Fn(&CapturePcm) -> bool| list.iter().position(test).map(Choice::Listed);
    if let Some((card, device)) = hw_name(name) {
        return listed(&|p| is_card(p, &card) && p.device == device);
    }
    listed(&|p| p.identity.serial.as_deref() == Some(name))
        .or_else(|| {
            listed(&|p| p.card_id == name || p.card_name == name || p.card_long_name == name)
        })
        .or_else(|| listed(&|p| p.card_name.eq_ignore_ascii_case(name)))
        // A PCM of another kind: "pulse", "plughw:1", a definition in asoundrc.
        .or_else(|| (!name.is_empty()).then(|| Choice::Named(name.to_string())))
}

/// A card by number or id.
fn is_card(pcm: &CapturePcm, card: &str) -> bool {
    pcm.card_id == card || card.parse() == Ok(pcm.card)
}

/// Card and device of `hw:1`, `hw:1,0`, `hw:Mic,0`, `hw:CARD=Mic,DEV=0`.
fn hw_name(name: &str) -> Option<(String, u32)> {
    let mut parts = name.strip_prefix("hw:")?.split(',');
    let card = parts.next()?.trim();
    let card = card.strip_prefix("CARD=").unwrap_or(card);
    let device = match parts.next() {
        Some(device) => device
            .trim()
            .strip_prefix("DEV=")
            .unwrap_or(device.trim())
            .parse()
            .ok()?,
        None => 0,
    };
    Some((card.to_string(), device))
}

#[cfg(test)]
pub mod tests;
