//! What may go wrong in a scenario, and how often.

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A store call has its effect, its answer does not come.
    StoreAnswerLost,
    /// A store call fails without effect.
    StoreFails,
    /// A store call has its effect later, perhaps after its caller gave up, perhaps never.
    StoreSlow,
    /// A store call has its effect at once, its answer comes later.
    StoreAnswerSlow,
    /// Every store call fails for a while.
    StoreDown,
    /// A process that holds tokens to be stored cannot reach the store for a while; others reach it.
    CutOff,
    /// A refresh has its effect, its answer does not come.
    ProviderAnswerLost,
    /// A refresh fails without effect; the caller cannot know that.
    ProviderBreaks,
    /// The connection breaks; the refresh may have its effect later.
    ProviderCut,
    /// A refresh is not even sent.
    ProviderUnreachable,
    /// A refresh has its effect later, within D.
    ProviderSlow,
    /// The answer to a refresh comes later, or too late.
    ProviderAnswerSlow,
    /// A process dies.
    Crash,
    /// A client stops waiting.
    Leave,
}

const KINDS: usize = Fault::Leave as usize + 1;

/// How many faults of each kind may still happen, and how many in all.
#[derive(Clone, Debug, Hash)]
pub(super) struct Faults {
    left: [u8; KINDS],
    all: u8,
    happened: [u8; KINDS],
}

impl Faults {
    /// None at all.
    pub(super) fn none() -> Self {
        Self { left: [0; KINDS], all: 0, happened: [0; KINDS] }
    }

    /// At most `most` in all, and at most one of each of these kinds.
    pub(super) fn any(most: u8, kinds: &[Fault]) -> Self {
        let mut faults = Self { all: most, ..Self::none() };
        for kind in kinds {
            faults.left[*kind as usize] = 1;
        }
        faults
    }

    pub(super) fn may(&self, fault: Fault) -> bool {
        self.all > 0 && self.left[fault as usize] > 0
    }

    pub(super) fn spend(&mut self, fault: Fault) {
        self.left[fault as usize] -= 1;
        self.all -= 1;
        self.happened[fault as usize] += 1;
    }

    /// From now on nothing goes wrong.
    pub(super) fn stop(&mut self) {
        self.all = 0;
    }

    pub(super) fn happened(&self, fault: Fault) -> bool {
        self.happened[fault as usize] > 0
    }

    pub(super) fn count(&self) -> u8 {
        self.happened.iter().sum()
    }
}
