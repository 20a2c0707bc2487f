//! The machine, as far as it says something about the figures. No names and no paths.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

/// Returns a line about processor, memory, system and compiler.
pub(crate) fn describe() -> String {
    let cores = available_parallelism().map_or(0, usize::from);
    let model = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown CPU".into());
    let kib = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    let kib: u64 = kib.trim_end_matches(" kB").parse().unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{model}, {cores} cores, {features}; {memory:.0} GiB of memory; Linux {kernel}; {rustc}, {build} build",
        features = features(),
        memory = kib as f64 / (1 << 20) as f64,
        // The builder's own suffix says nothing about the figures.
        kernel = kernel.trim().split('-').next().unwrap_or_default(),
        rustc = rustc(),
        build = if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        },
    )
}

/// Returns what the processor can do that hashing and scanning may use.
#[cfg(target_arch = "x86_64")]
fn features() -> String {
    let all = [
        ("SHA-NI", std::is_x86_feature_detected!("sha")),
        ("AVX2", std::is_x86_feature_detected!("avx2")),
        ("AVX-512", std::is_x86_feature_detected!("avx512bw")),
    ];
    let words =
        all.map(|(name, there)| format!("{} {name}", if there { "with" } else { "without" }));
    words.join(", ")
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> String {
    std::env::consts::ARCH.into()
}

/// Returns the value of a line `name : value`.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn rustc() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let version = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    // `rustc 1.95.0 (hash date)`: the number is enough.
    let words: Vec<_> = version
        .iter()
        .flat_map(|text| text.split(' ').take(2))
        .collect();
    words.join(" ").trim().to_owned()
}
