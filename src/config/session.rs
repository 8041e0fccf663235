//! `[session]`: limits and names.

use std::num::NonZeroU32;
use std::time::Duration;

use super::raw;
use super::reader::Section;
use super::values::{show_duration, shown};
use crate::session::Options;

pub(super) fn read(raw: &raw::Session, at: &Section<'_>) -> Options {
    let default = Options::default();
    let mut options = default.clone();
    options.idle = at.duration("idle", &raw.idle, default.idle);
    options.absolute = at.duration("absolute", &raw.absolute, default.absolute);
    options.remember_absolute = at.duration("remember_absolute", &raw.remember_absolute, default.remember_absolute);
    options.cookie_name = at.parse("cookie_name", &raw.cookie_name, cookie_name).unwrap_or(default.cookie_name);
    options.max_per_subject = at.number("max_per_subject", &raw.max_per_subject).and_then(NonZeroU32::new);
    in_order(at, ("idle", options.idle), ("absolute", options.absolute));
    // Not set, it grows with `absolute` rather than being in its way.
    if raw.remember_absolute.0.is_none() {
        options.remember_absolute = options.remember_absolute.max(options.absolute);
    }
    in_order(at, ("absolute", options.absolute), ("remember_absolute", options.remember_absolute));
    options
}

fn in_order(at: &Section<'_>, (key, shorter): (&str, Duration), (other, longer): (&str, Duration)) {
    if shorter > longer {
        let (shorter, longer) = (show_duration(shorter), show_duration(longer));
        at.complain(key, format!("{shorter} is longer than session.{other} {longer}"));
    }
}

/// The name without prefix and suffix: both are ours to add.
fn cookie_name(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if text.is_empty() || text.len() > MAX_NAME || text.starts_with("__") || !plain {
        return Err(format!(
            "{} is not a cookie name: 1 to {MAX_NAME} letters, digits, \"-\" and \"_\"; the prefix is added by itself",
            shown(text)
        ));
    }
    Ok(text.to_owned())
}

const MAX_NAME: usize = 40;
