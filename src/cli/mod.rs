//! Operator commands, a file for each noun. The only place that prints.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what commands are for")]

pub mod account;
pub mod edit;
pub mod init;
pub mod key;
pub mod logging;
pub mod org;
pub mod table;
