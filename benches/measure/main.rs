//! What `scripts/bench` drives. It opens one end of a measurement, then does what it is told on standard input, a command per line,
//! and answers each with a line of JSON on standard output. Times are microseconds, unless they are called seconds.
//!
//! ```text
//! measure store URL                                   rows of a session store, and a Cloakroom over it: see `store.rs`
//! measure browsers URL PROVIDER API ALG SECONDS       people at a Cloakroom, their provider and an API: see `people.rs`
//! ```

use std::error::Error;
use std::io::{self, BufRead as _, Write as _};
use std::process::ExitCode;

use serde_json::Value;
use tokio::runtime::Runtime;

mod browser;
mod neighbours;
mod people;
mod program;
mod row;
mod samples;
mod store;

use people::People;
use store::Store;

/// Whatever goes wrong ends the measurement, so nobody tells one error from another.
type Done<T> = Result<T, Box<dyn Error + Send + Sync>>;

enum Measured {
    Store(Store),
    People(People),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["store", url] => run(async { Ok(Measured::Store(Store::open(url).await?)) }),
        ["browsers", url, provider, api, algorithm, lifetime] => {
            run(async { Ok(Measured::People(People::start([url, provider, api, algorithm, lifetime]).await?)) })
        }
        // `cargo bench` comes here too.
        _ => {
            let _ = writeln!(io::stderr(), "this program is started by scripts/bench");
            return ExitCode::SUCCESS;
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "measure {}: {error}", arguments.join(" "));
            ExitCode::FAILURE
        }
    }
}

/// Says that it is ready, then answers commands until there are no more.
fn run(opening: impl Future<Output = Done<Measured>>) -> Done<()> {
    let runtime = Runtime::new()?;
    let mut measured = runtime.block_on(opening)?;
    say(&Value::from("ready"))?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = runtime.block_on(async {
            match &mut measured {
                Measured::Store(store) => store.told(&words).await,
                Measured::People(people) => people.told(&words).await,
            }
        });
        say(&answer.map_err(|error| format!("{line}: {error}"))?)?;
    }
    Ok(())
}

fn say(answer: &Value) -> io::Result<()> {
    writeln!(io::stdout(), "{answer}")
}
