//! Commands over exec: the named ones run in a task of their own, everything else is refused with words.

use std::sync::Arc;

use russh::ChannelId;
use russh::server::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::behind::Behind;
use super::visit::Visit;
use crate::access::Principal;
use crate::queue::Out;
use crate::sftp::Input;
use crate::types::Role;

/// Longest command line, bytes; as much as `queue` reads.
pub(super) const COMMAND_MAX: usize = 8192;
/// Lines that wait while the client takes none.
const LINES: usize = 16;
/// Lines are sent together up to about this many bytes.
const BATCH: usize = 16 * 1024;
/// File descriptor of standard error in extended data (RFC 4254, section 5.2).
pub(super) const STDERR: u32 = 1;

/// A command under way; dropping it cancels it.
pub(super) struct Exec {
    task: AbortHandle,
    input: watch::Sender<Input>,
}

impl Drop for Exec {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Exec {
    pub fn begin<B: Behind>(
        behind: &B,
        visit: &Arc<Visit>,
        principal: &Principal,
        command: String,
        handle: Handle,
        channel: ChannelId,
    ) -> Self {
        let (out, lines) = mpsc::channel(LINES);
        let (input, heard) = watch::channel(Input::Nothing);
        let run = behind.run(principal.clone(), command, heard, out);
        let busy = visit.command();
        let task = tokio::spawn(async move {
            let _busy = busy;
            // The command owns the sender: when it is done, the lines end.
            let (status, sent) = tokio::join!(run, forward(lines, &handle, channel));
            if sent.is_ok() {
                end(&handle, channel, status).await;
            }
        });
        Self { task: task.abort_handle(), input }
    }

    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Bytes came on standard input: no command reads them, but it may want to know.
    pub fn data(&self) {
        self.input.send_replace(Input::Bytes);
    }

    /// Standard input ended.
    pub fn eof(&self) {
        self.input.send_if_modified(|heard| {
            let nothing = *heard == Input::Nothing;
            if nothing {
                *heard = Input::Empty;
            }
            nothing
        });
    }
}

/// The session is gone.
pub(super) struct Gone;

/// Sends lines as they come. Waits while the client takes none: so does the command, once the queue is full.
async fn forward(mut lines: mpsc::Receiver<Out>, handle: &Handle, channel: ChannelId) -> Result<(), Gone> {
    let mut waiting = lines.recv().await;
    while let Some(first) = waiting.take() {
        let error = matches!(first, Out::Error(_));
        let mut bytes = Vec::new();
        let mut next = Some(first);
        while let Some(line) = next.take() {
            match line {
                Out::Line(line) if !error => push_line(&mut bytes, &line),
                Out::Error(line) if error => push_line(&mut bytes, &line),
                other => {
                    waiting = Some(other);
                    break;
                }
            }
            if bytes.len() < BATCH {
                next = lines.try_recv().ok();
            }
        }
        let sent = match error {
            true => handle.extended_data(channel, STDERR, bytes).await,
            false => handle.data(channel, bytes).await,
        };
        sent.map_err(|_| Gone)?;
        if waiting.is_none() {
            waiting = lines.recv().await;
        }
    }
    Ok(())
}

fn push_line(bytes: &mut Vec<u8>, line: &str) {
    bytes.extend_from_slice(line.as_bytes());
    bytes.push(b'\n');
}

/// Ends a channel as its program would: status, then no more data, then closed (RFC 4254, sections 6.10 and 5.3).
pub(super) async fn end(handle: &Handle, channel: ChannelId, status: u32) {
    // Each fails only when the session is gone, and with it the channel.
    let _gone = handle.exit_status_request(channel, status).await;
    let _gone = handle.eof(channel).await;
    let _gone = handle.close(channel).await;
}

const OLD_SCP: &str =
    "This is an SFTP service without the old scp protocol: use 'scp' of OpenSSH 9.0 or later without -O, or 'sftp'.";

/// The words for an scp client of the old protocol, which shows its user what comes in that protocol: a fatal error is a
/// byte 2, a text and a line end, whichever side of it the client plays. None for any other command.
pub(super) fn scp_refusal(command: &str) -> Option<Vec<u8>> {
    let mut words = command.split_whitespace();
    let program = words.next()?.rsplit('/').next()?;
    let plays = |word: &str| word.starts_with('-') && !word.starts_with("--") && word.contains(['t', 'f']);
    (program == "scp" && words.any(plays)).then(|| format!("\u{2}scp: {OLD_SCP}\n").into_bytes())
}

/// What a person who tried this command should do instead.
pub(super) fn advice(command: &str, role: Role) -> &'static str {
    let program = command.split_whitespace().next().unwrap_or_default();
    match program.rsplit('/').next().unwrap_or_default() {
        "scp" => OLD_SCP,
        "rsync" => "rsync does not work here: use 'sftp', or rclone with its sftp backend.",
        "sftp-server" => "Use the sftp subsystem: 'sftp' without -s, or your client's default for the SFTP server.",
        _ if role == Role::Loader => {
            "Of commands there are claim, extend, ack and nack here, and nothing else: fetch files with 'sftp', from /queue."
        }
        _ => {
            "This is an SFTP service with a few commands of its own, which 'help' lists: use 'sftp', or see /help.txt."
        }
    }
}

/// What a person who asked for a shell should do instead.
pub(super) fn no_shell(role: Role) -> &'static str {
    match role {
        Role::Provider => "This is an SFTP service: use 'sftp', or see /help.txt.",
        Role::Loader => "There is no shell here: use the commands claim, extend, ack and nack, and 'sftp' for /queue.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scp_hears_its_refusal_in_its_own_protocol() {
        for command in ["scp -t /bulk", "/usr/bin/scp -v -p -t -- a", "scp -rf /a", "scp -f a"] {
            let words = scp_refusal(command).unwrap();
            assert!(words.starts_with(b"\x02scp: ") && words.ends_with(b".\n"), "{command}");
            assert_eq!(words.iter().filter(|&&byte| byte == b'\n').count(), 1);
        }
        for command in ["scp", "scp a b", "ls -t", "scp --help-t", ""] {
            assert_eq!(scp_refusal(command), None, "{command}");
        }
    }

    #[test]
    fn nobody_is_sent_to_what_the_role_does_not_have() {
        for words in [advice("ls", Role::Loader), no_shell(Role::Loader)] {
            assert!(words.contains("claim") && words.contains("/queue") && !words.contains("help.txt"), "{words}");
        }
        for words in [advice("claim", Role::Provider), no_shell(Role::Provider)] {
            assert!(words.contains("/help.txt") && !words.contains("queue"), "{words}");
        }
    }
}
