use sluicegate_audit::WriterId;

use super::*;
use crate::ambient::ManualClock;

fn position(leaf: u32) -> Position {
    Position { writer: WriterId([1; 16]), wseq: 0, leaf }
}

fn headers() -> Vec<Header> {
    vec![("a".into(), Some(b"1".to_vec())), ("a".into(), Some(vec![])), ("b".into(), None)]
}

fn entry(leaf: u32, key: Option<&str>) -> Entry {
    Entry {
        position: position(leaf),
        key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())),
        headers: pack(&headers()),
        value: (leaf % 5 != 4).then(|| Bytes::from(format!("{{\"n\":{leaf}}}"))),
        came_in: None,
    }
}

impl Embedded {
    async fn append_all(&self, entries: Vec<Entry>) -> Vec<Result<Placed, DeliverError>> {
        self.write(Arc::from("orders"), entries).await
    }
}

async fn open(file: &Path) -> Embedded {
    Embedded::open(file, 3, Arc::new(ManualClock::at_us(1_000_000))).await.unwrap()
}

#[tokio::test]
async fn what_was_appended_is_read_back_in_order_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("eu.db");
    let log = open(&file).await;
    let batch = (0..40).map(|n| entry(n, Some(["x", "y", "z"][n as usize % 3]))).collect();
    let placed: Vec<Placed> = log.append_all(batch).await.into_iter().map(Result::unwrap).collect();
    log.close().await;

    let log = open(&file).await;
    let mut read = 0;
    for partition in 0..3 {
        let page = log.read("orders", partition, 0, 100, usize::MAX).await.unwrap();
        assert_eq!(page.end, page.records.len() as i64);
        let offsets: Vec<i64> = page.records.iter().map(|r| r.offset).collect();
        assert_eq!(offsets, (0..page.end).collect::<Vec<_>>());
        read += page.records.len();
    }
    assert_eq!(read, 40);
    let first = log.read("orders", placed[0].partition, 0, 1, usize::MAX).await.unwrap();
    assert_eq!(first.records[0].headers, headers());
    assert_eq!(first.records[0].timestamp_ms, 1_000);
    // A key stays in its partition, in order, and a tombstone stays one.
    let of_x = (0..40).filter(|n| n % 3 == 0).map(|n| placed[n]);
    assert!(of_x.clone().all(|p| p.partition == placed[0].partition));
    assert!(of_x.clone().zip(of_x.skip(1)).all(|(a, b)| a.offset < b.offset));
    let tombstone =
        log.read("orders", placed[4].partition, placed[4].offset, 1, usize::MAX).await.unwrap();
    assert!(tombstone.records[0].value.is_none());
}

#[tokio::test]
async fn positions_are_found_and_cannot_be_written_twice() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir.path().join("eu.db")).await;
    let placed = log.append_all((0..1_200).map(|n| entry(n, None)).collect()).await;
    let wanted = [position(7), position(1_199), position(5_000)].into();
    let found = log.find("orders", &wanted, Since::Time(0)).await.unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(Ok(found[&position(7)]), placed[7]);
    let again = log.append_all(vec![entry(7, None)]).await;
    assert!(matches!(again[..], [Err(DeliverError::Unavailable(_))]));
    // The failed transaction left no hole, and the log continues.
    let next = log.append_all(vec![entry(2_000, None)]).await;
    assert!(next[0].is_ok());
    assert!(log.ready().await.is_ok());
}

#[tokio::test]
async fn a_group_of_several_statements_is_one_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir.path().join("eu.db")).await;
    let count = u32::try_from(2 * INSERT_ROWS + 7).unwrap();
    let mut batch: Vec<Entry> = (0..count).map(|n| entry(n, Some("k"))).collect();
    // The last statement fails, and nothing of the first one stays.
    batch.last_mut().unwrap().position = position(0);
    let failed = log.append_all(batch).await;
    assert!(failed.iter().all(Result::is_err));
    let placed = log.append_all((0..count).map(|n| entry(n, Some("k"))).collect()).await;
    let offsets: Vec<i64> = placed.iter().map(|placed| placed.as_ref().unwrap().offset).collect();
    assert_eq!(offsets, (0..i64::from(count)).collect::<Vec<_>>());
    let partition = placed[0].as_ref().unwrap().partition;
    let page = log.read("orders", partition, 0, 10_000, usize::MAX).await.unwrap();
    assert_eq!(page.records.len(), offsets.len());
    for (n, record) in (0..).zip(&page.records) {
        let wrote = entry(n, Some("k"));
        assert!(
            record.key == wrote.key && record.value == wrote.value && record.headers == headers()
        );
    }
}

/// The bytes of a statement are one parameter: without an end, what waits is too large for it.
#[tokio::test]
async fn a_transaction_ends_with_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir.path().join("eu.db")).await;
    log.append_all(vec![entry(0, None)]).await;
    let large = Entry { value: Some(vec![b' '; TRANSACTION_BYTES].into()), ..entry(1, None) };
    // Both wait when the writer comes to them, and the second fails: its position is taken.
    let (first, second) =
        tokio::join!(log.append_all(vec![large]), log.append_all(vec![entry(0, None)]));
    assert!(first[0].is_ok() && second[0].is_err());
}

#[tokio::test]
async fn what_is_empty_is_not_null() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir.path().join("eu.db")).await;
    let parts = [None, Some(Bytes::new())];
    let made = |(leaf, (key, value)): (u32, (&Option<Bytes>, &Option<Bytes>))| Entry {
        position: position(leaf),
        key: key.clone(),
        headers: Vec::new(),
        value: value.clone(),
        came_in: None,
    };
    let all: Vec<_> = parts.iter().flat_map(|k| parts.iter().map(move |v| (k, v))).collect();
    let placed = log.append_all((0..).zip(all.clone()).map(made).collect()).await;
    for ((key, value), placed) in all.into_iter().zip(placed) {
        let Placed { partition, offset } = placed.unwrap();
        let page = log.read("orders", partition, offset, 1, usize::MAX).await.unwrap();
        assert!(page.records[0].key == *key && page.records[0].value == *value);
        assert!(page.records[0].headers.is_empty());
    }
}

#[tokio::test]
async fn unknown_topics_and_partitions_are_said() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir.path().join("eu.db")).await;
    let placed = log.append_all(vec![entry(0, None)]).await[0].clone().unwrap();
    let empty = (placed.partition + 1) % 3;
    for (partition, from, end) in [(empty, 0, 0), (placed.partition, i64::MAX, 1)] {
        let page = log.read("orders", partition, from, 1, usize::MAX).await.unwrap();
        assert_eq!((page.records.len(), page.end), (0, end));
    }
    assert_eq!(
        log.read("other", 0, 0, 1, usize::MAX).await.err(),
        Some(DeliverError::UnknownTopic)
    );
    assert_eq!(
        log.read("orders", 3, 0, 1, usize::MAX).await.err(),
        Some(DeliverError::UnknownTopic)
    );
}

/// Where a release begins to follow a partition: a record that comes meanwhile is not passed over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arrives_while_a_time_is_looked_up_is_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(open(&dir.path().join("eu.db")).await);
    for round in 0..100 {
        let topic: Arc<str> = Arc::from(format!("orders-{round}"));
        log.ensure(&topic, None).await.unwrap();
        let entries = (0..30).map(|n| entry(30 * round + n, None)).collect();
        let (log, to) = (log.clone(), topic.clone());
        let other = log.clone();
        let writing = tokio::spawn(async move { other.write(to, entries).await });
        for n in 0..9 {
            assert_eq!(log.offset_at(&topic, n % 3, 0).await.unwrap(), 0, "round {round}");
        }
        assert!(writing.await.unwrap().iter().all(Result::is_ok));
    }
}
