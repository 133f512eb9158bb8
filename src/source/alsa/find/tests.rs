//! Selection from lists, and the identity from a sysfs made for the test.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;

fn usb(card: u32, id: &str, serial: Option<&str>, port: &str) -> CapturePcm {
    CapturePcm {
        card,
        device: 0,
        card_id: id.into(),
        card_name: "Fake Mic".into(),
        card_long_name: format!("Acme Fake Mic at usb-{port}, full speed"),
        pcm_name: "USB Audio".into(),
        identity: Identity {
            model: "0d8c:0014".into(),
            device: 0,
            serial: serial.map(String::from),
            serial_is_unique: true,
            port: port.into(),
        },
    }
}

fn no_default() -> SystemDefault {
    panic!("the system's default was not requested")
}

fn pick(list: &[CapturePcm], wanted: Microphone) -> Option<Choice> {
    choose(list, &wanted, None, no_default)
}

fn named(list: &[CapturePcm], name: &str) -> Option<Choice> {
    pick(list, Microphone::Named(name.into()))
}

fn again(list: &[CapturePcm], known: &Identity) -> Option<Choice> {
    choose(list, &Microphone::Index(0), Some(known), no_default)
}

#[test]
fn choose_index_is_the_place_in_the_list() {
    let list = [usb(0, "A", None, "1"), usb(3, "B", None, "2")];
    assert_eq!(pick(&list, Microphone::Index(1)), Some(Choice::Listed(1)));
    assert_eq!(pick(&list, Microphone::Index(2)), None);
}

#[test]
fn choose_name_is_a_pcm_a_serial_number_a_card_id_or_a_card_name() {
    let mut list = [
        usb(0, "PCH", None, "1"),
        usb(1, "Mic", Some("S1"), "2"),
        usb(4, "Mic_1", Some("S2"), "3"),
    ];
    list[0].card_name = "HDA Intel PCH".into();
    let second = Some(Choice::Listed(1));
    for name in [
        "hw:1",
        "hw:1,0",
        "hw:Mic",
        "hw:Mic,0",
        "hw:CARD=Mic",
        "hw:CARD=Mic,DEV=0",
        "S1",
        "Mic",
        "Fake Mic",
        "fake mic",
    ] {
        assert_eq!(named(&list, name), second, "{name}");
    }
    assert_eq!(named(&list, "S2"), Some(Choice::Listed(2)));
    assert_eq!(
        named(&list, "Acme Fake Mic at usb-3, full speed"),
        Some(Choice::Listed(2))
    );
    for name in ["hw:2", "hw:1,1", "hw:CARD=Other", "hw:1,x", ""] {
        assert!(
            !matches!(named(&list, name), Some(Choice::Listed(_))),
            "{name}"
        );
    }
    assert_eq!(
        named(&list, "pulse"),
        Some(Choice::Named("pulse".into())),
        "a name that alsa-lib may resolve"
    );
}

#[test]
fn choose_default_is_the_systems_else_the_first() {
    let list = [usb(0, "A", None, "1"), usb(2, "B", None, "2")];
    let default = |d: SystemDefault| choose(&list, &Microphone::Default, None, || d);
    assert_eq!(
        default(SystemDefault::Card("2".into(), 0)),
        Some(Choice::Listed(1))
    );
    assert_eq!(
        default(SystemDefault::Card("B".into(), 0)),
        Some(Choice::Listed(1))
    );
    assert_eq!(
        default(SystemDefault::Card("7".into(), 0)),
        Some(Choice::Listed(0))
    );
    assert_eq!(
        default(SystemDefault::Defined),
        Some(Choice::Named("default".into()))
    );
    assert_eq!(
        choose(&[], &Microphone::Default, None, || SystemDefault::Card(
            "0".into(),
            0
        )),
        None
    );
}

#[test]
fn choose_known_serial_number_is_found_under_another_card_and_port() {
    let known = usb(1, "Mic", Some("S1"), "2").identity;
    let list = [
        usb(1, "Mic", Some("S9"), "2"),
        usb(5, "Mic_1", Some("S1"), "7"),
    ];
    assert_eq!(again(&list, &known), Some(Choice::Listed(1)));
}

#[test]
fn choose_known_is_never_another_device() {
    let known = usb(1, "Mic", Some("S1"), "2").identity;
    assert_eq!(
        again(&[usb(1, "Mic", Some("S9"), "2")], &known),
        None,
        "another serial number in the same port"
    );
    assert_eq!(
        again(&[usb(1, "Mic", None, "2")], &known),
        None,
        "no serial number in the same port"
    );
    let mut other = usb(1, "Mic", Some("S1"), "2");
    other.identity.model = "046d:0825".into();
    assert_eq!(
        again(&[other], &known),
        None,
        "another model with the same serial number"
    );
    let mut second_pcm = usb(1, "Mic", Some("S1"), "2");
    second_pcm.identity.device = 1;
    assert_eq!(
        again(&[second_pcm], &known),
        None,
        "another PCM of the same card"
    );
    let plain = usb(1, "Mic", None, "2").identity;
    assert_eq!(
        again(&[usb(1, "Mic", None, "3")], &plain),
        None,
        "the same model in another port"
    );
    assert_eq!(
        again(&[usb(1, "Mic", Some("S1"), "2")], &plain),
        None,
        "one with a serial number for one without"
    );
}

#[test]
fn choose_known_without_a_serial_number_is_found_by_port() {
    let known = usb(1, "Mic", None, "2").identity;
    let list = [usb(0, "Mic", None, "1"), usb(7, "Mic_1", None, "2")];
    assert_eq!(again(&list, &known), Some(Choice::Listed(1)));
}

#[test]
fn choose_known_with_a_shared_serial_number_is_found_by_port() {
    let mut both = [
        usb(0, "Mic", Some("0001"), "1"),
        usb(1, "Mic_1", Some("0001"), "2"),
    ];
    mark_shared_serials(&mut both);
    let known = both[0].identity.clone();
    assert!(!known.serial_is_unique);
    assert_eq!(again(&both, &known), Some(Choice::Listed(0)));
    // The first was unplugged: the second, which now looks unique, is not the one.
    let mut second = [usb(1, "Mic_1", Some("0001"), "2")];
    mark_shared_serials(&mut second);
    assert_eq!(again(&second, &known), None);
}

#[test]
fn choose_known_is_not_replaced_by_an_identical_device() {
    let known = usb(1, "Mic", Some("0001"), "2").identity;
    let list = [
        usb(0, "Mic", Some("0001"), "1"),
        usb(1, "Mic_1", Some("0001"), "2"),
    ];
    assert_eq!(again(&list, &known), Some(Choice::Listed(1)));
}

#[test]
fn identity_from_sysfs_has_serial_number_model_and_port() {
    let root = tempfile::tempdir().unwrap();
    let (class, device) = (
        root.path().join("class/sound"),
        root.path().join("devices/usb1/1-2"),
    );
    let interface = device.join("1-2:1.0");
    fs::create_dir_all(class.join("card3")).unwrap();
    fs::create_dir_all(&interface).unwrap();
    for (name, text) in [
        ("idVendor", "0d8c\n"),
        ("idProduct", "0014\n"),
        ("serial", "MIC7\n"),
    ] {
        fs::write(device.join(name), text).unwrap();
    }
    fs::write(interface.join("bInterfaceNumber"), "00\n").unwrap();
    symlink(&interface, class.join("card3/device")).unwrap();
    let found = identity(&class, 3, 0, "Fake Mic");
    assert_eq!(
        (found.model.as_str(), found.serial.as_deref()),
        ("0d8c:0014", Some("MIC7"))
    );
    assert!(found.port.ends_with("usb1/1-2"), "{}", found.port);

    fs::write(device.join("serial"), "A\u{1b}[2J\r\nB\n").unwrap();
    let serial = identity(&class, 3, 0, "Fake Mic").serial;
    assert_eq!(serial.as_deref(), Some("A\\u{1b}[2J\\r\\nB"));

    fs::write(device.join("serial"), "\n").unwrap();
    assert_eq!(
        identity(&class, 3, 0, "Fake Mic").serial,
        None,
        "an empty serial number is none"
    );

    let pci = root.path().join("devices/pci/00:1f.3");
    fs::create_dir_all(&pci).unwrap();
    fs::create_dir_all(class.join("card0")).unwrap();
    symlink(&pci, class.join("card0/device")).unwrap();
    let found = identity(&class, 0, 2, "HDA Intel");
    assert_eq!(
        (found.model.as_str(), found.serial, found.device),
        ("HDA Intel", None, 2)
    );
    assert!(found.port.ends_with("pci/00:1f.3"));
    assert_eq!(identity(&class, 9, 0, "Gone").port, "");
}

#[test]
fn system_default_of_alsa_lib_differs_from_a_defined_one() {
    let stock = "defaults.pcm.card 0\ndefaults.pcm.device 0\npcm.hw {\n\ttype hw\n}\npcm.default 'cards.pcm.default'\n";
    assert_eq!(
        SystemDefault::from_config(stock, None),
        SystemDefault::Card("0".into(), 0)
    );
    assert_eq!(
        SystemDefault::from_config(stock, Some("Mic".into())),
        SystemDefault::Card("Mic".into(), 0)
    );
    let moved = "defaults.pcm.card Mic\ndefaults.pcm.device 1\npcm.default 'cards.pcm.default'\n";
    assert_eq!(
        SystemDefault::from_config(moved, None),
        SystemDefault::Card("Mic".into(), 1)
    );
    let server = "defaults.pcm.card 0\npcm.hw {\n}\npcm.default {\n\ttype pipewire\n}\n";
    assert_eq!(
        SystemDefault::from_config(server, None),
        SystemDefault::Defined
    );
    assert_eq!(
        SystemDefault::from_config("pcm.default mymic\n", None),
        SystemDefault::Defined
    );
    assert_eq!(
        SystemDefault::from_config("", None),
        SystemDefault::Card("0".into(), 0)
    );
}

#[test]
fn capture_pcm_line_has_name_parameters_and_serial_number() {
    let mic = usb(1, "Mic", Some("S1"), "2");
    let narrow = Parameters::Known {
        rates_hz: vec![48_000],
        channels: (1, 1),
        formats: vec!["S16_LE"],
    };
    assert_eq!(
        mic.line(&narrow),
        "hw:CARD=Mic,DEV=0  Fake Mic, USB Audio: 48000 Hz, 1 channel, S16_LE, serial S1"
    );
    let wide = Parameters::Known {
        rates_hz: RATES_HZ.to_vec(),
        channels: (1, 2),
        formats: vec!["S16_LE", "S32_LE"],
    };
    assert!(
        mic.line(&wide)
            .contains(": 8000 to 192000 Hz, 1 to 2 channels, S16_LE/S32_LE, serial"),
        "{}",
        mic.line(&wide)
    );
    assert!(
        mic.line(&Parameters::Busy)
            .contains(": in use by another program, serial S1")
    );
}
