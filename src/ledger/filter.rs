//! Conditions of a query: what a filter or a loader's rights leave of it.
//!
//! Must never put a value into the text of a statement: values are bound. Used inside `ledger`.

use std::collections::BTreeSet;

use rusqlite::types::{ToSql, Value};

use super::rows::{Micros, json_list, rows_at_most};
use crate::types::{DatasetName, OrgId, Take, Timestamp};

/// ` WHERE a AND b`, and the values bound to its question marks, in order.
#[derive(Default)]
pub(super) struct Where {
    conditions: Vec<&'static str>,
    values: Vec<Value>,
}

impl Where {
    pub fn new() -> Self {
        Self::default()
    }

    /// A condition without a value.
    pub fn fixed(mut self, condition: &'static str) -> Self {
        self.conditions.push(condition);
        self
    }

    /// A condition with one question mark, if there is a value for it.
    pub fn text(mut self, condition: &'static str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.conditions.push(condition);
            self.values.push(Value::Text(value.to_string()));
        }
        self
    }

    pub fn moment(mut self, condition: &'static str, value: Option<Timestamp>) -> Self {
        if let Some(value) = value {
            self.conditions.push(condition);
            self.values.push(Value::Integer(Micros(value).0.as_microsecond()));
        }
        self
    }

    pub fn number(mut self, condition: &'static str, value: Option<u64>) -> Self {
        if let Some(value) = value {
            self.conditions.push(condition);
            self.values.push(Value::Integer(i64::try_from(value).unwrap_or(i64::MAX)));
        }
        self
    }

    /// Deliveries `d` that `take` covers.
    pub fn covered(mut self, take: &Take) -> Self {
        if let Some(orgs) = &take.orgs {
            self.conditions.push("d.org IN (SELECT value FROM json_each(?))");
            self.values.push(Value::Text(json_list(orgs)));
        }
        if let Some(datasets) = &take.datasets {
            self.conditions.push("d.dataset IN (SELECT value FROM json_each(?))");
            self.values.push(Value::Text(json_list(datasets)));
        }
        self
    }

    /// The last parameter, for `LIMIT ?`.
    pub fn limit(mut self, limit: usize) -> (String, Vec<Value>) {
        self.values.push(Value::Integer(rows_at_most(limit)));
        let text = match self.conditions.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", self.conditions.join(" AND ")),
        };
        (text, self.values)
    }
}

/// `take`, narrowed by filters of the loader's own.
pub(super) fn narrowed(take: &Take, orgs: Option<&BTreeSet<OrgId>>, datasets: Option<&BTreeSet<DatasetName>>) -> Take {
    fn both<T: Ord + Clone>(may: Option<&BTreeSet<T>>, wants: Option<&BTreeSet<T>>) -> Option<BTreeSet<T>> {
        match (may, wants) {
            (Some(may), Some(wants)) => Some(may & wants),
            (one, None) | (None, one) => one.cloned(),
        }
    }
    Take { orgs: both(take.orgs.as_ref(), orgs), datasets: both(take.datasets.as_ref(), datasets) }
}

/// Binds owned values by reference.
pub(super) fn bound(values: &[Value]) -> impl rusqlite::Params + '_ {
    rusqlite::params_from_iter(values.iter().map(|value| value as &dyn ToSql))
}
