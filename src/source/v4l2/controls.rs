//! A camera's controls (exposure, focus, mains frequency …): their names, and what `NAME=VALUE` means. Sets nothing itself
//! but through [`Device`]; what to set is worked out by [`plan`], which is pure.

use super::abi::*;
use super::device::{Device, RawControl};

/// What a control's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Integer,
    /// 64 bits.
    Wide,
    Boolean,
    /// One of [`Control::menu`].
    Menu,
    Bits,
    /// Does something when set, whatever the value.
    Button,
    /// Text and arrays, which cannot be set here.
    Other,
}

/// One control, with its value where it can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    pub id: u32,
    /// As `--camera-control` and `v4l2-ctl` write it: "exposure_time_absolute".
    pub name: String,
    pub kind: Kind,
    pub min: i64,
    pub max: i64,
    pub step: u64,
    pub default: i64,
    pub value: Option<i64>,
    pub read_only: bool,
    /// Without effect for now, because another control (an automatic) rules it.
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

    /// What the control takes, for a person: "0 to 255", "auto_mode (0), manual_mode (1)".
    pub fn takes(&self) -> String {
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
            Kind::Other => "cannot be set here".into(),
        }
    }

    /// The value for a person: a menu's text, else the number.
    pub fn shows(&self, value: i64) -> String {
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
        let wrong = |what: &str| {
            Err(format!(
                "control {}: {text:?} {what}; it takes {}",
                self.name,
                self.takes()
            ))
        };
        if self.read_only {
            return Err(format!("control {} can only be read", self.name));
        }
        let number = parse_number(text);
        let word = plain_name(text);
        match self.kind {
            Kind::Other => Err(format!(
                "control {} is no number and cannot be set here",
                self.name
            )),
            Kind::Button => Ok(number.unwrap_or(1)),
            Kind::Boolean => match word.as_str() {
                "1" | "on" | "true" | "yes" => Ok(1),
                "0" | "off" | "false" | "no" => Ok(0),
                _ => wrong("is not understood"),
            },
            Kind::Menu => match self.menu_item(&word) {
                Some(item) => Ok(item),
                None => wrong("is not one of its values"),
            },
            Kind::Bits => match number {
                Some(n)
                    if n >= 0
                        && n <= i64::from(u32::MAX)
                        && n & !i64::from(self.max as u32) == 0 =>
                {
                    Ok(n)
                }
                Some(_) => wrong("is out of range"),
                None => wrong("is not a number"),
            },
            Kind::Integer | Kind::Wide => match number {
                Some(n) if (self.min..=self.max).contains(&n) => Ok(n),
                Some(_) => wrong("is out of range"),
                None => wrong("is not a number"),
            },
        }
    }

    /// By text, else by the text's first word ("50" of "50 Hz"), else by number: "50" of the mains frequency's menu is
    /// no index.
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

/// "Exposure Time, Absolute" becomes "exposure_time_absolute", as v4l2-ctl does it.
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

/// All controls of a device, with values.
pub fn read(device: &Device) -> std::io::Result<Vec<Control>> {
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

/// Sets one control by name. The error is text: what was wrong and what there is.
pub fn set(device: &Device, controls: &[Control], name: &str, value: &str) -> Result<(), String> {
    for (control, number) in plan(controls, name, value)? {
        device
            .set_control(control.id, number, control.kind == Kind::Wide)
            .map_err(|e| {
                format!(
                    "control {}: the driver refuses {}: {e}",
                    control.name,
                    control.shows(number)
                )
            })?;
    }
    Ok(())
}

/// Names that hold for every camera, whatever its driver and kernel call the control (6.x renamed several).
const OTHER_NAMES: [(&str, u32); 14] = [
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

/// Controls that an automatic rules: the ruled one, the automatic, its values (tried in this order) for "auto" and for a
/// number. Exposure's "aperture priority" is what cameras with a fixed lens call automatic.
const RULED: [(u32, u32, &[i64], &[i64]); 3] = [
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
/// Names are the driver's, written as v4l2-ctl does, or one of the common ones: `exposure`, `focus` and `white_balance` take
/// `auto` or a number, which turns the automatic off first; `zoom`, `pan`, `tilt`. Menus take their text, its first word
/// (`power_line_frequency=50`) or the item's number.
fn plan<'c>(
    controls: &'c [Control],
    name: &str,
    value: &str,
) -> Result<Vec<(&'c Control, i64)>, String> {
    let wanted = plain_name(name);
    let by_id = |id: u32| controls.iter().find(|c| c.id == id);
    let other = OTHER_NAMES
        .iter()
        .find(|(n, _)| *n == wanted)
        .map(|(_, id)| *id);
    let ruled = RULED.iter().find(|(id, ..)| Some(*id) == other);
    let named = controls.iter().find(|c| c.name == wanted);
    if let (None, Some((_, auto, on, _)), "auto") = (named, ruled, value.trim()) {
        let auto =
            by_id(*auto).ok_or_else(|| format!("{wanted} has no automatic on this camera"))?;
        let on = on.iter().copied().find(|v| auto.has(*v));
        let on = on.ok_or_else(|| format!("control {} takes {}", auto.name, auto.takes()))?;
        return Ok(vec![(auto, on)]);
    }
    let control = named
        .or_else(|| by_id(other?))
        .ok_or_else(|| unknown(&wanted, controls))?;
    let number = control.parse(value)?;
    let mut steps = Vec::new();
    // The driver's own name means that control alone.
    if let (None, Some((_, auto, _, off))) = (named, ruled)
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
        format!("there is no control {name}; it has no controls")
    } else {
        format!(
            "there is no control {name}; there are: {}",
            names.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(
        id: u32,
        kind: Kind,
        title: &str,
        min: i64,
        max: i64,
        menu: &[(i64, &str)],
    ) -> Control {
        Control {
            id,
            name: plain_name(title),
            kind,
            min,
            max,
            step: 1,
            default: min,
            value: None,
            read_only: false,
            inactive: false,
            menu: menu.iter().map(|(n, t)| (*n, t.to_string())).collect(),
        }
    }

    /// As uvcvideo shows a common webcam.
    fn webcam() -> Vec<Control> {
        let mut temperature = control(
            V4L2_CID_WHITE_BALANCE_TEMPERATURE,
            Kind::Integer,
            "White Balance Temperature",
            2000,
            6500,
            &[],
        );
        temperature.step = 10;
        let mut privacy = control(0x009a_0910, Kind::Boolean, "Privacy", 0, 1, &[]);
        privacy.read_only = true;
        vec![
            control(0x0098_0900, Kind::Integer, "Brightness", -64, 64, &[]),
            control(
                V4L2_CID_AUTO_WHITE_BALANCE,
                Kind::Boolean,
                "White Balance, Automatic",
                0,
                1,
                &[],
            ),
            control(
                V4L2_CID_POWER_LINE_FREQUENCY,
                Kind::Menu,
                "Power Line Frequency",
                0,
                2,
                &[(0, "Disabled"), (1, "50 Hz"), (2, "60 Hz")],
            ),
            temperature,
            control(
                V4L2_CID_EXPOSURE_AUTO,
                Kind::Menu,
                "Auto Exposure",
                0,
                3,
                &[(1, "Manual Mode"), (3, "Aperture Priority Mode")],
            ),
            control(
                V4L2_CID_EXPOSURE_ABSOLUTE,
                Kind::Integer,
                "Exposure Time, Absolute",
                3,
                2047,
                &[],
            ),
            control(
                V4L2_CID_FOCUS_ABSOLUTE,
                Kind::Integer,
                "Focus, Absolute",
                0,
                250,
                &[],
            ),
            control(
                V4L2_CID_FOCUS_AUTO,
                Kind::Boolean,
                "Focus, Automatic Continuous",
                0,
                1,
                &[],
            ),
            control(0x0098_f906, Kind::Bits, "Bitmask", 0, 0x8040_2010, &[]),
            control(0x0098_f905, Kind::Other, "String", 2, 4, &[]),
            privacy,
        ]
    }

    fn told(name: &str, value: &str) -> String {
        match plan(&webcam(), name, value) {
            Ok(steps) => {
                let steps: Vec<_> = steps
                    .iter()
                    .map(|(c, v)| format!("{}={v}", c.name))
                    .collect();
                steps.join(" ")
            }
            Err(e) => e,
        }
    }

    #[test]
    fn names_and_values_mean_what_a_person_means() {
        for (name, value, expected) in [
            ("brightness", "-64", "brightness=-64"),
            ("Brightness", " 0x10 ", "brightness=16"),
            ("power_line_frequency", "50", "power_line_frequency=1"),
            ("power_line_frequency", "60 Hz", "power_line_frequency=2"),
            ("power_line_frequency", "off", "power_line_frequency=0"),
            ("power_line_frequency", "2", "power_line_frequency=2"),
            (
                "exposure",
                "156",
                "auto_exposure=1 exposure_time_absolute=156",
            ),
            ("exposure", "auto", "auto_exposure=3"),
            (
                "exposure_absolute",
                "156",
                "auto_exposure=1 exposure_time_absolute=156",
            ),
            (
                "exposure_time_absolute",
                "156",
                "exposure_time_absolute=156",
            ),
            ("exposure_auto", "manual_mode", "auto_exposure=1"),
            ("auto_exposure", "aperture", "auto_exposure=3"),
            (
                "focus",
                "30",
                "focus_automatic_continuous=0 focus_absolute=30",
            ),
            ("focus", "auto", "focus_automatic_continuous=1"),
            ("focus_auto", "off", "focus_automatic_continuous=0"),
            (
                "white-balance",
                "4600",
                "white_balance_automatic=0 white_balance_temperature=4600",
            ),
            ("bitmask", "0x80000010", "bitmask=2147483664"),
        ] {
            assert_eq!(told(name, value), expected, "{name}={value}");
        }
    }

    #[test]
    fn what_cannot_be_set_is_said_with_what_can() {
        for (name, value, expected) in [
            (
                "brightness",
                "65",
                "control brightness: \"65\" is out of range; it takes -64 to 64",
            ),
            (
                "brightness",
                "much",
                "control brightness: \"much\" is not a number; it takes -64 to 64",
            ),
            (
                "white_balance_temperature",
                "1",
                "control white_balance_temperature: \"1\" is out of range; it takes 2000 to 6500 in steps of 10",
            ),
            (
                "auto_exposure",
                "0",
                "control auto_exposure: \"0\" is not one of its values; it takes manual_mode (1), aperture_priority_mode (3)",
            ),
            (
                "focus_auto",
                "2",
                "control focus_automatic_continuous: \"2\" is not understood; it takes on, off",
            ),
            (
                "bitmask",
                "1",
                "control bitmask: \"1\" is out of range; it takes bits of 0x80402010",
            ),
            (
                "string",
                "abc",
                "control string is no number and cannot be set here",
            ),
            ("privacy", "on", "control privacy can only be read"),
            (
                "zoom",
                "2",
                "there is no control zoom; there are: brightness, white_balance_automatic, power_line_frequency, \
                 white_balance_temperature, auto_exposure, exposure_time_absolute, focus_absolute, \
                 focus_automatic_continuous, bitmask",
            ),
        ] {
            assert_eq!(told(name, value), expected, "{name}={value}");
        }
        assert_eq!(
            plan(&[], "focus", "1").unwrap_err(),
            "there is no control focus; it has no controls"
        );
        assert_eq!(
            plan(&[], "focus", "auto").unwrap_err(),
            "focus has no automatic on this camera"
        );
    }

    #[test]
    fn a_camera_without_automatics_still_takes_numbers() {
        let fixed = [control(
            V4L2_CID_FOCUS_ABSOLUTE,
            Kind::Integer,
            "Focus, Absolute",
            0,
            250,
            &[],
        )];
        let steps = plan(&fixed, "focus", "7").unwrap();
        assert_eq!(
            steps.iter().map(|(c, v)| (c.id, *v)).collect::<Vec<_>>(),
            [(V4L2_CID_FOCUS_ABSOLUTE, 7)]
        );
    }
}
