//! The daemon's logs: text for a terminal or the journal, JSON lines for a collector; always on standard error.
//!
//! Decides the form only, never what is logged: docs/LOGGING.md lists the fields, and what may never be one. Called by
//! commands that run long (`serve`, `load`, `quickstart`), once, before anything logs.

use std::fmt;
use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;

use anyhow::Context;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{self, FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogFormat, LogSettings};
use crate::types::Clock;

/// Who reads standard error, as far as it changes the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    Terminal,
    /// The journal stamps the time itself, and takes a line's priority from a `<N>` in front (sd-daemon(3)).
    Journal,
    Other,
}

/// Logs as `settings` say, from now on, for the whole process.
///
/// # Errors
/// When the level is no filter, or logging was started before.
pub fn start(settings: &LogSettings) -> anyhow::Result<()> {
    let reader = Reader::of_standard_error();
    subscriber(settings, reader, Clock::system(), std::io::stderr)?
        .try_init()
        .context("the log cannot be started: something in this process started one before")
}

impl Reader {
    pub fn of_standard_error() -> Self {
        if std::io::stderr().is_terminal() {
            return Self::Terminal;
        }
        if journal_reads() { Self::Journal } else { Self::Other }
    }
}

/// `$JOURNAL_STREAM` is inherited by children whose output goes elsewhere, so it must name the very stream that
/// standard error is (systemd.exec(5)).
fn journal_reads() -> bool {
    let Some((device, inode)) = std::env::var("JOURNAL_STREAM").ok().and_then(|stream| {
        let (device, inode) = stream.split_once(':')?;
        Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?))
    }) else {
        return false;
    };
    let Ok(own) = std::fs::metadata("/dev/stderr").or_else(|_| std::fs::metadata("/proc/self/fd/2")) else {
        return false;
    };
    (own.dev(), own.ino()) == (device, inode)
}

/// The subscriber that [`start`] installs, over any writer and clock.
fn subscriber<W>(
    settings: &LogSettings,
    reader: Reader,
    clock: Clock,
    writer: W,
) -> anyhow::Result<Box<dyn Subscriber + Send + Sync>>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(&settings.level)?)
        .with_writer(writer)
        .with_ansi(reader == Reader::Terminal);
    let time = Stamp(clock);
    Ok(match (settings.format, reader) {
        (LogFormat::Json, _) => Box::new(builder.json().with_timer(time).flatten_event(true).finish()),
        (LogFormat::Text, Reader::Journal) => {
            let line = format::format().without_time().with_level(false).with_ansi(false);
            Box::new(builder.event_format(Prioritised(line)).finish())
        }
        (LogFormat::Text, _) => Box::new(builder.with_timer(time).finish()),
    })
}

/// russh quotes its peer at `warn` and tells of keys at `debug`, so it stays at `error` unless it is named.
fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    let quiet = matches!(level.trim().to_ascii_lowercase().as_str(), "off" | "error");
    let directives = if quiet || level.contains("russh") { level.to_owned() } else { format!("{level},russh=error") };
    EnvFilter::try_new(directives).with_context(|| {
        format!("log.level {level:?} is no filter: use error, warn, info, debug or trace, or such as \"nightsafe::ssh=debug,info\"")
    })
}

/// Time from the one clock, RFC 3339 in UTC.
struct Stamp(Clock);

impl FormatTime for Stamp {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{:.6}", self.0.now())
    }
}

/// Puts the journal's priority in front of each line.
struct Prioritised<F>(F);

impl<S, N, F> FormatEvent<S, N> for Prioritised<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut w: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(w, "<{priority}>")?;
        self.0.format_event(ctx, w, event)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: &str, reader: Reader, log: impl FnOnce()) -> String {
        let (kept, clock) = (Kept::default(), Clock::fixed("2026-03-01T02:03:04.5Z".parse().unwrap()));
        let writer = kept.clone();
        let settings = LogSettings { format, level: level.into() };
        let subscriber = subscriber(&settings, reader, clock, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_lines_have_dotted_fields_at_the_top() {
        let text = logged(LogFormat::Json, "info", Reader::Other, || {
            tracing::info!(listener.address = "127.0.0.1:2222", size_bytes = 7_u64, "listening");
        });
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "listening");
        assert_eq!(line["listener.address"], "127.0.0.1:2222");
        assert_eq!(line["size_bytes"], 7);
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["timestamp"], "2026-03-01T02:03:04.500000Z");
    }

    #[test]
    fn the_journal_gets_a_priority_and_no_time() {
        let text = logged(LogFormat::Text, "info", Reader::Journal, || tracing::warn!(account = "a", "refused"));
        assert!(text.starts_with("<4>"), "{text:?}");
        assert!(text.contains("refused") && !text.contains("2026"), "{text:?}");
    }

    #[test]
    fn a_file_gets_time_and_level_without_colour() {
        let text = logged(LogFormat::Text, "info", Reader::Other, || tracing::info!("ready"));
        assert!(text.starts_with("2026-03-01T02:03:04.500000Z  INFO"), "{text:?}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn russh_is_kept_to_errors_unless_it_is_named() {
        let log = || {
            tracing::warn!(target: "russh::server", "quoted");
            tracing::error!(target: "russh::server", "broken");
        };
        for level in ["warn", "info", "debug", "trace", "nightsafe::ssh=debug,info"] {
            let text = logged(LogFormat::Text, level, Reader::Other, log);
            assert!(!text.contains("quoted") && text.contains("broken"), "{level}: {text}");
        }
        assert!(logged(LogFormat::Text, "russh=info,warn", Reader::Other, log).contains("quoted"));
        assert!(!logged(LogFormat::Text, "off", Reader::Other, log).contains("broken"));
    }

    #[test]
    fn a_level_that_is_no_filter_is_named_in_the_error() {
        assert!(filter("nightsafe=loud").unwrap_err().to_string().contains("nightsafe=loud"));
    }
}
