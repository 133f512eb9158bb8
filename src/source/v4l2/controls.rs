//! A camera's controls (exposure, focus, power line frequency …): their names, and what
//! `--camera-control NAME=VALUE` sets. [`plan`], which is pure, decides; [`set`] carries it out.

use super::abi::*;
use super::device::{Device, RawControl};

/// What a control's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Integer,
    /// 64 bits.
    Wide,
    Boolean,
    /// One of [`Control::menu`].
    Menu,
    Bits,
    /// Has an effect when set, whatever the value.
    Button,
    /// Texts and arrays, which stampcast does not set.
    Other,
}

/// One control, with its value where it can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Control {
    pub id: u32,
    /// As in `--camera-control` and `v4l2-ctl`: "exposure_time_absolute".
    pub name: String,
    pub kind: Kind,
    pub min: i64,
    pub max: i64,
    pub step: u64,
    pub default: i64,
    pub value: Option<i64>,
    pub read_only: bool,
    /// Without effect at present, because another control sets it automatically.
    pub inactive: bool,
    pub menu: Vec<(i64, String)>,
}

impl Control {
    fn new(raw: RawControl) -> Option<Self> {
        if raw.flags & V4L2_CTRL_FLAG_DISABLED != 0 {
            return None;
        }
        let kind = match raw.kind {
            V4L2_CTRL_TYPE_CTRL_CLASS => return None,
            V4L2_CTRL_TYPE_INTEGER => Kind::Integer,
            V4L2_CTRL_TYPE_INTEGER64 => Kind::Wide,
            V4L2_CTRL_TYPE_BOOLEAN => Kind::Boolean,
            V4L2_CTRL_TYPE_MENU | V4L2_CTRL_TYPE_INTEGER_MENU => Kind::Menu,
            V4L2_CTRL_TYPE_BITMASK => Kind::Bits,
            V4L2_CTRL_TYPE_BUTTON => Kind::Button,
            _ => Kind::Other,
        };
        Some(Self {
            id: raw.id,
            name: plain_name(&raw.title),
            kind,
            min: raw.min,
            max: raw.max,
            step: raw.step,
            default: raw.default,
            value: None,
            read_only: raw.flags & V4L2_CTRL_FLAG_READ_ONLY != 0,
            inactive: raw.flags & V4L2_CTRL_FLAG_INACTIVE != 0,
            menu: raw.menu,
        })
    }

    /// The values that can be set, as text: "0 to 255", "auto_mode (0), manual_mode (1)".
    pub fn range(&self) -> String {
        match self.kind {
            Kind::Integer | Kind::Wide if self.step > 1 => {
                format!("{} to {} in steps of {}", self.min, self.max, self.step)
            }
            Kind::Integer | Kind::Wide => format!("{} to {}", self.min, self.max),
            Kind::Boolean => "on, off".into(),
            Kind::Menu => {
                let items: Vec<_> = self
                    .menu
                    .iter()
                    .map(|(n, text)| format!("{} ({n})", plain_name(text)))
                    .collect();
                items.join(", ")
            }
            Kind::Bits => format!("bits of {:#x}", self.max as u32),
            Kind::Button => "any value".into(),
            Kind::Other => "cannot be set".into(),
        }
    }

    /// A value as text: a menu item's name, else the number.
    pub fn format(&self, value: i64) -> String {
        match self.kind {
            Kind::Boolean => if value != 0 { "on" } else { "off" }.into(),
            Kind::Menu => match self.menu.iter().find(|(n, _)| *n == value) {
                Some((_, text)) => plain_name(text),
                None => value.to_string(),
            },
            Kind::Bits => format!("{:#x}", value as u32),
            _ => value.to_string(),
        }
    }

    fn parse(&self, text: &str) -> Result<i64, String> {
        let invalid = |what: &str| {
            Err(format!(
                "control {}: {text:?} {what} (valid: {})",
                self.name,
                self.range()
            ))
        };
        if self.read_only {
            return Err(format!("control {} is read-only", self.name));
        }
        let number = parse_number(text);
        let word = plain_name(text);
        match self.kind {
            Kind::Other => Err(format!(
                "control {} is not a number and cannot be set",
                self.name
            )),
            Kind::Button => Ok(number.unwrap_or(1)),
            Kind::Boolean => match word.as_str() {
                "1" | "on" | "true" | "yes" => Ok(1),
                "0" | "off" | "false" | "no" => Ok(0),
                _ => invalid("is neither on nor off"),
            },
            Kind::Menu => match self.menu_item(&word) {
                Some(item) => Ok(item),
                None => invalid("is not one of its values"),
            },
            Kind::Bits => match number {
                Some(n)
                    if n >= 0
                        && n <= i64::from(u32::MAX)
                        && n & !i64::from(self.max as u32) == 0 =>
                {
                    Ok(n)
                }
                Some(_) => invalid("is out of range"),
                None => invalid("is not a number"),
            },
            Kind::Integer | Kind::Wide => match number {
                Some(n) if (self.min..=self.max).contains(&n) => Ok(n),
                Some(_) => invalid("is out of range"),
                None => invalid("is not a number"),
            },
        }
    }

    /// By text, else by the text's first word ("50" of "50 Hz"), else by number: "50" for
    /// power_line_frequency is not an index.
    fn menu_item(&self, word: &str) -> Option<i64> {
        let word = if word == "off" { "disabled" } else { word };
        let text = |whole: bool| {
            self.menu.iter().find(|(_, text)| {
                let text = plain_name(text);
                if whole {
                    text == word
                } else {
                    text.split('_').next() == Some(word)
                }
            })
        };
        let number = || {
            self.menu
                .iter()
                .find(|(n, _)| Some(*n) == parse_number(word))
        };
        text(true)
            .or_else(|| text(false))
            .or_else(number)
            .map(|(n, _)| *n)
    }
}

/// "Exposure Time, Absolute" becomes "exposure_time_absolute", as in v4l2-ctl.
fn plain_name(title: &str) -> String {
    let mut name = String::new();
    for c in title.chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c.to_ascii_lowercase());
        } else if !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
    }
    name.truncate(name.trim_end_matches('_').len());
    name
}

fn parse_number(text: &str) -> Option<i64> {
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// All controls of a device, with their values.
///
/// # Errors
/// The driver cannot list them.
pub(crate) fn read(device: &Device) -> std::io::Result<Vec<Control>> {
    let mut controls: Vec<_> = device
        .controls()?
        .into_iter()
        .filter_map(Control::new)
        .collect();
    for control in &mut controls {
        if !matches!(control.kind, Kind::Button | Kind::Other) {
            control.value = device.control(control.id, control.kind == Kind::Wide).ok();
        }
    }
    Ok(controls)
}

/// Sets one control by name. The error is a text: what is wrong, and what can be set.
///
/// # Errors
/// No control has this name, the value is not valid for it, or the driver refuses it.
pub(crate) fn set(
    device: &Device,
    controls: &[Control],
    name: &str,
    value: &str,
) -> Result<(), String> {
    for (control, number) in plan(controls, name, value)? {
        device
            .set_control(control.id, number, control.kind == Kind::Wide)
            .map_err(|e| {
                format!(
                    "control {}: the driver refused {}: {e}",
                    control.name,
                    control.format(number)
                )
            })?;
    }
    Ok(())
}

/// Names for a control whatever driver and kernel call it (Linux 6.x renamed several).
const ALIASES: [(&str, u32); 14] = [
    ("exposure", V4L2_CID_EXPOSURE_ABSOLUTE),
    ("exposure_absolute", V4L2_CID_EXPOSURE_ABSOLUTE),
    ("exposure_time_absolute", V4L2_CID_EXPOSURE_ABSOLUTE),
    ("exposure_auto", V4L2_CID_EXPOSURE_AUTO),
    ("auto_exposure", V4L2_CID_EXPOSURE_AUTO),
    ("focus", V4L2_CID_FOCUS_ABSOLUTE),
    ("focus_auto", V4L2_CID_FOCUS_AUTO),
    ("focus_automatic_continuous", V4L2_CID_FOCUS_AUTO),
    ("white_balance", V4L2_CID_WHITE_BALANCE_TEMPERATURE),
    (
        "white_balance_temperature_auto",
        V4L2_CID_AUTO_WHITE_BALANCE,
    ),
    ("white_balance_automatic", V4L2_CID_AUTO_WHITE_BALANCE),
    ("zoom", V4L2_CID_ZOOM_ABSOLUTE),
    ("pan", V4L2_CID_PAN_ABSOLUTE),
    ("tilt", V4L2_CID_TILT_ABSOLUTE),
];

/// Controls that another one can set automatically: the control, the other, its values (tried in
/// this order) for automatic and for manual. Cameras with a fixed lens call automatic exposure
/// "aperture priority".
const AUTOMATED: [(u32, u32, &[i64], &[i64]); 3] = [
    (
        V4L2_CID_EXPOSURE_ABSOLUTE,
        V4L2_CID_EXPOSURE_AUTO,
        &[3, 0],
        &[1, 2],
    ),
    (V4L2_CID_FOCUS_ABSOLUTE, V4L2_CID_FOCUS_AUTO, &[1], &[0]),
    (
        V4L2_CID_WHITE_BALANCE_TEMPERATURE,
        V4L2_CID_AUTO_WHITE_BALANCE,
        &[1],
        &[0],
    ),
];

/// What to set, in order, for `name=value`.
///
/// Names are the driver's, as in v4l2-ctl, or aliases: `exposure`, `focus` and `white_balance` take
/// `auto`, or a number, which turns automatic off first; `zoom`, `pan`, `tilt`. Menus take an
/// item's text, its first word (`power_line_frequency=50`) or its number.
fn plan<'c>(
    controls: &'c [Control],
    name: &str,
    value: &str,
) -> Result<Vec<(&'c Control, i64)>, String> {
    let wanted = plain_name(name);
    let by_id = |id: u32| controls.iter().find(|c| c.id == id);
    let alias = ALIASES
        .iter()
        .find(|(n, _)| *n == wanted)
        .map(|(_, id)| *id);
    let automated = AUTOMATED.iter().find(|(id, ..)| Some(*id) == alias);
    let named = controls.iter().find(|c| c.name == wanted);
    if let (None, Some((_, auto, on, _)), "auto") = (named, automated, value.trim()) {
        let auto = by_id(*auto).ok_or_else(|| format!("this camera has no automatic {wanted}"))?;
        let on = on.iter().copied().find(|v| auto.has(*v));
        let on = on.ok_or_else(|| {
            format!(
                "control {} has no value for automatic (valid: {})",
                auto.name,
                auto.range()
            )
        })?;
        return Ok(vec![(auto, on)]);
    }
    let control = named
        .or_else(|| by_id(alias?))
        .ok_or_else(|| unknown(&wanted, controls))?;
    let number = control.parse(value)?;
    let mut steps = Vec::new();
    // The driver's own name sets that control alone.
    if let (None, Some((_, auto, _, off))) = (named, automated)
        && let Some(auto) = by_id(*auto)
        && let Some(off) = off.iter().copied().find(|v| auto.has(*v))
    {
        steps.push((auto, off));
    }
    steps.push((control, number));
    Ok(steps)
}

impl Control {
    fn has(&self, value: i64) -> bool {
        match self.kind {
            Kind::Menu => self.menu.iter().any(|(n, _)| *n == value),
            _ => (self.min..=self.max).contains(&value),
        }
    }
}

fn unknown(name: &str, controls: &[Control]) -> String {
    let names: Vec<_> = controls
        .iter()
        .filter(|c| !c.read_only && c.kind != Kind::Other)
        .map(|c| c.name.as_str())
        .collect();
    if names.is_empty() {
        format!("no control {name}; it has none that can be set")
    } else {
        format!("no control {name}; it has: {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests;
