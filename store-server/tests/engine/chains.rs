//! Revisions as diffs: whatever is imported, deleted, merged and reopened, every retained revision reads as it was.

use carrack_schema::{Cid, Code};
use carrack_store::{DeleteTarget, Lookup, StoreSettings};
use kit::rng::Rng;
use kit::{Changes, Mix, RepoSpec};

use crate::world::{HOUR, World, check, import, import_all, open};

/// What the store should hold of a repo.
struct Model {
    /// Oldest first, with when each was imported.
    versions: Vec<(kit::Repo, i64)>,
    deleted: Vec<(String, Cid)>,
}

impl Model {
    fn head(&self) -> &kit::Repo {
        &self.versions.last().expect("there is a first version").0
    }
}

fn spec(seed: u64, records: usize) -> RepoSpec {
    RepoSpec {
        records,
        seed,
        mix: Mix::VARIED,
        ..RepoSpec::default()
    }
}

#[test]
fn a_small_change_is_stored_as_a_diff_and_a_large_one_in_full() {
    let world = World::new();
    let old = spec(1, 400).build();
    let bytes = import_all(world.store(), &old).bytes_stored;
    let few = Changes {
        added: 3,
        changed: 2,
        deleted: 3,
    };
    let small = old.next_version(&old.random_edits(1, few));
    let added = import_all(world.store(), &small).bytes_stored - bytes;
    assert!(added < bytes / 5, "{added} bytes for 8 records of {bytes}");
    let many = Changes {
        added: 150,
        changed: 150,
        deleted: 100,
    };
    let large = small.next_version(&small.random_edits(2, many));
    let all = import_all(world.store(), &large).bytes_stored - bytes - added;
    assert!(all > bytes / 2, "{all} bytes");
    for version in [&old, &small, &large] {
        let repo = world.store().repo_at(&old.did, version.rev).unwrap();
        check(&repo.unwrap(), version, &[]);
    }
}

#[test]
fn a_diff_of_invalid_and_missing_records_counts_them() {
    let world = World::new();
    let bad = |i: u8| (format!("com.example.bad/{i}"), vec![0xa1, 0x61, 0x61, i]);
    let old = RepoSpec {
        extra: vec![bad(0xf9), bad(0xfa), bad(0xfb)],
        ..spec(2, 50)
    }
    .build();
    assert_eq!(import_all(world.store(), &old).invalid, 3);
    let edits = [
        kit::Edit::Delete("com.example.bad/249".into()),
        kit::Edit::Put("com.example.bad/250".into(), vec![0xa0]),
        kit::Edit::Put("com.example.new/1".into(), vec![0xf9]),
    ];
    let new = old.next_version(&edits);
    assert_eq!(import_all(world.store(), &new).invalid, 2);
    world.store().compact(false, None).unwrap();
    assert_eq!(open(world.store(), &new.did).summary().invalid, 2);
}

/// Cuts a record's block out of a CAR.
fn without(car: &[u8], cid: &Cid) -> Vec<u8> {
    let blocks = kit::car::blocks(car);
    let cut = blocks.iter().find(|block| block.cid == *cid).unwrap();
    [&car[..cut.range.start], &car[cut.range.end..]].concat()
}

#[test]
fn a_partial_repo_goes_on_partial_and_is_completed_by_a_full_export() {
    let world = World::new();
    let old = spec(3, 80).build();
    let new = old.next_version(&old.random_edits(
        1,
        Changes {
            added: 2,
            changed: 0,
            deleted: 0,
        },
    ));
    let record = &old.records[40];
    let partial = carrack_store::ImportRequest {
        allow_partial: true,
        ..Default::default()
    };
    let take = |car: &[u8]| {
        let outcome = world.store().import(car, &partial, |_| {});
        match outcome.unwrap() {
            carrack_store::Outcome::Imported(report) => report.summary,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        take(&without(&old.car(kit::Order::Pds), &record.cid)).missing,
        1
    );
    assert_eq!(take(&new.car_since(old.rev)).missing, 1);
    let path = record.path.parse().unwrap();
    for round in 0..2 {
        let repo = open(world.store(), &new.did);
        let Lookup::Found(found) = repo.record(&path).unwrap() else {
            panic!("a missing record is there");
        };
        assert_eq!(found.cid().unwrap(), record.cid);
        assert_eq!(found.bytes().unwrap_err().code(), Code::Incomplete);
        let refused = repo.export(&mut Vec::new()).unwrap_err();
        assert_eq!(refused.code(), Code::Incomplete);
        if round == 0 {
            world.store().compact(false, None).unwrap();
        }
    }
    // The same commit, in full: the older revision stays as it was.
    import_all(world.store(), &new);
    check(&open(world.store(), &new.did), &new, &[]);
    let before = world.store().repo_at(&old.did, old.rev).unwrap().unwrap();
    assert_eq!(before.summary().missing, 1);
    world.store().compact(false, None).unwrap();
    check(&open(world.store(), &new.did), &new, &[]);
}

#[test]
fn any_history_reads_as_its_model() {
    let seed = std::env::var("CARRACK_SEED").ok();
    let seeds = match seed.and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..10,
    };
    for seed in seeds {
        let run = std::panic::catch_unwind(|| history(seed));
        assert!(run.is_ok(), "failed with CARRACK_SEED={seed}");
    }
}

fn history(seed: u64) {
    let mut rng = Rng::new(seed);
    let mut world = World::with(StoreSettings {
        retention_revs: 1 + rng.index(4),
        retention_hours: 1,
        segments_open_max: [2, 4_096][rng.index(2)],
        // Small, so that a merge makes several segments.
        segment_bytes_target: [20_000, 256 << 20][rng.index(2)],
        ..StoreSettings::default()
    });
    let mut models: Vec<Model> = (0..3)
        .map(|i| {
            let records = [0, 5, 60, 200][rng.index(4)];
            let repo = spec(seed * 3 + i, records).build();
            import_all(world.store(), &repo);
            Model {
                versions: vec![(repo, now(&world))],
                deleted: Vec::new(),
            }
        })
        .collect();
    for _ in 0..30 {
        let at = rng.index(models.len());
        let step = rng.below(100);
        step_of(step, &mut world, &mut models[at], &mut rng);
        if rng.chance(300) {
            models.iter().for_each(|model| check_model(&world, model));
        }
    }
    models.iter().for_each(|model| check_model(&world, model));
    world.store().compact(false, None).unwrap();
    models.iter().for_each(|model| check_model(&world, model));
    world.reopen();
    models.iter().for_each(|model| check_model(&world, model));
}

fn now(world: &World) -> i64 {
    use carrack_store::Clock;
    world.clock.now()
}

fn step_of(step: u64, world: &mut World, model: &mut Model, rng: &mut Rng) {
    match step {
        0..50 => {
            let head = model.head();
            let most = head.records.len() / if rng.chance(300) { 2 } else { 12 };
            let changes = Changes {
                added: rng.index(most + 4),
                changed: rng.index(most + 1),
                deleted: rng.index(most + 1),
            };
            let next = head.next_version(&head.random_edits(rng.next_u64(), changes));
            if rng.chance(400) {
                import(world.store(), &next.car_since(head.rev));
            } else {
                import_all(world.store(), &next);
            }
            model.versions.push((next, now(world)));
        }
        50..62 => delete_record(world, model, rng),
        62..66 => {
            let target = DeleteTarget::Repo(model.head().did.clone());
            world.store().delete(&target, rng.chance(500)).unwrap();
            assert!(world.store().repo(&model.head().did).unwrap().is_err());
            let head = model.head().clone();
            import_all(world.store(), &head);
            model.versions = vec![(head, now(world))];
            model.deleted.clear();
        }
        66..76 => {
            world.store().merge_once().unwrap();
        }
        76..80 => world
            .store()
            .compact(false, Some(&model.head().did))
            .unwrap(),
        80..84 => world.store().compact(false, None).unwrap(),
        84..90 => world.reopen(),
        _ => world.clock.pass([HOUR / 3, 30 * HOUR][rng.index(2)]),
    }
}

fn delete_record(world: &World, model: &mut Model, rng: &mut Rng) {
    if model.head().records.is_empty() {
        return;
    }
    let path = rng.pick(&model.head().records).path.clone();
    let target = DeleteTarget::Record(model.head().did.clone(), path.parse().unwrap());
    let visible = |version: &kit::Repo| {
        let record = version.record(&path)?;
        let pair = (path.clone(), record.cid);
        (!model.deleted.contains(&pair)).then_some(pair)
    };
    let hidden: Vec<_> = model
        .versions
        .iter()
        .filter_map(|(version, _)| visible(version))
        .collect();
    match world.store().delete(&target, rng.chance(300)) {
        Ok(deleted) => assert_eq!(deleted.records, u64::from(visible(model.head()).is_some())),
        Err(error) => {
            assert_eq!(error.code(), Code::NotFound);
            assert!(visible(model.head()).is_none());
        }
    }
    model.deleted.extend(hidden);
}

/// Checks the current revision and all older ones, be they retained or not.
fn check_model(world: &World, model: &Model) {
    let did = &model.head().did;
    check(&open(world.store(), did), model.head(), &model.deleted);
    let count = model.versions.len();
    for (i, (version, imported)) in model.versions.iter().enumerate() {
        let is_late = count - i <= world.settings.retention_revs;
        // A later one that is young keeps those before it that came after.
        let is_young = model
            .versions
            .iter()
            .take(i + 1)
            .any(|(_, imported)| *imported > now(world) - HOUR);
        let is_retained = is_late || is_young;
        match world.store().repo_at(did, version.rev) {
            Ok(repo) => {
                assert!(is_retained, "version {i} of {count}, imported {imported}");
                check(&repo.unwrap(), version, &model.deleted);
            }
            Err(error) => {
                assert_eq!(error.code(), Code::RevNotRetained, "{}", error.chain());
                assert!(!is_retained, "version {i} of {count}");
            }
        }
    }
}
