//! Stateless search: a run is a list of choices, and every list is run once.
//!
//! A run starts anew each time, follows the choices of its prefix, and takes the first option beyond it. A state that was seen
//! before ends the run: what can follow it is or will be explored from where it was first seen.

use std::collections::HashSet;
use std::fmt;

/// The choices of one run after the other, depth first.
#[derive(Default)]
pub(super) struct Explorer {
    prefix: Vec<usize>,
    taken: Vec<Choice>,
    seen: HashSet<u64>,
    stats: Stats,
}

#[derive(Clone, Copy)]
struct Choice {
    option: usize,
    of: usize,
}

/// How much was explored.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stats {
    /// Runs, those that came to a state that was seen before included.
    pub(super) runs: usize,
    /// Runs to the end.
    pub(super) ends: usize,
    /// Different states at which something could be chosen.
    pub(super) states: usize,
}

/// The run came to a state that was seen before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen;

impl Explorer {
    /// Picks one of `options` at a state, which `state` is the digest of.
    pub(super) fn choose(&mut self, options: usize, state: u64) -> Result<usize, Seen> {
        assert!(options > 0, "a choice without options");
        let beyond = self.taken.len() >= self.prefix.len();
        if beyond && !self.seen.insert(state) {
            return Err(Seen);
        }
        if options == 1 {
            return Ok(0);
        }
        let option = self.prefix.get(self.taken.len()).copied().unwrap_or(0);
        assert!(option < options, "a run is not deterministic: option {option} of {options}");
        self.taken.push(Choice { option, of: options });
        Ok(option)
    }

    /// Ends a run and prepares the next. Whether there is one.
    pub(super) fn advance(&mut self, to_the_end: bool) -> bool {
        self.stats.runs += 1;
        self.stats.ends += usize::from(to_the_end);
        while self.taken.last().is_some_and(|last| last.option + 1 == last.of) {
            self.taken.pop();
        }
        self.prefix = self.choices();
        self.taken.clear();
        self.prefix.last_mut().map(|last| *last += 1).is_some()
    }

    /// The choices of the run so far.
    pub(super) fn choices(&self) -> Vec<usize> {
        self.taken.iter().map(|choice| choice.option).collect()
    }

    pub(super) fn stats(&self) -> Stats {
        Stats { states: self.seen.len(), ..self.stats }
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} runs, {} to the end, {} states", self.runs, self.ends, self.states)
    }
}

#[test]
fn every_list_of_choices_is_run_once() {
    let mut explorer = Explorer::default();
    let mut runs = Vec::new();
    loop {
        let mut state = 1;
        for _ in 0..3 {
            state = state * 10 + explorer.choose(2, state).unwrap() as u64;
        }
        runs.push(state);
        if !explorer.advance(true) {
            break;
        }
    }
    assert_eq!(runs, [1000, 1001, 1010, 1011, 1100, 1101, 1110, 1111]);
}
