//! What a ledger promises, whatever its store. Each promise is tried on SQLite, and on PostgreSQL
//! where `SLUICEGATE_TEST_POSTGRES=postgres://…` names a server whose user may create databases;
//! otherwise the suite says that it left PostgreSQL out.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests fail the test, and say what was left out"
)]

#[expect(dead_code, reason = "other suites use the rest")]
mod harness;

use std::{collections::BTreeMap, time::Duration};

use harness::{
    Bench, NOW_US, claim, copied, delivered, digest, each_store, intent, leaf, options, outcome,
    run, treatment, treatment_to,
};
use sluicegate_audit::{
    Actor, AppendError, At, Copied, Destination, Digest32, Entry, Exported, Fate, Intent, Ledger,
    Missing, MissingState, OpenChain, OpenLeaf, OpenNode, Options, Position, Present, Standing,
    Url, WriterId, lineage::Lineage, verify, verify_store,
};

#[tokio::test]
async fn what_is_appended_verifies_and_is_found_again() {
    each_store(async |bench: Bench| {
        let ledger = bench.open(1).await;
        let (digest32, bytes) = treatment("eu");
        let events = vec![
            delivered(0, b"device-7", b"tok-1"),
            leaf(1, Fate::Refuse("no-purpose".into(), "r".into())),
        ];
        let details = vec![(digest32, bytes)];
        let appended =
            ledger.intend(intent(digest32, 2), events, details, vec![], None).await.unwrap();
        ledger.settle(outcome(appended.first(), "eu", &[(40, 0)]), None).unwrap();
        ledger.close().await.unwrap();
        let verdict = verify_store(&bench.url, |_| {}).await.unwrap();
        assert!(verdict.is_ok(), "{verdict}");
        assert_eq!((verdict.records, verdict.delivered, verdict.refused), (2, 1, 1));
        assert!(verdict.heads.iter().all(|head| head.closed));

        let lineage = Lineage::open(&bench.url).await.unwrap();
        for answer in [
            lineage.record(None, "shop.orders", 3, 40).await.unwrap(),
            lineage.record(Some("eu"), "shop.orders", 3, 40).await.unwrap(),
            lineage.token(&[digest(b"none"), digest(b"tok-1")]).await.unwrap(),
            lineage.affected(&[digest(b"device-7")], i64::MIN, i64::MAX).await.unwrap(),
        ] {
            assert_eq!(answer.found.len(), 1, "{answer}");
            assert_eq!(answer.found[0].position, appended.first());
            assert_eq!(answer.found[0].places[0].offset, 40);
            assert_eq!(answer.found[0].treatments[0].treatment.region, "eu");
        }
        for nothing in [
            lineage.record(Some("us"), "shop.orders", 3, 40).await.unwrap(),
            lineage.record(None, "shop.orders", 3, 41).await.unwrap(),
            lineage.token(&[digest(b"device-7")]).await.unwrap(),
            lineage.affected(&[digest(b"device-7")], i64::MIN, 0).await.unwrap(),
        ] {
            assert!(nothing.found.is_empty(), "{nothing}");
        }
        lineage.close().await;
    })
    .await;
}

#[tokio::test]
async fn many_appenders_and_writers_keep_every_chain_whole() {
    each_store(async |bench: Bench| {
        let ledgers = [bench.open(1).await, bench.open_as(2, "node-b").await];
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..64_u32 {
            let ledger = ledgers[n as usize % 2].clone();
            tasks.spawn(async move {
                let mut positions = Vec::new();
                for m in 0..10 {
                    let (digest32, bytes) = treatment("eu");
                    let events =
                        (0..3).map(|i| delivered(i, &n.to_be_bytes(), &[m])).collect::<Vec<_>>();
                    let details = vec![(digest32, bytes)];
                    let intent = intent(digest32, 3);
                    let done = ledger.intend(intent, events, details, vec![], None).await.unwrap();
                    positions.push(done.first());
                }
                positions
            });
        }
        let mut all: Vec<Position> = tasks.join_all().await.into_iter().flatten().collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 640, "each intent has a place of its own");
        for ledger in &ledgers {
            ledger.close().await.unwrap();
        }
        let verdict = verify_store(&bench.url, |_| {}).await.unwrap();
        assert!(verdict.is_ok(), "{verdict}");
        assert_eq!(verdict.records, 1_920);
    })
    .await;
}

#[tokio::test]
async fn a_restart_finds_what_was_left_open_and_continues_the_story() {
    each_store(async |bench: Bench| {
        let first = bench.open(1).await;
        let (digest32, bytes) = treatment("eu");
        let (counted, more) = treatment_to("eu", Some("orders.counted"));
        let details = vec![(digest32, bytes), (counted, more)];
        let mut events = vec![delivered(0, b"d", b"t"), leaf(1, Fate::Aggregate(vec![copied(1)]))];
        events.push(leaf(2, Fate::Deliver(vec![copied(0), copied(1)])));
        events.push(leaf(3, Fate::Refuse("no-purpose".into(), "r".into())));
        let mut both = intent(digest32, 4);
        both.treatments.push(Digest32(counted));
        let open = first.intend(both, events, details.clone(), vec![], None);
        let open = open.await.unwrap().first();
        let events = vec![delivered(0, b"d", b"t")];
        let done = first.intend(intent(digest32, 1), events, details, vec![], None).await.unwrap();
        first.settle_now(outcome(done.first(), "eu", &[(7, done.first().leaf)])).await.unwrap();
        // A crash: no closing entry, connections gone.
        drop(first);

        let second = bench.open(2).await;
        let found = second.open_intents().await.unwrap();
        assert_eq!(found.iter().map(|o| o.first).collect::<Vec<_>>(), [open]);
        let plain = Destination { region: "eu".into(), topic: None, untouched: false };
        let internal = Destination {
            region: "eu".into(),
            topic: Some("orders.counted".into()),
            untouched: false,
        };
        let at = |leaf, to| OpenLeaf { position: Position { leaf, ..open }, records: 1, to };
        assert_eq!(
            found[0].leaves,
            [
                at(0, vec![plain.clone()]),
                at(1, vec![internal.clone()]),
                at(2, vec![plain, internal]),
            ]
        );
        let verdict = verify_store(&bench.url, |_| {}).await.unwrap();
        assert_eq!((verdict.open_intents, &verdict.open_first[..]), (1, &[open][..]), "{verdict}");
        let mut settled = outcome(open, "eu", &[(8, open.leaf), (9, 2)]);
        settled.missing.push(Missing {
            region: "eu".into(),
            topic: "orders.counted".into(),
            state: MissingState::Unknown,
            code: "not-found".into(),
            leaves: vec![1, 2],
        });
        second.settle_now(settled).await.unwrap();
        assert!(second.open_intents().await.unwrap().is_empty());
        second.close().await.unwrap();
        let verdict = verify_store(&bench.url, |_| {}).await.unwrap();
        assert!(verdict.is_ok(), "{verdict}");
    })
    .await;
}

#[tokio::test]
async fn a_key_is_taken_once_and_answers_again() {
    each_store(async |bench: Bench| {
        let ledgers = [bench.open(1).await, bench.open_as(2, "node-b").await];
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..20_usize {
            let ledger = ledgers[n % 2].clone();
            tasks.spawn(async move {
                let (digest32, bytes) = treatment("eu");
                let events = vec![delivered(0, b"d", b"t")];
                let details = vec![(digest32, bytes)];
                let claim = Some(claim(9));
                ledger.intend(intent(digest32, 1), events, details, vec![], claim).await
            });
        }
        let results = tasks.join_all().await;
        let won: Vec<_> = results.iter().filter_map(|r| r.as_ref().ok()).collect();
        assert_eq!(won.len(), 1);
        assert!(results.iter().filter(|r| r.is_err()).all(|r| *r == Err(AppendError::ClaimTaken)));
        let state = ledgers[1].claim(&claim(9).key, 1).await.unwrap().unwrap();
        assert_eq!((state.first, state.answer), (won[0].first(), None));
        let answer = Some((claim(9).key, b"202".to_vec()));
        let winner = ledgers.iter().find(|l| l.writer() == won[0].first().writer).unwrap();
        winner.settle(outcome(won[0].first(), "eu", &[(1, won[0].first().leaf)]), answer).unwrap();
        for ledger in &ledgers {
            ledger.append(Entry::Heartbeat).await.unwrap();
        }
        let state = ledgers[0].claim(&claim(9).key, 1).await.unwrap().unwrap();
        assert_eq!(state.answer.as_deref(), Some(&b"202"[..]));
        for ledger in &ledgers {
            ledger.close().await.unwrap();
        }
        // Those who lost the key left no intent open.
        let next = bench.open(3).await;
        assert!(next.open_intents().await.unwrap().is_empty());
        next.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_outcome_of_any_size_gets_in() {
    each_store(async |bench: Bench| {
        let ledger = bench.open(1).await;
        let (digest32, bytes) = treatment("eu");
        let events: Vec<_> = (0..10_000).map(|n| delivered(n, b"d", b"t")).collect();
        let details = vec![(digest32, bytes)];
        let done = ledger.intend(intent(digest32, 10_000), events, details, vec![], None).await;
        let first = done.unwrap().first();
        let at: Vec<(i64, u32)> = (0..10_000).map(|n| (i64::from(n) * 2, n)).collect();
        ledger.settle_now(outcome(first, "eu", &at)).await.unwrap();
        ledger.close().await.unwrap();
        let next = bench.open(2).await;
        assert!(next.open_intents().await.unwrap().is_empty());
        next.close().await.unwrap();
        let lineage = Lineage::open(&bench.url).await.unwrap();
        let last = lineage.record(None, "shop.orders", 3, 19_998).await.unwrap();
        assert_eq!(last.found[0].position.leaf, 9_999);
        lineage.close().await;
    })
    .await;
}

/// An auditor must not read that a field went out which the record did not have.
#[tokio::test]
async fn lineage_names_only_fields_that_were_there() {
    each_store(async |bench: Bench| {
        let ledger = bench.open(1).await;
        let (digest32, bytes) = treatment("eu");
        let absent = Copied { treatment: 0, present: Present::of([false]) };
        let leaves = vec![
            leaf(0, Fate::Deliver(vec![absent])),
            leaf(1, Fate::Deliver(vec![copied(0)])),
            run(2, 5, 3),
        ];
        let intent = Intent { records: 7, ..intent(digest32, 3) };
        let details = vec![(digest32, bytes)];
        let first = ledger.intend(intent, leaves, details, vec![], None).await.unwrap().first();
        let mut placed = outcome(first, "eu", &[(40, 0), (41, 1)]);
        placed.placed[0].at.push(At { offset: 42, leaf: 2, count: 5 });
        ledger.settle_now(placed).await.unwrap();
        ledger.close().await.unwrap();
        let lineage = Lineage::open(&bench.url).await.unwrap();
        for (offset, records, times) in [(40, 1, None), (41, 1, Some(1)), (44, 5, Some(3))] {
            let answer = lineage.record(None, "shop.orders", 3, offset).await.unwrap();
            let [found] = &answer.found[..] else { panic!("{offset}: {answer}") };
            let fields: Vec<_> = found.treatments[0].fields().map(|(_, times)| times).collect();
            assert_eq!((found.records, fields), (records, Vec::from_iter(times)), "{offset}");
            assert_eq!(answer.to_string().contains("$.email"), times.is_some(), "{answer}");
            assert_eq!(answer.json().contains("$.email"), times.is_some());
        }
        assert!(lineage.record(None, "shop.orders", 3, 47).await.unwrap().found.is_empty());
        lineage.close().await;
        let verdict = verify_store(&bench.url, |_| {}).await.unwrap();
        assert!(verdict.is_ok() && verdict.records == 7, "{verdict}");
    })
    .await;
}

#[tokio::test]
async fn what_is_taken_up_again_keeps_its_positions_and_is_open_until_its_next_end() {
    each_store(async |bench: Bench| {
        let ledger = bench.open(1).await;
        let (digest32, bytes) = treatment("eu");
        let (leaves, details) = (vec![delivered(0, b"d", b"t")], vec![(digest32, bytes)]);
        let intent = intent(digest32, 1);
        let proof = ledger.intend(intent, leaves, details, vec![], None).await.unwrap();
        let recorded = proof.cover(["a", "b"]);
        let first = recorded.first();
        let part = recorded.project(|both| both[1]);
        assert_eq!((part.first(), *part.get()), (first, "b"));
        let mut never = outcome(first, "eu", &[]);
        never.placed.clear();
        never.missing.push(Missing {
            region: "eu".into(),
            topic: "shop.orders".into(),
            state: MissingState::NotWritten,
            code: "unavailable".into(),
            leaves: vec![0],
        });
        ledger.settle_now(never).await.unwrap();
        let actor = Actor { id: "till-7".into(), by: "mtls".into() };
        assert_eq!(ledger.reopen(first, actor).await.unwrap().first(), first);
        drop(ledger);
        let next = bench.open(2).await;
        assert_eq!(next.open_intents().await.unwrap().len(), 1);
        let verdict = verify_store(&bench.url, |_| {}).await.unwrap();
        assert!(verdict.is_ok() && verdict.open_intents == 1, "{verdict}");
        next.settle_now(outcome(first, "eu", &[(9, 0)])).await.unwrap();
        next.close().await.unwrap();
        let verdict = verify_store(&bench.url, |_| {}).await.unwrap();
        assert!(verdict.is_ok() && verdict.open_intents == 0, "{verdict}");
    })
    .await;
}

async fn rows(bench: &Bench) -> u64 {
    verify_store(&bench.url, |_| {}).await.unwrap().rows
}

#[tokio::test]
async fn an_outcome_has_no_row_of_its_own_unless_it_is_alone() {
    each_store(async |bench: Bench| {
        let ledger = bench.open(1).await;
        let (digest32, bytes) = treatment("eu");
        let mut before = rows(&bench).await;
        for n in 0..20_i64 {
            let (events, details) =
                (vec![delivered(0, b"d", b"t")], vec![(digest32, bytes.clone())]);
            let done = ledger.intend(intent(digest32, 1), events, details, vec![], None);
            let first = done.await.unwrap().first();
            ledger.settle(outcome(first, "eu", &[(n, 0)]), None).unwrap();
        }
        // The last outcome is alone, and long in before the heartbeat of an idle ledger.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(ledger.sizes().await.unwrap().open_intents, 0);
        let now = rows(&bench).await;
        // Some may be alone where the machine is busy; without company it were 40.
        assert!((21..=25).contains(&(now - before)), "{}", now - before);
        before = now;
        ledger.close().await.unwrap();
        assert_eq!(rows(&bench).await, before + 1);
    })
    .await;
}

#[tokio::test]
async fn of_one_key_in_one_flush_the_first_has_it_and_an_answer_is_of_the_claim_before() {
    each_store(async |bench: Bench| {
        let ledger = bench.open(1).await;
        let (digest32, bytes) = treatment("eu");
        let claimed = |key: u8| {
            let (events, details) =
                (vec![delivered(0, b"d", b"t")], vec![(digest32, bytes.clone())]);
            let claim = Some(claim(key));
            ledger.intend(intent(digest32, 1), events, details, vec![], claim)
        };
        let first = claimed(1).await.unwrap().first();
        let answer = Some((claim(1).key, b"202".to_vec()));
        ledger.settle(outcome(first, "eu", &[(1, 0)]), answer).unwrap();
        // All in one flush, with the answer of the first.
        let (again, new, twin) = tokio::join!(claimed(1), claimed(2), claimed(2));
        assert_eq!(again.unwrap_err(), AppendError::ClaimTaken);
        assert_eq!(twin.unwrap_err(), AppendError::ClaimTaken);
        let state = ledger.claim(&claim(1).key, 1).await.unwrap().unwrap();
        assert_eq!((state.first, state.answer.as_deref()), (first, Some(&b"202"[..])));
        let state = ledger.claim(&claim(2).key, 1).await.unwrap().unwrap();
        assert_eq!((state.first, state.answer), (new.unwrap().first(), None));
        ledger.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_second_process_with_the_same_writer_id_is_fenced() {
    each_store(async |bench: Bench| {
        let ledger = bench.open(1).await;
        bench.steal_next_row(1).await;
        assert_eq!(ledger.append(Entry::Heartbeat).await.unwrap_err(), AppendError::Fenced);
        assert!(!ledger.is_healthy());
        let late = ledger.append(Entry::Heartbeat).await.unwrap_err();
        assert!(matches!(late, AppendError::Fenced), "{late}");
    })
    .await;
}

#[tokio::test]
async fn a_chain_that_another_node_ended_takes_no_more() {
    each_store(async |bench: Bench| {
        let gone = bench.open_as(1, "gone").await;
        let (digest32, bytes) = treatment("eu");
        let events = vec![delivered(0, b"d", b"t")];
        let details = vec![(digest32, bytes)];
        let open = gone.intend(intent(digest32, 1), events, details, vec![], None).await.unwrap();
        let other = bench.open_as(2, "there").await;
        assert!(gone.open_elsewhere().await.unwrap().is_empty(), "those of other nodes only");

        let names = matches!(bench.url, Url::Postgres(_));
        let chain = |open: BTreeMap<String, OpenNode>, is_held| {
            assert_eq!(open.keys().collect::<Vec<_>>(), ["gone"]);
            assert_eq!((open["gone"].intents, open["gone"].is_held), (1, is_held));
            open["gone"].chains[0]
        };
        let before = chain(other.open_elsewhere().await.unwrap(), false);
        assert_eq!((before.writer, before.closed), (open.first().writer, false));
        let held = other.hold("gone").await.unwrap().unwrap();
        held.close(&before).await.unwrap();
        held.close(&before).await.unwrap();
        let after = chain(other.open_elsewhere().await.unwrap(), names);
        assert_eq!(after, OpenChain { wseq: before.wseq + 1, closed: true, ..before });

        // It comes back, and what it had to say is not written.
        gone.settle(outcome(open.first(), "eu", &[(7, 0)]), None).unwrap();
        assert_eq!(gone.append(Entry::Heartbeat).await.unwrap_err(), AppendError::Fenced);
        let restart =
            |writer| Options { node: "gone".into(), ..options(writer, NOW_US, Standing::Node) };
        if names {
            let refused = Ledger::open(&bench.url, restart(3)).await.err().unwrap();
            assert!(refused.to_string().contains("runs as node `gone`"), "{refused}");
        }
        let found = held.open_intents().await.unwrap();
        assert_eq!(found.iter().map(|o| o.first).collect::<Vec<_>>(), [open.first()]);
        other.settle_now(outcome(open.first(), "eu", &[(7, 0)])).await.unwrap();
        assert!(other.open_elsewhere().await.unwrap().is_empty());
        drop(held);

        // The next of its name continues behind the end that it was given.
        let started = async || Ledger::open(&bench.url, restart(4)).await.ok();
        let again = loop {
            // The server lets go of a name a little after its connection.
            match started().await {
                Some(again) => break again,
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        assert_eq!(other.hold("gone").await.unwrap().is_none(), names, "it runs");
        for ledger in [again, other] {
            ledger.close().await.unwrap();
        }
        let verdict = verify_store(&bench.url, |_| {}).await.unwrap();
        assert!(verdict.is_ok() && verdict.open_intents == 0, "{verdict}");
        assert!(verdict.heads.iter().all(|head| head.closed), "{verdict}");
    })
    .await;
}

#[tokio::test]
async fn while_the_store_refuses_nothing_is_lost_and_then_it_recovers() {
    each_store(async |bench: Bench| {
        let ledger = bench.open(1).await;
        bench.break_store().await;
        let error = ledger.append(Entry::Heartbeat).await.unwrap_err();
        assert!(matches!(error, AppendError::Unavailable(_)), "{error}");
        assert!(!ledger.is_healthy());
        ledger.submit(harness::auth_failure("queued-while-away")).unwrap();
        tokio::time::sleep(Duration::from_millis(700)).await;
        bench.mend_store().await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert!(ledger.is_healthy(), "it recovers without being asked");
        ledger.append(Entry::Heartbeat).await.unwrap();
        ledger.close().await.unwrap();
        let mut codes = Vec::new();
        let verdict =
            verify_store(&bench.url, |exported| codes.extend(harness::auth_codes(&exported)));
        let verdict = verdict.await.unwrap();
        assert!(verdict.is_ok(), "{verdict}");
        assert_eq!(codes, ["queued-while-away"], "neither lost nor doubled");
    })
    .await;
}

#[tokio::test]
async fn a_task_that_is_killed_between_commit_and_answer_loses_nothing() {
    each_store(async |bench: Bench| {
        let ledger = bench.open(1).await;
        for n in 0..30 {
            let ledger = ledger.clone();
            let asking = tokio::spawn(async move { ledger.append(Entry::Heartbeat).await });
            tokio::time::sleep(Duration::from_micros(n * 100)).await;
            asking.abort();
        }
        ledger.close().await.unwrap();
        assert!(verify_store(&bench.url, |_| {}).await.unwrap().is_ok());
    })
    .await;
}

#[tokio::test]
async fn the_database_refuses_to_change_what_was_written() {
    each_store(async |bench: Bench| {
        let ledger = bench.open(1).await;
        for _ in 0..5 {
            ledger.append(Entry::Heartbeat).await.unwrap();
        }
        ledger.close().await.unwrap();
        for attempt in bench.attempts() {
            assert!(bench.try_sql(attempt).await.is_err(), "was taken: {attempt}");
        }
        assert!(verify_store(&bench.url, |_| {}).await.unwrap().is_ok());
    })
    .await;
}

/// What is done to the rows of a finished ledger, and what the verifier says.
#[tokio::test]
async fn tampering_is_found() {
    let url = harness::sqlite_ledger(6).await;
    let mut whole = Vec::new();
    assert!(verify_store(&url, |record| whole.push(record)).await.unwrap().is_ok());
    type Tamper = fn(&mut Vec<(WriterId, u64, Vec<u8>, Option<Vec<u8>>)>);
    let table: &[(&str, Tamper, Option<u64>)] = &[
        ("nothing", |_| {}, None),
        ("a byte of a body", |r| *r[3].2.last_mut().unwrap() ^= 1, Some(3)),
        ("a byte of the last body's text", |r| flip(&mut r[7].2, b"test"), Some(7)),
        ("a middle row removed", |r| drop(r.remove(3)), Some(4)),
        ("the first row removed", |r| drop(r.remove(0)), Some(1)),
        ("two rows swapped", |r| r.swap(2, 3), Some(3)),
        ("a row under another number", |r| r[3].1 = 9, Some(9)),
        (
            "a row twice",
            |r| {
                let row = r[3].clone();
                r.insert(3, row)
            },
            Some(3),
        ),
        ("a byte of the events", |r| *r[2].3.as_mut().unwrap().last_mut().unwrap() ^= 1, Some(2)),
        ("the events of another row", |r| r[2].3 = r[3].3.clone(), Some(2)),
        ("no events where there are some", |r| r[2].3 = Some(vec![0x80]), Some(2)),
        // Allowed: the row still commits to events that are no longer kept.
        ("events no longer kept", |r| r[2].3 = None, None),
        // Not found by a chain alone; a head that is kept elsewhere finds it. See LEDGER-FORMAT.
        ("the tail cut", |r| r.truncate(5), None),
    ];
    for (what, tamper, divergent) in table {
        let mut verifier = verify::Verifier::default();
        let mut rows = Vec::new();
        for record in &whole {
            match record {
                Exported::Detail { digest, bytes } => verifier.detail(digest, bytes),
                Exported::Blob { digest, bytes } => verifier.blob(digest, bytes),
                Exported::Row { writer, wseq, bytes, manifest } => {
                    rows.push((*writer, *wseq, bytes.clone(), manifest.clone()));
                }
            }
        }
        tamper(&mut rows);
        for (writer, wseq, bytes, manifest) in &rows {
            let (writer, wseq, manifest) = (*writer, *wseq, manifest.as_deref());
            verifier.row(&verify::Stored {
                writer,
                wseq,
                bytes,
                link: None,
                manifest,
                beside: None,
            });
        }
        let verdict = verifier.finish();
        assert_eq!(verdict.divergence.map(|d| d.wseq), *divergent, "{what}");
    }
}

/// A writer's opening seals the chain of the writer before, so that its tail cannot be cut.
#[tokio::test]
async fn a_cut_tail_is_found_once_the_node_has_started_again() {
    let bench = Bench::sqlite();
    for writer in [3, 2] {
        let ledger = bench.open(writer).await;
        ledger.append(Entry::Heartbeat).await.unwrap();
        ledger.close().await.unwrap();
    }
    for cut in [None, Some(2), Some(1), Some(0)] {
        let mut verifier = verify::Verifier::default();
        let mut whole = Vec::new();
        assert!(verify_store(&bench.url, |record| whole.push(record)).await.unwrap().is_ok());
        for record in &whole {
            let Exported::Row { writer, wseq, bytes, manifest } = record else { continue };
            let (writer, wseq, manifest) = (*writer, *wseq, manifest.as_deref());
            if writer == WriterId([3; 16]) && cut.is_some_and(|cut| wseq >= cut) {
                continue;
            }
            verifier.row(&verify::Stored {
                writer,
                wseq,
                bytes,
                link: None,
                manifest,
                beside: None,
            });
        }
        let found = verifier.finish().divergence.map(|d| (d.writer, d.wseq, d.what));
        let sealed = (WriterId([3; 16]), 2, verify::What::Sealed);
        assert_eq!(found, cut.map(|_| sealed));
    }
}

fn flip(bytes: &mut [u8], text: &[u8]) {
    let at = bytes.windows(text.len()).position(|w| w == text).unwrap();
    bytes[at] ^= 1;
}

#[tokio::test]
async fn an_unknown_store_is_refused() {
    assert!("mysql://x".parse::<sluicegate_audit::Url>().is_err());
    assert!("sqlite:".parse::<sluicegate_audit::Url>().is_err());
    let bench = Bench::sqlite();
    let ledger: Ledger = bench.open(1).await;
    ledger.close().await.unwrap();
    assert_eq!(ledger.append(Entry::Heartbeat).await, Err(AppendError::Closed));
}

/// What an operator watches: the store's size, appends that wait and intents that are open.
#[tokio::test]
async fn sizes_are_those_of_the_store() {
    each_store(async |bench: Bench| {
        let ledger = bench.open(1).await;
        let before = ledger.sizes().await.unwrap();
        assert!(before.bytes > 0 && before.open_intents == 0, "{before:?}");
        let (digest32, bytes) = treatment("eu");
        let events: Vec<_> =
            (0..2_000).map(|n| delivered(n, b"device-7", &n.to_be_bytes())).collect();
        let (intent, details) = (intent(digest32, 2_000), vec![(digest32, bytes)]);
        let appended = ledger.intend(intent, events, details, vec![], None).await.unwrap();
        let open = ledger.sizes().await.unwrap();
        assert!(open.bytes > before.bytes && open.open_intents == 1, "{open:?}");
        let places: Vec<_> = (0..2_000).map(|n| (i64::from(n), n)).collect();
        ledger.settle_now(outcome(appended.first(), "eu", &places)).await.unwrap();
        assert_eq!(ledger.sizes().await.unwrap().open_intents, 0);
        assert_eq!(ledger.queued(), 0);
        ledger.close().await.unwrap();
    })
    .await;
}
