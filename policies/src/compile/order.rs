//! Which of two transforms protects more. A partial order: some cannot be compared, and then the
//! author has to choose.
//!
//! `keep` protects least and `drop` most. Below `drop` are `redact` and `constant`, which carry
//! nothing of the value. In between, only transforms of one family can be compared, setting by
//! setting; a token in a narrower scope protects more than one in the global scope. `randomize`
//! is comparable with no other, nor with itself under other settings: two answers about one value
//! tell more than either, and a coarser value is not a random answer.

use crate::{
    model::order,
    plan::{Decimal, EventUnit, Generalize, Geo, Mask, TokenUse, Transform},
};

/// Whether `a` shows nothing that `b` does not show.
pub(crate) fn at_least(a: &Transform, b: &Transform) -> bool {
    use Transform::{Constant, Drop, Keep, Redact};
    match (a, b) {
        _ if a == b => true,
        (Drop, _) | (_, Keep) => true,
        (Keep, _) | (_, Drop) => false,
        (Redact, _) => true,
        (_, Redact) => false,
        (Constant(_), Constant(_)) => false,
        (Constant(_), _) => true,
        (_, Constant(_)) => false,
        (Transform::Mask(a), Transform::Mask(b)) => mask(*a, *b),
        (Transform::Generalize(a), Transform::Generalize(b)) => generalize(a, b),
        (Transform::Geo(Geo::Decimals(a)), Transform::Geo(Geo::Decimals(b)))
        | (Transform::Geo(Geo::Geohash(a)), Transform::Geo(Geo::Geohash(b))) => a <= b,
        (Transform::Tokenize(a), Transform::Tokenize(b)) => token(a, b),
        _ => false,
    }
}

/// The more protective of two, or none when they cannot be compared.
pub(crate) fn stricter<'t>(a: &'t Transform, b: &'t Transform) -> Option<&'t Transform> {
    match (at_least(a, b), at_least(b, a)) {
        (true, false) => Some(a),
        (false, true) => Some(b),
        // Equal protection in different spellings: any fixed choice will do.
        (true, true) => Some(if format!("{a:?}") <= format!("{b:?}") { a } else { b }),
        (false, false) => None,
    }
}

/// A number that never falls when protection rises, for sorting.
pub(crate) fn rank(t: &Transform) -> u8 {
    match t {
        Transform::Keep => 0,
        Transform::Mask(_)
        | Transform::Tokenize(_)
        | Transform::Generalize(_)
        | Transform::Geo(_)
        | Transform::Randomize(_) => 1,
        Transform::Constant(_) => 2,
        Transform::Redact => 3,
        Transform::Drop => 4,
    }
}

/// Whether something of the value is left.
pub(crate) fn carries(t: &Transform) -> bool {
    rank(t) <= 1
}

fn mask(a: Mask, b: Mask) -> bool {
    let hides_length = a.length.is_some() || b.length.is_none();
    a.email == b.email && a.first <= b.first && a.last <= b.last && hides_length
}

fn token(a: &TokenUse, b: &TokenUse) -> bool {
    let same_key = a.domain == b.domain
        && a.epoch == b.epoch
        && a.normalizer == b.normalizer
        && a.key == b.key;
    same_key && &*b.scope == "global"
}

fn generalize(a: &Generalize, b: &Generalize) -> bool {
    match (a, b) {
        (Generalize::Date { part: a, unit: x }, Generalize::Date { part: b, unit: y }) => {
            a <= b && (x == y || *x == EventUnit::Rfc3339)
        }
        (Generalize::PostalCode { keep: a }, Generalize::PostalCode { keep: b }) => a <= b,
        (Generalize::Ip { v4: a, v6: x }, Generalize::Ip { v4: b, v6: y }) => a <= b && x <= y,
        (Generalize::Bucket { width: a }, Generalize::Bucket { width: b }) => {
            order(*b) > 0 && order(*a) % order(*b) == 0
        }
        (Generalize::Edges(a), Generalize::Edges(b)) => {
            a.iter().all(|x| b.iter().any(|y| order(*x) == order(*y)))
        }
        (Generalize::Bound { bottom: a, top: x }, Generalize::Bound { bottom: b, top: y }) => {
            tighter(*a, *b, |a, b| a >= b) && tighter(*x, *y, |a, b| a <= b)
        }
        _ => false,
    }
}

fn tighter(a: Option<Decimal>, b: Option<Decimal>, holds: impl Fn(i128, i128) -> bool) -> bool {
    match (a, b) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(a), Some(b)) => holds(order(a), order(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Categories, Category, DatePart, Normalizer, Randomize, Response, Spending};

    fn token(domain: &str, scope: &str) -> Transform {
        Transform::Tokenize(TokenUse {
            domain: domain.into(),
            scope: scope.into(),
            epoch: 1,
            normalizer: Normalizer::ExactV1,
            key: "k".into(),
        })
    }

    fn mask(first: u8, last: u8) -> Transform {
        Transform::Mask(Mask { first, last, with: '*', email: false, length: None })
    }

    fn randomize(epsilon: i64) -> Transform {
        let epsilon = Decimal { digits: epsilon, scale: 0 };
        let value = |text: &str| Category { text: text.into(), quoted: true };
        let categories = Categories { values: ["a", "b"].map(value).into(), other: None };
        Transform::Randomize(Box::new(Randomize {
            response: Response::k_rr(categories, epsilon).unwrap(),
            epsilon,
            spending: Spending::PerRecord { records: 1, period: "24h".into() },
        }))
    }

    fn bucket(digits: i64) -> Transform {
        Transform::Generalize(Generalize::Bucket { width: Decimal { digits, scale: 0 } })
    }

    fn date(part: DatePart, unit: EventUnit) -> Transform {
        Transform::Generalize(Generalize::Date { part, unit })
    }

    fn all() -> Vec<Transform> {
        vec![
            Transform::Keep,
            Transform::Drop,
            Transform::Redact,
            Transform::Constant("1".into()),
            Transform::Constant("2".into()),
            mask(1, 0),
            mask(0, 4),
            mask(0, 0),
            token("a", "global"),
            token("a", "dataset=x"),
            token("b", "global"),
            date(DatePart::Year, EventUnit::Rfc3339),
            date(DatePart::Day, EventUnit::Rfc3339),
            date(DatePart::Day, EventUnit::Seconds),
            date(DatePart::Day, EventUnit::Millis),
            bucket(10),
            bucket(20),
            bucket(25),
            Transform::Geo(Geo::Decimals(1)),
            Transform::Geo(Geo::Geohash(5)),
            randomize(1),
            randomize(2),
        ]
    }

    #[test]
    fn it_is_an_order_with_a_top_and_a_bottom_and_ranks_agree() {
        for a in all() {
            assert!(
                at_least(&a, &a)
                    && at_least(&Transform::Drop, &a)
                    && at_least(&a, &Transform::Keep)
            );
            for b in all() {
                let both = at_least(&a, &b) && at_least(&b, &a);
                assert!(!both || a == b, "{a:?} {b:?}");
                assert!(!at_least(&a, &b) || rank(&a) >= rank(&b), "{a:?} {b:?}");
                for c in all() {
                    let chain = at_least(&a, &b) && at_least(&b, &c);
                    assert!(!chain || at_least(&a, &c), "{a:?} {b:?} {c:?}");
                }
            }
        }
    }

    #[test]
    fn randomize_gives_way_to_nothing_left_and_meets_nothing_else() {
        let one = randomize(1);
        for t in all().iter().filter(|t| **t != one) {
            let met = stricter(&one, t);
            match t {
                Transform::Keep => assert_eq!(met, Some(&one)),
                Transform::Drop | Transform::Redact | Transform::Constant(_) => {
                    assert_eq!(met, Some(t));
                }
                _ => assert_eq!(met, None, "{t:?}"),
            }
        }
        assert_eq!(stricter(&one, &one), Some(&one));
        assert!(carries(&one));
    }

    #[test]
    fn a_date_whose_unit_is_declared_shows_more_and_two_units_do_not_compare() {
        let day = |unit| date(DatePart::Day, unit);
        let text = day(EventUnit::Rfc3339);
        assert_eq!(stricter(&text, &day(EventUnit::Millis)), Some(&text));
        assert!(stricter(&day(EventUnit::Seconds), &day(EventUnit::Millis)).is_none());
    }

    #[test]
    fn families_do_not_mix() {
        assert!(stricter(&token("a", "global"), &mask(0, 0)).is_none());
        assert!(stricter(&token("a", "global"), &token("b", "global")).is_none());
        assert_eq!(stricter(&mask(0, 0), &mask(0, 4)), Some(&mask(0, 0)));
        let (ten, twenty) = (&bucket(10), &bucket(20));
        assert_eq!(stricter(ten, twenty), Some(twenty));
        assert!(stricter(twenty, &bucket(25)).is_none());
    }
}
