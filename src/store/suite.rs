//! What every store must do, as tests: [`store_suite!`](crate::store_suite) runs them on yours (feature `test-util`).
//!
//! Each case gets a store of its own, empty. Cases that need time to pass use lives of some milliseconds, by the store's own clock.

#![expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "a case says by panicking what is wrong")]

use std::time::Duration;

use super::{Cursor, Digest, IndexKey, Limit, Listed, NewRow, SessionBackend, SessionKey};
use crate::clock::Timestamp;

pub mod endings;
pub mod leases;
pub mod moving;
pub mod replacing;
pub mod rows;
pub mod searching;
pub mod signals;
pub mod small;
pub mod tokens;

/// Makes a test of each case. The argument is an async function without parameters that answers
/// `(Arc<dyn SessionBackend>, world)`; `world` is dropped after the case: a directory, a server, or `()`. Needs `tokio`'s test macro.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::store::{MemoryBackend, SessionBackend};
///
/// async fn fresh() -> (Arc<dyn SessionBackend>, ()) {
///     (Arc::new(MemoryBackend::new()), ())
/// }
///
/// cloakroom::store_suite!(fresh);
/// ```
#[macro_export]
macro_rules! store_suite {
    ($make:path) => {
        $crate::store_suite! { @of $make;
            rows: a_new_row_is_read_back, insert_never_overwrites, an_expired_row_is_gone_for_every_verb,
                a_row_lives_by_the_stores_time, a_touch_writes_the_session_half_alone_and_extends_the_life,
                a_late_touch_does_not_bring_a_removed_row_back, a_reseal_writes_card_terms_and_tokens_at_the_same_version,
                a_reseal_leaves_newer_tokens_alone, remove_answers_the_newest_row,
                remove_if_leaves_a_row_at_another_version, a_caller_that_leaves_leaves_nothing_half_done;
            replacing: the_new_row_is_there_and_the_old_one_answers_load_only, a_retired_row_disappears,
                a_retired_row_can_be_removed, without_a_time_to_retire_the_old_row_is_removed,
                an_old_row_that_is_gone_is_no_error, a_retired_row_is_not_replaced_again, replace_never_overwrites,
                of_many_replacements_one_gets_the_old_row;
            endings: a_tombstone_ends_logins_in_flight, a_login_after_the_tombstone_lives, the_later_tombstone_stays,
                a_tombstone_ends_a_replacement_too, an_ending_takes_rows_that_carry_all_terms_of_a_target,
                an_ending_leaves_younger_logins, an_ending_takes_retired_rows, an_ending_without_terms_takes_nothing,
                no_login_slips_past_an_ending;
            searching: terms_come_and_go_with_their_row, listings_are_oldest_first, the_limit_removes_the_oldest_rows,
                the_limit_counts_terms_under_every_key, replace_keeps_the_limit, a_scan_sees_each_live_row,
                a_sweep_removes_what_has_expired_and_nothing_else;
            tokens: a_swap_writes_the_tokens_half_alone, of_many_swaps_one_wins, a_swap_of_a_missing_row_is_gone,
                touches_and_swaps_at_once_lose_nothing, a_swap_never_brings_a_removed_row_back;
            leases: a_second_holder_waits, a_lease_that_ran_out_is_taken_over, a_lease_given_back_is_free,
                a_lease_is_for_one_version, a_lease_can_be_renewed, a_lost_lease_is_not_renewed,
                a_swap_keeps_or_releases_the_lease, only_the_owner_gives_a_lease_back, of_many_takers_one_gets_the_lease;
            moving: a_row_moves_to_another_store_and_back, only_live_rows_are_exported, import_never_overwrites;
            small: of_many_claims_one_is_first, a_claim_can_be_taken_back, a_claim_runs_out, of_many_readers_one_gets_the_value,
                a_value_is_written_over, a_value_runs_out, the_store_answers;
            signals: watchers_see_what_happens_to_rows, a_release_is_told_once;
        }
    };
    (@of $make:path; $($topic:ident: $($case:ident),+;)+) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let (backend, _world) = $make().await;
                $crate::store::suite::$topic::$case(backend).await;
            }
        )+)+
    };
}

/// A row that lives for a minute, carries no term, and whose login was at second 1 000.
pub fn row() -> NewRow {
    NewRow {
        terms: Vec::new(),
        session: b"session".to_vec(),
        tokens: b"tokens".to_vec(),
        card: b"card".to_vec(),
        issued_at: Timestamp::from_unix_seconds(1000),
        live_for: Duration::from_mins(1),
    }
}

/// The same with these terms.
pub fn row_with(terms: &[IndexKey]) -> NewRow {
    NewRow { terms: terms.to_vec(), ..row() }
}

/// A name of a row; keys order as their numbers do.
pub fn key(n: u32) -> SessionKey {
    SessionKey::from_bytes(numbered(n))
}

/// A term.
pub fn term(n: u32) -> IndexKey {
    IndexKey::from_bytes(numbered(n))
}

/// A digest.
pub fn digest(n: u32) -> Digest {
    Digest::from_bytes(numbered(n))
}

/// At most `max` rows with any of these terms.
pub fn limit(any_of: &[IndexKey], max: u32) -> Limit {
    Limit { any_of: any_of.to_vec(), max: max.try_into().expect("a limit is not zero") }
}

/// Waits until `condition` holds.
///
/// # Panics
/// If it does not within ten seconds.
pub async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the condition comes true");
}

fn numbered(n: u32) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    bytes
}

fn keys(rows: &[Listed]) -> Vec<SessionKey> {
    rows.iter().map(|row| row.key).collect()
}

async fn is_there(store: &dyn SessionBackend, key: SessionKey) -> bool {
    store.load(key).await.expect("load works").is_some()
}

/// All rows of a scan, and how many pages there were.
async fn scan_all(store: &dyn SessionBackend) -> (Vec<Listed>, usize) {
    let (mut rows, mut pages, mut cursor) = (Vec::new(), 0, Some(Cursor::default()));
    while let Some(at) = cursor {
        let page = store.scan(at).await.expect("scan works");
        rows.extend(page.rows);
        pages += 1;
        cursor = page.next;
    }
    (rows, pages)
}

const MS: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    #[test]
    fn every_case_is_in_the_suite() {
        let topics = [
            include_str!("suite/endings.rs"),
            include_str!("suite/leases.rs"),
            include_str!("suite/moving.rs"),
            include_str!("suite/replacing.rs"),
            include_str!("suite/rows.rs"),
            include_str!("suite/searching.rs"),
            include_str!("suite/signals.rs"),
            include_str!("suite/small.rs"),
            include_str!("suite/tokens.rs"),
        ];
        let list = include_str!("suite.rs").split("@of $make;").nth(1).unwrap().split("(@of").next().unwrap();
        for topic in topics {
            let cases: Vec<&str> =
                topic.split("pub async fn ").skip(1).filter_map(|text| text.split('(').next()).collect();
            assert!(!cases.is_empty());
            for case in cases {
                let listed = list.split([' ', ',', ';', '\n']).filter(|word| *word == case).count();
                assert_eq!(listed, 1, "{case}");
            }
        }
    }
}
