//! The promise as arithmetic: whole numbers of any size, no floating point where it is checked.

use std::cmp::Ordering;

use super::*;

/// A natural number, least significant digit first, base 2^32.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Big(Vec<u32>);

impl Big {
    fn of(n: u128) -> Self {
        Self((0..4).map(|i| (n >> (32 * i)) as u32).collect()).trimmed()
    }

    fn trimmed(mut self) -> Self {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
        self
    }

    fn times(&self, other: &Self) -> Self {
        let mut out = vec![0u32; self.0.len() + other.0.len() + 1];
        for (i, a) in self.0.iter().enumerate() {
            let mut carry = 0u64;
            for (j, b) in other.0.iter().enumerate() {
                let sum = u64::from(out[i + j]) + u64::from(*a) * u64::from(*b) + carry;
                out[i + j] = sum as u32;
                carry = sum >> 32;
            }
            out[i + other.0.len()] = carry as u32;
        }
        Self(out).trimmed()
    }

    fn plus(&self, other: &Self) -> Self {
        let digit = |n: &Self, i: usize| u64::from(n.0.get(i).copied().unwrap_or(0));
        let mut carry = 0;
        let sum = (0..=self.0.len().max(other.0.len())).map(|i| {
            carry += digit(self, i) + digit(other, i);
            let low = carry as u32;
            carry >>= 32;
            low
        });
        Self(sum.collect()).trimmed()
    }

    fn compare(&self, other: &Self) -> Ordering {
        let by_length = self.0.len().cmp(&other.0.len());
        by_length.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
}

/// A fraction that is below e^ε by less than one part in 2^100: so many terms of its series.
fn exp_below(epsilon: Decimal) -> (Big, Big) {
    let (digits, ten) = fraction(epsilon).unwrap();
    let (mut over, mut under) = (Big::of(1), Big::of(1));
    for i in (1..=160u128).rev() {
        let step = under.times(&Big::of(ten * i));
        over = step.plus(&over.times(&Big::of(digits)));
        under = step;
    }
    (over, under)
}

/// Whether `p ≤ e^ε · q`.
fn within(p: &Big, q: &Big, (over, under): &(Big, Big)) -> bool {
    p.times(under).compare(&q.times(over)) != Ordering::Greater
}

fn decimal(text: &str) -> Decimal {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    Decimal { digits: format!("{whole}{part}").parse().unwrap(), scale: part.len() as u8 }
}

fn list(k: usize) -> Categories {
    let value = |i: usize| Category { text: i.to_string().into(), quoted: true };
    Categories { values: (0..k).map(value).collect(), other: None }
}

fn truth(k: usize, epsilon: &str) -> u64 {
    match Response::k_rr(list(k), decimal(epsilon)) {
        Some(Response::KRr { truth, .. }) => truth,
        other => panic!("{other:?}"),
    }
}

fn lie(epsilon: &str) -> u64 {
    match Response::oue(list(2), decimal(epsilon)) {
        Some(Response::Oue { lie, .. }) => lie,
        other => panic!("{other:?}"),
    }
}

const EPSILONS: [&str; 9] =
    ["0.000000001", "0.1", "0.5", "1", "1.098612289", "2.25", "3.433987205", "8", "20"];

/// Probability of each answer to each value, in units of `1 / (2^64 · (k-1))`.
fn k_rr_table(k: usize, truth: u64) -> Vec<Vec<Big>> {
    let lie = Big::of((1 << 64) - u128::from(truth));
    let own = Big::of(u128::from(truth)).times(&Big::of(k as u128 - 1));
    let row = |x: usize| (0..k).map(|y| if x == y { own.clone() } else { lie.clone() }).collect();
    (0..k).map(row).collect()
}

/// The same for every string of k bits, in units of `2^-64k`.
fn oue_table(k: usize, half: u64, lie: u64) -> Vec<Vec<Big>> {
    let row = |x: usize| {
        let of = |bits: usize| {
            (0..k).fold(Big::of(1), |product, i| {
                let one = if i == x { half } else { lie };
                let zero = (1 << 64) - u128::from(one);
                let odds = if bits >> i & 1 == 1 { u128::from(one) } else { zero };
                product.times(&Big::of(odds))
            })
        };
        (0..1usize << k).map(of).collect()
    };
    (0..k).map(row).collect()
}

/// Every pair of values and every answer.
fn keeps(table: &[Vec<Big>], epsilon: &str) -> bool {
    let bound = exp_below(decimal(epsilon));
    table
        .iter()
        .all(|x| table.iter().all(|other| x.iter().zip(other).all(|(p, q)| within(p, q, &bound))))
}

#[test]
fn no_answer_tells_more_than_epsilon_and_hardly_less() {
    for epsilon in EPSILONS {
        for k in [2, 3, 5, 32] {
            let truth = truth(k, epsilon);
            assert!(keeps(&k_rr_table(k, truth), epsilon), "{epsilon} {k}");
            let more = truth.saturating_add(1 << 16);
            assert!(!keeps(&k_rr_table(k, more), epsilon), "{epsilon} {k} is too careful");
            let more = (u128::from(truth) * 21 / 20).min(u128::from(u64::MAX)) as u64;
            assert!(!keeps(&k_rr_table(k, more), epsilon), "five per cent more: {epsilon} {k}");
        }
        let lie = lie(epsilon);
        for k in [2, 3, 4] {
            assert!(keeps(&oue_table(k, 1 << 63, lie), epsilon), "{epsilon} {k}");
            assert!(!keeps(&oue_table(k, 1 << 63, lie - (1 << 10)), epsilon), "{epsilon} {k}");
            let truer = (1 << 63) / 20 * 21;
            assert!(!keeps(&oue_table(k, truer, lie), epsilon), "{epsilon} {k}");
        }
    }
    let most = truth(CATEGORIES_MAX, "1");
    assert!(keeps(&k_rr_table(4, truth(4, "1")), "1"));
    let (own, other) = (u128::from(most) * 1023, (1 << 64) - u128::from(most));
    assert!(within(&Big::of(own), &Big::of(other), &exp_below(decimal("1"))));
}

#[test]
fn known_answers() {
    let near = |n: u64, p: f64| (n as f64 / 2f64.powi(64) - p).abs() < 1e-9;
    // One half over 32 values is ln 31; three quarters over two is ln 3.
    assert!(near(truth(32, "3.433987204"), 0.5) && truth(32, "3.433987204") < 1 << 63);
    assert!(near(truth(2, "1.098612288"), 0.75) && truth(2, "1.098612288") < 3 << 62);
    assert!(near(truth(3, "1"), 1f64.exp() / (1f64.exp() + 2.0)));
    assert!(near(lie("1"), 1.0 / (1f64.exp() + 1.0)));
    assert!(near(lie("20"), 1.0 / (20f64.exp() + 1.0)) && lie("20") > 0);
}

#[test]
fn the_scale_of_the_noise_is_the_width_over_epsilon_exactly() {
    let noise = |lo, hi, scale, epsilon: &str| match Response::numeric(
        lo,
        hi,
        scale,
        None,
        decimal(epsilon),
    ) {
        Some(Response::Numeric(n)) => Some(n.noise),
        _ => None,
    };
    assert_eq!(noise(0, 100, 0, "1"), Some((100, 1)));
    assert_eq!(noise(-5000, 5000, 2, "0.8"), Some((12_500, 1)));
    assert_eq!(noise(0, 10, 0, "0.3"), Some((100, 3)));
    assert_eq!(noise(-CLAMP_MAX, CLAMP_MAX, 9, "0.000000001"), Some((2 * 10u128.pow(24), 1)));
    for (lo, hi, epsilon) in
        [(5, 5, "1"), (6, 5, "1"), (0, 1, "0"), (0, 1, "20.1"), (0, CLAMP_MAX + 1, "1")]
    {
        assert_eq!(noise(lo, hi, 0, epsilon), None, "{lo} {hi} {epsilon}");
    }
    assert!(Response::numeric(0, 9, 0, Some(10), decimal("1")).is_none());
    assert!(Response::k_rr(list(1), decimal("1")).is_none());
    assert!(Response::oue(list(CATEGORIES_MAX + 1), decimal("1")).is_none());
}

#[test]
fn a_label_says_how_to_take_the_noise_out_and_what_is_promised() {
    let made = |response: Option<Response>, epsilon: &str, spending: Spending| Randomize {
        response: response.unwrap(),
        epsilon: decimal(epsilon),
        spending,
    };
    let daily = Spending::PerRecord { records: 10, period: "24h".into() };
    let answers = made(Response::k_rr(list(4), decimal("0.5")), "0.5", daily.clone());
    assert_eq!(
        answers.label("'my; mood'"),
        "field='my%3B%20mood';method=k-rr;k=4;domain=98213261210f0b21;\
         p=0.354661244392443391;q=0.215112918535852202;epsilon=0.5;\
         records-per-subject=10;period=24h;epsilon-per-subject=5.0;enforced=no"
    );
    let number = made(Response::numeric(-50, 1000, 1, None, decimal("2")), "2", daily);
    assert_eq!(
        number.label("items[].weight"),
        "field=items[].weight;method=numeric;lo=-5.0;hi=100.0;decimals=1;noise-scale=525/1;\
         epsilon=2;records-per-subject=10;period=24h;epsilon-per-subject=20;enforced=no"
    );
    let subject = crate::path::parse("user.id").unwrap();
    let kept = Spending::Memoized { subject, key: "answers-1".into() };
    let bits = made(Response::oue(list(3), decimal("1")), "1", kept);
    assert!(bits.label("a").ends_with(";epsilon=1;memoized=yes"), "{}", bits.label("a"));
    assert!(bits.label("a").contains(";p=0.500000000000000000;q=0.268941421369995"));
    assert_eq!(bits.to_string(), "oue, 3 categories, epsilon 1 per value, memoized");
    assert_eq!(
        answers.to_string(),
        "k-rr, 4 categories, epsilon 0.5 per record; declared, not enforced: 10 records, so \
         epsilon 5.0, per subject in 24h"
    );
}
