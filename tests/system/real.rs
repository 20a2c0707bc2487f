//! Exports of real accounts. They are nobody's to copy, so they are read where they are, beside the project, and these
//! tests say that they were skipped where there are none.

use std::path::PathBuf;

use carrack_client::ImportOutcome;
use carrack_schema::Code;

use crate::door::{self, Door, import, must_import};

/// Returns the folder of real exports, if it is there.
fn folder() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures/real");
    if folder.is_dir() {
        return Some(folder);
    }
    // A test's stderr is shown with `--nocapture`, as every skip should be.
    use std::io::Write;
    let _closed = writeln!(
        std::io::stderr(),
        "skipped: no real exports beside the project"
    );
    None
}

#[test]
fn real_repos_hold_what_an_independent_walk_counted() {
    let Some(folder) = folder() else { return };
    let catalog = std::fs::read_to_string(folder.join("catalog.tsv")).unwrap();
    let mut lines = catalog
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let column = |name: &str| header.iter().position(|column| *column == name).unwrap();
    let (file, did, rev) = (column("file"), column("did"), column("rev"));
    let completeness = column("completeness");
    let (blocks, records) = (column("blocks"), column("records_present"));
    let (mut full, mut partial) = (0, 0);
    for row in lines {
        door::through(Door::Unix, &async |store| {
            let car = std::fs::read(folder.join(row[file])).unwrap();
            if row[completeness] == "full" {
                let report = must_import(&store.session, &car).await;
                assert_eq!(report.info.source.did, row[did]);
                assert_eq!(report.info.source.rev, row[rev]);
                assert_eq!(report.blocks.to_string(), row[blocks], "{}", row[file]);
                assert_eq!(
                    report.info.records.to_string(),
                    row[records],
                    "{}",
                    row[file]
                );
            } else {
                let ImportOutcome::Rejected(rejection) = import(&store.session, &car).await else {
                    panic!("{} is no full repo", row[file]);
                };
                assert_eq!(
                    rejection.code,
                    Code::Incomplete,
                    "{}: {rejection:?}",
                    row[file]
                );
            }
            store.owner.shutdown();
        });
        if row[completeness] == "full" {
            full += 1
        } else {
            partial += 1
        }
    }
    assert_eq!((full, partial), (4, 5));
}
