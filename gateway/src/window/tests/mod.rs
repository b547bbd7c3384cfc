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

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

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

fn task(plan: &ReleasePlan, limits: Limits, dir: &Path) -> Task {
    Task::new(Arc::new(plan.clone()), &SECRET, limits, dir.to_owned())
}

/// A folder that cannot be made, for tasks that must not need one.
fn nowhere() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml").join("spill")
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
    let (closed, aborted) = follow(&mut task(&scene.plan, ROOMY, &nowhere()), &scene.steps);
    assert_eq!(aborted, None);
    closed
}
