//! Progress of long work, on standard error, where a person looks at it.
//!
//! Says nothing unless standard error is a terminal. Called by the commands that read much.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};

use super::outcome::say;

/// A bar that goes away with the value.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// Of things that are counted; none where `shown` is false.
    pub fn of_count(what: &str, total: u64, shown: bool) -> Self {
        Self::new(what, total, "{msg} {wide_bar} {human_pos}/{human_len} {eta}", shown)
    }

    /// Of bytes.
    pub fn of_bytes(what: &str, total: u64) -> Self {
        Self::new(
            what,
            total,
            "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
            true,
        )
    }

    /// Of work whose length is not known.
    pub fn spinner(what: &str) -> Self {
        let spinner = Self::new(what, 0, "{spinner} {msg} {elapsed}", true);
        if let Some(bar) = &spinner.0 {
            bar.enable_steady_tick(std::time::Duration::from_millis(100));
        }
        spinner
    }

    fn new(what: &str, total: u64, style: &str, shown: bool) -> Self {
        if !shown || !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::new(total);
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self(Some(bar.with_message(what.to_owned())))
    }

    /// Of work whose length is known when it has begun.
    pub fn at_of(&self, position: u64, total: u64) {
        if let Some(bar) = &self.0 {
            bar.set_length(total);
            bar.set_position(position);
        }
    }

    /// Tells of what it is at, where it is shown: it may be called from another thread, also when this is gone.
    pub fn teller(&self) -> impl Fn(&str) + Send + 'static {
        let bar = self.0.clone();
        move |text| {
            if let Some(bar) = &bar {
                bar.suspend(|| say(text));
            }
        }
    }

    pub fn at(&self, position: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(position);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
