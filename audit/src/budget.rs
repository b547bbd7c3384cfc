//! What a person may have lost: integer arithmetic over charges, without a store.
//!
//! Charges of one *line* are alike, and at most `uses_max` of them touch one person in a period.
//! So what a person may have lost in a period of an account is the sum over its lines of
//! `min(charges, uses_max) · cost`: known from the charges alone, regardless of who contributed.
//!
//! INVARIANT: sums are exact (u128 holds 2^32 lines of 2^32 uses of any cost), and every doubt is
//! a refusal.

use crate::{Cost, LossUnit, Release};

/// One use of an account: what a release costs, before it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    pub account: String,
    /// Start of the period, microseconds since 1970: with the account it names the budget.
    pub period_us: i64,
    /// The digest of what is done: charges of a line are alike.
    pub line: [u8; 32],
    pub unit: LossUnit,
    /// At most so many charges of this line touch one person in the period; at least 1.
    pub uses_max: u32,
    pub cost: Cost,
    /// What the account may cost one person in the period, over all its lines.
    pub cap: Cost,
    /// The release's id: one charge an id, however often it is asked for.
    pub id: [u8; 16],
}

impl Charge {
    /// What a release says that it was charged.
    #[must_use]
    pub fn of(release: &Release) -> Self {
        Self {
            account: release.account.clone(),
            period_us: release.period_us,
            line: release.plan,
            unit: release.unit,
            uses_max: release.uses_max,
            cost: release.cost,
            cap: release.cap,
            id: release.id,
        }
    }

    /// Whether both are the same charge; the cap may have changed in between.
    #[cfg(feature = "store")]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        *self == Self { cap: self.cap, ..other.clone() }
    }
}

/// The charges of one line in one period of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetLine {
    pub account: String,
    pub period_us: i64,
    pub line: [u8; 32],
    pub unit: LossUnit,
    pub charges: u64,
    pub uses_max: u32,
    pub cost: Cost,
    /// The smallest cap under which one of them was admitted, in loss and in delta.
    pub cap: Cost,
}

/// The cap of a period with these lines: the smallest under which any of it was charged, in loss
/// and in delta. What was promised with the first releases holds for the last: a budget that is
/// raised counts from the next period on, one that is lowered at once.
#[must_use]
pub fn cap_of<'a>(lines: impl IntoIterator<Item = &'a BudgetLine>) -> Option<Cost> {
    lines.into_iter().map(|line| line.cap).reduce(least)
}

fn least(one: Cost, other: Cost) -> Cost {
    Cost { loss: one.loss.min(other.loss), delta: one.delta.min(other.delta) }
}

/// What a person may have lost. Wider than a [`Cost`], so that it cannot wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    pub loss: u128,
    pub delta: u128,
}

impl Spent {
    /// Over the lines of one account and period.
    #[must_use]
    pub fn of<'a>(lines: impl IntoIterator<Item = &'a BudgetLine>) -> Self {
        lines.into_iter().fold(Self::default(), |sum, line| sum.plus(line.charges, line))
    }

    fn plus(self, charges: u64, line: &BudgetLine) -> Self {
        let uses = u128::from(charges.min(u64::from(line.uses_max)));
        let times = |cost: u64| uses.saturating_mul(u128::from(cost));
        Self {
            loss: self.loss.saturating_add(times(line.cost.loss)),
            delta: self.delta.saturating_add(times(line.cost.delta)),
        }
    }

    /// Whether it stays within a cap, which itself may be reached.
    #[must_use]
    pub fn is_within(self, cap: Cost) -> bool {
        self.loss <= u128::from(cap.loss) && self.delta <= u128::from(cap.delta)
    }
}

/// Why a charge is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "the account's budget for the period is exhausted: wait for the next period (a raised budget takes effect then)"
    )]
    Exhausted,
    #[error(
        "the account's period is blocked, because charges may have been lost: wait for the next period"
    )]
    Blocked,
    #[error(
        "the account's period already has charges in another unit: use a separate account for the line"
    )]
    OtherUnit,
    #[error(
        "the line was charged with another cost or number of uses in this period: give it another digest"
    )]
    OtherCost,
    #[error("the id already has a different charge: use an id for one release only")]
    OtherCharge,
    #[error("a charge must count at least one use: `uses_max` is at least 1")]
    NoUses,
}

/// Whether a period with these lines can bear one more charge.
#[cfg(feature = "store")]
pub(crate) fn admit(lines: &[BudgetLine], charge: &Charge) -> Result<(), Refusal> {
    if charge.uses_max == 0 {
        return Err(Refusal::NoUses);
    }
    if lines.iter().any(|line| line.unit != charge.unit) {
        return Err(Refusal::OtherUnit);
    }
    let is_ours = |line: &BudgetLine| line.line == charge.line;
    let is_alike = |l: &BudgetLine| (l.uses_max, l.cost) == (charge.uses_max, charge.cost);
    if lines.iter().any(|line| is_ours(line) && !is_alike(line)) {
        return Err(Refusal::OtherCost);
    }
    let cap = cap_of(lines).map_or(charge.cap, |cap| least(cap, charge.cap));
    let mut lines = lines.to_vec();
    match lines.iter_mut().find(|line| is_ours(line)) {
        Some(line) => line.charges = line.charges.saturating_add(1),
        None => lines.push(line_of(charge)),
    }
    if Spent::of(&lines).is_within(cap) { Ok(()) } else { Err(Refusal::Exhausted) }
}

/// The line of a first charge.
pub(crate) fn line_of(charge: &Charge) -> BudgetLine {
    BudgetLine {
        account: charge.account.clone(),
        period_us: charge.period_us,
        line: charge.line,
        unit: charge.unit,
        charges: 1,
        uses_max: charge.uses_max,
        cost: charge.cost,
        cap: charge.cap,
    }
}

/// Adds charges of the same line up, in order of account, newest period, line. Lines that
/// contradict each other stay apart.
pub(crate) fn folded(mut lines: Vec<BudgetLine>) -> Vec<BudgetLine> {
    let key = |l: &BudgetLine| {
        let cost = (l.cost.loss, l.cost.delta);
        (l.account.clone(), std::cmp::Reverse(l.period_us), l.line, l.unit, l.uses_max, cost)
    };
    lines.sort_by_key(key);
    let mut folded: Vec<BudgetLine> = Vec::with_capacity(lines.len());
    for line in lines {
        match folded.last_mut().filter(|last| key(last) == key(&line)) {
            Some(last) => {
                last.charges = last.charges.saturating_add(line.charges);
                last.cap = least(last.cap, line.cap);
            }
            None => folded.push(line),
        }
    }
    folded
}

#[cfg(all(test, feature = "store"))]
mod tests;
