//! Orders of events that from outside only chance would bring about.

use std::time::{Duration, Instant};

use super::{
    committer::{FLUSH_APPENDS, gather},
    *,
};
use crate::{Charge, Cost, Digest32, LossUnit, Release, blob_digest, verify_store};

struct Still;

impl Clock for Still {
    fn now(&self) -> Time {
        Time { us: 1, err_us: 0, source: "test" }
    }
}

fn release(bytes: &[u8]) -> Release {
    Release {
        id: [1; 16],
        name: "n".into(),
        account: "a".into(),
        topic: "t".into(),
        region: "eu".into(),
        window_start_us: 0,
        window_end_us: 1,
        revision: 0,
        policy: [0; 32],
        plan: [0; 32],
        unit: LossUnit::NanoRho,
        cost: Cost { loss: 1, delta: 0 },
        uses_max: 1,
        cap: Cost { loss: 1, delta: 0 },
        period_us: 0,
        mechanism: "m".into(),
        covers: vec![],
        blobs: vec![Digest32(blob_digest(bytes))],
        messages: 1,
    }
}

/// A release as it is queued when another one of its id was not seen.
fn unaware(bytes: &[u8]) -> (Append, oneshot::Receiver<Result<Position, AppendError>>) {
    let (answer, answered) = oneshot::channel();
    let blobs = Some(vec![(blob_digest(bytes), bytes.to_vec())]);
    let entry = Entry::Release(Box::new(release(bytes)));
    (Append { blobs, answer: Some(answer), ..Append::of(entry) }, answered)
}

/// Of three in one row one stands, and the other two are void before the chain ends, although
/// its end was queued with them.
#[tokio::test]
async fn what_lost_is_void_before_the_chain_ends() {
    let files = tempfile::tempdir().unwrap();
    let url: Url = format!("sqlite:{}", files.path().join("l.db").display()).parse().unwrap();
    let options = Options {
        origin: "test".into(),
        writer: WriterId([1; 16]),
        node: "n".into(),
        software: "s".into(),
        clock: Arc::new(Still),
        search_key: SearchKey { name: "search".into(), check: [1; 16] },
        standing: Standing::Node,
        skew_max_us: i64::MAX,
    };
    let ledger = Ledger::open(&url, options).await.unwrap();
    ledger.reserve(&Charge::of(&release(b"0"))).await.unwrap();
    let mut answers = Vec::new();
    for bytes in [b"0", b"1", b"2"] {
        let (append, answered) = unaware(bytes);
        ledger.queue(append).unwrap();
        answers.push(answered);
    }
    // Nothing was awaited since: the committer finds all of it at once.
    ledger.close().await.unwrap();
    let mut won = Vec::new();
    for answered in answers {
        won.push(answered.await.unwrap().is_ok());
    }
    assert_eq!(won, [true, false, false]);
    let mut kinds = Vec::new();
    let verdict = verify_store(&url, |record| {
        if let crate::Exported::Row { bytes, .. } = record {
            let row = Row::decode(&bytes).unwrap();
            kinds.push(row.entries.iter().map(Entry::kind).collect::<Vec<_>>());
        }
    });
    let verdict = verdict.await.unwrap();
    assert!(verdict.is_ok(), "{verdict}");
    assert_eq!((verdict.releases.stand, verdict.releases.void), (1, 2));
    assert_eq!(
        kinds,
        [
            vec!["writer.open", "segment.open"],
            vec!["release", "release", "release"],
            vec!["release.void", "release.void", "writer.close"],
        ]
    );
}

/// An outcome as it is queued: nobody waits for it.
fn unawaited() -> Append {
    Append::of(Entry::Outcome(Outcome {
        of: Position { writer: WriterId([1; 16]), wseq: 1, leaf: 0 },
        placed: vec![],
        missing: vec![],
        repeat_of: vec![],
        complete: true,
    }))
}

fn awaited(entry: Entry) -> (Append, oneshot::Receiver<Result<Position, AppendError>>) {
    let (answer, answered) = oneshot::channel();
    (Append { answer: Some(answer), ..Append::of(entry) }, answered)
}

/// A wait that no test would survive.
const FOREVER: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn what_nobody_waits_for_waits_for_company_and_not_longer_than_its_time() {
    let (sender, mut appends) = mpsc::channel(QUEUE);
    let (started, wait) = (Instant::now(), Duration::from_millis(60));
    let mut flush = vec![unawaited()];
    sender.send(unawaited()).await.unwrap();
    gather(&mut appends, &mut flush, wait).await;
    assert!(started.elapsed() >= wait, "it went without company before its time");
    assert_eq!(flush.len(), 2);

    let mut flush = vec![unawaited()];
    let (company, _answered) = awaited(Entry::Heartbeat);
    let others = async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        sender.send(unawaited()).await.unwrap();
        sender.send(company).await.unwrap();
    };
    tokio::join!(gather(&mut appends, &mut flush, FOREVER), others);
    assert_eq!(flush.len(), 3, "it went with its company");
}

#[tokio::test]
async fn what_somebody_waits_for_does_not_wait_for_company() {
    let (sender, mut appends) = mpsc::channel(QUEUE);
    for entry in [Entry::Heartbeat, Entry::WriterClose] {
        let (append, _answered) = awaited(entry);
        let mut flush = vec![append];
        gather(&mut appends, &mut flush, FOREVER).await;
        assert_eq!(flush.len(), 1);
    }
    // Neither does a full flush, or one behind which nothing can come.
    let mut full: Vec<_> = (0..FLUSH_APPENDS).map(|_| unawaited()).collect();
    gather(&mut appends, &mut full, FOREVER).await;
    assert_eq!(full.len(), FLUSH_APPENDS);
    drop(sender);
    let mut last = vec![unawaited()];
    gather(&mut appends, &mut last, FOREVER).await;
    assert_eq!(last.len(), 1);
}

#[tokio::test]
async fn those_whom_a_flush_answered_share_the_next_one() {
    let (sender, mut appends) = mpsc::channel(QUEUE);
    let (first, _answered) = awaited(Entry::Heartbeat);
    let mut flush = vec![first];
    for _ in 0..3 {
        let sender = sender.clone();
        // Runnable, and not yet run.
        tokio::spawn(async move { sender.send(unawaited()).await.unwrap() });
    }
    gather(&mut appends, &mut flush, FOREVER).await;
    assert_eq!(flush.len(), 4);
}
