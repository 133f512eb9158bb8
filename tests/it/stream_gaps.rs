//! No silent loss: from a viewer's first packet on, numbered = received + reported.

use crate::stream_rig::*;
use futures_util::StreamExt;
use stampcast::media::{Cause, Losses, MonoNs};
use stampcast::wire;
use stampcast::wire::{Event, Gap, Label, Message};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio_tungstenite::tungstenite;

/// Pseudo-random numbers, the same in each run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// One viewer's totals of one stream.
#[derive(Default, Debug)]
struct Account {
    first: Option<u32>,
    last: u32,
    received: u64,
    reported: u64,
    flagged: u64,
    gaps: u64,
    /// Packets reported, by cause.
    causes: BTreeMap<Cause, u64>,
    pending: bool,
}

impl Account {
    fn packet(&mut self, label: Label) {
        assert_eq!(
            label.gap,
            std::mem::take(&mut self.pending),
            "a gap's flag and its event belong to one packet"
        );
        if self.first.is_none() {
            self.first = Some(label.sequence);
        } else {
            assert!(label.sequence > self.last);
        }
        self.last = label.sequence;
        self.received += 1;
        self.flagged += u64::from(label.gap);
        self.holds();
    }

    fn gap(&mut self, count: Option<u64>, cause: Cause) {
        self.reported += count.unwrap_or(0);
        *self.causes.entry(cause).or_default() += count.unwrap_or(0);
        self.gaps += 1;
        self.pending = true;
    }

    /// Checked after every packet, not only at the end.
    fn holds(&self) {
        let numbered = u64::from(self.last - self.first.unwrap()) + 1;
        assert_eq!(numbered, self.received + self.reported, "{self:?}");
    }
}

/// A reader's progress: of each stream, the number of packets, and the last one's sequence number.
#[derive(Default)]
struct Progress([(AtomicU64, AtomicU64); 2]);

impl Progress {
    fn note(&self, accounts: &[Account; 2]) {
        for ((received, last), account) in self.0.iter().zip(accounts) {
            received.store(account.received, Relaxed);
            last.store(account.last.into(), Relaxed);
        }
    }

    fn received(&self) -> [u64; 2] {
        self.0
            .each_ref()
            .map(|(received, _)| received.load(Relaxed))
    }

    fn last(&self) -> [u64; 2] {
        self.0.each_ref().map(|(_, last)| last.load(Relaxed))
    }
}

/// Reads at its own pace until the server closes; stalls now and then.
async fn account(
    mut viewer: Viewer,
    seed: u64,
    stall_ms: u64,
    progress: Arc<Progress>,
) -> [Account; 2] {
    let mut dice = Dice(seed);
    let mut accounts: [Account; 2] = Default::default();
    loop {
        match patient(viewer.socket.next()).await {
            Some(Ok(tungstenite::Message::Binary(bytes))) => {
                match wire::binary::decode(&bytes).unwrap() {
                    Message::Video { label, .. } => accounts[0].packet(label.unwrap()),
                    Message::Audio { label, .. } => accounts[1].packet(label.unwrap()),
                    Message::Event {
                        event:
                            Event::Gap {
                                stream,
                                gap:
                                    Gap {
                                        count,
                                        cause: wire::Cause::Known(cause),
                                        ..
                                    },
                            },
                        ..
                    } => accounts[stream as usize].gap(count, cause),
                    other => panic!("{other:?}"),
                }
            }
            Some(Ok(tungstenite::Message::Close(_))) => return accounts,
            other => panic!("{other:?}"),
        }
        progress.note(&accounts);
        if stall_ms > 0 && dice.roll(40) == 0 {
            tokio::time::sleep(Duration::from_millis(dice.roll(stall_ms))).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gaps_under_random_faults_numbered_equals_received_plus_reported() {
    let mut rig = Rig::start().await;
    let (mut readers, mut progress) = (Vec::new(), Vec::new());
    for (k, query) in [
        "&delivery=all",
        "&delivery=all",
        "&delivery=live",
        "&delivery=live",
        "&delivery=all&audio=0",
        "&video=0",
        "&delivery=all&video=0&audio_rate=16000",
    ]
    .into_iter()
    .enumerate()
    {
        let viewer = rig
            .connect_and_wait(&format!("?format=binary&events=1{query}"))
            .await;
        let stall_ms = [0, 300][k % 2];
        let wanted = ["video=0", "audio=0"].map(|not| !query.contains(not));
        let theirs = Arc::new(Progress::default());
        readers.push(tokio::spawn(account(
            viewer,
            k as u64,
            stall_ms,
            theirs.clone(),
        )));
        progress.push((wanted, theirs));
    }
    // Each one's losses count from its first packet on.
    rig.video.push(b"first");
    rig.audio.push(&[0; 1_920]);
    let (_, first) = &progress[0];
    until(async || first.received() == [1, 1]).await;
    let enough = || {
        progress.iter().all(|(wanted, theirs)| {
            wanted
                .iter()
                .zip(theirs.received())
                .all(|(wanted, n)| !wanted || n > 50)
        })
    };
    let mut dice = Dice(7);
    let mut pushed = 0;
    // Large enough that a stalled viewer's socket fills.
    let picture = vec![0x5a; 150_000];
    // On a slow machine it takes longer until each has read enough to be meaningful.
    while pushed < 400 || (pushed < 10_000 && !enough()) {
        match dice.roll(20) {
            // The driver skips frames or delivers faulty ones.
            0 => {
                let skipped = dice.roll(5) as u32 + 1;
                rig.video.meta.sequence += u64::from(skipped);
                rig.video.meta.losses.driver += skipped;
            }
            1 => {
                rig.video.meta.sequence += 1;
                rig.video.meta.losses.corrupt += 1;
            }
            // The worker dies with numbered packets not pushed, and its successor counts losses
            // from 0.
            2 => {
                for source in [&mut rig.video, &mut rig.audio] {
                    source.meta.generation += 1;
                    source.meta.sequence += dice.roll(3);
                    source.meta.losses = Losses::default();
                }
            }
            3 => rig.audio.meta.losses.xrun += 1,
            4 => tokio::time::sleep(Duration::from_millis(dice.roll(60))).await,
            // More at once than the ring holds.
            5 if dice.roll(4) == 0 => {
                for _ in 0..QUEUE * 2 {
                    rig.audio.push(&[0; 64]);
                }
            }
            _ => tokio::time::sleep(Duration::from_millis(dice.roll(8))).await,
        }
        rig.video.push(&picture);
        rig.audio.push(&[0; 1_920]);
        pushed += 1;
    }
    rig.video.push(b"last");
    rig.audio.push(&[9, 9]);
    let (last_video, last_audio) = (rig.video.meta.sequence - 1, rig.audio.meta.sequence - 1);
    until(async || {
        let info = rig.info().await;
        info["video"]["sequence"] == last_video && info["audio"]["sequence"] == last_audio
    })
    .await;
    until(async || first.last() == [last_video, last_audio]).await;
    let info = rig.info().await;
    rig.stop().await;
    let mut gaps = 0;
    for (k, reader) in readers.into_iter().enumerate() {
        let accounts = patient(reader).await.unwrap();
        // A viewer that read everything was told of all losses that the server counts.
        for (account, stream) in accounts.iter().zip(["video", "audio"]).filter(|_| k == 0) {
            for (cause, told) in account
                .causes
                .iter()
                .filter(|(cause, _)| **cause != Cause::ViewerQueue)
            {
                let name = serde_json::to_value(cause).unwrap();
                assert_eq!(
                    info[stream]["drops"][name.as_str().unwrap()]["packets"],
                    *told,
                    "{stream} {cause:?}: {info}"
                );
            }
        }
        for account in accounts.iter().filter(|a| a.first.is_some()) {
            account.holds();
            gaps += account.gaps;
            assert!(account.received > 50, "{account:?}");
        }
    }
    assert!(
        gaps > 100,
        "{gaps} gaps of {pushed} packets: this proved little"
    );
}

#[tokio::test]
async fn gap_that_cannot_be_counted_is_given_in_seconds() {
    let mut rig = Rig::start().await;
    let mut viewer = rig.connect_and_wait("?video=0&events=1").await;
    let start = MonoNs(MonoNs::now().0 - 5_000_000_000);
    // 20 ms of audio, and the next packet 1.52 s after its start: 1.5 s are missing.
    rig.audio.push_at(start, &[0; 1_920]);
    assert!(viewer.text().await.starts_with("audio:"));
    rig.audio.meta.losses.source_away = 1;
    rig.audio
        .push_at(start + Duration::from_millis(1_520), &[0; 1_920]);
    assert!(viewer.text().await.ends_with(
        r#"{"event":"gap","stream":"audio","count":null,"seconds":1.5,"span_seconds":1.52,"cause":"source_away"}"#
    ));
    let drops = rig.info().await["audio"]["drops"]["source_away"].clone();
    assert_eq!(
        drops,
        serde_json::json!({ "packets": 0, "absences": 1, "seconds": 1.5 })
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewer_stalled_does_not_delay_others() {
    let mut rig = Rig::start().await;
    let mut stalled = Vec::new();
    for _ in 0..10 {
        stalled.push(rig.connect_and_wait("").await);
    }
    let mut reader = rig.connect_and_wait("?audio=0&format=binary").await;
    let picture = vec![0x5a; 200_000];
    for k in 0..100 {
        rig.video.push(&picture);
        let message = reader.binary().await;
        let Ok(Message::Video { label, .. }) = wire::binary::decode(&message) else {
            panic!("no video")
        };
        assert_eq!(
            label,
            Some(Label {
                sequence: k,
                gap: false
            })
        );
    }
    let info = rig.info().await;
    assert_eq!(info["viewers"], 11);
    assert!(
        info["video"]["drops"]["viewer_queue"]["packets"].as_u64() > Some(100),
        "the stalled lose: {info}"
    );
    drop(stalled);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewer_slower_than_the_stream_gets_the_newest() {
    let mut rig = Rig::start().await;
    let mut viewer = rig
        .connect_and_wait("?audio=0&format=binary&window=2")
        .await;
    let picture = vec![0x5a; 200_000];
    let mut behind = Vec::new();
    for k in 0..120u32 {
        rig.video.push(&picture);
        until(async || rig.info().await["video"]["sequence"] == k).await;
        if k % 2 == 1 {
            let message = viewer.binary().await;
            let Ok(Message::Video { label, .. }) = wire::binary::decode(&message) else {
                panic!("no video")
            };
            behind.push(k - label.unwrap().sequence);
            viewer.say("ack").await;
        }
    }
    assert!(
        behind.iter().all(|&frames| frames <= 4),
        "frames behind the newest: {behind:?}"
    );
    rig.stop().await;
}
