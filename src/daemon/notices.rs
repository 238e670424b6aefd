//! Notices to systemd (sd_notify(3)): ready, stopping, watchdog. Without systemd they go nowhere.

use std::net::SocketAddr;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::ledger::{Filter, Ledger};

pub fn ready(addresses: &[SocketAddr]) {
    let list: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    send(&[NotifyState::Ready, NotifyState::Status(&format!("listening on {}", list.join(", ")))]);
}

pub fn stopping() {
    send(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// Tells the watchdog that all is well, at half its interval, after a question to the ledger was answered: a daemon
/// whose ledger hangs is not alive.
pub async fn watchdog(ledger: Ledger, quit: CancellationToken) -> anyhow::Result<()> {
    let Some(interval) = sd_notify::watchdog_enabled() else {
        quit.cancelled().await;
        return Ok(());
    };
    let mut tick = tokio::time::interval(interval / 2);
    let newest = Filter { limit: Some(1), ..Filter::default() };
    loop {
        tokio::select! {
            () = quit.cancelled() => return Ok(()),
            _ = tick.tick() => match ledger.events(&newest).await {
                Ok(_) => send(&[NotifyState::Watchdog]),
                Err(error) => tracing::error!(reason = %error, "the ledger does not answer: the watchdog is not told"),
            },
        }
    }
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(reason = %error, "systemd could not be notified");
    }
}
