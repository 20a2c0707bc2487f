//! Starting a [`Task`] in a child process and taking its [`Answer`].

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::task::{Answer, Task};

/// Does a task in a process of its own.
pub(crate) fn run(task: &Task) -> Result<Answer> {
    let mut command = command(task)?;
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(
        output.status.success(),
        "{task:?} failed ({})",
        output.status
    );
    let line = String::from_utf8(output.stdout)?;
    serde_json::from_str(&line).with_context(|| format!("{task:?} answered {line:?}"))
}

/// Does a task below another program, such as valgrind, and returns what that said on stderr.
pub(crate) fn run_below(program: &[&str], task: &Task) -> Result<String> {
    let inner = command(task)?;
    let output = Command::new(program[0])
        .args(&program[1..])
        .arg(inner.get_program())
        .args(inner.get_args())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.success(),
        "{task:?} below {} failed: {said}",
        program[0]
    );
    Ok(said)
}

/// Starts a task that goes on until its stdin ends, below another program if one is named, whose stderr is kept then.
pub(crate) fn start_below(program: &[&str], task: &Task) -> Result<Child> {
    let inner = command(task)?;
    let mut command = match program.split_first() {
        None => inner,
        Some((first, arguments)) => {
            let mut outer = Command::new(first);
            outer
                .args(arguments)
                .arg(inner.get_program())
                .args(inner.get_args())
                .stderr(Stdio::piped());
            outer
        }
    };
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(command.spawn()?)
}

fn command(task: &Task) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--child").arg(serde_json::to_string(task)?);
    Ok(command)
}
