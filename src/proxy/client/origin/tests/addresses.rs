//! Several addresses, some of them down; and what becomes of calls when nothing answers.

use super::*;

/// Answers every request on every connection, until it is dropped.
struct Serving(JoinHandle<()>, SocketAddr);

impl Serving {
    async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut connection, _)) = listener.accept().await {
                connections.spawn(async move {
                    let answer =
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{address}", address.to_string().len());
                    let mut read = [0; 1024];
                    while connection.read(&mut read).await.is_ok_and(|length| length > 0) {
                        connection.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        Self(serving, address)
    }

    async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    /// Its connections break, and nobody listens any more.
    async fn stop(self) -> SocketAddr {
        self.0.abort();
        let _ = self.0.await;
        self.1
    }
}

/// Who answered.
async fn answered_by(origin: &Arc<Origin>) -> SocketAddr {
    let body = call(origin, request(Method::GET, "127.0.0.1:1".parse().unwrap())).await.unwrap();
    std::str::from_utf8(&body).unwrap().parse().unwrap()
}

#[tokio::test]
async fn calls_go_to_one_address_after_the_other_over_connections_that_are_kept() {
    let (first, second) = (Serving::start().await, Serving::start().await);
    let origin = Client::for_tests().origin(behind_a_name(&[first.1, second.1])).unwrap();
    for _ in 0..3 {
        assert_eq!(answered_by(&origin).await, first.1);
        assert_eq!(answered_by(&origin).await, second.1);
    }
    assert_eq!(origin.pools().open(), 2);
}

#[tokio::test]
async fn an_address_that_is_down_costs_no_call_whatever_its_method() {
    let (dead, alive) = (nobody().await, Serving::start().await);
    let origin = Client::for_tests().origin(behind_a_name(&[dead, alive.1])).unwrap();
    for method in [Method::POST, Method::GET, Method::PATCH, Method::POST] {
        call(&origin, request(method, dead)).await.unwrap();
    }
    assert_eq!(failures(&origin), [1, 0], "it is avoided after the first time");
    assert_eq!(origin.pools().open(), 1);
}

#[tokio::test]
async fn an_address_that_is_back_is_used_again() {
    let (dead, alive) = (nobody().await, Serving::start().await);
    let origin = Client::for_tests().origin(behind_a_name(&[dead, alive.1])).unwrap();
    for _ in 0..3 {
        assert_eq!(answered_by(&origin).await, alive.1);
    }
    later(2).await;
    for _ in 0..3 {
        assert_eq!(answered_by(&origin).await, alive.1);
    }
    assert_eq!(failures(&origin), [2, 0], "one probe");
    let back = Serving::start_at(dead).await;
    assert_eq!(answered_by(&origin).await, alive.1, "not yet");
    later(3).await;
    let served = [answered_by(&origin).await, answered_by(&origin).await, answered_by(&origin).await];
    assert!(served.contains(&back.1) && served.contains(&alive.1), "{served:?}");
    assert_eq!(failures(&origin), [0, 0]);
}

#[tokio::test]
async fn an_address_that_goes_down_under_idle_connections_costs_no_get() {
    let (first, second) = (Serving::start().await, Serving::start().await);
    let origin = Client::for_tests().origin(behind_a_name(&[first.1, second.1])).unwrap();
    let (_, _) = (answered_by(&origin).await, answered_by(&origin).await);
    first.stop().await;
    for _ in 0..4 {
        assert_eq!(answered_by(&origin).await, second.1);
    }
}

#[tokio::test]
async fn calls_that_wait_in_vain_take_no_address_from_others() {
    let (mut hanging, alive) = (Upstream::start().await, Serving::start().await);
    let origin = Client::for_tests().origin(behind_a_name(&[hanging.address, alive.1])).unwrap();
    for _ in 0..7 {
        assert!(!origin.pools().is_avoided(0));
        let stage = Stage::new();
        {
            let late = origin.call(hanging.request(), Versions::Any, &stage);
            tokio::pin!(late);
            tokio::select! {
                _ = &mut late => panic!("nobody answers"),
                connection = hanging.accepted() => { answer(&mut { connection }, "").await; }
            }
        }
        assert!(matches!(origin.gave_up(&stage), CallError::Late));
        assert_eq!(answered_by(&origin).await, alive.1);
    }
    assert!(!origin.pools().is_avoided(0) && origin.pools().outage.is_none());
}

#[tokio::test]
async fn when_all_are_down_each_is_tried_until_calls_are_answered_at_once() {
    let addresses = [nobody().await, nobody().await];
    let origin = Client::for_tests().origin(behind_a_name(&addresses)).unwrap();
    let ask = || call(&origin, request(Method::GET, addresses[0]));
    for count in 1..=5 {
        assert!(matches!(ask().await, Err(CallError::Connect(_))));
        assert_eq!(failures(&origin), [count, count]);
    }
    for _ in 0..10 {
        let Err(CallError::Down(cause)) = ask().await else { panic!("it is asked again") };
        assert!(cause.contains("cannot connect"), "{cause}");
    }
    assert_eq!(failures(&origin), [5, 5]);
}

#[tokio::test]
async fn one_call_per_pause_probes_an_upstream_that_is_down_and_an_answer_ends_it() {
    let dead = nobody().await;
    let origin = Client::for_tests().origin(target(dead)).unwrap();
    for _ in 0..5 {
        call(&origin, request(Method::GET, dead)).await.unwrap_err();
    }
    for probes in 1..=4 {
        later(13).await;
        let asked = (0..100).map(|_| call(&origin, request(Method::GET, dead)));
        let failed = futures_util::future::join_all(asked).await;
        assert_eq!(failed.iter().filter(|failed| matches!(failed, Err(CallError::Connect(_)))).count(), 1);
        assert_eq!(failed.iter().filter(|failed| matches!(failed, Err(CallError::Down(_)))).count(), 99);
        assert_eq!(failures(&origin), [5 + probes]);
    }
    let back = Serving::start_at(dead).await;
    assert!(matches!(call(&origin, request(Method::GET, dead)).await, Err(CallError::Down(_))), "not yet");
    later(13).await;
    assert_eq!(answered_by(&origin).await, back.1);
    assert_eq!(answered_by(&origin).await, back.1);
    assert_eq!(failures(&origin), [0]);
}

#[tokio::test]
async fn an_answer_now_and_then_keeps_an_upstream_up() {
    let mut upstream = Upstream::start().await;
    let origin = upstream.origin(&Client::for_tests());
    for _ in 0..3 {
        for _ in 0..4 {
            let broken = upstream.calling(&origin);
            answer(&mut upstream.accepted().await, "").await;
            assert!(matches!(broken.await.unwrap(), Err(CallError::Broken(_))));
        }
        drop(upstream.serve(&origin).await);
        while origin.idle().is_some() {}
    }
}
