use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::*;

fn charge(line: u8, uses_max: u32, cost: (u64, u64), cap: (u64, u64)) -> Charge {
    Charge {
        account: "orders".into(),
        period_us: 0,
        line: [line; 32],
        unit: LossUnit::NanoRho,
        uses_max,
        cost: Cost { loss: cost.0, delta: cost.1 },
        cap: Cost { loss: cap.0, delta: cap.1 },
        id: [0; 16],
    }
}

type Admit = fn(&[BudgetLine], &Charge) -> Result<(), Refusal>;

/// Charges one after the other as a store does; says of each whether it was taken.
fn play(admit: Admit, charges: &[Charge]) -> Vec<bool> {
    let mut lines: Vec<BudgetLine> = Vec::new();
    let taken = charges.iter().map(|charge| {
        let is_taken = admit(&lines, charge).is_ok();
        if is_taken {
            lines.push(line_of(charge));
            lines = folded(std::mem::take(&mut lines));
        }
        is_taken
    });
    taken.collect()
}

/// What the person who is touched most has lost: charge by charge, in unlimited numbers.
fn naive(taken: &[Charge]) -> (u128, u128) {
    let mut uses = std::collections::BTreeMap::new();
    let mut lost = (0, 0);
    for charge in taken {
        let used: &mut u32 = uses.entry(charge.line).or_default();
        *used += 1;
        if *used <= charge.uses_max {
            lost.0 += u128::from(charge.cost.loss);
            lost.1 += u128::from(charge.cost.delta);
        }
    }
    lost
}

fn fits((loss, delta): (u128, u128), cap: Cost) -> bool {
    loss <= u128::from(cap.loss) && delta <= u128::from(cap.delta)
}

/// Charges of three lines, whose cost and uses depend on the line, under one cap.
fn charges() -> impl Strategy<Value = Vec<Charge>> {
    let amount = || prop_oneof![0..20_u64, Just(u64::MAX / 2), Just(u64::MAX)];
    let line = (1..4_u32, amount(), amount());
    let lines = proptest::collection::vec(line, 3);
    (lines, (amount(), amount()), proptest::collection::vec(0..3_u8, 1..30)).prop_map(
        |(lines, cap, order)| {
            let of = |n: u8| {
                let (uses, loss, delta) = *lines.get(usize::from(n))?;
                Some(charge(n, uses, (loss, delta), cap))
            };
            order.into_iter().filter_map(of).collect()
        },
    )
}

/// Tries a rule on many sequences; says whether it takes all that fits and nothing else.
fn agrees_with_the_model(admit: Admit) -> bool {
    let config = Config { cases: 2_000, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let run = runner.run(&charges(), |charges| {
        let mut taken = Vec::new();
        for (charge, is_taken) in charges.iter().zip(play(admit, &charges)) {
            taken.push(charge.clone());
            prop_assert_eq!(is_taken, fits(naive(&taken), charge.cap));
            if !is_taken {
                taken.pop();
            }
        }
        Ok(())
    });
    run.is_ok()
}

#[test]
fn charges_are_taken_exactly_as_long_as_a_person_stays_below_the_cap() {
    assert!(agrees_with_the_model(admit));
}

/// Each of these is a bug that the model has to notice.
#[test]
fn the_model_notices_wrong_rules() {
    let wrong: [(&str, Admit); 6] = [
        ("sums that wrap", |lines, charge| {
            let times = |l: &BudgetLine| l.charges.min(u64::from(l.uses_max));
            let mut lines = lines.to_vec();
            lines.push(line_of(charge));
            let lost = folded(lines).iter().fold(0_u64, |sum, line| {
                sum.wrapping_add(times(line).wrapping_mul(line.cost.loss))
            });
            let wide = Charge { cap: Cost { loss: u64::MAX, ..charge.cap }, ..charge.clone() };
            let fits = lost <= charge.cap.loss && admit(&[], &wide).is_ok();
            if fits { Ok(()) } else { Err(Refusal::Exhausted) }
        }),
        ("the sum without the new charge", |lines, charge| {
            if Spent::of(lines).is_within(charge.cap) { Ok(()) } else { Err(Refusal::Exhausted) }
        }),
        ("the loss alone", |lines, charge| {
            admit(lines, &Charge { cap: Cost { delta: u64::MAX, ..charge.cap }, ..charge.clone() })
        }),
        ("every charge touches everybody", |lines, charge| {
            let all = lines.iter().map(|l| BudgetLine { uses_max: u32::MAX, ..l.clone() });
            let charge = Charge { uses_max: u32::MAX, ..charge.clone() };
            admit(&all.collect::<Vec<_>>(), &charge)
        }),
        ("the cap may not be reached", |lines, charge| {
            let loss = charge.cap.loss.saturating_sub(1);
            admit(lines, &Charge { cap: Cost { loss, ..charge.cap }, ..charge.clone() })
        }),
        ("one charge a line", |lines, charge| {
            let others: Vec<_> = lines.iter().filter(|l| l.line != charge.line).cloned().collect();
            admit(&others, charge)
        }),
    ];
    for (what, rule) in wrong {
        assert!(!agrees_with_the_model(rule), "not noticed: {what}");
    }
}

#[test]
fn what_contradicts_earlier_charges_is_refused() {
    let first = charge(1, 2, (5, 0), (100, 0));
    let lines = [line_of(&first)];
    let table = [
        (first.clone(), Ok(())),
        (Charge { unit: LossUnit::NanoEpsilon, ..first.clone() }, Err(Refusal::OtherUnit)),
        (
            Charge { unit: LossUnit::NanoEpsilon, line: [2; 32], ..first.clone() },
            Err(Refusal::OtherUnit),
        ),
        (Charge { cost: Cost { loss: 4, delta: 0 }, ..first.clone() }, Err(Refusal::OtherCost)),
        (Charge { uses_max: 3, ..first.clone() }, Err(Refusal::OtherCost)),
        (Charge { uses_max: 0, line: [2; 32], ..first.clone() }, Err(Refusal::NoUses)),
        (Charge { cap: Cost { loss: 9, delta: 0 }, ..first.clone() }, Err(Refusal::Exhausted)),
        (Charge { cap: Cost { loss: 10, delta: 0 }, ..first.clone() }, Ok(())),
    ];
    for (charge, expected) in table {
        assert_eq!(admit(&lines, &charge), expected, "{charge:?}");
    }
}

/// What was promised with the first release of a period holds for its last.
#[test]
fn a_budget_raised_inside_a_period_counts_from_the_next() {
    let lines = [line_of(&charge(1, 1, (2, 0), (2, 5))), line_of(&charge(2, 1, (0, 1), (8, 1)))];
    assert_eq!(cap_of(&lines), Some(Cost { loss: 2, delta: 1 }));
    let raised = charge(3, 1, (1, 0), (8, 9));
    assert_eq!(admit(&lines, &raised), Err(Refusal::Exhausted));
    assert_eq!(admit(&lines, &charge(3, 1, (0, 1), (8, 9))), Err(Refusal::Exhausted));
    // One that is lowered counts at once; in a period without charges the new one counts.
    assert_eq!(admit(&lines, &charge(3, 1, (0, 0), (1, 9))), Err(Refusal::Exhausted));
    assert_eq!(admit(&[], &raised), Ok(()));
}
