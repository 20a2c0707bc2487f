//! `carrack grant`: a part of the store for somebody else; who has one, and taking it back.

use std::time::Duration;

use carrack_client::{Budget, GrantInfo, Limit, Operations, Scope, Selection, Session, TokenInfo};
use carrack_schema::Code;
use carrack_schema::codes::Exit;
use carrack_schema::names::RepoName;
use carrack_schema::time::rfc3339;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::door::Door;
use super::output::Output;
use super::{Failure, Result};

#[derive(Args)]
#[command(after_help = "\
A grant is a part of what you may do yourself. Its holder uses a token: with `carrack --store ADDR
--token-file FILE`, or from a program. What the holder may not, it cannot see either; what it uses
is counted; `carrack grant revoke` ends it at once, calls under way included.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make a grant, and print a token that opens it
    Create(Create),
    /// List the grants that were made
    List,
    /// Print what is known of a grant
    Show(Named),
    /// Take grants back, with all that were made from them
    Revoke(Revoke),
    /// Make another token that opens a grant, and print it
    Token(NewToken),
    /// End one token; sessions that were opened with it go on
    Forget(Forget),
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  carrack grant create --label helper --repos did:plc:…,did:plc:… --collections 'app.bsky.feed.*' \\
    --may read,list --calls 10000 --bytes 100MiB --calls-per-second 50 --expires 7d
  carrack grant create --label mirror --repos all --collections all --may read,list,export --expires never

The token goes to stdout and is shown this once; the store keeps a hash of it. Proofs, exports and
imports show or hold whole repos, so they need `--collections all`.")]
struct Create {
    /// What to call it, for yourself
    #[arg(long)]
    label: String,
    /// Which repos: DIDs or handles, or `all`, also those to come
    #[arg(long, value_name = "REPOS", value_delimiter = ',', required = true)]
    repos: Vec<String>,
    /// Which collections: NSIDs, or all below a name (app.bsky.feed.*), or `all`
    #[arg(
        long,
        value_name = "COLLECTIONS",
        value_delimiter = ',',
        required = true
    )]
    collections: Vec<String>,
    /// What its holder may do
    #[arg(long, value_name = "WHAT", value_delimiter = ',', required = true)]
    may: Vec<May>,
    /// Calls in all; by default as many as you may
    #[arg(long, value_name = "COUNT")]
    calls: Option<u64>,
    /// Calls per second
    #[arg(long, value_name = "COUNT")]
    calls_per_second: Option<u64>,
    /// Bytes in all, such as 100MiB; by default as many as you may
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    bytes: Option<u64>,
    /// Bytes per second
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    bytes_per_second: Option<u64>,
    /// When it ends by itself: after 90s, 15m, 12h, 7d; or `never`
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    expires: Expiry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum May {
    /// Records by name, and what is known of a repo
    Read,
    /// Which repos, collections and records there are; queries
    List,
    /// Proofs
    Prove,
    /// Whole repos
    Export,
    /// New revisions
    Import,
    /// Deleting records and repos
    Delete,
    /// Handing on a part of the grant
    Grant,
    /// Compacting and checking the store
    Maintain,
    /// All of these, and full text and blobs, which no method needs yet
    All,
}

#[derive(Args)]
struct Named {
    /// Its id
    grant: String,
}

#[derive(Args)]
struct Revoke {
    /// Their ids
    #[arg(required_unless_present = "all", value_name = "GRANT")]
    grants: Vec<String>,
    /// All there are, such as those that a restored backup brought back
    #[arg(long, conflicts_with = "grants")]
    all: bool,
}

#[derive(Args)]
struct NewToken {
    /// The grant's id
    grant: String,
    /// What to call the token, for yourself
    #[arg(long, default_value = "")]
    label: String,
}

#[derive(Args)]
struct Forget {
    /// The grant's id
    grant: String,
    /// The token's number, as `carrack grant show` lists it
    #[arg(value_name = "TOKEN")]
    number: u64,
}

/// How long a grant is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry {
    In(Duration),
    Never,
}

fn expiry(text: &str) -> Result<Expiry, String> {
    if text == "never" {
        return Ok(Expiry::Never);
    }
    let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];
    let found = units.iter().find_map(|(unit, seconds)| {
        let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
        count.checked_mul(*seconds)
    });
    match found {
        Some(seconds @ 1..) => Ok(Expiry::In(Duration::from_secs(seconds))),
        _ => Err("write a time such as 90s, 15m, 12h or 7d, or never".to_owned()),
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    let units = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1_u64 << 40),
    ];
    let unit = units.iter().find(|(unit, _)| text.ends_with(unit));
    let (number, factor) = match unit {
        Some((unit, factor)) => (text.trim_end_matches(unit), *factor),
        None => (text, 1),
    };
    let count = number.parse::<u64>().ok();
    let count = count.and_then(|count| count.checked_mul(factor));
    count.ok_or_else(|| "write a number of bytes, or one with KiB, MiB, GiB or TiB".to_owned())
}

pub(super) async fn run(
    door: &mut Door,
    arguments: &Arguments,
    output: &mut Output,
) -> Result<Exit> {
    match &arguments.action {
        Action::Create(create) => make(door.session(), create, output).await?,
        Action::List => list(door, output).await?,
        Action::Show(named) => show(door, &named.grant, output).await?,
        Action::Revoke(revoke) => take_back(door.session(), revoke, output).await?,
        Action::Token(new) => {
            let grant = door.session().grants().grant(&new.grant);
            let saved = grant.save(&new.label).await.map_err(about(&new.grant))?;
            print_token(&new.grant, &saved, output)?;
        }
        Action::Forget(forget) => {
            let grant = door.session().grants().grant(&forget.grant);
            let known = grant.forget(forget.number).await;
            if !known.map_err(about(&forget.grant))? {
                let words = format!("no token {} opens it", forget.number);
                return Err(Failure::new(Code::NotFound, words).about(&forget.grant));
            }
            output.note(&format!(
                "token {} of {} is forgotten",
                forget.number, forget.grant
            ));
        }
    }
    Ok(Exit::Ok)
}

fn about(grant: &str) -> impl Fn(carrack_client::Error) -> Failure {
    let grant = grant.to_owned();
    move |error| Failure::from(error).about(&grant)
}

// Making one is never repeated: whether a call that was lost made a grant is not known.
async fn make(session: &Session, create: &Create, output: &mut Output) -> Result {
    let scope = scope(session, create).await?;
    let issued = session.grants().issue(scope, &create.label).await?;
    let id = &issued.info.id;
    let saved = match issued.grant.save(&create.label).await {
        Ok(saved) => saved,
        Err(error) => {
            // Nobody could ever use it.
            let words = match issued.grant.revoke().await {
                Ok(_) => "no token could be made, so the grant was taken back",
                Err(_) => {
                    "no token could be made for the grant; try `carrack grant token`, or revoke it"
                }
            };
            return Err(Failure::from(error).about(format!("{id}: {words}")));
        }
    };
    if !output.is_json() {
        output.note(&format!("grant {id}: {}", words(&issued.info)));
    }
    print_token(id, &saved, output)
}

fn print_token(grant: &str, (token, number): &(String, u64), output: &mut Output) -> Result {
    if output.is_json() {
        return output.object(&json!({"grant": grant, "token": token, "tokenId": number}));
    }
    output.line(token)?;
    output.note("the token is shown this once: keep it as you keep a password");
    Ok(())
}

async fn scope(session: &Session, create: &Create) -> Result<Scope> {
    let limit = |most: Option<u64>| most.map_or(Limit::Unlimited, Limit::AtMost);
    let scope = Scope {
        repos: repos(session, &create.repos).await?,
        collections: match create.collections.as_slice() {
            [all] if all == "all" => Selection::All,
            names => Selection::Only(names.to_vec()),
        },
        may: operations(&create.may),
        calls: Budget {
            total: limit(create.calls),
            per_second: limit(create.calls_per_second),
        },
        bytes: Budget {
            total: limit(create.bytes),
            per_second: limit(create.bytes_per_second),
        },
        expires: Scope::NEVER,
    };
    Ok(match create.expires {
        Expiry::Never => scope,
        Expiry::In(time) => scope.expires_in(time),
    })
}

/// Returns which repos were named; a handle is that of a repo which is there.
async fn repos(session: &Session, names: &[String]) -> Result<Selection> {
    if names == ["all"] {
        return Ok(Selection::All);
    }
    let mut dids = Vec::new();
    for name in names {
        let parsed = name.parse();
        let parsed: RepoName = parsed.map_err(|error: carrack_schema::names::NameError| {
            let words = format!("{error}; write a DID, a handle, or all");
            Failure::new(Code::InvalidArgument, words).about("--repos")
        })?;
        dids.push(match parsed {
            RepoName::Did(did) => did.to_string(),
            RepoName::Handle(_) => {
                let about = |failure: Failure| failure.about(name);
                let info = session.store().repo(name).info().await;
                let info = info.map_err(|error| about(error.into()))?;
                info.map_err(|absent| about(absent.into()))?.source.did
            }
        });
    }
    Ok(Selection::Only(dids))
}

fn operations(may: &[May]) -> Operations {
    let may = |operation| may.contains(&operation) || may.contains(&May::All);
    Operations {
        read: may(May::Read),
        list: may(May::List),
        search: may(May::All),
        blobs: may(May::All),
        prove: may(May::Prove),
        export: may(May::Export),
        import: may(May::Import),
        delete: may(May::Delete),
        grant: may(May::Grant),
        maintain: may(May::Maintain),
    }
}

async fn list(door: &mut Door, output: &mut Output) -> Result {
    let mut after = String::new();
    loop {
        let list = door
            .call(async |session| Ok(session.grants().list(&after, 0).await?))
            .await?;
        for grant in &list.grants {
            if output.is_json() {
                output.object(&object(grant))?;
            } else {
                output.line(&format!("{}  {}", grant.id, words(grant)))?;
            }
        }
        match list.grants.last() {
            Some(last) if list.more && !output.is_closed() => after.clone_from(&last.id),
            _ => return Ok(()),
        }
    }
}

async fn show(door: &mut Door, id: &str, output: &mut Output) -> Result {
    let known = door
        .call(async |session| {
            let grant = session.grants().grant(id);
            Ok((grant.info().await?, grant.tokens().await?))
        })
        .await;
    let (grant, tokens) = known.map_err(|failure| failure.about(id))?;
    if output.is_json() {
        let mut shown = object(&grant);
        shown["tokens"] = tokens.iter().map(token_object).collect();
        return output.object(&shown);
    }
    let scope = &grant.scope;
    let mut lines = vec![
        ("grant", grant.id.clone()),
        ("label", grant.label.clone()),
        ("made", rfc3339(grant.created)),
        (
            "expires",
            expires(scope).unwrap_or_else(|| "never".to_owned()),
        ),
        ("repos", selected(&scope.repos)),
        ("collections", selected(&scope.collections)),
        ("may", scope.may.names().join(", ")),
        ("calls", budget(grant.usage.calls, scope.calls)),
        ("bytes", budget(grant.usage.bytes, scope.bytes)),
        ("refused", format!("{} calls", grant.usage.refused)),
        ("used", last_used(grant.usage.last_used)),
        ("open", format!("{} sessions", grant.sessions)),
    ];
    if !grant.parent.is_empty() {
        lines.insert(1, ("made from", grant.parent.clone()));
    }
    for token in &tokens {
        let used = last_used(token.last_used);
        let made = rfc3339(token.created);
        let words = format!("{} {:?}, made {made}, used {used}", token.id, token.label);
        lines.push(("token", words));
    }
    for (name, value) in lines {
        output.line(&format!("{name:<12} {value}"))?;
    }
    Ok(())
}

async fn take_back(session: &Session, revoke: &Revoke, output: &mut Output) -> Result {
    for id in &revoke.grants {
        take_back_one(session, id, output).await?;
    }
    // The first has the lowest id, so no other that is left is above it; those below go with it.
    while revoke.all
        && let Some(first) = session.grants().list("", 1).await?.grants.first()
    {
        take_back_one(session, &first.id, output).await?;
    }
    Ok(())
}

async fn take_back_one(session: &Session, id: &str, output: &mut Output) -> Result {
    let revoked = session.grants().grant(id).revoke().await;
    let revoked = revoked.map_err(about(id))?;
    if output.is_json() {
        return output.object(&json!({"grant": id, "revoked": revoked}));
    }
    let from_it = match revoked {
        1 => String::new(),
        more => format!(", with {} made from it", more - 1),
    };
    output.line(&format!("revoked {id}{from_it}"))
}

/// Returns a grant in one line.
fn words(grant: &GrantInfo) -> String {
    let scope = &grant.scope;
    let until = match expires(scope) {
        None => "does not expire".to_owned(),
        Some(time) => format!("until {time}"),
    };
    format!(
        "{:?}  may {}  of {} in {}  {until}  used {} calls, {} bytes",
        grant.label,
        scope.may.names().join(","),
        counted(&scope.collections, "collections"),
        counted(&scope.repos, "repos"),
        grant.usage.calls,
        grant.usage.bytes
    )
}

fn counted(selection: &Selection, what: &str) -> String {
    match selection {
        Selection::None => format!("no {what}"),
        Selection::All => format!("all {what}"),
        Selection::Only(names) => match names.as_slice() {
            [one] => one.clone(),
            names => format!("{} {what}", names.len()),
        },
    }
}

fn selected(selection: &Selection) -> String {
    match selection {
        Selection::None => "none".to_owned(),
        Selection::All => "all".to_owned(),
        Selection::Only(names) => names.join(" "),
    }
}

fn budget(used: u64, budget: Budget) -> String {
    let most = |limit: Limit| match limit {
        Limit::None => Some(0),
        Limit::AtMost(most) => Some(most),
        Limit::Unlimited => None,
    };
    let total = most(budget.total).map_or(String::new(), |most| format!(" of {most}"));
    let rate = most(budget.per_second);
    let rate = rate.map_or(String::new(), |most| format!(", at most {most} per second"));
    format!("{used}{total} used{rate}")
}

fn expires(scope: &Scope) -> Option<String> {
    (scope.expires != Scope::NEVER).then(|| rfc3339(scope.expires))
}

fn last_used(time: Option<i64>) -> String {
    time.map_or_else(|| "never".to_owned(), rfc3339)
}

fn object(grant: &GrantInfo) -> Value {
    let scope = &grant.scope;
    let selection = |selection: &Selection| match selection {
        Selection::None => json!([]),
        Selection::All => json!("all"),
        Selection::Only(names) => json!(names),
    };
    let limit = |limit: Limit| match limit {
        Limit::None => json!(0),
        Limit::AtMost(most) => json!(most),
        Limit::Unlimited => Value::Null,
    };
    let budget = |budget: Budget| json!({"total": limit(budget.total), "perSecond": limit(budget.per_second)});
    json!({
        "grant": grant.id,
        "parent": (!grant.parent.is_empty()).then_some(&grant.parent),
        "label": grant.label,
        "repos": selection(&scope.repos),
        "collections": selection(&scope.collections),
        "may": scope.may.names(),
        "calls": budget(scope.calls),
        "bytes": budget(scope.bytes),
        "expires": expires(scope),
        "created": rfc3339(grant.created),
        "used": {
            "calls": grant.usage.calls,
            "bytes": grant.usage.bytes,
            "refused": grant.usage.refused,
            "last": grant.usage.last_used.map(rfc3339),
        },
        "tokens": grant.tokens,
        "sessions": grant.sessions,
    })
}

fn token_object(token: &TokenInfo) -> Value {
    json!({
        "tokenId": token.id,
        "label": token.label,
        "created": rfc3339(token.created),
        "lastUsed": token.last_used.map(rfc3339),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_bytes_are_read_with_their_units() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("12h", 43_200), ("7d", 604_800)] {
            assert_eq!(expiry(text), Ok(Expiry::In(Duration::from_secs(seconds))));
        }
        assert_eq!(expiry("never"), Ok(Expiry::Never));
        for wrong in [
            "",
            "7",
            "d",
            "0d",
            "-1d",
            "1w",
            "1.5h",
            "99999999999999999999d",
        ] {
            assert!(expiry(wrong).is_err(), "{wrong}");
        }
        for (text, expected) in [("0", 0), ("12", 12), ("3KiB", 3_072), ("100MiB", 100 << 20)] {
            assert_eq!(bytes(text), Ok(expected));
        }
        for wrong in ["", "MiB", "1MB", "-1", "1 MiB", "99999999TiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
