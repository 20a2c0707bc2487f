//! `soak`: many clients at once against a running `carrack serve`, every answer compared with what must be.
//!
//! `cargo run --release -p carrack-tests --example soak -- --server target/release/carrack --clients 200 --seconds 60`
//!
//! Each client has a connection and a repo of its own. It imports revision after revision of that repo, and reads and
//! lists its own repo and those of others; an answer must be exactly what the revision it names holds. At the end the
//! server must have given back memory and file descriptors, and `carrack check` must find nothing.

#![expect(clippy::print_stdout, reason = "a program that says what it did")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, Instant};

use carrack_client::{
    Address, Body, Client, ImportOptions, ImportOutcome, Page, PageRequest, Range, Session, Want,
};
use clap::Parser;
use kit::rng::Rng;
use kit::{Changes, Mix, Order, Repo, RepoSpec};
use tokio::task::{JoinSet, LocalSet};

mod process;

use process::{Process, bytes_at_most, check, mib};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// Lets many clients import, read and list at once, and compares every answer.
#[derive(Parser)]
struct Options {
    /// The binary `carrack`
    #[arg(long)]
    server: PathBuf,
    /// Clients at once
    #[arg(long, default_value_t = 200)]
    clients: u64,
    /// For how long
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seed of everything random but time
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let folder = tempfile::tempdir()?;
    let server = Server::start(&options.server, folder.path())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tally = LocalSet::new().block_on(&runtime, run(&options, &server))?;
    drop(runtime);
    server.process.stop()?;
    check(&options.server, folder.path())?;
    println!(
        "{} clients, {} s, seed {}: {} imports, {} reads, {} listings of {} records; every answer right, the check is clean",
        options.clients,
        options.seconds,
        options.seed,
        tally.imports,
        tally.reads,
        tally.listings,
        tally.listed
    );
    Ok(())
}

/// A `carrack serve` of our own.
struct Server {
    process: Process,
    socket: PathBuf,
}

impl Server {
    fn start(binary: &Path, folder: &Path) -> Result<Self> {
        let child = process::command(binary)
            .args(["serve", "--data"])
            .arg(folder)
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self {
            process: Process(child),
            socket: folder.join("carrack.sock"),
        })
    }
}

#[derive(Default)]
struct Tally {
    imports: u64,
    reads: u64,
    listings: u64,
    listed: u64,
}

/// What all clients know: each revision that may be met, by DID and rev.
#[derive(Default)]
struct World {
    revisions: HashMap<(String, String), Rc<Repo>>,
    /// The latest revision of each repo that was acknowledged.
    acknowledged: Vec<Rc<Repo>>,
    tally: Tally,
}

type Shared = Rc<RefCell<World>>;

async fn run(options: &Options, server: &Server) -> Result<Tally> {
    // The server is up when it answers.
    let patience = Instant::now() + Duration::from_secs(20);
    let first = loop {
        match Client::connect(&Address::Unix(server.socket.clone())).await {
            Ok(client) => break client,
            Err(error) if Instant::now() > patience => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    first.login("").about().await?;
    let process = &server.process;
    let idle = process.descriptors()?;
    let world = Shared::default();
    // A first part fills caches and buffers; what comes later must not take more for good.
    let part = Duration::from_secs(options.seconds) / 3;
    crowd(options, server, &world, part).await?;
    let after_warming = process.anonymous_bytes()?;
    crowd(options, server, &world, part * 2).await?;
    let patience = Instant::now() + Duration::from_secs(20);
    // The audit log's file is opened at its first line.
    while process.descriptors()? > idle + 1 {
        if Instant::now() > patience {
            return Err(format!(
                "{idle} descriptors before, {} after",
                process.descriptors()?
            )
            .into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let at_the_end = process.anonymous_bytes()?;
    println!(
        "anonymous memory: {:.1} MiB after the first third, {:.1} MiB at the end",
        mib(after_warming),
        mib(at_the_end)
    );
    if at_the_end > bytes_at_most(after_warming) {
        return Err("the server's memory grew".into());
    }
    drop(first);
    Ok(std::mem::take(&mut world.borrow_mut().tally))
}

/// Lets all clients work for a time, on connections of their own.
async fn crowd(options: &Options, server: &Server, world: &Shared, time: Duration) -> Result<()> {
    let deadline = Instant::now() + time;
    let mut clients = JoinSet::new();
    for number in 0..options.clients {
        let stream = tokio::net::UnixStream::connect(&server.socket).await?;
        let (client, connection) = Client::local(stream);
        let world = world.clone();
        let seed = options.seed.wrapping_mul(1_000_003).wrapping_add(number);
        clients.spawn_local(async move {
            let work = async move {
                let session = client.login("");
                One::new(session, world, seed, number)
                    .work(deadline)
                    .await
                    .map_err(|e| e.to_string())
            };
            let (done, ()) = tokio::join!(work, connection);
            done.map_err(|error| format!("client {number}, seed {seed}: {error}"))
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(())
}

/// One client.
struct One {
    session: Session,
    world: Shared,
    rng: Rng,
    number: u64,
}

impl One {
    fn new(session: Session, world: Shared, seed: u64, number: u64) -> Self {
        Self {
            session,
            world,
            rng: Rng::new(seed),
            number,
        }
    }

    async fn work(mut self, deadline: Instant) -> Result<()> {
        let mut own = self.first_revision();
        self.import(&own).await?;
        while Instant::now() < deadline {
            match self.rng.below(10) {
                0 => {
                    own = self.next_revision(&own);
                    self.import(&own).await?;
                }
                1..=7 => {
                    let repo = self.someone();
                    self.read(&repo).await?;
                }
                _ => {
                    let repo = self.someone();
                    self.list(&repo).await?;
                }
            }
        }
        Ok(())
    }

    /// Returns the revision to begin with: in the second crowd the one the first ended with.
    fn first_revision(&self) -> Rc<Repo> {
        let spec = RepoSpec {
            records: 100 + self.number as usize % 200,
            seed: self.number + 1,
            mix: Mix::SOCIAL,
            ..RepoSpec::default()
        };
        let built = Rc::new(spec.build());
        let world = self.world.borrow();
        let known = world.acknowledged.iter().find(|repo| repo.did == built.did);
        known.cloned().unwrap_or(built)
    }

    fn next_revision(&mut self, own: &Repo) -> Rc<Repo> {
        let changes = Changes {
            added: 3,
            changed: 2,
            deleted: 1,
        };
        let edits = own.random_edits(self.rng.next_u64(), changes);
        Rc::new(own.next_version(&edits))
    }

    /// Returns an acknowledged revision of anyone's repo.
    fn someone(&mut self) -> Rc<Repo> {
        let world = self.world.borrow();
        self.rng.pick(&world.acknowledged).clone()
    }

    async fn import(&mut self, repo: &Rc<Repo>) -> Result<()> {
        let key = (repo.did.to_string(), repo.rev.to_string());
        // Others may meet it before its import is acknowledged.
        self.world.borrow_mut().revisions.insert(key, repo.clone());
        let upload = self.session.importer().import(ImportOptions::default());
        for chunk in repo.car(Order::Pds).chunks(10_007) {
            upload.write(chunk).await;
        }
        let outcome = upload.done().await?;
        let (ImportOutcome::Imported(report) | ImportOutcome::Unchanged(report)) = outcome else {
            return Err(format!("{}: {outcome:?}", repo.did).into());
        };
        if report.info.records != repo.records.len() as u64 {
            return Err(format!("{}: {} records", repo.did, report.info.records).into());
        }
        let mut world = self.world.borrow_mut();
        world.tally.imports += 1;
        world.acknowledged.retain(|known| known.did != repo.did);
        world.acknowledged.push(repo.clone());
        Ok(())
    }

    /// Reads a record that was there a moment ago.
    async fn read(&mut self, repo: &Repo) -> Result<()> {
        let path = self.rng.pick(&repo.records).path.clone();
        let record = self.session.store().repo(repo.did.as_str()).record(&path);
        let found = record.read(Want::dag_cbor().with_cid()).await?;
        let mut world = self.world.borrow_mut();
        world.tally.reads += 1;
        let Ok((source, record)) = found else {
            // A newer revision may lack it; the one that was acknowledged then is not the newest any more.
            let newer = world
                .revisions
                .values()
                .any(|other| other.did == repo.did && other.rev > repo.rev);
            return match newer {
                true => Ok(()),
                false => Err(format!("at://{}/{path} is absent", repo.did).into()),
            };
        };
        let expected = world
            .revisions
            .get(&(source.did, source.rev))
            .and_then(|revision| revision.records.iter().find(|record| record.path == path))
            .ok_or("an answer of a revision that lacks the record")?;
        if record.cid != Some(expected.cid) || record.body != Body::DagCbor(expected.bytes.to_vec())
        {
            return Err(format!("at://{}/{path} is not what was imported", repo.did).into());
        }
        Ok(())
    }

    /// Lists a repo page by page: all pages are of one revision, and together all of it.
    async fn list(&mut self, repo: &Repo) -> Result<()> {
        let reverse = self.rng.chance(500);
        let range = Range {
            reverse,
            ..Range::default()
        };
        let wanted = if self.rng.chance(500) {
            Want::value()
        } else {
            Want::dag_cbor()
        };
        let listing = self
            .session
            .store()
            .repo(repo.did.as_str())
            .list(range, wanted.with_cid());
        let mut request = PageRequest {
            limit: 20 + self.rng.below(200) as u32,
            ..PageRequest::default()
        };
        let mut pages: Vec<Page> = Vec::new();
        loop {
            let found = listing.page(request.clone()).await?;
            let page = found.map_err(|absent| absent.to_string())?;
            request.cursor.clone_from(&page.next);
            pages.push(page);
            if request.cursor.is_none() {
                break;
            }
        }
        let source = pages[0].source.clone();
        let mut listed: Vec<_> = pages
            .iter()
            .flat_map(|page| &page.records)
            .map(|record| (format!("{}/{}", record.collection, record.rkey), record.cid))
            .collect();
        if reverse {
            listed.reverse();
        }
        let mut world = self.world.borrow_mut();
        world.tally.listings += 1;
        world.tally.listed += listed.len() as u64;
        let one_revision = pages.iter().all(|page| page.source.rev == source.rev);
        let revision = world
            .revisions
            .get(&(source.did, source.rev))
            .ok_or("a listing of a revision nobody imported")?;
        let expected = revision
            .records
            .iter()
            .map(|record| (record.path.clone(), Some(record.cid)));
        if !one_revision || !listed.into_iter().eq(expected) {
            return Err(format!("a listing of {} is not of {}", repo.did, revision.rev).into());
        }
        Ok(())
    }
}
