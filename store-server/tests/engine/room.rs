//! Room on the disk: what imports and backups leave free.

use std::sync::Arc;

use carrack_schema::Code;
use carrack_schema::limits::DISK_FLOOR_BYTES;
use carrack_segment::Directory;
use carrack_segment::directory::mem::Mem;
use carrack_store::{ImportRequest, Store, StoreSettings, SystemClock};
use kit::{Order, RepoSpec};

#[test]
fn an_import_needs_its_own_length_above_the_floor() {
    let car = RepoSpec::default().build().car(Order::Pds);
    let enough = DISK_FLOOR_BYTES + car.len() as u64;
    // Whether its length was told before or is known at its end only; and whether its blocks wait in a file.
    for (size, memory) in [
        (Some(car.len() as u64), usize::MAX),
        (None, usize::MAX),
        (None, 0),
    ] {
        let settings = StoreSettings {
            import_memory_bytes: memory,
            ..StoreSettings::default()
        };
        let disk = Mem::new();
        let directory: Arc<dyn Directory> = Arc::new(disk.clone());
        let store = Store::open_with(directory, Arc::new(SystemClock), settings).unwrap();
        let request = ImportRequest {
            size,
            ..ImportRequest::default()
        };
        disk.set_free_bytes(enough - 1);
        let error = store.import(&car[..], &request, |_| ()).unwrap_err();
        assert_eq!(error.code(), Code::Overloaded, "{size:?} {memory}");
        for folder in ["segments", "tmp"] {
            assert!(disk.list(folder).unwrap().is_empty(), "{folder}");
        }
        // Blocks that wait in a file are on the disk twice for a moment.
        disk.set_free_bytes(enough + if memory == 0 { enough } else { 0 });
        store.import(&car[..], &request, |_| ()).unwrap();
    }
}

#[test]
fn a_backup_needs_room_for_its_catalog_above_the_floor() {
    let disk = Mem::new();
    let store = Store::open(Arc::new(disk.clone()), Arc::new(SystemClock)).unwrap();
    let car = RepoSpec::default().build().car(Order::Pds);
    store
        .import(&car[..], &ImportRequest::default(), |_| ())
        .unwrap();
    let catalog = disk.open("catalog.redb").unwrap().len().unwrap();
    let enough = DISK_FLOOR_BYTES + 2 * catalog;
    disk.set_free_bytes(enough - 1);
    let error = store.backup().map(drop).unwrap_err();
    assert_eq!(error.code(), Code::Overloaded);
    assert!(error.chain().contains("backups leave"), "{}", error.chain());
    assert!(disk.list("tmp").unwrap().is_empty());
    disk.set_free_bytes(enough);
    let backup = store.backup().unwrap();
    assert!(backup.files.last().unwrap().bytes.len() as u64 <= 2 * catalog);
}
