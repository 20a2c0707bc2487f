//! Grants and scopes, from the wire and back.

use capnp::Result;
use capnp::capability::Response;
use carrack_schema::wire::grant_capnp as wire;
use carrack_schema::wire::store_capnp::session::usage_results;

use crate::scope::{
    Budget, GrantInfo, GrantList, Limit, Operations, Scope, Selection, TokenInfo, Usage,
};

pub(crate) fn info(response: &Response<wire::grant::info_results::Owned>) -> Result<GrantInfo> {
    grant(response.get()?.get_info()?)
}

pub(crate) fn list(response: &Response<wire::grants::list_results::Owned>) -> Result<GrantList> {
    let results = response.get()?;
    let grants = results.get_grants()?.iter();
    Ok(GrantList {
        grants: grants.map(grant).collect::<Result<_>>()?,
        more: results.get_more(),
    })
}

pub(crate) fn revoked(response: &Response<wire::grant::revoke_results::Owned>) -> Result<u32> {
    Ok(response.get()?.get_revoked())
}

pub(crate) fn saved(
    response: &Response<wire::grant::save_results::Owned>,
) -> Result<(String, u64)> {
    let results = response.get()?;
    Ok((results.get_token()?.to_string()?, results.get_id()))
}

pub(crate) fn tokens(
    response: &Response<wire::grant::tokens_results::Owned>,
) -> Result<Vec<TokenInfo>> {
    let tokens = response.get()?.get_tokens()?;
    tokens.iter().map(token).collect()
}

pub(crate) fn forgotten(response: &Response<wire::grant::forget_results::Owned>) -> Result<bool> {
    Ok(response.get()?.get_known())
}

pub(crate) fn used(response: &Response<usage_results::Owned>) -> Result<Usage> {
    Ok(usage(response.get()?.get_usage()?))
}

fn grant(wire: wire::grant_info::Reader<'_>) -> Result<GrantInfo> {
    Ok(GrantInfo {
        id: wire.get_id()?.to_string()?,
        parent: wire.get_parent()?.to_string()?,
        label: wire.get_label()?.to_string()?,
        scope: scope(wire.get_scope()?)?,
        created: wire.get_created(),
        usage: usage(wire.get_usage()?),
        tokens: wire.get_tokens(),
        sessions: wire.get_sessions(),
    })
}

fn usage(wire: wire::usage::Reader<'_>) -> Usage {
    Usage {
        calls: wire.get_calls(),
        bytes: wire.get_bytes(),
        last_used: Some(wire.get_last_used()).filter(|time| *time != 0),
        refused: wire.get_refused(),
    }
}

fn token(wire: wire::token_info::Reader<'_>) -> Result<TokenInfo> {
    Ok(TokenInfo {
        id: wire.get_id(),
        label: wire.get_label()?.to_string()?,
        created: wire.get_created(),
        last_used: Some(wire.get_last_used()).filter(|time| *time != 0),
    })
}

pub(crate) fn scope(wire: wire::scope::Reader<'_>) -> Result<Scope> {
    let may = wire.get_may()?;
    Ok(Scope {
        repos: selection(wire.get_repos()?)?,
        collections: selection(wire.get_collections()?)?,
        may: Operations {
            read: may.get_read(),
            list: may.get_list(),
            search: may.get_search(),
            blobs: may.get_blobs(),
            prove: may.get_prove(),
            export: may.get_export(),
            import: may.get_import(),
            delete: may.get_delete(),
            grant: may.get_grant(),
            maintain: may.get_maintain(),
        },
        calls: budget(wire.get_calls()?)?,
        bytes: budget(wire.get_bytes()?)?,
        expires: wire.get_expires(),
    })
}

fn selection(wire: wire::selection::Reader<'_>) -> Result<Selection> {
    Ok(match wire.which()? {
        wire::selection::None(()) => Selection::None,
        wire::selection::All(()) => Selection::All,
        wire::selection::Only(names) => {
            let names = names?.iter().map(|name| Ok(name?.to_string()?));
            Selection::Only(names.collect::<Result<_>>()?)
        }
    })
}

fn budget(wire: wire::scope::budget::Reader<'_>) -> Result<Budget> {
    Ok(Budget {
        total: limit(wire.get_total()?)?,
        per_second: limit(wire.get_per_second()?)?,
    })
}

fn limit(wire: wire::scope::limit::Reader<'_>) -> Result<Limit> {
    Ok(match wire.which()? {
        wire::scope::limit::None(()) => Limit::None,
        wire::scope::limit::AtMost(most) => Limit::AtMost(most),
        wire::scope::limit::Unlimited(()) => Limit::Unlimited,
    })
}

pub(crate) fn set_scope(mut wire: wire::scope::Builder<'_>, scope: &Scope) {
    set_selection(wire.reborrow().init_repos(), &scope.repos);
    set_selection(wire.reborrow().init_collections(), &scope.collections);
    let mut may = wire.reborrow().init_may();
    may.set_read(scope.may.read);
    may.set_list(scope.may.list);
    may.set_search(scope.may.search);
    may.set_blobs(scope.may.blobs);
    may.set_prove(scope.may.prove);
    may.set_export(scope.may.export);
    may.set_import(scope.may.import);
    may.set_delete(scope.may.delete);
    may.set_grant(scope.may.grant);
    may.set_maintain(scope.may.maintain);
    set_budget(wire.reborrow().init_calls(), scope.calls);
    set_budget(wire.reborrow().init_bytes(), scope.bytes);
    wire.set_expires(scope.expires);
}

pub(crate) fn set_selection(mut wire: wire::selection::Builder<'_>, selection: &Selection) {
    match selection {
        Selection::None => wire.set_none(()),
        Selection::All => wire.set_all(()),
        Selection::Only(names) => {
            // More names than a message can hold are cut here; the server refuses far fewer.
            let count = u32::try_from(names.len()).unwrap_or(u32::MAX);
            let mut list = wire.init_only(count);
            for (i, name) in (0..count).zip(names) {
                list.set(i, name);
            }
        }
    }
}

fn set_budget(mut wire: wire::scope::budget::Builder<'_>, budget: Budget) {
    set_limit(wire.reborrow().init_total(), budget.total);
    set_limit(wire.init_per_second(), budget.per_second);
}

fn set_limit(mut wire: wire::scope::limit::Builder<'_>, limit: Limit) {
    match limit {
        Limit::None => wire.set_none(()),
        Limit::AtMost(most) => wire.set_at_most(most),
        Limit::Unlimited => wire.set_unlimited(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(given: &Scope) -> Scope {
        let mut message = capnp::message::Builder::new_default();
        set_scope(message.init_root(), given);
        scope(message.get_root_as_reader().unwrap()).unwrap()
    }

    #[test]
    fn scopes_survive_the_wire() {
        let narrow = Scope::none()
            .repo("did:plc:a")
            .repo("did:web:b")
            .collection("app.bsky.feed.*")
            .calls(1_000)
            .calls_per_second(3)
            .bytes(10 << 20)
            .expires_at(77);
        for scope in [Scope::none(), Scope::all(), narrow] {
            assert_eq!(there_and_back(&scope), scope);
        }
    }

    #[test]
    fn no_operation_is_taken_for_another() {
        let each: [fn(Scope) -> Scope; 10] = [
            Scope::read,
            Scope::list,
            Scope::search,
            Scope::blobs,
            Scope::prove,
            Scope::export,
            Scope::import,
            Scope::delete,
            Scope::grant,
            Scope::maintain,
        ];
        for (i, allow) in each.iter().enumerate() {
            let scope = allow(Scope::none());
            assert_eq!(there_and_back(&scope), scope);
            for other in &each[i + 1..] {
                assert_ne!(other(Scope::none()), scope);
            }
        }
    }

    #[test]
    fn a_message_without_a_scope_allows_nothing() {
        let mut message = capnp::message::Builder::new_default();
        message.init_root::<wire::grant_info::Builder<'_>>();
        let empty = message.get_root_as_reader().unwrap();
        assert_eq!(grant(empty).unwrap().scope, Scope::none());
    }
}
