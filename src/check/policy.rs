//! How strict a dataset is where a schema does not settle it: each habit of exports is accepted, flagged or rejected.
//!
//! Data only. Compiled by `config` from `[policy]`; judged in `table` and `schema`.

/// What becomes of an upload that shows a habit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing is said.
    Accept,
    /// Taken, with a remark in the receipt and the delivery.
    Flag,
    /// An error like any other.
    Reject,
}

/// `[policy]` of a dataset; the defaults are strict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Cells of free text that a spreadsheet would execute: they begin with `=`, `+`, `-`, `@`, a tab or their full-width
    /// forms, and are no number. Flag.
    pub formulas: Severity,
    /// Characters that hide or reorder text (bidirectional controls, zero-width). Flag.
    pub hidden_characters: Severity,
    /// UTF-8 that was taken for windows-1252 and encoded again (`Ã©`, `Â£`). Flag.
    pub mojibake: Severity,
    /// C0 and C1 controls other than white space (tab, LF, VT, FF, CR, NEL). Reject. NUL is always an error.
    pub control_characters: Severity,
    /// Records that end in different ways (CRLF, LF, CR). Flag.
    pub mixed_line_ends: Severity,
    /// Records that all end in a CR alone. Reject; CR CR LF always is.
    pub cr_line_ends: Severity,
    /// The last record has no line end: it may have been cut. Flag.
    pub no_final_line_end: Severity,
    /// Blank rows after the last record. Reject.
    pub trailing_blank_rows: Severity,
    /// White space around a label that is otherwise the field's name. Reject.
    pub label_spaces: Severity,
    /// White space around a number, date or boolean. Reject.
    pub value_spaces: Severity,
    /// Dates with one digit for day or month where the format wants two. Reject.
    pub unpadded_dates: Severity,
}

impl Default for Policy {
    fn default() -> Self {
        use Severity::{Flag, Reject};
        Self {
            formulas: Flag,
            hidden_characters: Flag,
            mojibake: Flag,
            control_characters: Reject,
            mixed_line_ends: Flag,
            cr_line_ends: Reject,
            no_final_line_end: Flag,
            trailing_blank_rows: Reject,
            label_spaces: Reject,
            value_spaces: Reject,
            unpadded_dates: Reject,
        }
    }
}
