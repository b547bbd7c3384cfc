//! The ledger as a witness sees it: what the two compare, and what the ledger keeps of a comparison
//! that it lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sluicegate_audit as audit;
use sluicegate_audit::ChainHead;

use crate::{
    account::Account,
    release::{
        agreed::{DOUBTED, Facts, OLDER, WITNESSED},
        books::BooksError,
    },
};

/// Numbers of charges by dataset and start of the period, in microseconds.
pub(super) type Charges = BTreeMap<(String, i64), u64>;

/// What the ledger has durably.
pub(super) struct Charged {
    /// The newest row of our own chain.
    pub(super) head: ChainHead,
    pub(super) charges: Charges,
}

/// Why charges may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// A witness names what the ledger does not have.
    Behind,
    /// This node had a witness and has none.
    Missing,
    /// An operator says that something was restored.
    Restored,
}

impl Doubt {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Behind => "ledger-behind-witness",
            Self::Missing => "witness-missing",
            Self::Restored => "restored",
        }
    }
}

pub(super) struct Ledger<'a>(pub(super) &'a Arc<Account>);

impl Ledger<'_> {
    /// What it has in one period of a dataset, or in all.
    pub(super) async fn charged(&self, period: Option<(&str, i64)>) -> Result<Charged, BooksError> {
        let ledger = self.0.ledger()?;
        let mut charges = Charges::new();
        for line in ledger.reader().budget(period).await? {
            let of = charges.entry((line.account, line.period_us)).or_default();
            *of = of.saturating_add(line.charges);
        }
        Ok(Charged { head: ledger.head().await?, charges })
    }

    pub(super) async fn has_row(&self, head: &ChainHead) -> Result<bool, BooksError> {
        Ok(self.0.ledger()?.has(head).await?)
    }

    /// Datasets and periods that are blocked.
    pub(super) async fn blocked(&self) -> Result<BTreeSet<(String, i64)>, BooksError> {
        Ok(self.0.ledger()?.reader().blocked(None).await?.into_iter().collect())
    }

    /// Blocks periods of datasets, for good.
    pub(super) async fn block(
        &self,
        periods: Vec<(String, i64)>,
        why: Doubt,
    ) -> Result<(), BooksError> {
        let (ledger, blocked) = (self.0.ledger()?, self.blocked().await?);
        for (account, period_us) in periods.into_iter().filter(|of| !blocked.contains(of)) {
            let why = why.word().to_owned();
            ledger.block(audit::BudgetBlocked { account, period_us, why }).await?;
        }
        Ok(())
    }

    /// Whether a node had a witness before.
    pub(super) async fn is_witnessed(&self, node: &str) -> Result<bool, BooksError> {
        let facts = Facts::of_node(self.0.clone(), node);
        Ok(!facts.all(WITNESSED, i64::MIN, None).await?.is_empty())
    }

    /// A node has a witness from now on.
    pub(super) async fn witnessed(&self, node: &str, now_us: i64) -> Result<(), BooksError> {
        if !self.is_witnessed(node).await? {
            let facts = Facts::of_node(self.0.clone(), node);
            facts.agree(WITNESSED, [now_us], now_us).await?;
        }
        Ok(())
    }

    /// Writes down that charges of before a moment may be lost, as was found with this row.
    pub(super) async fn doubt(
        &self,
        head: &ChainHead,
        until_us: i64,
        why: Doubt,
    ) -> Result<(), BooksError> {
        let about = format!("{} until {}", why.word(), audit::utc(until_us));
        self.0.acted(why == Doubt::Restored, "budget.doubt", about).await?;
        let [high, low, row] = numbers(head);
        let facts = Facts::of_all(self.0.clone());
        facts.agree(DOUBTED, [until_us, high, low, row], until_us).await?;
        Ok(())
    }

    /// The moment before which charges are in doubt, if any is, and the rows with which that was found.
    pub(super) async fn doubts(&self) -> Result<Doubts, BooksError> {
        let mut doubts = Doubts::default();
        for ([until_us, row @ ..], _) in
            Facts::of_all(self.0.clone()).all(DOUBTED, i64::MIN, None).await?
        {
            doubts.until_us = doubts.until_us.max(Some(until_us));
            doubts.rows.insert(row);
        }
        Ok(doubts)
    }

    /// Up to when an operator asked for a dataset's windows.
    pub(super) async fn older_until_us(&self, dataset: &str) -> Result<Option<i64>, BooksError> {
        let facts = Facts::of_dataset(self.0.clone(), dataset);
        let asked = facts.all(OLDER, i64::MIN, None).await?;
        Ok(asked.into_iter().map(|([until_us], _)| until_us).max())
    }

    pub(super) async fn ask_for_older(
        &self,
        dataset: &str,
        until_us: i64,
        because: &str,
    ) -> Result<(), BooksError> {
        let about = format!("{dataset} until {}: {because}", audit::utc(until_us));
        self.0.acted(true, "budget.draw-older", about).await?;
        let facts = Facts::of_dataset(self.0.clone(), dataset);
        facts.agree(OLDER, [until_us], until_us).await?;
        Ok(())
    }
}

#[derive(Default)]
pub(super) struct Doubts {
    pub(super) until_us: Option<i64>,
    rows: BTreeSet<[i64; 3]>,
}

impl Doubts {
    pub(super) fn knows(&self, head: &ChainHead) -> bool {
        self.rows.contains(&numbers(head))
    }
}

/// A writer and its row as facts name them.
fn numbers(head: &ChainHead) -> [i64; 3] {
    let writer = u128::from_be_bytes(head.writer.0);
    let [high, low] = [writer >> 64, writer].map(|half| (half as u64).cast_signed());
    [high, low, head.wseq.cast_signed()]
}
