//! [`Credential`]: what a request shows to be let in.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use carrack_schema::limits::TOKEN_BYTES_MAX;
use data_encoding::BASE64;

/// What a request shows. It has no text form: a token opens its grant for whoever reads it in a log.
pub(super) enum Credential {
    /// Nothing that is asked for here.
    None,
    /// Something that cannot be a token.
    Malformed,
    /// A token, good or not.
    Token(String),
}

impl Credential {
    /// Reads `Authorization: Bearer`; there is no other way to show a token to `/mcp`, so that no browser does it unasked.
    pub(super) fn bearer(headers: &HeaderMap) -> Self {
        Self::read(headers, |scheme, value| {
            scheme.eq_ignore_ascii_case("bearer").then(|| token(value))
        })
    }

    /// Reads that, or `Authorization: Basic` with the token as the password: what a browser can ask a person for.
    pub(super) fn bearer_or_basic(headers: &HeaderMap) -> Self {
        Self::read(headers, |scheme, value| {
            if scheme.eq_ignore_ascii_case("basic") {
                return Some(password(value).map_or(Self::Malformed, |text| token(&text)));
            }
            scheme.eq_ignore_ascii_case("bearer").then(|| token(value))
        })
    }

    fn read(headers: &HeaderMap, read: impl Fn(&str, &str) -> Option<Self>) -> Self {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Self::None;
        };
        if values.next().is_some() {
            return Self::Malformed;
        }
        let Ok(value) = value.to_str() else {
            return Self::Malformed;
        };
        let (scheme, rest) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
        read(scheme, rest.trim()).unwrap_or(Self::None)
    }
}

fn token(text: &str) -> Credential {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if text.starts_with("carrack_") && text.len() <= TOKEN_BYTES_MAX && text.bytes().all(legal) {
        Credential::Token(text.to_owned())
    } else {
        Credential::Malformed
    }
}

/// Returns the password of a Basic credential; whoever it says to be does not matter.
fn password(value: &str) -> Option<String> {
    // Of a name and the longest token.
    if value.len() > 2 * TOKEN_BYTES_MAX {
        return None;
    }
    let text = String::from_utf8(BASE64.decode(value.as_bytes()).ok()?).ok()?;
    Some(text.split_once(':')?.1.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str], basic: bool) -> String {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        let read = if basic {
            Credential::bearer_or_basic(&headers)
        } else {
            Credential::bearer(&headers)
        };
        match read {
            Credential::None => "none".to_owned(),
            Credential::Malformed => "malformed".to_owned(),
            Credential::Token(token) => token,
        }
    }

    #[test]
    fn one_token_in_its_place_is_read() {
        let at_limit = format!("carrack_{}", "a".repeat(TOKEN_BYTES_MAX - 8));
        let beyond = format!("{at_limit}a");
        for (values, expected) in [
            (&[][..], "none"),
            (&["Bearer carrack_a"], "carrack_a"),
            (&["bearer   carrack_a-_9"], "carrack_a-_9"),
            (&[&format!("Bearer {at_limit}")], &at_limit),
            (&[&format!("Bearer {beyond}")], "malformed"),
            (&["Bearer"], "malformed"),
            (&["Bearer other_a"], "malformed"),
            (&["Bearer carrack_a b"], "malformed"),
            (&["Bearer carrack_ä"], "malformed"),
            (&["Bearer carrack_a", "Bearer carrack_b"], "malformed"),
            (&["Digest x"], "none"),
            (&["Basic OmNhcnJhY2tfYQ=="], "none"),
        ] {
            assert_eq!(read(values, false), expected, "{values:?}");
        }
    }

    #[test]
    fn a_browser_shows_it_as_a_password() {
        for (text, expected) in [
            (":carrack_a", "carrack_a"),
            ("me:carrack_a", "carrack_a"),
            ("me:x", "malformed"),
            ("carrack_a", "malformed"),
        ] {
            let value = format!("Basic {}", BASE64.encode(text.as_bytes()));
            assert_eq!(read(&[&value], true), expected, "{text}");
        }
        assert_eq!(read(&["Basic !"], true), "malformed");
        assert_eq!(read(&["Bearer carrack_a"], true), "carrack_a");
        let long = format!("Basic {}", "A".repeat(2 * TOKEN_BYTES_MAX + 4));
        assert_eq!(read(&[&long], true), "malformed");
    }
}
