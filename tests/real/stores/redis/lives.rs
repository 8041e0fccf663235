//! What lives how long in Redis, seen from outside.

use std::fmt::Write as _;
use std::time::Duration;

use cloakroom::store::suite::{key, row_with, term};
use cloakroom::store::{IndexKey, NewRow, Reason, RedisBackend, Reseal, SessionBackend, Updated};

use crate::redis::{Server, fresh_prefix, shared};

const MINUTE: Duration = Duration::from_mins(1);
/// How much longer than a row its terms may stay.
const MARGIN: Duration = Duration::from_mins(5);

struct World {
    server: &'static Server,
    prefix: String,
    store: RedisBackend,
}

impl World {
    async fn start() -> Self {
        let (server, prefix) = (shared(), fresh_prefix());
        let url = format!("redis://127.0.0.1:{}?prefix={prefix}", server.port);
        Self { server, prefix, store: RedisBackend::open(&url, 0).await.expect("the store opens") }
    }

    fn name(&self, kind: char, bytes: &[u8]) -> String {
        let hex = bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        format!("{}:{kind}:{{{hex}}}", self.prefix)
    }

    fn set(&self, term: IndexKey) -> String {
        self.name('t', term.as_bytes())
    }

    /// How long something lives.
    fn life(&self, name: &str) -> Duration {
        let left = self.server.cli(&["pttl", name]);
        Duration::from_millis(left.parse().unwrap_or_else(|_| panic!("{name} lives for ever or is gone: {left}")))
    }
}

#[tokio::test]
async fn a_set_of_rows_goes_by_itself_after_the_longest_of_them() {
    let world = World::start().await;

    for (n, life) in [(1, 2 * MINUTE), (2, 30 * MINUTE), (3, MINUTE)] {
        world.store.insert(key(n), &NewRow { live_for: life, ..row_with(&[term(1)]) }, None).await.unwrap();
    }

    let life = world.life(&world.set(term(1)));
    assert!(life > 30 * MINUTE && life <= 30 * MINUTE + MARGIN, "{life:?}");
}

#[tokio::test]
async fn rows_whose_time_is_over_are_forgotten_at_the_next_login() {
    let world = World::start().await;
    world.store.insert(key(1), &row_with(&[term(1)]), None).await.unwrap();
    for n in 0..10 {
        world.server.cli(&["zadd", &world.set(term(1)), &(1000 + n).to_string(), &format!("long ago {n}")]);
    }

    world.store.insert(key(2), &row_with(&[term(1)]), None).await.unwrap();

    assert_eq!(world.server.cli(&["zcard", &world.set(term(1))]), "2");
}

#[tokio::test]
async fn a_touch_extends_the_terms_with_the_row() {
    let world = World::start().await;
    world.store.insert(key(1), &row_with(&[term(1), term(2)]), None).await.unwrap();

    assert_eq!(world.store.touch(key(1), 60 * MINUTE, b"touched", None).await.unwrap(), Updated::Updated);

    for term in [term(1), term(2)] {
        assert!(world.life(&world.set(term)) > 60 * MINUTE);
    }
    assert!(world.life(&world.name('s', key(1).as_bytes())) > 59 * MINUTE);
}

#[tokio::test]
async fn a_shorter_touch_of_one_row_does_not_cut_the_terms_of_another() {
    let world = World::start().await;
    world.store.insert(key(1), &NewRow { live_for: 60 * MINUTE, ..row_with(&[term(1)]) }, None).await.unwrap();
    world.store.insert(key(2), &row_with(&[term(1)]), None).await.unwrap();

    world.store.touch(key(2), MINUTE, b"touched", None).await.unwrap();

    assert!(world.life(&world.set(term(1))) > 60 * MINUTE);
}

#[tokio::test]
async fn terms_that_a_row_gets_while_it_is_touched_live_as_long_as_it() {
    let world = World::start().await;
    world.store.insert(key(1), &row_with(&[term(1)]), None).await.unwrap();
    let reseal = Reseal { card: b"card".to_vec(), terms: vec![term(2)], tokens: None };

    let (touched, resealed) = tokio::join!(
        world.store.touch(key(1), 60 * MINUTE, b"touched", None),
        world.store.touch(key(1), 60 * MINUTE, b"resealed", Some(&reseal)),
    );

    assert_eq!((touched.unwrap(), resealed.unwrap()), (Updated::Updated, Updated::Updated));
    assert_eq!(world.store.list_matching(&[term(2)]).await.unwrap().len(), 1);
    assert!(world.life(&world.set(term(2))) > 60 * MINUTE);
}

#[tokio::test]
async fn nothing_stays_of_a_row_that_was_removed() {
    let world = World::start().await;
    world.store.insert(key(1), &row_with(&[term(1), term(2)]), None).await.unwrap();

    world.store.remove(key(1), Reason::Logout).await.unwrap();

    assert_eq!(world.server.cli(&["--scan", "--pattern", &format!("{}:*", world.prefix)]), "");
}

#[tokio::test]
async fn a_member_without_a_row_is_not_found() {
    let world = World::start().await;
    world.store.insert(key(1), &row_with(&[term(1)]), None).await.unwrap();
    world.server.cli(&["del", &world.name('s', key(1).as_bytes())]);

    assert_eq!(world.store.list_matching(&[term(1)]).await.unwrap(), []);
}
