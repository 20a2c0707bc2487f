//! `carrack stats`: totals of the store.

use carrack_client::StoreStats;
use carrack_schema::codes::Exit;
use carrack_schema::time::rfc3339;

use super::Result;
use super::door::Door;
use super::output::Output;

pub(super) async fn run(door: &mut Door, output: &mut Output) -> Result<Exit> {
    let stats = door
        .call(async |session| Ok(session.store().stats().await?))
        .await?;
    if output.is_json() {
        output.object(&object(&stats))?;
    } else {
        for line in lines(&stats) {
            output.line(&line)?;
        }
    }
    Ok(Exit::Ok)
}

/// Returns the length of segment files and catalog.
pub(super) fn on_disk(stats: &StoreStats) -> u64 {
    stats.bytes_segments.saturating_add(stats.bytes_catalog)
}

/// Returns how many times the CARs the disk holds; none while there are no CARs.
#[expect(
    clippy::cast_precision_loss,
    reason = "a ratio is shown with three digits"
)]
fn ratio(stats: &StoreStats) -> Option<f64> {
    let ratio = on_disk(stats) as f64 / stats.bytes_in as f64;
    (stats.bytes_in > 0).then_some((ratio * 1_000.0).round() / 1_000.0)
}

/// Returns the totals as they are in `--json`.
pub(super) fn object(stats: &StoreStats) -> serde_json::Value {
    serde_json::json!({
        "repos": stats.repos,
        "records": stats.records,
        "revisions": stats.revisions,
        "segments": stats.segments,
        "segmentsWarm": stats.segments.saturating_sub(stats.segments_cold),
        "segmentsCold": stats.segments_cold,
        "bytesIn": stats.bytes_in,
        "bytesStored": stats.bytes_stored,
        "bytesSegments": stats.bytes_segments,
        "bytesCatalog": stats.bytes_catalog,
        "bytesOnDisk": on_disk(stats),
        "ratio": ratio(stats),
        "pendingPurges": stats.purges,
        "purgeBy": stats.purge_by.map(rfc3339),
    })
}

fn lines(stats: &StoreStats) -> Vec<String> {
    let warm = stats.segments.saturating_sub(stats.segments_cold);
    let ratio = ratio(stats).map_or_else(String::new, |ratio| format!(", {ratio} of the CARs"));
    let purges = match (stats.purges, stats.purge_by) {
        (0, _) | (_, None) => "none pending".to_owned(),
        (purges, Some(by)) => format!(
            "{purges} segment files hold something deleted, the first is rewritten by {}",
            rfc3339(by)
        ),
    };
    vec![
        format!("repos      {}", stats.repos),
        format!(
            "records    {} (revisions held: {})",
            stats.records, stats.revisions
        ),
        format!(
            "segments   {} ({warm} warm, {} cold)",
            stats.segments, stats.segments_cold
        ),
        format!("bytes in   {}", stats.bytes_in),
        format!(
            "on disk    {} bytes (segments {}, catalog {}){ratio}",
            on_disk(stats),
            stats.bytes_segments,
            stats.bytes_catalog
        ),
        format!("purges     {purges}"),
    ]
}
