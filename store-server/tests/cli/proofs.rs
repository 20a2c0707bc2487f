//! export, prove, verify-proof, and imports that check signatures.

use kit::{Curve, Order, RepoSpec};

use super::{NOT_FOUND, OK, Place, REFUSED, USAGE, repo};

#[test]
fn an_export_is_the_repo_and_appears_whole() {
    let place = Place::new();
    let repo = repo(500, 31);
    place
        .run(&["import", &place.file("a.car", &repo.car(Order::Pds))])
        .ends(OK);
    let out = place.folder.path().join("out.car");
    let out = out.to_str().unwrap();
    place
        .run(&["export", repo.did.as_str(), "-o", out])
        .ends(OK);
    assert!(std::fs::read(out).unwrap() == repo.car(Order::PreOrder));
    assert!(place.run(&["export", repo.did.as_str()]).ends(OK).stdout == repo.car(Order::PreOrder));
    let lines = place
        .run(&["export", repo.did.as_str(), "--format", "jsonl"])
        .ends(OK)
        .objects();
    assert_eq!(lines.len(), repo.records.len());
    assert!(
        lines
            .iter()
            .all(|line| line["value"].is_object() && line["cid"].is_string())
    );

    let kept = place.file("kept.car", b"mine");
    place
        .run(&["export", "did:plc:nobody", "-o", &kept])
        .ends(NOT_FOUND);
    assert_eq!(std::fs::read(&kept).unwrap(), b"mine");
    let parts = std::fs::read_dir(place.folder.path())
        .unwrap()
        .filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .ends_with(".part")
        });
    assert_eq!(parts.count(), 0);
}

#[test]
fn a_proof_verifies_with_the_right_document_only() {
    for curve in [Curve::K256, Curve::P256] {
        let place = Place::new();
        let repo = RepoSpec {
            records: 200,
            seed: 32,
            curve,
            ..RepoSpec::default()
        }
        .build();
        let other = RepoSpec {
            records: 1,
            seed: 33,
            did: Some(repo.did.clone()),
            ..RepoSpec::default()
        }
        .build();
        place
            .run(&["import", &place.file("a.car", &repo.car(Order::Pds))])
            .ends(OK);
        let document = place.file("did.json", repo.did_doc.as_bytes());
        let wrong = place.file("wrong.json", other.did_doc.as_bytes());
        let uri = format!("at://{}/{}", repo.did, repo.records[3].path);
        let absent = format!("{uri}x");
        for (uri, present) in [(&uri, true), (&absent, false)] {
            let file = place.folder.path().join("proof.car");
            let file = file.to_str().unwrap();
            let run = place.run(&["prove", uri, "-o", file]).ends(OK);
            assert!(
                run.stderr
                    .contains(if present { "present" } else { "absent" }),
                "{}",
                run.stderr
            );
            let run = place
                .run(&["verify-proof", file, uri, "--did-doc", &document, "--json"])
                .ends(OK);
            let answer = &run.objects()[0];
            assert_eq!(
                (&answer["present"], &answer["verdict"]),
                (&present.into(), &"valid".into())
            );
            let run = place.run(&["verify-proof", file, uri, "--json"]).ends(OK);
            assert_eq!(run.objects()[0]["verdict"], "unchecked");
            let run = place
                .run(&["verify-proof", file, uri, "--did-doc", &wrong])
                .ends(REFUSED);
            assert!(run.stderr.contains("badSignature"), "{}", run.stderr);
            // Without a name it shows the records it holds, and never that there are none.
            let run = place.run(&["verify-proof", file, "--did-doc", &document, "--json"]);
            if present {
                let uris: Vec<_> = run
                    .ends(OK)
                    .objects()
                    .iter()
                    .map(|line| line["uri"].to_string())
                    .collect();
                assert!(uris.contains(&format!("\"{uri}\"")), "{uris:?}");
            } else {
                run.ends(REFUSED);
            }
        }
        place
            .run(&["verify-proof", "no-such.car", &uri])
            .ends(NOT_FOUND);
        let text = place.file("text.car", b"this proves nothing");
        place.run(&["verify-proof", &text, &uri]).ends(REFUSED);
    }
}

#[test]
fn an_import_with_a_document_is_valid_and_named() {
    let place = Place::new();
    let repo = repo(20, 34);
    let car = place.file("a.car", &repo.car(Order::Pds));
    let document = place.file("did.json", repo.did_doc.as_bytes());
    let run = place
        .run(&["import", &car, "--require-signature"])
        .ends(REFUSED);
    assert!(run.stderr.contains("badSignature"), "{}", run.stderr);
    let run = place
        .run(&[
            "import",
            &car,
            "--did-doc",
            &document,
            "--require-signature",
            "--json",
        ])
        .ends(OK);
    assert_eq!(run.objects()[0]["verdict"], "valid");
    let info = &place.run(&["repos", "--json"]).ends(OK).objects()[0];
    let handle = info["handle"].as_str().unwrap();
    let listed = place.run(&["list", handle]).ends(OK);
    assert_eq!(listed.text().lines().count(), repo.records.len());
    assert!(listed.text().starts_with(&format!("at://{}/", repo.did)));
    place
        .run(&["import", &car, "--status", "deactivated"])
        .ends(OK);
    let run = place.run(&["list", handle]).ends(NOT_FOUND);
    assert!(run.stderr.contains("inactive"), "{}", run.stderr);
    let info = &place.run(&["repos", "--json"]).ends(OK).objects()[0];
    assert_eq!(
        (&info["active"], &info["status"]),
        (&false.into(), &"deactivated".into())
    );
    place
        .run(&["import", &car, "--status", "Gone!"])
        .ends(USAGE);
    place.run(&["list", "someone.else"]).ends(NOT_FOUND);
}

#[test]
fn records_that_break_the_data_model_are_counted_and_listed() {
    let place = Place::new();
    let extra = vec![("com.example.odd/text".to_owned(), b"plain text".to_vec())];
    let repo = RepoSpec {
        records: 20,
        seed: 35,
        extra,
        ..RepoSpec::default()
    }
    .build();
    let car = place.file("a.car", &repo.car(Order::Pds));
    let run = place.run(&["import", &car, "--json"]).ends(OK);
    assert_eq!(run.objects()[0]["invalid"], 1);
    let run = place
        .run(&["list", repo.did.as_str(), "--invalid"])
        .ends(OK);
    assert_eq!(run.text().lines().count(), 1);
    assert!(
        run.text().contains("com.example.odd/text") && run.text().contains("DAG-CBOR"),
        "{}",
        run.text()
    );
    let uri = format!("at://{}/com.example.odd/text", repo.did);
    assert_eq!(
        place.run(&["get", &uri, "--cbor"]).ends(OK).stdout,
        b"plain text"
    );
    place.run(&["get", &uri]).ends(REFUSED);
}
