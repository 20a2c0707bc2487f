//! Connections that do nothing: what each takes of the server's memory.

use std::rc::Rc;

use anyhow::Result;

use super::carrack::login;
use super::door::Place;
use super::echo::EchoClient;
use super::load::{Getter, Key, block_on};
use super::server::{Program, Server};

/// Opens so many connections, each logged in and answered, and returns by how many bytes each grew the server.
pub(crate) fn bytes_each(
    server: &Server,
    program: Program,
    place: &Place,
    count: usize,
    keys: &[Key],
) -> Result<f64> {
    block_on(async {
        let before = server.resident_bytes()?;
        let mut sessions = Vec::new();
        let mut echoes = Vec::new();
        for at in 0..count {
            if program == Program::Carrack {
                let session = login(place).await?;
                session.about_request().send().promise.await?;
                sessions.push(session);
            } else {
                let echo = EchoClient::connect(place, Rc::new([])).await?;
                let key = &keys[at % keys.len()];
                echo.get(key, at, &mut Vec::new()).await?;
                echoes.push(echo);
            }
        }
        let after = server.resident_bytes()?;
        drop((sessions, echoes));
        Ok(after.saturating_sub(before) as f64 / count as f64)
    })
}
