//! Child processes with deadlines: nothing that a test starts outlives it or hangs it.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// What a process that ended left behind.
#[derive(Debug)]
pub struct Done {
    #[allow(dead_code, reason = "read when a failed test prints it")]
    pub command: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Done {
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
    pub fn succeeded(&self) -> bool {
        self.status.success()
    }
    /// The process must have exited 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status.success(), "failed: {self:#?}");
        self
    }
    /// The process must have exited with this status.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{self:#?}");
        self
    }
    /// The process must have failed (any status but 0, or a signal).
    #[track_caller]
    pub fn fails(self) -> Self {
        assert!(!self.status.success(), "should have failed: {self:#?}");
        self
    }
    /// Both streams together, in lower case: for looking for words.
    pub fn words(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr).to_lowercase()
    }
    /// Standard output, each line parsed as JSON.
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}\n{self:#?}"));
        self.stdout.lines().filter(|line| !line.trim().is_empty()).map(parse).collect()
    }
}

/// A process in a group of its own; dropping it kills the group.
pub struct Running {
    child: Child,
    shown: String,
    started: Instant,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    ended: bool,
}

/// Starts `command` with `input` on its standard input.
pub fn start(mut command: Command, input: &[u8]) -> Running {
    let shown = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{shown} does not start: {e}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A process that does not read its input to the end gives a broken pipe here, which is its own affair.
    std::thread::spawn(move || stdin.write_all(&input).ok());
    let stdout = Some(collect(child.stdout.take().unwrap()));
    let stderr = Some(collect(child.stderr.take().unwrap()));
    Running { child, shown, started: Instant::now(), stdout, stderr, ended: false }
}

/// Runs `command` to its end; fails the test when that takes longer than `limit`.
pub fn run(command: Command, input: &[u8], limit: Duration) -> Done {
    start(command, input).wait(limit)
}

fn collect(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).ok();
        bytes
    })
}

impl Running {
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the end; fails the test when that takes longer than `limit`.
    #[track_caller]
    pub fn wait(mut self, limit: Duration) -> Done {
        let deadline = Instant::now() + limit;
        while !self.ended() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let in_time = self.ended();
        let done = self.finish();
        assert!(in_time, "still running after {limit:?}, killed: {done:#?}");
        done
    }

    /// A signal to the process alone: its own children hear of SIGINT from a terminal, but sftp keeps it from them.
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Kills the process and its children with SIGKILL, as a machine would that lost its power.
    pub fn kill(mut self) {
        self.finish();
    }

    /// What an ended process, or one that may be killed now, has said.
    pub fn output(&mut self) -> Done {
        self.finish()
    }

    fn finish(&mut self) -> Done {
        self.ended = true;
        let took = self.started.elapsed();
        // Children of an ended process may still hold its pipes, so the group goes in any case.
        kill_process_group(Pid::from_child(&self.child), Signal::KILL).ok();
        let status = self.child.wait().unwrap();
        let text = |thread: Option<JoinHandle<Vec<u8>>>| {
            String::from_utf8_lossy(&thread.unwrap().join().unwrap()).into_owned()
        };
        let (stdout, stderr) = (text(self.stdout.take()), text(self.stderr.take()));
        Done { command: self.shown.clone(), status, stdout, stderr, took }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.finish();
        }
    }
}
