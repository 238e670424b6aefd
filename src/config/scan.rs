//! `[scan]`: where clamd listens, and what it can do.
//!
//! Reads; whether clamd answers is for `nightsafe check` and the daemon. Called by [`super::server`].

use std::path::Path;
use std::time::Duration;

use toml::de::DeValue;

use super::model::{ClamdAddress, ScanSettings};
use super::section::{Section, Wrong};
use super::server::path;
use super::value::{duration, size, text};

/// What clamd scans whole unless its own configuration says more (clamd.conf(5), StreamMaxLength).
const MAX_SIZE: u64 = 25 << 20;
/// clamd itself cannot scan more than 2 GiB (clamd.conf(5), MaxFileSize); some builds take 4.
const LARGEST: u64 = 4 << 30;
const TIMEOUT: Duration = Duration::from_secs(120);

/// None when the table says no address.
pub(super) fn read(mut section: Section<'_>, base: &Path) -> Option<ScanSettings> {
    let example = "clamd = \"/run/clamav/clamd.ctl\"";
    if !section.is_there() {
        return None;
    }
    let clamd = section.required("clamd", example, |value| address(value, base));
    let max_size = section.or("max_size", MAX_SIZE, size(1..=LARGEST));
    let timeout = section.or("timeout", TIMEOUT, duration(Duration::from_secs(1)..=Duration::from_secs(3600)));
    if let Some(at) = &clamd
        && let ClamdAddress::Tcp(address) = at.value
        && !address.ip().is_loopback()
    {
        section.warning(
            Some(at.span.clone()),
            format!("clamd at {address} is on another machine: extracts would cross the network unencrypted"),
            "run clamd on this machine, or take care of the way there yourself",
        );
    }
    section.finish();
    Some(ScanSettings { clamd: clamd?.value, max_size, timeout })
}

fn address(value: &DeValue<'_>, base: &Path) -> Result<ClamdAddress, Wrong> {
    let help = "write a socket's path such as \"/run/clamav/clamd.ctl\", or an address and a port: \"127.0.0.1:3310\"";
    let text = text(value)?;
    if text.starts_with(['/', '.']) {
        return path(value, base).map(ClamdAddress::Path);
    }
    match text.parse() {
        Ok(address) => Ok(ClamdAddress::Tcp(address)),
        Err(_) if text.contains('/') => path(value, base).map(ClamdAddress::Path),
        Err(_) => Err(Wrong::new(format!("{text:?} is not where a scanner listens"), help)),
    }
}
