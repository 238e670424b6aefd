//! JSch as Debian has it, the old one of 2018: no ed25519, no RSA with SHA-2. WithJsch.java is the program.

use super::scripted::scripted;
use super::{installed, version_of};
use crate::clients::matrix::Did;
use crate::clients::site::Way;

pub struct Jsch;

fn class_path() -> String {
    format!("{}:/usr/share/java/jsch.jar", installed("java").display())
}

impl Jsch {
    fn run(&self, way: &Way<'_>, words: &[&str]) -> Did {
        let mut command = way.command("java");
        // A small machine is shared with everything else that is tested.
        command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-Dfile.encoding=UTF-8", "-cp"]);
        command.arg(class_path()).arg("WithJsch").arg(way.port.to_string());
        command.arg(way.site.path("key.pem")).arg(way.site.known_hosts()).args(words);
        way.run(command, "")
    }
}

scripted!(Jsch, |_program| "JSch (Debian's)", |_program| {
    version_of("java", &["-cp", &class_path(), "WithJsch", "--version"])
});
