//! Randomized answers in place of values: randomized response, unary encoding, noise.
//!
//! Randomness is a keyed function. [`Randomness`] holds 32 bytes from the operating system, and each draw
//! is BLAKE3 in keyed mode over what makes the draw unique: the number of the occasion, the place
//! in the record, the mechanism. Under a secret key that function is taken to be pseudorandom,
//! and so is its extendable output; as no input occurs twice, nobody without the key can tell the
//! draws from coins. There is no state to lock or to lose, only a counter that moves once a
//! record. Two copies of one record share the occasion, so that the same mechanism gives the same
//! answer in both, and its epsilon is spent once. (A machine that is brought back twice from one
//! image of its memory repeats draws, as with any generator in a process; a policy that is read
//! again has a new seed.)
//!
//! Must never let a value, or a text made from one without a draw, into the output, a label or a
//! refusal. Must never use one draw for two values. Draws are exact: integers and rejection, no
//! floating point. How long a draw takes depends on it; a consumer sees no such times.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use ring::rand::SecureRandom;
use sluicegate_policies::{
    Categories, Category, Numeric, Randomize, Response, Spending, label_start, number::Number,
};
use zeroize::Zeroizing;

use super::{number::write_fixed, value::Form};
use crate::keys::{self, KeyError, Keyring, Secret};

/// Says how a field was randomized, once for each such field of the plan: what a consumer needs
/// to take the noise out again. The same for every record.
pub const RANDOMIZED_HEADER: &str = "sluicegate-randomized";
const PERMANENT_ALGORITHM: &[u8] = b"randomise permanent blake3 v1";
/// Bytes of one block of BLAKE3's output.
const BLOCK_BYTES: usize = 64;

/// Where fresh answers come from. One for each compiled policy.
pub struct Randomness {
    key: Zeroizing<[u8; 32]>,
    /// Tells one from another; no secret.
    id: u64,
    next: AtomicU64,
}

impl Randomness {
    pub fn new(random: &dyn SecureRandom) -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        random.fill(&mut seed).map_err(|_| KeyError::Random)?;
        Ok(Self::from_seed(seed))
    }

    /// The same answers each time: for tests and benchmarks.
    pub fn from_seed(key: [u8; 32]) -> Self {
        let digest = blake3::derive_key("sluicegate randomise: name of a seed", &key);
        let id = digest.first_chunk().copied().map_or(0, u64::from_be_bytes);
        Self { key: Zeroizing::new(key), id, next: AtomicU64::new(0) }
    }
}

/// Whether a stored record's label may go to a reader who is shown `field`: it has the form of a
/// label, and nothing in it is long enough to be something else.
pub(crate) fn is_label_of(field: &str, label: &[u8]) -> bool {
    let Some(rest) = label.strip_prefix(label_start(field).as_bytes()) else { return false };
    let part = |part: &[u8]| {
        let mut halves = part.splitn(2, |b| *b == b'=');
        let name = halves.next().unwrap_or_default();
        let value = halves.next().unwrap_or_default();
        let fits = |b: &u8| b.is_ascii_digit() || b.is_ascii_lowercase() || b"./-".contains(b);
        LABEL_NAMES.iter().any(|known| known.as_bytes() == name)
            && value.len() <= LABEL_VALUE_BYTES_MAX
            && value.iter().all(fits)
    };
    rest.split(|b| *b == b';').all(part)
}

const LABEL_NAMES: [&str; 15] = [
    "method",
    "k",
    "domain",
    "p",
    "q",
    "lo",
    "hi",
    "decimals",
    "noise-scale",
    "epsilon",
    "records-per-subject",
    "period",
    "epsilon-per-subject",
    "enforced",
    "memoized",
];
/// Two numbers of 81 bits with a slash between them.
const LABEL_VALUE_BYTES_MAX: usize = 51;

/// What the draws in one record, in all its copies, have in common.
#[derive(Default)]
pub(crate) struct Occasion {
    /// Whose number it is, and the number.
    number: Option<(u64, u64)>,
    /// 0 the value, 1 the key, then the headers in order.
    pub part: u32,
    /// The subject at each path that the program knows.
    pub subjects: Vec<Option<String>>,
}

impl Occasion {
    /// Another record.
    pub(crate) fn renew(&mut self) {
        self.number = None;
    }

    /// INVARIANT: no two records get one number of one [`Randomness`].
    pub(crate) fn number(&mut self, randomness: &Randomness) {
        if self.number.is_none_or(|(id, _)| id != randomness.id) {
            self.number = Some((randomness.id, randomness.next.fetch_add(1, Ordering::Relaxed)));
        }
    }
}

/// Where a value is.
#[derive(Clone, Copy)]
pub(crate) struct Place<'o> {
    pub occasion: &'o Occasion,
    /// The byte of the part at which it begins.
    pub offset: usize,
}

/// One field's mechanism, ready to use.
pub(crate) struct Randomizer {
    how: How,
    mechanism: [u8; 32],
    source: Source,
}

enum Source {
    Fresh(Arc<Randomness>),
    /// The same for the same subject and value. `subject` is a place in [`Occasion::subjects`].
    Permanent {
        key: Secret,
        subject: usize,
    },
}

enum How {
    KRr { list: List, truth: u64 },
    Oue { list: List, lie: u64 },
    Numeric(Numeric),
}

/// The categories, and where they stand by their texts in order.
struct List {
    values: Arc<[Category]>,
    by_text: Box<[u16]>,
    other: Option<usize>,
}

impl List {
    fn new(categories: &Categories) -> Self {
        let values = categories.values.clone();
        // At most `CATEGORIES_MAX`.
        let mut by_text: Vec<u16> = (0..=u16::MAX).take(values.len()).collect();
        by_text.sort_by_key(|i| values.get(usize::from(*i)).map(|v| &v.text));
        Self { by_text: by_text.into(), values, other: categories.other.map(usize::from) }
    }

    fn place(&self, text: Option<&str>) -> Option<usize> {
        text.and_then(|text| self.find(text)).or(self.other)
    }

    fn find(&self, text: &str) -> Option<usize> {
        let text_at = |i: &u16| self.values.get(usize::from(*i)).map(|v| &*v.text);
        let found = self.by_text.binary_search_by(|i| text_at(i).cmp(&Some(text))).ok()?;
        self.by_text.get(found).map(|i| usize::from(*i))
    }
}

impl Randomizer {
    /// `field` is the path as the author wrote it, `subject` its place among the subjects.
    pub(crate) fn new(
        randomize: &Randomize,
        field: &str,
        subject: usize,
        tenant: &str,
        keys: &dyn Keyring,
        randomness: &Arc<Randomness>,
    ) -> Result<Self, KeyError> {
        let mechanism = mechanism(&randomize.response);
        let source = match &randomize.spending {
            Spending::PerRecord { .. } => Source::Fresh(randomness.clone()),
            // The rule's name is no part of it: a rule with another name, or the same demand for
            // another purpose, must not make a second answer about the same value.
            Spending::Memoized { key, .. } => Source::Permanent {
                key: keys.derive(
                    key,
                    &keys::info(&[
                        tenant.as_bytes(),
                        PERMANENT_ALGORITHM,
                        &mechanism,
                        field.as_bytes(),
                    ]),
                )?,
                subject,
            },
        };
        let how = match &randomize.response {
            Response::KRr { categories, truth } => {
                How::KRr { list: List::new(categories), truth: *truth }
            }
            Response::Oue { categories, lie } => {
                How::Oue { list: List::new(categories), lie: *lie }
            }
            Response::Numeric(n) => How::Numeric(*n),
        };
        Ok(Self { how, mechanism, source })
    }

    /// Whether a null, an object or a list gets an answer too.
    pub(crate) fn covers_everything(&self) -> bool {
        match &self.how {
            How::KRr { list, .. } | How::Oue { list, .. } => list.other.is_some(),
            How::Numeric(n) => n.other.is_some(),
        }
    }

    /// `None`: the value is outside the domain, or its subject is missing. A `text` of `None` is
    /// a value that is no text.
    pub(crate) fn answer(
        &self,
        text: Option<&str>,
        place: Place<'_>,
        draft: &mut String,
    ) -> Option<Form> {
        draft.clear();
        match &self.how {
            How::KRr { list, truth } => {
                let own = list.place(text)?;
                let mut coins = self.coins(own as i64, place)?;
                let answer = list.values.get(k_rr(own, list.values.len(), *truth, &mut coins))?;
                draft.push_str(&answer.text);
                Some(if answer.quoted { Form::Text } else { Form::Literal })
            }
            How::Oue { list, lie } => {
                let own = list.place(text)?;
                let mut coins = self.coins(own as i64, place)?;
                draft.extend((0..list.values.len()).map(|i| {
                    let bit = if i == own { coins.word() >> 63 == 0 } else { coins.word() < *lie };
                    if bit { '1' } else { '0' }
                }));
                Some(Form::Text)
            }
            How::Numeric(n) => {
                let number =
                    text.and_then(Number::parse).map(|number| number.round(n.scale.into()));
                let clamped = number.map(|u| u.clamp(i128::from(n.lo), i128::from(n.hi)));
                let clamped = clamped.and_then(|u| i64::try_from(u).ok()).or(n.other)?;
                let mut coins = self.coins(clamped, place)?;
                let noise = discrete_laplace(n.noise, &mut coins);
                let noisy = i128::from(clamped).saturating_add(noise);
                write_fixed(noisy, u32::from(n.scale), draft)?;
                Some(Form::Literal)
            }
        }
    }

    /// The coins for this value here. INVARIANT: they are a fresh stretch of the keyed function
    /// for each value and record, or for each value and subject.
    fn coins(&self, value: i64, place: Place<'_>) -> Option<Coins> {
        let hasher = match &self.source {
            Source::Fresh(randomness) => {
                let (_, number) = place.occasion.number.filter(|(id, _)| *id == randomness.id)?;
                let mut hasher = blake3::Hasher::new_keyed(&randomness.key);
                hasher.update(&self.mechanism);
                hasher.update(&number.to_be_bytes());
                hasher.update(&place.occasion.part.to_be_bytes());
                hasher.update(&(place.offset as u64).to_be_bytes());
                hasher
            }
            Source::Permanent { key, subject } => {
                let subject = place.occasion.subjects.get(*subject)?.as_ref()?;
                let mut hasher = blake3::Hasher::new_keyed(key.bytes());
                hasher.update(&value.to_be_bytes());
                hasher.update(subject.as_bytes());
                hasher
            }
        };
        Some(Coins::of(hasher))
    }
}

/// Whatever an answer's odds depend on, and the order of the categories.
fn mechanism(response: &Response) -> [u8; 32] {
    let mut parts = vec![response.method().as_bytes().to_vec()];
    match response {
        Response::KRr { categories, truth: odds } | Response::Oue { categories, lie: odds } => {
            parts.push(categories.digest().as_bytes().to_vec());
            parts.push(odds.to_be_bytes().to_vec());
        }
        Response::Numeric(n) => {
            parts.extend([n.lo.to_be_bytes().to_vec(), n.hi.to_be_bytes().to_vec()]);
            parts.extend([n.noise.0.to_be_bytes().to_vec(), n.noise.1.to_be_bytes().to_vec()]);
            parts.push(vec![n.scale]);
        }
    }
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    *blake3::hash(&keys::info(&parts)).as_bytes()
}

fn k_rr(own: usize, k: usize, truth: u64, coins: &mut Coins) -> usize {
    if coins.word() < truth {
        return own;
    }
    let among_others = coins.below(k as u128 - 1) as usize;
    among_others + usize::from(among_others >= own)
}

/// `Pr[z] ∝ exp(-|z|·s/t)` over the integers, exactly: Algorithm 2 of Canonne, Kamath and Steinke,
/// "The Discrete Gaussian for Differential Privacy" (2020).
pub(crate) fn discrete_laplace((t, s): (u128, u128), coins: &mut Coins) -> i128 {
    loop {
        let u = coins.below(t);
        if !coins.exp_minus(u, t) {
            continue;
        }
        let mut v: u128 = 0;
        while coins.exp_minus(1, 1) {
            v += 1;
        }
        let magnitude = t.saturating_mul(v).saturating_add(u) / s.max(1);
        let magnitude = i128::try_from(magnitude).unwrap_or(i128::MAX);
        match (coins.below(2) == 1, magnitude) {
            // Zero has one sign.
            (true, 0) => {}
            (true, _) => return -magnitude,
            (false, _) => return magnitude,
        }
    }
}

/// Uniform words of a keyed stream.
pub(crate) struct Coins {
    stream: blake3::OutputReader,
    block: [u8; BLOCK_BYTES],
    used: usize,
}

impl Coins {
    pub(crate) fn of(keyed: blake3::Hasher) -> Self {
        Self { stream: keyed.finalize_xof(), block: [0; BLOCK_BYTES], used: BLOCK_BYTES }
    }

    fn word(&mut self) -> u64 {
        if self.used >= BLOCK_BYTES {
            self.stream.fill(&mut self.block);
            self.used = 0;
        }
        let word = self.block.as_chunks::<8>().0.get(self.used / 8).copied();
        self.used += 8;
        u64::from_be_bytes(word.unwrap_or_default())
    }

    /// Uniform below `n`, exactly: words of an incomplete last stretch are drawn again.
    fn below(&mut self, n: u128) -> u128 {
        match u64::try_from(n) {
            Ok(0) => 0,
            Ok(n) => {
                let incomplete = (u64::MAX % n + 1) % n;
                loop {
                    let word = self.word();
                    if word <= u64::MAX - incomplete {
                        return u128::from(word % n);
                    }
                }
            }
            Err(_) => {
                let incomplete = (u128::MAX % n + 1) % n;
                loop {
                    let word = u128::from(self.word()) << 64 | u128::from(self.word());
                    if word <= u128::MAX - incomplete {
                        return word % n;
                    }
                }
            }
        }
    }

    /// True with probability `e^-(n/d)`, exactly, for `n ≤ d`: Algorithm 1 of the same.
    fn exp_minus(&mut self, n: u128, d: u128) -> bool {
        let mut k: u128 = 1;
        while self.below(d.saturating_mul(k)) < n {
            k += 1;
        }
        k % 2 == 1
    }
}
