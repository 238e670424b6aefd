//! Between rows and types: each stored text is parsed by the type that it was written by.
//!
//! Must never guess: a value that does not parse is an error, for somebody changed the file. Used inside `ledger`.

use std::str::FromStr;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Row, Statement};

use super::{Delivery, DeliveryState, Listed, Result, UploadRow};
use crate::audit::{Receipt, Report, ScanVerdict, Verdict};
use crate::types::*;

/// Columns that `receipt` reads, of `uploads u`.
pub(super) const RECEIPT: &str = "u.gateway, u.id AS upload, u.verdict, u.reasons, u.name, u.size, u.sha256, u.time, \
     u.org, u.dataset, u.account, u.fingerprint, u.supersedes, u.report, u.scan, u.quarantined";

/// Further columns that `delivery` reads, of `deliveries d`, `uploads u` and `objects o`.
pub(super) const DELIVERY: &str = "d.id AS delivery, d.state, d.attempt, d.available, d.lease, d.lease_expires, \
     d.holder, d.last_reason, u.sealed_size, o.removed";

pub(super) const DELIVERY_TABLES: &str =
    "deliveries d JOIN uploads u ON u.id = d.upload JOIN objects o ON o.upload = d.upload";

/// A moment in microseconds since the Unix epoch.
#[derive(Clone, Copy)]
pub(super) struct Micros(pub Timestamp);

impl ToSql for Micros {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.as_microsecond().into())
    }
}

impl FromSql for Micros {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let micros = value.as_i64()?;
        Timestamp::from_microsecond(micros).map(Micros).map_err(|_| FromSqlError::OutOfRange(micros))
    }
}

/// The moment as the ledger stores it.
pub(super) fn whole_micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

/// A number of bytes or of a sequence; SQLite's integers are signed.
pub(super) struct Count(pub u64);

impl ToSql for Count {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let number = i64::try_from(self.0).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        Ok(number.into())
    }
}

impl FromSql for Count {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        u64::try_from(number).map(Count).map_err(|_| FromSqlError::OutOfRange(number))
    }
}

/// A number of rows for LIMIT.
pub(super) fn rows_at_most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A text that its type reads.
pub(super) struct Parsed<T>(pub T);

impl<T> FromSql for Parsed<T>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map(Parsed).map_err(FromSqlError::other)
    }
}

/// A JSON array of texts.
struct Texts(Vec<String>);

impl FromSql for Texts {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Texts).map_err(FromSqlError::other)
    }
}

/// A value that is stored as JSON.
pub(super) struct Json<T>(pub T);

impl<T: serde::de::DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Json).map_err(FromSqlError::other)
    }
}

impl<T: serde::Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let text =
            serde_json::to_string(&self.0).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        Ok(text.into())
    }
}

/// A list of texts (or names) as a JSON array.
pub(super) fn json_list<T: serde::Serialize>(list: impl IntoIterator<Item = T>) -> String {
    serde_json::Value::from_iter(list.into_iter().map(|item| serde_json::json!(item))).to_string()
}

struct VerdictText(Verdict);

impl FromSql for VerdictText {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "accepted" => Ok(Self(Verdict::Accepted)),
            "rejected" => Ok(Self(Verdict::Rejected)),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

pub(super) fn parsed<T>(row: &Row<'_>, column: &str) -> rusqlite::Result<T>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    row.get::<_, Parsed<T>>(column).map(|parsed| parsed.0)
}

pub(super) fn parsed_if_any<T>(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<T>>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    row.get::<_, Option<Parsed<T>>>(column).map(|parsed| parsed.map(|parsed| parsed.0))
}

pub(super) fn moment(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    row.get::<_, Micros>(column).map(|micros| micros.0)
}

pub(super) fn moment_if_any(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    row.get::<_, Option<Micros>>(column).map(|micros| micros.map(|micros| micros.0))
}

pub(super) fn receipt(row: &Row<'_>) -> rusqlite::Result<Receipt> {
    Ok(Receipt {
        gateway: row.get("gateway")?,
        upload: parsed(row, "upload")?,
        verdict: row.get::<_, VerdictText>("verdict")?.0,
        reasons: row.get::<_, Texts>("reasons")?.0,
        name: parsed(row, "name")?,
        size: row.get::<_, Count>("size")?.0,
        sha256: parsed(row, "sha256")?,
        time: moment(row, "time")?,
        organisation: parsed(row, "org")?,
        dataset: parsed(row, "dataset")?,
        account: parsed(row, "account")?,
        fingerprint: Fingerprint(row.get("fingerprint")?),
        supersedes: parsed_if_any(row, "supersedes")?,
        report: row.get::<_, Json<Report>>("report")?.0,
        scan: row.get::<_, Option<Json<ScanVerdict>>>("scan")?.map(|scan| scan.0),
        quarantined: row.get("quarantined")?,
    })
}

pub(super) fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    let state: DeliveryState = parsed(row, "state")?;
    // The lease that acknowledged is kept in the row; nobody holds it any more.
    let lease = parsed_if_any(row, "lease")?.filter(|_| state == DeliveryState::Leased);
    Ok(Delivery {
        delivery: parsed(row, "delivery")?,
        state,
        receipt: receipt(row)?,
        sealed_size: row.get::<_, Count>("sealed_size")?.0,
        attempt: row.get("attempt")?,
        available: moment(row, "available")?,
        lease,
        lease_expires: moment_if_any(row, "lease_expires")?,
        holder: parsed_if_any(row, "holder")?,
        last_reason: row.get("last_reason")?,
        object: moment_if_any(row, "removed")?.is_none(),
    })
}

pub(super) fn upload_row(row: &Row<'_>) -> rusqlite::Result<UploadRow> {
    Ok(UploadRow {
        receipt: receipt(row)?,
        place: row.get("place")?,
        sealed_size: row.get::<_, Count>("sealed_size")?.0,
        removed: moment_if_any(row, "removed")?,
        erased: moment_if_any(row, "erased")?,
    })
}

pub(super) fn listed(row: &Row<'_>) -> rusqlite::Result<Listed> {
    Ok(Listed {
        upload: parsed(row, "upload")?,
        name: parsed(row, "name")?,
        dataset: parsed(row, "dataset")?,
        size: row.get::<_, Count>("size")?.0,
        modified: moment(row, "modified")?,
    })
}

/// Every row of a query, read.
pub(super) fn all<T>(
    statement: &mut Statement<'_>,
    params: impl rusqlite::Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    let rows = statement.query_map(params, read)?.collect::<rusqlite::Result<Vec<T>>>();
    Ok(rows?)
}
