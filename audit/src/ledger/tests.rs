//! Orders of events that from outside only chance would bring about.

use super::*;
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
