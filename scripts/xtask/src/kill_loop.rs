//! `cargo xtask kill-loop`: kill -9 of `carrack serve` at random moments while clients import, it merges in the
//! background, and, where the binary has the commands, a client compacts and deletes.
//!
//! After each kill the store is started again, and every repo read back: one whose import was acknowledged is there,
//! byte for byte; one that was under way is there in its old or its new revision, whole; one that was deleted is not.
//! The processes are the real binary's, told to end by their ids only, and every wait has an end.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

/// Records of the repos; each client imports every third. Many are small, so that merges are always due: the revisions
/// of a few large ones would seldom be eight of a size.
const RECORDS: [usize; 24] =
    [5, 300, 1_500, 40, 800, 4_000, 8, 3, 30, 12, 1, 60, 9, 20, 4, 7, 150, 2, 16, 5, 25, 10, 100, 6];
/// Records of the repo that comes and goes; its number is behind the others.
const GUEST_RECORDS: usize = 50;
const GUEST: usize = RECORDS.len();
/// Revisions of each repo. When all are imported, a new data folder is begun.
const VERSIONS: usize = 6;
const CLIENTS: usize = 3;
/// How long a command or a start may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest time between the first import and a kill.
const LIFE_MILLIS_MAX: u64 = 400;

#[derive(Args)]
pub struct Options {
    /// How often to kill
    #[arg(long, default_value_t = 10)]
    kills: usize,
    /// Seed of the moments
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Use the binary of the dev profile
    #[arg(long)]
    dev: bool,
    /// Use this binary and build none
    #[arg(long)]
    carrack: Option<PathBuf>,
    /// Give up after so many seconds
    #[arg(long, default_value_t = 1_800)]
    seconds_max: u64,
}

/// A repo in all its revisions.
struct Repo {
    did: String,
    /// Ascending; the first is number 0.
    versions: Vec<Version>,
}

struct Version {
    rev: String,
    /// To be imported.
    car: PathBuf,
    /// What must come back.
    export: Vec<u8>,
}

/// What is known of a repo in the store, by number of its version.
#[derive(Clone, Copy, Default)]
struct Known {
    acknowledged: Option<usize>,
    /// What an import or a deletion that was not answered makes of it.
    under_way: Option<Option<usize>>,
}

#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    kills_while_starting: usize,
    imports_acknowledged: usize,
    imports_cut_off: usize,
    cut_off_and_present: usize,
    repos_compared: usize,
    compactions: usize,
    deletions: usize,
    /// Kills that left a file half written or not yet named.
    kills_amid_writing: usize,
    /// Starts that found fewer segments than revisions: merges had taken others away.
    starts_after_merges: usize,
    folders: usize,
}

pub fn run(options: &Options) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(options.seconds_max);
    let carrack = options.carrack.clone().map_or_else(|| build(options.dev), Ok)?;
    let commands = Commands::of(&carrack)?;
    let folder = Folder::create()?;
    let repos = make_repos(&folder.0, options.seed)?;
    let mut rng = Rng(options.seed);
    let mut tally = Tally::default();
    let mut lost = Vec::new();
    while tally.kills < options.kills {
        let data = folder.0.join(format!("data-{}", tally.folders));
        tally.folders += 1;
        let mut known = vec![Known::default(); repos.len()];
        let is_done = |known: &[Known]| known[..GUEST].iter().all(|known| known.acknowledged == Some(VERSIONS - 1));
        while tally.kills < options.kills && !is_done(&known) {
            ensure!(Instant::now() < end, "out of time: {tally:?}");
            one_life(&carrack, &data, &repos, commands, &mut known, &mut rng, &mut tally)?;
            lost.extend(verify(&carrack, &data, &repos, &mut known, &mut tally)?);
        }
        fs::remove_dir_all(&data)?;
        if !lost.is_empty() {
            break;
        }
    }
    println!("kill-loop seed {}, {commands:?}: {tally:?}, {} lost or wrong", options.seed, lost.len());
    let is_long = tally.kills >= 50;
    ensure!(!is_long || tally.starts_after_merges > 0, "nothing was merged");
    if !lost.is_empty() {
        bail!("{}", lost.join("\n"));
    }
    Ok(())
}

/// Which commands the binary has beside those that are always asked.
#[derive(Clone, Copy, Debug)]
struct Commands {
    compact: bool,
    delete: bool,
}

impl Commands {
    fn of(carrack: &Path) -> Result<Self> {
        let output = bare(carrack).arg("--help").output()?;
        let help = String::from_utf8(output.stdout)?;
        let has = |name: &str| help.lines().any(|line| line.split_whitespace().next() == Some(name));
        Ok(Self { compact: has("compact"), delete: has("delete") })
    }
}

/// Starts the store, imports from several clients at once, and kills it at a random moment.
fn one_life(
    carrack: &Path,
    data: &Path,
    repos: &[Repo],
    commands: Commands,
    known: &mut [Known],
    rng: &mut Rng,
    tally: &mut Tally,
) -> Result<()> {
    if rng.below(8) == 0 {
        let mut server = Server::spawn(carrack, data)?;
        std::thread::sleep(Duration::from_micros(rng.below(30_000)));
        server.kill()?;
        tally.kills += 1;
        tally.kills_while_starting += 1;
    }
    let mut server = Server::spawn(carrack, data)?;
    let address = server.address()?;
    let stop = AtomicBool::new(false);
    let acknowledged = AtomicUsize::new(0);
    let life = Duration::from_micros(rng.below(LIFE_MILLIS_MAX * 1_000));
    std::thread::scope(|scope| -> Result<()> {
        let mut clients = Vec::new();
        for client in 0..CLIENTS {
            // A client's repos are its own, so that at most one import of a repo is under way.
            let mut own: Vec<(usize, Known)> = (client..GUEST).step_by(CLIENTS).map(|i| (i, known[i])).collect();
            let mut rng = Rng(rng.next());
            let (address, stop, acknowledged) = (&address, &stop, &acknowledged);
            clients.push(scope.spawn(move || -> Result<Vec<(usize, Known)>> {
                while !stop.load(Ordering::Acquire) {
                    // One with revisions left, as long as there is any.
                    let is_left = |known: &Known| known.acknowledged != Some(VERSIONS - 1);
                    let left: Vec<usize> = (0..own.len()).filter(|&at| is_left(&own[at].1)).collect();
                    let at = match left.len() {
                        0 => rng.below(own.len() as u64) as usize,
                        some => left[rng.below(some as u64) as usize],
                    };
                    let (i, state) = &mut own[at];
                    let next = state.acknowledged.map_or(0, |version| (version + 1).min(VERSIONS - 1));
                    let car = &repos[*i].versions[next].car;
                    state.under_way = Some(Some(next));
                    if !is_answered(carrack, address, &["import", path(car)?], stop)? {
                        break;
                    }
                    state.acknowledged = Some(next);
                    state.under_way = None;
                    acknowledged.fetch_add(1, Ordering::AcqRel);
                }
                Ok(own)
            }));
        }
        let mut keeper = Keeper { commands, guest: known[GUEST], compactions: 0, deletions: 0, rng: Rng(rng.next()) };
        let (address, stop) = (&address, &stop);
        let keeping = scope.spawn(move || {
            while !stop.load(Ordering::Acquire) && keeper.act(carrack, address, &repos[GUEST], stop)? {}
            Ok::<_, anyhow::Error>(keeper)
        });
        std::thread::sleep(life);
        let killed = server.kill();
        stop.store(true, Ordering::Release);
        for client in clients {
            for (i, state) in client.join().map_err(|_| anyhow::anyhow!("a client panicked"))?? {
                known[i] = state;
            }
        }
        let keeper = keeping.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        known[GUEST] = keeper.guest;
        tally.compactions += keeper.compactions;
        tally.deletions += keeper.deletions;
        killed
    })?;
    tally.kills += 1;
    tally.imports_acknowledged += acknowledged.into_inner();
    tally.imports_cut_off += known.iter().filter(|known| known.under_way.is_some()).count();
    Ok(())
}

/// Asks for a change of a serving store; false if the store is gone, as far as the client can tell.
fn is_answered(carrack: &Path, address: &str, arguments: &[&str], stop: &AtomicBool) -> Result<bool> {
    let output = carrack_at(carrack, address, arguments)?;
    if output.status.success() {
        return Ok(true);
    }
    if stop.load(Ordering::Acquire) || output.status.code() == Some(1) {
        return Ok(false);
    }
    bail!("{} was refused: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
}

/// The client that compacts, and has a repo come and go.
struct Keeper {
    commands: Commands,
    guest: Known,
    compactions: usize,
    deletions: usize,
    rng: Rng,
}

impl Keeper {
    /// Does the next thing; false if the store is gone, or there is nothing to do.
    fn act(&mut self, carrack: &Path, address: &str, guest: &Repo, stop: &AtomicBool) -> Result<bool> {
        let Commands { compact, delete } = self.commands;
        if compact && self.rng.below(3) == 0 {
            let cold: &[&str] = if self.rng.below(3) == 0 { &["--cold"] } else { &[] };
            let answered = is_answered(carrack, address, &[&["compact"], cold].concat(), stop)?;
            self.compactions += usize::from(answered);
            return Ok(answered);
        }
        if !delete {
            return Ok(compact);
        }
        let arguments: Vec<&str> = match self.guest.acknowledged {
            Some(_) => {
                self.guest.under_way = Some(None);
                let purge = if self.rng.below(2) == 0 { Some("--purge") } else { None };
                ["delete", &guest.did, "--yes"].into_iter().chain(purge).collect()
            }
            None => {
                let version = self.rng.below(VERSIONS as u64) as usize;
                self.guest.under_way = Some(Some(version));
                vec!["import", path(&guest.versions[version].car)?]
            }
        };
        if !is_answered(carrack, address, &arguments, stop)? {
            return Ok(false);
        }
        self.deletions += usize::from(self.guest.acknowledged.is_some());
        self.guest.acknowledged = self.guest.under_way.take().flatten();
        Ok(true)
    }
}

/// Starts the store again and reads everything back; returns what is lost or wrong.
fn verify(carrack: &Path, data: &Path, repos: &[Repo], known: &mut [Known], tally: &mut Tally) -> Result<Vec<String>> {
    // What the dead store left; a merge of the new one may have files there again.
    let left: Vec<PathBuf> =
        fs::read_dir(data.join("tmp"))?.map(|file| file.map(|file| file.path())).collect::<Result<_, _>>()?;
    tally.kills_amid_writing += usize::from(!left.is_empty());
    let mut server = Server::spawn(carrack, data)?;
    let address = server.address()?;
    let mut wrong = Vec::new();
    for left in left.iter().filter(|left| left.exists()) {
        wrong.push(format!("left over: {}", left.display()));
    }
    let revisions: usize = known.iter().filter_map(|known| known.acknowledged).map(|version| version + 1).sum();
    let segments = fs::read_dir(data.join("segments"))?.count();
    tally.starts_after_merges += usize::from(segments < revisions);
    let listed = carrack_at(carrack, &address, &["repos", "--json"])?;
    ensure!(listed.status.success(), "repos: {}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8(listed.stdout)?;
    let mut revs: BTreeMap<&str, &str> = BTreeMap::new();
    for line in listed.lines() {
        revs.insert(text_field(line, "did")?, text_field(line, "rev")?);
    }
    for (repo, known) in repos.iter().zip(known.iter_mut()) {
        let found = revs
            .remove(repo.did.as_str())
            .map(|rev| repo.versions.iter().position(|version| version.rev == rev).context("a rev nobody made"))
            .transpose()?;
        if found != known.acknowledged && known.under_way != Some(found) {
            wrong.push(format!(
                "{} is at version {found:?}, acknowledged was {:?}, under way {:?}",
                repo.did, known.acknowledged, known.under_way
            ));
        }
        if let Some(found) = found {
            let export = carrack_at(carrack, &address, &["export", &repo.did])?;
            if !export.status.success() || export.stdout != repo.versions[found].export {
                wrong.push(format!(
                    "{} gives {} bytes that are not its export: {}",
                    repo.did,
                    export.stdout.len(),
                    String::from_utf8_lossy(&export.stderr)
                ));
            }
            tally.repos_compared += 1;
            tally.cut_off_and_present += usize::from(found != known.acknowledged.unwrap_or(usize::MAX));
        }
        *known = Known { acknowledged: found, under_way: None };
    }
    wrong.extend(revs.into_keys().map(|did| format!("{did} is a repo nobody imported")));
    // What is read back is acknowledged now; the next start is again one after a kill.
    server.kill()?;
    Ok(wrong)
}

fn build(dev: bool) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("no workspace above xtask")?;
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "-p", "carrack-store", "--bin", "carrack"])
        .args(if dev { None } else { Some("--release") })
        .current_dir(root)
        .status()?;
    ensure!(status.success(), "carrack does not build");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join(if dev { "debug/carrack" } else { "release/carrack" }))
}

fn make_repos(folder: &Path, seed: u64) -> Result<Vec<Repo>> {
    let mut repos = Vec::new();
    for (i, records) in RECORDS.into_iter().chain([GUEST_RECORDS]).enumerate() {
        let prefix = folder.join(format!("repo-{i}"));
        let arguments = [
            "--records".to_owned(),
            records.to_string(),
            "--seed".to_owned(),
            (seed * 1_000 + i as u64).to_string(),
            "--versions".to_owned(),
            VERSIONS.to_string(),
            "--out".to_owned(),
            path(&prefix)?.to_owned(),
        ];
        let said = crate::generate(&[], &arguments)?;
        let line = |start: &str| {
            let rest = said.lines().find_map(|line| line.strip_prefix(start));
            rest.map(str::to_owned).with_context(|| format!("the generator does not say `{start}`"))
        };
        let mut versions = Vec::new();
        for number in 1..=VERSIONS {
            let (rev, name) = match number {
                1 => (line("rev\t")?, String::new()),
                _ => (line(&format!("version\t{number}\t"))?, format!(".v{number}")),
            };
            let file = |kind: &str| folder.join(format!("repo-{i}{name}.{kind}.car"));
            versions.push(Version { rev, car: file("pds"), export: fs::read(file("pre"))? });
        }
        repos.push(Repo { did: line("did\t")?, versions });
    }
    Ok(repos)
}

/// Runs a command against a serving store, and only that: at a folder it would take the dead store's place.
fn carrack_at(carrack: &Path, address: &str, arguments: &[&str]) -> Result<Output> {
    let child = bare(carrack)
        .args(["--store", address])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let id = child.id();
    let (done, output) = mpsc::channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    match output.recv_timeout(PATIENCE) {
        Ok(output) => Ok(output?),
        Err(_) => bail!("`carrack {}` hangs, process {id}", arguments.join(" ")),
    }
}

fn bare(carrack: &Path) -> Command {
    let mut command = Command::new(carrack);
    for name in ["CARRACK_DATA", "CARRACK_STORE", "CARRACK_LOG"] {
        command.env_remove(name);
    }
    command
}

/// A serving store; ended by its id.
struct Server(Child);

impl Server {
    fn spawn(carrack: &Path, data: &Path) -> Result<Self> {
        let child = bare(carrack)
            .arg("--data")
            .arg(data)
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(Self(child))
    }

    /// Waits until it listens and returns where.
    fn address(&mut self) -> Result<String> {
        let mut stdout = BufReader::new(self.0.stdout.take().context("it was asked before")?);
        let (said, line) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = stdout.read_line(&mut line);
            let _nobody_waits = said.send(read.map(|_| line));
        });
        let line = line.recv_timeout(PATIENCE).context("the store does not start")??;
        match line.trim_end().strip_prefix("listening on ") {
            Some(address) => Ok(address.to_owned()),
            None => {
                let output = std::mem::replace(&mut self.0, Command::new("true").spawn()?).wait_with_output()?;
                bail!("the store does not start: `{line}` {}", String::from_utf8_lossy(&output.stderr))
            }
        }
    }

    /// kill -9.
    fn kill(&mut self) -> Result<()> {
        ensure!(self.0.try_wait()?.is_none(), "the store ended by itself");
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A folder that goes at the end.
struct Folder(PathBuf);

impl Folder {
    fn create() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("carrack-kill-loop-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

/// Returns a text of a JSON object; those asked for here need no escapes.
fn text_field<'a>(object: &'a str, name: &str) -> Result<&'a str> {
    let start = format!("\"{name}\":\"");
    let rest = object.split_once(&start).map(|(_, rest)| rest);
    rest.and_then(|rest| rest.split_once('"')).map(|(text, _)| text).with_context(|| format!("no `{name}` in {object}"))
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not text")
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
