//! How much memory each replica has, from its start to its end.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// Samples of resident memory by process id.
pub(super) struct Memory {
    warm_up: Duration,
    processes: BTreeMap<u32, Samples>,
}

struct Samples {
    since: Instant,
    /// In KiB: at the end of the warm-up, the largest and the last since.
    warm: Option<u64>,
    largest: u64,
    last: u64,
}

impl Memory {
    pub(super) fn new(warm_up: Duration) -> Self {
        Self { warm_up, processes: BTreeMap::new() }
    }

    /// One sample of a process; none if it is gone.
    pub(super) fn sample(&mut self, id: u32) {
        let Some(now) = resident(id) else { return };
        let started = Samples { since: Instant::now(), warm: None, largest: 0, last: 0 };
        let samples = self.processes.entry(id).or_insert(started);
        samples.last = now;
        if samples.since.elapsed() >= self.warm_up {
            samples.warm.get_or_insert(now);
            samples.largest = samples.largest.max(now);
        }
    }

    /// # Panics
    /// If a process has grown by more than `bound` KiB since it was warm, or none ever was.
    pub(super) fn assert_flat(&self, bound: u64) {
        let grown: Vec<_> = self.processes.values().filter_map(Samples::growth).collect();
        assert!(!grown.is_empty(), "no replica lived long enough to say anything");
        assert!(grown.iter().all(|growth| *growth <= bound), "grown by more than {bound} KiB: {grown:?}\n{self}");
    }
}

impl Samples {
    fn growth(&self) -> Option<u64> {
        self.warm.map(|warm| self.last.saturating_sub(warm))
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "replica, KiB resident      warm   largest      last")?;
        for (id, samples) in &self.processes {
            let warm = samples.warm.map_or_else(|| "-".to_owned(), |warm| warm.to_string());
            writeln!(f, "{id:<20}{warm:>11}{:>10}{:>10}", samples.largest, samples.last)?;
        }
        Ok(())
    }
}

/// `VmRSS`, in KiB; none if the process is gone.
pub(crate) fn resident(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
