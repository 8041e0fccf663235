//! What HTTP's methods, statuses and headers mean (RFC 9110) is the same on both sides of the proxy.

use std::fmt::Write as _;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::stage::{BOTH, Stage, Version, full, in_time};

/// A call and its answer.
struct Exchange {
    name: &'static str,
    method: &'static str,
    /// Headers of the call, which arrive as they are.
    asks: &'static [(&'static str, &'static str)],
    sends: &'static str,
    /// Status line and headers of the answer.
    says: &'static str,
    body: &'static [u8],
    /// What of these headers comes back; without any, they are not there.
    headers: &'static [(&'static str, &'static [&'static str])],
    /// Whether the body is that of the answer.
    has_body: bool,
}

const PLAIN: Exchange =
    Exchange { name: "", method: "GET", asks: &[], sends: "", says: "", body: b"", headers: &[], has_body: true };

const EXCHANGES: &[Exchange] = &[
    Exchange {
        name: "HEAD tells the length of what a GET would bring",
        method: "HEAD",
        says: "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: \"1\"\r\nAccept-Ranges: bytes",
        headers: &[("content-length", &["1000"]), ("etag", &["\"1\""]), ("accept-ranges", &["bytes"])],
        has_body: false,
        ..PLAIN
    },
    Exchange {
        name: "HEAD without a length has none",
        method: "HEAD",
        says: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked",
        headers: &[("content-length", &[])],
        has_body: false,
        ..PLAIN
    },
    Exchange {
        name: "OPTIONS on a route is the API's",
        method: "OPTIONS",
        says: "HTTP/1.1 204 No Content\r\nAllow: GET, POST\r\nAccept-Patch: application/json-patch+json",
        headers: &[
            ("allow", &["GET, POST"]),
            ("accept-patch", &["application/json-patch+json"]),
            ("content-length", &[]),
        ],
        ..PLAIN
    },
    Exchange {
        name: "a range",
        asks: &[("range", "bytes=2-4"), ("if-range", "\"1\"")],
        says: "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-4/10\r\nContent-Length: 3\r\nETag: \"1\"",
        body: b"cde",
        headers: &[("content-range", &["bytes 2-4/10"]), ("content-length", &["3"])],
        ..PLAIN
    },
    Exchange {
        name: "several ranges",
        asks: &[("range", "bytes=0-0,-1")],
        says: "HTTP/1.1 206 Partial Content\r\nContent-Type: multipart/byteranges; boundary=b\r\nTransfer-Encoding: chunked",
        body:
            b"--b\r\nContent-Range: bytes 0-0/10\r\n\r\na\r\n--b\r\nContent-Range: bytes 9-9/10\r\n\r\nj\r\n--b--\r\n",
        headers: &[("content-type", &["multipart/byteranges; boundary=b"]), ("content-range", &[])],
        ..PLAIN
    },
    Exchange {
        name: "a range that is not there",
        asks: &[("range", "bytes=100-")],
        says: "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */10\r\nContent-Length: 0",
        headers: &[("content-range", &["bytes */10"])],
        ..PLAIN
    },
    Exchange {
        name: "a range after all whole",
        asks: &[("range", "bytes=2-4"), ("if-range", "Thu, 01 Jan 1970 00:00:00 GMT")],
        says: "HTTP/1.1 200 OK\r\nContent-Length: 3",
        body: b"all",
        ..PLAIN
    },
    Exchange {
        name: "304 with everything that 200 would say of itself",
        asks: &[("if-none-match", "\"1\", W/\"2\""), ("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT")],
        says: "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nContent-Length: 1000\r\nLast-Modified: Thu, 01 Jan 1970 00:00:00 GMT",
        headers: &[
            ("etag", &["\"1\""]),
            ("last-modified", &["Thu, 01 Jan 1970 00:00:00 GMT"]),
            ("cache-control", &["private, no-cache"]),
        ],
        has_body: false,
        ..PLAIN
    },
    Exchange {
        name: "304 without a length",
        asks: &[("if-none-match", "*")],
        says: "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nCache-Control: private, max-age=60\r\nVary: Accept",
        headers: &[
            ("content-length", &[]),
            ("cache-control", &["private, max-age=60"]),
            ("vary", &["Accept", "Cookie"]),
        ],
        has_body: false,
        ..PLAIN
    },
    Exchange {
        name: "a write that somebody else was faster with",
        method: "PUT",
        asks: &[("if-match", "\"1\""), ("if-unmodified-since", "Thu, 01 Jan 1970 00:00:00 GMT")],
        sends: "{}",
        says: "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 2",
        body: b"no",
        ..PLAIN
    },
    Exchange {
        name: "204",
        method: "DELETE",
        says: "HTTP/1.1 204 No Content\r\nETag: \"2\"",
        headers: &[("content-length", &[]), ("etag", &["\"2\""])],
        ..PLAIN
    },
    Exchange {
        name: "205",
        method: "POST",
        sends: "a=b",
        says: "HTTP/1.1 205 Reset Content\r\nContent-Length: 0",
        ..PLAIN
    },
    Exchange { name: "200 with nothing in it", says: "HTTP/1.1 200 OK\r\nContent-Length: 0", ..PLAIN },
    Exchange { name: "200 with no chunk in it", says: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", ..PLAIN },
    Exchange {
        name: "a coding is left as it is",
        asks: &[("accept-encoding", "zstd, br;q=0.9, identity;q=0")],
        says: "HTTP/1.1 200 OK\r\nContent-Encoding: zstd\r\nVary: Accept-Encoding\r\nContent-Length: 9",
        body: b"\x28\xb5\x2f\xfd\x04\x00\x01\x00\x00",
        headers: &[
            ("content-encoding", &["zstd"]),
            ("vary", &["Accept-Encoding", "Cookie"]),
            ("content-length", &["9"]),
        ],
        ..PLAIN
    },
    Exchange {
        name: "an API of HTTP/1.0, whose answer ends with the connection",
        says: "HTTP/1.0 200 OK\r\nContent-Type: text/plain",
        body: b"all there is",
        headers: &[("content-length", &[]), ("content-type", &["text/plain"])],
        ..PLAIN
    },
    Exchange {
        name: "an API of HTTP/1.0 with a length",
        says: "HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive",
        body: b"abc",
        headers: &[("content-length", &["3"])],
        ..PLAIN
    },
    Exchange {
        name: "a status nobody has heard of",
        says: "HTTP/1.1 299 Miscellaneous Persistent Warning\r\nContent-Length: 1",
        body: b"x",
        ..PLAIN
    },
    Exchange {
        name: "an error of the API's with its own type",
        says: "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 7\r\nContent-Length: 2",
        body: b"{}",
        headers: &[("retry-after", &["7"]), ("content-type", &["application/problem+json"])],
        ..PLAIN
    },
    Exchange {
        name: "gRPC-web, whose trailers are in the body",
        method: "POST",
        asks: &[("content-type", "application/grpc-web+proto"), ("x-grpc-web", "1"), ("grpc-timeout", "1S")],
        sends: "\0\0\0\0\x02\x08\x01",
        says: "HTTP/1.1 200 OK\r\nContent-Type: application/grpc-web+proto\r\nTransfer-Encoding: chunked",
        body: b"\0\0\0\0\x02\x08\x01\x80\0\0\0\x0fgrpc-status:0\r\n",
        headers: &[("content-type", &["application/grpc-web+proto"])],
        ..PLAIN
    },
    Exchange {
        name: "gRPC-web as text",
        method: "POST",
        asks: &[("content-type", "application/grpc-web-text"), ("accept", "application/grpc-web-text")],
        sends: "AAAAAAIIAQ==",
        says: "HTTP/1.1 200 OK\r\nContent-Type: application/grpc-web-text+proto\r\nTransfer-Encoding: chunked",
        body: b"AAAAAAIIAQ==gAAAAA9ncnBjLXN0YXR1czowDQo=",
        ..PLAIN
    },
    Exchange {
        name: "gRPC-web that failed, and says so in the head",
        method: "POST",
        asks: &[("content-type", "application/grpc-web+proto")],
        sends: "\0\0\0\0\0",
        says: "HTTP/1.1 200 OK\r\nGrpc-Status: 16\r\nGrpc-Message: log%20in\r\nContent-Length: 0",
        headers: &[("grpc-status", &["16"]), ("grpc-message", &["log%20in"])],
        ..PLAIN
    },
];

#[tokio::test]
async fn calls_and_answers_mean_the_same_on_both_sides() {
    let mut stage = Stage::start().await;
    for version in BOTH {
        for exchange in EXCHANGES {
            check(exchange, version, &mut stage).await;
        }
    }
}

async fn check(exchange: &Exchange, version: Version, stage: &mut Stage) {
    let name = format!("{version:?}: {}", exchange.name);
    let mut client = stage.client(version).await;
    let mut request = stage.call(exchange.method, "/api/x?y");
    for (header, value) in exchange.asks {
        request = request.header(*header, *value);
    }
    let (answer, ()) = tokio::join!(client.send(request.body(full(exchange.sends)).unwrap()), async {
        let mut call = stage.upstream.call().await;
        assert!(call.head.starts_with(&format!("{} /v1/x?y HTTP/1.1\r\n", exchange.method)), "{name}: {}", call.head);
        for (header, value) in exchange.asks {
            assert_eq!(call.header(header), Some(*value), "{name}: {header}");
        }
        call.reads(exchange.sends).await;
        let coding = if exchange.has_body { on_the_wire(exchange) } else { Vec::new() };
        call.says([exchange.says.as_bytes(), b"\r\n\r\n", &coding].concat()).await;
        // And closes: half of what is said here ends so.
    });
    let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(answer.status().as_str(), &exchange.says[9..12], "{name}");
    for (header, values) in exchange.headers {
        assert_eq!(all(answer.headers(), header), *values, "{name}: {header}");
    }
    let body = in_time(answer.into_body().collect()).await.unwrap_or_else(|error| panic!("{name}: {error}")).to_bytes();
    assert_eq!(body, Bytes::from_static(exchange.body), "{name}");
}

/// In chunks of seven bytes, if that is what the head says.
fn on_the_wire(exchange: &Exchange) -> Vec<u8> {
    if !exchange.says.contains("chunked") {
        return exchange.body.to_vec();
    }
    let chunk = |piece: &[u8]| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
    exchange.body.chunks(7).flat_map(chunk).chain(*b"0\r\n\r\n").collect()
}

fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn grpc_web_proves_like_every_call_that_it_is_ours() {
    let mut stage = Stage::start().await;
    for version in BOTH {
        let mut client = stage.client(version).await;
        let request = stage.bare("POST", "/api/shop.Orders/List").header("cookie", stage.cookie());
        let request = request.header("content-type", "application/grpc-web+proto").header("x-grpc-web", "1");
        let answer = client.send(request.body(full("\0\0\0\0\0")).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 403, "{version:?}");
    }
    assert!(stage.upstream.is_left_alone());
}

#[tokio::test]
async fn a_client_of_http1_0_gets_what_it_can_read() {
    let mut stage = Stage::start().await;
    for (said, told) in [
        ("Content-Length: 3\r\n\r\nabc", "abc"),
        ("Transfer-Encoding: chunked\r\nTrailer: x-late\r\n\r\n3\r\nabc\r\n0\r\nX-Late: 1\r\n\r\n", "abc"),
        ("\r\nabc", "abc"),
    ] {
        let mut client = stage.connect().await;
        client.write_all(stage.head("GET /api/x HTTP/1.0", &["TE: trailers"]).as_bytes()).await.unwrap();
        let mut call = stage.upstream.call().await;
        assert!(call.head.starts_with("GET /v1/x HTTP/1.1\r\n"), "{}", call.head);
        call.says(format!("HTTP/1.1 200 OK\r\n{said}")).await;
        drop(call);
        let mut answer = String::new();
        let _ = in_time(client.read_to_string(&mut answer)).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
        assert!(
            head.starts_with("HTTP/1.0 200 OK\r\n") && !head.to_lowercase().contains("transfer-encoding"),
            "{head}"
        );
        assert_eq!(body, told, "{said}");
    }
}

#[tokio::test]
async fn many_headers_and_long_ones_pass() {
    let mut stage = Stage::start().await;
    let mut lines = String::new();
    for nth in 0..60 {
        write!(lines, "X-{nth}: {}\r\n", "v".repeat(nth)).unwrap();
    }
    for version in BOTH {
        let mut client = stage.client(version).await;
        let request = stage.call("GET", "/api/x").body(full("")).unwrap();
        let (answer, ()) = tokio::join!(client.send(request), async {
            let long = format!("X-Long: {}\r\n", "l".repeat(8000));
            stage
                .upstream
                .call()
                .await
                .says(format!("HTTP/1.1 200 OK\r\n{lines}{long}Content-Length: 0\r\n\r\n"))
                .await;
        });
        let answer = answer.unwrap();
        assert_eq!((answer.headers()["x-59"].len(), answer.headers()["x-long"].len()), (59, 8000), "{version:?}");
    }
}
