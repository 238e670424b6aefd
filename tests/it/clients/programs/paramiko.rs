//! paramiko, the Python library, as old as Debian has it and as new as PyPI does; with_paramiko.py is the program.

use std::process::Command;

use super::scripted::scripted;
use super::{beside, installed};
use crate::clients::matrix::Did;
use crate::clients::site::Way;

pub struct Paramiko {
    title: &'static str,
    /// In target/clients; none for the machine's own.
    python: Option<&'static str>,
}

pub const DEBIAN: Paramiko = Paramiko { title: "paramiko (Debian's)", python: None };
pub const NEWEST: Paramiko = Paramiko { title: "paramiko (newest)", python: Some("paramiko/bin/python") };

impl Paramiko {
    fn python(&self) -> String {
        // Debian's library is Debian's Python's.
        self.python.map_or("/usr/bin/python3".into(), |inside| installed(inside).display().to_string())
    }

    /// One of the program's operations.
    pub fn command(&self, way: &Way<'_>, words: &[&str]) -> Command {
        let mut command = way.command(&self.python());
        command.arg(beside("with_paramiko.py")).arg(way.port.to_string());
        command.arg(way.site.path("key")).arg(way.site.known_hosts()).args(words);
        command
    }

    fn run(&self, way: &Way<'_>, words: &[&str]) -> Did {
        way.run(self.command(way, words), "")
    }
}

scripted!(Paramiko, |program| program.title, |program| {
    super::version_of(program.python(), &[beside("with_paramiko.py").to_str().unwrap(), "--version"])
});
