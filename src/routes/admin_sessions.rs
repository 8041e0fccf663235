//! `GET` and `DELETE /sessions` on the admin listener: an operator finds and ends sessions, of whatever frontend.

mod asked;

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use axum::{Json, Router};
use http::HeaderValue;
use serde::Serialize;

use self::asked::{Asked, LISTABLE, NAMED_BY};
use crate::Error;
use crate::guard::headers;
use crate::guard::operator::{self, AdminToken};
use crate::session::{Known, Upkeep, UpkeepError, Whose};
use crate::store::Term;

/// For operators only.
pub(super) fn router(upkeep: Arc<Upkeep>, token: AdminToken) -> Router {
    let other = || async { Error::MethodNotAllowed { allow: HeaderValue::from_static("DELETE, GET, HEAD") } };
    let verbs = get(list).delete(end).fallback(other).layer(from_fn(headers::own));
    Router::new().route("/sessions", verbs.layer(from_fn_with_state(token, operator::only))).with_state(upkeep)
}

/// The live sessions of a subject, or of a session at the provider.
async fn list(State(upkeep): State<Arc<Upkeep>>, RawQuery(query): RawQuery) -> Result<Json<Vec<Known>>, Error> {
    let asked = Asked::read(query.as_deref(), LISTABLE)?;
    let term = match asked.by {
        "sub" => Term::Subject(&asked.value),
        _ => Term::Sid(&asked.value),
    };
    upkeep.list(term, asked.meant()).await.map(Json).map_err(told)
}

/// What was ended.
#[derive(Debug, Serialize)]
struct Ended {
    ended: u64,
}

/// Tabs hear of it and streams end, on every replica. A caller that leaves stops what is not done yet.
async fn end(State(upkeep): State<Arc<Upkeep>>, RawQuery(query): RawQuery) -> Result<Json<Ended>, Error> {
    let asked = Asked::read(query.as_deref(), NAMED_BY)?;
    let whose = match asked.by {
        "sub" => Whose::Subject(&asked.value),
        "sid" => Whose::Sid(&asked.value),
        "tag" => Whose::Tag(&asked.value),
        _ => Whose::Everybodys,
    };
    let ended = upkeep.end(whose, asked.meant()).await.map_err(told)?;
    let Asked { by, frontend, issuer, .. } = &asked;
    tracing::info!(by, frontend, issuer, ended, "an operator ended sessions");
    Ok(Json(Ended { ended }))
}

/// The admin listener writes no access log, so a store that does not do its work is told here.
fn told(error: UpkeepError) -> Error {
    match error {
        UpkeepError::NoFrontend(_) => Error::SelectionInvalid { why: error.to_string() },
        UpkeepError::Store(error) => {
            tracing::error!(%error, "sessions cannot be listed or ended");
            error.into()
        }
    }
}
