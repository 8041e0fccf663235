//! How a request body fares, and what of it is kept.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::time::Instant;

/// What becomes of a request body that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Keep {
    /// It is gone.
    Nothing,
    /// One of [`LONGEST_KEPT`] at most is at hand until the head of the answer is there, to be sent once more.
    UntilAnswered,
}

/// How far a request body has come; seen by the call that waits for the answer's head.
pub(in crate::proxy) struct Upload(Mutex<Progress>);

struct Progress {
    phase: Phase,
    since: Instant,
    /// What has passed; none if nothing is kept. A copy: a piece is part of the buffer that its connection read into, and would keep all
    /// of it, which a browser can make a thousand times the piece.
    kept: Option<Vec<u8>>,
}

/// What an upload waits for, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Phase {
    /// A connection.
    Unsent,
    /// The browser's next piece.
    AwaitingBrowser,
    /// Room for the next piece on the upstream's side.
    AwaitingUpstream,
    /// All of it is on its way.
    Sent,
    /// The browser stalled or broke off.
    Interrupted,
    /// It was over the limit.
    TooLarge,
}

impl Upload {
    /// Of a body of at least `length` bytes.
    pub(super) fn new(keep: Keep, length: u64) -> Self {
        let keeps = keep == Keep::UntilAnswered && length <= LONGEST_KEPT as u64;
        Self(Mutex::new(Progress { phase: Phase::Unsent, since: Instant::now(), kept: keeps.then(Vec::new) }))
    }

    /// The phase, and since when nothing has moved.
    pub(in crate::proxy) fn phase(&self) -> (Phase, Instant) {
        let now = self.progress();
        (now.phase, now.since)
    }

    /// Frees what was kept.
    pub(in crate::proxy) fn keep_no_longer(&self) {
        self.progress().kept = None;
    }

    /// The whole body, if all of it has passed and was kept. Nothing is kept any longer.
    pub(in crate::proxy) fn take_kept(&self) -> Option<Bytes> {
        let mut now = self.progress();
        let kept = now.kept.take()?;
        (now.phase == Phase::Sent).then(|| kept.into())
    }

    /// Notes how far it has come.
    pub(super) fn reached(&self, phase: Phase) {
        self.progress().reach(phase);
    }

    /// The same, with what has just passed.
    pub(super) fn passed(&self, data: &Bytes, phase: Phase) {
        let mut now = self.progress();
        now.reach(phase);
        now.keep(data);
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was kept is a person's: only how much it is may be seen.
impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = self.progress();
        let kept = now.kept.as_ref().map(Vec::len);
        f.debug_struct("Upload").field("phase", &now.phase).field("kept", &kept).finish_non_exhaustive()
    }
}

impl Progress {
    fn reach(&mut self, phase: Phase) {
        // Being asked again does not make the browser any less late.
        if phase != Phase::AwaitingBrowser || self.phase != Phase::AwaitingBrowser {
            (self.phase, self.since) = (phase, Instant::now());
        }
    }

    fn keep(&mut self, data: &Bytes) {
        match &mut self.kept {
            Some(kept) if kept.len() + data.len() <= LONGEST_KEPT => kept.extend_from_slice(data),
            _ => self.kept = None,
        }
    }
}

/// The largest body that is kept, in bytes.
const LONGEST_KEPT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn whole(pieces: &[&[u8]]) -> Upload {
        let upload = Upload::new(Keep::UntilAnswered, 0);
        for piece in pieces {
            upload.passed(&Bytes::copy_from_slice(piece), Phase::AwaitingUpstream);
        }
        upload.reached(Phase::Sent);
        upload
    }

    #[test]
    fn what_has_passed_is_at_hand_once() {
        let upload = whole(&[b"he", b"", b"llo"]);
        assert_eq!(upload.take_kept().as_deref(), Some(&b"hello"[..]));
        assert_eq!(upload.take_kept(), None);
        assert_eq!(whole(&[]).take_kept().as_deref(), Some(&b""[..]));
    }

    #[test]
    fn a_body_of_which_a_byte_is_missing_is_none() {
        for phase in
            [Phase::Unsent, Phase::AwaitingBrowser, Phase::AwaitingUpstream, Phase::Interrupted, Phase::TooLarge]
        {
            let upload = Upload::new(Keep::UntilAnswered, 2);
            upload.passed(&Bytes::from_static(b"h"), phase);
            assert_eq!(upload.take_kept(), None, "{phase:?}");
            assert!(upload.progress().kept.is_none(), "{phase:?}");
        }
    }

    #[test]
    fn of_a_body_that_is_too_long_nothing_is_kept() {
        let half = vec![0; LONGEST_KEPT / 2];
        assert_eq!(whole(&[&half, &half]).take_kept().map(|kept| kept.len()), Some(LONGEST_KEPT));
        let longer = whole(&[&half, &half, b"1"]);
        assert!(longer.progress().kept.is_none());
        longer.passed(&Bytes::from_static(b"2"), Phase::Sent);
        assert!(longer.progress().kept.is_none(), "nor what comes after");
        assert!(Upload::new(Keep::UntilAnswered, 64 * 1024).progress().kept.is_some());
        assert!(Upload::new(Keep::UntilAnswered, 64 * 1024 + 1).progress().kept.is_none());
        assert!(Upload::new(Keep::Nothing, 1).progress().kept.is_none());
    }

    #[test]
    fn what_is_not_needed_any_more_is_freed_and_nothing_is_kept_from_then_on() {
        let upload = whole(&[b"hello"]);
        upload.keep_no_longer();
        upload.passed(&Bytes::from_static(b"more"), Phase::Sent);
        assert!(upload.progress().kept.is_none());
    }

    #[test]
    fn a_piece_does_not_keep_the_buffer_it_came_in() {
        struct Buffer(Arc<[u8; 8192]>);
        impl AsRef<[u8]> for Buffer {
            fn as_ref(&self) -> &[u8] {
                &self.0[..]
            }
        }
        let (upload, alive) = (Upload::new(Keep::UntilAnswered, 0), Arc::new([7; 8192]));
        let buffer = Bytes::from_owner(Buffer(alive.clone()));
        upload.passed(&buffer.slice(..1), Phase::Sent);
        drop(buffer);
        assert_eq!(Arc::strong_count(&alive), 1);
        assert_eq!(upload.take_kept().as_deref(), Some(&[7][..]));
    }
}
