//! [`Refusal`]: a request that is not served, as its HTTP answer. What it says never holds what it was shown.

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It shows no token.
    NoToken,
    /// Its token opens nothing: unknown, forgotten, expired or revoked. Which of them is nobody's business.
    BadToken,
    /// Its token's grant is too narrow for all that could be asked here.
    TooLittle(&'static str),
    /// It came from where it must not: this header says so.
    Foreign(&'static str),
    /// The body is too long.
    TooLong,
    /// The body did not come in time, or not whole.
    TooSlow,
    /// Too much of one grant, for now.
    TooMuch(Duration),
    /// Too much of all, for now.
    Busy,
    /// The store cannot be reached.
    NoStore,
}

/// The scope that is asked for where none is shown: what the smallest useful grant allows.
pub(super) const SCOPE: &str = "at:read";

/// JSON-RPC's code for errors that have none of their own.
const SERVER_ERROR: i32 = -32_000;

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::NoToken | Self::BadToken => StatusCode::UNAUTHORIZED,
            Self::TooLittle(_) | Self::Foreign(_) => StatusCode::FORBIDDEN,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooMuch(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy | Self::NoStore => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The error's name, by RFC 6750 where that has one.
    fn name(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::BadToken => "invalid_token",
            Self::TooLittle(_) => "insufficient_scope",
            Self::Foreign(_) => "forbidden",
            Self::TooLong | Self::TooSlow => "invalid_request",
            Self::TooMuch(_) => "slow_down",
            Self::Busy | Self::NoStore => "temporarily_unavailable",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NoToken => {
                "send Authorization: Bearer with a token; `carrack grant create` makes one"
            }
            Self::BadToken => {
                "this token opens nothing, or nothing any more; ask whoever gave it for another"
            }
            Self::TooLittle(_) => "the token's grant does not allow this; ask for a wider one",
            Self::Foreign(header) => header,
            Self::TooLong => "the body is longer than a request may be",
            Self::TooSlow => "the body did not come in time",
            Self::TooMuch(_) => {
                "too many requests or bytes with this token's grant; wait and go on"
            }
            Self::Busy => "the gateway serves as many as it can; try again soon",
            Self::NoStore => "the gateway cannot reach its store; try again soon",
        }
    }

    /// Returns the challenge that tells a client how to be let in.
    fn challenge(self, metadata: &str) -> Option<String> {
        let (error, scope) = match self {
            Self::NoToken => ("", SCOPE),
            Self::BadToken => (", error=\"invalid_token\"", SCOPE),
            Self::TooLittle(scope) => (", error=\"insufficient_scope\"", scope),
            _ => return None,
        };
        Some(format!(
            "Bearer resource_metadata=\"{metadata}\", scope=\"{scope}\"{error}"
        ))
    }

    fn retry_after(self) -> Option<u64> {
        match self {
            Self::TooMuch(wait) => Some(wait.as_secs_f64().ceil().max(1.0) as u64),
            Self::Busy | Self::NoStore => Some(1),
            _ => None,
        }
    }

    /// Returns the answer; `metadata` is where it stands what may be asked for, and a browser asks its user.
    pub(super) fn response(self, metadata: &str, is_page: bool) -> Response {
        let error = json!({ "code": SERVER_ERROR, "message": self.words(), "data": { "error": self.name() } });
        // As MCP has it, so that clients pass the words on; whose request it is was not read.
        let body = json!({ "jsonrpc": "2.0", "id": null, "error": error });
        let mut response = (self.status(), body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(Ok(value)) = self
            .challenge(metadata)
            .map(|text| HeaderValue::from_str(&text))
        {
            headers.append(WWW_AUTHENTICATE, value);
        }
        if is_page && self.status() == StatusCode::UNAUTHORIZED {
            let ask = HeaderValue::from_static("Basic realm=\"carrack: password = token\"");
            headers.append(WWW_AUTHENTICATE, ask);
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_these() {
        let wait = Duration::from_millis(1_001);
        let shown: Vec<_> = [
            Refusal::NoToken,
            Refusal::BadToken,
            Refusal::TooLittle("at:maintain"),
            Refusal::Foreign("Host names another site"),
            Refusal::TooLong,
            Refusal::TooSlow,
            Refusal::TooMuch(wait),
            Refusal::Busy,
            Refusal::NoStore,
        ]
        .iter()
        .map(|refusal| {
            let response = refusal.response("http://h/m", true);
            let headers: Vec<_> = response
                .headers()
                .iter()
                .filter(|(name, _)| *name != CONTENT_TYPE)
                .map(|(name, value)| format!("  {name}: {}", value.to_str().unwrap()))
                .collect();
            let (status, name, words) = (response.status(), refusal.name(), refusal.words());
            format!("{status}: {name}: {words}\n{}", headers.join("\n"))
        })
        .collect();
        insta::assert_snapshot!(shown.join("\n"));
    }
}
