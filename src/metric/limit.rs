//! The limits there are, as they are counted.

/// A limit that can be met. It is called like the key of the configuration that sets it, if one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// `server.max_headers`.
    Headers,
    /// `server.max_header_count`.
    HeaderCount,
    /// `server.max_in_flight`.
    InFlight,
    /// `server.max_connections`: once each time that no more are accepted.
    Connections,
    /// A route's `max_connections`.
    UpstreamConnections,
    /// `server.login_rate`.
    LoginRate,
    /// How often one client may ask for the front-channel logout.
    FrontchannelLogoutRate,
    /// How long a request's head may take.
    HeadTimeout,
    /// How long a client may read nothing.
    WriteTimeout,
    /// A route's `max_body`, or the largest form.
    Body,
    /// A route's `idle_timeout`, or how long a form may take.
    IdleTimeout,
    /// A route's `timeout`.
    Timeout,
}

impl Limit {
    pub(super) const ALL: [Self; 12] = [
        Self::Headers,
        Self::HeaderCount,
        Self::InFlight,
        Self::Connections,
        Self::UpstreamConnections,
        Self::LoginRate,
        Self::FrontchannelLogoutRate,
        Self::HeadTimeout,
        Self::WriteTimeout,
        Self::Body,
        Self::IdleTimeout,
        Self::Timeout,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Headers => "max_headers",
            Self::HeaderCount => "max_header_count",
            Self::InFlight => "max_in_flight",
            Self::Connections => "max_connections",
            Self::UpstreamConnections => "upstream_max_connections",
            Self::LoginRate => "login_rate",
            Self::FrontchannelLogoutRate => "frontchannel_logout_rate",
            Self::HeadTimeout => "head_timeout",
            Self::WriteTimeout => "write_timeout",
            Self::Body => "max_body",
            Self::IdleTimeout => "idle_timeout",
            Self::Timeout => "timeout",
        }
    }
}

/// What came on a connection that is not what is spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// No TLS handshake, or none in time.
    Handshake,
    /// A head that is not HTTP/1.1.
    Head,
    /// Something that breaks HTTP/2, or wears it out.
    Http2,
}

impl Unfit {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Head => "head",
            Self::Http2 => "http2",
        }
    }
}
