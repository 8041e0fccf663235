//! Networks that nothing is called in, whatever a name resolves to: `server.denied_addresses`.
//!
//! Judged are the addresses a connection is about to be opened to, after name lookup, so that a name which changes its mind (DNS
//! rebinding) gets nobody in. Upstreams and providers ask here; stores do not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use url::{Host, Url};

/// See the module. Clones share the list; the default denies nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeniedAddresses(Arc<[IpNet]>);

/// All addresses of a host are denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} is in server.denied_addresses")]
pub(crate) struct Denied {
    /// One of them.
    pub(crate) address: IpAddr,
}

impl DeniedAddresses {
    pub(crate) fn new(networks: &[IpNet]) -> Self {
        Self(networks.iter().copied().map(canonical).collect())
    }

    /// Leaves out what is denied.
    ///
    /// # Errors
    /// Nothing is left of what was found. Finding nothing is none.
    pub(crate) fn sift(&self, found: impl IntoIterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, Denied> {
        let (denied, left): (Vec<_>, Vec<_>) = found.into_iter().partition(|address| self.denies(address.ip()));
        match denied.first() {
            Some(address) if left.is_empty() => Err(Denied { address: address.ip() }),
            _ => Ok(left),
        }
    }

    /// The same for a URL that spells an address out. What has a name passes.
    ///
    /// # Errors
    /// The address is denied.
    pub(crate) fn check_literal(&self, url: &Url) -> Result<(), Denied> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        if self.denies(address) { Err(Denied { address }) } else { Ok(()) }
    }

    fn denies(&self, address: IpAddr) -> bool {
        // What a system connects to when it is told `::ffff:a.b.c.d`, or no address at all.
        let reached = match carried(address) {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            other => other,
        };
        self.0.iter().any(|network| network.contains(&reached) || network.contains(&address))
    }
}

/// The IPv4 address that is reached by an IPv6 address: mapped, or through NAT64 (RFC 6052 §2.1) or 6to4 (RFC 3056 §2).
fn carried(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address.to_canonical() else { return address.to_canonical() };
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)).into();
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => v4(high, low),
        _ => address,
    }
}

/// `::ffff:a.b.c.d/n` as the IPv4 network that it is.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return network };
    let v4 = mapped.addr().to_ipv4_mapped().zip(mapped.prefix_len().checked_sub(96));
    v4.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok()).map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(networks: &[&str]) -> DeniedAddresses {
        let networks: Vec<IpNet> = networks.iter().map(|network| network.parse().unwrap()).collect();
        DeniedAddresses::new(&networks)
    }

    fn at(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), 80)
    }

    #[test]
    fn an_address_is_denied_in_every_spelling() {
        let v4 = &["169.254.0.0/16", "127.0.0.0/8"][..];
        let (v6, mapped) = (&["fd00:ec2::254/128", "::1/128"][..], &["::ffff:169.254.0.0/112"][..]);
        for (networks, address) in [
            (v4, "169.254.169.254"),
            (v4, "::ffff:169.254.169.254"),
            (v4, "0.0.0.0"),
            (v4, "::ffff:0.0.0.0"),
            (v6, "fd00:ec2::254"),
            (v6, "::"),
            (mapped, "169.254.169.254"),
            (mapped, "::ffff:a9fe:a9fe"),
        ] {
            let address = at(address);
            assert_eq!(denied(networks).sift([address]), Err(Denied { address: address.ip() }), "{address}");
        }
        for (networks, address) in [(v4, "169.253.255.255"), (v4, "fe80::1"), (v6, "fd00:ec2::253"), (v6, "0.0.0.1")] {
            assert_eq!(denied(networks).sift([at(address)]), Ok(vec![at(address)]), "{address}");
        }
    }

    #[test]
    fn what_is_not_denied_is_left() {
        let loopback = denied(&["127.0.0.0/8"]);
        let found = ["127.0.0.1", "10.0.0.1", "::1", "127.0.0.2"].map(at);
        assert_eq!(loopback.sift(found), Ok(vec![at("10.0.0.1"), at("::1")]));
        assert_eq!(loopback.sift([]), Ok(vec![]));
        assert_eq!(DeniedAddresses::default().sift(found).map(|left| left.len()), Ok(4));
    }

    #[test]
    fn all_of_one_family_says_nothing_about_the_other() {
        assert!(denied(&["::/0"]).sift([at("192.0.2.1")]).is_ok());
        assert!(denied(&["0.0.0.0/0"]).sift([at("2001:db8::1")]).is_ok());
    }

    #[test]
    fn hosts_that_are_addresses_are_judged_as_a_url_reads_them() {
        let metadata = denied(&["169.254.169.254/32"]);
        for url in
            ["http://169.254.169.254/", "http://0xa9fea9fe/", "http://[::ffff:a9fe:a9fe]/", "http://169.254.43518/"]
        {
            let url = Url::parse(url).unwrap();
            assert!(metadata.check_literal(&url).is_err(), "{url}");
        }
        let name = Url::parse("http://169.254.169.254.example/").unwrap();
        assert!(metadata.check_literal(&name).is_ok());
    }
}
