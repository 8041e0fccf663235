//! Every kind of traffic through the proxy: by clients of HTTP/1.1 and of HTTP/2, over TLS, to an API that the test plays byte by byte.

mod interim;
mod semantics;
mod stage;
mod streaming;
mod trailers;
mod upstream;
mod web_socket;
