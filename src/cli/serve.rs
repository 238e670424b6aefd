//! `nightsafe serve`: the gateway, until SIGTERM or Ctrl-C. A second one cuts the drain short, a third ends it on the spot.

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
    super::no_core_dumps();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let (ready, _) = oneshot::channel();
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let hurry = CancellationToken::new();
        let asked = [stop.clone(), hurry.clone()];
        tokio::spawn(async move {
            for token in asked {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                token.cancel();
            }
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            // As if killed: the next start clears up.
            std::process::exit(3);
        });
        daemon::run(args.config.path.clone(), ready, stop, hurry).await
    })?;
    Ok(ExitCode::SUCCESS)
}
