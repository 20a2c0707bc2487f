//! The pages for whoever runs the gateway: who may see them, and that they show what is there.

use data_encoding::BASE64;
use serde_json::json;

use crate::kit::{ACTOR, Agent, FRIEND, Http, Issuer, folder, reading};

const PAGES: [&str; 2] = ["/", "/metrics"];

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn with_samples() -> (tempfile::TempDir, Http, Issuer) {
    let data = folder();
    Agent::with_samples(data.path()).end();
    let gateway = Http::asking(data.path(), &[], "warn");
    let issuer = Issuer::of(data.path());
    (data, gateway, issuer)
}

#[test]
fn only_who_maintains_the_store_sees_them() {
    let (_data, gateway, issuer) = with_samples();
    let (reader, maintainer) = (
        issuer.reader(ACTOR).1,
        issuer.issue(reading().all_repos().maintain(), "m").1,
    );
    let basic = |token: &str| format!("Basic {}", BASE64.encode(format!("me:{token}").as_bytes()));
    for path in PAGES {
        let response = gateway.get(path, &[]);
        assert_eq!(response.status, 401, "{response:?}");
        // A browser asks its user for the token.
        assert!(
            response.head.contains("www-authenticate: Basic realm="),
            "{response:?}"
        );
        for (credential, status) in [
            (bearer(&gateway.owner), 200),
            (basic(&gateway.owner), 200),
            (bearer(&maintainer), 200),
            (bearer(&reader), 403),
            (basic(&reader), 403),
            (bearer("carrack_x"), 401),
        ] {
            let response = gateway.get(path, &[("Authorization", &credential)]);
            assert_eq!(response.status, status, "{path} {credential}: {response:?}");
            if status == 403 {
                let challenge = response.header("www-authenticate").unwrap();
                assert!(challenge.contains("scope=\"at:maintain\""), "{challenge}");
            }
        }
        let site = [
            ("Authorization", bearer(&gateway.owner)),
            ("Origin", "https://evil.example".to_owned()),
        ];
        let site: Vec<_> = site
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        assert_eq!(gateway.get(path, &site).status, 403);
    }
    assert_eq!(gateway.get("/nothing", &[]).status, 404);
}

#[test]
fn the_page_shows_repos_agents_and_their_use() {
    let (_data, gateway, issuer) = with_samples();
    let label = "<script>alert(1)</script>";
    let (_, token) = issuer.issue(reading().repo(FRIEND), label);
    gateway.call_as(&token, "at_overview", json!({}));
    let page = gateway.get("/", &[("Authorization", &bearer(&gateway.owner))]);
    for shown in [
        ACTOR,
        FRIEND,
        "&lt;script&gt;",
        "at_overview · ok · 1 call",
        "may read, list",
    ] {
        assert!(page.body.contains(shown), "{shown}: {}", page.body);
    }
    assert!(!page.body.contains("<script"), "{}", page.body);
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert_eq!(page.header("cache-control").as_deref(), Some("no-store"));
    // One who maintains sees the grants that descend from theirs: none.
    let (_, maintainer) = issuer.issue(reading().all_repos().maintain().grant(), "m");
    let page = gateway
        .get("/", &[("Authorization", &bearer(&maintainer))])
        .body;
    assert!(
        page.contains(ACTOR) && !page.contains("&lt;script&gt;"),
        "{page}"
    );
}

#[test]
fn the_metrics_count_what_was_done() {
    let (_data, gateway, issuer) = with_samples();
    let (_, token) = issuer.reader(ACTOR);
    gateway.call_as(&token, "at_overview", json!({}));
    gateway.call_as(&token, "at_list", json!({ "actor": FRIEND }));
    gateway.post_as("carrack_x", "tools/list", json!({}));
    gateway.post_as(
        &token,
        "tools/call",
        json!({ "name": "at_made_up", "arguments": {} }),
    );
    let metrics = gateway.get("/metrics", &[("Authorization", &bearer(&gateway.owner))]);
    let kind = metrics.header("content-type").unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    for line in [
        "carrack_http_requests_total{path=\"/mcp\",status=\"200\"} 3",
        "carrack_http_requests_total{path=\"/mcp\",status=\"401\"} 1",
        "carrack_tool_calls_total{tool=\"at_overview\",outcome=\"ok\"} 1",
        "carrack_tool_calls_total{tool=\"at_list\",outcome=\"denied\"} 1",
        "carrack_tool_calls_total{tool=\"\",outcome=\"unknown\"} 1",
        "carrack_rpc_connections 1",
        "carrack_tokens_total{outcome=\"restored\"} 1",
        "carrack_tokens_total{outcome=\"refused\"} 1",
        "carrack_store_repos 2",
    ] {
        let found = metrics.body.lines().any(|found| found == line);
        assert!(found, "{line} in {}", metrics.body);
    }
}
