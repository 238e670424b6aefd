//! `nightsafe quickstart`: a working gateway on this machine in one command, and with `--once` the whole round.
//!
//! Must never keep the age identity where the gateway's files are, nor touch a folder that it did not make. Called by `cli`.

mod folder;
mod round;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{logging, outcome, output};
use crate::{config, daemon};
use folder::{Folder, FolderError, shell};

const FIRST_PORT: u16 = 2222;
/// Ports that are tried from there on.
const PORTS: u16 = 200;
/// Between finding a free port and listening on it another program may take it.
const TRIES: usize = 5;
/// What the gateway gets to end; its own drain is shorter.
const STOPPING: Duration = Duration::from_secs(90);

#[derive(clap::Args)]
pub struct Args {
    /// Where everything goes: a folder that is empty, absent, or from an earlier quickstart
    #[arg(long, value_name = "DIR", default_value = "nightsafe-quickstart")]
    dir: PathBuf,
    /// Put a sample extract, read its receipt, have a broken one refused, load the good one back, compare, and exit
    #[arg(long)]
    once: bool,
}

/// Serves until Ctrl-C, or does the round and exits.
///
/// # Errors
/// What failed, and where; the exit status is then 3.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let folder = match Folder::prepare(&args.dir) {
        Ok(folder) => folder,
        Err(error @ FolderError::NotOurs(_)) => {
            outcome::say(&format!("nightsafe: {error}"));
            return Ok(ExitCode::from(2));
        }
        Err(FolderError::Failed(error)) => return Err(error),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(&folder, args.once))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(folder: &Folder, once: bool) -> anyhow::Result<()> {
    folder.unlocked()?;
    let mut wanted = folder.port()?;
    let mut logging = false;
    for _ in 0..TRIES {
        let port = free_port(wanted)?;
        folder.set_port(port)?;
        if !logging {
            let config = config::load(&folder.config()).map_err(daemon::InvalidConfig)?;
            logging::start(&config.log)?;
            logging = true;
        }
        let stop = CancellationToken::new();
        let (ready, listening) = oneshot::channel();
        let hurry = CancellationToken::new();
        let mut gateway = pin!(daemon::run(folder.config(), ready, stop.clone(), hurry.clone()));
        let addresses = tokio::select! {
            ended = &mut gateway => match ended {
                // Taken since we looked: the next one, then.
                Err(_) if !is_free(port) => {
                    wanted = port.saturating_add(1);
                    continue;
                }
                Err(error) => return Err(error.context("the gateway did not start")),
                Ok(()) => bail!("the gateway ended at once"),
            },
            addresses = listening => addresses.context("the gateway did not say where it listens")?,
        };
        let address =
            *addresses.first().ok_or_else(|| anyhow!("the gateway listens nowhere: {}", folder.config().display()))?;
        folder.write_known_hosts(address)?;

        let work = async {
            if once {
                return round::run(folder, address).await;
            }
            output::line(advice(folder, address)?)?;
            interrupted().await
        };
        let done = tokio::select! {
            ended = &mut gateway => Err(match ended {
                Ok(()) => anyhow!("the gateway ended by itself"),
                Err(error) => error.context("the gateway failed"),
            })?,
            done = work => done,
        };
        stop.cancel();
        let stopped = tokio::select! {
            stopped = tokio::time::timeout(STOPPING, &mut gateway) => stopped,
            again = interrupted() => {
                again?;
                hurry.cancel();
                tokio::time::timeout(STOPPING, gateway).await
            }
        };
        done?;
        stopped.context("the gateway did not stop")?.context("the gateway did not stop cleanly")?;
        if once {
            round::last_step();
        }
        return Ok(());
    }
    bail!("ports from {FIRST_PORT} on are taken as fast as they are found free: try again")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// `wanted`, or the next free port after it.
fn free_port(wanted: u16) -> anyhow::Result<u16> {
    let found = (wanted..=wanted.saturating_add(PORTS)).find(|&port| is_free(port));
    found.with_context(|| format!("no port from {wanted} on is free on 127.0.0.1"))
}

async fn interrupted() -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    output::line("\nStopping.")?;
    Ok(())
}

/// What to try, to be pasted as it stands.
fn advice(folder: &Folder, address: SocketAddr) -> anyhow::Result<String> {
    let program = std::env::current_exe().context("cannot find this program's own path")?;
    let (host, port) = (address.ip(), address.port());
    let known_hosts = folder.known_hosts();
    // ssh splits the option's value at spaces, unless it is quoted once more.
    let option = shell(&format!("UserKnownHostsFile=\"{}\"", known_hosts.display()));
    let sftp = format!(
        "sftp -i {} -P {port} -o IdentitiesOnly=yes -o {option} demo-provider@{host}",
        shell(&folder.provider_key().display().to_string())
    );
    let load = format!(
        "{} load --gateway ssh://demo-loader@{address} --key {} --known-hosts {} --identity {} --work {} --into {} --once",
        shell(&program.display().to_string()),
        shell(&folder.loader_key().display().to_string()),
        shell(&known_hosts.display().to_string()),
        shell(&folder.identity().display().to_string()),
        shell(&folder.work().display().to_string()),
        shell(&folder.loaded().display().to_string()),
    );
    Ok(format!(
        "A gateway listens on {address}. Its files are in {}; QUICKSTART.txt there says which is whose.\n\n\
         In another terminal, as the provider:\n\n  {sftp}\n\n\
         and there (the second file is broken, and refused with the reasons):\n\n\
         \x20 get /help.txt\n  put \"{}\" /{}/\n  put \"{}\" /{}/{}\n  ls -l /receipts\n  get /receipts/*.txt\n\n\
         As the data team, load it back:\n\n  {load}\n\n\
         Ctrl-C ends the gateway.",
        folder.root().display(),
        folder.sample().display(),
        folder::DATASET,
        folder.broken().display(),
        folder::DATASET,
        folder::SAMPLE,
    ))
}
