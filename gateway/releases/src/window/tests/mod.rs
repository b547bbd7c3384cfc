//! The engine against a naive model of it (`model`), on random streams (`scene`): what is bounded,
//! what is late, what a replay gives, what happens when memory and disk end. And the same with
//! rules that are wrong, which the comparison has to notice.

mod bounding;
mod bytes;
mod model;
mod peer;
mod scene;
mod state;
mod time;

use std::{collections::BTreeMap, sync::Arc};

use sluicegate_policies::release::ReleasePlan;

use self::scene::{Scene, Step};
use super::*;

const SECRET: [u8; 32] = [42; 32];

const ROOMY: Limits = Limits { resident_subjects: usize::MAX, spill_bytes: u64::MAX };

/// Totals that may be shown: those of tests.
type Rows = BTreeMap<String, Vec<i64>>;

/// What each close gave: pane, revision, totals.
type Closed = Vec<(i64, u32, Rows)>;

fn rows(totals: &Totals) -> Rows {
    totals.by_key.iter().map(|(key, row)| (key.to_string(), row.clone())).collect()
}

fn task(plan: &ReleasePlan, limits: Limits, spill: impl Spill + 'static) -> Task {
    Task::new(Arc::new(plan.clone()), &SECRET, limits, Box::new(spill))
}

/// No place at all, for tasks that must not need one.
struct Nowhere;

impl Spill for Nowhere {
    fn create(&self, _bucket: usize) -> Result<Box<dyn SpillFile>, Aborted> {
        Err(Aborted::Io("nowhere".to_owned()))
    }
}

/// Files that are not on disk, each of which shares this with it.
#[derive(Clone, Default)]
struct Memory(Arc<()>);

impl Spill for Memory {
    fn create(&self, _bucket: usize) -> Result<Box<dyn SpillFile>, Aborted> {
        Ok(Box::new(Pieces { all: Vec::new(), _of: self.0.clone() }))
    }
}

struct Pieces {
    all: Vec<Vec<u8>>,
    _of: Arc<()>,
}

impl SpillFile for Pieces {
    fn write(&mut self, piece: Vec<u8>) -> Result<u64, Aborted> {
        let bytes = piece.len() as u64;
        self.all.push(piece);
        Ok(bytes)
    }

    fn read(&mut self, each: &mut dyn FnMut(&[u8]) -> Result<(), Aborted>) -> Result<(), Aborted> {
        self.all.iter().try_for_each(|piece| each(piece))
    }
}

/// The engine over these steps, as far as it comes.
fn follow<'s>(
    task: &mut Task,
    steps: impl IntoIterator<Item = &'s Step>,
) -> (Closed, Option<Aborted>) {
    let mut closed = Closed::new();
    for (offset, step) in (0_i64..).zip(steps) {
        let done = match step {
            Step::Record(entry) => task.accept(offset, entry.contribution()),
            Step::Close { start_ms, revision } => task.close(*start_ms, *revision).map(|totals| {
                closed.push((*start_ms, *revision, rows(&totals)));
            }),
            Step::Forget { open_ms } => {
                task.forget(*open_ms);
                Ok(())
            }
        };
        if let Err(aborted) = done {
            return (closed, Some(aborted));
        }
    }
    (closed, None)
}

/// The engine over a scene, with all the memory there is.
fn engine(scene: &Scene) -> Closed {
    let (closed, aborted) = follow(&mut task(&scene.plan, ROOMY, Nowhere), &scene.steps);
    assert_eq!(aborted, None);
    closed
}
