use std::net::IpAddr;

use axum::Router;
use axum::extract::Request as Received;
use axum::routing::any;
use http::{HeaderName, HeaderValue, StatusCode};
use http_body_util::Empty;
use tokio::net::TcpListener;

use super::*;
use crate::proxy::{ClientHops, Scheme, Upgrades};

fn spa() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("index.html", "<!doctype html>"),
        ("app.3f9a1c2e.js", "app()"),
        ("logo.svg", "<svg/>"),
        ("docs/index.html", "docs"),
        ("with space.txt", "space"),
        (".env", "SECRET=1"),
        (".git/config", "SECRET=1"),
        (".well-known/security.txt", "Contact: x"),
    ] {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    directory
}

fn directory(directory: &tempfile::TempDir) -> Assets {
    Assets::new(&AssetsOptions::Dir(directory.path().to_owned()), "/shop/", &Client::for_tests()).unwrap()
}

async fn serve<B>(assets: &Assets, request: Request<B>) -> Result<Response<Body>, Refusal>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    let hops = ClientHops {
        client: IpAddr::from([203, 0, 113, 7]),
        proxies: Vec::new(),
        scheme: Scheme::Https,
        host: Some(HeaderValue::from_static("shop.example")),
    };
    let context = ForwardContext {
        hops: &hops,
        csrf_header: &HeaderName::from_static("x-csrf"),
        own_cookies: &["__Host-Http-cloakroom".to_owned()],
        upgrades: &Upgrades::default(),
        session: None,
    };
    assets.serve(request, &context).await
}

fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::get(path).body(Empty::new()).unwrap()
}

fn asked(path: &str, name: &'static str, value: &str) -> Request<Empty<Bytes>> {
    Request::get(path).header(name, value).body(Empty::new()).unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn files_are_served_with_kind_and_cache_rule() {
    let spa = spa();
    let assets = directory(&spa);
    for (path, kind, keep, content) in [
        ("/shop/", "text/html; charset=utf-8", "no-cache", "<!doctype html>"),
        ("/shop", "text/html; charset=utf-8", "no-cache", "<!doctype html>"),
        ("/shop/index.html", "text/html; charset=utf-8", "no-cache", "<!doctype html>"),
        ("/shop/docs/", "text/html; charset=utf-8", "no-cache", "docs"),
        ("/shop/app.3f9a1c2e.js", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable", "app()"),
        ("/shop/logo.svg", "image/svg+xml", "no-cache", "<svg/>"),
        ("/shop/with%20space.txt", "text/plain; charset=utf-8", "no-cache", "space"),
        ("/shop/.well-known/security.txt", "text/plain; charset=utf-8", "no-cache", "Contact: x"),
    ] {
        let response = serve(&assets, get(path)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let headers = response.headers();
        assert_eq!(
            (&headers["content-type"], &headers["cache-control"]),
            (&HeaderValue::from_static(kind), &HeaderValue::from_static(keep))
        );
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["content-length"], content.len().to_string());
        assert_eq!(text(response).await, content, "{path}");
    }
}

#[tokio::test]
async fn routes_of_the_spa_are_its_index_and_missing_files_are_missing() {
    let spa = spa();
    let assets = directory(&spa);
    for (path, mode, is_page) in [
        ("/shop/cart", None, true),
        ("/shop/cart/7/", None, true),
        ("/shop/urn:isbn:1", None, true),
        ("/shop/cart", Some("navigate"), true),
        ("/shop/users/john.doe", Some("navigate"), true),
        ("/shop/gone.html", Some("navigate"), true),
        ("/shop/users/john.doe", None, false),
        ("/shop/gone.js", None, false),
        ("/shop/gone.js", Some("navigate"), false),
        ("/shop/gone.js", Some("no-cors"), false),
        ("/shop/apx/orders", Some("cors"), false),
        ("/elsewhere", Some("navigate"), false),
        ("/shopping", Some("navigate"), false),
    ] {
        let request = mode.map_or_else(|| get(path), |mode| asked(path, "sec-fetch-mode", mode));
        let served = serve(&assets, request).await;
        assert_eq!(served.is_ok(), is_page, "{path} {mode:?}");
        match served {
            Ok(response) => assert_eq!(text(response).await, "<!doctype html>"),
            Err(refusal) => assert_eq!(refusal, Refusal::NotFound),
        }
    }
}

#[tokio::test]
async fn nothing_outside_the_directory_and_nothing_hidden_is_served() {
    let spa = spa();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret.txt"), "SECRET").unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(outside.path().join("secret.txt"), spa.path().join("link.txt")).unwrap();
        std::os::unix::fs::symlink(outside.path(), spa.path().join("linked")).unwrap();
    }
    let assets = directory(&spa);
    let name = outside.path().file_name().unwrap().to_str().unwrap().to_owned();
    for path in [
        "/shop/.env",
        "/shop/%2eenv",
        "/shop/.git/config",
        "/shop/docs/.well-known/x",
        "/shop/link.txt",
        "/shop/linked/secret.txt",
        &format!("/shop/../{name}/secret.txt"),
        &format!("/shop/%2e%2e/{name}/secret.txt"),
        &format!("/shop/..%2f{name}%2fsecret.txt"),
        &format!("/shop/..%5c{name}%5csecret.txt"),
        "/shop//etc/passwd.txt",
        "/shop/%2fetc/passwd.txt",
        "/shop/c:/secret.txt",
        "/shop/index.html%00.txt",
        "/shop/%ff.txt",
        "/shop/index.html/x.txt",
        &format!("/shop/{}.txt", "x".repeat(300)),
    ] {
        assert_eq!(serve(&assets, get(path)).await.unwrap_err(), Refusal::NotFound, "{path}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn links_inside_the_directory_are_followed() {
    // Mounted configuration comes as `index.html → ..data/index.html`.
    let spa = spa();
    std::fs::create_dir(spa.path().join("..data")).unwrap();
    std::fs::write(spa.path().join("..data/config.json"), "{}").unwrap();
    std::os::unix::fs::symlink("..data/config.json", spa.path().join("config.json")).unwrap();
    assert_eq!(text(serve(&directory(&spa), get("/shop/config.json")).await.unwrap()).await, "{}");
}

#[tokio::test]
async fn a_browser_that_has_the_file_is_told_so() {
    let spa = spa();
    std::fs::write(spa.path().join("large.txt"), "x".repeat(300 * 1024)).unwrap();
    let assets = directory(&spa);
    for path in ["/shop/logo.svg", "/shop/large.txt"] {
        let first = serve(&assets, get(path)).await.unwrap();
        let (etag, date) = (first.headers()["etag"].clone(), first.headers()["last-modified"].clone());
        let (etag, date) = (etag.to_str().unwrap(), date.to_str().unwrap());
        for (name, value, is_known) in [
            ("if-none-match", etag.to_owned(), true),
            ("if-none-match", format!("\"other\", W/{}", etag.trim_start_matches("W/")), true),
            ("if-none-match", "*".to_owned(), true),
            ("if-none-match", "\"other\"".to_owned(), false),
            ("if-modified-since", date.to_owned(), true),
            ("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT".to_owned(), false),
            ("if-modified-since", "yesterday".to_owned(), false),
        ] {
            let response = serve(&assets, asked(path, name, &value)).await.unwrap();
            let status = if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
            assert_eq!(response.status(), status, "{path} {name}: {value}");
            assert_eq!(response.headers()["etag"], etag);
            assert_eq!(text(response).await.is_empty(), is_known);
        }
    }
}

#[tokio::test]
async fn a_small_file_is_known_by_its_content_not_its_time() {
    let spa = spa();
    let assets = directory(&spa);
    let path = spa.path().join("index.html");
    let time = std::fs::metadata(&path).unwrap().modified().unwrap();
    let before = serve(&assets, get("/shop/")).await.unwrap().headers()["etag"].clone();
    std::fs::write(&path, "<!DOCTYPE HTML>").unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    assert_ne!(serve(&assets, get("/shop/")).await.unwrap().headers()["etag"], before);
}

#[tokio::test]
async fn a_large_file_is_streamed_whole_and_head_has_its_length() {
    let spa = spa();
    let content = "0123456789".repeat(60 * 1024);
    std::fs::write(spa.path().join("large.txt"), &content).unwrap();
    let assets = directory(&spa);
    let head = Request::head("/shop/large.txt").body(Empty::<Bytes>::new()).unwrap();
    let head = serve(&assets, head).await.unwrap();
    assert_eq!(head.headers()["content-length"], content.len().to_string());
    assert_eq!(text(head).await, "");
    assert_eq!(text(serve(&assets, get("/shop/large.txt")).await.unwrap()).await, content);
}

#[tokio::test]
async fn assets_are_only_read() {
    let request = Request::post("/shop/").body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(serve(&directory(&spa()), request).await.unwrap_err(), Refusal::MethodNotAllowed);
}

#[test]
fn a_directory_without_index_is_an_error_at_the_start() {
    let new = |path: &Path| Assets::new(&AssetsOptions::Dir(path.to_owned()), "/", &Client::for_tests());
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(new(empty.path()), Err(Error::NoIndex { path }) if path == empty.path()));
    let missing = empty.path().join("missing");
    assert!(matches!(new(&missing), Err(Error::Directory { path, .. }) if path == missing));
    let none = Assets::new(
        &AssetsOptions::Embedded(&[EmbeddedFile { path: "app.js", content: b"" }]),
        "/",
        &Client::for_tests(),
    );
    assert!(matches!(none, Err(Error::NoIndex { .. })));
}

#[tokio::test]
async fn embedded_files_are_served_like_a_directory() {
    let files = AssetsOptions::Embedded(&[
        EmbeddedFile { path: "index.html", content: b"page" },
        EmbeddedFile { path: "app.js", content: b"app()" },
    ]);
    let assets = Assets::new(&files, "/", &Client::for_tests()).unwrap();
    let response = serve(&assets, get("/app.js")).await.unwrap();
    let etag = response.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(text(response).await, "app()");
    assert_eq!(text(serve(&assets, get("/cart")).await.unwrap()).await, "page");
    assert_eq!(serve(&assets, get("/gone.js")).await.unwrap_err(), Refusal::NotFound);
    let again = serve(&assets, asked("/app.js", "if-none-match", &etag)).await.unwrap();
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn a_development_server_gets_everything_but_our_secrets() {
    let handler = |request: Received| async move {
        let names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        ([("cache-control", "max-age=1")], format!("{} {}", request.uri(), names.join(" ")))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(axum::serve(listener, Router::new().fallback(any(handler))).into_future());
    let assets = Assets::new(&AssetsOptions::Proxy(url), "/shop/", &Client::for_tests()).unwrap();
    let request = Request::get("/shop/src/worker.ts?worker")
        .header("cookie", "__Host-Http-cloakroom=id")
        .header("authorization", "Bearer x")
        .header("x-csrf", "1")
        .header("sec-fetch-dest", "worker")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = serve(&assets, request).await.unwrap();
    assert_eq!(response.headers()["cache-control"], "max-age=1");
    assert!(!response.headers().contains_key("content-security-policy"));
    let seen = text(response).await;
    assert!(seen.starts_with("/shop/src/worker.ts?worker "), "{seen}");
    for name in ["cookie", "authorization", "x-csrf"] {
        assert!(!seen.contains(name), "{seen}");
    }
}
