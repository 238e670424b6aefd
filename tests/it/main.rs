//! The integration tests: the real daemon, real OpenSSH clients, and one raw client for what no honest one sends.
//!
//! Each test starts a gateway of its own (`harness::Gateway`) on a free port, in a directory of its own, so all may run at
//! once. When a gateway goes out of scope its invariants are checked: see `harness/settle.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this whole crate is tests: clippy.toml's allowances reach only functions marked #[test]"
)]

mod harness;

mod architecture;
mod canary;
mod cli;
mod contract;
mod corpora;
mod demands;
mod door;
mod drafts;
mod erase;
mod export;
mod fuzz;
mod hostile;
mod kill;
mod loading;
mod nasty;
mod precheck;
mod proof;
mod publishing;
mod queue;
mod scanning;
mod service;
mod soak;
mod tenants;
mod upload;
mod verdicts;
