//! The command line. The only place that prints; exit code 2 means that the configuration or the arguments are wrong.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write as _};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::app::ServeError;
use crate::config::{Config, LogFormat};
use crate::store::MasterKey;
use crate::{app, telemetry};

mod operator;
mod sessions;

use sessions::Sessions;

/// An OpenID Connect backend-for-frontend: the browser holds a ticket, the tokens stay behind the counter.
#[derive(Debug, Parser)]
#[command(name = "cloakroom", version, about)]
struct Arguments {
    /// The configuration file. Without it ./cloakroom.toml is read if it exists.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (what happens without a command, too).
    Serve,
    /// Try it: a development provider, an echo API, an app and Cloakroom in one process, on this machine only.
    #[cfg(feature = "demo")]
    Demo(DemoArguments),
    /// Read the configuration; print everything that is wrong with it, or what it means and which defaults it weakens.
    Check,
    /// Print a fresh master key.
    Keygen,
    /// Look after the sessions in the store.
    #[command(subcommand)]
    Sessions(Sessions),
}

/// Ports that are taken are replaced by free ones; 0 means any.
#[cfg(feature = "demo")]
#[derive(Debug, clap::Args)]
struct DemoArguments {
    /// Port of Cloakroom.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Port of the development provider.
    #[arg(long, default_value_t = 9000)]
    provider_port: u16,
    /// Port of the echo API.
    #[arg(long, default_value_t = 9001)]
    api_port: u16,
    /// Have the provider tell of logouts by front-channel (frames in the browser) instead of back-channel.
    #[arg(long)]
    frontchannel_logout: bool,
    /// What is logged: error, warn, info, debug, trace, or target=level with commas between.
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    log_level: String,
}

/// Runs the command that `arguments` (with the program's name first) ask for.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Arguments { config, command } = match parse(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nobody is left to tell if this cannot be printed.
            let _ = error.print();
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    let file = config.as_deref();
    let done = match command.unwrap_or(Command::Serve) {
        Command::Serve => load(file).and_then(|config| serve(config, file)),
        #[cfg(feature = "demo")]
        Command::Demo(options) => demo(&options),
        Command::Check => load(file).and_then(check),
        Command::Keygen => {
            keygen();
            Ok(())
        }
        Command::Sessions(command) => sessions::run(&command, file),
    };
    done.map_or_else(ExitCode::from, |()| ExitCode::SUCCESS)
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, clap::Error> {
    let arguments = Arguments::try_parse_from(arguments)?;
    // A file that would not be read is a mistake, not a detail.
    let reads_it = match &arguments.command {
        None | Some(Command::Serve | Command::Check) => true,
        Some(Command::Sessions(command)) => !matches!(command, Sessions::Migrate { .. }),
        Some(_) => false,
    };
    if arguments.config.is_some() && !reads_it {
        let message = "--config goes with serve, check, and sessions stats, purge and end";
        return Err(Arguments::command().error(ErrorKind::ArgumentConflict, message));
    }
    Ok(arguments)
}

fn load(file: Option<&Path>) -> Result<Config, Failed> {
    Config::from_environment(file).map_err(|findings| {
        say(&findings);
        Failed::Input
    })
}

fn serve(config: Config, file: Option<&Path>) -> Result<(), Failed> {
    log(config.server.log, config.server.log_level.as_deref())?;
    let exporter = telemetry::record_metrics().map_err(Failed::told)?;
    let file = file.map(Path::to_owned);
    let again = Arc::new(move || Config::from_environment(file.as_deref()));
    runtime()?.block_on(app::serve(config, again, exporter)).map_err(|error| Failed::to_serve(&error))
}

#[cfg(feature = "demo")]
fn demo(arguments: &DemoArguments) -> Result<(), Failed> {
    use crate::demo::{Demo, DemoOptions};

    log(LogFormat::Text, Some(&arguments.log_level))?;
    let DemoArguments { port, provider_port, api_port, frontchannel_logout, .. } = *arguments;
    let options = DemoOptions { port, provider_port, api_port, frontchannel_logout, ..DemoOptions::default() };
    runtime()?.block_on(async {
        let demo = Demo::start(options).await.map_err(Failed::told)?;
        print(demo.banner());
        let serve = async |config, listener| app::serve_on(config, listener, app::until_told()).await;
        demo.serve(serve).await.map_err(|error| Failed::to_serve(&error))
    })
}

/// Also puts everything together but the store, which may be another's: what `serve` would stumble over is told here.
fn check(config: Config) -> Result<(), Failed> {
    let summary = config.summary().to_string();
    runtime()?.block_on(app::rehearse(config)).map_err(|error| Failed::to_serve(&error))?;
    print("configuration is fine\n");
    print(summary);
    Ok(())
}

/// The key alone is on standard output, so that `cloakroom keygen > key` is all there is to it.
fn keygen() {
    print(MasterKey::generate().to_base64url().expose());
    say("keep it secret: CLOAKROOM_KEY, or a file named by CLOAKROOM_KEY_FILE that only cloakroom can read");
}

fn log(format: LogFormat, level: Option<&str>) -> Result<(), Failed> {
    telemetry::init(format, level).map_err(|error| {
        say(error_chain(&error));
        Failed::Input
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, Failed> {
    // Workers that have one core between them only hand tasks to each other.
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut builder = match cores {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.enable_all().build().map_err(Failed::told)
}

/// Why the exit code is not 0. The reason has been told.
enum Failed {
    /// Arguments or configuration: 2.
    Input,
    /// Everything else: 1.
    Work,
}

impl Failed {
    fn to_serve(error: &ServeError) -> Self {
        say(format_args!("cloakroom: {}", error_chain(error)));
        if error.is_misconfiguration() { Self::Input } else { Self::Work }
    }

    fn told(error: impl std::error::Error) -> Self {
        say(format_args!("cloakroom: {}", error_chain(&error)));
        Self::Work
    }
}

impl From<Failed> for ExitCode {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Input => Self::from(2),
            Failed::Work => Self::FAILURE,
        }
    }
}

/// An error and its causes. Some errors end with their cause already.
fn error_chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source()).map(ToString::to_string);
    causes.fold(error.to_string(), |text, cause| if text.ends_with(&cause) { text } else { format!("{text}: {cause}") })
}

/// A line on standard output. A reader that has gone away is no reason to fail.
fn print(text: impl Display) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// A line on standard error.
fn say(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Arguments {
        parse(["cloakroom"].iter().chain(arguments).map(Into::into)).unwrap()
    }

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn without_a_command_it_serves() {
        assert!(parsed(&[]).command.is_none());
        assert!(parsed(&["--config", "a.toml"]).config.is_some());
    }

    #[test]
    fn the_file_may_be_named_before_or_after_the_command() {
        assert_eq!(parsed(&["--config", "a.toml", "check"]).config, parsed(&["check", "--config", "a.toml"]).config);
    }

    #[test]
    fn wrong_arguments_exit_with_2() {
        for arguments in [
            &["cloakroom", "dance"][..],
            &["cloakroom", "keygen", "--config", "a.toml"],
            &["cloakroom", "sessions", "migrate", "sqlite:a", "sqlite:b", "--config", "a.toml"],
        ] {
            let exit = run(arguments.iter().map(Into::into));
            assert_eq!(format!("{exit:?}"), format!("{:?}", ExitCode::from(2)), "{arguments:?}");
        }
    }
}
