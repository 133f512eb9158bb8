//! Pairing with bytes in chosen orders.

use super::*;
use proptest::prelude::*;

const JPEGS: &[u8] = include_bytes!("../../../../tests/data/rpicam/out.mjpeg");
const RECORDS: &[u8] = include_bytes!("../../../../tests/data/rpicam/meta.txt");
const LENGTHS: [usize; 5] = [18_656, 15_491, 18_698, 15_517, 18_712];
const INTERVAL: Duration = Duration::from_millis(100);

fn jpeg(n: usize) -> &'static [u8] {
    let start = LENGTHS[..n].iter().sum::<usize>();
    &JPEGS[start..start + LENGTHS[n]]
}

fn record(stamp: u64) -> Vec<u8> {
    format!("Lux=3\nSensorTimestamp={stamp}\nFrameDuration=100000\n\n").into_bytes()
}

#[test]
fn pairing_recorded_frames_in_any_reads_stay_in_step() {
    for (step, meta_step) in [
        (1_000, 10),
        (4_096, 500),
        (65_536, 4_096),
        (JPEGS.len(), RECORDS.len()),
    ] {
        let mut pairing = Pairing::new(INTERVAL);
        let (mut jpegs, mut records) = (JPEGS.chunks(step), RECORDS.chunks(meta_step));
        for n in 0..5 {
            let pair = loop {
                match pairing.awaited() {
                    Awaited::Nothing => break pairing.take().unwrap().unwrap(),
                    Awaited::Record => pairing.push_metadata(records.next().unwrap()).unwrap(),
                    _ => pairing.push_jpeg_bytes(jpegs.next().unwrap()).unwrap(),
                }
            };
            assert_eq!(
                pair,
                Pair {
                    width: 640,
                    height: 480,
                    missed: 0,
                    sensor_timestamp_ns: 2_547_981_311_000 + n as u64 * 100_000_000
                }
            );
            assert_eq!(pairing.jpeg(), jpeg(n));
            assert_eq!(pairing.take(), Ok(None), "a pair is taken once");
            pairing.release().unwrap();
        }
        assert_eq!(pairing.awaited(), Awaited::Both);
        assert_eq!((pairing.jpegs.len(), records.next()), (0, None));
    }
}

#[test]
fn pairing_next_jpeg_proves_a_missing_record() {
    let mut pairing = Pairing::new(INTERVAL);
    pairing.push_jpeg_bytes(jpeg(0)).unwrap();
    assert!(!pairing.next_jpeg_begun());
    pairing.push_jpeg_bytes(&jpeg(1)[..1]).unwrap();
    assert!(pairing.next_jpeg_begun());
    assert_eq!(pairing.missing_record(), Fault::NoMetadata);
    pairing.push_metadata(&record(1)).unwrap();
    pairing.take().unwrap().unwrap();
    pairing.release().unwrap();
    pairing.push_jpeg_bytes(&jpeg(1)[1..]).unwrap();
    assert_eq!(pairing.missing_record(), Fault::MissingRecord);
}

#[test]
fn pairing_record_alone_awaits_its_jpeg() {
    let mut pairing = Pairing::new(INTERVAL);
    pairing.push_metadata(&record(1)).unwrap();
    assert_eq!(pairing.awaited(), Awaited::Jpeg);
}

#[test]
fn pairing_no_jpeg_at_a_boundary_is_a_fault() {
    let mut pairing = Pairing::new(INTERVAL);
    pairing.push_jpeg_bytes(jpeg(0)).unwrap();
    pairing.push_jpeg_bytes(b"junk").unwrap();
    pairing.push_metadata(&record(1)).unwrap();
    assert!(pairing.take().unwrap().is_some(), "the pair before is good");
    assert!(matches!(pairing.release(), Err(Fault::Jpeg(_))));
}

/// `Pair::missed` for records with these timestamps and frame durations.
fn missed(records: &[(u64, u64)]) -> Result<Vec<u32>, Fault> {
    let mut pairing = Pairing::new(INTERVAL);
    records
        .iter()
        .map(|(stamp, duration)| {
            pairing.push_jpeg_bytes(jpeg(0))?;
            pairing.push_metadata(
                format!("SensorTimestamp={stamp}\nFrameDuration={duration}\n\n").as_bytes(),
            )?;
            let pair = pairing.take()?.expect("both are there");
            pairing.release()?;
            Ok(pair.missed)
        })
        .collect()
}

#[test]
fn pairing_timestamp_jump_counts_missed_frames() {
    let ms = |n: u64| n * 1_000_000;
    assert_eq!(
        missed(&[(ms(100), 100_000), (ms(200), 100_000), (ms(600), 100_000)]),
        Ok(vec![0, 0, 3])
    );
    assert_eq!(
        missed(&[(ms(100), 0), (ms(300), 0)]),
        Ok(vec![0, 1]),
        "the requested interval where the metadata has none"
    );
    assert_eq!(
        missed(&[(ms(0), 33_000), (ms(66), 66_000), (ms(132), 33_000)]),
        Ok(vec![0, 0, 0]),
        "a changing rate"
    );
    assert_eq!(missed(&[(1, 1), (u64::MAX, 1)]), Ok(vec![0, u32::MAX]));
}

#[test]
fn pairing_timestamp_that_does_not_grow_is_a_fault() {
    assert_eq!(
        missed(&[(7, 1), (7, 1)]),
        Err(Fault::StampNotGrowing { before: 7, now: 7 })
    );
    assert_eq!(
        missed(&[(7, 1), (6, 1)]),
        Err(Fault::StampNotGrowing { before: 7, now: 6 })
    );
}

proptest! {
    #[test]
    fn pairing_any_bytes_in_any_order_do_not_panic(pushes in proptest::collection::vec(
        (any::<bool>(), prop_oneof![
            Just(jpeg(0).to_vec()), Just(jpeg(0)[..999].to_vec()), Just(record(5)), Just(record(u64::MAX)),
            Just(b"\n\n".to_vec()), proptest::collection::vec(any::<u8>(), 0..300)]), 0..30)) {
        let mut pairing = Pairing::new(Duration::ZERO);
        for (is_jpeg, bytes) in pushes {
            let pushed = if is_jpeg { pairing.push_jpeg_bytes(&bytes) } else { pairing.push_metadata(&bytes) };
            let taken = pushed.and_then(|()| pairing.take());
            let _ = (pairing.awaited(), pairing.next_jpeg_begun(), pairing.missing_record(), pairing.jpeg());
            if taken.is_err() || pairing.release().is_err() {
                break;
            }
        }
    }
}
