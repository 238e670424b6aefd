//! Groups of errors as sentences for a person: what a status text, a receipt or a terminal shows of a report.
//!
//! Made of the report alone, so that no value can slip in; each sentence is short whatever a field is called. Called by
//! `audit`, `sftp`, `cli` and `check`.

use super::{ErrorType, Group, Report};

/// Bytes of one sentence.
const LONGEST: usize = 300;

impl Group {
    /// `row 4, "Date of Birth": is not a date of the form %d/%m/%Y (3 rows: 4, 9, 12)`; at most 300 bytes.
    pub fn sentence(&self) -> String {
        let mut place = Vec::new();
        place.extend(self.rows.first().map(|row| format!("row {row}")));
        match (&self.field, self.column) {
            (Some(field), _) => place.push(format!("{:?}", shortened(field, 80))),
            (None, Some(column)) => place.push(format!("column {column}")),
            (None, None) => {}
        }
        said(&place, &self.message, &self.times())
    }

    /// ` (3 rows: 4, 9, 12)`, ` (1500 times, first in rows 2, 3, 4, ...)`, or nothing when it came once.
    fn times(&self) -> String {
        let rows: Vec<String> = self.rows.iter().map(u64::to_string).collect();
        let listed = rows.join(", ");
        match rows.len() {
            _ if self.count <= 1 => String::new(),
            0 => format!(" ({} times)", self.count),
            1 => format!(" ({} times in this row)", self.count),
            known if known as u64 == self.count => format!(" ({known} rows: {listed})"),
            _ => format!(" ({} times, first in rows {listed}, ...)", self.count),
        }
    }

    /// Causes before consequences: the file and its text, its header, its rows, its cells, then what compares rows.
    fn rank(&self) -> u8 {
        use ErrorType as E;
        match self.kind {
            E::SourceError | E::FormatError | E::CompressionError | E::EncodingError | E::HashCount | E::ByteCount => 0,
            E::BlankHeader
            | E::IncorrectLabel
            | E::MissingLabel
            | E::ExtraLabel
            | E::DuplicateLabel
            | E::BlankLabel => 1,
            E::RowCount | E::BlankRow | E::ExtraCell | E::MissingCell => 2,
            E::TypeError | E::ConstraintError | E::ForbiddenValue => 3,
            E::UniqueError | E::PrimaryKey | E::ForeignKey | E::RowConstraint => 4,
        }
    }

    /// Whether both are about cells that are missing in the same rows: one sentence says it.
    fn continues(&self, other: &Self) -> bool {
        let told = |group: &Self| matches!(group.kind, ErrorType::MissingCell);
        told(self) && told(other) && self.rule == other.rule && self.count == other.count && self.rows == other.rows
    }
}

impl Report {
    /// Sentences for a person, one for each group, the most telling first, at most `most` (then one that says how many
    /// more there are): `row 4, "Date of Birth": is not a date ... (3 rows: 4, 9, 12)`.
    pub fn reasons(&self, most: usize) -> Vec<String> {
        let mut groups: Vec<&Group> = self.groups.iter().collect();
        groups.sort_by_key(|group| group.rank());
        let mut topics: Vec<Vec<&Group>> = Vec::new();
        for group in groups {
            match topics.last_mut() {
                Some(topic) if topic.last().is_some_and(|last| last.continues(group)) => topic.push(group),
                _ => topics.push(vec![group]),
            }
        }
        let mut reasons: Vec<String> = topics.iter().take(most).map(|topic| sentence(topic)).collect();
        match topics.len().saturating_sub(most) {
            0 => {}
            1 => reasons.push("and one more kind of error: the report has it".into()),
            more => reasons.push(format!("and {more} more kinds of errors: the report has them all")),
        }
        reasons
    }
}

/// One group's sentence, or that of missing cells side by side.
fn sentence(topic: &[&Group]) -> String {
    let [first, .., last] = topic else {
        return topic.first().map(|group| group.sentence()).unwrap_or_default();
    };
    let place: Vec<String> = first.rows.first().map(|row| format!("row {row}")).into_iter().collect();
    let name = |group: &Group| match (&group.field, group.column) {
        (Some(field), _) => format!("{:?}", shortened(field, 60)),
        (None, Some(column)) => format!("column {column}"),
        (None, None) => "the last".into(),
    };
    let cut = if first.rule == "cut-row" { ": the file ends in the middle of this row" } else { "" };
    let what = format!("{} cells are missing, from {} to {}{cut}", topic.len(), name(first), name(last));
    said(&place, &what, &first.times())
}

/// The place, what is wrong there and how often, within the bound; the message gives way first.
fn said(place: &[String], message: &str, times: &str) -> String {
    let place = if place.is_empty() { String::new() } else { format!("{}: ", place.join(", ")) };
    let room = LONGEST.saturating_sub(place.len() + times.len());
    shortened(&format!("{place}{}{times}", shortened(message, room)), LONGEST)
}

/// The text, or as much of it as leaves room for an ellipsis.
fn shortened(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most.saturating_sub("…".len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::super::{At, Collector};
    use super::*;

    fn at<'f>(row: u64, field: &'f str, column: u64) -> At<'f> {
        At { row: Some(row), field: Some(field), column: Some(column) }
    }

    #[test]
    fn a_sentence_says_where_what_and_how_often() {
        let mut out = Collector::new(10);
        for row in [4, 9, 12] {
            out.error(ErrorType::TypeError, "date", at(row, "Born", 3), || "is not a date".into());
        }
        out.error(ErrorType::TypeError, "integer", At { row: Some(5), column: Some(7), ..At::default() }, || {
            "is no number".into()
        });
        assert_eq!(
            out.reasons(9),
            ["row 4, \"Born\": is not a date (3 rows: 4, 9, 12)", "row 5, column 7: is no number"]
        );
        for row in 13..1500 {
            out.error(ErrorType::TypeError, "date", at(row, "Born", 3), || "is not a date".into());
        }
        let wanted =
            "row 4, \"Born\": is not a date (1490 times, first in rows 4, 9, 12, 13, 14, 15, 16, 17, 18, 19, ...)";
        assert_eq!(out.reasons(1), [wanted, "and one more kind of error: the report has it"]);
    }

    #[test]
    fn what_explains_the_most_comes_first() {
        let mut out = Collector::new(10);
        out.error(ErrorType::PrimaryKey, "primaryKey", at(2, "Id", 1), || "is there twice".into());
        out.error(ErrorType::TypeError, "date", at(3, "Born", 2), || "is not a date".into());
        out.error(ErrorType::MissingCell, "missing-cell", at(4, "Born", 2), || "is not there".into());
        out.error(ErrorType::SourceError, "unclosed-quote", at(9, "Id", 1), || "opens a quote".into());
        let reasons = out.reasons(9);
        let starts: Vec<&str> = reasons.iter().map(|reason| reason.split(',').next().unwrap()).collect();
        assert_eq!(starts, ["row 9", "row 4", "row 3", "row 2"]);
    }

    #[test]
    fn cells_that_are_missing_side_by_side_are_one_sentence() {
        let mut out = Collector::new(10);
        for row in [9, 10] {
            for (field, column) in [("B", 2), ("C", 3), ("D", 4)] {
                out.error(ErrorType::MissingCell, "missing-cell", at(row, field, column), || "is not there".into());
            }
        }
        assert_eq!(out.reasons(9), ["row 9: 3 cells are missing, from \"B\" to \"D\" (2 rows: 9, 10)"]);
    }

    #[test]
    fn a_sentence_is_short_whatever_a_field_is_called() {
        let mut out = Collector::new(10);
        for row in 0..20 {
            let field = "é\"".repeat(4000);
            out.error(ErrorType::TypeError, "date", at(u64::MAX - row, &field, 3), || "no ".repeat(400));
        }
        let reasons = out.reasons(1);
        assert!(reasons[0].len() <= LONGEST && reasons[0].contains("20 times"), "{reasons:?}");
    }
}
