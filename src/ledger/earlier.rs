//! Earlier uploads of an organisation, as later ones are compared with them.
//!
//! Changes nothing; each question is answered from an index. Called by the facade, for `intake`.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::rows::{self, Count};
use super::{Earlier, Result, Vouched};
use crate::types::*;

pub(super) const LAST_ROWS: &str = "SELECT u.report ->> '$.rows' AS rows FROM uploads u
     WHERE u.org = ? AND u.dataset = ? AND u.verdict = 'accepted' ORDER BY u.number DESC LIMIT 1";

pub(super) const SAME_BYTES: &str = "SELECT u.id AS upload, u.dataset, u.name, u.time, u.sha256, u.md5,
         u.report ->> '$.rows' AS rows
     FROM uploads u WHERE u.org = ? AND u.dataset = ? AND u.sha256 = ? AND u.verdict = 'accepted' AND u.erased IS NULL
     ORDER BY u.number DESC LIMIT 1";

pub(super) const UNDER_NAME: &str = "SELECT u.id AS upload, u.dataset, u.name, u.time, u.sha256, u.md5,
         u.report ->> '$.rows' AS rows
     FROM names n JOIN uploads u ON u.id = n.upload WHERE n.org = ? AND n.place = ? AND n.name = ?";

pub(super) fn last_rows(connection: &Connection, org: &OrgId, dataset: &DatasetName) -> Result<Option<u64>> {
    let mut statement = connection.prepare_cached(LAST_ROWS)?;
    let params = params![org.as_str(), dataset.as_str()];
    let rows = statement.query_row(params, |row| row.get::<_, Option<Count>>("rows")).optional()?;
    Ok(rows.flatten().map(|rows| rows.0))
}

pub(super) fn same_bytes(
    connection: &Connection,
    org: &OrgId,
    dataset: &DatasetName,
    sha256: Sha256,
) -> Result<Option<Earlier>> {
    let mut statement = connection.prepare_cached(SAME_BYTES)?;
    let params = params![org.as_str(), dataset.as_str(), sha256.to_string()];
    Ok(statement.query_row(params, earlier).optional()?)
}

/// The accepted upload that is listed under that name, when it is of that dataset.
pub(super) fn under_name(connection: &Connection, about: &Vouched) -> Result<Option<Earlier>> {
    let mut statement = connection.prepare_cached(UNDER_NAME)?;
    let params = params![about.org.as_str(), about.place.path(), about.name.as_str()];
    let found = statement.query_row(params, earlier).optional()?;
    Ok(found.filter(|earlier| earlier.dataset == about.dataset))
}

fn earlier(row: &Row<'_>) -> rusqlite::Result<Earlier> {
    Ok(Earlier {
        upload: rows::parsed(row, "upload")?,
        dataset: rows::parsed(row, "dataset")?,
        name: rows::parsed(row, "name")?,
        time: rows::moment(row, "time")?,
        sha256: rows::parsed(row, "sha256")?,
        md5: row.get("md5")?,
        rows: row.get::<_, Option<Count>>("rows")?.map(|rows| rows.0),
    })
}
