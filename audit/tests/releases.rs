//! What a ledger promises of releases and budgets, whatever its store: as in `contract.rs`, on
//! SQLite, and on PostgreSQL where `SLUICEGATE_TEST_POSTGRES` names a server.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail the test, and say what was left out"
)]

#[expect(dead_code, reason = "the contract suite uses the rest")]
mod harness;
#[expect(dead_code, reason = "the vectors use the rest")]
#[path = "harness/releases.rs"]
mod sample;

use std::time::Duration;

use harness::{Bench, each_store};
use sample::{HOUR_US, blobs, blocked, charge, release, unseat};
use sluicegate_audit::{
    AppendError, Charge, Cost, Entry, Ledger, LossUnit, Position, Reader, Refusal, Release,
    ReleaseError, ReserveError, Spent, verify, verify_store,
};
use tokio::task::JoinSet;

fn refusal<T>(result: Result<T, ReserveError>) -> Option<Refusal> {
    match result {
        Ok(_) => None,
        Err(ReserveError::Refused(refusal)) => Some(refusal),
        Err(ReserveError::Store(error)) => panic!("{error}"),
    }
}

async fn verified(bench: &Bench) -> verify::Verdict {
    let verdict = verify_store(&bench.url, |_| {}).await.unwrap();
    assert!(verdict.is_ok(), "{verdict}");
    verdict
}

/// A charge of its own line.
fn single(id: u8, loss: u64, cap: u64) -> Charge {
    let cap = Cost { loss: cap, delta: 0 };
    Charge { line: [id; 32], cost: Cost { loss, delta: 0 }, cap, ..charge(id) }
}

#[tokio::test]
async fn a_charge_is_taken_once_however_often_it_is_asked_for() {
    each_store(async |bench: Bench| {
        let ledgers = [bench.open(1).await, bench.open_as(2, "node-b").await];
        for ledger in ledgers.iter().cycle().take(6) {
            assert_eq!(*ledger.reserve(&charge(1)).await.unwrap().charge(), charge(1));
        }
        // A cap that has changed meanwhile changes nothing.
        let lower = Charge { cap: Cost::default(), ..charge(1) };
        ledgers[0].reserve(&lower).await.unwrap();
        let lines = ledgers[1].reader().budget(None).await.unwrap();
        assert_eq!(lines.len(), 1);
        assert_eq!((lines[0].charges, lines[0].cap), (1, charge(1).cap));
        let other = Charge { cost: Cost::default(), ..charge(1) };
        assert_eq!(refusal(ledgers[1].reserve(&other).await), Some(Refusal::OtherCharge));
        let other = Charge { account: "people".into(), ..charge(1) };
        assert_eq!(refusal(ledgers[1].reserve(&other).await), Some(Refusal::OtherCharge));
    })
    .await;
}

#[tokio::test]
async fn a_budget_ends_exactly_at_its_cap() {
    each_store(async |bench: Bench| {
        let ledger = bench.open(1).await;
        ledger.reserve(&single(1, 4, 10)).await.unwrap();
        ledger.reserve(&single(2, 5, 10)).await.unwrap();
        assert_eq!(refusal(ledger.reserve(&single(3, 2, 10)).await), Some(Refusal::Exhausted));
        ledger.reserve(&single(4, 1, 10)).await.unwrap();
        assert_eq!(refusal(ledger.reserve(&single(5, 1, 10)).await), Some(Refusal::Exhausted));
        assert_eq!(
            refusal(ledger.reserve(&single(5, u64::MAX, 10)).await),
            Some(Refusal::Exhausted)
        );
        // Other periods and accounts have budgets of their own.
        let later = Charge { period_us: HOUR_US, ..single(6, 10, 10) };
        ledger.reserve(&later).await.unwrap();
        let people = Charge { account: "people".into(), ..single(7, 10, 10) };
        ledger.reserve(&people).await.unwrap();
        // A free charge fits a full budget; a delta has a cap of its own.
        ledger.reserve(&single(8, 0, 10)).await.unwrap();
        let delta = Cost { loss: 0, delta: 1 };
        let dearer = Charge { cost: delta, ..single(9, 0, 10) };
        assert_eq!(refusal(ledger.reserve(&dearer).await), Some(Refusal::Exhausted));
        // A budget that is raised counts from the next period on, in loss as in delta.
        let raised = Charge { cap: Cost { loss: 20, delta: 1 }, ..dearer.clone() };
        assert_eq!(refusal(ledger.reserve(&raised).await), Some(Refusal::Exhausted));
        let raised = Charge { cap: Cost { loss: 20, delta: 1 }, ..single(9, 1, 20) };
        assert_eq!(refusal(ledger.reserve(&raised).await), Some(Refusal::Exhausted));
        // Whoever is refused has not used up the id.
        ledger.reserve(&Charge { cost: Cost::default(), ..dearer }).await.unwrap();
        let first = ledger.reader().budget(Some(("orders", 0))).await.unwrap();
        assert_eq!(Spent::of(&first), Spent { loss: 10, delta: 0 });
        let mut all = ledger.reader().budget(None).await.unwrap();
        all.retain(|line| line.account == "orders" && line.period_us == 0);
        assert_eq!(all, first);
    })
    .await;
}

#[tokio::test]
async fn a_line_costs_a_person_no_more_than_its_uses() {
    each_store(async |bench: Bench| {
        let ledger = bench.open(1).await;
        for hour in 0..30 {
            ledger.reserve(&charge(hour)).await.unwrap();
        }
        let lines = ledger.reader().budget(None).await.unwrap();
        assert_eq!((lines.len(), lines[0].charges), (1, 30));
        assert_eq!(Spent::of(&lines), Spent { loss: 20, delta: 2 });
        let dearer = Charge { cost: Cost { loss: 9, delta: 1 }, ..charge(31) };
        assert_eq!(refusal(ledger.reserve(&dearer).await), Some(Refusal::OtherCost));
        let wider = Charge { uses_max: 3, ..charge(31) };
        assert_eq!(refusal(ledger.reserve(&wider).await), Some(Refusal::OtherCost));
        let other = Charge { unit: LossUnit::NanoEpsilon, ..single(31, 0, 100) };
        assert_eq!(refusal(ledger.reserve(&other).await), Some(Refusal::OtherUnit));
        let nobody = Charge { uses_max: 0, ..single(31, 0, 100) };
        assert_eq!(refusal(ledger.reserve(&nobody).await), Some(Refusal::NoUses));
        // In the next period it may cost something else.
        ledger.reserve(&Charge { period_us: HOUR_US, ..dearer }).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn costs_of_any_size_come_back_as_they_were() {
    each_store(async |bench: Bench| {
        let ledger = bench.open(1).await;
        let all = Cost { loss: u64::MAX, delta: u64::MAX };
        let big = Charge { cost: all, cap: all, uses_max: 1, ..charge(1) };
        ledger.reserve(&big).await.unwrap();
        let line = ledger.reader().budget(None).await.unwrap().remove(0);
        assert_eq!((line.cost, line.cap), (all, all));
        let more = Charge { line: [2; 32], cost: Cost { loss: 1, delta: 0 }, ..big };
        let more = Charge { id: [2; 16], ..more };
        assert_eq!(refusal(ledger.reserve(&more).await), Some(Refusal::Exhausted), "no wrapping");
    })
    .await;
}

#[tokio::test]
async fn writers_that_race_for_a_budget_stay_below_its_cap() {
    each_store(async |bench: Bench| {
        let ledgers = [bench.open(1).await, bench.open_as(2, "node-b").await];
        // Many budgets, each with room for two: the race is for the last place.
        for period in 0..25_u8 {
            let mut tasks = JoinSet::new();
            for n in 0..8_u8 {
                let ledger = ledgers[usize::from(n % 2)].clone();
                let charge = Charge {
                    period_us: i64::from(period) * HOUR_US,
                    id: [period * 8 + n; 16],
                    ..single(n, 4, 11)
                };
                tasks.spawn(async move { refusal(ledger.reserve(&charge).await) });
            }
            let refusals = tasks.join_all().await;
            assert_eq!(refusals.iter().filter(|r| r.is_none()).count(), 2, "{refusals:?}");
            assert!(refusals.iter().flatten().all(|r| *r == Refusal::Exhausted));
        }
        let lines = ledgers[0].reader().budget(None).await.unwrap();
        assert_eq!(Spent::of(&lines).loss, 25 * 8);
    })
    .await;
}

#[tokio::test]
async fn a_blocked_period_stays_blocked() {
    each_store(async |bench: Bench| {
        let ledger = bench.open(1).await;
        ledger.reserve(&charge(1)).await.unwrap();
        ledger.block(blocked("orders", 0)).await.unwrap();
        ledger.block(blocked("orders", 0)).await.unwrap();
        drop(ledger);
        let ledger = bench.open_as(2, "node-b").await;
        for hour in [1, 2] {
            assert_eq!(refusal(ledger.reserve(&charge(hour)).await), Some(Refusal::Blocked));
        }
        // What was reserved before may have been released in the life that is lost.
        let error = ledger.release(release(1), blobs(1)).await.unwrap_err();
        assert!(matches!(error, ReleaseError::Blocked), "{error}");
        let later = Charge { period_us: HOUR_US, ..charge(2) };
        ledger.reserve(&later).await.unwrap();
        let people = Charge { account: "people".into(), ..charge(3) };
        ledger.reserve(&people).await.unwrap();
        assert_eq!(ledger.reader().blocked(None).await.unwrap(), [("orders".to_owned(), 0)]);
        assert_eq!(ledger.reader().blocked(Some("people")).await.unwrap(), []);
        ledger.close().await.unwrap();
        verified(&bench).await;
    })
    .await;
}

#[tokio::test]
async fn nothing_is_released_without_its_reservation() {
    each_store(async |bench: Bench| {
        let ledger = bench.open(1).await;
        let error = ledger.release(release(1), blobs(1)).await.unwrap_err();
        assert!(matches!(error, ReleaseError::NotReserved), "{error}");
        let entry = || Entry::Release(Box::new(release(1)));
        assert_eq!(ledger.append(entry()).await, Err(AppendError::NotReserved));
        assert_eq!(ledger.submit(entry()), Err(AppendError::NotReserved));
        ledger.reserve(&charge(1)).await.unwrap();
        assert_eq!(ledger.append(entry()).await, Err(AppendError::NotReserved));
        let cheaper = Release { cost: Cost::default(), ..release(1) };
        let error = ledger.release(cheaper, blobs(1)).await.unwrap_err();
        assert!(matches!(error, ReleaseError::OtherCharge), "{error}");
        // A cap of its own making does not get in.
        let cap = Cost { loss: u64::MAX, delta: u64::MAX };
        ledger.release(Release { cap, ..release(1) }, blobs(1)).await.unwrap();
        let listed = ledger.reader().find_release(&release(1).id).await.unwrap().unwrap();
        assert_eq!(listed.entry.cap, charge(1).cap);
        let error = ledger.published(release(1).id, Position { leaf: 9, ..listed.at }).await;
        assert!(matches!(error.unwrap_err(), ReleaseError::Unknown));
        let error = ledger.published(release(2).id, listed.at).await.unwrap_err();
        assert!(matches!(error, ReleaseError::Unknown), "{error}");
        ledger.close().await.unwrap();
        assert_eq!(verified(&bench).await.releases.stand, 1);
    })
    .await;
}

#[tokio::test]
async fn a_crash_between_reservation_and_release_wastes_and_doubles_nothing() {
    each_store(async |bench: Bench| {
        let first = bench.open(1).await;
        first.reserve(&charge(1)).await.unwrap();
        drop(first);
        let second = bench.open(2).await;
        second.reserve(&charge(1)).await.unwrap();
        second.release(release(1), blobs(1)).await.unwrap();
        drop(second);
        let third = bench.open(3).await;
        third.reserve(&charge(1)).await.unwrap();
        let error = third.release(release(1), blobs(9)).await.unwrap_err();
        assert!(matches!(error, ReleaseError::Taken), "{error}");
        assert_eq!(third.reader().release_blobs(&release(1).id).await.unwrap(), Some(blobs(1)));
        assert_eq!(third.reader().budget(None).await.unwrap()[0].charges, 1);
        third.close().await.unwrap();
        let verdict = verified(&bench).await;
        assert_eq!((verdict.releases.stand, verdict.releases.void), (1, 0));
        assert_eq!(verdict.budget[0].spent, Spent { loss: 10, delta: 1 });
    })
    .await;
}

#[tokio::test]
async fn what_was_not_seen_to_leave_comes_back_byte_for_byte() {
    each_store(async |bench: Bench| {
        let first = bench.open(1).await;
        let mut at = Vec::new();
        for hour in [2, 1, 3] {
            first.reserve(&charge(hour)).await.unwrap();
            at.push(first.release(release(hour), blobs(hour)).await.unwrap().first());
        }
        first.published(release(3).id, at[2]).await.unwrap();
        drop(first);

        let second = bench.open(2).await;
        let left = second.unpublished("orders-per-hour").await.unwrap();
        let expected = [(1, at[1]), (2, at[0])];
        assert_eq!(left.len(), 2);
        for (found, (hour, at)) in left.iter().zip(expected) {
            assert_eq!((found.blobs.first(), found.blobs.get()), (at, &blobs(hour)));
            let digests = found.entry.blobs.clone();
            assert_eq!(found.entry, Release { blobs: digests, ..release(hour) });
            second.published(found.entry.id, found.blobs.first()).await.unwrap();
        }
        assert!(second.unpublished("orders-per-hour").await.unwrap().is_empty());
        assert!(second.unpublished("another").await.unwrap().is_empty());

        let latest = second.reader().latest_release("orders-per-hour").await.unwrap().unwrap();
        assert_eq!((latest.entry.id, latest.published), (release(3).id, true));
        assert_eq!(second.reader().latest_release("another").await.unwrap(), None);
        let listed =
            second.reader().releases("orders-per-hour", HOUR_US, 3 * HOUR_US).await.unwrap();
        let ids: Vec<_> = listed.iter().map(|release| release.entry.id[0]).collect();
        assert_eq!(ids, [1, 2]);
        assert_eq!(second.reader().release_blobs(&release(2).id).await.unwrap(), Some(blobs(2)));
        assert_eq!(second.reader().release_blobs(&[77; 16]).await.unwrap(), None);

        // Without a writer, beside one.
        let reader = Reader::open(&bench.url).await.unwrap();
        assert_eq!(reader.releases("orders-per-hour", 0, i64::MAX).await.unwrap().len(), 3);
        assert_eq!(reader.blobs(&latest.entry).await.unwrap(), blobs(3));
        let lines = reader.budget(None).await.unwrap();
        assert_eq!(lines, second.reader().budget(None).await.unwrap());
        assert_eq!(lines[0].charges, 3);
        reader.close().await;

        second.close().await.unwrap();
        let mut kept = 0;
        let verdict = verify_store(&bench.url, |record| {
            kept += usize::from(matches!(record, sluicegate_audit::Exported::Blob { .. }));
        });
        let verdict = verdict.await.unwrap();
        assert!(verdict.is_ok(), "{verdict}");
        assert_eq!((verdict.releases.published, verdict.releases.blobs_detached), (3, 0));
        assert_eq!(kept, 4, "the blob that three releases share is there once");
    })
    .await;
}

#[tokio::test]
async fn of_writers_that_race_for_a_release_one_wins() {
    each_store(async |bench: Bench| {
        let ledgers = [bench.open(1).await, bench.open_as(2, "node-b").await];
        for hour in 0..20 {
            let mut tasks = JoinSet::new();
            for n in 0..4 {
                let ledger: Ledger = ledgers[n % 2].clone();
                tasks.spawn(async move {
                    ledger.reserve(&charge(hour)).await.unwrap();
                    let own = vec![vec![hour, n as u8]];
                    (n, ledger.release(release(hour), own).await)
                });
            }
            let results = tasks.join_all().await;
            let won: Vec<_> = results.iter().filter(|(_, result)| result.is_ok()).collect();
            assert_eq!(won.len(), 1);
            let lost = results.iter().filter_map(|(_, result)| result.as_ref().err());
            assert!(lost.into_iter().all(|error| matches!(error, ReleaseError::Taken)));
            let stands = ledgers[0].reader().release_blobs(&release(hour).id).await.unwrap();
            assert_eq!(stands, Some(vec![vec![hour, won[0].0 as u8]]), "the winner's bytes");
        }
        for ledger in &ledgers {
            ledger.close().await.unwrap();
        }
        let verdict = verified(&bench).await;
        assert_eq!((verdict.releases.stand, verdict.releases.unsettled), (20, 0));
        assert_eq!(verdict.budget[0].releases, 20);
    })
    .await;
}

/// Both have their row made and sent before either is there.
#[tokio::test]
async fn the_release_that_lost_is_void_though_nobody_waits_for_it() {
    each_store(async |bench: Bench| {
        let ledgers = [bench.open(1).await, bench.open_as(2, "node-b").await];
        ledgers[0].reserve(&charge(1)).await.unwrap();
        bench.break_store().await;
        for (n, ledger) in ledgers.iter().enumerate() {
            let error = ledger.release(release(1), vec![vec![n as u8]]).await.unwrap_err();
            assert!(matches!(error, ReleaseError::Append(AppendError::Unavailable(_))), "{error}");
        }
        bench.mend_store().await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let found = ledgers[0].unpublished("orders-per-hour").await.unwrap();
        assert_eq!(found.len(), 1);
        let winner =
            ledgers.iter().position(|l| l.writer() == found[0].blobs.first().writer).unwrap();
        assert_eq!(*found[0].blobs.get(), [vec![winner as u8]]);
        // Whoever tries again is told that one stands.
        for ledger in &ledgers {
            let error = ledger.release(release(1), blobs(7)).await.unwrap_err();
            assert!(matches!(error, ReleaseError::Taken), "{error}");
            ledger.close().await.unwrap();
        }
        let verdict = verified(&bench).await;
        assert_eq!((verdict.releases.stand, verdict.releases.void), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_crash_before_the_void_is_made_good_at_the_next_start() {
    each_store(async |bench: Bench| {
        let first = bench.open(1).await;
        first.reserve(&charge(1)).await.unwrap();
        first.release(release(1), blobs(1)).await.unwrap();
        drop(first);
        unseat(&bench).await;
        let second = bench.open_as(2, "node-b").await;
        second.release(release(1), blobs(2)).await.unwrap();
        assert_eq!(second.unpublished("orders-per-hour").await.unwrap()[0].blobs.get(), &blobs(2));
        let verdict = verified(&bench).await;
        assert_eq!((verdict.releases.stand, verdict.releases.unsettled), (1, 1));
        // The first node starts again.
        let third = bench.open(3).await;
        let verdict = verified(&bench).await;
        assert_eq!((verdict.releases.void, verdict.releases.unsettled), (1, 0));
        for ledger in [second, third] {
            ledger.close().await.unwrap();
        }
        let fourth = bench.open(4).await;
        fourth.close().await.unwrap();
        assert_eq!(verified(&bench).await.releases.void, 1, "it is said once");
    })
    .await;
}

/// The mutant of the one before: without the void, both chains end and two releases stand.
#[tokio::test]
async fn without_the_void_the_verifier_objects() {
    each_store(async |bench: Bench| {
        let first = bench.open(1).await;
        first.reserve(&charge(1)).await.unwrap();
        first.release(release(1), blobs(1)).await.unwrap();
        drop(first);
        unseat(&bench).await;
        bench.try_sql("DELETE FROM ledger_release_lost").await.unwrap();
        let second = bench.open_as(2, "node-b").await;
        second.release(release(1), blobs(2)).await.unwrap();
        second.close().await.unwrap();
        bench.open(3).await.close().await.unwrap();
        let verdict = verify_store(&bench.url, |_| {}).await.unwrap();
        assert_eq!(verdict.divergence.map(|d| d.what), Some(verify::What::ReleaseTwice));
    })
    .await;
}

#[tokio::test]
async fn everybody_gets_what_was_agreed() {
    each_store(async |bench: Bench| {
        let ledgers = [bench.open(1).await, bench.open_as(2, "node-b").await];
        for about in 0..10_u8 {
            let mut tasks = JoinSet::new();
            for n in 0..8_u8 {
                let ledger = ledgers[usize::from(n % 2)].clone();
                tasks.spawn(async move { ledger.agree(&[7, about], &[n]).await.unwrap() });
            }
            let mut agreed = tasks.join_all().await;
            agreed.dedup();
            assert_eq!(agreed.len(), 1, "about {about}");
            assert_eq!(ledgers[0].agree(&[7, about], b"late").await.unwrap(), agreed[0]);
        }
        // In order of bytes, of what lies between; what lies outside stays apart.
        for about in [&[7][..], &[7, 200, 1], &[8], &[0], &[0xff]] {
            assert_eq!(ledgers[0].agree(about, b"x").await.unwrap(), b"x");
        }
        let page = ledgers[1].agreed(&[7], &[8]).await.unwrap();
        let about: Vec<_> = page.iter().map(|(about, _)| about.clone()).collect();
        assert_eq!((about.len(), &about[0][..], &about[11][..]), (12, &[7][..], &[7, 200, 1][..]));
        ledgers[0].forget(&[7, 5], &[8]).await.unwrap();
        assert_eq!(ledgers[1].agreed(&[], &[0xff]).await.unwrap().len(), 6 + 2);
        // The ledger's own part of it is out of reach.
        ledgers[0].forget(&[], &[0xff, 0xff]).await.unwrap();
        assert_eq!(ledgers[0].segments().await.unwrap().len(), 1);
        for n in 0..250_u8 {
            ledgers[0].agree(&[1, n], &[n; 300]).await.unwrap();
        }
        let (mut from, mut all) = (vec![1], 0);
        loop {
            let page = ledgers[1].agreed(&from, &[2]).await.unwrap();
            let Some((last, value)) = page.last() else { break };
            assert_eq!(value.len(), 300);
            from = [&last[..], &[0]].concat();
            all += page.len();
        }
        assert_eq!(all, 250, "page by page");
    })
    .await;
}

#[tokio::test]
async fn a_lease_has_one_holder_and_a_growing_epoch() {
    each_store(async |bench: Bench| {
        let ledgers = [bench.open(1).await, bench.open_as(2, "node-b").await];
        let [a, b] = &ledgers;
        assert_eq!(a.lease_epoch("releaser").await.unwrap(), None);
        assert_eq!(a.lease("releaser", "a", 0, 10).await.unwrap(), Some(1));
        assert_eq!(b.lease("releaser", "b", 9, 10).await.unwrap(), None);
        assert_eq!(a.lease("releaser", "a", 9, 10).await.unwrap(), Some(1), "renewed");
        assert_eq!(b.lease("releaser", "b", 18, 10).await.unwrap(), None);
        assert_eq!(b.lease("releaser", "b", 19, 10).await.unwrap(), Some(2), "expired");
        assert_eq!(a.lease("releaser", "a", 20, 10).await.unwrap(), None, "fenced");
        assert_eq!(a.lease_epoch("releaser").await.unwrap(), Some(2));
        assert_eq!(
            b.lease("releaser", "b", 99, 10).await.unwrap(),
            Some(2),
            "late, nobody took it"
        );
        assert_eq!(a.lease("another", "a", 0, i64::MAX).await.unwrap(), Some(1));
        assert_eq!(b.lease("another", "b", i64::MAX - 1, 10).await.unwrap(), None);
        let mut tasks = JoinSet::new();
        for n in 0..20_usize {
            let ledger = ledgers[n % 2].clone();
            let holder = format!("h{n}");
            tasks.spawn(async move { ledger.lease("race", &holder, 0, 10).await.unwrap() });
        }
        let held: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
        assert_eq!(held, [1]);
    })
    .await;
}

#[tokio::test]
async fn the_database_refuses_to_forget_a_charge() {
    each_store(async |bench: Bench| {
        let ledger = bench.open(1).await;
        ledger.reserve(&charge(1)).await.unwrap();
        ledger.block(blocked("people", 0)).await.unwrap();
        for attempt in [
            "DELETE FROM ledger_charge",
            "UPDATE ledger_charge SET cost_loss = 0",
            "UPDATE ledger_charge SET period_us = period_us + 1",
            "DELETE FROM ledger_blocked",
            "UPDATE ledger_blocked SET period_us = 9",
        ] {
            assert!(bench.try_sql(attempt).await.is_err(), "was taken: {attempt}");
        }
        assert_eq!(ledger.reader().budget(None).await.unwrap()[0].cost, charge(1).cost);
    })
    .await;
    let bench = Bench::sqlite();
    bench.open(1).await.reserve(&charge(1)).await.unwrap();
    let replace = "INSERT OR REPLACE INTO ledger_charge SELECT id, account, period_us, line, unit, \
                   uses_max, 0, 0, cap_loss, cap_delta FROM ledger_charge";
    assert!(bench.try_sql(replace).await.is_err());
}

/// A verification sees one moment: what a living ledger writes meanwhile is not missing.
#[tokio::test]
async fn a_living_ledger_verifies_at_any_moment() {
    each_store(async |bench: Bench| {
        let ledgers = [bench.open(1).await, bench.open_as(2, "node-b").await];
        let writing = tokio::spawn(async move {
            for hour in 0..40 {
                ledgers[0].reserve(&charge(hour)).await.unwrap();
                let both = ledgers.iter().map(|l| l.release(release(hour), blobs(hour)));
                let mut both = both.collect::<Vec<_>>().into_iter();
                let (Some(a), Some(b)) = (both.next(), both.next()) else { continue };
                let (a, b) = tokio::join!(a, b);
                // The other writer says so: its row refers to the other chain.
                let (at, other) = match (a, b) {
                    (Ok(at), _) => (at, &ledgers[1]),
                    (_, Ok(at)) => (at, &ledgers[0]),
                    (Err(a), Err(b)) => panic!("{a}, {b}"),
                };
                other.published(release(hour).id, at.first()).await.unwrap();
            }
        });
        let mut times = 0;
        while !writing.is_finished() {
            verified(&bench).await;
            times += 1;
        }
        writing.await.unwrap();
        assert!(times > 0);
        assert_eq!(verified(&bench).await.releases.published, 40);
    })
    .await;
}
