//! Moves all rows from one store to another, sealed as they are, while nobody serves from either. For `cloakroom sessions migrate`.
//!
//! Only live rows move. Leases, retired rows, tombstones, claims and one-time values stay behind: none outlives the hour.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Cursor, Error, Exported, Result as StoreResult, SessionBackend, SessionKey, alive};

/// A store and what people call it, which holds no password.
pub(crate) struct Place {
    /// Its URL without user, password and query.
    pub(crate) name: String,
    /// The store.
    pub(crate) backend: Arc<dyn SessionBackend>,
}

/// What became of the rows so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Migrated {
    /// They are in the new store now.
    pub(crate) copied: u64,
    /// They were there, just the same.
    pub(crate) already_there: u64,
    /// Their time was over when it was their turn.
    pub(crate) expired: u64,
}

/// Why the rows were not moved, or not all of them. What was copied stays; the old store is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MigrateError {
    /// A process serves from this store.
    #[error("a replica is running on {0}; stop it first, then run this again")]
    InUse(String),
    /// A store does not do its work.
    #[error("{store}: {source}; what was copied stays, so run this again when the store answers")]
    Store {
        /// Its name.
        store: String,
        /// What it said.
        source: Error,
    },
    /// The new store holds a row with the same key and other content.
    #[error(
        "{to} already holds session {tag}, and differently: it has been used on one side since. Empty {to} (or name \
         another store) and run this again"
    )]
    Differs {
        /// The new store's name.
        to: String,
        /// The session's public tag.
        tag: String,
    },
    /// The new store holds fewer rows than the old one.
    #[error(
        "{to} holds {copies} rows and {from} {originals}: something else writes to them. Stop it and run this again"
    )]
    Fewer {
        /// The old store's name.
        from: String,
        /// Its rows.
        originals: u64,
        /// The new store's name.
        to: String,
        /// Its rows.
        copies: u64,
    },
}

/// Copies every live row of `from` to `to`; tells after each page how far it is. Rows that are there already and are the same are
/// left alone, so whoever was interrupted runs it again. Never deletes.
///
/// # Errors
/// See [`MigrateError`]. `InUse` before anything is copied, or at the end if somebody started meanwhile.
pub(crate) async fn migrate(
    from: &Place,
    to: &Place,
    mut progress: impl FnMut(&Migrated),
) -> Result<Migrated, MigrateError> {
    nobody_serves(from, to).await?;
    let (mut done, mut cursor) = (Migrated::default(), Some(Cursor::default()));
    while let Some(at) = cursor {
        let page = from.bounded(from.backend.scan(at)).await?;
        let mut rows = stream::iter(page.rows).map(|row| copy(from, to, row.key)).buffer_unordered(IN_FLIGHT);
        while let Some(outcome) = rows.try_next().await? {
            done.count(outcome);
        }
        progress(&done);
        cursor = page.next;
    }
    // Whoever started meanwhile may have changed rows behind us.
    nobody_serves(from, to).await?;
    // In this order: rows may expire between the two counts, and then the second is the smaller one.
    let (copies, originals) = (to.count().await?, from.count().await?);
    if copies < originals {
        return Err(MigrateError::Fewer { from: from.name.clone(), originals, to: to.name.clone(), copies });
    }
    Ok(done)
}

async fn nobody_serves(from: &Place, to: &Place) -> Result<(), MigrateError> {
    tokio::try_join!(from.is_idle(), to.is_idle())?;
    Ok(())
}

/// What became of one row.
#[derive(Clone, Copy)]
enum Outcome {
    Copied,
    AlreadyThere,
    Expired,
}

async fn copy(from: &Place, to: &Place, key: SessionKey) -> Result<Outcome, MigrateError> {
    let Some(row) = from.bounded(from.backend.export(key)).await? else { return Ok(Outcome::Expired) };
    if to.bounded(to.backend.import(&row)).await? {
        return Ok(Outcome::Copied);
    }
    // Nothing is there to be exported if it retired.
    let there = to.bounded(to.backend.export(key)).await?;
    if there.is_some_and(|there| is_same(there, row)) {
        return Ok(Outcome::AlreadyThere);
    }
    Err(MigrateError::Differs { to: to.name.clone(), tag: key.tag() })
}

/// Whether two rows are the same but for the time that has passed, and the order of terms, which is the store's.
fn is_same(mut one: Exported, mut other: Exported) -> bool {
    one.expires_in = other.expires_in;
    one.terms.sort_unstable();
    other.terms.sort_unstable();
    one == other
}

impl Migrated {
    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Copied => self.copied += 1,
            Outcome::AlreadyThere => self.already_there += 1,
            Outcome::Expired => self.expired += 1,
        }
    }
}

impl fmt::Display for Migrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { copied, already_there, expired } = self;
        write!(f, "rows copied: {copied}, already there: {already_there}, expired meanwhile: {expired}")
    }
}

impl Place {
    async fn is_idle(&self) -> Result<(), MigrateError> {
        let is_anybody = self.bounded(alive::is_anybody(&*self.backend)).await?;
        if is_anybody { Err(MigrateError::InUse(self.name.clone())) } else { Ok(()) }
    }

    async fn count(&self) -> Result<u64, MigrateError> {
        let (mut rows, mut cursor) = (HashSet::new(), Some(Cursor::default()));
        while let Some(at) = cursor {
            let page = self.bounded(self.backend.scan(at)).await?;
            rows.extend(page.rows.into_iter().map(|row| row.key)); // a row may be seen twice
            cursor = page.next;
        }
        Ok(rows.len() as u64)
    }

    async fn bounded<T>(&self, call: impl Future<Output = StoreResult<T>>) -> Result<T, MigrateError> {
        let late = |_| Err(Error::Unavailable(format!("no answer within {LIMIT:?}")));
        let answer = tokio::time::timeout(LIMIT, call).await.unwrap_or_else(late);
        answer.map_err(|source| MigrateError::Store { store: self.name.clone(), source })
    }
}

/// Rows on their way at the same time.
const IN_FLIGHT: usize = 64;
/// Nobody waits in a browser, and many rows queue for one writer.
const LIMIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::store::suite::{key, row, row_with, term};
    use crate::store::{FlakyBackend, LeaseAfter, MemoryBackend, NewRow, Outage};

    fn place(name: &str, backend: Arc<dyn SessionBackend>) -> Place {
        Place { name: name.to_owned(), backend }
    }

    /// An old store with this many rows, and a new one.
    async fn places(rows: u32) -> (Place, Place) {
        let from = place("old", Arc::new(MemoryBackend::new()));
        for n in 0..rows {
            from.backend.insert(key(n), &row_with(&[term(n), term(n + 1)]), None).await.unwrap();
        }
        (from, place("new", Arc::new(MemoryBackend::new())))
    }

    #[tokio::test]
    async fn every_live_row_is_copied_whole_and_a_second_run_is_a_no_op() {
        let (from, to) = places(1000).await;
        from.backend.insert(key(2000), &NewRow { live_for: Duration::ZERO, ..row() }, None).await.unwrap();
        from.backend.swap_tokens(key(7), 1, b"newer", LeaseAfter::Keep).await.unwrap();
        let mut told = Vec::new();
        let done = migrate(&from, &to, |done| told.push(done.copied)).await.unwrap();
        assert_eq!(done, Migrated { copied: 1000, ..Migrated::default() });
        assert!(told.len() > 1 && told.is_sorted() && told.last() == Some(&1000), "{told:?}");
        for n in 0..1000 {
            let [old, new] = [&from, &to].map(|place| place.backend.export(key(n)));
            assert!(is_same(old.await.unwrap().unwrap(), new.await.unwrap().unwrap()), "{n}");
        }
        let again = migrate(&from, &to, |_| {}).await.unwrap();
        assert_eq!(again, Migrated { already_there: 1000, ..Migrated::default() });
    }

    #[tokio::test]
    async fn it_goes_on_where_an_outage_stopped_it() {
        let (from, to) = places(600).await;
        let flaky = Arc::new(FlakyBackend::new(to.backend.clone()));
        let to = place("new", flaky.clone());
        let stopped = migrate(&from, &to, |_| flaky.set(Outage::Unavailable)).await.unwrap_err();
        assert!(matches!(&stopped, MigrateError::Store { store, .. } if store == "new"), "{stopped}");
        flaky.set(Outage::None);
        let done = migrate(&from, &to, |_| {}).await.unwrap();
        assert!(done.copied > 0 && done.already_there > 0, "{done}");
        assert_eq!(to.count().await.unwrap(), 600);
    }

    #[tokio::test]
    async fn a_row_that_is_there_and_different_stops_it_and_is_left_alone() {
        let (from, to) = places(1).await;
        migrate(&from, &to, |_| {}).await.unwrap();
        to.backend.swap_tokens(key(0), 1, b"newer", LeaseAfter::Keep).await.unwrap();
        let stopped = migrate(&from, &to, |_| {}).await.unwrap_err();
        assert!(
            matches!(&stopped, MigrateError::Differs { to, tag } if to == "new" && *tag == key(0).tag()),
            "{stopped}"
        );
        assert_eq!(to.backend.load(key(0)).await.unwrap().unwrap().tokens, &b"newer"[..]);
    }

    #[tokio::test]
    async fn a_row_that_is_there_and_retired_stops_it() {
        let (from, to) = places(1).await;
        migrate(&from, &to, |_| {}).await.unwrap();
        to.backend.replace(key(0), Duration::from_mins(1), key(9), &row(), None).await.unwrap();
        assert!(matches!(migrate(&from, &to, |_| {}).await, Err(MigrateError::Differs { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn it_refuses_while_somebody_serves_from_either_store_and_if_somebody_starts_meanwhile() {
        let (from, to) = places(300).await;
        for served in [&from, &to] {
            let shutdown = CancellationToken::new();
            let process = tokio::spawn(alive::show_until(served.backend.clone(), shutdown.clone()));
            tokio::task::yield_now().await;
            let refused = migrate(&from, &to, |_| {}).await.unwrap_err();
            assert!(matches!(&refused, MigrateError::InUse(name) if *name == served.name), "{refused}");
            shutdown.cancel();
            process.await.unwrap();
        }
        assert_eq!(to.count().await.unwrap(), 0);
        let slow = Arc::new(FlakyBackend::new(from.backend.clone()));
        slow.set(Outage::Slow);
        let from = place("old", slow);
        let start =
            |_: &Migrated| drop(tokio::spawn(alive::show_until(from.backend.clone(), CancellationToken::new())));
        assert!(matches!(migrate(&from, &to, start).await, Err(MigrateError::InUse(name)) if name == "old"));
    }

    #[tokio::test]
    async fn rows_that_went_missing_in_the_new_store_are_noticed() {
        let (from, to) = places(3).await;
        let lost = |_: &Migrated| {
            // The store is memory, so nothing waits.
            let removed = to.backend.remove(key(1), crate::store::Reason::Admin);
            assert!(futures_util::FutureExt::now_or_never(removed).unwrap().unwrap().is_some());
        };
        let noticed = migrate(&from, &to, lost).await.unwrap_err();
        assert!(matches!(noticed, MigrateError::Fewer { originals: 3, copies: 2, .. }), "{noticed}");
    }
}
