//! Releases, charges and leases. As in [`rows`](super::rows) the texts are the same for both engines
//! and are here once.
//!
//! Unsigned 64-bit costs are kept in two's complement: no engine has an unsigned 64-bit number, and
//! all arithmetic on them is done here, not by the engine.

use crate::{BudgetLine, Charge, Cost, LossUnit, Position, store::StoreError, store::number};

/// Account, period, line, unit, uses, loss, delta, cap's loss and delta, number of charges.
pub(super) type LineRow = (String, i64, Vec<u8>, String, i64, i64, i64, i64, i64, i64);
/// As a [`LineRow`], with an id and whether the period is blocked for the number.
pub(super) type ChargeRow = (String, i64, Vec<u8>, String, i64, i64, i64, i64, i64, i64);
/// Id, writer, wseq, entry, published.
pub(super) type ReleaseRow = (Vec<u8>, Vec<u8>, i64, i64, i64);

pub(super) const FIND_CHARGE: &str = "SELECT c.account, c.period_us, c.line, c.unit, c.uses_max, c.cost_loss, c.cost_delta, \
            c.cap_loss, c.cap_delta, \
            (SELECT count(*) FROM ledger_blocked b \
             WHERE b.account = c.account AND b.period_us = c.period_us) \
     FROM ledger_charge c WHERE c.id = $1";

pub(super) const IS_BLOCKED: &str =
    "SELECT count(*) FROM ledger_blocked WHERE account = $1 AND period_us = $2";

pub(super) const LINES_OF_PERIOD: &str = "SELECT account, period_us, line, unit, uses_max, cost_loss, cost_delta, cap_loss, cap_delta, \
            count(*) \
     FROM ledger_charge WHERE account = $1 AND period_us = $2 \
     GROUP BY account, period_us, line, unit, uses_max, cost_loss, cost_delta, cap_loss, cap_delta";

pub(super) const LINES_OF_ACCOUNT: &str = "SELECT account, period_us, line, unit, uses_max, cost_loss, cost_delta, cap_loss, cap_delta, \
            count(*) \
     FROM ledger_charge WHERE account = $1 \
     GROUP BY account, period_us, line, unit, uses_max, cost_loss, cost_delta, cap_loss, cap_delta";

pub(super) const LINES: &str = "SELECT account, period_us, line, unit, uses_max, cost_loss, cost_delta, cap_loss, cap_delta, \
            count(*) \
     FROM ledger_charge \
     GROUP BY account, period_us, line, unit, uses_max, cost_loss, cost_delta, cap_loss, cap_delta";

pub(super) const BLOCKED_OF_ACCOUNT: &str =
    "SELECT account, period_us FROM ledger_blocked WHERE account = $1 ORDER BY account, period_us";

pub(super) const BLOCKED: &str =
    "SELECT account, period_us FROM ledger_blocked ORDER BY account, period_us";

pub(super) const CHARGE: &str = "INSERT INTO ledger_charge (id, account, period_us, line, unit, uses_max, cost_loss, cost_delta, \
            cap_loss, cap_delta) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

/// Takes the id of a release that has none yet; touches no row when another one stands.
pub(super) const TAKE_RELEASE: &str = "INSERT INTO ledger_release (id, name, window_start_us, window_end_us, revision, writer, wseq, \
            entry, published) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0) ON CONFLICT (id) DO NOTHING";

pub(super) const LOSE_RELEASE: &str = "INSERT INTO ledger_release_lost (writer, wseq, entry, id) VALUES ($1, $2, $3, $4) \
     ON CONFLICT DO NOTHING";

pub(super) const VOID_RELEASE: &str =
    "DELETE FROM ledger_release_lost WHERE writer = $1 AND wseq = $2 AND entry = $3";

pub(super) const MARK_PUBLISHED: &str = "UPDATE ledger_release SET published = 1 \
     WHERE id = $1 AND writer = $2 AND wseq = $3 AND entry = $4";

pub(super) const BLOCK: &str =
    "INSERT INTO ledger_blocked (account, period_us) VALUES ($1, $2) ON CONFLICT DO NOTHING";

pub(super) const KEEP_BLOB: &str =
    "INSERT INTO ledger_blob (digest, bytes) VALUES ($1, $2) ON CONFLICT DO NOTHING";

pub(super) const RELEASE: &str =
    "SELECT id, writer, wseq, entry, published FROM ledger_release WHERE id = $1";

pub(super) const LISTED: &str = "SELECT id, writer, wseq, entry, published FROM ledger_release \
     WHERE id > $1 ORDER BY id LIMIT 100";

pub(super) const CHARGED: &str = "SELECT id FROM ledger_charge WHERE id > $1 ORDER BY id LIMIT 100";

pub(super) const RELEASES: &str = "SELECT id, writer, wseq, entry, published FROM ledger_release \
     WHERE name = $1 AND window_start_us >= $2 AND window_start_us < $3 \
     ORDER BY window_start_us, revision, id LIMIT $4";

pub(super) const UNPUBLISHED: &str = "SELECT id, writer, wseq, entry, published FROM ledger_release \
     WHERE published = 0 AND name = $1 \
     ORDER BY window_start_us, revision, id LIMIT $2";

pub(super) const LATEST_RELEASE: &str = "SELECT id, writer, wseq, entry, published FROM ledger_release \
     WHERE name = $1 \
     ORDER BY window_start_us DESC, revision DESC, id LIMIT 1";

pub(super) const LOST_RELEASES: &str = "SELECT l.id, l.writer, l.wseq, l.entry, l.wseq FROM ledger_release_lost l \
     JOIN ledger_writer w ON w.writer = l.writer \
     WHERE w.node = $1 AND w.writer <> $2 \
     ORDER BY l.writer, l.wseq, l.entry LIMIT $3";

pub(super) const BLOB: &str = "SELECT bytes FROM ledger_blob WHERE digest = $1";

pub(super) const LEASE: &str = "INSERT INTO ledger_lease (name, holder, epoch, until_us) \
     VALUES ($1, $2, 1, $4) \
     ON CONFLICT (name) DO UPDATE SET \
     epoch = ledger_lease.epoch + \
     CASE WHEN ledger_lease.holder = excluded.holder THEN 0 ELSE 1 END, \
     holder = excluded.holder, until_us = excluded.until_us \
     WHERE ledger_lease.holder = excluded.holder OR ledger_lease.until_us <= $3 \
     RETURNING epoch";

pub(super) const LEASE_EPOCH: &str = "SELECT epoch FROM ledger_lease WHERE name = $1";

/// Implements [`Books`](super::Books) for a type with fields `readers` and `books`: `books` writes
/// what is not part of a writer's chain.
macro_rules! book_methods {
    () => {
        fn reserve<'a>(&'a self, charge: &'a Charge) -> Answer<'a, Result<(), Refusal>> {
            Box::pin(async move {
                let mut connection = self.books.acquire().await?;
                let reserved = reserve_on(&mut connection, charge).await;
                if reserved.is_err() {
                    // Where a transaction ended by itself only a new connection begins another.
                    let _closed = connection.close().await;
                }
                reserved
            })
        }

        fn reservation<'a>(&'a self, id: &'a [u8; 16]) -> Answer<'a, Option<(Charge, bool)>> {
            Box::pin(async move {
                let row: Option<books::ChargeRow> = sqlx::query_as(books::FIND_CHARGE)
                    .bind(id.to_vec())
                    .fetch_optional(&self.readers)
                    .await?;
                row.map(|row| books::charge_of(*id, row)).transpose()
            })
        }

        fn budget<'a>(&'a self, account: Option<&'a str>) -> Answer<'a, Vec<BudgetLine>> {
            Box::pin(async move {
                let query = match account {
                    Some(account) => sqlx::query_as(books::LINES_OF_ACCOUNT).bind(account),
                    None => sqlx::query_as(books::LINES),
                };
                let rows: Vec<books::LineRow> = query.fetch_all(&self.readers).await?;
                rows.into_iter().map(books::line_of).collect()
            })
        }

        fn blocked<'a>(&'a self, account: Option<&'a str>) -> Answer<'a, Vec<(String, i64)>> {
            Box::pin(async move {
                let query = match account {
                    Some(account) => sqlx::query_as(books::BLOCKED_OF_ACCOUNT).bind(account),
                    None => sqlx::query_as(books::BLOCKED),
                };
                Ok(query.fetch_all(&self.readers).await?)
            })
        }

        fn release<'a>(&'a self, id: &'a [u8; 16]) -> Answer<'a, Option<ReleaseAt>> {
            Box::pin(async move {
                let row: Option<books::ReleaseRow> = sqlx::query_as(books::RELEASE)
                    .bind(id.to_vec())
                    .fetch_optional(&self.readers)
                    .await?;
                row.map(books::release_of).transpose()
            })
        }

        fn listed(&self, after: Option<[u8; 16]>) -> Answer<'_, Vec<ReleaseAt>> {
            Box::pin(async move {
                let rows: Vec<books::ReleaseRow> = sqlx::query_as(books::LISTED)
                    .bind(after.map(Vec::from).unwrap_or_default())
                    .fetch_all(&self.readers)
                    .await?;
                rows.into_iter().map(books::release_of).collect()
            })
        }

        fn charged(&self, after: Option<[u8; 16]>) -> Answer<'_, Vec<[u8; 16]>> {
            Box::pin(async move {
                let ids: Vec<Vec<u8>> = sqlx::query_scalar(books::CHARGED)
                    .bind(after.map(Vec::from).unwrap_or_default())
                    .fetch_all(&self.readers)
                    .await?;
                let id = |id: Vec<u8>| {
                    id.try_into().map_err(|_| StoreError::Corrupt("a charge's id".to_owned()))
                };
                ids.into_iter().map(id).collect()
            })
        }

        fn releases<'a>(
            &'a self,
            name: &'a str,
            from_us: i64,
            to_us: i64,
            limit: i64,
        ) -> Answer<'a, Vec<ReleaseAt>> {
            Box::pin(async move {
                let rows: Vec<books::ReleaseRow> = sqlx::query_as(books::RELEASES)
                    .bind(name)
                    .bind(from_us)
                    .bind(to_us)
                    .bind(limit)
                    .fetch_all(&self.readers)
                    .await?;
                rows.into_iter().map(books::release_of).collect()
            })
        }

        fn unpublished<'a>(&'a self, name: &'a str, limit: i64) -> Answer<'a, Vec<ReleaseAt>> {
            Box::pin(async move {
                let rows: Vec<books::ReleaseRow> = sqlx::query_as(books::UNPUBLISHED)
                    .bind(name)
                    .bind(limit)
                    .fetch_all(&self.readers)
                    .await?;
                rows.into_iter().map(books::release_of).collect()
            })
        }

        fn latest_release<'a>(&'a self, name: &'a str) -> Answer<'a, Option<ReleaseAt>> {
            Box::pin(async move {
                let row: Option<books::ReleaseRow> = sqlx::query_as(books::LATEST_RELEASE)
                    .bind(name)
                    .fetch_optional(&self.readers)
                    .await?;
                row.map(books::release_of).transpose()
            })
        }

        fn lost_releases<'a>(
            &'a self,
            node: &'a str,
            not: WriterId,
        ) -> Answer<'a, Vec<ReleaseVoid>> {
            Box::pin(async move {
                let rows: Vec<books::ReleaseRow> = sqlx::query_as(books::LOST_RELEASES)
                    .bind(node)
                    .bind(not.0.to_vec())
                    .bind(super::LOST_MAX)
                    .fetch_all(&self.readers)
                    .await?;
                let void = |row| {
                    let super::ReleaseAt { id, at, .. } = books::release_of(row)?;
                    Ok(ReleaseVoid { id, of: at })
                };
                rows.into_iter().map(void).collect()
            })
        }

        fn blob<'a>(&'a self, digest: &'a [u8; 32]) -> Answer<'a, Option<Vec<u8>>> {
            Box::pin(async move {
                Ok(sqlx::query_scalar(books::BLOB)
                    .bind(digest.to_vec())
                    .fetch_optional(&self.readers)
                    .await?)
            })
        }

        fn lease<'a>(
            &'a self,
            name: &'a str,
            holder: &'a str,
            now_us: i64,
            until_us: i64,
        ) -> Answer<'a, Option<u64>> {
            Box::pin(async move {
                let epoch: Option<i64> = sqlx::query_scalar(books::LEASE)
                    .bind(name)
                    .bind(holder)
                    .bind(now_us)
                    .bind(until_us)
                    .fetch_optional(&self.books)
                    .await?;
                epoch.map(number).transpose()
            })
        }

        fn lease_epoch<'a>(&'a self, name: &'a str) -> Answer<'a, Option<u64>> {
            Box::pin(async move {
                let epoch: Option<i64> = sqlx::query_scalar(books::LEASE_EPOCH)
                    .bind(name)
                    .fetch_optional(&self.readers)
                    .await?;
                epoch.map(number).transpose()
            })
        }
    };
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(what.to_owned())
}

pub(super) fn line_of(row: LineRow) -> Result<BudgetLine, StoreError> {
    let (account, period_us, line, unit, uses_max, loss, delta, cap_loss, cap_delta, charges) = row;
    Ok(BudgetLine {
        account,
        period_us,
        line: line.try_into().map_err(|_| corrupt("a line"))?,
        unit: LossUnit::from_word(&unit).ok_or_else(|| corrupt("a unit"))?,
        charges: number(charges)?,
        uses_max: number(uses_max)?,
        cost: Cost { loss: loss.cast_unsigned(), delta: delta.cast_unsigned() },
        cap: Cost { loss: cap_loss.cast_unsigned(), delta: cap_delta.cast_unsigned() },
    })
}

/// The charge of an id, and whether its period is blocked.
pub(super) fn charge_of(id: [u8; 16], row: ChargeRow) -> Result<(Charge, bool), StoreError> {
    let is_blocked = row.9 > 0;
    let BudgetLine { account, period_us, line, unit, uses_max, cost, cap, .. } = line_of(row)?;
    Ok((Charge { account, period_us, line, unit, uses_max, cost, cap, id }, is_blocked))
}

pub(super) fn release_of(row: ReleaseRow) -> Result<super::ReleaseAt, StoreError> {
    let (id, writer, wseq, entry, published) = row;
    let (writer, wseq, leaf) = (super::writer_of(&writer)?, number(wseq)?, number(entry)?);
    let id = id.try_into().map_err(|_| corrupt("a release id"))?;
    let at = Position { writer, wseq, leaf };
    Ok(super::ReleaseAt { id, at, published: published != 0 })
}

/// Implements what runs within a transaction of an engine, on its kind of connection.
/// `begin_books` begins one in which nobody else charges the account.
macro_rules! book_writes {
    ($connection:ty) => {
        async fn reserve_on(
            connection: &mut $connection,
            charge: &Charge,
        ) -> Result<Result<(), Refusal>, StoreError> {
            let mut transaction = begin_books(connection, &charge.account).await?;
            let connection = &mut *transaction;
            let blocked: i64 = sqlx::query_scalar(books::IS_BLOCKED)
                .bind(&charge.account)
                .bind(charge.period_us)
                .fetch_one(&mut *connection)
                .await?;
            if blocked > 0 {
                return Ok(Err(Refusal::Blocked));
            }
            let earlier: Option<books::ChargeRow> = sqlx::query_as(books::FIND_CHARGE)
                .bind(charge.id.to_vec())
                .fetch_optional(&mut *connection)
                .await?;
            if let Some(earlier) = earlier {
                let (earlier, _) = books::charge_of(charge.id, earlier)?;
                let is_same = earlier.is_same(charge);
                return Ok(if is_same { Ok(()) } else { Err(Refusal::OtherCharge) });
            }
            let lines: Vec<books::LineRow> = sqlx::query_as(books::LINES_OF_PERIOD)
                .bind(&charge.account)
                .bind(charge.period_us)
                .fetch_all(&mut *connection)
                .await?;
            let lines: Result<Vec<_>, _> = lines.into_iter().map(books::line_of).collect();
            if let Err(refusal) = budget::admit(&budget::folded(lines?), charge) {
                return Ok(Err(refusal));
            }
            sqlx::query(books::CHARGE)
                .bind(charge.id.to_vec())
                .bind(&charge.account)
                .bind(charge.period_us)
                .bind(charge.line.to_vec())
                .bind(charge.unit.word())
                .bind(i64::from(charge.uses_max))
                .bind(charge.cost.loss.cast_signed())
                .bind(charge.cost.delta.cast_signed())
                .bind(charge.cap.loss.cast_signed())
                .bind(charge.cap.delta.cast_signed())
                .execute(&mut *connection)
                .await?;
            transaction.commit().await?;
            Ok(Ok(()))
        }

        /// Gives the releases whose id another one has, by index.
        async fn releases_of(
            connection: &mut $connection,
            commit: &Commit,
        ) -> Result<Vec<usize>, StoreError> {
            for (digest, bytes) in &commit.blobs {
                sqlx::query(books::KEEP_BLOB)
                    .bind(digest.to_vec())
                    .bind(bytes)
                    .execute(&mut *connection)
                    .await?;
            }
            let mut taken = Vec::new();
            for (n, release) in commit.releases.iter().enumerate() {
                let Position { writer, wseq, leaf } = release.at;
                let wseq: i64 = number(wseq)?;
                let done = sqlx::query(books::TAKE_RELEASE)
                    .bind(release.id.to_vec())
                    .bind(&release.name)
                    .bind(release.window_start_us)
                    .bind(release.window_end_us)
                    .bind(i64::from(release.revision))
                    .bind(writer.0.to_vec())
                    .bind(wseq)
                    .bind(i64::from(leaf))
                    .execute(&mut *connection)
                    .await?;
                if done.rows_affected() == 0 {
                    taken.push(n);
                    sqlx::query(books::LOSE_RELEASE)
                        .bind(writer.0.to_vec())
                        .bind(wseq)
                        .bind(i64::from(leaf))
                        .bind(release.id.to_vec())
                        .execute(&mut *connection)
                        .await?;
                }
            }
            for Position { writer, wseq, leaf } in &commit.voided {
                sqlx::query(books::VOID_RELEASE)
                    .bind(writer.0.to_vec())
                    .bind(number::<u64, i64>(*wseq)?)
                    .bind(i64::from(*leaf))
                    .execute(&mut *connection)
                    .await?;
            }
            for (id, Position { writer, wseq, leaf }) in &commit.published {
                sqlx::query(books::MARK_PUBLISHED)
                    .bind(id.to_vec())
                    .bind(writer.0.to_vec())
                    .bind(number::<u64, i64>(*wseq)?)
                    .bind(i64::from(*leaf))
                    .execute(&mut *connection)
                    .await?;
            }
            for (account, period_us) in &commit.blocked {
                sqlx::query(books::BLOCK)
                    .bind(account)
                    .bind(*period_us)
                    .execute(&mut *connection)
                    .await?;
            }
            Ok(taken)
        }
    };
}

pub(super) use {book_methods, book_writes};
