//! Why records of a simulation are not in its result, each reason with the line of its first record.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::record::Uncounted;

/// Spellings of keys that are shown of one reason.
const SPELLINGS_MAX: usize = 5;
/// Characters of one of them.
const SPELLING_CHARS_MAX: usize = 64;
/// The code for a record that nothing gives a time.
pub(super) const NO_TIME: &str = "no-time";

/// What a reason keeps a record from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// A gateway would not take it.
    Refused,
    /// It is in, and in no window.
    Outside,
    Late,
    /// It counts, except in a sum.
    WithoutNumber,
}

/// How many records for one reason.
#[derive(Serialize)]
pub struct Reason {
    pub what: What,
    /// As the gateway says it to a publisher.
    pub code: String,
    pub records: u64,
    pub first_line: usize,
    /// Of the first record; where it is refused, with the place.
    pub detail: String,
    /// The first keys that are not listed, as the raw data have them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spellings: Vec<String>,
}

/// By what, code, and sum.
#[derive(Default)]
pub(super) struct Reasons(BTreeMap<(What, String, String), Reason>);

impl Reasons {
    pub(super) fn refused(&mut self, code: &str, line: usize, at: Option<&str>, detail: &str) {
        let at = at.filter(|at| !at.is_empty());
        let place = at.map(|at| format!("`{at}`: ")).unwrap_or_default();
        self.count(What::Refused, code, "", line, || format!("{place}{detail}"));
    }

    pub(super) fn not_counted(&mut self, why: &Uncounted, line: usize, key: Option<String>) {
        let (what, sum) = match why {
            Uncounted::Late => (What::Late, ""),
            Uncounted::NoNumber(sum) => (What::WithoutNumber, &**sum),
            _ => (What::Outside, ""),
        };
        let reason = self.count(what, why.code(), sum, line, || why.to_string());
        let of_key = matches!(why, Uncounted::UnlistedKey | Uncounted::LongKey);
        if let Some(key) = key.filter(|_| of_key && reason.spellings.len() < SPELLINGS_MAX) {
            let key = key.chars().take(SPELLING_CHARS_MAX).collect();
            if !reason.spellings.contains(&key) {
                reason.spellings.push(key);
            }
        }
    }

    fn count(
        &mut self,
        what: What,
        code: &str,
        sum: &str,
        first_line: usize,
        detail: impl FnOnce() -> String,
    ) -> &mut Reason {
        let reason = self.0.entry((what, code.to_owned(), sum.to_owned())).or_insert_with(|| {
            let (code, detail) = (code.to_owned(), detail());
            Reason { what, code, records: 0, first_line, detail, spellings: Vec::new() }
        });
        reason.records += 1;
        reason
    }

    pub(super) fn records(&self, what: What) -> u64 {
        self.0.values().filter(|reason| reason.what == what).map(|reason| reason.records).sum()
    }

    pub(super) fn of(&self, code: &str) -> u64 {
        self.0.values().filter(|reason| reason.code == code).map(|reason| reason.records).sum()
    }

    pub(super) fn into_list(self) -> Vec<Reason> {
        self.0.into_values().collect()
    }
}
