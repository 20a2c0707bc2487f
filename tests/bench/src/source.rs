//! [`Source`]: a repo to import, as a CAR for our store and as rows for the engines that know no CAR.
//!
//! Rows come from `repo-stream`, not from our own reader: what the engines are compared with is somebody else's.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::Result;
use repo_stream::{DriverBuilder, Output};

/// Path and DAG-CBOR of each record, in path order.
pub(crate) type Rows = Vec<(String, Box<[u8]>)>;

/// Far above any input's size: the walk is to stay in memory.
const WALK_MEMORY_MIB: usize = 1 << 14;
const CHUNK_RECORDS: usize = 256;

enum Car {
    File(PathBuf),
    Bytes(Vec<u8>),
}

/// A repo to import.
pub(crate) struct Source {
    car: Car,
    bytes: u64,
    rows: OnceLock<Rows>,
}

impl Source {
    /// Makes a source of a CAR file.
    pub(crate) fn file(path: PathBuf) -> Result<Self> {
        Ok(Self {
            bytes: fs::metadata(&path)?.len(),
            car: Car::File(path),
            rows: OnceLock::new(),
        })
    }

    /// Makes a source of a CAR in memory.
    pub(crate) fn bytes_of(car: Vec<u8>) -> Self {
        Self {
            bytes: car.len() as u64,
            car: Car::Bytes(car),
            rows: OnceLock::new(),
        }
    }

    /// Returns the CAR's length.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Opens the CAR.
    pub(crate) fn open(&self) -> Result<Box<dyn Read + '_>> {
        Ok(match &self.car {
            Car::File(path) => Box::new(File::open(path)?),
            Car::Bytes(bytes) => Box::new(&bytes[..]),
        })
    }

    /// Returns the records. The first call walks the CAR, outside of anything that is measured.
    pub(crate) fn rows(&self) -> Result<&Rows> {
        if let Some(rows) = self.rows.get() {
            return Ok(rows);
        }
        let mut car = Vec::new();
        self.open()?.read_to_end(&mut car)?;
        let mut rows = Rows::new();
        walk(&car, |path, value| {
            rows.push((path, value.into()));
            Ok(())
        })?;
        Ok(self.rows.get_or_init(|| rows))
    }
}

/// Walks a CAR in memory with `repo-stream`.
pub(crate) fn walk(car: &[u8], mut record: impl FnMut(String, &[u8]) -> Result<()>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let builder = DriverBuilder::new().with_mem_limit_mb(WALK_MEMORY_MIB);
    let Ok(mut car) = runtime.block_on(builder.load_car(car)) else {
        anyhow::bail!("repo-stream cannot load the CAR");
    };
    while let Some(chunk) = car.next_chunk_strict(CHUNK_RECORDS)? {
        for Output { key, data, .. } in chunk {
            record(key, &data)?;
        }
    }
    Ok(())
}
