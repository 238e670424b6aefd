//! Commands over exec: the named ones run in a task of their own, everything else is refused with words.

use std::sync::Arc;

use russh::ChannelId;
use russh::server::Handle;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::behind::Behind;
use super::visit::Visit;
use crate::access::Principal;
use crate::queue::Out;
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
pub(super) struct Exec(AbortHandle);

impl Drop for Exec {
    fn drop(&mut self) {
        self.0.abort();
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
        let run = behind.run(principal.clone(), command, out);
        let busy = visit.command();
        let task = tokio::spawn(async move {
            let _busy = busy;
            // The command owns the sender: when it is done, the lines end.
            let (status, sent) = tokio::join!(run, forward(lines, &handle, channel));
            if sent.is_ok() {
                end(&handle, channel, status).await;
            }
        });
        Self(task.abort_handle())
    }

    pub fn is_over(&self) -> bool {
        self.0.is_finished()
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

/// What a person who tried this command should do instead.
pub(super) fn advice(command: &str, role: Role) -> &'static str {
    let program = command.split_whitespace().next().unwrap_or_default();
    match program.rsplit('/').next().unwrap_or_default() {
        "scp" => {
            "This is an SFTP service without the old scp protocol: use 'scp' of OpenSSH 9.0 or later without -O, or 'sftp'."
        }
        "rsync" => "rsync does not work here: use 'sftp', or rclone with its sftp backend.",
        "sftp-server" => "Use the sftp subsystem: 'sftp' without -s, or your client's default for the SFTP server.",
        _ if role == Role::Loader => {
            "Of commands there are claim, extend, ack and nack here, and nothing else: fetch files with 'sftp', from /queue."
        }
        _ => "This is an SFTP service: commands cannot be run here. Use 'sftp', or see /help.txt.",
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
    fn nobody_is_sent_to_what_the_role_does_not_have() {
        for words in [advice("ls", Role::Loader), no_shell(Role::Loader)] {
            assert!(words.contains("claim") && words.contains("/queue") && !words.contains("help.txt"), "{words}");
        }
        for words in [advice("claim", Role::Provider), no_shell(Role::Provider)] {
            assert!(words.contains("/help.txt") && !words.contains("queue"), "{words}");
        }
    }
}
