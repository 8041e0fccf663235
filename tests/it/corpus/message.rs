//! HTTP/1.1 as the strictest reader sees it (RFC 9112 §6.3): what it would take for one message, and what it would be left with.

use super::case::shown;

/// A request or an answer.
#[derive(Debug)]
pub(super) struct Message {
    /// The first line.
    pub(super) start: String,
    /// Names in lower case.
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// Whether it came to its end.
    pub(super) is_whole: bool,
}

impl Message {
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The status of an answer.
    pub(super) fn status(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or(&self.start)
    }

    fn lacks_a_body(&self, heads: bool) -> bool {
        let status = self.start.strip_prefix("HTTP/1.1 ").unwrap_or_default();
        !status.is_empty() && (heads || ["1", "204", "304"].iter().any(|bodiless| status.starts_with(bodiless)))
    }
}

/// The first message of `bytes` and its length; None if it has not come to its end and more may come. `ended` says that nothing will,
/// `heads` that the answer is to a HEAD.
pub(super) fn first(bytes: &[u8], ended: bool, heads: bool) -> Option<(Message, usize)> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        let rest = || Message { start: shown(bytes), fields: Vec::new(), body: Vec::new(), is_whole: false };
        return (ended && !bytes.is_empty()).then(|| (rest(), bytes.len()));
    };
    let mut lines = split_lines(&bytes[..end]).into_iter();
    let start = shown(lines.next().unwrap_or_default());
    let fields = lines.map(field).collect();
    let mut message = Message { start, fields, body: Vec::new(), is_whole: true };
    let rest = &bytes[end + 4..];
    let used = if message.lacks_a_body(heads) { Some(0) } else { body(&mut message, rest, ended) };
    match used {
        Some(used) => Some((message, end + 4 + used)),
        None if ended => {
            message.is_whole = false;
            Some((message, bytes.len()))
        }
        None => None,
    }
}

fn split_lines(head: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut start) = (Vec::new(), 0);
    for at in 0..head.len().saturating_sub(1) {
        if &head[at..at + 2] == b"\r\n" {
            lines.push(&head[start..at]);
            start = at + 2;
        }
    }
    lines.push(&head[start..]);
    lines
}

fn field(line: &[u8]) -> (String, String) {
    let line = shown(line);
    let (name, value) = line.split_once(": ").unwrap_or((&line, ""));
    (name.to_ascii_lowercase(), value.to_owned())
}

/// Reads the body and says how long it was on the wire. None if it did not end.
fn body(message: &mut Message, rest: &[u8], ended: bool) -> Option<usize> {
    let lengths: Vec<_> = message.values("content-length").map(str::to_owned).collect();
    let codings: Vec<_> = message.values("transfer-encoding").map(str::to_owned).collect();
    match (lengths.as_slice(), codings.as_slice()) {
        ([], [coding]) if coding == "chunked" => chunks(&mut message.body, rest),
        ([length], []) => {
            let Ok(length) = length.parse::<usize>() else { return unreadable(message, "a length that is no number") };
            message.body = rest[..length.min(rest.len())].to_vec();
            (rest.len() >= length).then_some(length)
        }
        ([], []) if message.start.starts_with("HTTP/") => {
            message.body = rest.to_vec();
            ended.then_some(rest.len())
        }
        ([], []) => Some(0),
        _ => unreadable(message, "two readers would see two bodies"),
    }
}

/// Never comes to an end.
fn unreadable(message: &mut Message, why: &str) -> Option<usize> {
    message.start = format!("{} ({why})", message.start);
    None
}

fn chunks(body: &mut Vec<u8>, bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = bytes[at..].windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(str::from_utf8(&bytes[at..at + line]).ok()?, 16).ok()?;
        at += line + 2;
        let end = at.checked_add(size)?;
        body.extend_from_slice(&bytes[at..bytes.len().min(end)]);
        at = end + 2;
        if bytes.get(end..at)? != b"\r\n" {
            return None;
        }
        if size == 0 {
            return Some(at);
        }
    }
}
