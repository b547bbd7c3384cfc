//! What clients did and saw, what is in the topic and in the ledger, and what of it must not be so: Jepsen's list for
//! a log, and our own. Every record is known by its run and its number there, as the producer gave it.

use std::collections::{BTreeMap, BTreeSet};

/// Partition and offset.
pub type Place = (i32, i64);
/// Run, and number there.
pub type Id = (u32, u32);

/// How a transaction ended, as its producer was told; `Unknown`: it was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Committed,
    Aborted,
    Unknown,
}

/// What one idempotent or transactional producer was told.
#[derive(Clone, Debug)]
pub struct Run {
    pub number: u32,
    /// Where each acknowledged record is, as the acknowledgement says.
    pub acknowledged: BTreeMap<u32, Place>,
    /// All its records are one transaction.
    pub transaction: Option<End>,
}

/// What one consumer was handed out, in this order, while nobody else had its partitions.
#[derive(Clone, Debug)]
pub struct Poll {
    pub reader: String,
    pub is_committed_only: bool,
    pub records: Vec<(Place, Id)>,
}

/// A record in the topic.
#[derive(Clone, Debug)]
pub struct Stored {
    pub place: Place,
    pub id: Id,
    /// `WRITER-ROW` of the ledger, as its header says.
    pub row: String,
    /// The producer id and epoch of its batch.
    pub producer: (i64, i16),
    /// Shown to those who read only what is committed.
    pub is_committed: bool,
}

/// The ledger when the gateway has settled.
#[derive(Clone, Debug, Default)]
pub struct Book {
    pub rows: BTreeSet<String>,
    /// Where it says that a record is.
    pub places: BTreeSet<Place>,
    /// Intents without an outcome.
    pub open: usize,
}

#[derive(Clone, Debug, Default)]
pub struct History {
    pub runs: Vec<Run>,
    pub polls: Vec<Poll>,
    /// Readers who have read to the end: what is in none of their polls was kept from them.
    pub drained: BTreeSet<String>,
    pub stored: Vec<Stored>,
    pub book: Book,
    /// Clear text in a raw dump of the topic.
    pub clear: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// Acknowledged, and not in the topic; or shown to nobody although its transaction was committed.
    Lost(Id),
    /// In the topic more than once.
    Duplicate(Id),
    /// The same, but its producer has begun a new epoch in between: it was told that its numbers do not fit, and the
    /// broker could not know the batch again.
    Renumbered(Id),
    /// Behind a later record of its producer in its partition.
    Reordered(Id),
    /// In the topic or read, and nobody wrote it.
    Phantom(Place, Id),
    /// Of an aborted transaction, and shown to who reads only what is committed.
    AbortedRead(String, Id),
    /// A transaction of which some records are shown and others are not.
    Torn(u32),
    /// An offset that is not behind the one before.
    NonMonotonic(String, Place),
    /// Between two records that a consumer was given is one that it was not, or it was never given one.
    Skipped(String, Place),
    /// One place, and more than one record there, according to answers, consumers and the topic.
    Inconsistent(Place),
    Clear(String),
    /// In the topic, and the ledger has no decision on it; or acknowledged, and the ledger does not know where it is.
    Unrecorded(Place),
    /// The ledger says that there is a record where none is.
    Invented(Place),
    /// So many intents without an outcome.
    Open(usize),
}

impl History {
    /// Everything that must not be so.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = BTreeSet::new();
        self.writes(&mut found);
        self.transactions(&mut found);
        for poll in &self.polls {
            self.poll(poll, &mut found);
        }
        for reader in &self.drained {
            self.drained(reader, &mut found);
        }
        self.offsets(&mut found);
        self.ledger(&mut found);
        found.extend(self.clear.iter().cloned().map(Violation::Clear));
        found.into_iter().collect()
    }

    /// Lost writes, duplicates, order.
    fn writes(&self, found: &mut BTreeSet<Violation>) {
        let runs: BTreeSet<u32> = self.runs.iter().map(|run| run.number).collect();
        let mut times: BTreeMap<Id, (i64, i16)> = BTreeMap::new();
        let mut sorted: Vec<&Stored> = self.stored.iter().collect();
        sorted.sort_by_key(|record| record.place);
        let mut last: BTreeMap<(u32, i32), u32> = BTreeMap::new();
        for record in sorted {
            let (run, n) = record.id;
            if !runs.contains(&run) {
                found.insert(Violation::Phantom(record.place, record.id));
            }
            if let Some(producer) = times.insert(record.id, record.producer) {
                found.insert(match producer == record.producer {
                    true => Violation::Duplicate(record.id),
                    false => Violation::Renumbered(record.id),
                });
            } else if last.insert((run, record.place.0), n).is_some_and(|before| before > n) {
                found.insert(Violation::Reordered(record.id));
            }
        }
        for (id, _) in self.acknowledgements() {
            if !times.contains_key(&id) {
                found.insert(Violation::Lost(id));
            }
        }
    }

    fn acknowledgements(&self) -> impl Iterator<Item = (Id, Place)> {
        self.runs.iter().flat_map(|run| {
            run.acknowledged.iter().map(move |(n, place)| ((run.number, *n), *place))
        })
    }

    /// All of a transaction is shown, or nothing.
    fn transactions(&self, found: &mut BTreeSet<Violation>) {
        for run in &self.runs {
            let Some(end) = run.transaction else { continue };
            let shown: BTreeSet<u32> = self
                .stored
                .iter()
                .filter(|record| record.id.0 == run.number && record.is_committed)
                .map(|record| record.id.1)
                .collect();
            let missing = run.acknowledged.keys().filter(|n| !shown.contains(n));
            match end {
                End::Committed => found.extend(missing.map(|n| Violation::Lost((run.number, *n)))),
                End::Aborted => found.extend(
                    shown
                        .iter()
                        .map(|n| Violation::AbortedRead("the topic".into(), (run.number, *n))),
                ),
                End::Unknown => {
                    if !shown.is_empty() && missing.count() > 0 {
                        found.insert(Violation::Torn(run.number));
                    }
                }
            }
        }
    }

    /// What one consumer saw: forward, without gaps, nothing that was taken back.
    fn poll(&self, poll: &Poll, found: &mut BTreeSet<Violation>) {
        let stored: BTreeMap<Place, bool> =
            self.stored.iter().map(|record| (record.place, record.is_committed)).collect();
        let is_shown = |is_committed: bool| is_committed || !poll.is_committed_only;
        let mut last: BTreeMap<i32, i64> = BTreeMap::new();
        for (place, id) in &poll.records {
            let (partition, offset) = *place;
            match stored.get(place) {
                None => drop(found.insert(Violation::Phantom(*place, *id))),
                Some(is_committed) if !is_shown(*is_committed) => {
                    found.insert(Violation::AbortedRead(poll.reader.clone(), *id));
                }
                Some(_) => {}
            }
            let Some(before) = last.insert(partition, offset) else { continue };
            if before >= offset {
                found.insert(Violation::NonMonotonic(poll.reader.clone(), *place));
                continue;
            }
            let between = stored.range((partition, before + 1)..*place);
            let skipped = between.filter(|(_, is_committed)| is_shown(**is_committed));
            found.extend(skipped.map(|(place, _)| Violation::Skipped(poll.reader.clone(), *place)));
        }
    }

    fn drained(&self, reader: &str, found: &mut BTreeSet<Violation>) {
        let polls = || self.polls.iter().filter(|poll| poll.reader == reader);
        let given: BTreeSet<Place> =
            polls().flat_map(|poll| &poll.records).map(|(place, _)| *place).collect();
        let is_committed_only = polls().all(|poll| poll.is_committed_only);
        let shown = self.stored.iter().filter(|record| record.is_committed || !is_committed_only);
        let kept = shown.filter(|record| !given.contains(&record.place));
        found.extend(kept.map(|record| Violation::Skipped(reader.to_owned(), record.place)));
    }

    /// One place, one record.
    fn offsets(&self, found: &mut BTreeSet<Violation>) {
        let polled = self.polls.iter().flat_map(|poll| poll.records.iter().copied());
        let stored = self.stored.iter().map(|record| (record.place, record.id));
        let acknowledged = self.acknowledgements().map(|(id, place)| (place, id));
        let mut at: BTreeMap<Place, Id> = BTreeMap::new();
        for (place, id) in stored.chain(acknowledged).chain(polled) {
            if *at.entry(place).or_insert(id) != id {
                found.insert(Violation::Inconsistent(place));
            }
        }
    }

    fn ledger(&self, found: &mut BTreeSet<Violation>) {
        let stored: BTreeSet<Place> = self.stored.iter().map(|record| record.place).collect();
        let without = self.stored.iter().filter(|record| !self.book.rows.contains(&record.row));
        found.extend(without.map(|record| Violation::Unrecorded(record.place)));
        let unplaced = self.acknowledgements().map(|(_, place)| place);
        let unplaced = unplaced.filter(|place| !self.book.places.contains(place));
        found.extend(unplaced.map(Violation::Unrecorded));
        found.extend(self.book.places.difference(&stored).copied().map(Violation::Invented));
        if self.book.open > 0 {
            found.insert(Violation::Open(self.book.open));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = "writer-1";

    /// Run 1 wrote four records, run 2 committed two, run 3 aborted two; a consumer saw what it may.
    fn good() -> History {
        let run = |number, partition, first: i64, count: u32, transaction| Run {
            number,
            acknowledged: (0..count).map(|n| (n, (partition, first + i64::from(n)))).collect(),
            transaction,
        };
        let runs = vec![
            run(1, 0, 0, 4, None),
            run(2, 1, 0, 2, Some(End::Committed)),
            run(3, 1, 3, 2, Some(End::Aborted)),
        ];
        let stored: Vec<Stored> = runs
            .iter()
            .flat_map(|run| run.acknowledged.iter().map(move |(n, place)| (run, *n, *place)))
            .map(|(run, n, place)| Stored {
                place,
                id: (run.number, n),
                row: ROW.into(),
                producer: (7, 0),
                is_committed: run.transaction != Some(End::Aborted),
            })
            .collect();
        let polled = |is_committed_only: bool| Poll {
            reader: format!("reader-{is_committed_only}"),
            is_committed_only,
            records: stored
                .iter()
                .filter(|record| record.is_committed || !is_committed_only)
                .map(|record| (record.place, record.id))
                .collect(),
        };
        let places = stored.iter().map(|record| record.place).collect();
        let book = Book { rows: [ROW.to_owned()].into(), places, open: 0 };
        let polls = vec![polled(true), polled(false)];
        History { runs, polls, stored, book, ..History::default() }
    }

    /// What is found when this is changed.
    fn planted<T>(change: impl FnOnce(&mut History) -> T) -> Vec<Violation> {
        let mut history = good();
        let _whatever_it_was = change(&mut history);
        history.violations()
    }

    fn reader() -> String {
        "reader-true".into()
    }

    #[test]
    fn nothing_is_found_where_nothing_is_wrong() {
        assert_eq!(planted(|_| {}), []);
        let unanswered = planted(|history| history.runs[0].acknowledged.remove(&2));
        assert_eq!(unanswered, [], "a record may be there without an acknowledgement");
        let unknown = planted(|history| history.runs[2].transaction = Some(End::Unknown));
        assert_eq!(unknown, [], "nothing of it is shown");
        let from_the_middle = planted(|history| drop(history.polls[0].records.drain(..2)));
        assert_eq!(from_the_middle, []);
    }

    #[test]
    fn a_lost_write_is_found() {
        let lost = planted(|history| {
            history.stored.retain(|record| record.id != (1, 3));
            history.book.places.remove(&(0, 3));
            history.polls.iter_mut().for_each(|poll| poll.records.retain(|(_, id)| *id != (1, 3)));
        });
        assert_eq!(lost, [Violation::Lost((1, 3)), Violation::Unrecorded((0, 3))]);
        let uncommitted = planted(|history| history.stored[5].is_committed = false);
        assert!(uncommitted.contains(&Violation::Lost((2, 1))), "{uncommitted:?}");
    }

    #[test]
    fn a_duplicate_is_found() {
        let twice = planted(|history| {
            let again = Stored { place: (0, 4), ..history.stored[2].clone() };
            history.stored.push(again);
        });
        assert_eq!(twice, [Violation::Duplicate((1, 2))]);
        let renumbered = planted(|history| {
            let again = Stored { place: (0, 4), producer: (7, 1), ..history.stored[2].clone() };
            history.stored.push(again);
        });
        assert_eq!(renumbered, [Violation::Renumbered((1, 2))]);
    }

    #[test]
    fn another_order_is_found() {
        let turned = planted(|history| {
            history.polls.clear();
            history.runs[0].acknowledged.clear();
            history.stored[1].id = (1, 2);
            history.stored[2].id = (1, 1);
        });
        assert_eq!(turned, [Violation::Reordered((1, 1))]);
    }

    #[test]
    fn an_aborted_read_is_found() {
        let read = planted(|history| history.polls[0].records.push(((1, 3), (3, 0))));
        assert_eq!(read, [Violation::AbortedRead(reader(), (3, 0))]);
        let shown = planted(|history| history.stored[7].is_committed = true);
        assert_eq!(shown, [Violation::AbortedRead("the topic".into(), (3, 1))]);
    }

    #[test]
    fn a_torn_transaction_is_found() {
        let torn = planted(|history| {
            history.runs[1].transaction = Some(End::Unknown);
            history.stored[4].is_committed = false;
            history.polls.remove(0);
        });
        assert_eq!(torn, [Violation::Torn(2)]);
    }

    #[test]
    fn a_poll_that_goes_back_or_skips_is_found() {
        let back = planted(|history| history.polls[0].records.insert(2, ((0, 0), (1, 0))));
        let skipped = Violation::Skipped(reader(), (0, 1));
        assert_eq!(back, [Violation::NonMonotonic(reader(), (0, 0)), skipped]);
        let gap = planted(|history| history.polls[0].records.remove(1));
        assert_eq!(gap, [Violation::Skipped(reader(), (0, 1))]);
        let end = planted(|history| {
            history.drained = [reader(), "reader-false".into()].into();
            history.polls[0].records.pop()
        });
        assert_eq!(end, [Violation::Skipped(reader(), (1, 1))]);
    }

    #[test]
    fn two_records_at_one_place_are_found() {
        let told = planted(|history| history.runs[0].acknowledged.insert(3, (0, 2)));
        assert_eq!(told, [Violation::Inconsistent((0, 2))]);
        let read = planted(|history| history.polls[1].records[0].1 = (1, 3));
        assert_eq!(read, [Violation::Inconsistent((0, 0))]);
    }

    #[test]
    fn a_record_of_nobody_is_found() {
        let stored = planted(|history| history.stored[0].id = (9, 0));
        assert!(stored.contains(&Violation::Phantom((0, 0), (9, 0))), "{stored:?}");
        let read = planted(|history| history.polls[0].records.push(((1, 9), (1, 9))));
        assert!(read.contains(&Violation::Phantom((1, 9), (1, 9))), "{read:?}");
    }

    #[test]
    fn what_the_ledger_does_not_know_is_found() {
        let row = planted(|history| history.stored[1].row = "writer-2".into());
        assert_eq!(row, [Violation::Unrecorded((0, 1))]);
        let place = planted(|history| history.book.places.remove(&(0, 1)));
        assert_eq!(place, [Violation::Unrecorded((0, 1))]);
        let invented = planted(|history| history.book.places.insert((0, 77)));
        assert_eq!(invented, [Violation::Invented((0, 77))]);
        assert_eq!(planted(|history| history.book.open = 2), [Violation::Open(2)]);
    }

    #[test]
    fn clear_text_is_found() {
        let clear = planted(|history| history.clear.push("ann@clear.example".into()));
        assert_eq!(clear, [Violation::Clear("ann@clear.example".into())]);
    }
}
