//! Log lines, text for people or JSON for machines, on standard error; and the recorder of metrics. The library installs neither a
//! subscriber nor a recorder; the program does, here.

use std::io::{self, IsTerminal as _};

use metrics_exporter_prometheus::PrometheusBuilder;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::LogFormat;

/// Why there are no log lines or metrics.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `level` is not in the form of `server.log_level`.
    #[error("the log level is not understood")]
    Level(#[source] tracing_subscriber::filter::ParseError),
    /// This process has a subscriber already.
    #[error("log lines go elsewhere already")]
    Installed(#[source] tracing_subscriber::util::TryInitError),
    /// This process has a recorder already.
    #[error("metrics go elsewhere already")]
    Recorder(#[source] metrics_exporter_prometheus::BuildError),
}

/// Installs the subscriber. `level` is laid over the default: `debug`, or `target=level` with commas between.
///
/// # Errors
/// `Level` before anything is installed; `Installed` on a second call.
pub fn init(format: LogFormat, level: Option<&str>) -> Result<(), Error> {
    let lines = tracing_subscriber::fmt().with_env_filter(filter(level)?).with_writer(io::stderr);
    let installed = match format {
        LogFormat::Text => lines.with_target(false).with_ansi(io::stderr().is_terminal()).finish().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).finish().try_init(),
    };
    installed.map_err(Error::Installed)
}

/// Installs the recorder, and answers what writes out what it holds, in the Prometheus text format. Nothing here is a histogram, so
/// no upkeep is needed between scrapes.
///
/// # Errors
/// `Recorder` on a second call.
pub fn record_metrics() -> Result<impl Fn() -> String + Send + Sync, Error> {
    let handle = PrometheusBuilder::new().install_recorder().map_err(Error::Recorder)?;
    Ok(move || handle.render())
}

fn filter(level: Option<&str>) -> Result<EnvFilter, Error> {
    let directives = level.map_or_else(|| DEFAULT.to_owned(), |level| format!("{DEFAULT},{level}"));
    EnvFilter::builder().parse(directives).map_err(Error::Level)
}

/// What others log below these levels is either noise or, in the case of sessions and HTTP, more than a log should hold.
const DEFAULT: &str = "info,tower_sessions=error,tower_sessions_core=error,hyper=warn,hyper_util=warn,h2=warn,rustls=warn,\
                       reqwest=warn,sqlx=warn";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_laid_over_the_default() {
        let filter = filter(Some("cloakroom=debug,warn")).unwrap().to_string();
        for directive in ["cloakroom=debug", "warn", "hyper=warn", "tower_sessions=error"] {
            assert!(filter.split(',').any(|known| known == directive), "{directive} in {filter}");
        }
        assert!(!filter.split(',').any(|known| known == "info"), "{filter}");
    }
}
