//! `nightsafe serve`: the gateway, until SIGTERM or Ctrl-C.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::config_file::ConfigFile;
use super::logging;
use crate::daemon;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    logging::start(&args.config.load()?.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let (ready, _) = oneshot::channel();
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let asked = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            asked.cancel();
        });
        daemon::run(args.config.path.clone(), ready, stop).await
    })?;
    Ok(ExitCode::SUCCESS)
}
