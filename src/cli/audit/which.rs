//! Which events are meant: the options that `list` and `export` share.

use super::super::over_ledger::since;
use crate::audit::Kind;
use crate::ledger::{Filter, Ledger, Logged};
use crate::types::{DatasetName, DeliveryId, OrgId, Timestamp, UploadId};

/// Events read at a time: the whole log never is in memory.
pub(super) const PAGE: usize = 1000;

#[derive(Debug, Default, clap::Args)]
pub struct Which {
    /// Only about this organisation
    #[arg(long, value_name = "ORG")]
    pub org: Option<OrgId>,
    /// Only about this dataset
    #[arg(long, value_name = "DATASET")]
    pub dataset: Option<DatasetName>,
    /// Only by this account; operators are `operator:NAME`, the gateway itself is `gateway`
    #[arg(long, value_name = "ACCOUNT")]
    pub account: Option<String>,
    /// Only of this kind, such as upload.accepted
    #[arg(long, value_name = "KIND", visible_alias = "type")]
    pub kind: Option<Kind>,
    /// Only about this upload
    #[arg(long, value_name = "UPLOAD")]
    pub upload: Option<UploadId>,
    /// Only about this delivery
    #[arg(long, value_name = "DELIVERY")]
    pub delivery: Option<DeliveryId>,
    /// Only from this time on: 2025-03-01, 2025-03-01T12:00:00Z, or how long ago: 24h, 7d
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<Timestamp>,
    /// Only before this time
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub until: Option<Timestamp>,
}

impl Which {
    pub fn filter(&self) -> Filter {
        Filter {
            org: self.org.clone(),
            dataset: self.dataset.clone(),
            account: self.account.clone(),
            kind: self.kind,
            upload: self.upload,
            delivery: self.delivery,
            since: self.since,
            until: self.until,
            ..Filter::default()
        }
    }

    /// The first page of what matches past event number `after`; shorter than [`PAGE`] at the end.
    ///
    /// # Errors
    /// The ledger failed.
    pub async fn page(&self, ledger: &Ledger, after: u64) -> anyhow::Result<Vec<Logged>> {
        let page = Filter { after: Some(after), limit: Some(PAGE), ..self.filter() };
        Ok(ledger.events(&page).await?)
    }
}
