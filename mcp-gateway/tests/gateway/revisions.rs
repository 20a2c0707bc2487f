//! An earlier revision, as long as the store keeps it.

use std::fs;

use kit::{Changes, Order, RepoSpec};
use serde_json::json;

use crate::kit::{Agent, folder};

#[test]
fn an_earlier_revision_is_read_as_it_was() {
    let (data, files) = (folder(), folder());
    let mut gateway = Agent::start(data.path(), &[]);
    let old = RepoSpec::default().build();
    let changes = Changes {
        added: 3,
        changed: 3,
        deleted: 3,
    };
    let new = old.next_version(&old.random_edits(7, changes));
    let path = files.path().join("repo.car");
    let import = |repo: &kit::Repo, gateway: &mut Agent| {
        fs::write(&path, repo.car(Order::PreOrder)).unwrap();
        gateway.text("at_import", json!({ "source": path }));
    };
    let did = old.did.as_str();
    let list = json!({ "actor": did, "limit": 1_000, "max_bytes": 65_536 });
    let first = old
        .records
        .iter()
        .find(|record| new.records.iter().all(|other| other.path != record.path));
    let uri = format!("at://{did}/{}", first.unwrap().path);
    import(&old, &mut gateway);
    let (listed, got) = (
        gateway.text("at_list", list.clone()),
        gateway.text("at_get", json!({ "refs": [uri] })),
    );
    import(&new, &mut gateway);
    assert_ne!(gateway.text("at_list", list.clone()), listed);
    assert_eq!(
        gateway.call("at_get", json!({ "refs": [uri] }))["isError"],
        true
    );
    let rev = old.rev.to_string();
    let mut then = list;
    then["rev"] = rev.clone().into();
    assert_eq!(gateway.text("at_list", then), listed);
    assert_eq!(
        gateway.text("at_get", json!({ "refs": [uri], "rev": rev })),
        got
    );
}
