//! Signals as notifications carry them: words with blanks between, the row's key last, in hex.
//!
//! `ended logout KEY`, `replaced KEY`, `refreshed 7 KEY`, `released KEY`: a hundred bytes at most, of the 8000 that the server takes.

use serde_json::Value;

use crate::store::{Reason, SessionKey, Signal};

/// All of `ended` but the key, which the statement that removes the row adds.
pub(super) fn ended(reason: Reason) -> String {
    let name = serde_json::to_value(reason).unwrap_or_default();
    format!("ended {} ", name.as_str().unwrap_or_default())
}

/// What a notification says. What this version does not know is told as [`Signal::Lost`]: something happened.
pub(super) fn read(payload: &str) -> Signal {
    understood(payload).unwrap_or(Signal::Lost)
}

fn understood(payload: &str) -> Option<Signal> {
    let (head, key) = payload.rsplit_once(' ')?;
    let key = key_from(key)?;
    Some(match head.split_once(' ') {
        None if head == "replaced" => Signal::Replaced { key },
        None if head == "released" => Signal::Released { key },
        Some(("refreshed", version)) => Signal::Refreshed { key, version: version.parse().ok()? },
        Some(("ended", reason)) => Signal::Ended { key, reason: reason_from(reason)? },
        _ => return None,
    })
}

fn reason_from(name: &str) -> Option<Reason> {
    serde_json::from_value(Value::String(name.to_owned())).ok()
}

fn key_from(hex: &str) -> Option<SessionKey> {
    let digits = hex.bytes().map(|digit| char::from(digit).to_digit(16)).collect::<Option<Vec<_>>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).filter_map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect();
    bytes.try_into().ok().filter(|_| hex.len() == 64).map(SessionKey::from_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_signal_is_read_back() {
        let key = SessionKey::from_bytes(std::array::from_fn(|n| u8::try_from(n * 8).unwrap()));
        let hex = crate::store::names::hex(key.as_bytes());
        for reason in [
            Reason::Logout,
            Reason::ReplacedByOtherUser,
            Reason::Expired,
            Reason::ProviderLogout,
            Reason::RefreshRefused,
            Reason::RefreshLost,
            Reason::ByUser,
            Reason::Limit,
            Reason::Admin,
            Reason::Unreadable,
        ] {
            assert_eq!(read(&(ended(reason) + &hex)), Signal::Ended { key, reason });
        }
        assert_eq!(read(&format!("replaced {hex}")), Signal::Replaced { key });
        assert_eq!(read(&format!("released {hex}")), Signal::Released { key });
        assert_eq!(read(&format!("refreshed 7 {hex}")), Signal::Refreshed { key, version: 7 });
    }

    #[test]
    fn what_nobody_understands_is_not_passed_over() {
        let hex = "00".repeat(32);
        for payload in ["", "ended", "replaced", "replaced 00", "ended by-magic 00", "refreshed x 00", "melted 00"] {
            assert_eq!(
                read(&payload.replace("00", &hex)),
                if payload == "replaced 00" {
                    Signal::Replaced { key: SessionKey::from_bytes([0; 32]) }
                } else {
                    Signal::Lost
                }
            );
        }
        for key in [&hex[1..], &format!("{hex}00"), &hex.replace('0', "g")] {
            assert_eq!(read(&format!("replaced {key}")), Signal::Lost);
        }
    }
}
