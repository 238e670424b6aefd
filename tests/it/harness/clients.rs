//! Stock OpenSSH clients, as an account would run them.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Done, PATIENCE, Raw, Running, run, start};

/// One account with one key. Holds no connection; each call makes its own.
#[derive(Debug, Clone)]
pub struct Client {
    account: String,
    key: PathBuf,
    known_hosts: PathBuf,
    port: u16,
}

impl Client {
    pub fn new(account: &str, key: &Path, known_hosts: &Path, port: u16) -> Self {
        Self { account: account.to_owned(), key: key.to_owned(), known_hosts: known_hosts.to_owned(), port }
    }

    /// The same account with another key.
    pub fn with_key(&self, key: &Path) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// The same key under another account's name.
    pub fn named(&self, account: &str) -> Self {
        Self { account: account.to_owned(), ..self.clone() }
    }

    /// `ssh` or `sftp` with everything but the destination: nothing of this machine's own configuration, no questions.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]);
        command.args(["-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=/dev/null"]);
        command.args(["-o", "HostKeyAlias=gateway", "-o", "ConnectTimeout=60", "-o"]);
        command.arg(format!("UserKnownHostsFile={}", self.known_hosts.display()));
        command.arg("-o").arg(format!("Port={}", self.port)).arg("-i").arg(&self.key);
        command.env_remove("SSH_AUTH_SOCK").env_remove("DISPLAY").env("LC_ALL", "C.UTF-8");
        command
    }

    fn destination(&self) -> String {
        format!("{}@127.0.0.1", self.account)
    }

    fn sftp_command(&self) -> Command {
        let mut command = self.command("sftp");
        command.args(["-b", "-"]).arg(self.destination());
        command
    }

    /// `sftp -b -` with these lines; ends at the first line that fails, unless it starts with `-`.
    pub fn sftp(&self, batch: &str) -> Done {
        run(self.sftp_command(), batch.as_bytes(), 5 * PATIENCE)
    }

    /// The same, in the background.
    pub fn start_sftp(&self, batch: &str) -> Running {
        start(self.sftp_command(), batch.as_bytes())
    }

    /// What `ls -1` shows of a directory, one name a line, without the directory's own path.
    pub fn list(&self, directory: &str) -> Vec<String> {
        let done = self.sftp(&format!("ls -1 {directory}\n")).ok();
        let names = done.stdout.lines().filter(|line| !line.starts_with("sftp>"));
        names.map(|line| line.rsplit('/').next().unwrap().trim().to_owned()).collect()
    }

    /// `ssh` with options before the destination and words after it.
    pub fn ssh(&self, options: &[&str], words: &[&str]) -> Done {
        let mut command = self.command("ssh");
        command.args(options).arg(self.destination()).args(words);
        run(command, b"", PATIENCE)
    }

    /// Runs one of the gateway's commands: `ssh ACCOUNT@GATEWAY LINE`.
    pub fn exec(&self, line: &str) -> Done {
        self.ssh(&["-T"], &[line])
    }

    /// The same, in the background.
    pub fn start_exec(&self, line: &str) -> Running {
        let mut command = self.command("ssh");
        command.arg("-T").arg(self.destination()).arg(line);
        start(command, b"")
    }

    /// An SFTP session that speaks whatever the test gives it; INIT is the test's own affair.
    pub fn raw(&self) -> Raw {
        Raw::connect(self.raw_command())
    }

    /// The same, past INIT.
    pub fn session(&self) -> Raw {
        let mut raw = self.raw();
        raw.init();
        raw
    }

    /// A session that sent INIT and reads nothing, not even its answer.
    pub fn session_unread(&self) -> Raw {
        let mut raw = self.raw();
        raw.send(&super::packet(super::kind::INIT, &3u32.to_be_bytes())).unwrap();
        raw
    }

    fn raw_command(&self) -> Command {
        let mut command = self.command("ssh");
        command.arg("-s").arg(self.destination()).arg("sftp");
        command
    }
}
