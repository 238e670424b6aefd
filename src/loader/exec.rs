//! Handing over to a command: plaintext on its standard input, the facts in `NIGHTSAFE_*` variables.
//!
//! Must never close the command's standard input unless all of the plaintext went in, so that end of file means whole
//! (but when the loader itself is killed, the kernel closes it: a command that cannot take a part back counts
//! `NIGHTSAFE_SIZE` bytes first, and the delivery comes again); and never let plaintext touch a disk. The command runs
//! in a process group of its own, which is ended as one. Called by `deliver`, after the object verified.

use std::collections::VecDeque;
use std::os::fd::AsFd as _;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Enclosed;
use super::disk::Part;
use super::open::{Keys, OpenError};
use super::queue::{Claimed, one_line};

/// Pieces of plaintext between the opening thread and the command.
const AHEAD: usize = 4;
/// From TERM to KILL.
const TERM_GRACE: Duration = Duration::from_secs(10);
/// How long after the command's end its standard error is listened to; a background process may hold it for ever.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Bytes of standard error that are kept for the reason.
const TAIL: usize = 2048;
/// Bytes of it that the reason shows.
const REASON: usize = 500;

/// A command line for `sh -c`.
#[derive(Debug, Clone)]
pub struct Exec {
    pub command: String,
    /// Its standard output goes to our standard error, since ours is for JSON lines.
    pub output_to_stderr: bool,
}

/// Runs the command on the plaintext. `cancel` ends it: TERM, then KILL.
///
/// # Errors
/// Why the delivery was not loaded, in words for its history.
pub async fn run(
    exec: &Exec,
    keys: &Keys,
    part: &Arc<Part>,
    claimed: &Arc<Claimed>,
    enclosed: &Enclosed,
    cancel: &CancellationToken,
) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("the loader cannot run the command: {e}");
    // There until the command has ended; empty when no row is restricted, so that a command need not tell the cases apart.
    let restricted = part.write_restricted(enclosed.restricted.text()).map_err(failed)?;
    let proof = enclosed.proof.as_ref().map(|proof| part.write_proof(proof)).transpose().map_err(failed)?;
    let manifest = part.write_manifest(&claimed.manifest_file()).map_err(failed)?;
    let stdout = match exec.output_to_stderr {
        true => Stdio::from(std::io::stderr().as_fd().try_clone_to_owned().map_err(failed)?),
        false => Stdio::inherit(),
    };
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(&exec.command);
    command.envs(facts(claimed)).env("NIGHTSAFE_MANIFEST", manifest);
    command.env("NIGHTSAFE_RESTRICTED_FILE", restricted.path());
    // Empty where none was demanded, whatever the loader's own environment has.
    command.env("NIGHTSAFE_PROOF_FILE", proof.as_ref().map_or("".as_ref(), |proof| proof.path().as_os_str()));
    command.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped());
    let mut child = command.process_group(0).kill_on_drop(true).spawn().map_err(failed)?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let (Some(stdin), Some(stderr)) = (child.stdin.take(), child.stderr.take()) else {
        return Err("the loader cannot run the command: it has no pipes".into());
    };

    // Two ends: the lease or the loader ends (`cancel`), or opening fails half-way (`halt`).
    let halt = cancel.child_token();
    let feeder = tokio::spawn(feed(stdin, plaintext(keys, part, claimed, halt.clone()), halt.clone()));
    let tail = tokio::spawn(pass_on(stderr));

    let status = tokio::select! {
        status = child.wait() => status.map_err(failed)?,
        () = halt.cancelled() => end(&mut child, group).await.map_err(failed)?,
    };
    // A command that ended without reading everything leaves the opening thread waiting: let it go.
    let completed = !halt.is_cancelled();
    halt.cancel();
    // `_stdin`, when not all went in, was open until here, where the command has ended.
    let (_stdin, fed) = feeder.await.unwrap_or_else(|e| (None, Err(format!("feeding the command failed: {e}"))));
    let tail = timeout(LAST_WORDS, tail).await.ok().and_then(Result::ok).unwrap_or_default();
    if cancel.is_cancelled() && !completed {
        return Err("the command was ended before it was done".into());
    }
    fed?;
    if status.success() {
        return Ok(());
    }
    Err(describe(status, &tail))
}

/// The facts of a delivery, as the command sees them.
fn facts(claimed: &Claimed) -> [(&'static str, String); 14] {
    let m = &claimed.manifest;
    // Text from elsewhere: a NUL byte cannot stand in a variable.
    let flags = m.flags.iter().map(|flag| one_line(flag, REASON)).collect::<Vec<_>>().join("\n");
    [
        ("NIGHTSAFE_DELIVERY", m.delivery.to_string()),
        ("NIGHTSAFE_UPLOAD", m.upload.to_string()),
        ("NIGHTSAFE_ORG", m.organisation.to_string()),
        ("NIGHTSAFE_DATASET", m.dataset.to_string()),
        ("NIGHTSAFE_NAME", m.name.to_string()),
        ("NIGHTSAFE_SIZE", m.size.to_string()),
        ("NIGHTSAFE_SHA256", m.sha256.to_string()),
        ("NIGHTSAFE_RECEIVED", m.received.to_string()),
        ("NIGHTSAFE_ACCOUNT", m.account.to_string()),
        ("NIGHTSAFE_SUPERSEDES", m.supersedes.map(|id| id.to_string()).unwrap_or_default()),
        ("NIGHTSAFE_ROWS", m.rows.map(|rows| rows.to_string()).unwrap_or_default()),
        ("NIGHTSAFE_RESTRICTED", m.restricted.to_string()),
        ("NIGHTSAFE_FLAGS", flags),
        ("NIGHTSAFE_ATTEMPT", claimed.attempt.to_string()),
    ]
}

type Pieces = mpsc::Receiver<Result<Vec<u8>, String>>;

/// Opens the object in a thread. The last item is an error, or an empty piece: then the plaintext was the manifest's.
fn plaintext(keys: &Keys, part: &Arc<Part>, claimed: &Arc<Claimed>, halt: CancellationToken) -> Pieces {
    let (sender, pieces) = mpsc::channel(AHEAD);
    let (keys, part, claimed) = (keys.clone(), Arc::clone(part), Arc::clone(claimed));
    tokio::task::spawn_blocking(move || {
        let gone = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let streamed = keys.stream(&part, &claimed.manifest, &halt, |piece| {
            sender.blocking_send(Ok(piece.to_vec())).map_err(|_| gone())
        });
        let last = match streamed {
            Ok(()) => Ok(Vec::new()),
            // Whoever hung up knows.
            Err(OpenError::Sink(_) | OpenError::Interrupted) => return,
            Err(OpenError::Wrong(why)) => Err(why),
        };
        let _ = sender.blocking_send(last);
    });
    pieces
}

/// Writes the pieces to the command. A command that stops reading is its own affair: its exit status tells.
///
/// Unless all of the plaintext went in, standard input is given back, still open: it must stay so until the command has
/// ended, which must not take a part for the whole.
async fn feed(
    mut stdin: ChildStdin,
    mut pieces: Pieces,
    halt: CancellationToken,
) -> (Option<ChildStdin>, Result<(), String>) {
    loop {
        let piece = tokio::select! {
            // First: the opening thread hangs up when it is told to halt, which is no failure of its own.
            biased;
            () = halt.cancelled() => return (Some(stdin), Ok(())),
            piece = pieces.recv() => piece,
        };
        let why = match piece {
            Some(Ok(piece)) if piece.is_empty() => return (None, Ok(())),
            Some(Ok(piece)) => {
                let written = tokio::select! {
                    written = stdin.write_all(&piece) => written,
                    () = halt.cancelled() => return (Some(stdin), Ok(())),
                };
                match written {
                    Ok(()) => continue,
                    Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => return (None, Ok(())),
                    Err(e) => format!("cannot write to the command: {e}"),
                }
            }
            Some(Err(why)) => why,
            None => "the opening thread ended early".to_owned(),
        };
        halt.cancel();
        return (Some(stdin), Err(why));
    }
}

/// Copies the command's standard error to ours and keeps its end.
async fn pass_on(mut stderr: ChildStderr) -> String {
    let mut ours = tokio::io::stderr();
    let mut tail = VecDeque::with_capacity(TAIL);
    let mut buffer = vec![0; 8 * 1024];
    while let Ok(read) = stderr.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        let _ = ours.write_all(&buffer[..read]).await;
        let _ = ours.flush().await;
        tail.extend(&buffer[..read]);
        tail.drain(..tail.len().saturating_sub(TAIL));
    }
    String::from_utf8_lossy(tail.make_contiguous()).into_owned()
}

/// TERM to the group, KILL to what is left of it after the grace.
async fn end(child: &mut Child, group: Option<Pid>) -> std::io::Result<ExitStatus> {
    let Some(group) = group else {
        child.start_kill()?;
        return child.wait().await;
    };
    // No such group: it ended by itself just now.
    let _ = kill_process_group(group, Signal::TERM);
    let mut status = None;
    for _ in 0..TERM_GRACE.as_millis() / 50 {
        if status.is_none() {
            status = child.try_wait()?;
        }
        if status.is_some() && test_kill_process_group(group).is_err() {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    if test_kill_process_group(group).is_ok() {
        let _ = kill_process_group(group, Signal::KILL);
    }
    match status {
        Some(status) => Ok(status),
        None => child.wait().await,
    }
}

fn describe(status: ExitStatus, tail: &str) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("the command failed with exit status {code}"),
        (None, Some(signal)) => format!("the command was killed by signal {signal}"),
        (None, None) => "the command failed".to_owned(),
    };
    // The last lines say why; what does not fit is cut in front.
    let lines: Vec<_> = tail.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut last = String::new();
    for line in lines.iter().rev() {
        let line = one_line(line, REASON);
        if !last.is_empty() && last.len() + line.len() + 3 > REASON {
            break;
        }
        last = if last.is_empty() { line } else { format!("{line} / {last}") };
    }
    if last.is_empty() { how } else { format!("{how}: {last}") }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::open::PIECE;
    use super::super::open::tests::{Fixture, fixture};
    use super::super::restricted::tests::rows;
    use super::*;

    async fn on(f: Fixture, command: &str, cancel: &CancellationToken) -> Result<(), String> {
        let exec = Exec { command: command.into(), output_to_stderr: true };
        run(&exec, &f.keys, &Arc::new(f.part), &Arc::new(f.claimed), &Enclosed::default(), cancel).await
    }

    fn out(folder: &Path) -> String {
        folder.join("out").display().to_string()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_command_reads_the_plaintext_and_knows_the_facts() {
        let plain: Vec<u8> = (0..5 * PIECE + 7).map(|i| (i % 251) as u8).collect();
        let f = fixture("a b.csv", &plain);
        let target = tempfile::tempdir().unwrap();
        let out = out(target.path());
        let check = format!(
            "cat > {out}; test \"$NIGHTSAFE_NAME\" = 'a b.csv' && test \"$NIGHTSAFE_ORG\" = harbour && \
             test $NIGHTSAFE_SIZE = {} && test \"$NIGHTSAFE_FLAGS\" = late && test $NIGHTSAFE_ATTEMPT = 2 && \
             test \"$NIGHTSAFE_RECEIVED\" = 2025-07-10T12:00:00Z && grep -q '\"rows\": 12' \"$NIGHTSAFE_MANIFEST\" && \
             echo \"$NIGHTSAFE_SHA256  {out}\" | sha256sum -c -",
            plain.len()
        );
        on(f, &check, &CancellationToken::new()).await.unwrap();
        assert_eq!(std::fs::read(out).unwrap(), plain);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_command_is_given_the_restricted_rows_in_a_file_that_goes_with_it() {
        for (list, count) in [("17\n20-24\n", 6), ("", 0)] {
            let mut f = fixture("a.csv", b"abc");
            let rows = rows(&mut f.claimed, list, count);
            let target = tempfile::tempdir().unwrap();
            let out = out(target.path());
            let command = format!(
                "cat \"$NIGHTSAFE_RESTRICTED_FILE\" > {out} && test $NIGHTSAFE_RESTRICTED = {count} && \
                 test $NIGHTSAFE_ROWS = 12 && cat > /dev/null && echo \"$NIGHTSAFE_RESTRICTED_FILE\" > {out}.path"
            );
            let exec = Exec { command, output_to_stderr: true };
            let enclosed = Enclosed { restricted: rows, proof: None };
            run(&exec, &f.keys, &Arc::new(f.part), &Arc::new(f.claimed), &enclosed, &CancellationToken::new())
                .await
                .unwrap();
            assert_eq!(std::fs::read_to_string(&out).unwrap(), list);
            let path = std::fs::read_to_string(format!("{out}.path")).unwrap();
            assert!(
                path.starts_with(&f.folder.path().display().to_string()) && !Path::new(path.trim()).exists(),
                "{path}"
            );
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_command_is_given_the_proof_that_was_verified_and_an_empty_name_without_one() {
        for proof in [Some(b"proof\n".to_vec()), None] {
            let f = fixture("a.csv", b"abc");
            let target = tempfile::tempdir().unwrap();
            let out = out(target.path());
            let command = format!(
                "cat > /dev/null; echo \"$NIGHTSAFE_PROOF_FILE\" > {out}.path; \
                 test -z \"$NIGHTSAFE_PROOF_FILE\" || cat \"$NIGHTSAFE_PROOF_FILE\" > {out}"
            );
            let exec = Exec { command, output_to_stderr: true };
            let (folder, enclosed) = (f.folder, Enclosed { proof, ..Enclosed::default() });
            run(&exec, &f.keys, &Arc::new(f.part), &Arc::new(f.claimed), &enclosed, &CancellationToken::new())
                .await
                .unwrap();
            assert_eq!(std::fs::read(&out).ok(), enclosed.proof);
            let path = std::fs::read_to_string(format!("{out}.path")).unwrap();
            let inside = path.starts_with(&folder.path().display().to_string());
            assert_eq!((inside, path.trim().is_empty()), (enclosed.proof.is_some(), enclosed.proof.is_none()));
            assert!(!inside || !Path::new(path.trim()).exists(), "it is removed after the command");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_command_that_reads_little_and_exits_0_is_fine() {
        on(fixture("a", &vec![b'x'; 40 * PIECE]), "head -c 3", &CancellationToken::new()).await.unwrap();
        on(fixture("a", &vec![b'x'; 40 * PIECE]), "exit 0", &CancellationToken::new()).await.unwrap();
        on(fixture("a", b""), "test -z \"$(cat)\"", &CancellationToken::new()).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_failing_commands_reason_carries_its_last_words() {
        let command = "cat > /dev/null; seq 1 2000 >&2; echo 'row 7: bad date' >&2; exit 3";
        let why = on(fixture("a", b"abc"), command, &CancellationToken::new()).await.unwrap_err();
        assert!(
            why.starts_with("the command failed with exit status 3: ") && why.ends_with("row 7: bad date"),
            "{why}"
        );
        assert!(why.len() < 600, "{}", why.len());
        let why = on(fixture("a", b"abc"), "kill -9 $$", &CancellationToken::new()).await.unwrap_err();
        assert!(why.contains("signal 9"), "{why}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_cancelled_command_is_ended_with_all_its_children() {
        let target = tempfile::tempdir().unwrap();
        let pids = target.path().join("pids");
        let command = format!("sleep 600 & echo $! > {0}.tmp; mv {0}.tmp {0}; wait", pids.display());
        let cancel = CancellationToken::new();
        let running = tokio::spawn({
            let cancel = cancel.clone();
            async move { on(fixture("a", b"abc"), &command, &cancel).await }
        });
        while !pids.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cancel.cancel();
        assert!(running.await.unwrap().unwrap_err().contains("ended before"));
        let pid = std::fs::read_to_string(&pids).unwrap();
        // Gone, or a zombie that nobody reaped in this container.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_else(|_| ") Z".into());
        assert!(stat.contains(") Z"), "{stat}");
    }

    #[tokio::test]
    async fn a_command_that_is_to_be_ended_never_sees_the_end_of_a_part() {
        for part in [1, 200] {
            let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
            let (sender, pieces) = mpsc::channel(AHEAD);
            let halt = CancellationToken::new();
            let feeding = tokio::spawn(feed(cat.stdin.take().unwrap(), pieces, halt.clone()));
            for _ in 0..part {
                sender.send(Ok(vec![b'x'; PIECE])).await.unwrap();
            }
            halt.cancel();
            let (stdin, fed) = feeding.await.unwrap();
            assert!(stdin.is_some() && fed.is_ok());
            assert!(cat.try_wait().unwrap().is_none(), "it waits for more");
            cat.kill().await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_command_never_sees_the_end_of_a_plaintext_that_turned_out_wrong() {
        let mut f = fixture("a", &vec![b'x'; 3 * PIECE]);
        f.claimed.manifest.sha256 = crate::types::Sha256([1; 32]);
        let target = tempfile::tempdir().unwrap();
        let out = out(target.path());
        let started = tokio::time::Instant::now();
        let why = on(f, &format!("cat > /dev/null && touch {out}"), &CancellationToken::new()).await.unwrap_err();
        assert!(why.contains("SHA-256"), "{why}");
        assert!(!Path::new(&out).exists());
        assert!(started.elapsed() < TERM_GRACE, "it was ended at once");
    }
}
