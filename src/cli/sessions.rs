//! `cloakroom sessions`: parses, calls, prints. The verbs are in `session/upkeep.rs` and `store/migrate.rs`.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use http::StatusCode;

use super::operator::{CallError, Operator};
use super::{Failed, load, print, runtime, say};
use crate::app;
use crate::clock::Timestamp;
use crate::config::{Config, Store};
use crate::session::{KeyRole, Meant, Stats, Upkeep, UpkeepError, Whose};
use crate::store::{self, Migrated, Place};

/// Exit code 0: done; 1: could not; 2: the arguments or the configuration are wrong.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Sessions {
    /// Count the sessions: by frontend, by master key, remembered ones, oldest and newest.
    Stats {
        /// For machines.
        #[arg(long)]
        json: bool,
    },
    /// Remove what has expired now, instead of within a minute.
    Purge {
        /// Also end every session that began before this time, such as 2026-10-16T09:30:00Z: after a backup was restored.
        #[arg(long, value_name = "TIME", value_parser = time)]
        before: Option<Timestamp>,
    },
    /// End sessions. Their refresh tokens are not revoked: only the browser can open them.
    End(End),
    /// Copy all sessions to another store while no replica runs. FROM and TO are store URLs, or @FILE with a URL in it.
    Migrate {
        /// The store that holds the sessions. It is left as it is.
        from: String,
        /// The store to copy them to.
        to: String,
    },
}

/// Which sessions to end.
#[derive(Debug, clap::Args)]
pub(super) struct End {
    #[command(flatten)]
    whose: Selection,
    /// At this frontend only.
    #[arg(long, value_name = "ID")]
    frontend: Option<String>,
    /// At frontends with this issuer only: the same subject elsewhere may be somebody else.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Selection {
    /// The sessions of this subject.
    #[arg(long)]
    sub: Option<String>,
    /// The sessions that belong to this session at the provider.
    #[arg(long)]
    sid: Option<String>,
    /// The one that goes by this tag in logs and in /bff/user.
    #[arg(long)]
    tag: Option<String>,
    /// All sessions.
    #[arg(long)]
    all: bool,
}

impl Selection {
    fn whose(&self) -> Whose<'_> {
        match self {
            Self { sub: Some(sub), .. } => Whose::Subject(sub),
            Self { sid: Some(sid), .. } => Whose::Sid(sid),
            Self { tag: Some(tag), .. } => Whose::Tag(tag),
            _ => Whose::Everybodys,
        }
    }
}

impl End {
    /// The same in the words of the admin listener.
    fn query(&self) -> Vec<(&str, &str)> {
        let whose = match self.whose.whose() {
            Whose::Subject(subject) => ("sub", subject),
            Whose::Sid(sid) => ("sid", sid),
            Whose::Tag(tag) => ("tag", tag),
            Whose::Everybodys => ("all", "true"),
        };
        let narrowed = [("frontend", self.frontend.as_deref()), ("issuer", self.issuer.as_deref())];
        let narrowed = narrowed.into_iter().filter_map(|(name, value)| Some((name, value?)));
        std::iter::once(whose).chain(narrowed).collect()
    }
}

pub(super) fn run(command: &Sessions, file: Option<&Path>) -> Result<(), Failed> {
    match command {
        Sessions::Stats { json } => look_after(&load(file)?, async |upkeep| {
            let stats = upkeep.stats().await?;
            print(if *json { as_json(&stats) } else { stats.to_string() });
            Ok(())
        }),
        Sessions::Purge { before } => look_after(&load(file)?, async |upkeep| {
            print(format_args!("expired rows removed: {}", upkeep.purge().await?));
            if let Some(before) = before {
                let ended = upkeep.end_older(*before).await?;
                print(format_args!("sessions from before {} ended: {ended}", before.rfc3339()));
            }
            Ok(())
        }),
        Sessions::End(which) => end(which, &load(file)?),
        Sessions::Migrate { from, to } => runtime()?.block_on(migrate(from, to)),
    }
}

/// By the server if one answers; else in the store, which tells nobody in another process if it is a file.
fn end(which: &End, config: &Config) -> Result<(), Failed> {
    if let Some(operator) = Operator::of(config) {
        match runtime()?.block_on(operator.end(&which.query())) {
            Ok(None) if config.store.is_memory() => {
                return Err(failed(format_args!("nobody listens on {operator}, and {IN_MEMORY}")));
            }
            Ok(None) => {}
            Ok(Some(ended)) => {
                print(format_args!("sessions ended: {ended} (by the server at {operator})"));
                return Ok(());
            }
            Err(error) => {
                let told = format_args!("the server at {operator} {error}");
                let is_input = matches!(&error, CallError::Refused { status: StatusCode::BAD_REQUEST, .. });
                return Err(if is_input { wrong(told) } else { failed(told) });
            }
        }
    }
    look_after(config, async |upkeep| {
        let meant = Meant { frontend: which.frontend.as_deref(), issuer: which.issuer.as_deref() };
        print(format_args!("sessions ended: {} (in the store)", upkeep.end(which.whose.whose(), meant).await?));
        Ok(())
    })
}

fn look_after(config: &Config, work: impl AsyncFnOnce(&Upkeep) -> Result<(), UpkeepError>) -> Result<(), Failed> {
    if config.store.is_memory() {
        return Err(wrong(IN_MEMORY));
    }
    runtime()?.block_on(async {
        let upkeep = app::upkeep(config).await.map_err(Failed::told)?;
        work(&upkeep).await.map_err(|error| match error {
            UpkeepError::NoFrontend(_) => wrong(error),
            UpkeepError::Store(error) => failed(format_args!("{}: {error}; run it again", config.store.shown())),
        })
    })
}

async fn migrate(from: &str, to: &str) -> Result<(), Failed> {
    let [from, to] = [from, to].map(named);
    let (from, to) = (from?, to?);
    if from.url == to.url {
        return Err(wrong("FROM and TO are the same store"));
    }
    let opened = |store: &Store, backend| match backend {
        Ok(backend) => Ok(Place { name: store.shown(), backend }),
        Err(error) => Err(failed(format_args!("{}: {error}", store.shown()))),
    };
    // First the one that must be there: a mistake makes no file.
    let from = opened(&from, store::open_existing(&from.options()).await)?;
    let to = opened(&to, store::open(&to.options()).await)?;
    let shows = io::stderr().is_terminal();
    let progress = |done: &Migrated| {
        if shows {
            // Nobody is left to tell if this cannot be printed.
            let _ = write!(io::stderr(), "\r{done}");
        }
    };
    let moved = store::migrate(&from, &to, progress).await;
    if shows {
        say("");
    }
    let done = moved.map_err(Failed::told)?;
    print(format_args!("from {} to {}: {done}", from.name, to.name));
    Ok(())
}

/// The store that an argument names. A password in an argument can be read by everybody on the machine, so a file may hold the URL.
fn named(argument: &str) -> Result<Store, Failed> {
    let url = match argument.strip_prefix('@') {
        None => argument.to_owned(),
        Some(file) => {
            let text = std::fs::read_to_string(file);
            text.map_err(|error| wrong(format_args!("{file}: {error}")))?.trim().to_owned()
        }
    };
    let store = Store::named(&url).map_err(wrong)?;
    if store.is_memory() { Err(wrong(IN_MEMORY)) } else { Ok(store) }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sessions, remembered, oldest, newest, frontends, keys, unknown_key, unreadable } = self;
        write!(f, "sessions: {sessions} ({remembered} remembered)")?;
        if let (Some(oldest), Some(newest)) = (oldest, newest) {
            write!(f, "\nbegan: {} to {}", oldest.rfc3339(), newest.rfc3339())?;
        }
        for frontend in frontends {
            write!(f, "\nfrontend {}: {} ({} remembered)", frontend.id, frontend.sessions, frontend.remembered)?;
        }
        for key in keys {
            let role = match key.role {
                KeyRole::Seals => "the first of keys.master",
                KeyRole::Opens => "another of keys.master",
                KeyRole::Missing => "not in keys.master",
            };
            write!(f, "\nkey {}: {} ({role})", key.id, key.sessions)?;
        }
        if *unknown_key > 0 {
            write!(f, "\nnot readable, the key is missing or the program older: {unknown_key}")?;
        }
        if *unreadable > 0 {
            write!(f, "\nnot readable, damaged or of a frontend that is not configured: {unreadable}")?;
        }
        Ok(())
    }
}

fn as_json(stats: &Stats) -> String {
    serde_json::to_string_pretty(stats).expect("counts are plain data")
}

fn time(text: &str) -> Result<Timestamp, String> {
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "write it as RFC 3339 has it, such as 2026-10-16T09:30:00Z".to_owned())?;
    let millis = i64::try_from(time.unix_timestamp_nanos() / 1_000_000);
    millis.map(Timestamp::from_unix_millis).map_err(|error| error.to_string())
}

fn wrong(what: impl fmt::Display) -> Failed {
    say(format_args!("cloakroom: {what}"));
    Failed::Input
}

fn failed(what: impl fmt::Display) -> Failed {
    say(format_args!("cloakroom: {what}"));
    Failed::Work
}

const IN_MEMORY: &str = "the store \"memory:\" lives in the server's process, where no command reaches it";
