//! DAG-CBOR as JSON text, in AT Protocol's form, for the engines that hold JSON.

use anyhow::{Context, Result, bail};
use data_encoding::BASE64_NOPAD;
use ipld_core::ipld::Ipld;
use serde_json::{Value, json};

/// Returns a record as JSON text.
pub(crate) fn text_of(record: &[u8]) -> Result<String> {
    let record: Ipld = serde_ipld_dagcbor::from_slice(record)?;
    Ok(serde_json::to_string(&value_of(record)?)?)
}

fn value_of(value: Ipld) -> Result<Value> {
    Ok(match value {
        Ipld::Null => Value::Null,
        Ipld::Bool(value) => value.into(),
        Ipld::Integer(value) => i64::try_from(value)
            .context("an integer beyond 64 bits")?
            .into(),
        Ipld::String(value) => value.into(),
        Ipld::Bytes(value) => json!({ "$bytes": BASE64_NOPAD.encode(&value) }),
        Ipld::Link(cid) => json!({ "$link": cid.to_string() }),
        Ipld::List(values) => values.into_iter().map(value_of).collect::<Result<_>>()?,
        Ipld::Map(map) => map
            .into_iter()
            .map(|(key, value)| Ok((key, value_of(value)?)))
            .collect::<Result<_>>()?,
        Ipld::Float(_) => bail!("a float, which AT Protocol does not have"),
    })
}
