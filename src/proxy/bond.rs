//! What ties an answer to the session that it was given to: one that lasts breaks off when the session ends.

use std::fmt;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::session::UsedSession;

/// See the module.
pub(super) enum Bond {
    /// There is none.
    Loose,
    /// The answer is young: most are over before anybody would have to look at their session.
    Young { session: UsedSession, followed_from: Instant },
    /// The session is followed.
    Followed(BoxFuture<'static, ()>),
    /// The session is over.
    Cut,
}

impl Bond {
    /// Of an answer that begins now.
    pub(super) fn new(session: Option<&UsedSession>) -> Self {
        session.map_or(Self::Loose, |session| Self::Young {
            session: session.clone(),
            followed_from: Instant::now() + YOUNG,
        })
    }

    /// Ready when the session is over.
    pub(super) fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Young { session, followed_from } = self
            && *followed_from <= Instant::now()
        {
            *self = Self::Followed(Box::pin(session.clone().ended()));
        }
        match self {
            Self::Loose | Self::Young { .. } => Poll::Pending,
            Self::Followed(ended) => {
                ready!(ended.as_mut().poll(cx));
                *self = Self::Cut;
                Poll::Ready(())
            }
            Self::Cut => Poll::Ready(()),
        }
    }

    /// When [`Bond::poll_cut`] wants to be asked again.
    pub(super) fn followed_from(&self) -> Option<Instant> {
        match self {
            Self::Young { followed_from, .. } => Some(*followed_from),
            Self::Loose | Self::Followed(_) | Self::Cut => None,
        }
    }
}

impl fmt::Debug for Bond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loose => "Loose",
            Self::Young { .. } => "Young",
            Self::Followed(_) => "Followed",
            Self::Cut => "Cut",
        })
    }
}

/// How long an answer lasts before its session is followed.
const YOUNG: Duration = Duration::from_secs(1);
