//! Pairing, fed by hand.

use super::*;
use proptest::prelude::*;

const PICTURES: &[u8] = include_bytes!("../../../../tests/data/rpicam/out.mjpeg");
const RECORDS: &[u8] = include_bytes!("../../../../tests/data/rpicam/meta.txt");
const LENGTHS: [usize; 5] = [18_656, 15_491, 18_698, 15_517, 18_712];
const INTERVAL: Duration = Duration::from_millis(100);

fn picture(n: usize) -> &'static [u8] {
    let start = LENGTHS[..n].iter().sum::<usize>();
    &PICTURES[start..start + LENGTHS[n]]
}

fn record(stamp: u64) -> Vec<u8> {
    format!("Lux=3\nSensorTimestamp={stamp}\nFrameDuration=100000\n\n").into_bytes()
}

#[test]
fn recorded_frames_and_records_stay_in_step_whatever_the_reads() {
    for (step, meta_step) in [
        (1_000, 10),
        (4_096, 500),
        (65_536, 4_096),
        (PICTURES.len(), RECORDS.len()),
    ] {
        let mut pairing = Pairing::new(INTERVAL);
        let (mut pictures, mut records) = (PICTURES.chunks(step), RECORDS.chunks(meta_step));
        for n in 0..5 {
            let pair = loop {
                match pairing.awaited() {
                    Awaited::Nothing => break pairing.take().unwrap().unwrap(),
                    Awaited::Record => pairing.push_metadata(records.next().unwrap()).unwrap(),
                    _ => pairing
                        .push_picture_bytes(pictures.next().unwrap())
                        .unwrap(),
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
            assert_eq!(pairing.picture(), picture(n));
            assert_eq!(pairing.take(), Ok(None), "a pair is taken once");
            pairing.release().unwrap();
        }
        assert_eq!(pairing.awaited(), Awaited::Both);
        assert_eq!((pairing.pictures.len(), records.next()), (0, None));
    }
}

#[test]
fn next_picture_proves_that_the_record_is_missing() {
    let mut pairing = Pairing::new(INTERVAL);
    pairing.push_picture_bytes(picture(0)).unwrap();
    assert!(!pairing.next_picture_begun());
    pairing.push_picture_bytes(&picture(1)[..1]).unwrap();
    assert!(pairing.next_picture_begun());
    assert_eq!(pairing.missing_record(), Fault::NoMetadata);
    pairing.push_metadata(&record(1)).unwrap();
    pairing.take().unwrap().unwrap();
    pairing.release().unwrap();
    pairing.push_picture_bytes(&picture(1)[1..]).unwrap();
    assert_eq!(pairing.missing_record(), Fault::MissingRecord);
}

#[test]
fn record_without_a_picture_awaits_it() {
    let mut pairing = Pairing::new(INTERVAL);
    pairing.push_metadata(&record(1)).unwrap();
    assert_eq!(pairing.awaited(), Awaited::Picture);
}

#[test]
fn bytes_that_are_no_picture_at_a_boundary_are_a_fault() {
    let mut pairing = Pairing::new(INTERVAL);
    pairing.push_picture_bytes(picture(0)).unwrap();
    pairing.push_picture_bytes(b"junk").unwrap();
    pairing.push_metadata(&record(1)).unwrap();
    assert!(
        pairing.take().unwrap().is_some(),
        "what came before is good"
    );
    assert!(matches!(pairing.release(), Err(Fault::Picture(_))));
}

/// What `take` answers for records with these stamps and frame durations.
fn missed(records: &[(u64, u64)]) -> Result<Vec<u32>, Fault> {
    let mut pairing = Pairing::new(INTERVAL);
    records
        .iter()
        .map(|(stamp, duration)| {
            pairing.push_picture_bytes(picture(0))?;
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
fn frames_that_the_sensor_made_and_nobody_got_are_counted() {
    let ms = |n: u64| n * 1_000_000;
    assert_eq!(
        missed(&[(ms(100), 100_000), (ms(200), 100_000), (ms(600), 100_000)]),
        Ok(vec![0, 0, 3])
    );
    assert_eq!(
        missed(&[(ms(100), 0), (ms(300), 0)]),
        Ok(vec![0, 1]),
        "the asked interval serves where none is told"
    );
    assert_eq!(
        missed(&[(ms(0), 33_000), (ms(66), 66_000), (ms(132), 33_000)]),
        Ok(vec![0, 0, 0]),
        "a changing rate"
    );
    assert_eq!(missed(&[(1, 1), (u64::MAX, 1)]), Ok(vec![0, u32::MAX]));
}

#[test]
fn stamp_that_does_not_grow_is_a_fault() {
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
    fn no_bytes_in_no_order_panic(pushes in proptest::collection::vec(
        (any::<bool>(), prop_oneof![
            Just(picture(0).to_vec()), Just(picture(0)[..999].to_vec()), Just(record(5)), Just(record(u64::MAX)),
            Just(b"\n\n".to_vec()), proptest::collection::vec(any::<u8>(), 0..300)]), 0..30)) {
        let mut pairing = Pairing::new(Duration::ZERO);
        for (is_picture, bytes) in pushes {
            let pushed = if is_picture { pairing.push_picture_bytes(&bytes) } else { pairing.push_metadata(&bytes) };
            let taken = pushed.and_then(|()| pairing.take());
            let _ = (pairing.awaited(), pairing.next_picture_begun(), pairing.missing_record(), pairing.picture());
            if taken.is_err() || pairing.release().is_err() {
                break;
            }
        }
    }
}
