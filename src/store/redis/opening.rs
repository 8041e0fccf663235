//! What is looked at before a server is trusted with sessions.

use futures_util::future::try_join_all;
use redis::{Cmd, Value, cmd};

use super::Store;
use super::failure::{Done, Failure, read};
use super::lines::Lines;

impl Store {
    /// Whether each server answers and keeps what it is given. A server that evicts logs people out when its memory is full, and may
    /// take a tombstone or a lease too.
    pub(super) async fn examine(&self) -> Done<()> {
        for lines in self.servers.primaries().await? {
            lines.ask_server(&cmd("PING")).await?;
            match policy(&lines).await? {
                Some(policy) if policy == "noeviction" => {}
                Some(_) => return Err(Failure::Unsuitable(EVICTS.to_owned())),
                None => tracing::warn!(
                    "Redis does not say whether it evicts rows; see that its maxmemory-policy is noeviction"
                ),
            }
        }
        Ok(())
    }

    pub(super) async fn ping(&self) -> Done<()> {
        let servers = self.servers.primaries().await?;
        let ping = cmd("PING");
        try_join_all(servers.iter().map(|lines| lines.ask_server(&ping))).await.map(drop)
    }
}

/// The server's `maxmemory-policy`, if this user may ask for it in one way or the other.
async fn policy(lines: &Lines) -> Done<Option<String>> {
    if let Some(answer) = permitted(lines, cmd("CONFIG").arg("GET").arg("maxmemory-policy")).await? {
        let pair: Vec<String> = read(answer)?;
        if let Some(policy) = pair.into_iter().nth(1) {
            return Ok(Some(policy));
        }
    }
    let Some(answer) = permitted(lines, cmd("INFO").arg("memory")).await? else { return Ok(None) };
    let info: String = read(answer)?;
    Ok(info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).map(|policy| policy.trim().to_owned()))
}

/// Nothing if the server refuses: hosted ones have no `CONFIG`, and a user may be kept from both.
async fn permitted(lines: &Lines, command: &Cmd) -> Done<Option<Value>> {
    match lines.ask_server(command).await {
        Ok((answer, _)) => Ok(Some(answer)),
        Err(Failure::Refused { .. }) => Ok(None),
        Err(failure) => Err(failure),
    }
}

const EVICTS: &str = "Redis evicts rows when its memory is full, which logs people out; set maxmemory-policy to noeviction, \
    and give it a server of its own if others need eviction";
