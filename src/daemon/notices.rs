//! Notices to systemd (sd_notify(3)): ready, stopping, watchdog. Without systemd they go nowhere.

use std::net::SocketAddr;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::ledger::Ledger;

pub fn ready(addresses: &[SocketAddr]) {
    let list: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    send(&[NotifyState::Ready, NotifyState::Status(&format!("listening on {}", list.join(", ")))]);
}

pub fn stopping() {
    send(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// Tells the watchdog that all is well, at half its interval, after the ledger's writer answered: a daemon whose ledger
/// hangs is not alive. One that answers with an error (a full disk, say) is: to start it again would mend nothing.
pub async fn watchdog(ledger: Ledger, quit: CancellationToken) -> anyhow::Result<()> {
    let Some(interval) = sd_notify::watchdog_enabled() else {
        quit.cancelled().await;
        return Ok(());
    };
    let mut tick = tokio::time::interval(interval / 2);
    loop {
        tokio::select! {
            () = quit.cancelled() => return Ok(()),
            _ = tick.tick() => {
                if let Err(error) = ledger.answers().await {
                    tracing::warn!(reason = %error, "the ledger answers with an error");
                }
                send(&[NotifyState::Watchdog]);
            }
        }
    }
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(reason = %error, "systemd could not be notified");
    }
}
