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
use crate::release::{
    noise::{NoiseError, OpenDp},
    testing::hour,
};

/// Scale 1 for the selection, so T = 8 and δ(T) = 6.7e-4: one less costs 1.81e-3.
const LAPLACE: &str = "\
budget: { epsilon: 2.0, delta: 9.9e-4, accounting: pure }
bounds: { windows-per-period: 1, keys-per-window: 1, records-per-key: 3 }
keys: { field: country }
release:
  - { what: subjects, share: 0.5 }
  - { what: count, share: 0.5 }
";

const GAUSSIAN: &str = "\
budget: { epsilon: 4.0, delta: 9.9e-4 }
bounds: { windows-per-period: 1, keys-per-window: 2, records-per-key: 1 }
keys: { field: country }
release: [{ what: subjects, share: 1.0 }]
";

fn claimed(plan: &ReleasePlan) -> f64 {
    plan.cost.delta as f64 / 1e18
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
    assert_eq!(threshold(&plan), 8, "where one less would cost almost three times as much");
    let lone = adversary(&["mine", "also-mine", "mine-too", "mine-again"], &[FIRST], 5);
    let of = |published: &ReleasePlan, bounding: &ReleasePlan| {
        proved(published, bounding, &[], &lone, 60_000)
    };
    verdict("δ of a threshold on Laplace noise", claimed(&plan), of(&plan, &plan), false);

    let less = moved(&plan, -1);
    verdict("  mutant: threshold one less", claimed(&plan), of(&less, &plan), true);
    let refused = OpenDp::for_plan(&less).err();
    assert!(matches!(refused, Some(NoiseError::Threshold { .. })), "nor does it start");

    let mut loose = plan.clone();
    loose.bounds.keys_per_window = 4;
    verdict("  mutant: L0 ignored", claimed(&plan), of(&plan, &loose), true);
}

#[test]
fn a_threshold_on_gaussian_noise_keeps_its_promise() {
    let plan = plan(GAUSSIAN);
    let lone = adversary(&["mine", "also-mine", "mine-too"], &[FIRST], 5);
    let of = |published: &ReleasePlan| proved(published, &plan, &[], &lone, 40_000);
    verdict("δ of a threshold on Gaussian noise, 2 keys", claimed(&plan), of(&plan), false);
    verdict("  mutant: threshold one less", claimed(&plan), of(&moved(&plan, -1)), true);
}

/// A floor on the true number lets a row appear at k where it could not at k − 1.
#[test]
fn a_raw_floor_moves_the_threshold() {
    let floored = LAPLACE.replace("country }", "country, min-subjects: 6, floor: raw }");
    let plan = plan(&floored);
    assert_eq!(threshold(&plan), 8 + 5);
    let (five, lone) = (others(&["k"], &[FIRST], 5), adversary(&["k"], &[FIRST], 5));
    let of = |published: &ReleasePlan| proved(published, &plan, &five, &lone, 40_000);
    verdict("δ of a raw floor of 6", claimed(&plan), of(&plan), false);
    verdict(
        "  mutant: threshold not moved by the floor",
        claimed(&plan),
        of(&moved(&plan, -5)),
        true,
    );
    let refused = OpenDp::for_plan(&moved(&plan, -5)).err();
    assert!(matches!(refused, Some(NoiseError::Threshold { .. })), "nor does it start");
}

/// Rows that show anyway: what they say keeps ε.
#[test]
fn selected_rows_keep_their_promise() {
    let plan = plan(LAPLACE);
    let worlds = |bounding: &ReleasePlan| {
        let crowd = others(&["k"], &[FIRST], 8);
        Worlds::of(&plan, bounding, &[FIRST], &crowd, &adversary(&["k"], &[FIRST], 20))
    };
    let proved = |worlds: &Worlds, n: usize| {
        let [without, with] = worlds.observe(n);
        epsilon_at_least(&without, &with, claimed(&plan))
    };
    let kept = proved(&worlds(&plan), 30_000);
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

    let noise = Noise::Laplace { scale: crate::release::testing::dyadic(1, 1) };
    let exact = Exact::of(noise).tail(threshold - 1);
    verdict("  the same, δ as the plan would charge it", exact, proved, false);
}
