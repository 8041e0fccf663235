//! [`Request`]: one command or one script, about one key.

use std::sync::LazyLock;

use redis::{Cmd, ToRedisArgs, cmd};

/// What is asked of the server that holds a key.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) key: String,
    /// Whether replicas must confirm it, if the store was told so.
    pub(super) writes: bool,
    verb: Verb,
    arguments: Vec<Vec<u8>>,
}

#[derive(Clone, Copy)]
enum Verb {
    Command(&'static str),
    Script(&'static Script),
}

impl Request {
    /// A command that only reads. Its first argument is the key.
    pub(super) fn read(command: &'static str, key: String) -> Self {
        Self { key, writes: false, verb: Verb::Command(command), arguments: Vec::new() }
    }

    /// A command that writes. Its first argument is the key.
    pub(super) fn write(command: &'static str, key: String) -> Self {
        Self { writes: true, ..Self::read(command, key) }
    }

    /// A script on one key.
    pub(super) fn script(script: &'static Script, key: String) -> Self {
        Self { key, writes: script.writes, verb: Verb::Script(script), arguments: Vec::new() }
    }

    pub(super) fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        argument.write_redis_args(&mut self.arguments);
        self
    }

    /// What goes over the wire. A script goes by its name, which a server that was restarted may not know any more.
    pub(super) fn command(&self) -> Cmd {
        match self.verb {
            Verb::Command(name) => self.with_arguments(cmd(name).arg(&self.key)),
            Verb::Script(script) => self.with_arguments(cmd("EVALSHA").arg(&*script.sha).arg(1).arg(&self.key)),
        }
    }

    /// The same with the whole script, for a server that does not know it; it then does.
    pub(super) fn whole_command(&self) -> Cmd {
        match self.verb {
            Verb::Command(_) => self.command(),
            Verb::Script(script) => self.with_arguments(cmd("EVAL").arg(script.code).arg(1).arg(&self.key)),
        }
    }

    fn with_arguments(&self, command: &mut Cmd) -> Cmd {
        for argument in &self.arguments {
            command.arg(argument);
        }
        command.clone()
    }
}

/// A Lua script; Redis runs it whole, and nothing else meanwhile.
pub(super) struct Script {
    code: &'static str,
    sha: LazyLock<String>,
    writes: bool,
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $file:literal, writes: $writes:literal;)*) => {
        $($(#[$doc])* pub(super) static $name: Script = Script {
            code: include_str!(concat!("lua/", $file)),
            sha: LazyLock::new(|| redis::Script::new(include_str!(concat!("lua/", $file))).get_hash().to_owned()),
            writes: $writes,
        };)*
    };
}

scripts! {
    READ = "read.lua", writes: false;
    INSERT = "insert.lua", writes: true;
    TOUCH = "touch.lua", writes: true;
    REMOVE = "remove.lua", writes: true;
    RETIRE = "retire.lua", writes: true;
    SWAP = "swap.lua", writes: true;
    TAKE_LEASE = "take_lease.lua", writes: true;
    RENEW_LEASE = "renew_lease.lua", writes: true;
    RELEASE_LEASE = "release_lease.lua", writes: true;
    INDEX = "index.lua", writes: true;
    BURY = "bury.lua", writes: true;
}
