//! Releases, charges and leases. As in [`rows`](super::rows) the texts are the same for both engines
//! and are here once.
//!
//! Unsigned 64-bit costs are kept in two's complement: no engine has an unsigned 64-bit number, and
//! all arithmetic on them is done here, not by the engine.

use super::{
    Commit, LOST_MAX, ReleaseAt, Store, StoreError, each, first,
    query::{Arg, Columns, Connection},
};
use crate::{BudgetLine, Charge, Cost, LossUnit, Position, Refusal, ReleaseVoid, WriterId, budget};

const FIND_CHARGE: &str = "SELECT c.account, c.period_us, c.line, c.unit, c.uses_max, c.cost_loss, c.cost_delta, \
            c.cap_loss, c.cap_delta, \
            (SELECT count(*) FROM ledger_blocked b \
             WHERE b.account = c.account AND b.period_us = c.period_us) \
     FROM ledger_charge c WHERE c.id = $1";

const IS_BLOCKED: &str =
    "SELECT count(*) FROM ledger_blocked WHERE account = $1 AND period_us = $2";

const LINES_OF_PERIOD: &str = "SELECT account, period_us, line, unit, uses_max, cost_loss, cost_delta, cap_loss, cap_delta, \
            count(*) \
     FROM ledger_charge WHERE account = $1 AND period_us = $2 \
     GROUP BY account, period_us, line, unit, uses_max, cost_loss, cost_delta, cap_loss, cap_delta";

const LINES: &str = "SELECT account, period_us, line, unit, uses_max, cost_loss, cost_delta, cap_loss, cap_delta, \
            count(*) \
     FROM ledger_charge \
     GROUP BY account, period_us, line, unit, uses_max, cost_loss, cost_delta, cap_loss, cap_delta";

const BLOCKED_OF_ACCOUNT: &str =
    "SELECT account, period_us FROM ledger_blocked WHERE account = $1 ORDER BY account, period_us";

const BLOCKED: &str = "SELECT account, period_us FROM ledger_blocked ORDER BY account, period_us";

const CHARGE: &str = "INSERT INTO ledger_charge (id, account, period_us, line, unit, uses_max, cost_loss, cost_delta, \
            cap_loss, cap_delta) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

/// Takes the id of a release that has none yet; gives no row when another one has it.
const TAKE_RELEASE: &str = "INSERT INTO ledger_release (id, name, window_start_us, window_end_us, revision, writer, wseq, \
            entry, published) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0) ON CONFLICT (id) DO NOTHING RETURNING id";

const LOSE_RELEASE: &str = "INSERT INTO ledger_release_lost (writer, wseq, entry, id) VALUES ($1, $2, $3, $4) \
     ON CONFLICT DO NOTHING";

const VOID_RELEASE: &str =
    "DELETE FROM ledger_release_lost WHERE writer = $1 AND wseq = $2 AND entry = $3";

const MARK_PUBLISHED: &str = "UPDATE ledger_release SET published = 1 \
     WHERE id = $1 AND writer = $2 AND wseq = $3 AND entry = $4";

const BLOCK: &str =
    "INSERT INTO ledger_blocked (account, period_us) VALUES ($1, $2) ON CONFLICT DO NOTHING";

const KEEP_BLOB: &str =
    "INSERT INTO ledger_blob (digest, bytes) VALUES ($1, $2) ON CONFLICT DO NOTHING";

const RELEASE: &str = "SELECT id, writer, wseq, entry, published FROM ledger_release WHERE id = $1";

const LISTED: &str = "SELECT id, writer, wseq, entry, published FROM ledger_release \
     WHERE id > $1 ORDER BY id LIMIT 100";

const CHARGED: &str = "SELECT id FROM ledger_charge WHERE id > $1 ORDER BY id LIMIT 100";

const RELEASES: &str = "SELECT id, writer, wseq, entry, published FROM ledger_release \
     WHERE name = $1 AND window_start_us >= $2 AND window_start_us < $3 \
     ORDER BY window_start_us, revision, id LIMIT $4";

const UNPUBLISHED: &str = "SELECT id, writer, wseq, entry, published FROM ledger_release \
     WHERE published = 0 AND name = $1 \
     ORDER BY window_start_us, revision, id LIMIT $2";

const LATEST_RELEASE: &str = "SELECT id, writer, wseq, entry, published FROM ledger_release \
     WHERE name = $1 \
     ORDER BY window_start_us DESC, revision DESC, id LIMIT 1";

const LOST_RELEASES: &str = "SELECT l.id, l.writer, l.wseq, l.entry FROM ledger_release_lost l \
     JOIN ledger_writer w ON w.writer = l.writer \
     WHERE w.node = $1 AND w.writer <> $2 \
     ORDER BY l.writer, l.wseq, l.entry LIMIT $3";

const BLOB: &str = "SELECT bytes FROM ledger_blob WHERE digest = $1";

const LEASE: &str = "INSERT INTO ledger_lease (name, holder, epoch, until_us) \
     VALUES ($1, $2, 1, $4) \
     ON CONFLICT (name) DO UPDATE SET \
     epoch = ledger_lease.epoch + \
     CASE WHEN ledger_lease.holder = excluded.holder THEN 0 ELSE 1 END, \
     holder = excluded.holder, until_us = excluded.until_us \
     WHERE ledger_lease.holder = excluded.holder OR ledger_lease.until_us <= $3 \
     RETURNING epoch";

const LEASE_EPOCH: &str = "SELECT epoch FROM ledger_lease WHERE name = $1";

impl dyn Store + '_ {
    /// The charge of an id, and whether its period is blocked by now.
    pub(crate) async fn reservation(
        &self,
        id: &[u8; 16],
    ) -> Result<Option<(Charge, bool)>, StoreError> {
        first(self.read(FIND_CHARGE, &[id.into()]).await?, |row| charge_of(*id, row))
    }

    /// Charges of one account or of all, added up; a line may come in pieces.
    pub(crate) async fn budget(
        &self,
        period: Option<(&str, i64)>,
    ) -> Result<Vec<BudgetLine>, StoreError> {
        let rows = match period {
            Some((account, period_us)) => {
                self.read(LINES_OF_PERIOD, &[account.into(), period_us.into()]).await?
            }
            None => self.read(LINES, &[]).await?,
        };
        each(rows, line_of)
    }

    pub(crate) async fn blocked(
        &self,
        account: Option<&str>,
    ) -> Result<Vec<(String, i64)>, StoreError> {
        let rows = match account {
            Some(account) => self.read(BLOCKED_OF_ACCOUNT, &[account.into()]).await?,
            None => self.read(BLOCKED, &[]).await?,
        };
        each(rows, |row| Ok((row.text()?, row.number()?)))
    }

    pub(crate) async fn release(&self, id: &[u8; 16]) -> Result<Option<ReleaseAt>, StoreError> {
        first(self.read(RELEASE, &[id.into()]).await?, release_of)
    }

    /// A page of the table of releases in order of id.
    pub(crate) async fn listed(
        &self,
        after: Option<[u8; 16]>,
    ) -> Result<Vec<ReleaseAt>, StoreError> {
        each(self.read(LISTED, &[behind(&after)]).await?, release_of)
    }

    /// A page of charges' ids.
    pub(crate) async fn charged(
        &self,
        after: Option<[u8; 16]>,
    ) -> Result<Vec<[u8; 16]>, StoreError> {
        each(self.read(CHARGED, &[behind(&after)]).await?, Columns::array)
    }

    /// By window and revision: those whose window starts at `from_us <= start < to_us`.
    pub(crate) async fn releases(
        &self,
        name: &str,
        from_us: i64,
        to_us: i64,
        limit: i64,
    ) -> Result<Vec<ReleaseAt>, StoreError> {
        let args = [name.into(), from_us.into(), to_us.into(), limit.into()];
        each(self.read(RELEASES, &args).await?, release_of)
    }

    pub(crate) async fn unpublished(
        &self,
        name: &str,
        limit: i64,
    ) -> Result<Vec<ReleaseAt>, StoreError> {
        each(self.read(UNPUBLISHED, &[name.into(), limit.into()]).await?, release_of)
    }

    pub(crate) async fn latest_release(&self, name: &str) -> Result<Option<ReleaseAt>, StoreError> {
        first(self.read(LATEST_RELEASE, &[name.into()]).await?, release_of)
    }

    /// Releases of a node's former writers that lost, and whose end is not written.
    pub(crate) async fn lost_releases(
        &self,
        node: &str,
        not: WriterId,
    ) -> Result<Vec<ReleaseVoid>, StoreError> {
        let args = [node.into(), (&not).into(), LOST_MAX.into()];
        each(self.read(LOST_RELEASES, &args).await?, |row| {
            Ok(ReleaseVoid { id: row.array()?, of: row.position()? })
        })
    }

    pub(crate) async fn blob(&self, digest: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        first(self.read(BLOB, &[digest.into()]).await?, Columns::bytes)
    }

    /// The epoch, if the lease is the holder's now.
    pub(crate) async fn lease(
        &self,
        name: &str,
        holder: &str,
        now_us: i64,
        until_us: i64,
    ) -> Result<Option<u64>, StoreError> {
        let args = [name.into(), holder.into(), now_us.into(), until_us.into()];
        first(self.write(LEASE, &args).await?, Columns::number)
    }

    pub(crate) async fn lease_epoch(&self, name: &str) -> Result<Option<u64>, StoreError> {
        first(self.read(LEASE_EPOCH, &[name.into()]).await?, Columns::number)
    }
}

fn behind(after: &Option<[u8; 16]>) -> Arg<'_> {
    after.as_ref().map_or(Arg::Bytes(&[]), Arg::from)
}

/// Account, period, line, unit, uses, cost, cap, number of charges.
fn line_of(row: &mut Columns) -> Result<BudgetLine, StoreError> {
    Ok(BudgetLine {
        account: row.text()?,
        period_us: row.number()?,
        line: row.array()?,
        unit: {
            let unit = LossUnit::from_word(&row.text()?);
            unit.ok_or_else(|| StoreError::Corrupt("a unit".to_owned()))?
        },
        uses_max: row.number()?,
        cost: cost_of(row)?,
        cap: cost_of(row)?,
        charges: row.number()?,
    })
}

fn cost_of(row: &mut Columns) -> Result<Cost, StoreError> {
    let (loss, delta) = (row.number::<i64>()?, row.number::<i64>()?);
    Ok(Cost { loss: loss.cast_unsigned(), delta: delta.cast_unsigned() })
}

/// The charge of an id, and whether its period is blocked: as a line, with how often for the number.
fn charge_of(id: [u8; 16], row: &mut Columns) -> Result<(Charge, bool), StoreError> {
    let BudgetLine { account, period_us, line, unit, uses_max, cost, cap, charges: blocked } =
        line_of(row)?;
    Ok((Charge { account, period_us, line, unit, uses_max, cost, cap, id }, blocked > 0))
}

fn release_of(row: &mut Columns) -> Result<ReleaseAt, StoreError> {
    let (id, at) = (row.array()?, row.position()?);
    Ok(ReleaseAt { id, at, published: row.number::<i64>()? != 0 })
}

/// One charge, or none, in a transaction in which nobody else charges the account.
pub(super) async fn reserve_on(
    connection: &mut dyn Connection,
    charge: &Charge,
) -> Result<Result<(), Refusal>, StoreError> {
    let Charge { account, period_us, line, unit, uses_max, cost, cap, id } = charge;
    let period = [account.as_str().into(), (*period_us).into()];
    let blocked = first(connection.ask(IS_BLOCKED, &period).await?, Columns::number::<i64>)?;
    if blocked != Some(0) {
        return Ok(Err(Refusal::Blocked));
    }
    let earlier = connection.ask(FIND_CHARGE, &[id.into()]).await?;
    if let Some((earlier, _)) = first(earlier, |row| charge_of(*id, row))? {
        let is_same = earlier.is_same(charge);
        return Ok(if is_same { Ok(()) } else { Err(Refusal::OtherCharge) });
    }
    let lines: Vec<_> = each(connection.ask(LINES_OF_PERIOD, &period).await?, line_of)?;
    if let Err(refusal) = budget::admit(&budget::folded(lines), charge) {
        return Ok(Err(refusal));
    }
    let [account, period_us] = period;
    let args = [
        id.into(),
        account,
        period_us,
        line.into(),
        unit.word().into(),
        (*uses_max).into(),
        cost.loss.cast_signed().into(),
        cost.delta.cast_signed().into(),
        cap.loss.cast_signed().into(),
        cap.delta.cast_signed().into(),
    ];
    connection.ask(CHARGE, &args).await?;
    Ok(Ok(()))
}

/// Writes what a commit has of releases. Gives those whose id another one has, by index.
pub(super) async fn releases_of(
    connection: &mut dyn Connection,
    commit: &Commit,
) -> Result<Vec<usize>, StoreError> {
    for (digest, bytes) in &commit.blobs {
        connection.ask(KEEP_BLOB, &[digest.into(), bytes[..].into()]).await?;
    }
    let mut taken = Vec::new();
    for (n, release) in commit.releases.iter().enumerate() {
        let Position { writer, wseq, leaf } = &release.at;
        let (id, at) = ((&release.id).into(), [writer.into(), (*wseq).into(), (*leaf).into()]);
        let window = [release.window_start_us, release.window_end_us].map(Arg::from);
        let what = [&[id, release.name.as_str().into()][..], &window, &[release.revision.into()]];
        let args = [&what.concat()[..], &at].concat();
        if connection.ask(TAKE_RELEASE, &args).await?.is_empty() {
            taken.push(n);
            connection.ask(LOSE_RELEASE, &[&at[..], &[id]].concat()).await?;
        }
    }
    for Position { writer, wseq, leaf } in &commit.voided {
        let at = [writer.into(), (*wseq).into(), (*leaf).into()];
        connection.ask(VOID_RELEASE, &at).await?;
    }
    for (id, Position { writer, wseq, leaf }) in &commit.published {
        let args = [id.into(), writer.into(), (*wseq).into(), (*leaf).into()];
        connection.ask(MARK_PUBLISHED, &args).await?;
    }
    for (account, period_us) in &commit.blocked {
        connection.ask(BLOCK, &[account.as_str().into(), (*period_us).into()]).await?;
    }
    Ok(taken)
}
