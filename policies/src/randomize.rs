//! Randomization of a single value as it comes in: randomized response over a closed list, and
//! noise on a clamped number.
//!
//! INVARIANT: what this module derives from epsilon never lets an answer tell more than epsilon
//! allows. Probabilities are whole multiples of 2^-64, rounded away from the truth; the scale of
//! the noise is an exact fraction. No floating point on the way.

use std::{fmt, sync::Arc};

use crate::plan::{Decimal, FieldPath};

/// Categories of one domain.
pub const CATEGORIES_MAX: usize = 1024;
/// The largest epsilon of one answer. Far below it, an answer is the value itself.
pub const EPSILON_MAX: i64 = 20;
/// Decimal places of an epsilon, and of a randomized number.
const SCALE_MAX: u8 = 9;
/// Bounds of a clamp, in units of its last decimal place.
pub const CLAMP_MAX: i64 = 1_000_000_000_000_000;

/// `randomize`: the value's answer is drawn, and the value itself goes no further. The gateway
/// sees the value: this is randomization at ingest, whose output is as strong as that of local
/// differential privacy, and whose trust is central.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Randomize {
    pub response: Response,
    /// Of one answer, as the author wrote it.
    pub epsilon: Decimal,
    pub spending: Spending,
}

/// How an answer is drawn.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Response {
    /// k-ary randomized response: the value's own category with probability `truth / 2^64`, else
    /// one of the others, each alike.
    KRr { categories: Categories, truth: u64 },
    /// Optimized unary encoding: a bit for each category, in the order of the domain. That of the
    /// value is 1 with probability one half, any other with probability `lie / 2^64`.
    Oue { categories: Categories, lie: u64 },
    /// The number, clamped, plus discrete Laplace noise.
    Numeric(Numeric),
}

/// A closed, public list of values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Categories {
    /// Their texts differ from each other. A value is known by its text. Shared by all plans.
    pub values: Arc<[Category]>,
    /// The place of the category that stands for everything outside the list, null, objects and
    /// lists included. Without it the dataset's `on-invalid` decides, and it shows that the value
    /// was outside.
    pub other: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Category {
    /// The content of a string, a boolean, or a number in its one spelling.
    pub text: Arc<str>,
    /// It is written as a JSON string.
    pub quoted: bool,
}

/// In units of `10^-scale`: `lo..=hi`, and noise with `Pr[z] ∝ exp(-|z|/s)` where
/// `s = noise.0 / noise.1`, in lowest terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Numeric {
    pub lo: i64,
    pub hi: i64,
    pub scale: u8,
    /// What stands for everything that is no number; as for [`Categories::other`].
    pub other: Option<i64>,
    pub noise: (u128, u128),
}

/// What several answers about one subject cost together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Spending {
    /// Each record draws anew, and each value in it. How many a subject has in a period is what
    /// the author declares: nobody counts.
    PerRecord { records: u32, period: Arc<str> },
    /// The same answer to the same value of the same subject, from a keyed function. Two values
    /// of a subject get two answers that have nothing to do with each other.
    Memoized { subject: FieldPath, key: Arc<str> },
}

impl Response {
    /// None if there are fewer than two categories or epsilon is out of range.
    pub fn k_rr(categories: Categories, epsilon: Decimal) -> Option<Self> {
        let others = others(&categories)?;
        let x = exp_minus_above(epsilon)?;
        // 2^64 / (1 + (k-1)·e^-ε), rounded down: never truthful more often.
        let below = ONE.checked_add(others.checked_mul(x)?)?;
        let truth = u64::try_from((1u128 << 127) / below).ok()?;
        Some(Self::KRr { categories, truth })
    }

    /// None as for [`Response::k_rr`].
    pub fn oue(categories: Categories, epsilon: Decimal) -> Option<Self> {
        others(&categories)?;
        let x = exp_minus_above(epsilon)?;
        // 2^64 · e^-ε / (1 + e^-ε), rounded up: never a lie less often.
        let lie = u64::try_from((x << 64).div_ceil(ONE.checked_add(x)?)).ok()?;
        Some(Self::Oue { categories, lie })
    }

    /// None if the clamp is empty or too wide, `other` is not in it, or epsilon is out of range.
    pub fn numeric(
        lo: i64,
        hi: i64,
        scale: u8,
        other: Option<i64>,
        epsilon: Decimal,
    ) -> Option<Self> {
        let fits = lo < hi && lo >= -CLAMP_MAX && hi <= CLAMP_MAX && scale <= SCALE_MAX;
        if !fits || other.is_some_and(|o| !(lo..=hi).contains(&o)) {
            return None;
        }
        let (digits, ten) = fraction(epsilon)?;
        // Any two values are at most the width of the clamp apart: s = width / ε, exactly.
        let width = u128::from(hi.abs_diff(lo)).checked_mul(ten)?;
        let common = gcd(width, digits);
        let noise = (width / common, digits / common);
        Some(Self::Numeric(Numeric { lo, hi, scale, other, noise }))
    }

    /// The author's word for it.
    pub fn method(&self) -> &'static str {
        match self {
            Self::KRr { .. } => "k-rr",
            Self::Oue { .. } => "oue",
            Self::Numeric(_) => "numeric",
        }
    }

    /// What everything outside the domain counts as, if the author said so.
    pub fn covers_everything(&self) -> bool {
        match self {
            Self::KRr { categories, .. } | Self::Oue { categories, .. } => {
                categories.other.is_some()
            }
            Self::Numeric(n) => n.other.is_some(),
        }
    }
}

impl Randomize {
    /// The declared cost of a subject in a period; none where answers are memoized.
    pub fn epsilon_per_subject(&self) -> Option<Decimal> {
        match &self.spending {
            Spending::Memoized { .. } => None,
            Spending::PerRecord { records, .. } => {
                let digits = self.epsilon.digits.checked_mul(i64::from(*records));
                Some(Decimal { digits: digits.unwrap_or(i64::MAX), scale: self.epsilon.scale })
            }
        }
    }

    /// What a consumer needs to take the noise out of counts and means, and what the promise is:
    /// words of the policy only. It is the same for every record of a plan.
    pub fn label(&self, field: &str) -> String {
        let mut label = format!("{}method={}", label_start(field), self.response.method());
        label.push_str(&match &self.response {
            Response::KRr { categories, truth } => {
                let others = categories.values.len().saturating_sub(1).max(1) as u128;
                let lies = (1 << 64) - u128::from(*truth);
                digest_and_odds(categories, u128::from(*truth), lies / others)
            }
            Response::Oue { categories, lie } => {
                digest_and_odds(categories, 1 << 63, u128::from(*lie))
            }
            Response::Numeric(n) => {
                let at = |digits| Decimal { digits, scale: n.scale };
                let (over, under) = n.noise;
                format!(
                    ";lo={};hi={};decimals={};noise-scale={over}/{under}",
                    at(n.lo),
                    at(n.hi),
                    n.scale
                )
            }
        });
        label.push_str(&format!(";epsilon={}", self.epsilon));
        label.push_str(&match (&self.spending, self.epsilon_per_subject()) {
            (Spending::PerRecord { records, period }, Some(sum)) => format!(
                ";records-per-subject={records};period={period};epsilon-per-subject={sum};enforced=no"
            ),
            _ => ";memoized=yes".to_owned(),
        });
        label
    }

    /// What an author and an auditor have to know about it, in sentences.
    pub fn caveats(&self) -> String {
        let spending = match (&self.spending, self.epsilon_per_subject()) {
            (Spending::PerRecord { records, period }, Some(sum)) => format!(
                "epsilon {sum} per subject in {period} rests on the declaration that a subject has \
                 at most {records} records with one such value in that time; nothing enforces it, \
                 and other fields add to it"
            ),
            _ => {
                "as long as a subject's value stays the same, epsilon is spent once; that a value \
                  has changed may be visible; anyone who has the key can undo the answers, and \
                  deleting it ends that"
                    .to_owned()
            }
        };
        let outside = if self.response.covers_everything() {
            "a value outside the domain is answered like any other"
        } else {
            "whether a value is null or outside the domain is visible"
        };
        format!(
            "Randomized at ingest: the gateway sees the true value, so the output is as strong as \
             with local randomization and the trust is central; {spending}; {outside}; whether the \
             field is present is visible."
        )
    }
}

impl fmt::Display for Randomize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.response.method())?;
        match &self.response {
            Response::KRr { categories, .. } | Response::Oue { categories, .. } => {
                write!(f, ", {} categories", categories.values.len())?;
            }
            Response::Numeric(n) => {
                let at = |digits| Decimal { digits, scale: n.scale };
                write!(f, ", {} to {}", at(n.lo), at(n.hi))?;
            }
        }
        match (&self.spending, self.epsilon_per_subject()) {
            (Spending::PerRecord { records, period }, Some(sum)) => write!(
                f,
                ", epsilon {} per record; declared, not enforced: {records} records, so epsilon \
                 {sum}, per subject in {period}",
                self.epsilon
            ),
            _ => write!(f, ", epsilon {} per value, memoized", self.epsilon),
        }
    }
}

impl Categories {
    /// Names the list and its order, so that a consumer notices when it changes.
    pub fn digest(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for value in &*self.values {
            hasher.update(&[u8::from(value.quoted)]);
            hasher.update(&(value.text.len() as u64).to_be_bytes());
            hasher.update(value.text.as_bytes());
        }
        hasher.finalize()
    }
}

/// How the label of a field begins.
pub fn label_start(field: &str) -> String {
    format!("field={};", escaped(field))
}

/// Characters of a domain's digest in a label.
const DIGEST_DIGITS: usize = 16;

fn digest_and_odds(categories: &Categories, p: u128, q: u128) -> String {
    let digest = categories.digest().to_hex();
    format!(
        ";k={};domain={};p={};q={}",
        categories.values.len(),
        digest.get(..DIGEST_DIGITS).unwrap_or_default(),
        odds(p),
        odds(q)
    )
}

/// Decimal places of a probability in a label, cut off behind.
const ODDS_DIGITS: u32 = 18;

/// `n / 2^64`, below one.
fn odds(n: u128) -> String {
    let digits = (n * 10u128.pow(ODDS_DIGITS)) >> 64;
    format!("0.{digits:0width$}", width = ODDS_DIGITS as usize)
}

/// Keeps what cannot be mistaken for the label's own signs.
fn escaped(field: &str) -> String {
    let mut text = String::new();
    for byte in field.bytes() {
        if byte.is_ascii_alphanumeric() || b"._-:[]*'".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

fn others(categories: &Categories) -> Option<u128> {
    let k = categories.values.len();
    let other = categories.other.is_none_or(|o| usize::from(o) < k);
    ((2..=CATEGORIES_MAX).contains(&k) && other).then_some(k as u128 - 1)
}

/// One in fixed point.
const ONE: u128 = 1 << 63;
/// Terms of a series, an odd number; the last is far below 2^-63.
const TERMS: u128 = 41;

/// e^-ε in units of 2^-63, never below the true value and less than 2^-56 above it.
fn exp_minus_above(epsilon: Decimal) -> Option<u128> {
    let (digits, ten) = fraction(epsilon)?;
    let mut x = exp_minus_part(digits % ten, ten);
    let one = exp_minus_part(1, 1);
    for _ in 0..digits / ten {
        x = (x * one).div_ceil(ONE);
    }
    Some(x)
}

/// e^-(n/d) for n ≤ d, never below the true value: the terms fall and change signs, so that a sum
/// that ends with an added one is above; added terms are rounded up and others down.
fn exp_minus_part(n: u128, d: u128) -> u128 {
    let (mut up, mut down) = (ONE, ONE);
    let (mut sum, mut less) = (ONE, 0);
    for i in 1..TERMS {
        up = (up * n).div_ceil(d * i);
        down = down * n / (d * i);
        if i % 2 == 0 {
            sum += up;
        } else {
            less += down;
        }
    }
    sum - less
}

/// Epsilon as a fraction, if it is in range.
fn fraction(epsilon: Decimal) -> Option<(u128, u128)> {
    let ten = 10u128.checked_pow(u32::from(epsilon.scale))?;
    let digits = u128::try_from(epsilon.digits).ok()?;
    let in_range = digits > 0 && digits <= ten * u128::from(EPSILON_MAX.unsigned_abs());
    (in_range && epsilon.scale <= SCALE_MAX).then_some((digits, ten))
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests;
