//! The compiled table means what the rules say: compared with a naive interpreter on random
//! policies, for every question that can be asked, on every day.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may stop where something is not as it should be"
)]

#[path = "support/model.rs"]
mod model;

use model::{
    Access, Answer, DATASETS, DAY_MS, DAYS, JURISDICTIONS, Mutant, PRINCIPALS, PURPOSES, Policy,
    Protection, Transfer, Who,
};
use proptest::{option, prelude::*, strategy::ValueTree, test_runner::TestRunner};
use sluicegate_policies::{
    Bundle, Operation, Source, Table, Transform, UnixMillis, check, explain, run_tests,
};

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![(0..3_usize).prop_map(Who::Principal), (0..2_usize).prop_map(Who::Team)]
}

fn access() -> impl Strategy<Value = Access> {
    let dates = (option::of(0..8_i64), option::of(9..DAYS));
    (prop::bool::weighted(0.75), who(), any::<bool>(), 0..2_usize, 0..3_usize, dates).prop_map(
        |(allows, who, read, dataset, purpose, (from, until))| Access {
            allows,
            who,
            read,
            dataset,
            purpose,
            from,
            until,
        },
    )
}

fn protection() -> impl Strategy<Value = Protection> {
    (0..4_usize, option::of(0..3_usize), option::of(0..3_usize), 0..5_u8, option::of(0..DAYS))
        .prop_map(|(category, purpose, subject, strength, from)| Protection {
            category,
            purpose,
            subject,
            strength,
            from,
        })
}

fn transfer() -> impl Strategy<Value = Transfer> {
    (prop::bool::weighted(0.8), 0..3_usize, 0..4_usize, option::of(0..DAYS))
        .prop_map(|(allows, from, category, expires)| Transfer { allows, from, category, expires })
}

fn policy() -> impl Strategy<Value = Policy> {
    let parts = (
        prop::collection::vec(access(), 1..8),
        prop::collection::vec(protection(), 0..6),
        prop::collection::vec(transfer(), 0..5),
        any::<bool>(),
    );
    parts.prop_map(|(access, protection, transfer, stay_home)| Policy {
        access,
        protection,
        transfer,
        stay_home,
    })
}

fn strength(t: &Transform) -> u8 {
    match t {
        Transform::Keep => 0,
        Transform::Mask(m) if m.first == 2 => 1,
        Transform::Mask(_) => 2,
        Transform::Redact => 3,
        _ => 4,
    }
}

fn compiled(table: &Table, p: usize, u: usize, d: usize, j: usize) -> Answer {
    let grant =
        table.admit(PRINCIPALS[p], Some(PURPOSES[u]), Operation::Publish, DATASETS[d]).ok()?;
    let route = grant.route(table.jurisdiction(JURISDICTIONS[j]).unwrap()).ok()?;
    let fields = |plan: &sluicegate_policies::Plan| {
        let by_name = |n: &str| plan.fields.iter().find(|f| &*f.path.written == n).unwrap();
        vec![strength(&by_name("f0").transform), strength(&by_name("f1").transform)]
    };
    Some(route.deliveries.iter().map(|x| (x.region.to_string(), fields(&x.plan))).collect())
}

/// The first question on which table and interpreter differ.
fn difference(policy: &Policy, mutant: Mutant) -> Option<String> {
    let sources = [Source::new("p.yaml", policy.yaml())];
    let bundle = Bundle::compile(&sources).unwrap_or_else(|r| panic!("{}", r.render(&sources)));
    for day in 0..DAYS {
        let table = bundle.table(UnixMillis(day * DAY_MS)).unwrap();
        for (p, u, d) in
            (0..3).flat_map(|p| (0..3).flat_map(move |u| (0..2).map(move |d| (p, u, d))))
        {
            let read = table.admit(PRINCIPALS[p], Some(PURPOSES[u]), Operation::Read, DATASETS[d]);
            if read.is_ok() != policy.may(p, u, true, d, day, mutant) {
                return Some(format!("read {p} {u} {d} day {day}"));
            }
            for j in 0..3 {
                let (a, b) =
                    (compiled(&table, p, u, d, j), policy.publish(p, u, d, j, day, mutant));
                if a != b {
                    return Some(format!("publish {p} {u} {d} {j} day {day}: {a:?} is not {b:?}"));
                }
            }
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_table_means_what_the_rules_say(policy in policy()) {
        prop_assert_eq!(difference(&policy, Mutant::None), None);
    }

    #[test]
    fn no_reader_sees_more_than_the_rules_allow_for_its_purpose(policy in policy()) {
        let bundle = Bundle::compile(&[Source::new("p.yaml", policy.yaml())]).unwrap();
        let table = bundle.table(UnixMillis(0)).unwrap();
        for (p, u, d) in (0..3).flat_map(|p| (0..3).flat_map(move |u| (0..2).map(move |d| (p, u, d)))) {
            let Ok(grant) = table.admit(PRINCIPALS[p], Some(PURPOSES[u]), Operation::Read, DATASETS[d]) else { continue };
            for (i, c) in model::FIELDS[d].iter().enumerate() {
                let (_, view) = grant.view();
                let field = view.fields.iter().find(|f| *f.path.written == *format!("f{i}")).unwrap();
                let stored = |j: usize| {
                    let all = (0..3).flat_map(|q| (0..3).map(move |v| (q, v)));
                    all.filter_map(|(q, v)| policy.publish(q, v, d, j, 0, Mutant::None)).flatten().map(|(_, s)| s[i]).collect::<Vec<_>>()
                };
                let any = (0..3).any(|j| !stored(j).is_empty());
                let right = (0..3).all(|j| stored(j).iter().all(|s| *s >= policy.strength(*c, u, j, 0, Mutant::None)));
                prop_assert_eq!(field.transform == Transform::Keep, any && right);
            }
        }
    }

    #[test]
    fn no_text_makes_the_compiler_panic(text in "\\PC{0,200}", cut in 0..4000_usize, glue in "[-:{}\\[\\]&*!|>'\"%@ \n\t0-9a-z#,?]{0,24}") {
        let at = UnixMillis(0);
        let whole = include_str!("bundles/shop/rules.yaml");
        let cut = (cut..).find(|n| whole.is_char_boundary((*n).min(whole.len()))).unwrap_or(0).min(whole.len());
        for text in [text, { let (head, tail) = whole.split_at(cut); format!("{head}{glue}{tail}") }, glue] {
            let sources = [Source::new("t.yaml", text), Source::new("w.yaml", include_str!("bundles/shop/vocabulary.yaml"))];
            let report = check(&sources, at);
            let _ = report.render(&sources);
            if let Ok(bundle) = Bundle::compile(&sources) {
                let table = bundle.table(at).unwrap();
                let _ = run_tests(&bundle, &sources, at).to_string();
                let _ = explain(&table, &sluicegate_policies::Question::default()).to_string();
            }
        }
    }
}

#[test]
fn the_comparison_catches_wrong_interpreters() {
    let wrong = [
        Mutant::AllowOverridesDeny,
        Mutant::ExpiredMechanismHolds,
        Mutant::ParentDoesNotCover,
        Mutant::WeakerProtectionWins,
    ];
    for mutant in wrong {
        let mut runner = TestRunner::deterministic();
        let caught = (0..200).any(|_| {
            let policy = policy().new_tree(&mut runner).unwrap().current();
            difference(&policy, mutant).is_some()
        });
        assert!(caught, "{mutant:?} was not noticed");
    }
}
