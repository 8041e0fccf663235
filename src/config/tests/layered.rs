//! Which source wins, and that it is named.

use std::time::Duration;

use super::{KEY, file, findings, load, messages, shop, short};
use crate::config::{LogFormat, Origin};
use crate::frontend::{AssetsOptions, LoginParameter};
use crate::oidc::{Algorithm, ClientAuth, ResponseMode};

const MINUTE: Duration = Duration::from_mins(1);

#[test]
fn the_environment_wins_over_dotenv_over_the_file_over_defaults() {
    let idle = |sources| load(&sources).session.idle;
    let with_file = || shop("").toml("cloakroom.toml", format!("{}\n[session]\nidle = \"20m\"", super::SOUND));
    assert_eq!(idle(shop("")), 30 * MINUTE);
    assert_eq!(idle(with_file()), 20 * MINUTE);
    let with_dotenv = || with_file().dotenv("CLOAKROOM_SESSION_IDLE=10m");
    assert_eq!(idle(with_dotenv()), 10 * MINUTE);
    assert_eq!(idle(with_dotenv().variable("CLOAKROOM_SESSION_IDLE", "5m")), 5 * MINUTE);
}

#[test]
fn every_finding_names_the_source_of_its_value() {
    let sources = file(super::SOUND)
        .dotenv("CLOAKROOM_SESSION_IDLE=soon")
        .variable("CLOAKROOM__SESSION__ABSOLUTE", "later")
        .variable("CLOAKROOM__FRONTENDS__SHOP__CLIENT_AUTH__METHOD", "magic");
    let findings = super::Config::load(&sources).unwrap_err();
    let origin =
        |path: &str| findings.iter().find(|finding| finding.path == path).map(|finding| finding.origin.clone());
    assert_eq!(origin("session.idle"), Some(Origin::DotEnv("CLOAKROOM_SESSION_IDLE".to_owned())));
    assert_eq!(origin("session.absolute"), Some(Origin::Variable("CLOAKROOM__SESSION__ABSOLUTE".to_owned())));
    let method = Origin::Variable("CLOAKROOM__FRONTENDS__SHOP__CLIENT_AUTH__METHOD".to_owned());
    assert_eq!(origin("frontends.shop.client_auth.method"), Some(method));
}

#[test]
fn findings_are_in_the_order_of_the_file_and_a_variable_stands_by_its_section() {
    let sources = file(
        r#"
[store]
uri = "memory:"
[frontends.shop]
url = "shop.example.com"
provider = "crop"
client_id = "shop"
client_auth = { secret = "hunter2" }
[session]
absolute = "12h"
[providers.corp]
issuer = "https://id.example.com"
clock_skew = 60
"#,
    )
    .variable("CLOAKROOM__SESSION__IDLE", "13h")
    .variable("CLOAKROOM__KEYS__MASTER", KEY);
    insta::assert_snapshot!(findings(&sources), @r#"
    cloakroom: 5 problems in the configuration
      store.uri                  (cloakroom.toml)                    unknown key; did you mean "url"?
      frontends.shop.url         (cloakroom.toml)                    "shop.example.com" is not a URL; did you mean "https://shop.example.com/"?
      frontends.shop.provider    (cloakroom.toml)                    no provider "crop"; there is "corp"
      session.idle               (variable CLOAKROOM__SESSION__IDLE) 13h is longer than session.absolute 12h
      providers.corp.clock_skew  (cloakroom.toml)                    60 has no unit; write "60s" if seconds are meant
    "#);
}

#[test]
fn a_value_given_in_the_short_and_the_long_form_is_a_finding() {
    let sources = short()
        .variable("CLOAKROOM__FRONTENDS__DEFAULT__URL", "https://shop.example.com")
        .variable("CLOAKROOM_ROUTES", "/api=https://api.example.com")
        .variable("CLOAKROOM__FRONTENDS__DEFAULT__ROUTES__0__UPSTREAM", "https://other.example.com")
        .variable("CLOAKROOM_CLIENT_SECRET_FILE", "/run/secrets/shop");
    insta::assert_snapshot!(findings(&sources), @r#"
    cloakroom: 3 problems in the configuration
      frontends.default.client_auth.secret  (variable CLOAKROOM_CLIENT_SECRET_FILE)                       also given by CLOAKROOM_CLIENT_SECRET; leave one of them out
      frontends.default.routes[0].upstream  (variable CLOAKROOM__FRONTENDS__DEFAULT__ROUTES__0__UPSTREAM) also given by CLOAKROOM_ROUTES; leave one of them out
      frontends.default.url                 (variable CLOAKROOM__FRONTENDS__DEFAULT__URL)                 also given by CLOAKROOM_URL; leave one of them out
    "#);
}

#[test]
fn a_short_routes_list_may_be_added_to() {
    let sources = short()
        .variable("CLOAKROOM_ROUTES", "/api=https://api.example.com")
        .variable("CLOAKROOM__FRONTENDS__DEFAULT__ROUTES__0__TIMEOUT", "5s");
    assert_eq!(load(&sources).frontends[0].routes[0].timeout, Duration::from_secs(5));
}

#[test]
fn the_short_form_says_everything_one_frontend_needs() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("app")).unwrap();
    std::fs::write(directory.path().join("ca.pem"), "-----BEGIN CERTIFICATE-----\n").unwrap();
    let sources = short()
        .directory(directory.path())
        .variable("CLOAKROOM_LISTEN", "127.0.0.1:8081")
        .variable("CLOAKROOM_ADMIN_LISTEN", "127.0.0.1:9091")
        .variable("CLOAKROOM_SCOPES", "openid api")
        .variable("CLOAKROOM_ROUTES", "/api=https://api.example.com/v1, /b=https://b.example.com")
        .variable("CLOAKROOM_ASSETS", "app")
        .variable("CLOAKROOM_STORE", "sqlite:sessions.db")
        .variable("CLOAKROOM_KEY", KEY)
        .variable("CLOAKROOM_SESSION_IDLE", "5m")
        .variable("CLOAKROOM_SESSION_ABSOLUTE", "1h")
        .variable("CLOAKROOM_ID_TOKEN_ALG", "ES256")
        .variable("CLOAKROOM_RESPONSE_MODE", "form_post")
        .variable("CLOAKROOM_USERINFO", "false")
        .variable("CLOAKROOM_ALLOWED_LOGIN_PARAMETERS", "prompt,login_hint")
        .variable("CLOAKROOM_CA_FILE", "ca.pem")
        .variable("CLOAKROOM_LOG_LEVEL", "cloakroom=debug");
    let config = load(&sources);
    let [frontend] = config.frontends.as_slice() else { panic!("one frontend") };
    assert_eq!(config.server.listen.port(), 8081);
    assert_eq!(config.server.admin_listen.unwrap().to_string(), "127.0.0.1:9091");
    assert_eq!(config.server.log_level.as_deref(), Some("cloakroom=debug"));
    assert!(config.server.ca_pem.is_some());
    assert_eq!((config.session.idle, config.session.absolute), (5 * MINUTE, 60 * MINUTE));
    assert_eq!((config.store.url.expose().as_str(), config.keys.len()), ("sqlite:sessions.db", 1));
    assert_eq!(frontend.id, "default");
    assert_eq!(frontend.url.as_str(), "http://localhost:8080/");
    assert_eq!(frontend.provider.issuer, "https://id.example.com");
    assert_eq!(frontend.provider.id_token_alg, Algorithm::ES256);
    assert_eq!(frontend.client.client_id, "shop");
    assert!(matches!(&frontend.client.auth, ClientAuth::SecretBasic(secret) if secret.expose() == "hunter2"));
    assert_eq!(frontend.client.scopes, ["openid", "api"]);
    assert_eq!(frontend.client.response_mode, ResponseMode::FormPost);
    assert!(!frontend.client.userinfo);
    assert_eq!(frontend.allowed_login_parameters, [LoginParameter::Prompt, LoginParameter::LoginHint]);
    assert_eq!(frontend.assets, Some(AssetsOptions::Dir(directory.path().join("app"))));
    let routes: Vec<_> = frontend.routes.iter().map(|route| (route.path.as_str(), route.upstream.as_str())).collect();
    assert_eq!(routes, [("/api", "https://api.example.com/v1"), ("/b", "https://b.example.com/")]);
}

#[test]
fn secrets_may_be_in_files_and_other_variables() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("key"), format!("{KEY}\n")).unwrap();
    std::fs::write(directory.path().join("shop"), "hunter2\r\n").unwrap();
    let short_form = short().directory(directory.path()).variable("CLOAKROOM_KEY_FILE", "key");
    assert_eq!(load(&short_form).keys[0].to_base64url().expose(), KEY);

    for secret in ["{ file = \"shop\" }", "{ env = \"SHOP_SECRET\" }"] {
        let text = super::SOUND.replace("\"hunter2\"", secret);
        let config = load(&file(&text).directory(directory.path()).variable("SHOP_SECRET", "hunter2"));
        let ClientAuth::SecretBasic(secret) = &config.frontends[0].client.auth else { panic!("a secret") };
        assert_eq!(secret.expose(), "hunter2");
    }
}

#[test]
fn a_variable_replaces_the_other_form_of_the_same_value_in_the_file() {
    let text = super::SOUND.replace("\"hunter2\"", "{ file = \"/nowhere\" }");
    let sources = file(&text).variable("CLOAKROOM__FRONTENDS__SHOP__CLIENT_AUTH__SECRET__ENV", "S").variable("S", "x");
    load(&sources);
    load(&file(&text).variable("CLOAKROOM__FRONTENDS__SHOP__CLIENT_AUTH__SECRET", "hunter2"));
    let sources = shop("assets = { dir = \"/nowhere\" }")
        .variable("CLOAKROOM__FRONTENDS__SHOP__ASSETS__PROXY", "http://localhost:5173");
    assert!(matches!(load(&sources).frontends[0].assets, Some(AssetsOptions::Proxy(_))));
}

#[test]
fn names_of_the_file_are_found_by_variables_in_capitals() {
    let text = super::SOUND.replace("frontends.shop", "frontends.My-Shop");
    let config = load(&file(&text).variable("CLOAKROOM__FRONTENDS__MY_SHOP__CLIENT_ID", "other"));
    assert_eq!(config.frontends.len(), 1);
    assert_eq!(config.frontends[0].client.client_id, "other");
}

#[test]
fn entries_of_a_list_count_as_numbers() {
    let mut sources = shop("");
    for index in 0..12 {
        let key = format!("CLOAKROOM__FRONTENDS__SHOP__ROUTES__{index}__");
        sources = sources.variable(format!("{key}PATH"), format!("/{index}"));
        sources = sources.variable(format!("{key}UPSTREAM"), format!("https://{index}.example.com"));
    }
    let config = load(&sources);
    let paths: Vec<_> = config.frontends[0].routes.iter().map(|route| route.path.clone()).collect();
    assert_eq!(paths, (0..12).map(|index| format!("/{index}")).collect::<Vec<_>>());
    let gap = shop("").variable("CLOAKROOM__FRONTENDS__SHOP__ROUTES__3__PATH", "/api");
    assert_eq!(messages(&gap), ["frontends.shop.routes[3].path: the list has 0 entries so far; count on from 0"]);
}

#[test]
fn an_unknown_variable_is_a_finding_with_a_suggestion() {
    let sources = short().variable("CLOAKROOM_ISSUER_URL", "x").variable("CLOAKROOM__SESSION__IDEL", "5m");
    insta::assert_snapshot!(findings(&sources), @r#"
    cloakroom: 2 problems in the configuration
      CLOAKROOM_ISSUER_URL  (variable CLOAKROOM_ISSUER_URL)     unknown variable; did you mean CLOAKROOM_ISSUER?
      session.idel          (variable CLOAKROOM__SESSION__IDEL) unknown key; did you mean "idle"?
    "#);
}

#[test]
fn what_kubernetes_says_about_a_service_of_our_name_is_not_ours() {
    let sources = short()
        .variable("CLOAKROOM_SERVICE_HOST", "10.0.0.1")
        .variable("CLOAKROOM_SERVICE_PORT_HTTP", "80")
        .variable("CLOAKROOM_PORT", "tcp://10.0.0.1:80")
        .variable("CLOAKROOM_PORT_80_TCP_ADDR", "10.0.0.1");
    load(&sources);
    assert_eq!(messages(&short().variable("CLOAKROOM_PORT", "80")).len(), 1);
}

#[test]
fn variables_of_other_programs_are_none_of_our_business() {
    load(&short().variable("PATH", "/bin").variable("CLOAKROOMS", "3").dotenv("OTHER=1\nexport MORE='2'"));
}

#[test]
fn dotenv_is_read_with_quotes_and_comments() {
    let sources = short().dotenv("# scopes\nCLOAKROOM_SCOPES=\"openid  email\" # two\nCLOAKROOM__SERVER__LOG=json\n");
    let config = load(&sources);
    assert_eq!(config.frontends[0].client.scopes, ["openid", "email"]);
    assert_eq!(config.server.log, LogFormat::Json);
}
