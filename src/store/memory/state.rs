//! What [`MemoryBackend`](super::MemoryBackend) holds under its lock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::store::names::{hex, unhex};
use crate::store::{
    Claimed, Cursor, Digest, Ending, EndingTarget, Exported, IndexKey, Limit, Listed, NewRow, Page, Row, SessionKey,
    Tombstone,
};

/// Rows, their index, and the small things.
#[derive(Default)]
pub(super) struct State {
    rows: BTreeMap<SessionKey, Stored>,
    terms: HashMap<IndexKey, BTreeSet<SessionKey>>,
    tombstones: HashMap<IndexKey, (Timestamp, Timestamp)>,
    /// Digest → until when it is claimed.
    pub(super) claims: HashMap<Digest, Timestamp>,
    /// Digest → sealed value, until when it is kept.
    pub(super) once: HashMap<Digest, (Vec<u8>, Timestamp)>,
    written: u64,
}

/// A row as it is held.
pub(super) struct Stored {
    pub(super) session: Bytes,
    pub(super) tokens: Bytes,
    pub(super) card: Bytes,
    pub(super) tokens_version: u64,
    /// Owner, and until when.
    pub(super) lease: Option<([u8; 16], Timestamp)>,
    pub(super) touched_at: Timestamp,
    pub(super) expires_at: Timestamp,
    terms: Vec<IndexKey>,
    issued_at: Timestamp,
    created_at: Timestamp,
    retired: bool,
    /// Orders rows of the same millisecond.
    nth: u64,
}

impl Stored {
    pub(super) fn row(&self, now: Timestamp) -> Row {
        Row {
            session: self.session.clone(),
            tokens: self.tokens.clone(),
            card: self.card.clone(),
            tokens_version: self.tokens_version,
            issued_at: self.issued_at,
            retired: self.retired,
            expires_in: self.expires_at.since(now),
        }
    }

    pub(super) fn listed(&self, key: SessionKey) -> Listed {
        Listed { key, card: self.card.to_vec(), created_at: self.created_at, touched_at: self.touched_at }
    }

    pub(super) fn exported(&self, key: SessionKey, now: Timestamp) -> Exported {
        Exported {
            key,
            terms: self.terms.clone(),
            session: self.session.to_vec(),
            tokens: self.tokens.to_vec(),
            card: self.card.to_vec(),
            tokens_version: self.tokens_version,
            issued_at: self.issued_at,
            created_at: self.created_at,
            touched_at: self.touched_at,
            expires_in: self.expires_at.since(now),
        }
    }

    fn is_live(&self, now: Timestamp) -> bool {
        !self.retired && self.expires_at > now
    }
}

/// One step of a sweep.
pub(super) struct Swept {
    pub(super) removed: u64,
    /// Where the next step starts; nothing if this was the last.
    pub(super) next: Option<SessionKey>,
}

impl State {
    pub(super) fn add(&mut self, key: SessionKey, row: &NewRow, now: Timestamp) {
        self.take(key); // one that has expired and was not swept yet
        self.written += 1;
        let stored = Stored {
            session: row.session.clone().into(),
            tokens: row.tokens.clone().into(),
            card: row.card.clone().into(),
            tokens_version: 1,
            lease: None,
            touched_at: now,
            expires_at: now + row.live_for,
            terms: Vec::new(),
            issued_at: row.issued_at,
            created_at: now,
            retired: false,
            nth: self.written,
        };
        self.rows.insert(key, stored);
        self.index(key, &row.terms);
    }

    /// Writes a row that another store held.
    pub(super) fn restore(&mut self, row: &Exported, now: Timestamp) {
        let new = NewRow {
            terms: row.terms.clone(),
            session: row.session.clone(),
            tokens: row.tokens.clone(),
            card: row.card.clone(),
            issued_at: row.issued_at,
            live_for: row.expires_in,
        };
        self.add(row.key, &new, now);
        if let Some(stored) = self.rows.get_mut(&row.key) {
            stored.tokens_version = row.tokens_version;
            (stored.created_at, stored.touched_at) = (row.created_at, row.touched_at);
        }
    }

    /// Gives a row these terms and no others.
    pub(super) fn index(&mut self, key: SessionKey, terms: &[IndexKey]) {
        let Some(stored) = self.rows.get_mut(&key) else { return };
        let before = std::mem::replace(&mut stored.terms, terms.to_vec());
        self.unindex(key, &before);
        for &term in terms {
            self.terms.entry(term).or_default().insert(key);
        }
    }

    fn unindex(&mut self, key: SessionKey, terms: &[IndexKey]) {
        for term in terms {
            if let Some(keys) = self.terms.get_mut(term) {
                keys.remove(&key);
                if keys.is_empty() {
                    self.terms.remove(term);
                }
            }
        }
    }

    /// Removes a row with its terms, live or not.
    pub(super) fn take(&mut self, key: SessionKey) -> Option<Stored> {
        let stored = self.rows.remove(&key)?;
        self.unindex(key, &stored.terms);
        Some(stored)
    }

    /// Retires a live row, or removes it if it shall not answer any more. Answers it as it was.
    pub(super) fn retire(&mut self, key: SessionKey, retire: Duration, now: Timestamp) -> Option<Row> {
        let stored = self.live(key, now)?;
        let row = stored.row(now);
        stored.retired = true;
        stored.expires_at = stored.expires_at.min(now + retire);
        if retire.is_zero() {
            self.take(key);
        }
        Some(row)
    }

    /// A row that is neither expired nor retired.
    pub(super) fn live(&mut self, key: SessionKey, now: Timestamp) -> Option<&mut Stored> {
        self.rows.get_mut(&key).filter(|stored| stored.is_live(now))
    }

    /// A row that has not expired.
    pub(super) fn present(&self, key: SessionKey, now: Timestamp) -> Option<&Stored> {
        self.rows.get(&key).filter(|stored| stored.expires_at > now)
    }

    pub(super) fn holds(&self, key: SessionKey, now: Timestamp) -> bool {
        self.present(key, now).is_some()
    }

    /// Live rows that carry any of these terms, oldest first.
    pub(super) fn carrying(&self, any_of: &[IndexKey], now: Timestamp) -> Vec<(SessionKey, &Stored)> {
        let keys: BTreeSet<SessionKey> =
            any_of.iter().filter_map(|term| self.terms.get(term)).flatten().copied().collect();
        let mut rows: Vec<_> = keys
            .into_iter()
            .filter_map(|key| self.rows.get(&key).filter(|stored| stored.is_live(now)).map(|stored| (key, stored)))
            .collect();
        rows.sort_by_key(|(_, stored)| stored.nth);
        rows
    }

    /// Removes the oldest rows beyond a limit and names them.
    pub(super) fn evict(&mut self, limit: &Limit, now: Timestamp) -> Vec<SessionKey> {
        let mut keys: Vec<SessionKey> = self.carrying(&limit.any_of, now).into_iter().map(|(key, _)| key).collect();
        let stay = usize::try_from(limit.max.get()).unwrap_or(usize::MAX);
        keys.truncate(keys.len().saturating_sub(stay));
        for &key in &keys {
            self.take(key);
        }
        keys
    }

    /// Whether a tombstone is there for this row.
    pub(super) fn is_ended(&self, row: &NewRow, now: Timestamp) -> bool {
        let tombstones = row.terms.iter().filter_map(|term| self.tombstones.get(term));
        tombstones.into_iter().any(|&(issued_not_after, until)| until > now && row.issued_at <= issued_not_after)
    }

    /// Writes a tombstone; of two on one term the later stays.
    pub(super) fn bury(&mut self, tombstone: Tombstone, until: Timestamp) {
        let entry = self.tombstones.entry(tombstone.term).or_insert((tombstone.issued_not_after, until));
        *entry = (entry.0.max(tombstone.issued_not_after), until);
    }

    /// Rows that an ending names, retired ones too.
    pub(super) fn named(&self, ending: &Ending, now: Timestamp) -> Vec<SessionKey> {
        let keys: BTreeSet<SessionKey> = ending.targets.iter().flat_map(|target| self.targeted(target, now)).collect();
        keys.into_iter().collect()
    }

    fn targeted(&self, target: &EndingTarget, now: Timestamp) -> Vec<SessionKey> {
        let Some((first, others)) = target.all_of.split_first() else { return Vec::new() };
        let candidates = self.terms.get(first).into_iter().flatten().copied();
        let is_meant = |stored: &Stored| {
            others.iter().all(|term| stored.terms.contains(term))
                && target.issued_not_after.is_none_or(|limit| stored.issued_at <= limit)
        };
        candidates.filter(|&key| self.present(key, now).is_some_and(is_meant)).collect()
    }

    /// A page of live rows in key order. The cursor is the last key in hex.
    pub(super) fn page(&self, cursor: &Cursor, now: Timestamp) -> Page {
        let from = unhex(&cursor.0).map(SessionKey::from_bytes).map_or(Bound::Unbounded, Bound::Excluded);
        let live = self.rows.range((from, Bound::Unbounded)).filter(|(_, stored)| stored.is_live(now));
        let rows: Vec<Listed> = live.take(PAGE).map(|(&key, stored)| stored.listed(key)).collect();
        let next = rows.last().filter(|_| rows.len() == PAGE).map(|listed| Cursor(hex(listed.key.as_bytes())));
        Page { rows, next }
    }

    pub(super) fn claim(&mut self, digest: Digest, ttl: Duration, now: Timestamp) -> Claimed {
        match self.claims.get(&digest) {
            Some(&until) if until > now => Claimed::Already,
            _ => {
                self.claims.insert(digest, now + ttl);
                Claimed::First
            }
        }
    }

    /// Looks at the next rows in key order and removes those that have expired.
    pub(super) fn sweep_rows(&mut self, from: Option<SessionKey>, now: Timestamp) -> Swept {
        let start = from.map_or(Bound::Unbounded, Bound::Excluded);
        let seen: Vec<(SessionKey, Timestamp)> = self
            .rows
            .range((start, Bound::Unbounded))
            .take(PAGE)
            .map(|(&key, stored)| (key, stored.expires_at))
            .collect();
        let mut removed = 0;
        for (key, _) in seen.iter().filter(|(_, expires_at)| *expires_at <= now) {
            self.take(*key);
            removed += 1;
        }
        Swept { removed, next: seen.last().filter(|_| seen.len() == PAGE).map(|&(key, _)| key) }
    }

    #[cfg(test)]
    pub(super) fn rows_held(&self) -> usize {
        self.rows.len()
    }

    /// Removes small things that have expired.
    pub(super) fn sweep_small(&mut self, now: Timestamp) {
        self.tombstones.retain(|_, (_, until)| *until > now);
        self.claims.retain(|_, until| *until > now);
        self.once.retain(|_, (_, until)| *until > now);
    }
}

/// Rows per page of a scan, and per step of a sweep.
const PAGE: usize = 256;
