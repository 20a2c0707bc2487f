//! What holders of narrow grants are shown: the real store decides, through real grants.

use carrack_client::Scope;
use tempfile::TempDir;

use super::*;
use crate::connection::Backend;
use crate::embedded::Folder;

pub(crate) const ACTOR: &str = "did:plc:rilb2cohzwgttp7xjllpyq2i";
pub(crate) const FRIEND: &str = "did:plc:4laajcqkrquefjrfvdn5wm6j";

/// An archive of both samples, and connections to it under grants.
pub(crate) struct Archive {
    owner: Connection,
    folder: TempDir,
}

impl Archive {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let backend = Folder::new(Some(folder.path().join("data"))).unwrap();
        let owner = Connection::new(Backend::Folder(backend));
        let session = owner.session().await.unwrap();
        for name in ["varied.car", "varied-friend.car"] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sample");
            let upload = session.importer().import(Default::default());
            upload.write(&std::fs::read(path.join(name)).unwrap()).await;
            upload.done().await.unwrap();
        }
        Self { owner, folder }
    }

    pub(crate) fn owner(&self) -> &Connection {
        &self.owner
    }

    /// Connects with a grant of this scope.
    pub(crate) async fn with(&self, scope: Scope) -> Connection {
        let scope = scope.unlimited_calls().unlimited_bytes().never_expires();
        let grants = self.owner.session().await.unwrap().grants();
        let issued = grants.issue(scope, "test").await.unwrap();
        let folder = Folder::new(Some(self.folder.path().to_owned())).unwrap();
        Connection::holding(Backend::Folder(folder), issued.session).await
    }

    pub(crate) async fn end(self) {
        self.owner.shutdown().await;
    }
}

fn names(list: &ListResourceTemplatesResult) -> Vec<&str> {
    let templates = list.resource_templates.iter();
    templates.map(|template| template.name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_grant_sees_its_own() {
    let archive = Archive::new().await;
    let uris = async |connection: &Connection| -> Vec<String> {
        let list = list(connection, None).await.unwrap();
        list.resources.into_iter().map(|each| each.uri).collect()
    };
    assert_eq!(uris(archive.owner()).await.len(), 2);

    let scope = Scope::none().repo(ACTOR).collection("app.bsky.feed.*");
    let narrow = archive.with(scope.read().list()).await;
    assert_eq!(uris(&narrow).await, [format!("at://{ACTOR}")]);
    let templates = templates(&narrow).await.unwrap();
    assert_eq!(names(&templates), ["repo", "collection", "record"]);
    let card = read(&narrow, &format!("at://{ACTOR}")).await.unwrap();
    let card = serde_json::to_string(&card.contents).unwrap();
    assert!(
        card.contains("app.bsky.feed.post") && !card.contains("app.bsky.graph"),
        "{card}"
    );
    let feed = format!("at://{ACTOR}/app.bsky.feed.post");
    read(&narrow, &feed).await.unwrap();
    for uri in [
        format!("at://{FRIEND}"),
        format!("at://{FRIEND}/app.bsky.feed.post"),
        format!("at://{ACTOR}/app.bsky.actor.profile/self"),
        format!("at-proof://{ACTOR}/app.bsky.feed.post/3n2v4jzbfzp2x"),
        format!("at-car://{ACTOR}"),
    ] {
        let error = read(&narrow, &uri).await.unwrap_err();
        assert_eq!(
            error.code,
            rmcp::model::ErrorCode::RESOURCE_NOT_FOUND,
            "{uri}: {error:?}"
        );
    }

    // Who may read but not list is told of no names.
    let reader = archive
        .with(Scope::none().all_repos().all_collections().read())
        .await;
    assert!(uris(&reader).await.is_empty());
    read(
        &reader,
        &format!("at://{ACTOR}/app.bsky.actor.profile/self"),
    )
    .await
    .unwrap();
    assert!(read(&reader, &feed).await.is_err());
    archive.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repo_whose_account_is_not_active_is_hidden() {
    let archive = Archive::new().await;
    let owner = archive.owner();
    let options = carrack_client::ImportOptions {
        status: Some("takendown".to_owned()),
        ..Default::default()
    };
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sample/varied.car");
    let session = owner.session().await.unwrap();
    let upload = session.importer().import(options);
    upload.write(&std::fs::read(path).unwrap()).await;
    upload.done().await.unwrap();
    let list = list(owner, None).await.unwrap();
    assert_eq!(list.resources.len(), 1, "{list:?}");
    for uri in [
        format!("at://{ACTOR}"),
        format!("at://{ACTOR}/app.bsky.feed.post"),
        format!("at-car://{ACTOR}"),
    ] {
        let error = read(owner, &uri).await.unwrap_err();
        assert_eq!(error.code, rmcp::model::ErrorCode::RESOURCE_NOT_FOUND);
        assert!(error.message.contains("not active"), "{error:?}");
    }
    archive.end().await;
}
