//! Sessions found without their cookie: by what they carry, or one after the other. They can be listed and ended, not opened: all that
//! is known of one is its card.

use super::{SealedStore, Term};
use crate::clock::Timestamp;
use crate::metric;
use crate::secret::Secret;
use crate::store::keyring::Purpose;
use crate::store::{Cursor, Ending, EndingTarget, IndexKey, Keyring, Listed, Page, Reason, Result, Tombstone};

/// What to end within a provider and client, and what to end if it arrives late.
#[derive(Clone, Copy)]
pub(crate) struct TermEnding<'a> {
    /// Sessions that carry all terms of any target go.
    pub(crate) targets: &'a [TermTarget<'a>],
    /// Logins in flight that carry this term, and whose ID token is not younger than this, do not come to life.
    pub(crate) tombstones: &'a [(Term<'a>, Timestamp)],
    /// What the ended sessions' tabs are told.
    pub(crate) reason: Reason,
}

/// One kind of session to end.
#[derive(Clone, Copy)]
pub(crate) struct TermTarget<'a> {
    /// A session must carry all of these. An empty list names none.
    pub(crate) all_of: &'a [Term<'a>],
    /// Logins younger than this stay.
    pub(crate) issued_not_after: Option<Timestamp>,
}

impl SealedStore {
    /// Ends every session of this provider and client that an ending names, whichever key it was sealed under, retired ones too; see
    /// [`SessionBackend::end_matching`](crate::store::SessionBackend::end_matching). Answers how many.
    ///
    /// Frontends that share a registration share their terms: sessions of all of them end.
    pub(crate) async fn end_matching(&self, ending: &TermEnding<'_>) -> Result<u64> {
        let ring = self.keyring.now(); // one for all of it: rings that are exchanged meanwhile order their keys otherwise
        let targets = ending.targets.iter().flat_map(|target| {
            let under_each_key = self.under_each_key(&ring, target.all_of);
            under_each_key.map(|all_of| EndingTarget { all_of, issued_not_after: target.issued_not_after })
        });
        let tombstones = ending.tombstones.iter().flat_map(|&(term, issued_not_after)| {
            let keys = ring.index_keys(&self.term_parts(term));
            keys.into_iter().map(move |term| Tombstone { term, issued_not_after })
        });
        let ending = Ending { targets: targets.collect(), tombstones: tombstones.collect(), reason: ending.reason };
        let ended = self.bounded(self.backend.end_matching(&ending)).await?;
        metric::sessions_ended(ending.reason.as_str(), usize::try_from(ended).unwrap_or(usize::MAX));
        Ok(ended)
    }

    /// Live sessions of this provider and client that carry `term`, oldest first. Frontends that share a registration share their
    /// terms; [`open_card`](Self::open_card) tells them apart.
    pub(crate) async fn list_matching(&self, term: Term<'_>) -> Result<Vec<Listed>> {
        self.bounded(self.backend.list_matching(&self.index_keys(term))).await
    }

    /// Opens a session's card.
    ///
    /// # Errors
    /// `Unavailable` if its key is not in the ring or its format is newer; `Corrupt` if it is another frontend's, or damaged.
    pub(crate) fn open_card(&self, listed: &Listed) -> Result<Secret<Vec<u8>>> {
        Ok(self.keyring.now().open(Purpose::Card, &self.place(&listed.key), &listed.card)?)
    }

    /// One list of index keys per master key: a row carries terms of one key only.
    fn under_each_key(&self, ring: &Keyring, terms: &[Term<'_>]) -> impl Iterator<Item = Vec<IndexKey>> + use<> {
        let mut by_key: Vec<Vec<IndexKey>> = Vec::new();
        for term in terms {
            for (nth, index_key) in ring.index_keys(&self.term_parts(*term)).into_iter().enumerate() {
                match by_key.get_mut(nth) {
                    Some(keys) => keys.push(index_key),
                    None => by_key.push(vec![index_key]),
                }
            }
        }
        by_key.into_iter()
    }

    /// Live sessions of every frontend, a page at a time.
    pub(crate) async fn scan(&self, cursor: Cursor) -> Result<Page> {
        self.bounded(self.backend.scan(cursor)).await
    }

    /// Removes what has expired, of every frontend. Takes the time it needs, in small steps; answers how many rows went.
    #[cfg(feature = "server")]
    pub(crate) async fn remove_expired(&self) -> Result<u64> {
        self.backend.remove_expired().await
    }
}
