//! What sections mean together: frontends beside each other and behind one listener, secrets that must not be the same.

use super::Server;
use super::frontend::is_below;
use super::path::KeyPath;
use super::reader::Reader;
use super::values::quoted;
use crate::frontend::Options;
use crate::store::MasterKey;

pub(super) fn check(server: &Server, keys: &[MasterKey], frontends: &[Options], reader: &Reader<'_>) {
    // Both are what `keygen` prints, and one of them is sent around.
    if let Some(token) = &server.admin_token
        && keys.iter().any(|key| key.to_base64url() == *token)
    {
        reader.complain(&KeyPath::of("server.admin_token"), "is a master key, which nobody is ever sent; make another");
    }
    for (index, frontend) in frontends.iter().enumerate() {
        let others = || frontends.iter().enumerate().filter(move |(other, _)| *other != index).map(|(_, other)| other);
        let neighbours: Vec<&Options> = others().filter(|other| other.url.origin() == frontend.url.origin()).collect();
        let at = KeyPath::of("frontends").key(&frontend.id);
        if server.tls.is_some() && frontend.url.scheme() == "http" {
            reader.complain(
                &at.key("url"),
                "is http, but the listener speaks TLS (server.tls): write https, or leave tls out",
            );
        }
        let is_behind_proxy = frontend.url.scheme() == "https" && server.tls.is_none();
        if frontend.frontchannel_logout && is_behind_proxy && server.trusted_proxies.is_empty() {
            let what = "TLS ends at a proxy that server.trusted_proxies does not name, so everybody's logouts count as one client's";
            reader.weaken(&at.key("frontchannel_logout"), what);
        }
        // Told once, at the later of the two.
        if let Some(twin) = frontends[..index].iter().find(|other| other.url == frontend.url) {
            let message =
                format!("{} is the URL of frontends.{}, too: they match the same requests", frontend.url, twin.id);
            reader.complain(&at.key("url"), message);
        }
        for neighbour in &neighbours {
            check_shadow(frontend, neighbour, reader);
        }
        // Frontends are read in the order of their names: the last one of an origin tells for all of them.
        if !neighbours.is_empty() && neighbours.iter().all(|neighbour| neighbour.id < frontend.id) {
            note_shared_origin(frontend, &neighbours, reader);
        }
    }
}

/// A route or the endpoints below the path of another frontend would never be reached: the longer frontend path wins.
fn check_shadow(frontend: &Options, neighbour: &Options, reader: &Reader<'_>) {
    let inside = neighbour.url.path();
    if inside == frontend.url.path() || !is_below(inside, frontend.url.path()) {
        return;
    }
    let at = KeyPath::of("frontends").key(&frontend.id);
    let message = |path: &str| format!("\"{path}\" is never reached: frontends.{} is at {inside}", neighbour.id);
    if is_below(&frontend.base_path, inside) {
        reader.complain(&at.key("base_path"), message(&frontend.base_path));
    }
    for (index, route) in frontend.routes.iter().enumerate().filter(|(_, route)| is_below(&route.path, inside)) {
        reader.complain(&at.key("routes").index(index).key("path"), message(&route.path));
    }
    if is_below(inside, &frontend.base_path) {
        let neighbour = KeyPath::of("frontends").key(&neighbour.id).key("url");
        reader.complain(&neighbour, format!("{inside} is where the endpoints of frontends.{} are", frontend.id));
    }
}

fn note_shared_origin(frontend: &Options, neighbours: &[&Options], reader: &Reader<'_>) {
    let names = neighbours.iter().map(|neighbour| neighbour.id.as_str()).chain([frontend.id.as_str()]);
    let what = format!(
        "{} share {}, one origin: that is no security border, each app can do what the others may; give each a host",
        quoted(names),
        frontend.url.origin().ascii_serialization()
    );
    reader.weaken(&KeyPath::of("frontends"), what);
}
