//! A bucket that was put away: its people as they were, and behind them what was contributed since. What holds
//! the bytes is the caller's ([`Spill`]). It is a cache: anyone who dies makes the state again from the
//! contributions topic.

use super::{
    Aborted, Contribution, Subject,
    bucket::{Bucket, Person, Placed, Rules},
};

/// Where a task puts buckets that do not fit in memory.
pub trait Spill: Send + Sync {
    /// An empty file for this bucket, which is gone when it is dropped.
    fn create(&self, bucket: usize) -> Result<Box<dyn SpillFile>, Aborted>;
}

/// Pieces in the order in which they were written. Nobody else may be able to read them.
pub trait SpillFile: Send + Sync {
    /// How many bytes the piece takes.
    fn write(&mut self, piece: Vec<u8>) -> Result<u64, Aborted>;

    /// Hands out all pieces as they were written; any doubt about one of them is an error.
    fn read(&mut self, each: &mut dyn FnMut(&[u8]) -> Result<(), Aborted>) -> Result<(), Aborted>;
}

pub(super) struct Spilled {
    file: Box<dyn SpillFile>,
    people: u64,
    pub(super) bytes: u64,
}

impl Spilled {
    /// Puts a bucket away.
    pub(super) fn put(spill: &dyn Spill, number: usize, bucket: &Bucket) -> Result<Self, Aborted> {
        let mut spilled = Self { file: spill.create(number)?, people: 0, bytes: 0 };
        for (subject, person) in &bucket.people {
            let mut piece = subject.0.to_vec();
            minicbor::encode(person, &mut piece).map_err(|_| Aborted::damaged())?;
            spilled.bytes += spilled.file.write(piece)?;
            spilled.people += 1;
        }
        Ok(spilled)
    }

    /// Notes a contribution for when the bucket is back.
    pub(super) fn append(
        &mut self,
        at: Placed,
        contribution: &Contribution,
    ) -> Result<u64, Aborted> {
        let mut piece = Vec::new();
        piece.extend([at.start_ms, at.period_ms].iter().flat_map(|n| n.to_be_bytes()));
        piece.extend([at.nth, at.of].iter().flat_map(|n| n.to_be_bytes()));
        piece.extend(at.revision.to_be_bytes());
        piece.extend(contribution.encode());
        let written = self.file.write(piece)?;
        self.bytes += written;
        Ok(written)
    }

    /// The bucket as if it had been in memory all the time.
    pub(super) fn get(mut self, rules: &Rules) -> Result<Bucket, Aborted> {
        let mut bucket = Bucket::default();
        let mut people = self.people;
        self.file.read(&mut |piece| {
            if people > 0 {
                people -= 1;
                let (subject, person) = person(piece).ok_or_else(Aborted::damaged)?;
                bucket.people.insert(subject, person);
            } else {
                let (at, contribution) = noted(piece).ok_or_else(Aborted::damaged)?;
                bucket.accept(rules, at, contribution);
            }
            Ok(())
        })?;
        Ok(bucket)
    }
}

fn person(piece: &[u8]) -> Option<(Subject, Person)> {
    let (subject, person) = piece.split_first_chunk::<16>()?;
    Some((Subject(*subject), minicbor::decode(person).ok()?))
}

fn noted(piece: &[u8]) -> Option<(Placed, Contribution)> {
    let (at, behind) = piece.split_first_chunk::<32>()?;
    let (revision, contribution) = behind.split_first_chunk()?;
    let &[start_ms, period_ms, nth, of] = at.as_chunks::<8>().0 else { return None };
    let at = Placed {
        start_ms: i64::from_be_bytes(start_ms),
        period_ms: i64::from_be_bytes(period_ms),
        nth: u64::from_be_bytes(nth),
        of: u64::from_be_bytes(of),
        revision: u32::from_be_bytes(*revision),
    };
    Some((at, Contribution::decode(contribution).ok()?))
}
