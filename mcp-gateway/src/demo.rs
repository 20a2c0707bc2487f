//! `carrack-mcp demo`: what an agent sees, without an agent, an account or a network.
//!
//! Nothing in it is staged: this process owns a store and imports the shipped repos through the RPC method; a second
//! process of this program serves MCP on real pipes and becomes the store's client over its socket.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use carrack_client::{Error, ImportOptions, ImportOutcome, Phase, Session};
use carrack_schema::Code;
use carrack_schema::limits::CHUNK_BYTES_MAX;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rmcp::RoleClient;
use rmcp::model::{CallToolRequestParams, CallToolResult};
use rmcp::service::{RunningService, serve_client};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::embedded::Folder;
use crate::render::frame::count;

/// The shipped repos: made by this project's own scripts, so everything in them is invented.
const SAMPLE: [(&str, &[u8]); 2] = [
    ("varied.car", include_bytes!("../sample/varied.car")),
    (
        "varied-friend.car",
        include_bytes!("../sample/varied-friend.car"),
    ),
];
const ACTOR: &str = "did:plc:rilb2cohzwgttp7xjllpyq2i";

/// Runs the demo in `data`, or in a folder of its own that is removed at the end.
pub(crate) async fn run(data: Option<PathBuf>) -> Result<(), Error> {
    let temporary = match data {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("carrack-demo-").tempdir()?),
    };
    let path = match (&data, &temporary) {
        (Some(path), _) => path,
        (None, Some(folder)) => folder.path(),
        (None, None) => return Err(Error::new(Code::Internal, "the demo has no folder")),
    };
    let folder = Folder::new(Some(path.to_owned()))?;
    let mut stage = Stage(BufWriter::new(io::stdout()));
    let session = folder.client().await?.login("");
    let played = play(&mut stage, &session, path).await;
    drop(session);
    folder.shutdown().await;
    played.and_then(|()| stage.0.flush().map_err(Error::from))
}

async fn play(stage: &mut Stage, session: &Session, path: &Path) -> Result<(), Error> {
    stage.say("Carrack demo: two small repos go into a store, and an agent asks about them.\n")?;
    for (name, car) in SAMPLE {
        stage.say(&import(session, name, car).await?)?;
    }
    let (mut child, client) = start_gateway(path).await?;
    let asked = ask(stage, &client).await;
    // Closing its stdin ends the gateway; waiting for it leaves no process behind.
    let _ended = client.cancel().await;
    child.wait().await?;
    asked?;
    stage.goodbye()
}

/// Imports a CAR the way every client does: chunks over RPC, verified as they come.
async fn import(session: &Session, name: &str, car: &[u8]) -> Result<String, Error> {
    let target = match io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(Some(car.len() as u64), target);
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {bytes}/{total_bytes}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(name.to_owned());
    let upload = session.importer().import(ImportOptions {
        size: Some(car.len() as u64),
        ..ImportOptions::default()
    });
    let mut reports = upload.progress();
    let send = async {
        for chunk in car.chunks(CHUNK_BYTES_MAX) {
            if !upload.write(chunk).await {
                break;
            }
        }
        upload.done().await
    };
    let follow = async {
        while reports.changed().await.is_ok() {
            let progress = *reports.borrow_and_update();
            if progress.phase == Phase::Receiving {
                bar.set_position(progress.done);
            }
        }
        std::future::pending().await
    };
    let outcome = tokio::select! {
        biased;
        outcome = send => outcome?,
        () = follow => unreachable!("following goes on until the import ends"),
    };
    bar.finish_and_clear();
    let (word, report) = match outcome {
        ImportOutcome::Imported(report) => ("imported", report),
        ImportOutcome::Unchanged(report) => ("already held", report),
        ImportOutcome::Rejected(rejection) => {
            return Err(Error::new(
                rejection.code,
                format!("{name}: {}", rejection.words),
            ));
        }
    };
    Ok(format!(
        "{word} {name}: {}, {} records, {} blocks; every hash and the tree verified\n",
        report.info.source.did,
        count(report.info.records),
        count(report.blocks)
    ))
}

type McpClient = RunningService<RoleClient, ()>;

async fn start_gateway(path: &Path) -> Result<(Child, McpClient), Error> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("--data")
        .arg(path)
        .env_remove("CARRACK_STORE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (Some(stdout), Some(stdin)) = (child.stdout.take(), child.stdin.take()) else {
        return Err(Error::new(Code::Internal, "the gateway has no pipes"));
    };
    let client = serve_client((), (stdout, stdin)).await.map_err(broken)?;
    Ok((child, client))
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::new(
        Code::Unavailable,
        format!("the gateway does not answer: {error}"),
    )
}

async fn ask(stage: &mut Stage, client: &McpClient) -> Result<(), Error> {
    let tools = client.list_all_tools().await.map_err(broken)?;
    let bytes = serde_json::to_string(&tools).map_or(0, |text| text.len());
    let names: Vec<_> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    stage.say(&format!(
        "\nThe agent's MCP client starts `carrack-mcp` and finds {} tools: {}\n\
         Their definitions are {} bytes, {}.\n",
        names.len(),
        names.join(", "),
        count(bytes as u64),
        tokens(bytes)
    ))?;
    let post = |rkey: &str| format!("at://{ACTOR}/app.bsky.feed.post/{rkey}");
    for (why, tool, arguments) in [
        ("What is in the archive?", "at_overview", json!({})),
        (
            "The last posts of one account.",
            "at_list",
            json!({ "actor": ACTOR, "collection": "app.bsky.feed.post", "limit": 5 }),
        ),
        (
            "A reply, the post it answers, and the author's profile: three reads in one flight.",
            "at_get",
            json!({ "refs": [post("3n2v4jxbvsh2x"), post("3n2v4jx6ejh2x"), ACTOR] }),
        ),
        (
            "A mistake: the answer says how to put it right.",
            "at_list",
            json!({ "actor": ACTOR, "collection": "app.bsky.feed.posts" }),
        ),
    ] {
        let Value::Object(map) = arguments.clone() else {
            return Err(Error::new(Code::Internal, "arguments are an object"));
        };
        let started = Instant::now();
        let request = CallToolRequestParams::new(tool).with_arguments(map);
        let result = client.call_tool(request).await.map_err(broken)?;
        stage.call(
            why,
            &format!("{tool} {arguments}"),
            &result,
            started.elapsed(),
        )?;
    }
    Ok(())
}

/// An estimate, and said to be one: no tokenizer is shipped.
fn tokens(bytes: usize) -> String {
    format!(
        "about {} tokens at 4 bytes each",
        count(bytes.div_ceil(4) as u64)
    )
}

/// The one writer of the demo's output.
struct Stage(BufWriter<Stdout>);

impl Stage {
    fn say(&mut self, text: &str) -> Result<(), Error> {
        self.0.write_all(text.as_bytes())?;
        Ok(self.0.flush()?)
    }

    fn call(
        &mut self,
        why: &str,
        call: &str,
        result: &CallToolResult,
        took: std::time::Duration,
    ) -> Result<(), Error> {
        let texts = result.content.iter().filter_map(|block| block.as_text());
        let text: Vec<_> = texts.map(|block| block.text.as_str()).collect();
        let text = text.join("\n");
        let structured = result
            .structured_content
            .as_ref()
            .map_or(0, |value| value.to_string().len());
        let mut out = format!("\n{why}\n┌ {call}\n");
        for line in text.lines() {
            out.push_str("│ ");
            out.push_str(line);
            out.push('\n');
        }
        let kind = if result.is_error == Some(true) {
            "error"
        } else {
            "answer"
        };
        out.push_str("└ ");
        out.push_str(kind);
        out.push_str(&cost(text.len(), structured, took));
        self.say(&out)
    }

    fn goodbye(&mut self) -> Result<(), Error> {
        let command = std::env::current_exe()?;
        let settings = json!({ "mcpServers": { "carrack": { "command": command, "args": [] } } });
        self.say(&format!(
            "\nEach answer took one round trip to the store: a tool sends all its calls before it awaits the first.\n\
             (An error's suggestions may take one more.)\n\
             \nFor your MCP client's settings:\n  {settings}\n\
             \nTo fill the store it will use:\n  carrack import repo.car     (or let the agent call at_import)\n"
        ))
    }
}

fn cost(text: usize, structured: usize, took: std::time::Duration) -> String {
    format!(
        ": {} bytes of text, {}; {} bytes structured; {:.1} ms\n",
        count(text as u64),
        tokens(text),
        count(structured as u64),
        took.as_secs_f64() * 1_000.0
    )
}
