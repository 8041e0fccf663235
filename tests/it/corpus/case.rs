//! One attack, as a file of `tests/it/data/attacks/` describes it. The form is explained there, in `README.md`.

use std::fmt::Write as _;

/// What is sent, and how it has to end.
#[derive(Default)]
pub(super) struct Case {
    pub(super) name: String,
    /// Why it ends as it does, and where that is written.
    why: String,
    pub(super) versions: Vec<Version>,
    pub(super) behind_a_trusted_proxy: bool,
    /// `>`: the client's lines.
    pub(super) sent: Vec<String>,
    /// `<`: what the upstream answers instead of its usual `ok`.
    pub(super) says: Vec<String>,
    /// `=`: what comes out on the far side, the upstream's for a request, the browser's for an answer.
    pub(super) arrives: Vec<String>,
    answers: Vec<(Option<Version>, String)>,
    pub(super) upstream_closes: bool,
    pub(super) client_hangs_up: bool,
}

/// What the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

impl Version {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "http/2",
        }
    }

    pub(super) fn scheme(self) -> &'static str {
        match self {
            Self::Http1 => "http",
            Self::Http2 => "https",
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Self::Http1, Self::Http2].into_iter().find(|version| version.name() == name)
    }
}

/// All cases of a file.
pub(super) fn read(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("=== ") {
            cases.push(Case { name: name.to_owned(), ..Case::default() });
        } else if !line.is_empty() && !line.starts_with('#') {
            cases.last_mut().unwrap_or_else(|| panic!("no name before {line:?}")).take(line);
        }
    }
    assert!(!cases.is_empty(), "a file without attacks proves nothing");
    cases.iter().for_each(Case::check);
    cases
}

impl Case {
    fn take(&mut self, line: &str) {
        let words = line.split_once(' ').unwrap_or((line, ""));
        match words {
            (">", rest) => self.sent.push(rest.to_owned()),
            ("<", rest) => self.says.push(rest.to_owned()),
            ("=", rest) => self.arrives.push(rest.to_owned()),
            ("over", "both") => self.versions = vec![Version::Http1, Version::Http2],
            ("over", name) => self.versions = vec![Version::of(name).unwrap_or_else(|| panic!("{line}"))],
            ("answer", rest) => self.take_answer(rest),
            _ if line == "behind a trusted proxy" => self.behind_a_trusted_proxy = true,
            _ if line == "the upstream closes" => self.upstream_closes = true,
            _ if line == "the client hangs up" => self.client_hangs_up = true,
            _ => self.why += line,
        }
    }

    fn take_answer(&mut self, text: &str) {
        let named = text.strip_prefix("over ").and_then(|rest| rest.split_once(": "));
        self.answers.push(match named {
            Some((version, rest)) => (Version::of(version), rest.to_owned()),
            None => (None, text.to_owned()),
        });
    }

    fn check(&self) {
        let name = &self.name;
        assert!(
            ["RFC ", "http.md", "docs/"].iter().any(|source| self.why.contains(source)),
            "{name}: where is it written?"
        );
        assert!(!self.versions.is_empty(), "{name}: over what?");
        assert!(self.is_about_an_answer() == self.answers.is_empty(), "{name}: an answer, or lines of the upstream's");
    }

    /// Whether the upstream is the attacker.
    pub(super) fn is_about_an_answer(&self) -> bool {
        !self.says.is_empty()
    }

    /// How it ends for a client that speaks `version`.
    pub(super) fn answer(&self, version: Version) -> &str {
        let fits = |(of, _): &&(Option<Version>, String)| of.is_none_or(|of| of == version);
        &self.answers.iter().find(fits).unwrap_or_else(|| panic!("{}: no answer over {}", self.name, version.name())).1
    }
}

/// Lines as bytes: each ends with CR LF unless it ends with `\`.
pub(super) fn bytes(lines: &[String], names: &[(&str, String)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        let line = filled_in(line, names);
        match line.strip_suffix('\\') {
            Some(open) => unescape(open, &mut bytes),
            None => unescape(&(line + "\\r\\n"), &mut bytes),
        }
    }
    bytes
}

/// `{name}` becomes what `names` says, `{3*text}` is `texttexttext`.
fn filled_in(line: &str, names: &[(&str, String)]) -> String {
    let (mut text, mut rest) = (String::new(), line);
    while let Some((before, after)) = rest.split_once('{') {
        let (inner, behind) = after.split_once('}').unwrap_or_else(|| panic!("an open brace in {line}"));
        text += before;
        match inner.split_once('*') {
            Some((times, what)) => text += &what.repeat(times.parse().unwrap()),
            None => text += &names.iter().find(|(name, _)| *name == inner).unwrap_or_else(|| panic!("{inner}?")).1,
        }
        rest = behind;
    }
    text + rest
}

fn unescape(text: &str, bytes: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = match (first, after) {
            (b'\\', [b'x', high, low, after @ ..]) => {
                let digits = [*high, *low];
                bytes.push(u8::from_str_radix(str::from_utf8(&digits).unwrap(), 16).unwrap());
                after
            }
            (b'\\', [letter, after @ ..]) => {
                let known = [(b'r', b'\r'), (b'n', b'\n'), (b't', b'\t'), (b'0', 0), (b'\\', b'\\'), (b's', b' ')];
                bytes.push(known.iter().find(|(name, _)| name == letter).unwrap_or_else(|| panic!("{text}")).1);
                after
            }
            _ => {
                bytes.push(*first);
                after
            }
        };
    }
}

/// Bytes as a line of a file; long ones are cut.
pub(super) fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(LONGEST) {
        match byte {
            b'\r' => text += "\\r",
            b'\n' => text += "\\n",
            b'\\' => text += "\\\\",
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => write!(text, "\\x{byte:02x}").unwrap(),
        }
    }
    if bytes.len() > LONGEST {
        write!(text, "… {} bytes", bytes.len()).unwrap();
    }
    text
}

const LONGEST: usize = 400;
