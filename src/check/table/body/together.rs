//! The rows that waited: their cells column by column, then keys and rules row by row.
//!
//! Says nothing itself: a row about which there is something to say goes the way of one that did not wait. Called by
//! `body`.

use std::collections::BTreeSet;

use super::batch::Batch;
use super::{Body, Column, compare};
use crate::check::row::Row;
use crate::check::schema::{Cells, Value};
use crate::check::table::habits::{self, Oddities};
use crate::check::{Collector, Fault, Severity};

/// A field whose values are looked at beyond its own column.
#[derive(Debug)]
pub(super) struct Needed {
    field: usize,
    /// From 0.
    column: usize,
    /// Of the waiting rows.
    values: Vec<Value>,
}

impl Needed {
    /// Those of the fields in use that the file has.
    pub(super) fn among(columns: &[Column], used: &BTreeSet<usize>) -> Vec<Self> {
        let fields = columns.iter().enumerate().filter_map(|(column, it)| Some((column, it.field?)));
        let used = fields.filter(|(_, field)| used.contains(field));
        used.map(|(column, field)| Self { field, column, values: vec![Value::Missing; Cells::MOST] }).collect()
    }
}

impl Body {
    /// Judges the rows that wait.
    ///
    /// # Errors
    /// As [`Body::record`].
    pub(in crate::check::table) fn flush(&mut self, out: &mut Collector) -> Result<(), Fault> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let mut batch = std::mem::take(&mut self.batch);
        batch.close();
        let right = self.right_rows(&batch);
        let done = (0..batch.len()).try_for_each(|place| {
            self.rows += 1;
            if right >> place & 1 == 1 {
                return self.compare_right(&batch, place, out);
            }
            let (number, record) = batch.record(place);
            self.cells(number, &record, true, out);
            self.compare(number, &record, out)
        });
        if done.is_err() {
            self.settle(out);
        }
        batch.clear();
        self.batch = batch;
        done
    }

    /// A bit for each waiting row about whose cells there is nothing to say.
    fn right_rows(&mut self, batch: &Batch) -> u64 {
        let Self { rules, columns, needed, .. } = self;
        let policy = &rules.policy;
        let fields = rules.schema.as_ref().map_or(&[][..], |schema| &schema.fields);
        let mut right = u64::MAX >> (Cells::MOST - batch.len().clamp(1, Cells::MOST));
        let mut needed = needed.iter_mut().peekable();
        for (place, column) in columns.iter().enumerate() {
            if right == 0 {
                break;
            }
            let values = needed.next_if(|needed| needed.column == place).map(|needed| &mut needed.values[..]);
            let Some(field) = column.field.and_then(|field| fields.get(field)) else { continue };
            let cells = batch.column(place);
            right &= field.judge_column(cells, right, policy, values);
            if field.free_text && policy.formulas != Severity::Accept {
                right &= !habits::formulas(cells);
            }
        }
        for place in batch.beyond_ascii() {
            let mut cells = (0..columns.len()).map(|column| batch.cell(place, column));
            let odd = |cell: &str| !cell.is_ascii() && habits::oddities(cell) != Oddities::default();
            if cells.any(odd) {
                right &= !(1 << place);
            }
        }
        right
    }

    /// Keys and rules, for a waiting row whose cells are right.
    fn compare_right(&mut self, batch: &Batch, place: usize, out: &mut Collector) -> Result<(), Fault> {
        for needed in &self.needed {
            self.cells[needed.field] = Some(batch.span(place, needed.column));
            self.values[needed.field] = needed.values[place];
        }
        let (number, text) = (batch.number(place), batch.text());
        let row = Row { number, text, cells: &self.cells, values: &self.values, columns: &self.places };
        compare(&self.rules, &mut self.keys, &mut self.checks, &row, out)
    }
}
