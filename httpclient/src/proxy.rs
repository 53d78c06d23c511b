//! Which requests go through a proxy, and through which.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use url::Url;

use crate::config::ProxyConfig;
use crate::error::HttpClientError;

/// The proxies of a client.
#[derive(Debug, Default)]
pub(crate) struct Proxies {
    http: Option<Url>,
    https: Option<Url>,
    /// Hosts that are reached without one; `None` where even the machine's own addresses go through it.
    except: Option<NoProxy>,
    /// Headers for `CONNECT`.
    pub(crate) connect_headers: HeaderMap,
}

impl Proxies {
    pub(crate) fn new(config: &ProxyConfig) -> Result<Self, HttpClientError> {
        let mut proxies = if config.proxy_from_environment {
            from_environment(|name| std::env::var(name).ok())?
        } else {
            let url = config.proxy_url.as_deref().map(parse).transpose()?;
            Proxies {
                http: url.clone(),
                https: url,
                // Compat: only a `no_proxy` brings the reference's exception for the machine's own addresses with it.
                except: (!config.no_proxy.is_empty()).then(|| NoProxy::new(&config.no_proxy)),
                connect_headers: HeaderMap::new(),
            }
        };
        for (name, values) in &config.proxy_connect_header {
            let bad = |_| HttpClientError::Header(name.clone());
            let key =
                HeaderName::try_from(name.as_str()).map_err(|_| HttpClientError::Header(name.clone()))?;
            for value in values {
                let value = HeaderValue::try_from(value.reveal()).map_err(bad)?;
                proxies.connect_headers.append(key.clone(), value);
            }
        }
        Ok(proxies)
    }

    /// The proxy on the way to a host.
    pub(crate) fn choose(&self, https: bool, host: &str, port: u16) -> Option<&Url> {
        let proxy = if https { &self.https } else { &self.http }.as_ref()?;
        let direct = self
            .except
            .as_ref()
            .is_some_and(|except| except.holds(host, port));
        (!direct).then_some(proxy)
    }
}

/// `user:password@` of a proxy, as it is sent.
pub(crate) fn basic_auth(url: &Url) -> Option<HeaderValue> {
    let (user, password) = user_info(url)?;
    let mut value =
        HeaderValue::try_from(format!("Basic {}", BASE64.encode(format!("{user}:{password}")))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `user:password@` of a URL.
pub(crate) fn user_info(url: &Url) -> Option<(String, String)> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decode = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
    Some((decode(url.username()), decode(url.password().unwrap_or(""))))
}

/// A URL that may be shown.
pub(crate) fn without_password(url: &Url) -> String {
    let mut url = url.clone();
    if url.password().is_some() {
        // Only URLs that cannot have one refuse.
        let _ = url.set_password(Some("xxxxx"));
    }
    url.to_string()
}

fn parse(text: &str) -> Result<Url, HttpClientError> {
    let bad = |detail: String| HttpClientError::Proxy {
        url: text.to_owned(),
        detail,
    };
    let url = Url::parse(text).map_err(|error| bad(error.to_string()))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(bad("it names no host".to_owned()));
    }
    Ok(url)
}

/// `HTTP_PROXY` and its like, in capitals or not.
fn from_environment(var: impl Fn(&str) -> Option<String>) -> Result<Proxies, HttpClientError> {
    let get = |name: &str| {
        var(name)
            .filter(|value| !value.is_empty())
            .or_else(|| var(&name.to_ascii_lowercase()))
            .filter(|value| !value.is_empty())
    };
    // A proxy may be given as `host:port`.
    let proxy = |name| {
        get(name)
            .map(|text| parse(&text).or_else(|error| parse(&format!("http://{text}")).map_err(|_| error)))
            .transpose()
    };
    Ok(Proxies {
        http: proxy("HTTP_PROXY")?,
        https: proxy("HTTPS_PROXY")?,
        except: Some(NoProxy::new(&get("NO_PROXY").unwrap_or_default())),
        connect_headers: HeaderMap::new(),
    })
}

/// Hosts that are reached without a proxy, in the form of Go's `NO_PROXY`.
#[derive(Debug, Default)]
struct NoProxy {
    all: bool,
    rules: Vec<Except>,
}

#[derive(Debug)]
enum Except {
    Network {
        address: IpAddr,
        prefix: u8,
    },
    Address {
        address: IpAddr,
        port: Option<u16>,
    },
    /// `suffix` starts with a dot; `itself` says whether the name without it is meant too.
    Domain {
        suffix: String,
        itself: bool,
        port: Option<u16>,
    },
}

impl NoProxy {
    fn new(text: &str) -> Self {
        let mut rules = Vec::new();
        let mut all = false;
        for part in text.split(',').map(|part| part.trim().to_ascii_lowercase()) {
            match part.as_str() {
                "" => {}
                "*" => all = true,
                part => rules.extend(Except::new(part)),
            }
        }
        NoProxy { all, rules }
    }

    fn holds(&self, host: &str, port: u16) -> bool {
        let host = bare(host).trim_end_matches('.').to_ascii_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        self.all
            || host == "localhost"
            || address.is_some_and(|address| address.is_loopback())
            || self.rules.iter().any(|rule| rule.holds(&host, address, port))
    }
}

impl Except {
    fn new(part: &str) -> Option<Self> {
        if let Some((address, prefix)) = part.split_once('/')
            && let (Ok(address), Ok(prefix)) = (address.parse::<IpAddr>(), prefix.parse::<u8>())
        {
            return Some(Except::Network { address, prefix });
        }
        if let Ok(address) = bare(part).parse() {
            return Some(Except::Address { address, port: None });
        }
        let (name, port) = match part.rsplit_once(':') {
            Some((name, port)) => (bare(name), Some(port.parse().ok()?)),
            None => (part, None),
        };
        if let Ok(address) = name.parse() {
            return Some(Except::Address { address, port });
        }
        let name = name
            .strip_prefix('*')
            .filter(|rest| rest.starts_with('.'))
            .unwrap_or(name);
        (!name.is_empty()).then(|| Except::Domain {
            itself: !name.starts_with('.'),
            suffix: if name.starts_with('.') {
                name.to_owned()
            } else {
                format!(".{name}")
            },
            port,
        })
    }

    fn holds(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        match self {
            Except::Network {
                address: network,
                prefix,
            } => address.is_some_and(|address| same_network(address, *network, *prefix)),
            Except::Address {
                address: meant,
                port: at,
            } => address == Some(*meant) && at.is_none_or(|at| at == port),
            Except::Domain {
                suffix,
                itself,
                port: at,
            } => {
                (host.ends_with(suffix.as_str()) || (*itself && host == &suffix[1..]))
                    && at.is_none_or(|at| at == port)
            }
        }
    }
}

/// An address of a URL without its brackets.
pub(crate) fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

fn same_network(a: IpAddr, b: IpAddr, prefix: u8) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    };
    let ((a, width), (b, width_b)) = (bits(a), bits(b));
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    width == width_b && prefix <= width && a & mask == b & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_those_of_go() {
        let except = NoProxy::new(
            " Example.com, *.a.test, .b.test, 10.0.0.0/8, c.test:8080, [2001:db8::1]:1, 192.0.2.1,,",
        );
        let direct = |host: &str, port| except.holds(host, port);
        for (host, port) in [
            ("example.com", 1),
            ("x.EXAMPLE.com", 1),
            ("x.a.test", 1),
            ("x.b.test", 1),
            ("10.9.9.9", 1),
            ("c.test", 8080),
            ("x.c.test", 8080),
            ("[2001:db8::1]", 1),
            ("192.0.2.1", 9),
            ("localhost", 1),
            ("127.0.0.3", 1),
            ("[::1]", 1),
        ] {
            assert!(direct(host, port), "{host}:{port}");
        }
        for (host, port) in [
            ("badexample.com", 1),
            ("a.test", 1),
            ("b.test", 1),
            ("11.0.0.1", 1),
            ("c.test", 80),
            ("[2001:db8::1]", 2),
            ("192.0.2.2", 9),
        ] {
            assert!(!direct(host, port), "{host}:{port}");
        }
        assert!(NoProxy::new("a, *").holds("z", 1));
    }

    #[test]
    fn the_environment_is_read_as_go_reads_it() {
        let proxies = from_environment(|name| match name {
            "http_proxy" => Some("proxy.test:3128".to_owned()),
            "HTTPS_PROXY" => Some("socks5://u:p@proxy.test".to_owned()),
            "NO_PROXY" => Some("direct.test".to_owned()),
            _ => None,
        })
        .expect("valid");
        let chosen = |https, host| proxies.choose(https, host, 80).map(Url::as_str);
        assert_eq!(chosen(false, "a.test"), Some("http://proxy.test:3128/"));
        assert_eq!(chosen(true, "a.test"), Some("socks5://u:p@proxy.test"));
        assert_eq!(chosen(true, "direct.test"), None);
        assert_eq!(chosen(false, "127.0.0.1"), None);
    }

    #[test]
    fn without_exceptions_all_goes_through_the_proxy() {
        let config = ProxyConfig {
            proxy_url: Some("http://proxy.test".to_owned()),
            ..ProxyConfig::default()
        };
        let proxies = Proxies::new(&config).expect("valid");
        assert!(proxies.choose(false, "localhost", 80).is_some());
    }
}
