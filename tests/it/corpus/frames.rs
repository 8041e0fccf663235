//! HTTP/2 by hand (RFC 9113, RFC 7541): a client that sends header fields no library would let it send.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// A request: its fields in order, pseudo-header fields among them, its body, and its trailers.
#[derive(Default)]
pub(super) struct Stream {
    pub(super) fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<(Vec<u8>, Vec<u8>)>,
}

/// How a stream ended.
#[derive(Default)]
pub(super) struct Ended {
    pub(super) status: Option<String>,
    pub(super) body: Vec<u8>,
    /// `reset …` or `goaway …` and the reason, or that the connection closed.
    pub(super) broken: Option<String>,
}

/// Sends both at once, on streams 1 and 3, and reads until both have ended.
pub(super) async fn exchange(
    connection: &mut (impl AsyncRead + AsyncWrite + Unpin),
    streams: [&Stream; 2],
) -> [Ended; 2] {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut bytes, SETTINGS, 0, 0, &[]);
    write(&mut bytes, 1, streams[0]);
    write(&mut bytes, 3, streams[1]);
    // A server that refuses early may close before all of it is written.
    let _ = connection.write_all(&bytes).await;
    let _ = connection.flush().await;
    let mut ended = [Ended::default(), Ended::default()];
    let mut open = [true, true];
    while open.contains(&true) {
        let Some(received) = read(connection).await else { break };
        let at = usize::from(received.stream == 3);
        match received.kind {
            SETTINGS if received.flags & ACK == 0 => reply(connection, SETTINGS, &[]).await,
            PING if received.flags & ACK == 0 => reply(connection, PING, &received.payload).await,
            HEADERS => ended[at].status = Some(status(&received.payload)),
            DATA => ended[at].body.extend_from_slice(&received.payload),
            RST_STREAM if open[at] => ended[at].broken = Some(format!("reset {}", reason(&received.payload))),
            // Without an error it only says which streams are the last.
            GOAWAY if reason(&received.payload[4..]) != "NO_ERROR" => {
                let text = format!("goaway {}", reason(&received.payload[4..]));
                ended
                    .iter_mut()
                    .zip(open)
                    .filter(|(_, open)| *open)
                    .for_each(|(end, _)| end.broken = Some(text.clone()));
                break;
            }
            _ => {}
        }
        let ends =
            received.kind == RST_STREAM || matches!(received.kind, HEADERS | DATA) && received.flags & END_STREAM != 0;
        open[at] &= !ends;
    }
    for (end, _) in ended.iter_mut().zip(open).filter(|(end, open)| *open && end.broken.is_none()) {
        end.broken = Some("closed".to_owned());
    }
    ended
}

struct Received {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

async fn read(connection: &mut (impl AsyncRead + Unpin)) -> Option<Received> {
    let mut head = [0; 9];
    connection.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
    connection.read_exact(&mut payload).await.ok()?;
    Some(Received { kind: head[3], flags: head[4], stream: number(&head[5..]), payload })
}

async fn reply(connection: &mut (impl AsyncWrite + Unpin), kind: u8, payload: &[u8]) {
    let mut bytes = Vec::new();
    frame(&mut bytes, kind, ACK, 0, payload);
    let _ = connection.write_all(&bytes).await;
    let _ = connection.flush().await;
}

fn write(bytes: &mut Vec<u8>, id: u32, stream: &Stream) {
    let ends = |last: bool| if last { END_STREAM } else { 0 };
    let (bodiless, untrailed) = (stream.body.is_empty(), stream.trailers.is_empty());
    block(bytes, id, ends(bodiless && untrailed), &stream.fields);
    let mut pieces = stream.body.chunks(LARGEST_FRAME).peekable();
    while let Some(piece) = pieces.next() {
        frame(bytes, DATA, ends(pieces.peek().is_none() && untrailed), id, piece);
    }
    if !untrailed {
        block(bytes, id, END_STREAM, &stream.trailers);
    }
}

fn block(bytes: &mut Vec<u8>, id: u32, flags: u8, fields: &[(Vec<u8>, Vec<u8>)]) {
    let mut block = Vec::new();
    for (name, value) in fields {
        // A literal without indexing and with a new name (RFC 7541 §6.2.2).
        block.push(0);
        literal(&mut block, name);
        literal(&mut block, value);
    }
    let mut pieces = block.chunks(LARGEST_FRAME).peekable();
    let mut kind = HEADERS;
    while let Some(piece) = pieces.next() {
        let last = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        frame(bytes, kind, last | if kind == HEADERS { flags } else { 0 }, id, piece);
        kind = CONTINUATION;
    }
}

/// Without Huffman coding; the length is an integer with a prefix of seven bits (RFC 7541 §5.1).
fn literal(block: &mut Vec<u8>, text: &[u8]) {
    let short = |number: usize| u8::try_from(number).unwrap();
    if text.len() < 127 {
        block.push(short(text.len()));
    } else {
        block.push(127);
        let mut rest = text.len() - 127;
        while rest >= 128 {
            block.push(short(rest % 128 + 128));
            rest /= 128;
        }
        block.push(short(rest));
    }
    block.extend_from_slice(text);
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

/// `:status` is the first field of an answer: one of the static table, or a literal with Huffman coded digits (RFC 7541 §6, Appendix B).
fn status(block: &[u8]) -> String {
    let known = ["200", "204", "206", "304", "400", "404", "500"];
    match block {
        [index @ 0x88..=0x8e, ..] => known[usize::from(index - 0x88)].to_owned(),
        [0x48 | 0x08 | 0x18, length, value @ ..] if length & 0x80 == 0 => {
            String::from_utf8(value[..usize::from(*length)].to_vec()).unwrap()
        }
        [0x48 | 0x08 | 0x18, length, value @ ..] => digits(&value[..usize::from(length & 0x7f)]),
        _ => panic!("no status in {block:02x?}"),
    }
}

fn digits(bytes: &[u8]) -> String {
    let bits = bytes.iter().fold(String::new(), |bits, byte| bits + &format!("{byte:08b}"));
    let (mut text, mut rest) = (String::new(), bits.as_str());
    while rest.len() >= 5 && text.len() < 3 {
        let value = |length: usize| u32::from_str_radix(&rest[..length], 2).unwrap();
        // 0 to 2 have five bits, 3 to 9 have six and begin at 011001.
        let (digit, length) = if value(5) <= 2 { (value(5), 5) } else { (value(6) - 0b01_1001 + 3, 6) };
        text.push(char::from_digit(digit, 10).unwrap());
        rest = &rest[length..];
    }
    text
}

fn reason(payload: &[u8]) -> String {
    let known = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR"];
    let code = number(payload);
    let more = [(7, "REFUSED_STREAM"), (8, "CANCEL"), (9, "COMPRESSION_ERROR"), (11, "ENHANCE_YOUR_CALM")];
    let more = more.iter().find(|(of, _)| *of == code).map(|(_, name)| *name);
    known.get(code as usize).copied().or(more).map_or(code.to_string(), str::to_owned)
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// What every peer takes (RFC 9113 §4.2).
const LARGEST_FRAME: usize = 16_384;
