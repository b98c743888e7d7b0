//! Which addresses are not of the public internet, and the operator's exemptions from that check.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

/// The kind of an address that is not of the public internet; `None` for one that is.
pub fn restricted(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => restricted_v4(address),
        IpAddr::V6(address) => restricted_v6(address),
    }
}

fn restricted_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, d] = address.octets();
    match (a, b, c) {
        (0, ..) => Some("an unspecified address"),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Some("a private address"),
        (100, 64..=127, _) => Some("an address of a carrier's own network"),
        (127, ..) => Some("this machine"),
        // Cloud metadata services (169.254.169.254) are here.
        (169, 254, _) => Some("a link-local address"),
        // Azure's, which only its own machines reach.
        (168, 63, 129) if d == 16 => Some("a cloud's own service"),
        (192, 0, 0 | 2) | (192, 88, 99) | (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => {
            Some("a reserved address")
        }
        (224..=239, ..) => Some("a multicast address"),
        (240..=255, ..) => Some("a reserved address"),
        _ => None,
    }
}

fn restricted_v6(address: Ipv6Addr) -> Option<&'static str> {
    let parts = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        restricted_v4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("an unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("this machine"),
        // IPv4 addresses in IPv6: mapped, compatible, translated by NAT64.
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        // 6to4.
        [0x2002, high, low, ..] => embedded(high, low),
        [0xfc00..=0xfdff, ..] => Some("a private address"),
        [0xfe80..=0xfebf, ..] => Some("a link-local address"),
        [0xfec0..=0xfeff, ..] => Some("a private address"),
        [0xff00..=0xffff, ..] => Some("a multicast address"),
        // Teredo and the other protocols of 2001::/23, documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some("a reserved address"),
        [0x2000..=0x3fff, ..] => None,
        _ => Some("a reserved address"),
    }
}

/// Domains that are reserved for a machine or a private network.
const LOCAL_DOMAINS: &[&str] = &["localhost", "local", "localdomain", "internal", "home.arpa", "svc"];

/// The kind of a host name that the public internet has not; `None` for one that it may have.
pub(super) fn local_name(host: &str) -> Option<&'static str> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let is_below =
        |domain: &&str| host.strip_suffix(*domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let is_local = !host.contains('.') || LOCAL_DOMAINS.iter().any(is_below);
    is_local.then_some("a name of a private network")
}

/// One exemption.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Host(String),
    /// The hosts below a domain, written `*.example.lan`.
    Subdomains(String),
    Net(IpNet),
}

/// Hosts and networks that an operator exempts from the check of addresses, for asset servers of a private network:
/// host names, `*.` and a domain, addresses and CIDR ranges, separated by commas. Plain http is allowed for them too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList(Vec<Entry>);

impl AllowList {
    /// Whether this host name is exempt, with any address.
    pub fn has_host(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        self.0.iter().any(|entry| match entry {
            Entry::Host(allowed) => host.eq_ignore_ascii_case(allowed),
            Entry::Subdomains(domain) => host
                .to_ascii_lowercase()
                .strip_suffix(domain.as_str())
                .is_some_and(|rest| rest.ends_with('.') && rest.len() > 1),
            Entry::Net(_) => false,
        })
    }

    /// Whether this address is exempt.
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.0.iter().any(|entry| matches!(entry, Entry::Net(net) if net.contains(&address.to_canonical())))
    }
}

impl FromStr for AllowList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let entry = |part: &str| {
            if let Ok(net) = part.parse::<IpNet>() {
                return Ok(Entry::Net(net));
            }
            if let Ok(address) = part.trim_matches(['[', ']']).parse::<IpAddr>() {
                return Ok(Entry::Net(IpNet::from(address)));
            }
            let (name, below) = match part.strip_prefix("*.") {
                Some(domain) => (domain, true),
                None => (part, false),
            };
            let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
            if name.is_empty() || !name.chars().all(valid) {
                return Err(format!(
                    "`{part}` is no host, address or CIDR range such as assets.lan, *.lan or 10.0.0.0/8"
                ));
            }
            let name = name.to_ascii_lowercase();
            Ok(if below { Entry::Subdomains(name) } else { Entry::Host(name) })
        };
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(entry).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_open() {
        for closed in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.170",
            "198.18.0.1",
            "203.0.113.7",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::7f00:1",
            "::ffff:168.63.129.16",
            "::ffff:0:7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::7f00:1",
            "2002:7f00:1::",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "100::1",
            "5f00::1",
        ] {
            assert!(restricted(closed.parse().unwrap()).is_some(), "{closed}");
        }
        for open in [
            "1.1.1.1",
            "168.63.129.17",
            "172.32.0.1",
            "100.128.0.1",
            "::ffff:1.1.1.1",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert_eq!(restricted(open.parse().unwrap()), None, "{open}");
        }
    }

    #[test]
    fn names_of_private_networks_are_known() {
        for local in [
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "localhost.localdomain",
            "ip6-localhost",
            "metadata",
            "metadata.google.internal",
            "kubernetes.default.svc",
            "api.svc.cluster.local.",
            "nas.home.arpa",
            "",
        ] {
            assert!(local_name(local).is_some(), "{local}");
        }
        for public in ["example.org", "local.example", "mylocalhost.example", "notinternal.example.", "svc.example"] {
            assert_eq!(local_name(public), None, "{public}");
        }
    }

    #[test]
    fn exemptions_are_hosts_domains_addresses_and_ranges() {
        let list: AllowList = "assets.Studio.lan, *.cdn.lan, 10.0.0.0/8, 192.168.1.5, ::1".parse().unwrap();
        assert!(list.has_host("ASSETS.studio.lan") && list.has_host("a.b.cdn.lan"));
        assert!(!list.has_host("cdn.lan") && !list.has_host("evilcdn.lan") && !list.has_host("studio.lan"));
        assert!(list.has_address("10.9.9.9".parse().unwrap()) && list.has_address("::1".parse().unwrap()));
        assert!(list.has_address("::ffff:10.0.0.1".parse().unwrap()));
        assert!(!list.has_address("192.168.1.6".parse().unwrap()));
        assert!("http://x".parse::<AllowList>().unwrap_err().contains("http://x"));
    }
}
