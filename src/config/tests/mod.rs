//! Whole configurations, through the door users use: files and variables in, a `Config` or findings out.

use super::{Config, LoadOptions};

mod broken;
mod documented;
mod layered;
mod masked;
mod sound;

/// A key as `keygen` prints it.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// The smallest sound file.
const SOUND: &str = r#"
[store]
url = "memory:"

[providers.corp]
issuer = "https://id.example.com"

[frontends.shop]
url = "https://shop.example.com/"
client_id = "shop"
client_auth = { secret = "hunter2" }
"#;

fn file(text: &str) -> LoadOptions {
    LoadOptions::default().toml("cloakroom.toml", text)
}

/// `SOUND` with lines added to the end, where the frontend is.
fn shop(lines: &str) -> LoadOptions {
    file(&format!("{SOUND}{lines}\n"))
}

/// The smallest sound environment.
fn short() -> LoadOptions {
    LoadOptions::default()
        .variable("CLOAKROOM_URL", "http://localhost:8080")
        .variable("CLOAKROOM_ISSUER", "https://id.example.com")
        .variable("CLOAKROOM_CLIENT_ID", "shop")
        .variable("CLOAKROOM_CLIENT_SECRET", "hunter2")
        .variable("CLOAKROOM_STORE", "memory:")
}

#[track_caller]
fn load(sources: &LoadOptions) -> Config {
    Config::load(sources).unwrap_or_else(|findings| panic!("{findings}"))
}

#[track_caller]
fn findings(sources: &LoadOptions) -> String {
    Config::load(sources).expect_err("there is something wrong").to_string()
}

/// The messages without the columns before them.
#[track_caller]
fn messages(sources: &LoadOptions) -> Vec<String> {
    let findings = Config::load(sources).expect_err("there is something wrong");
    findings.iter().map(|finding| format!("{}: {}", finding.path, finding.message)).collect()
}
