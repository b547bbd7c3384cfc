//! The register: what all who use the store agree on, the first proposal for good.

use super::{Store, StoreError, each, first, query::Columns};

const PROPOSE: &str =
    "INSERT INTO ledger_register (about, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";

const AGREED: &str = "SELECT value FROM ledger_register WHERE about = $1";

const ALL_AGREED: &str = "SELECT about, value FROM ledger_register WHERE about >= $1 AND about < $2 \
     ORDER BY about LIMIT 100";

const FORGET: &str = "DELETE FROM ledger_register WHERE about >= $1 AND about < $2";

impl dyn Store + '_ {
    /// Writes a proposal unless there is a value, and gives the value.
    pub(crate) async fn agree(&self, about: &[u8], proposal: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.write(PROPOSE, &[about.into(), proposal.into()]).await?;
        let agreed = first(self.write(AGREED, &[about.into()]).await?, Columns::bytes)?;
        agreed.ok_or_else(|| StoreError::Corrupt("the register lost what it was told".to_owned()))
    }

    /// A page of what was agreed about things `from <= about < to`, in order of their bytes.
    pub(crate) async fn agreed(
        &self,
        from: &[u8],
        to: &[u8],
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let rows = self.read(ALL_AGREED, &[from.into(), to.into()]).await?;
        each(rows, |row| Ok((row.bytes()?, row.bytes()?)))
    }

    pub(crate) async fn forget(&self, from: &[u8], to: &[u8]) -> Result<(), StoreError> {
        self.write(FORGET, &[from.into(), to.into()]).await?;
        Ok(())
    }
}
