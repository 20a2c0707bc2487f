//! DAG-CBOR as JSON text, in AT Protocol's form, for the engines that hold JSON and for the peer that answers with it.

use anyhow::{Context, Result, bail};
use carrack_repo::cbor::{Reader, Token};
use carrack_schema::cid;
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

/// Appends a record as JSON text without a tree in between: the fastest way there is here, for a server that is measured.
pub(crate) fn write(record: &[u8], out: &mut Vec<u8>) -> Result<()> {
    write_value(&mut Reader::new(record), out)
}

fn write_value(reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<()> {
    match reader.token()? {
        Token::Null => out.extend_from_slice(b"null"),
        Token::Bool(value) => out.extend_from_slice(if value { &b"true"[..] } else { b"false" }),
        Token::Int(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Token::Text(text) => write_text(text, out)?,
        Token::Bytes(bytes) => {
            out.extend_from_slice(b"{\"$bytes\":\"");
            out.extend_from_slice(BASE64_NOPAD.encode(bytes).as_bytes());
            out.extend_from_slice(b"\"}");
        }
        Token::Link(bytes) => {
            out.extend_from_slice(b"{\"$link\":\"");
            out.extend_from_slice(cid::text_of(bytes).as_bytes());
            out.extend_from_slice(b"\"}");
        }
        Token::List(count) => {
            out.push(b'[');
            for at in 0..count {
                if at > 0 {
                    out.push(b',');
                }
                write_value(reader, out)?;
            }
            out.push(b']');
        }
        Token::Map(count) => {
            out.push(b'{');
            for at in 0..count {
                if at > 0 {
                    out.push(b',');
                }
                let Token::Key(key) = reader.token()? else {
                    bail!("a map without a key");
                };
                write_text(key, out)?;
                out.push(b':');
                write_value(reader, out)?;
            }
            out.push(b'}');
        }
        Token::Key(_) => bail!("a key outside of a map"),
    }
    Ok(())
}

fn write_text(text: &str, out: &mut Vec<u8>) -> Result<()> {
    Ok(serde_json::to_writer(out, text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_json_say_the_same() {
        let repo = kit::RepoSpec::default().build();
        for record in &repo.records {
            let mut direct = Vec::new();
            write(&record.bytes, &mut direct).unwrap();
            let direct: Value = serde_json::from_slice(&direct).unwrap();
            let text = text_of(&record.bytes).unwrap();
            assert_eq!(direct, serde_json::from_str::<Value>(&text).unwrap());
        }
    }
}
