//! ssh2-sftp-client, the library of Node.js; with_ssh2_sftp_client.js is the program.

use super::scripted::scripted;
use super::{beside, installed};
use crate::clients::matrix::Did;
use crate::clients::site::Way;

pub struct Node;

const PROGRAM: &str = "with_ssh2_sftp_client.js";

impl Node {
    fn run(&self, way: &Way<'_>, words: &[&str]) -> Did {
        let mut command = way.command("node");
        command.env("NODE_PATH", installed("node/node_modules")).arg(beside(PROGRAM)).arg(way.port.to_string());
        command.arg(way.site.path("key")).arg(&way.site.fingerprints()[0]).args(words);
        way.run(command, "")
    }
}

scripted!(Node, |_program| "ssh2-sftp-client (Node.js)", |_program| {
    let package = std::fs::read_to_string(installed("node/node_modules/ssh2-sftp-client/package.json")).unwrap();
    let package: serde_json::Value = serde_json::from_str(&package).unwrap();
    package["version"].as_str().unwrap().to_owned()
});
