//! Controls without a device.

use super::*;

fn control(id: u32, kind: Kind, title: &str, min: i64, max: i64, menu: &[(i64, &str)]) -> Control {
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

/// The controls of a common webcam as uvcvideo reports them.
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

fn planned(name: &str, value: &str) -> String {
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
fn plan_names_and_values_give_steps() {
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
        assert_eq!(planned(name, value), expected, "{name}={value}");
    }
}

#[test]
fn plan_invalid_gives_what_is_valid() {
    for (name, value, expected) in [
        (
            "brightness",
            "65",
            "control brightness: \"65\" is out of range (valid: -64 to 64)",
        ),
        (
            "brightness",
            "much",
            "control brightness: \"much\" is not a number (valid: -64 to 64)",
        ),
        (
            "white_balance_temperature",
            "1",
            "control white_balance_temperature: \"1\" is out of range (valid: 2000 to 6500 in steps of 10)",
        ),
        (
            "auto_exposure",
            "0",
            "control auto_exposure: \"0\" is not one of its values (valid: manual_mode (1), aperture_priority_mode (3))",
        ),
        (
            "focus_auto",
            "2",
            "control focus_automatic_continuous: \"2\" is neither on nor off (valid: on, off)",
        ),
        (
            "bitmask",
            "1",
            "control bitmask: \"1\" is out of range (valid: bits of 0x80402010)",
        ),
        (
            "string",
            "abc",
            "control string is not a number and cannot be set",
        ),
        ("privacy", "on", "control privacy is read-only"),
        (
            "zoom",
            "2",
            "no control zoom; it has: brightness, white_balance_automatic, power_line_frequency, \
             white_balance_temperature, auto_exposure, exposure_time_absolute, focus_absolute, \
             focus_automatic_continuous, bitmask",
        ),
    ] {
        assert_eq!(planned(name, value), expected, "{name}={value}");
    }
    assert_eq!(
        plan(&[], "focus", "1").unwrap_err(),
        "no control focus; it has none that can be set"
    );
    assert_eq!(
        plan(&[], "focus", "auto").unwrap_err(),
        "this camera has no automatic focus"
    );
}

#[test]
fn plan_camera_without_automatic_sets_the_number_alone() {
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
