//! The register: what all who use the store agree on, the first proposal for good.

pub(super) const PROPOSE: &str =
    "INSERT INTO ledger_register (about, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";

pub(super) const AGREED: &str = "SELECT value FROM ledger_register WHERE about = $1";

pub(super) const ALL_AGREED: &str = "SELECT about, value FROM ledger_register WHERE about >= $1 AND about < $2 \
     ORDER BY about LIMIT 100";

pub(super) const FORGET: &str = "DELETE FROM ledger_register WHERE about >= $1 AND about < $2";

/// Implements [`Register`](super::Register) for a type with fields `readers` and `books`.
macro_rules! register_methods {
    () => {
        fn agree<'a>(&'a self, about: &'a [u8], proposal: &'a [u8]) -> Answer<'a, Vec<u8>> {
            Box::pin(async move {
                sqlx::query(register::PROPOSE)
                    .bind(about)
                    .bind(proposal)
                    .execute(&self.books)
                    .await?;
                Ok(sqlx::query_scalar(register::AGREED).bind(about).fetch_one(&self.books).await?)
            })
        }

        fn agreed<'a>(
            &'a self,
            from: &'a [u8],
            to: &'a [u8],
        ) -> Answer<'a, Vec<(Vec<u8>, Vec<u8>)>> {
            Box::pin(async move {
                Ok(sqlx::query_as(register::ALL_AGREED)
                    .bind(from)
                    .bind(to)
                    .fetch_all(&self.readers)
                    .await?)
            })
        }

        fn forget<'a>(&'a self, from: &'a [u8], to: &'a [u8]) -> Answer<'a, ()> {
            Box::pin(async move {
                sqlx::query(register::FORGET).bind(from).bind(to).execute(&self.books).await?;
                Ok(())
            })
        }
    };
}

pub(super) use register_methods;
