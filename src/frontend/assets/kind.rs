//! What a file is, by its name.

/// The media type of a file, by its extension. `None` for those that no page is built from.
pub(super) fn of(name: &str) -> Option<&'static str> {
    if name.ends_with(".d.ts") {
        return Some("text/plain; charset=utf-8");
    }
    let (_, extension) = name.rsplit_once('.')?;
    let kind = match extension.to_ascii_lowercase().as_str() {
        "html" | "htm" => HTML,
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "woff" => "font/woff",
        "ttf" => "font/ttf",
        "otf" => "font/otf",
        "mp3" => "audio/mpeg",
        "ogg" => "audio/ogg",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "pdf" => "application/pdf",
        "txt" => "text/plain; charset=utf-8",
        "md" => "text/markdown; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "xml" => "application/xml",
        "zip" => "application/zip",
        "gz" => "application/gzip",
        _ => return None,
    };
    Some(kind)
}

/// A page.
pub(super) const HTML: &str = "text/html; charset=utf-8";

/// Whether a file's name changes with its content, as bundlers name them (`app.3f9a1c2e.js`, `index-B2x9kQ0a.css`).
///
/// A wrong yes is kept by browsers for a year, a wrong no costs one conditional request. So a part of the name counts only if it
/// is not the first one, is 8 or more hex digits or exactly 8 letters and digits, and has a digit in front of a letter, as words
/// with a number (`chapter1`, `20240131`) do not.
pub(super) fn is_hashed(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or_default();
    let Some((stem, _)) = name.rsplit_once('.') else { return false };
    stem.split(['.', '-']).skip(1).any(is_hash)
}

fn is_hash(part: &str) -> bool {
    let is_hex = part.len() >= 8 && part.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
    let is_short = part.len() == 8 && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let first_digit = part.find(|character: char| character.is_ascii_digit());
    let last_letter = part.rfind(|character: char| character.is_ascii_alphabetic());
    (is_hex || is_short) && first_digit.zip(last_letter).is_some_and(|(digit, letter)| digit < letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_says_the_kind() {
        assert_eq!(of("a/app.js"), Some("text/javascript; charset=utf-8"));
        assert_eq!(of("INDEX.HTML"), Some(HTML));
        assert_eq!(of("users/john.doe"), None);
        assert_eq!(of("cart"), None);
    }

    #[test]
    fn only_names_that_change_with_the_content_are_kept_for_ever() {
        for name in [
            "app.3f9a1c2e.js",
            "main.3f9a1c2e.chunk.js",
            "assets/index-B2x9kQ0a.css",
            "assets/logo-d41d8cd98f00b204e9800998ecf8427e.svg",
        ] {
            assert!(is_hashed(name), "{name}");
        }
        for name in [
            "index.html",
            "app.js",
            "jquery-3.7.1.min.js",
            "part-chapter1.js",
            "report-20240131.pdf",
            "app-settings.js",
            "my-MyModule.js",
            "deadbeef.js",
            "app-1a2b.js",
            "app.3f9a1c2e",
        ] {
            assert!(!is_hashed(name), "{name}");
        }
    }
}
