//! `nightsafe serve`: the gateway, until SIGTERM or Ctrl-C. A second one cuts the drain short, a third ends it on the spot.

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::{config, daemon};

#[derive(clap::Args)]
pub struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/nightsafe/nightsafe.toml")]
    config: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config).map_err(daemon::InvalidConfig)?;
    super::logging::start(&config.log)?;
    drop(config);
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
        daemon::run(args.config.clone(), ready, stop, hurry).await
    })?;
    Ok(ExitCode::SUCCESS)
}
