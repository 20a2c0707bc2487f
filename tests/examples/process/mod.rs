//! [`Process`]: a server that one of these programs started, what it takes, and its end.

use std::path::Path;
use std::process::{Child, Command, Stdio};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A child process. Dropping it without [`stop`](Self::stop), as after an error, kills it.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    /// Returns the memory that is the process's own, in bytes.
    pub(crate) fn anonymous_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib = kib.ok_or("the kernel does not say RssAnon")?.trim();
        Ok(kib.parse::<u64>()? * 1_024)
    }

    /// Returns how many file descriptors are open.
    pub(crate) fn descriptors(&self) -> Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.0.id()))?.count())
    }

    /// Ends it as a user would, and waits.
    pub(crate) fn stop(mut self) -> Result<()> {
        let status = Command::new("kill")
            .args(["-TERM", &self.0.id().to_string()])
            .status()?;
        let ended = self.0.wait()?;
        if !status.success() || !ended.success() {
            return Err(format!("the server ended with {ended}").into());
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that was stopped has ended already.
        let _killed = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// Returns a command without anything of this process's environment that is meant for it.
pub(crate) fn command(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARRACK_") {
            command.env_remove(name);
        }
    }
    command
}

/// Lets `carrack check` look at a data folder that nobody serves any more.
pub(crate) fn check(carrack: &Path, folder: &Path) -> Result<()> {
    let status = command(carrack)
        .args(["check", "--data"])
        .arg(folder)
        .stdout(Stdio::null())
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("the check ended with {status}").into()),
    }
}

/// Most that memory may be at the end, when it was so much after a first part: caches and pools still fill a little.
pub(crate) fn bytes_at_most(warm: u64) -> u64 {
    warm + warm / 2 + (32 << 20)
}

/// Returns bytes in MiB.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
