//! Several replicas over one store: one refresh, nobody lost, whatever fails. Each scenario is a test on every kind of store.
//!
//! Replicas are processes of the built program; between them and the provider, and between them and the store, there are gates
//! where a test can hold, lose, slow and refuse what passes.

mod endings;
mod killed;
pub(crate) mod load;
mod logout;
mod lost;
mod outages;
mod restarts;
pub(crate) mod store;
mod store_outages;
mod storms;
mod token_gate;
pub(crate) mod world;

/// Makes tests of each scenario, one for each kind of store. A thread beside that of the callers, who may be many, keeps the gates
/// as fast as wires are.
macro_rules! scenarios {
    ($($file:ident: $($scenario:ident),+;)+) => {
        $($(mod $scenario {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_redis() {
                super::$file::$scenario(super::store::Kind::Redis).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                super::$file::$scenario(super::store::Kind::Postgres).await;
            }
        })+)+
    };
}

scenarios! {
    endings: every_end_is_told_at_the_other_replica,
        every_end_is_told_at_the_other_replica_with_the_development_provider,
        the_absolute_limit_is_told_when_it_is_reached,
        the_absolute_limit_is_told_when_it_is_reached_with_the_development_provider;
    storms: a_thousand_parallel_calls_at_expiry_make_one_refresh, a_refresh_outlives_the_clients_that_wanted_it;
    killed: a_replica_killed_before_it_asked_costs_nobody_the_session,
        a_replica_killed_with_the_answer_under_way_costs_that_session_alone,
        a_provider_with_grace_keeps_the_session_of_a_killed_replica,
        a_replica_killed_after_the_swap_is_not_missed;
    logout: a_logout_while_a_refresh_is_on_its_way_leaves_no_live_token,
        a_logout_while_the_answer_is_on_its_way_leaves_no_live_token;
    lost: a_refresh_that_never_arrived_is_sent_again, an_answer_lost_by_a_strict_provider_ends_that_session,
        an_answer_lost_by_a_provider_with_grace_costs_nothing;
    outages: calls_outlive_the_provider_as_long_as_their_token;
    store_outages: a_slow_store_costs_time_and_nobody_the_session,
        a_store_that_answers_late_is_waited_for,
        a_store_that_is_cut_off_costs_nobody_the_session,
        a_silent_store_under_load_loses_nobody_and_no_token;
    restarts: a_rolling_restart_under_load_costs_no_call;
}
