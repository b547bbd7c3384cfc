//! The engine against Apache Kafka Streams, on a real stream: `tests/peers/windows/README.md` says
//! what makes the two comparable, and makes the files.

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use sluicegate_policies::release::{Calendar, ReleasePlan, Unit};

use super::{
    scene::{SHAPES, plan_of},
    *,
};

const MINUTE_MS: i64 = 60_000;

/// Count, subjects, miles; by start, end and airline.
type Found = BTreeMap<(i64, i64, String), [i64; 3]>;

struct Case {
    name: &'static str,
    size_ms: i64,
    /// A window begins so often; a release adds up panes of this length.
    every_ms: i64,
    grace_ms: i64,
}

impl Case {
    const fn of(name: &'static str, size: i64, every: i64, grace: i64) -> Self {
        let [size_ms, every_ms, grace_ms] =
            [size * MINUTE_MS, every * MINUTE_MS, grace * MINUTE_MS];
        Self { name, size_ms, every_ms, grace_ms }
    }

    /// Bounds that do not bite.
    fn plan(&self) -> ReleasePlan {
        let mut plan = plan_of(&SHAPES[0]);
        plan.keys = crate::testing::unknown(1, None);
        plan.schedule.pane = Calendar::Fixed { size_ms: self.every_ms, offset_ms: 0 };
        plan.schedule.lateness_ms = self.grace_ms;
        if let Unit::Subject(unit) = &mut plan.unit {
            unit.period = Calendar::Fixed { size_ms: 24 * 60 * MINUTE_MS, offset_ms: 0 };
        }
        plan.bounds.windows_per_period =
            u32::try_from(24 * 60 * MINUTE_MS / self.every_ms).unwrap();
        plan.bounds.keys_per_window = 16;
        plan.bounds.records_per_key = 1_000;
        plan
    }

    /// The sums of panes that make up each window; distinct subjects do not add up.
    fn windows(&self, panes: Found) -> Found {
        if self.size_ms == self.every_ms {
            return panes;
        }
        let mut windows = Found::new();
        for ((start_ms, end_ms, key), [count, _, value]) in panes {
            let mut first_ms = end_ms - self.size_ms;
            while first_ms <= start_ms {
                let at = (first_ms, first_ms + self.size_ms, key.clone());
                let window = windows.entry(at).or_default();
                *window = [window[0] + count, 0, window[2] + value];
                first_ms += self.every_ms;
            }
        }
        windows
    }
}

/// Those in which a gateway and Kafka Streams mean the same.
const CASES: [Case; 4] = [
    Case::of("tumbling-60-grace-120", 60, 60, 120),
    Case::of("tumbling-15-grace-30", 15, 15, 30),
    Case::of("tumbling-15-grace-0", 15, 15, 0),
    Case::of("hopping-180-60-grace-1440", 180, 60, 1_440),
];

/// Each pane has a grace of its own here, and each window there.
const PANES_ARE_LATE: Case = Case::of("hopping-180-60-grace-60", 180, 60, 60);

fn read(name: &str) -> String {
    let dir = env::var_os("SLUICEGATE_PEER_WINDOWS");
    let dir = PathBuf::from(dir.expect("SLUICEGATE_PEER_WINDOWS: what `run` has written"));
    fs::read_to_string(dir.join(name)).unwrap()
}

/// The clock is the stream's: the largest event time so far.
fn flights() -> Vec<Contribution> {
    let digest = |text: &str| -> [u8; 16] {
        let hash = blake3::hash(text.as_bytes());
        std::array::from_fn(|at| hash.as_bytes()[at])
    };
    let mut arrival_ms = i64::MIN;
    let flight = |(n, line): (usize, &str)| {
        let flight: serde_json::Value = serde_json::from_str(line).unwrap();
        let event_ms = flight["event_ms"].as_i64().unwrap();
        arrival_ms = arrival_ms.max(event_ms);
        Contribution {
            subject: Subject(digest(flight["subject"].as_str().unwrap())),
            key: Arc::from(flight["key"].as_str().unwrap()),
            event_ms,
            arrival_ms,
            id: digest(&n.to_string()),
            values: vec![flight["value"].as_i64(), None],
        }
    };
    read("flights.ndjson").lines().enumerate().map(flight).collect()
}

fn kafka_streams(case: &Case) -> Found {
    let mut found = Found::new();
    for line in read("kafka-streams.csv").lines() {
        let Some(row) = line.strip_prefix(case.name).and_then(|row| row.strip_prefix(',')) else {
            continue;
        };
        let cells: Vec<&str> = row.split(',').collect();
        let number = |at: usize| cells[at].parse::<i64>().unwrap();
        let subjects = if case.size_ms == case.every_ms { number(4) } else { 0 };
        let at = (number(0), number(1), cells[2].to_owned());
        found.insert(at, [number(3), subjects, number(5)]);
    }
    found
}

/// What the engine gives, with panes closed and forgotten when the clock says so.
fn gateway(plan: &ReleasePlan, flights: &[Contribution]) -> Found {
    let mut task = task(plan, ROOMY, Nowhere);
    let mut found = Found::new();
    let mut open = plan.schedule.pane.containing(flights[0].event_ms - 48 * 60 * MINUTE_MS);
    let clock = flights.iter().map(|flight| (flight.arrival_ms, Some(flight)));
    for (offset, (now_ms, flight)) in (0..).zip(clock.chain([(i64::MAX / 2, None)])) {
        let last_ms = flights.last().unwrap().arrival_ms;
        while open.end_ms + plan.schedule.lateness_ms <= now_ms && open.start_ms <= last_ms {
            for (key, row) in rows(&task.close(open.start_ms, 0).unwrap()) {
                found.insert((open.start_ms, open.end_ms, key), [row[2], row[0], row[1]]);
            }
            open = plan.schedule.pane.next(&open);
            task.forget(open.start_ms);
        }
        if let Some(flight) = flight {
            task.accept(offset, flight.clone()).unwrap();
        }
    }
    found
}

fn differing(ours: &Found, theirs: &Found) -> usize {
    let all: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    all.into_iter().filter(|at| ours.get(*at) != theirs.get(*at)).count()
}

#[test]
#[ignore = "needs the files that tests/peers/windows/run makes"]
fn windows_are_those_of_kafka_streams() {
    let flights = flights();
    for case in &CASES {
        let theirs = kafka_streams(case);
        assert!(theirs.len() > 3_000, "{}", case.name);
        let mut plan = case.plan();
        let differ = differing(&case.windows(gateway(&plan, &flights)), &theirs);
        plan.schedule.lateness_ms += 1;
        let moved = differing(&case.windows(gateway(&plan, &flights)), &theirs);
        eprintln!(
            "{}: {} rows, {differ} differ; {moved} when the boundary moves",
            case.name,
            theirs.len()
        );
        assert_eq!(differ, 0, "{}", case.name);
        // With a grace of a day nothing is late, so there is no boundary to move.
        assert!(moved > 0 || case.grace_ms == 1_440 * MINUTE_MS, "{}", case.name);
    }
}

#[test]
#[ignore = "needs the files that tests/peers/windows/run makes"]
fn a_record_that_is_late_for_its_pane_is_late_for_all_windows_of_it() {
    let case = PANES_ARE_LATE;
    let (theirs, ours) = (kafka_streams(&case), case.windows(gateway(&case.plan(), &flights())));
    let none = [0; 3];
    assert!(ours.iter().all(|(at, row)| row[0] <= theirs.get(at).unwrap_or(&none)[0]));
    let counted = |found: &Found| found.values().map(|row| row[0]).sum::<i64>();
    eprintln!(
        "{}: {} of {} additions fewer",
        case.name,
        counted(&theirs) - counted(&ours),
        counted(&theirs)
    );
    assert!(counted(&ours) < counted(&theirs));
}
