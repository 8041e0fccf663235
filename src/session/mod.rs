//! Who the browser is.
use std::time::Duration;

/// Limits and names of sessions.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// A session that is not used for this long ends.
    pub idle: Duration,
    /// A session ends this long after its login, used or not.
    pub absolute: Duration,
    /// The same for logins with `remember=true`.
    pub remember_absolute: Duration,
    /// The cookie's name without prefix.
    pub cookie_name: String,
    /// How many live sessions one subject may have; none means no limit.
    pub max_per_subject: Option<std::num::NonZeroU32>,
}

impl Default for Options {
    fn default() -> Self {
        const MINUTE: u64 = 60;
        Self {
            idle: Duration::from_secs(30 * MINUTE),
            absolute: Duration::from_secs(12 * 60 * MINUTE),
            remember_absolute: Duration::from_secs(30 * 24 * 60 * MINUTE),
            cookie_name: "cloakroom".to_owned(),
            max_per_subject: None,
        }
    }
}
