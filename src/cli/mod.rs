//! Operator commands, a file for each noun. The only place that prints.

pub mod account;
pub mod edit;
pub mod init;
pub mod key;
pub mod logging;
pub mod org;
pub mod table;
