//! δ: keys that nobody listed, and that only one subject has.

use opendp::{
    core::Measurement,
    domains::{AtomDomain, MapDomain},
    measurements::make_laplace_threshold,
    measures::{Approximate, MaxDivergence},
    metrics::{AbsoluteDistance, L01InfDistance},
};
use sluicegate_policies::release::{Keys, Noise, ReleasePlan};

use super::{
    pipeline::{FIRST, Order, Worlds, adversary, others, plan, publish, skim},
    statistics::{Exact, at_least, epsilon_at_least},
    verdict,
};
use crate::{
    noise::{NoiseError, OpenDp},
    testing::hour,
};

/// Scale 1 for the selection. A policy may have a δ of 10⁻⁵ at most, which no test can see: [`open`] lowers
/// the threshold to 6, where δ is 4.93e-3, and one less costs 1.34e-2.
const LAPLACE: &str = "\
budget: { epsilon: 2.0, delta: 1e-5, accounting: pure }
bounds: { windows-per-period: 1, keys-per-window: 1, records-per-key: 3 }
keys: { field: country }
release:
  - { what: subjects, share: 0.5 }
  - { what: count, share: 0.5 }
";

const GAUSSIAN: &str = "\
budget: { epsilon: 4.0, delta: 1e-5 }
bounds: { windows-per-period: 1, keys-per-window: 2, records-per-key: 1 }
keys: { field: country }
release: [{ what: subjects, share: 1.0 }]
";

/// What the formula says of this plan's threshold: a lone subject's keys show as often as that.
fn claimed(plan: &ReleasePlan, floor: i64) -> f64 {
    let exact = Exact::of(plan.outputs[0].noise);
    let kept =
        (-exact.tail(threshold(plan) - floor)).ln_1p() * f64::from(plan.bounds.keys_per_window);
    -kept.exp_m1()
}

/// The same plan with a δ that a test can see: the lowest threshold that costs at most 5e-3. That the
/// plan pays for its own threshold is looked at first.
fn open(plan: &ReleasePlan, floor: i64) -> ReleasePlan {
    let spent = plan.cost.delta as f64 / 1e18;
    let needed = claimed(plan, floor);
    assert!(needed <= spent && spent <= 1e-5, "it costs {needed} and is charged {spent}");
    let mut open = plan.clone();
    while claimed(&moved(&open, -1), floor) <= 5e-3 {
        open = moved(&open, -1);
    }
    open
}

fn threshold(plan: &ReleasePlan) -> i64 {
    let Keys::Unknown { threshold, .. } = plan.keys else { panic!("keys are unknown") };
    threshold
}

/// This plan with another threshold, and no other change.
fn moved(plan: &ReleasePlan, by: i64) -> ReleasePlan {
    let mut moved = plan.clone();
    if let Keys::Unknown { threshold, .. } = &mut moved.keys {
        *threshold += by;
    }
    moved
}

/// How often a row shows that could not show without the subject: at least this.
fn proved(
    published: &ReleasePlan,
    bounding: &ReleasePlan,
    others: &[Order],
    subject: &[Order],
    n: usize,
) -> f64 {
    let worlds = Worlds::of(published, bounding, &[FIRST], others, subject);
    let mut sampler = OpenDp::default();
    let mut shows = |totals| {
        let sent = publish(published, hour(FIRST), totals, &mut sampler);
        !skim(&sent).rows.is_empty()
    };
    assert!((0..n / 10).all(|_| !shows(&worlds.without[0])), "no row without the subject");
    at_least((0..n).filter(|_| shows(&worlds.with[0])).count(), n)
}

#[test]
fn a_lone_subjects_key_shows_as_rarely_as_promised() {
    let plan = plan(LAPLACE);
    let refused = OpenDp::for_plan(&moved(&plan, -1)).err();
    assert!(matches!(refused, Some(NoiseError::Threshold { .. })), "one less does not start");
    assert!(claimed(&moved(&plan, -1), 1) > 1e-5, "and would not keep the policy's delta");
    let plan = open(&plan, 1);
    assert_eq!(threshold(&plan), 6, "where one less would cost almost three times as much");
    let lone = adversary(&["mine", "also-mine", "mine-too", "mine-again"], &[FIRST], 5);
    let of = |published: &ReleasePlan, bounding: &ReleasePlan| {
        proved(published, bounding, &[], &lone, 15_000)
    };
    verdict("δ of a threshold on Laplace noise", claimed(&plan, 1), of(&plan, &plan), false);

    let less = moved(&plan, -1);
    verdict("  mutant: threshold one less", claimed(&plan, 1), of(&less, &plan), true);

    let mut loose = plan.clone();
    loose.bounds.keys_per_window = 4;
    verdict("  mutant: L0 ignored", claimed(&plan, 1), of(&plan, &loose), true);
}

#[test]
fn a_threshold_on_gaussian_noise_keeps_its_promise() {
    let plan = open(&plan(GAUSSIAN), 1);
    let lone = adversary(&["mine", "also-mine", "mine-too"], &[FIRST], 5);
    let of = |published: &ReleasePlan| proved(published, &plan, &[], &lone, 15_000);
    verdict("δ of a threshold on Gaussian noise, 2 keys", claimed(&plan, 1), of(&plan), false);
    verdict("  mutant: threshold one less", claimed(&plan, 1), of(&moved(&plan, -1)), true);
}

/// A floor on the true number lets a row appear at k where it could not at k − 1.
#[test]
fn a_raw_floor_moves_the_threshold() {
    let floored = LAPLACE.replace("country }", "country, min-subjects: 6, floor: raw }");
    let plan = plan(&floored);
    let refused = OpenDp::for_plan(&moved(&plan, -5)).err();
    assert!(
        matches!(refused, Some(NoiseError::Threshold { .. })),
        "without its move it does not start"
    );
    let plan = open(&plan, 6);
    assert_eq!(threshold(&plan), 6 + 5);
    let (five, lone) = (others(&["k"], &[FIRST], 5), adversary(&["k"], &[FIRST], 5));
    let of = |published: &ReleasePlan| proved(published, &plan, &five, &lone, 10_000);
    verdict("δ of a raw floor of 6", claimed(&plan, 6), of(&plan), false);
    verdict(
        "  mutant: threshold not moved by the floor",
        claimed(&plan, 6),
        of(&moved(&plan, -5)),
        true,
    );
}

/// Rows that show anyway: what they say keeps ε.
#[test]
fn selected_rows_keep_their_promise() {
    let plan = open(&plan(LAPLACE), 1);
    let worlds = |bounding: &ReleasePlan| {
        let crowd = others(&["k"], &[FIRST], 8);
        Worlds::of(&plan, bounding, &[FIRST], &crowd, &adversary(&["k"], &[FIRST], 20))
    };
    let proved = |worlds: &Worlds, n: usize| {
        let [without, with] = worlds.observe(n);
        epsilon_at_least(&without, &with, claimed(&plan, 1))
    };
    let kept = proved(&worlds(&plan), 15_000);
    verdict("ε of a selected row, subjects and count", 2.0, kept, false);
    let mut loose = plan.clone();
    loose.bounds.records_per_key = 20;
    verdict("  mutant: r ignored", 2.0, proved(&worlds(&loose), 10_000), true);
}

/// Why selection is ours: opendp's own constructor publishes the row at exactly the threshold and
/// does not charge for it. When this fails after an upgrade, the constructor may have been mended.
#[test]
fn opendps_own_threshold_leaks_more_than_it_reports() {
    let (scale, threshold, n) = (1.0, 5, 60_000_i64);
    let theirs: Measurement<_, _, Approximate<MaxDivergence>, _> = make_laplace_threshold(
        MapDomain::new(AtomDomain::<i64>::default(), AtomDomain::<i64>::default()),
        L01InfDistance::<AbsoluteDistance<i64>>::default(),
        scale,
        threshold,
        None,
    )
    .unwrap();
    let (_, reported) = theirs.map(&(1, 1, 1)).unwrap();
    // Each of these keys has one subject, so each is the key of a neighbouring world.
    let lone = (0..n).map(|key| (key, 1)).collect();
    let shown = theirs.invoke(&lone).unwrap().len();
    let proved = at_least(shown, usize::try_from(n).unwrap());
    verdict("  opendp's own threshold: δ as it reports it", reported, proved, true);

    let noise = Noise::Laplace { scale: crate::testing::dyadic(1, 1) };
    let exact = Exact::of(noise).tail(threshold - 1);
    verdict("  the same, δ as the plan would charge it", exact, proved, false);
}

/// What `policy check` accepts, the gateway publishes: opendp's map, with its own rounding, agrees with every
/// threshold that the planner makes, down to a δ where that rounding is all there is.
#[test]
fn the_planners_thresholds_are_taken_by_opendp() {
    let mut refused = 0;
    for delta in ["1e-5", "1e-6", "1e-7", "1e-9", "1e-12", "1e-15"] {
        for epsilon in ["0.5", "1.0", "2.0"] {
            for (keys, share) in [(1, "1.0"), (4, "0.5"), (10, "0.2")] {
                let rest = if share == "1.0" { "" } else { ", { what: count, share: 0.1 }" };
                let planned = plan(&format!(
                    "budget: {{ epsilon: {epsilon}, delta: {delta}, accounting: pure }}\n\
                     bounds: {{ windows-per-period: 2, keys-per-window: {keys}, records-per-key: 5 }}\n\
                     keys: {{ field: country }}\n\
                     release: [{{ what: subjects, share: {share} }}{rest}]\n"
                ));
                let verdict = OpenDp::for_plan(&planned).err();
                assert_eq!(verdict, None, "δ {delta}, ε {epsilon}, {keys} keys");
                // Ten less leaks several times as much, which shows wherever δ is above the rounding.
                let by = -10 * i64::from(keys);
                let leaks = OpenDp::for_plan(&moved(&planned, by)).is_err();
                assert!(leaks || matches!(delta, "1e-12" | "1e-15"), "δ {delta}, ε {epsilon}");
                refused += usize::from(leaks);
            }
        }
    }
    assert!(refused >= 36, "{refused}");
}
