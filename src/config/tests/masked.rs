//! No secret is ever shown, whatever else is wrong.

use proptest::prelude::*;

use super::{Config, file, load, shop, short};

/// Nothing else looks like this.
const SECRET: &str = "S3CRETMARKERS3CRETMARKERS3CRETMARKERS3CRETMA";

#[test]
fn a_secret_in_the_wrong_place_is_not_shown() {
    for text in [
        format!("keys = \"{SECRET}\""),
        format!("[server]\nadmin_token = [\"{SECRET}\"]"),
        format!("[server]\nadmin_token = \"{SECRET} \""),
        format!("[server]\nadmin_listen = \"unix:/a:{SECRET}@b/\""),
        format!("[keys]\nmaster = \"{SECRET}\""),
        format!("[keys]\nmaster = {{ secret = \"{SECRET}\" }}"),
        format!("[frontends.shop]\nclient_auth = \"{SECRET}\""),
        format!("[frontends.shop.client_auth]\nsecrets = \"{SECRET}\""),
        format!("[frontends.shop.client_auth]\nsecret = {{ file = \"/x\", value = \"{SECRET}\" }}"),
        format!("[frontends.shop]\nclient_secret = \"{SECRET}\""),
        format!("[frontends.shop]\nurl = \"https://a:{SECRET}@shop.example.com/\""),
        format!("[providers.corp]\nissuer = \"https://a:{SECRET}@id.example.com/\""),
        format!("[store]\nurl = \"postgres://a:{SECRET}@db/x\""),
        format!("[store]\nurl = \"postgres://a:x/{SECRET}@db/x\""),
        format!("[store]\nurl = \"postgres://db/x?passwd={SECRET}\""),
        format!("[store]\nurl = \"postgres://a:?{SECRET}@db/x\""),
        format!("[store]\nurl = \"postgres://a:1#{SECRET}@db/x\""),
        format!("[store]\nurl = \"mysql://a:{SECRET}@db/x\""),
        format!("[store]\nurl = \"mysql://a:?{SECRET}@db/x\""),
        format!("[frontends.shop]\nroutes = [{{ path = \"/a\", upstream = \"https://a.example/?key={SECRET}\" }}]"),
        format!("[frontends.shop]\nclient_secret = {SECRET}"),
        format!("[frontends.shop]\nclient_secret = '{SECRET}"),
    ] {
        let findings = Config::load(&file(&text)).unwrap_err();
        assert!(!format!("{findings} {findings:?}").contains(SECRET), "{text}\n{findings}");
    }
}

#[test]
fn neither_debug_nor_the_summary_shows_a_secret() {
    let sources = short().variable("CLOAKROOM_CLIENT_SECRET", SECRET).variable("CLOAKROOM_ADMIN_TOKEN", SECRET);
    let config = load(&sources.variable("CLOAKROOM_KEY", super::KEY));
    let shown = format!("{config:?}\n{}", config.summary());
    assert!(!shown.contains(SECRET) && !shown.contains(super::KEY), "{shown}");
}

#[test]
fn a_password_of_the_store_is_not_shown() {
    for url in [
        format!("postgres://cloakroom:{SECRET}@db/sessions"),
        format!("postgres://db/sessions?user=cloakroom&password={SECRET}"),
        format!("rediss://:{SECRET}@redis:6380/1"),
        format!("redis-sentinel://a:{SECRET}@one,two/main"),
        format!("redis-cluster://a:{SECRET}@one,two"),
    ] {
        let config = load(&short().variable("CLOAKROOM_STORE", &url).variable("CLOAKROOM_KEY", super::KEY));
        let shown = format!("{config:?}\n{}", config.summary());
        assert!(!shown.contains(SECRET), "{shown}");
    }
}

#[test]
fn a_password_of_a_store_whose_url_is_wrong_is_not_shown_either() {
    for url in [
        format!("redis-cluster://a:x/{SECRET}@one,two"),
        format!("redis-cluster://a:{SECRET}?x@one,two"),
        format!("postgres://cloakroom:{SECRET}@db:port/sessions"),
    ] {
        let sources = short().variable("CLOAKROOM_STORE", &url).variable("CLOAKROOM_KEY", super::KEY);
        let findings = Config::load(&sources).unwrap_err().to_string();
        assert!(findings.contains("store.url") && !findings.contains(SECRET), "{findings}");
    }
}

#[test]
fn the_summary_names_the_store_without_its_password() {
    let url = format!("postgres://cloakroom:{SECRET}@db:5433/sessions?sslmode=verify-full");
    let config = load(&short().variable("CLOAKROOM_STORE", url).variable("CLOAKROOM_KEY", super::KEY));
    let summary = config.summary().to_string();
    assert!(summary.contains("postgres://***@db:5433/sessions?…, 1 master key"), "{summary}");
}

#[test]
fn the_url_of_the_store_may_be_in_a_file_or_a_variable() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("postgres://cloakroom:{SECRET}@db/sessions");
    std::fs::write(directory.path().join("store"), format!("{url}\n")).unwrap();
    let text = super::SOUND.replace("\"memory:\"", "{ env = \"DATABASE_URL\" }");
    let sources = file(&text).directory(directory.path()).variable("CLOAKROOM_KEY", super::KEY);
    assert_eq!(load(&sources.clone().variable("DATABASE_URL", &url)).store.url.expose(), &url);
    assert_eq!(load(&sources.variable("CLOAKROOM_STORE_FILE", "store")).store.url.expose(), &url);
}

proptest! {
    #[test]
    fn findings_about_anything_else_do_not_show_the_secret(key in "[a-z_]{1,12}", value in "\\PC{0,40}") {
        let variable = format!("CLOAKROOM__FRONTENDS__SHOP__{}", key.to_ascii_uppercase());
        let sources = shop("").variable("CLOAKROOM__FRONTENDS__SHOP__CLIENT_AUTH__SECRET", SECRET).variable(variable, value);
        let shown = match Config::load(&sources) {
            Ok(config) => config.summary().to_string(),
            Err(findings) => findings.to_string(),
        };
        prop_assert!(!shown.contains(SECRET));
    }

    #[test]
    fn a_password_in_any_url_is_not_shown(user in "[a-z]{0,8}", host in "[a-z.:/?#]{0,12}", key in 0..5_usize) {
        let url = format!("https://{user}:{SECRET}@{host}");
        let key = ["CLOAKROOM_URL", "CLOAKROOM_ISSUER", "CLOAKROOM_ASSETS", "CLOAKROOM_STORE", "CLOAKROOM_LISTEN"][key];
        let findings = Config::load(&short().variable(key, url)).unwrap_err();
        prop_assert!(!findings.to_string().contains(SECRET), "{}", findings);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}", dotenv in "\\PC{0,100}") {
        let _ = Config::load(&file(&text).dotenv(dotenv));
    }
}
