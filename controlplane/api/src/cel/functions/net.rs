//! URLs, addresses and their ranges.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::super::EvalError;
use super::super::value::{Value, map};
use super::Maybe;

/// An absolute URL, or the path and query of one.
#[derive(Debug)]
pub struct Url {
    pub(in super::super) text: String,
    scheme: String,
    host: String,
    path: String,
    query: String,
}

impl Url {
    fn parse(text: &str) -> Result<Url, String> {
        if text.chars().any(|c| c.is_control()) {
            return Err("net/url: invalid control character in URL".into());
        }
        let body = text.split('#').next().unwrap_or_default();
        let (body, query) = body.split_once('?').unwrap_or((body, ""));
        let url = |scheme: &str, host: &str, path: &str| Url {
            text: text.to_owned(),
            scheme: scheme.to_lowercase(),
            host: host.rsplit_once('@').map_or(host, |(_, host)| host).to_owned(),
            path: path.replace(' ', "%20"),
            query: query.to_owned(),
        };
        if body.starts_with('/') {
            return Ok(url("", "", body));
        }
        let (scheme, rest) = body.split_once("://").ok_or("invalid URI for request")?;
        let valid = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        if !valid {
            return Err("first path segment in URL cannot contain colon".into());
        }
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if host.contains(' ') {
            return Err("invalid character \" \" in host name".into());
        }
        Ok(url(scheme, host, path))
    }

    /// Host name and port, brackets of IPv6 off.
    fn parts(&self) -> (String, String) {
        if let Some((name, rest)) = self.host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            return (name.to_owned(), rest.trim_start_matches(':').to_owned());
        }
        match self.host.rsplit_once(':') {
            Some((name, port)) => (name.to_owned(), port.to_owned()),
            None => (self.host.clone(), String::new()),
        }
    }

    fn query<'a>(&self) -> Value<'a> {
        let mut found: BTreeMap<String, Vec<Value<'a>>> = BTreeMap::new();
        for pair in self.query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| crate::path::percent_decode(&text.replace('+', " "));
            found.entry(decode(key)).or_default().push(Value::text(&decode(value)));
        }
        map(found.into_iter().map(|(key, values)| (key, Value::List(Arc::new(values)))).collect())
    }
}

/// An address as upstream reads one: nothing that could be read in two ways.
fn address(text: &str) -> Result<IpAddr, String> {
    let refuse =
        |why: &str| Err(format!("IP Address \"{text}\" parse error during conversion from string: {why}"));
    if text.contains('%') {
        return refuse("IP address with zone value is not allowed");
    }
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
            refuse("IPv4-mapped IPv6 address is not allowed")
        }
        Ok(address) => Ok(address),
        Err(_) => refuse(&format!("ParseAddr(\"{text}\"): unable to parse IP")),
    }
}

fn range(text: &str) -> Result<(IpAddr, u8), String> {
    let refuse = || {
        format!(
            "network address parse error during conversion from string: network address \"{text}\" is invalid"
        )
    };
    let (head, tail) = text.split_once('/').ok_or_else(refuse)?;
    let head = address(head).map_err(|_| refuse())?;
    let plain = tail == "0" || (!tail.starts_with('0') && tail.bytes().all(|b| b.is_ascii_digit()));
    match tail.parse::<u8>() {
        Ok(length) if plain && length <= width(&head) => Ok((head, length)),
        _ => Err(refuse()),
    }
}

fn width(address: &IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

fn covers(of: IpAddr, length: u8, other: IpAddr) -> bool {
    of.is_ipv4() == other.is_ipv4() && masked(of, length) == masked(other, length)
}

pub(super) fn call<'a>(name: &str, args: &[Value<'a>]) -> Maybe<'a> {
    let [arg] = args else { return None };
    if let ("ip", Value::Cidr(address, _)) = (name, arg) {
        return Some(Ok(Value::Ip(*address)));
    }
    let Value::Text(text) = arg else { return None };
    Some(match name {
        "url" => Url::parse(text).map(|url| Value::Url(Arc::new(url))).map_err(|why| {
            EvalError(format!("URL parse error during conversion from string: parse \"{text}\": {why}"))
        }),
        "isURL" => Ok(Value::Bool(Url::parse(text).is_ok())),
        "ip" => address(text).map(Value::Ip).map_err(EvalError),
        "isIP" => Ok(Value::Bool(address(text).is_ok())),
        "jsonpatch.escapeKey" => Ok(Value::text(&text.replace('~', "~0").replace('/', "~1"))),
        "ip.isCanonical" => {
            address(text).map(|found| Value::Bool(found.to_string() == **text)).map_err(EvalError)
        }
        "cidr" => range(text).map(|(address, length)| Value::Cidr(address, length)).map_err(EvalError),
        "isCIDR" => Ok(Value::Bool(range(text).is_ok())),
        _ => return None,
    })
}

pub(super) fn method<'a>(name: &str, args: &[Value<'a>]) -> Maybe<'a> {
    match args {
        [Value::Url(url)] => {
            let (host, port) = url.parts();
            Some(Ok(match name {
                "getScheme" => Value::text(&url.scheme),
                "getHost" => Value::text(&url.host),
                "getHostname" => Value::text(&host),
                "getPort" => Value::text(&port),
                "getEscapedPath" => Value::text(&url.path),
                "getQuery" => url.query(),
                _ => return None,
            }))
        }
        [Value::Ip(address)] => Some(Ok(match name {
            "family" => Value::Int(if address.is_ipv4() { 4 } else { 6 }),
            "isUnspecified" => Value::Bool(address.is_unspecified()),
            "isLoopback" => Value::Bool(address.is_loopback()),
            "isLinkLocalMulticast" => Value::Bool(is_link_local(address, true)),
            "isLinkLocalUnicast" => Value::Bool(is_link_local(address, false)),
            "isGlobalUnicast" => Value::Bool(is_global(address)),
            _ => return None,
        })),
        [Value::Cidr(address, length), rest @ ..] => ranged(name, *address, *length, rest),
        _ => None,
    }
}

fn ranged<'a>(name: &str, of: IpAddr, length: u8, rest: &[Value<'a>]) -> Maybe<'a> {
    let other = |value: &Value<'_>| match value {
        Value::Ip(address) => Some(Ok((*address, width(address)))),
        Value::Cidr(address, length) => Some(Ok((*address, *length))),
        Value::Text(text) if name == "containsIP" => {
            Some(address(text).map(|address| (address, width(&address))).map_err(EvalError))
        }
        Value::Text(text) => Some(range(text).map_err(EvalError)),
        _ => None,
    };
    Some(match (name, rest) {
        ("ip", []) => Ok(Value::Ip(of)),
        ("masked", []) => Ok(Value::Cidr(masked(of, length), length)),
        ("prefixLength", []) => Ok(Value::Int(length.into())),
        ("containsIP" | "containsCIDR", [value]) => {
            other(value)?.map(|(address, other)| Value::Bool(other >= length && covers(of, length, address)))
        }
        _ => return None,
    })
}

fn is_link_local(address: &IpAddr, multicast: bool) -> bool {
    match (address, multicast) {
        (IpAddr::V4(v4), true) => v4.octets()[..3] == [224, 0, 0],
        (IpAddr::V4(v4), false) => v4.is_link_local(),
        (IpAddr::V6(v6), true) => v6.segments()[0] & 0xff0f == 0xff02,
        (IpAddr::V6(v6), false) => v6.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn is_global(address: &IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !address.is_unspecified()
        && !address.is_loopback()
        && !address.is_multicast()
        && !broadcast
        && !is_link_local(address, false)
}
