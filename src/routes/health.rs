//! The admin listener: `/healthz` (the process is alive), `/readyz` (it takes requests, and the store answers), `/metrics`, and
//! `/sessions` for operators.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::get;
use http::{StatusCode, header};
use tokio_util::sync::CancellationToken;
use url::form_urlencoded;

use super::admin_sessions;
use crate::Error;
use crate::guard::authority::{self, Hosts};
use crate::guard::in_flight::InFlight;
use crate::guard::operator::AdminToken;
use crate::metric::{self, Exporter};
use crate::oidc::Provider;
use crate::respond::{self, Voice};
use crate::session::Upkeep;
use crate::store::SealedStore;

/// What `/readyz` and `/metrics` look at.
#[derive(Clone, Debug)]
pub(crate) struct Readiness {
    pub(crate) store: SealedStore,
    pub(crate) providers: Arc<[Arc<Provider>]>,
    /// Is cancelled when the program is told to stop.
    pub(crate) stopping: CancellationToken,
    /// None if nobody reads what is counted.
    pub(crate) exporter: Option<Exporter>,
    pub(crate) in_flight: Arc<InFlight>,
}

/// What operators need.
#[derive(Clone, Debug)]
pub(crate) struct Operators {
    pub(crate) upkeep: Arc<Upkeep>,
    pub(crate) token: AdminToken,
}

/// Everything the admin listener answers. Providers that are down do not make us unready: sessions go on without them.
pub(crate) fn admin(readiness: Readiness, operators: Operators, hosts: Hosts, voice: Voice) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(readiness)
        .merge(admin_sessions::router(operators.upkeep, operators.token))
        .layer(from_fn_with_state(hosts, authority::inner_listener))
        .layer(from_fn_with_state(voice, respond::render))
}

/// With `?verbose` there is a line for each provider.
async fn ready(State(readiness): State<Readiness>, RawQuery(query): RawQuery) -> (StatusCode, String) {
    let (status, mut text) = judge(&readiness).await;
    if form_urlencoded::parse(query.unwrap_or_default().as_bytes()).any(|(name, _)| name == "verbose") {
        text.extend(readiness.providers.iter().map(|provider| line(provider)));
    }
    (status, text)
}

async fn metrics(State(readiness): State<Readiness>) -> Result<impl IntoResponse, Error> {
    let Exporter(text) = readiness.exporter.ok_or(Error::RouteNotFound)?;
    // Noted when somebody asks and not with each request, which would cost them all.
    metric::requests_in_flight(readiness.in_flight.now());
    Ok(([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], text()))
}

async fn judge(readiness: &Readiness) -> (StatusCode, String) {
    if readiness.stopping.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
    }
    match readiness.store.ping().await {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n".to_owned())
        }
    }
}

fn line(provider: &Provider) -> String {
    let state = if provider.metadata_at_hand().is_some() { "discovered" } else { "not discovered yet" };
    format!("provider {}: {state}\n", provider.name())
}

/// Prometheus exposition formats, "Text format".
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
