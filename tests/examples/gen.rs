//! `gen`: writes synthetic repos to files, for benchmarks, for other programs, and to look at.
//!
//! `cargo run --release -p carrack-tests --example gen -- --records 100000 --seed 1 --out big`

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use kit::{Changes, Curve, Damaged, Mix, Order, Repo, RepoSpec, damage};

/// Writes a synthetic AT Protocol repo: PREFIX.pds.car and/or PREFIX.pre.car, PREFIX.records.tsv (path, CID) and
/// PREFIX.did.json (the DID document). The same options write the same bytes.
#[derive(Parser)]
#[command(name = "gen")]
struct Options {
    /// Number of records
    #[arg(long, default_value_t = 1_000)]
    records: usize,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Curve of the signing key
    #[arg(long, value_enum, default_value_t = CurveName::K256)]
    curve: CurveName,
    /// Kinds of records
    #[arg(long, value_enum, default_value_t = MixName::Varied)]
    mix: MixName,
    /// Order of blocks
    #[arg(long, value_enum, default_value_t = OrderName::Both)]
    order: OrderName,
    /// Start of the names of the files written
    #[arg(long, value_name = "PREFIX")]
    out: PathBuf,
    /// Number of revisions; those after the first go to PREFIX.v2.pds.car and so on
    #[arg(long, default_value_t = 1)]
    versions: usize,
    /// Also write every damaged variant as PREFIX.damaged/NAME.car, and what to expect of them as
    /// PREFIX.damaged/expect.tsv
    #[arg(long)]
    damaged: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum CurveName {
    K256,
    P256,
}

#[derive(Clone, Copy, ValueEnum)]
enum MixName {
    /// Likes, posts, reposts, follows
    Social,
    /// The same and awkward records of other lexicons
    Varied,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OrderName {
    /// Commit first, then the tree in pre-order
    Pre,
    /// As the reference PDS exports
    Pds,
    /// A file of each
    Both,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    if options.damaged && options.records < damage::RECORDS_MIN {
        let words = format!("--damaged needs --records {} or more", damage::RECORDS_MIN);
        Options::command()
            .error(ErrorKind::ValueValidation, words)
            .exit();
    }
    let spec = RepoSpec {
        records: options.records,
        seed: options.seed,
        curve: match options.curve {
            CurveName::K256 => Curve::K256,
            CurveName::P256 => Curve::P256,
        },
        mix: match options.mix {
            MixName::Social => Mix::SOCIAL,
            MixName::Varied => Mix::VARIED,
        },
        ..RepoSpec::default()
    };
    let repo = spec.build();
    write_cars(&options, &repo, "")?;
    write_records(&options, &repo)?;
    fs::write(named(&options, "did.json"), format!("{}\n", repo.did_doc))?;
    if options.damaged {
        write_damaged(&options, &damage::all(&repo))?;
    }
    let mut out = io::stdout().lock();
    summarize(&repo, &mut out)?;
    let mut newest = repo;
    for number in 2..=options.versions {
        newest = next_version(&newest, number as u64);
        write_cars(&options, &newest, &format!("v{number}."))?;
        writeln!(out, "version\t{number}\t{}", newest.rev)?;
    }
    Ok(())
}

/// Returns a later revision: a twentieth of the records is changed, as many are added and gone.
fn next_version(repo: &Repo, seed: u64) -> Repo {
    let some = repo.records.len() / 20;
    let changes = Changes {
        added: some + 1,
        changed: some,
        deleted: some,
    };
    repo.next_version(&repo.random_edits(seed, changes))
}

fn named(options: &Options, suffix: &str) -> PathBuf {
    let mut name = options.out.clone().into_os_string();
    name.push(".");
    name.push(suffix);
    name.into()
}

fn write_cars(options: &Options, repo: &Repo, version: &str) -> io::Result<()> {
    if options.order != OrderName::Pds {
        write_car(options, repo, &format!("{version}pre.car"), Order::PreOrder)?;
    }
    if options.order != OrderName::Pre {
        write_car(options, repo, &format!("{version}pds.car"), Order::Pds)?;
    }
    Ok(())
}

fn write_car(options: &Options, repo: &Repo, suffix: &str, order: Order) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(named(options, suffix))?);
    repo.write_car(order, &mut file)?;
    file.flush()
}

fn write_records(options: &Options, repo: &Repo) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(named(options, "records.tsv"))?);
    for record in &repo.records {
        writeln!(file, "{}\t{}", record.path, record.cid)?;
    }
    file.flush()
}

fn write_damaged(options: &Options, variants: &[Damaged]) -> io::Result<()> {
    let dir = named(options, "damaged");
    fs::create_dir_all(&dir)?;
    let mut table = BufWriter::new(File::create(dir.join("expect.tsv"))?);
    for Damaged {
        name,
        expect,
        bytes,
    } in variants
    {
        fs::write(dir.join(format!("{name}.car")), bytes)?;
        writeln!(table, "{name}\t{expect:?}")?;
    }
    table.flush()
}

fn summarize(repo: &Repo, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "did\t{}", repo.did)?;
    writeln!(out, "key\t{}", repo.did_key)?;
    writeln!(out, "rev\t{}", repo.rev)?;
    writeln!(out, "commit\t{}", repo.commit_cid)?;
    writeln!(out, "root\t{}", repo.root)?;
    writeln!(out, "records\t{}", repo.records.len())?;
    writeln!(out, "blocks\t{}", repo.blocks().len())
}
