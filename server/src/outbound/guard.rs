//! The guard: which addresses a reply may go to, judged when the connection is made, of the very address that is
//! connected to. A name that was judged earlier could mean another address by now.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// An address that a reply must not go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    host: String,
    ip: IpAddr,
    kind: &'static str,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refused { host, ip, kind } = self;
        if *host == ip.to_string() || *host == format!("[{ip}]") {
            write!(f, "{host} is {kind}")?;
        } else {
            write!(f, "{host} is at {ip}, {kind}")?;
        }
        f.write_str(", which the server does not call: its operator may allow it by `[outbound] allow`")
    }
}

impl Error for Refused {}

/// Which addresses are refused, and which of them are allowed all the same.
#[derive(Debug, Default)]
pub(super) struct Guard {
    allow: Vec<IpNet>,
}

impl Guard {
    pub(super) fn new(allow: Vec<IpNet>) -> Self {
        Self { allow }
    }

    /// Judges the address of a URL, if it has one in place of a name: those are connected to without being looked up.
    pub(super) fn check_url(&self, url: &Url) -> Result<(), Refused> {
        let ip = match url.host() {
            Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
            Some(Host::Ipv6(ip)) => IpAddr::V6(ip),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        self.judge(url.host_str().unwrap_or_default(), ip)
    }

    fn judge(&self, host: &str, ip: IpAddr) -> Result<(), Refused> {
        let Some(kind) = kind_of(ip) else { return Ok(()) };
        let is_allowed = self.allow.iter().any(|net| net.contains(&ip) || net.contains(&ip.to_canonical()));
        if is_allowed { Ok(()) } else { Err(Refused { host: host.to_owned(), ip, kind }) }
    }

    /// Those of the addresses that may be called; if none may, why the first may not.
    fn filter(&self, host: &str, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Refused> {
        let mut refused = None;
        let mut allowed = Vec::with_capacity(addresses.len());
        for address in addresses {
            match self.judge(host, address.ip()) {
                Ok(()) => allowed.push(address),
                Err(why) => drop(refused.get_or_insert(why)),
            }
        }
        match refused {
            Some(why) if allowed.is_empty() => Err(why),
            _ => Ok(allowed),
        }
    }
}

/// Looks names up, and hands on only what the guard lets through.
pub(super) struct GuardedResolver(pub(super) Arc<Guard>);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = Arc::clone(&self.0);
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed = guard.filter(name.as_str(), found)?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// The refusal among the causes of an error, if the guard caused it.
pub(super) fn refusal_in<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Refused> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<Refused>() {
            return Some(refused);
        }
        cause = error.source();
    }
    None
}

/// What makes an address one that is refused; none for a public one.
fn kind_of(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => kind_of_v4(ip),
        IpAddr::V6(ip) => kind_of_v6(ip),
    }
}

fn kind_of_v4(ip: Ipv4Addr) -> Option<&'static str> {
    match ip.octets() {
        [169, 254, 169, 254] | [100, 100, 100, 200] | [168, 63, 129, 16] | [192, 0, 0, 192] => {
            Some("the metadata service of a cloud")
        }
        [0, ..] => Some("an unspecified address"),
        [127, ..] => Some("a loopback address"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("a private address"),
        [100, 64..=127, ..] => Some("a shared address of a provider"),
        [169, 254, ..] => Some("a link-local address"),
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18..=19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => {
            Some("an address for special use")
        }
        [224..=239, ..] => Some("a multicast address"),
        [240..=255, ..] => Some("a reserved address"),
        _ => None,
    }
}

/// Forms that hold an IPv4 address are judged by it: something on the way may unwrap them.
fn kind_of_v6(ip: Ipv6Addr) -> Option<&'static str> {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        kind_of_v4(Ipv4Addr::new(a, b, c, d))
    };
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("an unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("a loopback address"),
        // Mapped, compatible, translated (NAT64 and SIIT), 6to4.
        [0, 0, 0, 0, 0, 0xffff | 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x2002, high, low, ..] => v4(high, low),
        // ISATAP.
        [.., 0 | 0x200, 0x5efe, high, low] => v4(high, low).or(Some("an address for special use")),
        [0x64, 0xff9b, 1, ..] => Some("a private address"),
        [0xfe80..=0xfebf, ..] => Some("a link-local address"),
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Some("a private address"),
        [0xff00..=0xffff, ..] => Some("a multicast address"),
        [0x2001, 0..=0x01ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, ..] | [0x100, 0, 0, ..] | [0x5f00, ..] => {
            Some("an address for special use")
        }
        // Only 2000::/3 is given out.
        [0x2000..=0x3fff, ..] => None,
        _ => Some("a reserved address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allow: &[&str]) -> Guard {
        Guard::new(allow.iter().map(|net| net.parse().unwrap()).collect())
    }

    #[test]
    fn private_and_special_addresses_are_refused_in_every_form() {
        for ip in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.0.1",
            "169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "::ffff:0:10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "2002:a00:1::",
            "2002:7f00:1::1",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "3fff::1",
            "4000::1",
            "2600::5efe:10.0.0.1",
            "2600::200:5efe:127.0.0.1",
            "2600::5efe:8.8.8.8",
            "5f00::1",
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            assert!(guard(&[]).judge("x", ip).is_err(), "{ip}");
        }
        for ip in [
            "1.1.1.1",
            "8.8.8.8",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2600::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "2a00:1450:4001::1",
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(guard(&[]).judge("x", ip), Ok(()), "{ip}");
        }
    }

    #[test]
    fn an_address_of_a_url_is_judged_however_it_is_written() {
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://[::1]/",
            "http://[::ffff:7f00:1]/",
            "http://169.254.169.254/latest/meta-data/",
            "http://0/",
            "http://\u{ff11}27.0.0.1/",
        ] {
            let parsed = Url::parse(url).unwrap();
            let message = guard(&[]).check_url(&parsed).expect_err(url).to_string();
            assert!(message.contains("[outbound] allow"), "{message}");
        }
        assert!(
            guard(&[]).check_url(&Url::parse("http://localhost/").unwrap()).is_ok(),
            "names are judged later"
        );
    }

    #[test]
    fn what_the_configuration_allows_passes_in_its_mapped_form_too() {
        let guard = guard(&["127.0.0.0/8", "fd00::/8"]);
        for ip in ["127.0.0.1", "::ffff:127.0.0.1", "fd00::1"] {
            assert!(guard.judge("x", ip.parse().unwrap()).is_ok(), "{ip}");
        }
        for ip in ["10.0.0.1", "::1", "fe80::1"] {
            assert!(guard.judge("x", ip.parse().unwrap()).is_err(), "{ip}");
        }
    }

    #[tokio::test]
    async fn a_name_is_judged_by_what_it_means_when_it_is_looked_up() {
        let resolver = GuardedResolver(Arc::new(guard(&[])));
        let Err(error) = resolver.resolve("localhost".parse().unwrap()).await else {
            panic!("localhost passed")
        };
        assert!(refusal_in(&*error).is_some_and(|refused| refused.host == "localhost"));
        let resolver = GuardedResolver(Arc::new(guard(&["127.0.0.0/8", "::1/128"])));
        assert!(resolver.resolve("localhost".parse().unwrap()).await.is_ok_and(|found| found.count() > 0));
        let mixed = ["10.0.0.1:0", "8.8.8.8:0"].map(|address| address.parse().unwrap()).to_vec();
        let allowed = guard(&[]).filter("x", mixed).unwrap();
        assert_eq!(allowed, ["8.8.8.8:0".parse().unwrap()], "only what may be called is handed on");
    }
}
