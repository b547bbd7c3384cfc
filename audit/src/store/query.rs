//! One text, its parameters, and the rows that it gives: the same for either engine, since `$1` is a
//! parameter in both, and a column is a number, a text or bytes.

use sqlx::{
    ColumnIndex, Database, Decode, Encode, Executor, IntoArguments, Row, Type, TypeInfo, ValueRef,
};

use super::{Answer, StoreError};
use crate::{Position, WriterId};

/// A parameter.
#[derive(Clone, Copy)]
pub(crate) enum Arg<'a> {
    Number(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

impl From<i64> for Arg<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Arg<'_> {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for Arg<'_> {
    /// Beyond what an engine can hold there is nothing to find.
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl<'a> From<&'a str> for Arg<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Arg<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<&'a WriterId> for Arg<'a> {
    fn from(writer: &'a WriterId) -> Self {
        Self::Bytes(&writer.0)
    }
}

enum Column {
    Null,
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// A row, read column by column.
pub(crate) struct Columns(std::vec::IntoIter<Column>);

impl Columns {
    pub(super) fn some_number(&mut self) -> Result<Option<i64>, StoreError> {
        match self.0.next() {
            Some(Column::Number(number)) => Ok(Some(number)),
            Some(Column::Null) => Ok(None),
            _ => Err(corrupt("a number")),
        }
    }

    pub(super) fn number<T: TryFrom<i64>>(&mut self) -> Result<T, StoreError> {
        let number = self.some_number()?.and_then(|number| number.try_into().ok());
        number.ok_or_else(|| corrupt("a number out of range"))
    }

    pub(super) fn text(&mut self) -> Result<String, StoreError> {
        match self.0.next() {
            Some(Column::Text(text)) => Ok(text),
            _ => Err(corrupt("a text")),
        }
    }

    pub(super) fn some_bytes(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        match self.0.next() {
            Some(Column::Bytes(bytes)) => Ok(Some(bytes)),
            Some(Column::Null) => Ok(None),
            _ => Err(corrupt("bytes")),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, StoreError> {
        self.some_bytes()?.ok_or_else(|| corrupt("bytes"))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        self.bytes()?.try_into().map_err(|_| corrupt("an id, a digest or a link"))
    }

    pub(super) fn writer(&mut self) -> Result<WriterId, StoreError> {
        self.array().map(WriterId)
    }

    /// Writer, row and entry, three columns.
    pub(super) fn position(&mut self) -> Result<Position, StoreError> {
        Ok(Position { writer: self.writer()?, wseq: self.number()?, leaf: self.number()? })
    }
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(what.to_owned())
}

/// What a text is sent on.
pub(crate) trait Connection: Send {
    fn ask<'a>(&'a mut self, text: &'static str, args: &'a [Arg<'a>]) -> Answer<'a, Vec<Columns>>;
}

impl<C, D> Connection for C
where
    C: sqlx::Connection<Database = D> + Send,
    D: Database<Connection = C>,
    D::Arguments: IntoArguments<D>,
    for<'c> &'c mut C: Executor<'c, Database = D>,
    usize: ColumnIndex<D::Row>,
    i64: Type<D> + for<'v> Encode<'v, D> + for<'v> Decode<'v, D>,
    String: for<'v> Decode<'v, D>,
    Vec<u8>: for<'v> Decode<'v, D>,
    for<'v> &'v str: Type<D> + Encode<'v, D>,
    for<'v> &'v [u8]: Type<D> + Encode<'v, D>,
{
    fn ask<'a>(&'a mut self, text: &'static str, args: &'a [Arg<'a>]) -> Answer<'a, Vec<Columns>> {
        let query = args.iter().fold(sqlx::query::<D>(text), |query, arg| match *arg {
            Arg::Number(number) => query.bind(number),
            Arg::Text(text) => query.bind(text),
            Arg::Bytes(bytes) => query.bind(bytes),
        });
        Box::pin(async move {
            let rows = query.fetch_all(self).await?;
            rows.iter().map(columns).collect()
        })
    }
}

fn columns<R>(row: &R) -> Result<Columns, StoreError>
where
    R: Row,
    usize: ColumnIndex<R>,
    i64: for<'v> Decode<'v, R::Database>,
    String: for<'v> Decode<'v, R::Database>,
    Vec<u8>: for<'v> Decode<'v, R::Database>,
{
    let column = |n: usize| {
        let value = row.try_get_raw(n)?;
        let read = match (value.is_null(), value.type_info().name()) {
            (true, _) => Ok(Column::Null),
            (_, "INTEGER" | "INT8") => Decode::decode(value).map(Column::Number),
            (_, "TEXT") => Decode::decode(value).map(Column::Text),
            _ => Decode::decode(value).map(Column::Bytes),
        };
        read.map_err(|error| StoreError::Unavailable(sqlx::Error::Decode(error)))
    };
    let columns: Result<Vec<Column>, StoreError> = (0..row.len()).map(column).collect();
    Ok(Columns(columns?.into_iter()))
}
