//! A ledger that is put back from a backup has forgotten what it spent. The topic has not: what it holds is
//! not released again with fresh noise, and the period counts as spent. And ordinary restarts, in the middle
//! of panes, change nothing at all.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use sluicegate_audit::Entry;
use sluicegate_tests::{
    dice::Dice,
    process::eventually,
    releases::{Expected, Message, Sent, Spec, expected, judge, now_ms, policies, read},
};

use super::{
    publisher::{Publisher, counted, stream},
    setup::{House, Pipeline, Store},
};

const RELEASED_WITHIN: Duration = Duration::from_secs(40);

/// Files as they were; none where there was none.
pub(super) type Files = Vec<(PathBuf, Option<Vec<u8>>)>;

/// The files of a SQLite database that nobody has open.
pub(super) fn database(file: &Path) -> Files {
    let name = file.file_name().unwrap().to_str().unwrap();
    let of = |suffix: &str| {
        let path = file.with_file_name(format!("{name}{suffix}"));
        let bytes = fs::read(&path).ok();
        (path, bytes)
    };
    ["", "-wal", "-shm"].map(of).into()
}

pub(super) fn put_back(files: &Files) {
    for (path, bytes) in files {
        match bytes {
            Some(bytes) => fs::write(path, bytes).unwrap(),
            None => drop(fs::remove_file(path)),
        }
    }
}

fn panes_of(spec: &Spec, messages: &[Message]) -> Vec<i64> {
    let mut panes: Vec<i64> =
        messages.iter().map(|message| read(spec, &message.value).unwrap().pane.0).collect();
    panes.sort_unstable();
    panes.dedup();
    panes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_from_a_backup_spends_nothing_twice() {
    let spec = Spec::counting("totals");
    let house = House::new(Store::Sqlite, Pipeline::Embedded, &[&spec]);
    let mut dice = Dice(11);

    let gateway = house.start(0).await;
    let first = spec.pane(now_ms());
    assert!(house.published(&spec, first, RELEASED_WITHIN).await, "{}", gateway.stderr());
    assert_eq!(gateway.stop().await, Some(0));
    let backup = database(&house.ledger_file());

    let gateway = house.start(0).await;
    let next = spec.pane(now_ms()) + 2 * spec.pane_ms;
    let records = stream(&spec, &mut dice, "s", &[next], &[]);
    Publisher::of(house.client("app"), gateway.url("")).send_all(&spec, &records).await;
    assert!(house.published(&spec, next, RELEASED_WITHIN).await, "{}", gateway.stderr());
    assert_eq!(gateway.stop().await, Some(0));
    let before = house.topic(&spec.release).await;
    let known = house.released(&spec).await.len();
    put_back(&backup);
    let remembered = house.released(&spec).await.len();
    assert!(remembered < known, "the backup is of an earlier time");

    let gateway = house.start(0).await;
    // Records are taken as ever, and go nowhere else.
    let later = spec.pane(now_ms()) + spec.pane_ms;
    let records = stream(&spec, &mut dice, "t", &[later], &[]);
    Publisher::of(house.client("app"), gateway.url("")).send_all(&spec, &records).await;
    let refused = eventually(RELEASED_WITHIN, async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let entries = house.entries().await.0;
        let of_later = |entry: &Entry| matches!(entry, Entry::ReleaseRefused(refused) if refused.window_start_us / 1_000 == later);
        entries.iter().any(of_later).then_some(entries)
    });
    let Some(entries) = refused.await else { panic!("no refusal: {}", gateway.stderr()) };
    assert_eq!(gateway.stop().await, Some(0));

    let blocked: Vec<_> =
        entries.iter().filter(|entry| matches!(entry, Entry::BudgetBlocked(_))).collect();
    assert!(!blocked.is_empty(), "the ledger does not say that the period is blocked");
    for entry in &entries {
        if let Entry::ReleaseRefused(refused) = entry {
            assert_eq!(refused.code, "budget-blocked", "{refused:?}");
        }
    }
    assert_eq!(house.topic(&spec.release).await, before, "something was published again, or anew");
    assert_eq!(house.released(&spec).await.len(), remembered);
    assert!(house.topic(&spec.dataset()).await.is_empty(), "records fell through to their topic");
    let (code, said) = house.verb(&["budget", "show"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("BLOCKED"), "{said}");
    let (code, said) = house.verb(&["budget", "show", "-o", "json"]);
    assert_eq!(code, Some(0), "{said}");
    let shown: Value = serde_json::from_str(&said).unwrap();
    let periods = shown.as_array().unwrap();
    assert!(periods.iter().any(|period| period["blocked"] == true), "{said}");
    let (code, said) = house.verb(&["ledger", "verify"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(panes_of(&spec, &before).contains(&next));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_and_reloads_in_the_middle_change_nothing() {
    let mut spec = Spec::counting("totals");
    // A day later a subject counts again, so that it has to be known across restarts who counted already.
    (spec.pane_ms, spec.windows) = (2_000, 1);
    let house = House::new(Store::Sqlite, Pipeline::Embedded, &[&spec]);
    let mut dice = Dice(13);
    let mut all: Vec<Sent> = Vec::new();
    let mut answered = Vec::new();
    for round in 0..4 {
        let mut gateway = house.start(0).await;
        let here = spec.pane(now_ms());
        let panes = [here, here + spec.pane_ms, here + 2 * spec.pane_ms];
        // Of a pane that may end while they are on their way, records are sent to its successors only.
        let panes = &panes[1..];
        let mut publisher = Publisher::of(house.client("app"), gateway.url(""));
        publisher.name = format!("round-{round}");
        let mut records = stream(&spec, &mut dice, &round.to_string(), panes, &all);
        let half = records.split_off(records.len() / 2);
        answered.extend(publisher.send_all(&spec, &records).await);
        if round == 1 {
            // Another reason for the same rule: a policy of another digest, a release of the same.
            let text = policies(&[&spec]).replace("totals are for somebody", "somebody asked");
            house.write_policies(0, &text);
            gateway.reload();
        }
        tokio::time::sleep(Duration::from_millis(dice.below(1_500))).await;
        answered.extend(publisher.send_all(&spec, &half).await);
        all.extend(records.into_iter().chain(half));
        tokio::time::sleep(Duration::from_millis(dice.below(1_500))).await;
        if round == 3 {
            let last = panes[panes.len() - 1];
            assert!(house.published(&spec, last, RELEASED_WITHIN).await, "{}", gateway.stderr());
        }
        assert_eq!(gateway.stop().await, Some(0));
    }
    let counted = counted(&spec, &answered).expect("too slow a machine");
    let last = all.iter().map(|sent| spec.pane(sent.at_ms)).max().unwrap();
    let evidence = house.evidence(&spec).await;
    let (wrong, _) = judge(&spec, &Expected::exactly(expected(&spec, &counted)), &evidence, last);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
