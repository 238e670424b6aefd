//! Operator commands, a file for each noun. The only place that prints.

pub mod check;
