//! CAR files (CA1): a published container, read and written.

use carrack_repo::car::write::CarWriter;
use carrack_repo::{CarBlocks, CarLimits, VerifiedRef};

use crate::json::base64;
use crate::places::{beside, list};
use crate::tally::Tally;

#[test]
fn published_containers() {
    let family = "atproto-packages/car-file-fixtures";
    let file = "interop/atproto-packages/packages/repo/tests/car-file-fixtures.json";
    let Some(file) = beside(family, file) else {
        return;
    };
    let mut tally = Tally::new(family);
    for vector in list(file) {
        let car = base64(vector["car"].as_str().unwrap());
        let mut reader = CarBlocks::open(&car[..], CarLimits::default()).unwrap();
        assert_eq!(reader.root().to_string(), vector["root"].as_str().unwrap());
        let mut writer = CarWriter::begin(Vec::new(), &reader.root()).unwrap();
        for block in vector["blocks"].as_array().unwrap() {
            let read = reader.next_block().unwrap().unwrap().verify().unwrap();
            assert_eq!(read.cid().to_string(), block["cid"].as_str().unwrap());
            assert_eq!(read.bytes(), base64(block["bytes"].as_str().unwrap()));
            let block = VerifiedRef::check(*read.cid(), read.bytes()).unwrap();
            writer.block(block).unwrap();
        }
        assert!(reader.next_block().unwrap().is_none());
        assert_eq!(writer.finish().unwrap(), car);
        tally.pass();
    }
    tally.finish(1, 0);
}
