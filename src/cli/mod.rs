//! Operator commands, a file for each noun. The only place that prints.

pub mod audit;
mod listing;
pub mod queue;
pub mod upload;
