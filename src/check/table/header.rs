//! The labels of a file against the names of a schema's fields.
//!
//! Labels that the schema does not declare are data of an unknown kind (a header that is missing makes the first row the
//! labels): they are named only when enough of the header matches. Knows names alone, nothing of types. Called by `table`.

mod align;

use std::collections::HashMap;

use crate::check::schema::FieldsMatch;
use crate::check::{ErrorType, Severity};
pub(super) use align::folded;
use align::{Step, steps};

/// A field as the header sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'s> {
    pub(super) name: &'s str,
    /// It must be there also when the schema lets files leave fields out: required, or part of a key.
    pub(super) demanded: bool,
}

/// What is wrong with the header, or remarkable about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LabelFault {
    pub(super) kind: ErrorType,
    pub(super) rule: &'static str,
    /// From 1.
    pub(super) column: Option<usize>,
    pub(super) field: Option<String>,
    pub(super) message: String,
    pub(super) severity: Severity,
}

/// What the header came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Aligned {
    /// By column: the field's index.
    pub(super) fields: Vec<Option<usize>>,
    /// So much of it matches that its labels surely are labels.
    pub(super) certain: bool,
    pub(super) faults: Vec<LabelFault>,
}

#[cfg(test)]
impl Aligned {
    pub(super) fn fits(&self) -> bool {
        self.faults.iter().all(|fault| fault.severity != Severity::Reject)
    }
}

/// Matches labels and fields as `fieldsMatch` says (https://datapackage.org/standard/table-schema/#fieldsMatch).
/// `spaces`: what becomes of white space around a label that is a field's name otherwise.
pub(super) fn align(wanted: &[Wanted<'_>], matching: FieldsMatch, labels: &[&str], spaces: Severity) -> Aligned {
    let found = wanted.iter().filter(|field| labels.contains(&field.name)).count();
    let mut header = Header {
        wanted,
        labels,
        spaces,
        out: Aligned { fields: vec![None; labels.len()], certain: found * 2 >= wanted.len(), faults: Vec::new() },
    };
    match matching {
        FieldsMatch::Exact => header.exact(),
        FieldsMatch::Equal => header.by_name(true, false),
        FieldsMatch::Subset => header.by_name(true, true),
        FieldsMatch::Superset => header.by_name(false, false),
        FieldsMatch::Partial => header.by_name(false, true),
    }
    header.out
}

/// The labels of a file without a schema: each must be there once.
pub(super) fn alone(labels: &[&str]) -> Aligned {
    let mut header = Header {
        wanted: &[],
        labels,
        spaces: Severity::Accept,
        out: Aligned { fields: vec![None; labels.len()], ..Aligned::default() },
    };
    let repeated = header.repeated();
    for (column, repeated) in repeated.into_iter().enumerate() {
        header.surplus(column, repeated, true);
    }
    header.out
}

struct Header<'a> {
    wanted: &'a [Wanted<'a>],
    labels: &'a [&'a str],
    spaces: Severity,
    out: Aligned,
}

impl Header<'_> {
    /// The same fields in the same order.
    fn exact(&mut self) {
        if self.labels.iter().eq(self.wanted.iter().map(|field| &field.name)) {
            self.out.fields = (0..self.wanted.len()).map(Some).collect();
            return;
        }
        if self.reordered() {
            for (column, field) in self.wanted.iter().enumerate() {
                if self.labels[column] != field.name {
                    let message = "does not stand in its place: put the columns in the order that the dataset demands";
                    self.fault(ErrorType::IncorrectLabel, "label-order", Some(column), Some(field.name), message);
                }
            }
            return;
        }
        let repeated = self.repeated();
        let names: Vec<&str> = self.wanted.iter().map(|field| field.name).collect();
        for step in steps(&names, self.labels) {
            match step {
                Step::Pair(field, column) => self.pair(field, column, repeated[column]),
                Step::Label(column) if self.declared(self.labels[column]) && repeated[column].is_none() => {
                    let message = "does not stand in its place: put the columns in the order that the dataset demands";
                    let name = self.labels[column];
                    self.fault(ErrorType::IncorrectLabel, "label-order", Some(column), Some(name), message);
                }
                Step::Label(column) => self.surplus(column, repeated[column], false),
                // What stands elsewhere is reported there.
                Step::Name(field) if self.labels.contains(&names[field]) => {}
                Step::Name(field) => self.missing(field),
            }
        }
    }

    /// The same fields in any order. `whole`: all fields must be there. `more`: other columns may be there.
    fn by_name(&mut self, whole: bool, more: bool) {
        let repeated = self.repeated();
        let mut found = vec![false; self.wanted.len()];
        let mut rest = Vec::new();
        let names: HashMap<&str, usize> =
            self.wanted.iter().zip(0..).map(|(field, place)| (field.name, place)).collect();
        for (column, label) in self.labels.iter().enumerate() {
            match names.get(label).copied() {
                Some(field) if repeated[column].is_none() => {
                    self.out.fields[column] = Some(field);
                    found[field] = true;
                }
                _ => rest.push(column),
            }
        }
        if !more || whole || found.contains(&true) {
            // Of fields that are equal when folded, the first.
            let mut near_names: HashMap<String, usize> = HashMap::new();
            for (field, wanted) in self.wanted.iter().enumerate() {
                near_names.entry(folded(wanted.name)).or_insert(field);
            }
            for column in rest {
                let label = folded(self.labels[column]);
                let near = near_names.get(&label).copied().filter(|_| !label.is_empty());
                match near {
                    Some(field) if !found[field] && repeated[column].is_none() => {
                        found[field] = true;
                        self.pair(field, column, None);
                    }
                    _ => self.surplus(column, repeated[column], more),
                }
            }
            for (field, found) in found.into_iter().enumerate() {
                if !found && (whole || self.wanted[field].demanded) {
                    self.missing(field);
                }
            }
        } else {
            let message =
                "none of the columns is one of this dataset: check that this is the right file, with its header";
            self.fault(ErrorType::MissingLabel, "no-label-matches", None, None, message);
        }
    }

    /// Whether the labels are the fields' names, in another order.
    fn reordered(&self) -> bool {
        let mut labels = self.labels.to_vec();
        let mut names: Vec<&str> = self.wanted.iter().map(|field| field.name).collect();
        labels.sort_unstable();
        names.sort_unstable();
        labels == names
    }

    /// By column: the column that has the same label before it.
    fn repeated(&self) -> Vec<Option<usize>> {
        let mut first = HashMap::new();
        let place = |(column, label): (usize, &&str)| {
            let before = *first.entry(label.trim().to_owned()).or_insert(column);
            (before != column && !label.trim().is_empty()).then_some(before)
        };
        self.labels.iter().enumerate().map(place).collect()
    }

    fn declared(&self, label: &str) -> bool {
        self.wanted.iter().any(|field| field.name == label)
    }

    /// The label that stands in a field's place.
    fn pair(&mut self, field: usize, column: usize, repeated: Option<usize>) {
        let (name, label) = (self.wanted[field].name, self.labels[column]);
        if label == name && repeated.is_none() {
            self.out.fields[column] = Some(field);
            return;
        }
        let name = Some(name);
        // In a row that is no header, an empty cell is no blank label.
        if label.trim().is_empty() && self.out.certain {
            let message = "its label in the header is empty";
            self.fault(ErrorType::BlankLabel, "label", Some(column), name, message);
        } else if let Some(before) = repeated.filter(|_| self.declared(label.trim())) {
            let message = format!("the header has the label of column {} here again", before + 1);
            self.fault(ErrorType::DuplicateLabel, "label", Some(column), name, &message);
        } else if name == Some(label.trim()) {
            self.out.fields[column] = Some(field);
            let message = "its label in the header has white space around it";
            let severity = self.spaces;
            self.found(severity, ErrorType::IncorrectLabel, "label-spaces", Some(column), name, message);
        } else if folded(label) == folded(self.wanted[field].name) {
            let message = "its label in the header is spelled otherwise: capitals, spaces and signs count";
            self.fault(ErrorType::IncorrectLabel, "label", Some(column), name, message);
        } else {
            self.fault(ErrorType::IncorrectLabel, "label", Some(column), name, "the header has another label here");
        }
    }

    /// A label that no field waits for. `more`: columns that the schema does not declare may be there.
    fn surplus(&mut self, column: usize, repeated: Option<usize>, more: bool) {
        let label = self.labels[column];
        let shown = (self.out.certain || self.declared(label)).then(|| shown(label));
        let column_of = Some(column);
        if label.trim().is_empty() {
            self.fault(ErrorType::BlankLabel, "label", column_of, None, "its label in the header is empty");
        } else if let Some(before) = repeated {
            let message = format!("the header has the label of column {} here again", before + 1);
            self.fault(ErrorType::DuplicateLabel, "label", column_of, shown.as_deref(), &message);
        } else if !more {
            let message = "is not a column of this dataset: leave it out";
            self.fault(ErrorType::ExtraLabel, "label", column_of, shown.as_deref(), message);
        }
    }

    fn missing(&mut self, field: usize) {
        let message = "is not in the header: the dataset demands this column, also when it is empty";
        self.fault(ErrorType::MissingLabel, "label", None, Some(self.wanted[field].name), message);
    }

    fn fault(
        &mut self,
        kind: ErrorType,
        rule: &'static str,
        column: Option<usize>,
        field: Option<&str>,
        message: &str,
    ) {
        self.found(Severity::Reject, kind, rule, column, field, message);
    }

    fn found(
        &mut self,
        severity: Severity,
        kind: ErrorType,
        rule: &'static str,
        column: Option<usize>,
        field: Option<&str>,
        message: &str,
    ) {
        if severity == Severity::Accept {
            return;
        }
        self.out.faults.push(LabelFault {
            kind,
            rule,
            column: column.map(|column| column + 1),
            field: field.map(str::to_owned),
            message: message.to_owned(),
            severity,
        });
    }
}

/// A label as a report may show it: one short line without characters that hide or reorder text.
pub(super) fn shown(label: &str) -> String {
    let plain = |c: char| if c.is_control() || super::habits::hides(c) { char::REPLACEMENT_CHARACTER } else { c };
    label.chars().take(64).map(plain).collect()
}

#[cfg(test)]
mod tests;
