//! What Redis answers about rows, and what rows are made of there.

use std::time::Duration;

use redis::Value;

use super::failure::{Done, Failure, read};
use crate::clock::Timestamp;
use crate::store::{Exported, IndexKey, Row, SessionKey};

/// A row as Redis has it.
pub(super) struct Stored {
    session: Vec<u8>,
    tokens: Vec<u8>,
    card: Vec<u8>,
    version: u64,
    issued_at: i64,
    pub(super) retired: bool,
    created_micros: i64,
    touched_at: i64,
    pub(super) terms: Vec<IndexKey>,
    expires_in: Duration,
}

impl Stored {
    pub(super) fn parse(value: Value) -> Done<Option<Self>> {
        type Ids = (u64, i64, Option<u8>, i64, i64, Vec<u8>, i64);
        if value == Value::Nil {
            return Ok(None);
        }
        let mut parts: Vec<Value> = read(value)?;
        let rest = parts.split_off(parts.len().min(3));
        let (session, tokens, card) = read(Value::Array(parts))?;
        let (version, issued_at, retired, created_micros, touched_at, terms, left): Ids = read(Value::Array(rest))?;
        let expires_in = Duration::from_millis(u64::try_from(left).unwrap_or(0));
        let (retired, terms) = (retired.is_some(), split(&terms));
        Ok(Some(Self {
            session,
            tokens,
            card,
            version,
            issued_at,
            retired,
            created_micros,
            touched_at,
            terms,
            expires_in,
        }))
    }

    pub(super) fn row(self) -> Row {
        Row {
            session: self.session.into(),
            tokens: self.tokens.into(),
            card: self.card.into(),
            tokens_version: self.version,
            issued_at: Timestamp::from_unix_millis(self.issued_at),
            retired: self.retired,
            expires_in: self.expires_in,
        }
    }

    pub(super) fn exported(self, key: SessionKey) -> Exported {
        Exported {
            key,
            terms: self.terms,
            session: self.session,
            tokens: self.tokens,
            card: self.card,
            tokens_version: self.version,
            issued_at: Timestamp::from_unix_millis(self.issued_at),
            created_at: Timestamp::from_unix_millis(self.created_micros / 1000),
            touched_at: Timestamp::from_unix_millis(self.touched_at),
            expires_in: self.expires_in,
        }
    }
}

/// What became of a removal, and what of the row it answers.
pub(super) enum Removal<T> {
    Gone,
    Kept,
    Removed(T),
}

impl Removal<Stored> {
    pub(super) fn of_row(value: Value) -> Done<Self> {
        let (code, row) = answered(value)?;
        let gone = || Failure::Unexpected("a removed row that is not there");
        Ok(match code {
            0 => Self::Gone,
            1 => Self::Removed(Stored::parse(row)?.ok_or_else(gone)?),
            _ => Self::Kept,
        })
    }
}

impl Removal<Vec<IndexKey>> {
    pub(super) fn of_terms(value: Value) -> Done<Self> {
        let (code, row) = answered(value)?;
        Ok(match code {
            0 => Self::Gone,
            1 => Self::Removed(split(&read::<(Vec<u8>,)>(row)?.0)),
            _ => Self::Kept,
        })
    }
}

fn answered(value: Value) -> Done<(i64, Value)> {
    let mut parts = read::<Vec<Value>>(value)?.into_iter();
    let code = read(parts.next().unwrap_or(Value::Nil))?;
    Ok((code, parts.next().unwrap_or(Value::Nil)))
}

pub(super) fn joined(terms: &[IndexKey]) -> Vec<u8> {
    terms.iter().flat_map(IndexKey::as_bytes).copied().collect()
}

pub(super) fn split(terms: &[u8]) -> Vec<IndexKey> {
    terms.as_chunks().0.iter().map(|&term| IndexKey::from_bytes(term)).collect()
}

/// Whole milliseconds, as Redis counts lives. A life beyond what it can count is as long as a life can be.
pub(super) fn millis(life: Duration) -> i64 {
    i64::try_from(life.as_millis()).unwrap_or(i64::MAX).min(LONGEST)
}

/// 2⁴⁰ ms are 34 years.
const LONGEST: i64 = 1 << 40;
