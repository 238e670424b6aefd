//! `nightsafe serve`: the gateway, until SIGTERM or Ctrl-C.

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
        daemon::run(args.config.clone(), ready, stop).await
    })?;
    Ok(ExitCode::SUCCESS)
}
