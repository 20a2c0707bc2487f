//! [`Hosts`]: by which names the gateway may be called, and from which web pages.
//!
//! A page on the web can make a browser send requests to a server on its user's machine, under any name that its own
//! domain resolves to. Such a request names that domain in `Host` and the page's site in `Origin`.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};
use carrack_client::Error;
use carrack_schema::Code;

use super::refusal::Refusal;

/// The names and sites that are allowed.
#[derive(Clone, Debug)]
pub(super) struct Hosts {
    hosts: Vec<(String, Option<u16>)>,
    origins: Vec<Origin>,
}

/// A web site: scheme, host, port.
type Origin = (String, String, u16);

const LOOPBACK: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

impl Hosts {
    /// Allows this machine's own names at `port`, and what is named beside them.
    ///
    /// # Errors
    /// `invalidArgument` for a text that is no host, or no origin.
    pub(super) fn new(port: u16, hosts: &[String], origins: &[String]) -> Result<Self, Error> {
        let own = LOOPBACK.map(|host| (host.to_owned(), Some(port)));
        let sites = LOOPBACK.map(|host| ("http".to_owned(), host.to_owned(), port));
        let hosts = hosts.iter().map(|text| {
            host(text).ok_or_else(|| wrong("--allowed-host", text, "example.org or host:8080"))
        });
        let origins = origins.iter().map(|text| {
            origin(text).ok_or_else(|| wrong("--allowed-origin", text, "https://app.example.org"))
        });
        Ok(Self {
            hosts: own
                .into_iter()
                .map(Ok)
                .chain(hosts)
                .collect::<Result<_, Error>>()?,
            origins: sites
                .into_iter()
                .map(Ok)
                .chain(origins)
                .collect::<Result<_, Error>>()?,
        })
    }

    /// Checks a request.
    ///
    /// # Errors
    /// If it names another host, or comes from another site's page.
    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let refused = Refusal::Foreign("Host is not a name of this gateway; see --allowed-host");
        let (name, port) = named(uri, headers).and_then(host).ok_or(refused)?;
        let is_ours = |(ours, at): &(String, Option<u16>)| {
            *ours == name && at.is_none_or(|at| port.unwrap_or(80) == at)
        };
        if !self.hosts.iter().any(is_ours) {
            return Err(refused);
        }
        let mut sites = headers.get_all(header::ORIGIN).iter();
        let is_allowed = |value: &header::HeaderValue| {
            let site = value.to_str().ok().and_then(origin);
            site.is_some_and(|site| self.origins.contains(&site))
        };
        if sites.all(is_allowed) {
            return Ok(());
        }
        Err(Refusal::Foreign(
            "Origin is a site whose pages may not use this gateway; see --allowed-origin",
        ))
    }

    /// Returns the allowed hosts as rmcp takes them.
    pub(super) fn hosts(&self) -> impl Iterator<Item = String> {
        self.hosts.iter().map(|(host, port)| match port {
            Some(port) => format!("{host}:{port}"),
            None => host.clone(),
        })
    }

    /// Returns the allowed origins as rmcp takes them.
    pub(super) fn origins(&self) -> impl Iterator<Item = String> {
        self.origins
            .iter()
            .map(|(scheme, host, port)| format!("{scheme}://{host}:{port}"))
    }
}

fn wrong(flag: &str, text: &str, example: &str) -> Error {
    let words = format!("{flag} `{text}` is none; write it as {example}");
    Error::new(Code::InvalidArgument, words)
}

/// Returns how the caller names this server.
fn named<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut values = headers.get_all(header::HOST).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    match uri.authority() {
        // A request line with a whole URL must agree with the header.
        Some(authority) if authority.as_str() != value => None,
        _ => Some(value),
    }
}

/// Returns where a caller that was let in finds this server: its own words for the host, and TLS where a name is not
/// this machine's own, since tokens do not travel a network in the clear.
pub(super) fn base(uri: &Uri, headers: &HeaderMap) -> String {
    let named = named(uri, headers).unwrap_or("localhost");
    let is_local = host(named).is_some_and(|(host, _)| LOOPBACK.contains(&host.as_str()));
    let scheme = if is_local { "http" } else { "https" };
    format!("{scheme}://{named}")
}

fn host(text: &str) -> Option<(String, Option<u16>)> {
    let authority: Authority = text.parse().ok()?;
    let host = authority.host().to_ascii_lowercase();
    let is_plain = !authority.as_str().contains('@') && !host.is_empty();
    // A port that is none would be read as no port.
    let rest = authority.as_str().get(host.len()..)?;
    let port = match rest.strip_prefix(':') {
        Some(port) => Some(port.parse().ok()?),
        None => None,
    };
    is_plain.then_some((host, port))
}

fn origin(text: &str) -> Option<Origin> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let port = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let (host, at) = host(rest)?;
    Some((scheme, host, at.unwrap_or(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_and_sites_that_are_listed() {
        let hosts = Hosts::new(
            8080,
            &["Example.org".into(), "other.org:81".into()],
            &["https://app.example".into()],
        )
        .unwrap();
        let check = |host: &[&str], site: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in host {
                headers.append(header::HOST, value.parse().unwrap());
            }
            for value in site {
                headers.append(header::ORIGIN, value.parse().unwrap());
            }
            hosts.check(&Uri::from_static("/mcp"), &headers).is_ok()
        };
        for (host, fits) in [
            (&["127.0.0.1:8080"][..], true),
            (&["LOCALHOST:8080"], true),
            (&["[::1]:8080"], true),
            (&["example.org"], true),
            (&["example.ORG:444"], true),
            (&["other.org:81"], true),
            (&["other.org"], false),
            (&["127.0.0.1"], false),
            (&["127.0.0.1:80800"], false),
            (&["127.0.0.1:x"], false),
            (&["evil.example:8080"], false),
            (&["example.org.evil"], false),
            (&["evil@example.org"], false),
            (&[""], false),
            (&[], false),
            (&["example.org", "example.org"], false),
        ] {
            assert_eq!(check(host, &[]), fits, "{host:?}");
        }
        for (site, fits) in [
            (&["http://127.0.0.1:8080"][..], true),
            (&["http://localhost:8080"], true),
            (&["https://app.example"], true),
            (&["https://app.example:443"], true),
            (&["http://app.example"], false),
            (&["https://app.example:444"], false),
            (&["https://app.example.evil"], false),
            (&["https://app.example/"], false),
            (&["null"], false),
            (&[""], false),
            (&["http://127.0.0.1:8080", "http://evil.example"], false),
        ] {
            assert_eq!(check(&["127.0.0.1:8080"], site), fits, "{site:?}");
        }
    }

    #[test]
    fn what_is_no_host_or_origin_is_refused_at_start() {
        for host in ["", "a b", "http://a", "a:b", "me@a"] {
            assert!(Hosts::new(1, &[host.into()], &[]).is_err(), "{host}");
        }
        for origin in ["", "a", "ftp://a", "https://", "https://a/b"] {
            assert!(Hosts::new(1, &[], &[origin.into()]).is_err(), "{origin}");
        }
    }

    #[test]
    fn rmcp_is_told_the_same() {
        let hosts = Hosts::new(1, &["a.b".into()], &["https://c.d".into()]).unwrap();
        let all: Vec<_> = hosts.hosts().chain(hosts.origins()).collect();
        assert_eq!(all[3], "a.b");
        assert_eq!(all[7], "https://c.d:443");
    }
}
