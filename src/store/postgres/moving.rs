//! Rows on their way from one store to another.

use sqlx::postgres::PgConnection;

use super::rows::{Past, add, unsigned};
use super::{Done, duration};
use crate::clock::Timestamp;
use crate::store::{Exported, IndexKey, NewRow, SessionKey};

pub(super) async fn export(connection: &mut PgConnection, key: SessionKey) -> Done<Option<Exported>> {
    type Columns = (Vec<[u8; 32]>, Vec<u8>, Vec<u8>, Vec<u8>, i64, i64, i64, i64, i64);
    let found: Option<Columns> = sqlx::query_as(
        "SELECT terms, session, tokens, card, tokens_version, issued_at, created_at, touched_at,
             expires_at - cloakroom_now()
         FROM cloakroom_sessions WHERE key = $1 AND NOT retired AND expires_at > cloakroom_now()",
    )
    .bind(key.as_bytes())
    .fetch_optional(connection)
    .await?;
    let Some((terms, session, tokens, card, version, issued_at, created_at, touched_at, expires_in)) = found else {
        return Ok(None);
    };
    Ok(Some(Exported {
        key,
        terms: terms.into_iter().map(IndexKey::from_bytes).collect(),
        session,
        tokens,
        card,
        tokens_version: unsigned(version)?,
        issued_at: Timestamp::from_unix_millis(issued_at),
        created_at: Timestamp::from_unix_millis(created_at),
        touched_at: Timestamp::from_unix_millis(touched_at),
        expires_in: duration(expires_in),
    }))
}

pub(super) async fn import(connection: &mut PgConnection, row: &Exported) -> Done<bool> {
    let new = NewRow {
        terms: row.terms.clone(),
        session: row.session.clone(),
        tokens: row.tokens.clone(),
        card: row.card.clone(),
        issued_at: row.issued_at,
        live_for: row.expires_in,
    };
    let past = Past { tokens_version: row.tokens_version, created_at: row.created_at, touched_at: row.touched_at };
    add(connection, row.key, &new, Some(past)).await
}
