//! What carries the messages: standard input and output, or HTTP.

#[cfg(feature = "stdio")]
mod bounded;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "stdio")]
pub mod stdio;

/// Waits until the process is asked to end.
#[cfg(any(feature = "stdio", feature = "http"))]
pub(crate) async fn told_to_end() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
