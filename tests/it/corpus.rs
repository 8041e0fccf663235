//! Attacks byte by byte, over HTTP/1.1 and HTTP/2, each with what has to come of it: `tests/it/data/attacks/`.
//!
//! On the far side stands a reader that takes nothing but one strict reading of HTTP/1.1, so a message that Cloakroom and an
//! upstream could end at different places shows as one message too many, or as a panic.

mod case;
mod frames;
mod message;
mod mutations;
mod upstream;
mod world;

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use self::case::{Case, Version};
use self::frames::Stream;
use self::message::Message;
use self::upstream::Script;
use self::world::World;

#[tokio::test]
async fn two_readers_end_every_request_at_the_same_place() {
    check("framing").await;
}

#[tokio::test]
async fn what_http2_can_say_and_http1_cannot_goes_no_further() {
    check("http2").await;
}

#[tokio::test]
async fn a_target_means_one_thing() {
    check("targets").await;
}

#[tokio::test]
async fn headers_say_only_what_is_the_browsers_to_say() {
    check("headers").await;
}

#[tokio::test]
async fn an_upstream_cannot_end_its_answer_at_two_places_or_speak_for_us() {
    check("answers").await;
}

#[test]
fn every_file_of_attacks_is_run() {
    let names = std::fs::read_dir(DIRECTORY).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    for name in names.filter(|name| name != "README.md") {
        let run = format!("check(\"{}\")", name.trim_end_matches(".txt"));
        assert!(include_str!("corpus.rs").contains(&run), "{name} is run by no test");
    }
}

/// Runs every case, and then says all that is wrong, in the form of the file.
async fn check(family: &str) {
    let cases = case::read(&std::fs::read_to_string(format!("{DIRECTORY}/{family}.txt")).unwrap());
    let (open, trusting) = (World::start("").await, World::start("127.0.0.1").await);
    let mut wrong = String::new();
    for case in &cases {
        let world = if case.behind_a_trusted_proxy { &trusting } else { &open };
        for version in &case.versions {
            let run = async {
                if case.is_about_an_answer() {
                    answer(case, *version, world).await
                } else {
                    request(case, *version, world).await
                }
            };
            let ended = tokio::time::timeout(Duration::from_secs(20), run).await;
            let found = ended.unwrap_or(Err("it neither ends nor goes on".to_owned()));
            if let Err(text) = found {
                writeln!(wrong, "\n=== {}\nover {}\n{text}", case.name, version.name()).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The client is the attacker: how it is answered, and what the upstream saw.
async fn request(case: &Case, version: Version, world: &World) -> Result<(), String> {
    let answer = match version {
        Version::Http1 => attack_over_http1(case, world).await,
        Version::Http2 => attack_over_http2(case, world).await,
    };
    let seen = world.upstream.seen().await;
    // How much of one that breaks off gets there is a matter of time, and it is no request.
    let whole = seen.iter().filter(|request| request.is_whole);
    let arrived: Vec<_> = whole.flat_map(|request| world.request_lines(request, version)).collect();
    let (expected, lines) = (case.answer(version), shown(&arrived));
    if answer == expected && arrived == case.arrives { Ok(()) } else { Err(format!("answer {answer}\n{lines}")) }
}

/// The upstream is the attacker: what the browser saw, and whether the next call is answered with its own answer.
async fn answer(case: &Case, version: Version, world: &World) -> Result<(), String> {
    let says = case::bytes(&case.says, &world.names(version));
    world.upstream.next_says(Script { says, closes: case.upstream_closes });
    let (answers, next) = match version {
        Version::Http1 => (call_over_http1(case, world).await, call_over_http1(&Case::default(), world).await),
        Version::Http2 => (call_over_http2(case, world).await, call_over_http2(&Case::default(), world).await),
    };
    let arrived: Vec<_> = answers.iter().flat_map(|answer| world.answer_lines(answer, version)).collect();
    let next: Vec<_> = next.iter().flat_map(|answer| world.answer_lines(answer, version)).collect();
    world.upstream.seen().await;
    if next != ["200", "content-length: 2", "", "ok"] {
        return Err(format!("the next call:\n{}", shown(&next)));
    }
    if arrived == case.arrives { Ok(()) } else { Err(shown(&arrived)) }
}

fn shown(lines: &[String]) -> String {
    lines.iter().map(|line| format!("= {line}").trim_end().to_owned() + "\n").collect()
}

/// Sends the bytes and, right behind them, a request of its own; says how they were answered and whether it was.
async fn attack_over_http1(case: &Case, world: &World) -> String {
    let names = world.names(Version::Http1);
    let mut bytes = case::bytes(&case.sent, &names);
    if !case.client_hangs_up {
        bytes.extend(case::bytes(&[PROBE.to_owned()], &names));
    }
    let heads = bytes.starts_with(b"HEAD ");
    let answers = over_http1(&bytes, case.client_hangs_up, heads, world).await;
    let goes_on = answers.last().is_some_and(|answer| is_of_the_probe(&answer.body));
    let count = answers.len() - usize::from(goes_on);
    let told: Vec<_> = answers[..count].iter().map(|answer| told(answer.status(), &answer.body)).collect();
    ended(&told, goes_on)
}

async fn over_http1(bytes: &[u8], hangs_up: bool, heads: bool, world: &World) -> Vec<Message> {
    let (mut from, mut to) = world.connect().await.into_split();
    let writing = async {
        // A server that refuses early may close before all of it is written.
        let _ = to.write_all(bytes).await;
        if hangs_up {
            let _ = to.shutdown().await;
        }
    };
    let reading = async {
        let mut answer = Vec::new();
        let _ = from.read_to_end(&mut answer).await;
        answer
    };
    let ((), answer) = tokio::join!(writing, reading);
    let (mut rest, mut answers) = (answer.as_slice(), Vec::new());
    while let Some((message, used)) = message::first(rest, true, heads && answers.is_empty()) {
        answers.push(message);
        rest = &rest[used..];
    }
    answers
}

async fn attack_over_http2(case: &Case, world: &World) -> String {
    let names = world.names(Version::Http2);
    let probe = stream(&case::bytes(&[PROBE.to_owned()], &names));
    let attack = stream(&case::bytes(&case.sent, &names));
    let [first, second] = frames::exchange(&mut world.connect_http2().await, [&attack, &probe]).await;
    let answer = first.broken.unwrap_or_else(|| told(&first.status.unwrap_or_default(), &first.body));
    ended(&[answer], is_of_the_probe(&second.body))
}

fn ended(told: &[String], goes_on: bool) -> String {
    let end = if goes_on { "goes on" } else { "closes" };
    if told.is_empty() { end.to_owned() } else { format!("{}, {end}", told.join(", ")) }
}

fn told(status: &str, body: &[u8]) -> String {
    world::problem(body).map_or_else(|| status.to_owned(), |problem| format!("{status} {problem}"))
}

fn is_of_the_probe(body: &[u8]) -> bool {
    body.starts_with(b"{\"authenticated\":false")
}

/// Makes HTTP/2 of a request. One that begins with `:` is a list of fields already; an empty line, the body, a line `%`, and
/// trailers may follow.
fn stream(bytes: &[u8]) -> Stream {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let (head, rest) = end.map_or((bytes, &[][..]), |end| (&bytes[..end], &bytes[end + 4..]));
    let trailers = rest.windows(3).position(|window| window == b"%\r\n");
    let (body, trailers) = trailers.map_or((rest, &[][..]), |at| (&rest[..at], &rest[at + 3..]));
    let lines = |bytes: &[u8]| -> Vec<(Vec<u8>, Vec<u8>)> {
        let lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        lines.filter(|line| !line.is_empty()).map(field).collect()
    };
    let fields = if head.starts_with(b":") { lines(head) } else { converted(head, lines) };
    Stream { fields, body: body.to_vec(), trailers: lines(trailers) }
}

/// The name ends at the first `: ` behind its first byte. `\r` and `\n` in a value are written `␍` and `␊`.
fn field(line: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let at = line.windows(2).skip(1).position(|window| window == b": ").map_or(line.len(), |at| at + 1);
    let plain = |bytes: &[u8]| {
        let mut plain = Vec::new();
        let mut rest = bytes;
        while let Some((first, after)) = rest.split_first() {
            let (byte, after) = match rest {
                [0xe2, 0x90, 0x8d, after @ ..] => (b'\r', after),
                [0xe2, 0x90, 0x8a, after @ ..] => (b'\n', after),
                _ => (*first, after),
            };
            plain.push(byte);
            rest = after;
        }
        plain
    };
    (plain(&line[..at]), plain(line.get(at + 2..).unwrap_or_default()))
}

fn converted(head: &[u8], lines: impl Fn(&[u8]) -> Vec<(Vec<u8>, Vec<u8>)>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let end = head.iter().position(|byte| *byte == b'\r').unwrap_or(head.len());
    let mut words = head[..end].splitn(2, |byte| *byte == b' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap().strip_suffix(b" HTTP/1.1").unwrap());
    let pseudo = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
    let mut fields = vec![pseudo(":method", method), pseudo(":scheme", b"https"), pseudo(":path", target)];
    let mut others = Vec::new();
    for (name, value) in lines(&head[end..]) {
        match name.to_ascii_lowercase().as_slice() {
            b"host" => fields.push(pseudo(":authority", &value)),
            b"connection" => {}
            name => others.push((name.to_vec(), value)),
        }
    }
    fields.extend(others);
    fields
}

/// Sends an ordinary request and reads until the connection ends.
async fn call_over_http1(case: &Case, world: &World) -> Vec<Message> {
    let bytes = case::bytes(&call(case), &world.names(Version::Http1));
    over_http1(&bytes, false, bytes.starts_with(b"HEAD "), world).await
}

async fn call_over_http2(case: &Case, world: &World) -> Vec<Message> {
    let sent = stream(&case::bytes(&call(case), &world.names(Version::Http2)));
    let value = |name: &str| sent.fields.iter().find(|(known, _)| known == name.as_bytes()).unwrap().1.clone();
    let text = |name: &str| String::from_utf8(value(name)).unwrap();
    let mut request = Request::builder().method(text(":method").as_str()).uri(format!(
        "https://{}{}",
        text(":authority"),
        text(":path")
    ));
    for (name, value) in sent.fields.iter().filter(|(name, _)| !name.starts_with(b":")) {
        request = request.header(name.as_slice(), value.as_slice());
    }
    let stream = TokioIo::new(world.connect_http2().await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let answer = match sender.send_request(request.body(Full::<Bytes>::default()).unwrap()).await {
        Ok(answer) => answer,
        Err(error) => return vec![broken(&error.to_string())],
    };
    let (head, mut body) = answer.into_parts();
    let fields = head.headers.iter().map(|(name, value)| (name.to_string(), case::shown(value.as_bytes()))).collect();
    let mut message =
        Message { start: format!("HTTP/2 {}", head.status.as_str()), fields, body: Vec::new(), is_whole: true };
    while let Some(frame) = body.frame().await {
        match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => message.body.extend_from_slice(&data),
            Ok(Err(_)) => message.body.extend_from_slice(b"(trailers)"),
            Err(_) => {
                message.is_whole = false;
                break;
            }
        }
    }
    vec![message]
}

fn broken(text: &str) -> Message {
    Message { start: text.to_owned(), fields: Vec::new(), body: Vec::new(), is_whole: false }
}

fn call(case: &Case) -> Vec<String> {
    if case.sent.is_empty() { [CALL.to_owned()].to_vec() } else { case.sent.clone() }
}

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/data/attacks");
const CALL: &str = r"GET /api/x HTTP/1.1\r\n{ours}\r\nConnection: close\r\n";
/// Answered here, so that it says nothing but that the connection goes on.
const PROBE: &str = r"GET /bff/user HTTP/1.1\r\nHost: {host}\r\nX-CSRF: 1\r\nConnection: close\r\n";
