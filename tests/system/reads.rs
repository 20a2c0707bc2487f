//! Reads: what is there, what is not, and in which form.

use carrack_client::{Absent, Body, Form, Want};
use carrack_schema::{Code, Value};
use kit::{Order, RepoSpec};

use crate::door::{self, Door, must_import};
use crate::fixtures::read;

#[test]
fn each_missing_hop_is_named() {
    door::each(async |store| {
        let did = must_import(&store.session, &read("small.car"))
            .await
            .info
            .source
            .did;
        let reader = store.session.store();
        let want = Want::value;
        let record = |did: &str, path: &str| reader.repo(did).record(path);
        let read = async |did: &str, path: &str| record(did, path).read(want()).await.unwrap();
        let path = "app.bsky.feed.like/nobody";
        assert_eq!(
            read("did:plc:nobody", path).await.unwrap_err(),
            Absent::Repo
        );
        assert_eq!(
            read(&did, "com.example.none/self").await.unwrap_err(),
            Absent::Collection
        );
        assert_eq!(read(&did, path).await.unwrap_err(), Absent::Record);
        assert_eq!(
            reader
                .repo("did:plc:nobody")
                .info()
                .await
                .unwrap()
                .unwrap_err(),
            Absent::Repo
        );
        assert_eq!(
            reader
                .repo("did:plc:nobody")
                .collections()
                .await
                .unwrap()
                .unwrap_err(),
            Absent::Repo
        );
        store.owner.shutdown();
    });
}

#[test]
fn names_that_are_none_are_invalid_arguments() {
    door::each(async |store| {
        let reader = store.session.store();
        let code = |error: carrack_client::Error| error.code();
        let long = format!(
            "did:plc:{}",
            "a".repeat(carrack_schema::names::DID_BYTES_MAX)
        );
        for did in ["", "alice", "did:plc", "-.test", &long] {
            let error = reader.repo(did).info().await.unwrap_err();
            assert_eq!(code(error), Code::InvalidArgument, "{did}");
        }
        let error = reader.repo("alice.test").info().await.unwrap_err();
        assert_eq!(code(error), Code::UnknownHandle);
        let repo = reader.repo("did:plc:nobody");
        for path in ["", "a.b.c", "a.b.c/", "a.b.c/x/y", "a.b/x", "a.b.c/."] {
            let error = repo.record(path).read(Want::value()).await.unwrap_err();
            assert_eq!(code(error), Code::InvalidArgument, "{path}");
        }
        let error = repo
            .collection("no nsid")
            .record("self")
            .read(Want::value())
            .await
            .unwrap_err();
        assert_eq!(code(error), Code::InvalidArgument);
        store.owner.shutdown();
    });
}

#[test]
fn a_credential_nobody_knows_is_denied() {
    door::through(Door::InProcess, &async |store| {
        let session = store.owner.client().login("carrack_guess");
        let error = session.store().repo("did:plc:a").info().await.unwrap_err();
        assert_eq!(error.code(), Code::BadCredential);
        assert_eq!(
            session.about().await.unwrap_err().code(),
            Code::BadCredential
        );
        assert!(store.session.about().await.is_ok());
        store.owner.shutdown();
    });
}

#[test]
fn a_record_is_read_in_the_wanted_form_only() {
    door::each(async |store| {
        let did = must_import(&store.session, &read("varied.car"))
            .await
            .info
            .source
            .did;
        let record = store
            .session
            .store()
            .repo(&did)
            .collection("com.example.custom.thing")
            .record("k1");
        let (source, data) = record
            .read(Want::value().with_cid())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(source.did, did);
        assert_eq!(source.verdict.as_str(), "unchecked");
        let Body::Value(value) = data.body else {
            panic!("{data:?}")
        };
        assert_eq!(value.get("neg"), Some(&Value::Int(-7)));
        assert_eq!(value.get("nil"), Some(&Value::Null));
        assert!(matches!(value.get("link"), Some(Value::Link(cid)) if cid.len() == 36));

        let (_, bare) = record.read(Want::default()).await.unwrap().unwrap();
        assert_eq!((bare.cid, bare.body), (None, Body::None));

        let fields = vec!["nested.list.three".into(), "n".into(), "absent".into()];
        let want = Want {
            form: Form::Value,
            cid: false,
            fields,
        };
        let (_, projected) = record.read(want).await.unwrap().unwrap();
        let Body::Value(value) = projected.body else {
            panic!("not a value")
        };
        assert_eq!(
            serde_json::to_string(&value).unwrap(),
            r#"{"n":42,"nested":{"list":[1,"two",{"three":3}]}}"#
        );

        let (_, raw) = record.read(Want::dag_cbor()).await.unwrap().unwrap();
        let Body::DagCbor(bytes) = raw.body else {
            panic!("not bytes")
        };
        assert_eq!(Some(kit::cbor::cid_of(&bytes)), data.cid);
        store.owner.shutdown();
    });
}

#[test]
fn a_projection_has_at_most_so_many_fields() {
    use carrack_schema::limits::FIELDS_MAX;
    door::through(Door::InProcess, &async |store| {
        let did = must_import(&store.session, &read("small.car"))
            .await
            .info
            .source
            .did;
        let record = store
            .session
            .store()
            .repo(&did)
            .record("app.bsky.actor.profile/self");
        let read = async |count| {
            let fields = vec!["x".to_owned(); count];
            record
                .read(Want {
                    form: Form::Value,
                    cid: false,
                    fields,
                })
                .await
        };
        assert!(read(FIELDS_MAX).await.is_ok());
        assert_eq!(
            read(FIELDS_MAX + 1).await.unwrap_err().code(),
            Code::LimitExceeded
        );
        store.owner.shutdown();
    });
}

#[test]
fn records_that_break_the_data_model_keep_their_bytes() {
    // A float, keys out of order, and no CBOR at all: invalid records of a valid repo (RC2, DR3).
    let odd: [(&str, &[u8]); 3] = [
        (
            "com.example.odd/float",
            b"\xa1\x61x\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00",
        ),
        ("com.example.odd/order", b"\xa2\x61b\x01\x61a\x02"),
        ("com.example.odd/text", b"plain text"),
    ];
    let extra = odd
        .iter()
        .map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec()))
        .collect();
    let repo = RepoSpec {
        records: 20,
        seed: 31,
        extra,
        ..RepoSpec::default()
    }
    .build();
    door::through(Door::InProcess, &async |store| {
        let report = must_import(&store.session, &repo.car(Order::Pds)).await;
        assert_eq!(report.info.invalid, odd.len() as u64);
        let reader = store.session.store().repo(repo.did.as_str());
        for (path, bytes) in odd {
            let record = reader.record(path);
            let (_, raw) = record
                .read(Want::dag_cbor().with_cid())
                .await
                .unwrap()
                .unwrap();
            assert_eq!(raw.body, Body::DagCbor(bytes.to_vec()));
            assert_eq!(raw.cid, Some(kit::cbor::cid_of(bytes)));
            let (_, value) = record.read(Want::value()).await.unwrap().unwrap();
            assert!(matches!(value.body, Body::Undecodable(_)), "{value:?}");
        }
        store.owner.shutdown();
    });
}

#[test]
fn the_largest_records_come_back_and_larger_ones_are_refused() {
    use carrack_schema::limits::CAR_SECTION_BYTES_MAX;
    // A byte string fills the block: 5 bytes of head, and the CAR counts 36 of CID.
    let record = |section: usize| {
        let length = section - 36 - 5;
        let mut bytes = vec![0x5a];
        bytes.extend((length as u32).to_be_bytes());
        bytes.resize(5 + length, 7);
        bytes
    };
    for (section, fits) in [
        (CAR_SECTION_BYTES_MAX, true),
        (CAR_SECTION_BYTES_MAX + 1, false),
    ] {
        let bytes = record(section);
        let extra = vec![("com.example.large/self".to_owned(), bytes.clone())];
        let repo = RepoSpec {
            records: 5,
            seed: 32,
            extra,
            ..RepoSpec::default()
        }
        .build();
        door::through(Door::Unix, &async |store| {
            match door::import(&store.session, &repo.car(Order::Pds)).await {
                carrack_client::ImportOutcome::Imported(_) => assert!(fits),
                carrack_client::ImportOutcome::Rejected(rejection) => {
                    assert!(!fits, "{rejection:?}");
                    assert_eq!(rejection.code, Code::LimitExceeded);
                    return store.owner.shutdown();
                }
                other => panic!("{other:?}"),
            }
            let record = store
                .session
                .store()
                .repo(repo.did.as_str())
                .record("com.example.large/self");
            let (_, raw) = record.read(Want::dag_cbor()).await.unwrap().unwrap();
            assert!(raw.body == Body::DagCbor(bytes.clone()));
            let (_, value) = record.read(Want::value()).await.unwrap().unwrap();
            assert!(matches!(value.body, Body::Value(Value::Bytes(_))));
            store.owner.shutdown();
        });
    }
}
