//! A child process whose lines are read as they come, and which ends with its owner.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::eventually;

/// A running program and every line it has said so far.
pub(crate) struct Process {
    child: Child,
    readers: Vec<JoinHandle<()>>,
    lines: Lines,
}

impl Process {
    /// # Panics
    /// If the program cannot be started: what a test needs and does not find fails it.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let lines = Lines::default();
        let stdout = read(child.stdout.take().expect("stdout is piped"), lines.clone());
        let stderr = read(child.stderr.take().expect("stderr is piped"), lines.clone());
        Self { child, readers: vec![stdout, stderr], lines }
    }

    /// SIGTERM, as a service manager sends it.
    pub(crate) fn terminate(&self) {
        signal("TERM", self.id());
    }

    /// SIGKILL: it can do nothing more.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.ended().await;
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the process has ended and every line is read.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let status = eventually("the process ends", || child.try_wait().expect("the child can be asked")).await;
        for reader in self.readers.drain(..) {
            reader.join().expect("the reader ends");
        }
        status
    }

    /// Whether it has ended by itself.
    pub(crate) fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("the child can be asked").is_some()
    }

    pub(crate) fn lines(&self) -> &Lines {
        &self.lines
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error here means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines of both outputs, in the order they arrived.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn push(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// Sends a signal by its name without `SIG`.
pub(crate) fn signal(name: &str, id: u32) {
    let sent = Command::new("sh").args(["-c", "kill -\"$0\" \"$1\"", name, &id.to_string()]).status().expect("sh runs");
    assert!(sent.success(), "SIG{name} reaches {id}");
}

fn read(pipe: impl Read + Send + 'static, into: Lines) -> JoinHandle<()> {
    std::thread::spawn(move || BufReader::new(pipe).lines().map_while(Result::ok).for_each(|line| into.push(line)))
}
