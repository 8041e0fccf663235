//! Sessions between two reads, and between two providers.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::clock::{Clock as _, SystemClock};
use crate::oidc::{AccessToken, Authenticated, Claims, Identity, ProviderOptions, TokenSet};
use crate::session::{Limits, Options};
use crate::store::{Breaker, Keyring, MasterKey, MemoryBackend, Scope, SealedStore, Watching};

/// The same frontend's sessions, with this provider.
fn with_provider(backend: &Arc<MemoryBackend>, issuer: &str) -> Sessions {
    let keyring = Arc::new(Keyring::new(vec![MasterKey::from_bytes([1; 32])]).unwrap());
    let scope = Scope { frontend: "shop".to_owned(), issuer: issuer.to_owned(), client_id: "c".to_owned() };
    let breaker = Arc::new(Breaker::new(Duration::from_secs(2)));
    let store = SealedStore::new(backend.clone(), keyring, scope, breaker);
    let provider = Arc::new(ProviderOptions::new("corp", issuer));
    Sessions::new(store, Arc::new(Options::default()), provider, Arc::new(SystemClock), Watching::default())
}

fn authenticated(issuer: &str, acr: Option<&str>) -> Authenticated {
    let now = SystemClock.now();
    let (client_id, subject) = ("c".to_owned(), "1".to_owned());
    let access = AccessToken { value: "a".into(), received_at: now, expires_at: None };
    Authenticated {
        identity: Identity { issuer: issuer.to_owned(), client_id, subject, sid: None },
        claims: Claims::default(),
        acr: acr.map(str::to_owned),
        auth_time: None,
        issued_at: now,
        tokens: TokenSet { access, refresh: None, id_token: None, suspect: false, asked_at: 0 },
    }
}

async fn log_in(sessions: &Sessions, issuer: &str) -> Loaded {
    log_in_over(sessions, authenticated(issuer, None), None).await
}

async fn log_in_over(sessions: &Sessions, authenticated: Authenticated, previous: Option<&Loaded>) -> Loaded {
    let id = sessions.establish(authenticated, ANEW, None, previous).await.unwrap().id;
    sessions.load(id).await.unwrap().unwrap()
}

#[tokio::test]
async fn after_a_change_of_provider_a_session_of_the_old_one_is_none_here_and_lives_on_where_it_was() {
    let backend = Arc::new(MemoryBackend::new());
    let (before, after) =
        (with_provider(&backend, "https://old.example"), with_provider(&backend, "https://new.example"));
    let old = log_in(&before, "https://old.example").await;
    let new = log_in(&after, "https://new.example").await;
    assert!(after.load(old.id).await.unwrap().is_none() && !after.is_live(&old.user));
    assert!(before.load(new.id).await.unwrap().is_none());
    assert!(before.load(old.id).await.unwrap().is_some(), "a replica with the earlier configuration serves it");
    let own = after.own(&new).await.unwrap();
    assert_eq!(own.iter().map(OwnSession::tag).collect::<Vec<_>>(), [new.key().tag()]);
}

#[tokio::test]
async fn a_session_that_another_login_replaced_is_told_from_one_that_ended() {
    let sessions = with_provider(&Arc::new(MemoryBackend::new()), ISSUER);
    let whom = authenticated(ISSUER, None).identity;
    let before = log_in(&sessions, ISSUER).await;
    assert!(matches!(sessions.again(&before, &whom).await.unwrap(), Since::Lives(now) if now.id == before.id));
    let winner = log_in_over(&sessions, authenticated(ISSUER, None), Some(&before)).await;
    assert!(matches!(sessions.again(&before, &whom).await.unwrap(), Since::Replaced));
    let mut other = whom.clone();
    other.subject = "2".to_owned();
    assert!(matches!(sessions.again(&before, &other).await.unwrap(), Since::Lives(_)), "one of somebody else ends");
    let retired = sessions.load(before.id).await.unwrap().unwrap();
    assert!(matches!(sessions.again(&retired, &whom).await.unwrap(), Since::Lives(_)), "the newer cookie got lost");
    // Its ten seconds are over.
    sessions.store.remove_key(before.key(), Reason::Expired).await.unwrap();
    assert!(matches!(sessions.again(&before, &whom).await.unwrap(), Since::Replaced));
    assert!(matches!(sessions.again(&retired, &whom).await.unwrap(), Since::Ended));
    sessions.end(&winner, Reason::ByUser).await.unwrap();
    assert!(matches!(sessions.again(&before, &whom).await.unwrap(), Since::Ended));
}

#[tokio::test]
async fn a_session_that_ends_or_retires_in_the_last_moment_gets_no_successor() {
    let backend = Arc::new(MemoryBackend::new());
    let sessions = with_provider(&backend, ISSUER);
    for limits in [Limits::Kept, ANEW] {
        for ended in [true, false] {
            let previous = log_in(&sessions, ISSUER).await;
            if ended {
                sessions.end(&previous, Reason::ByUser).await.unwrap();
            } else {
                log_in_over(&sessions, authenticated(ISSUER, None), Some(&previous)).await;
            }
            let own = sessions.own(&previous).await.unwrap().len();
            let late = sessions.establish(authenticated(ISSUER, None), limits, None, Some(&previous)).await;
            assert!(matches!(late, Err(EstablishError::Overtaken)), "{limits:?} {ended}: {late:?}");
            assert_eq!(sessions.own(&previous).await.unwrap().len(), own, "{limits:?} {ended}");
        }
    }
}

const ISSUER: &str = "https://id.example";
const ANEW: Limits = Limits::Anew { remember: false };
