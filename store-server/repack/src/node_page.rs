//! [`NodeScript`]: the digests of a repo's MST nodes, in pre-order, as what changed since the revision before; and the
//! pages it is kept in.
//!
//! A change of one record gives new nodes on one path only, and the others keep their order: so a script is a few runs
//! to copy and a few new digests. The script of a full extent copies nothing.

use std::collections::HashMap;

use capnp::message::{Builder, HeapAllocator};
use carrack_schema::limits::CAR_BLOCKS_MAX;
use carrack_schema::wire::segment_capnp::node_page;
use carrack_segment::message;

/// Length of a digest in bytes.
const DIGEST_BYTES: usize = 32;

/// Digests, and runs, in a page: 256 KiB of the ones and 96 KiB of the others at most.
pub const NODE_PAGE_DIGESTS: usize = 8_192;

/// Digests, and runs, of a script that needs no page: it has room in the extent's head.
pub const NODES_INLINE_MAX: usize = 64;

/// A step of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First, digests of the revision before, from this number on …
    pub start: u32,
    /// … so many of them.
    pub count: u32,
    /// Then so many new digests.
    pub fresh: u32,
}

/// How the digests of a revision come from those of the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeScript {
    runs: Vec<Run>,
    /// The new digests of all runs, in order.
    fresh: Vec<[u8; DIGEST_BYTES]>,
}

/// A script that is not one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScriptError {
    /// A run copies what is not there, or there are other digests than runs say.
    #[error("a run of node digests leaves what there is")]
    Run,
    /// There are more digests than a tree has nodes.
    #[error("more than {CAR_BLOCKS_MAX} node digests")]
    Count,
}

impl NodeScript {
    /// Returns the script that gives these digests out of nothing.
    pub fn full(digests: Vec<[u8; DIGEST_BYTES]>) -> Self {
        Self {
            runs: vec![Run {
                start: 0,
                count: 0,
                fresh: count(digests.len()),
            }],
            fresh: digests,
        }
    }

    /// Returns the script that gives `digests` out of those of the revision before.
    pub fn between(before: &[[u8; DIGEST_BYTES]], digests: &[[u8; DIGEST_BYTES]]) -> Self {
        let places: HashMap<&[u8; DIGEST_BYTES], u32> = before.iter().zip(0..).collect();
        let mut script = Self::default();
        for digest in digests {
            match places.get(digest) {
                Some(&at) => script.copy(at),
                None => script.add(*digest),
            }
        }
        script
    }

    fn copy(&mut self, at: u32) {
        match self.runs.last_mut() {
            Some(run) if run.fresh == 0 && run.start.saturating_add(run.count) == at => {
                run.count = run.count.saturating_add(1);
            }
            _ => self.runs.push(Run {
                start: at,
                count: 1,
                fresh: 0,
            }),
        }
    }

    fn add(&mut self, digest: [u8; DIGEST_BYTES]) {
        self.fresh.push(digest);
        match self.runs.last_mut() {
            Some(run) => run.fresh = run.fresh.saturating_add(1),
            None => self.runs.push(Run {
                start: 0,
                count: 0,
                fresh: 1,
            }),
        }
    }

    /// Returns the digests that the script gives out of those of the revision before.
    ///
    /// # Errors
    /// If the script was not made for these.
    pub fn apply(
        &self,
        before: &[[u8; DIGEST_BYTES]],
    ) -> Result<Vec<[u8; DIGEST_BYTES]>, ScriptError> {
        let mut digests: Vec<[u8; DIGEST_BYTES]> = Vec::new();
        let mut fresh = self.fresh.as_slice();
        for run in &self.runs {
            let start = run.start as usize;
            let copied = start
                .checked_add(run.count as usize)
                .and_then(|end| before.get(start..end))
                .ok_or(ScriptError::Run)?;
            let (new, rest) = fresh
                .split_at_checked(run.fresh as usize)
                .ok_or(ScriptError::Run)?;
            fresh = rest;
            // Checked before memory is taken: a few runs could copy the same digests for ever.
            let length = digests
                .len()
                .saturating_add(copied.len())
                .saturating_add(new.len());
            if length > CAR_BLOCKS_MAX {
                return Err(ScriptError::Count);
            }
            digests.extend_from_slice(copied);
            digests.extend_from_slice(new);
        }
        if fresh.is_empty() {
            Ok(digests)
        } else {
            Err(ScriptError::Run)
        }
    }

    /// Says whether the script has room in an extent's head.
    pub fn is_small(&self) -> bool {
        self.runs.len() <= NODES_INLINE_MAX && self.fresh.len() <= NODES_INLINE_MAX
    }

    /// Returns the messages of the pages that hold the script.
    ///
    /// # Errors
    /// None that a page within its limits meets; the message layer's otherwise.
    pub fn pages(&self) -> carrack_segment::Result<Vec<Vec<u8>>> {
        let mut pages = Vec::new();
        let mut page = Self::default();
        let mut fresh = self.fresh.iter().copied();
        for run in &self.runs {
            if page.runs.len() >= NODE_PAGE_DIGESTS {
                pages.push(std::mem::take(&mut page).page()?);
            }
            page.runs.push(Run { fresh: 0, ..*run });
            for digest in fresh.by_ref().take(run.fresh as usize) {
                if page.fresh.len() >= NODE_PAGE_DIGESTS {
                    pages.push(std::mem::take(&mut page).page()?);
                }
                page.add(digest);
            }
        }
        if !page.runs.is_empty() {
            pages.push(page.page()?);
        }
        Ok(pages)
    }

    fn page(&self) -> carrack_segment::Result<Vec<u8>> {
        let mut message = Builder::<HeapAllocator>::new_default();
        self.write(message.init_root());
        message::flatten(&message)
    }

    pub(crate) fn write(&self, mut wire: node_page::Builder<'_>) {
        wire.set_digests(self.fresh.as_flattened());
        let mut runs = wire.init_runs(count(self.runs.len()));
        for (i, run) in (0..).zip(&self.runs) {
            let mut out = runs.reborrow().get(i);
            out.set_start(run.start);
            out.set_count(run.count);
            out.set_fresh(run.fresh);
        }
    }

    /// Adds what a page holds to what the pages before it held.
    ///
    /// # Errors
    /// If the message does not parse or its digests are not whole.
    pub fn read_page(&mut self, page: &[u8]) -> Result<(), capnp::Error> {
        self.read(message::flat(page).get_root()?)
    }

    pub(crate) fn read(&mut self, wire: node_page::Reader<'_>) -> Result<(), capnp::Error> {
        let digests = wire.get_digests()?;
        let (whole, rest) = digests.as_chunks::<DIGEST_BYTES>();
        if !rest.is_empty() {
            return Err(capnp::Error::failed("digests are not whole".into()));
        }
        self.fresh.extend_from_slice(whole);
        self.runs.extend(wire.get_runs()?.iter().map(|run| Run {
            start: run.get_start(),
            count: run.get_count(),
            fresh: run.get_fresh(),
        }));
        Ok(())
    }
}

/// A number of digests; a tree has at most [`CAR_BLOCKS_MAX`] nodes.
fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use capnp::Word;

    use super::*;

    fn digests(numbers: impl IntoIterator<Item = usize>) -> Vec<[u8; 32]> {
        let digest = |n: usize| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_le_bytes());
            digest
        };
        numbers.into_iter().map(digest).collect()
    }

    fn through_pages(script: &NodeScript) -> NodeScript {
        let mut read = NodeScript::default();
        for page in script.pages().unwrap() {
            assert!(page.len() <= carrack_schema::limits::PAGE_BYTES_MAX);
            let words = message::words(&page);
            read.read_page(Word::words_to_bytes(&words)).unwrap();
        }
        read
    }

    #[test]
    fn a_full_script_gives_its_digests_through_pages() {
        for length in [
            0,
            1,
            NODE_PAGE_DIGESTS,
            NODE_PAGE_DIGESTS + 1,
            3 * NODE_PAGE_DIGESTS,
        ] {
            let all = digests(0..length);
            let script = NodeScript::full(all.clone());
            assert_eq!(through_pages(&script).apply(&[]).unwrap(), all);
        }
    }

    #[test]
    fn a_small_change_makes_a_small_script() {
        let before = digests(0..1_000);
        let after = digests(
            (1_000..1_003)
                .chain(3..500)
                .chain([2_000])
                .chain(501..1_000),
        );
        let script = NodeScript::between(&before, &after);
        assert_eq!((script.runs.len(), script.fresh.len()), (3, 4));
        assert!(script.is_small());
        assert_eq!(script.apply(&before).unwrap(), after);
        assert_eq!(through_pages(&script).apply(&before).unwrap(), after);
    }

    #[test]
    fn any_two_revisions_have_a_script() {
        let orders: [fn(usize) -> usize; 5] = [
            |n| n,
            |n| n * 2,
            |n| n + 20_000,
            |n| 19_999 - n,
            |n| n ^ 1, // many runs: every page limit is met
        ];
        let before = digests(0..20_000);
        for order in orders {
            let after = digests((0..20_000).map(order));
            let script = NodeScript::between(&before, &after);
            assert_eq!(through_pages(&script).apply(&before).unwrap(), after);
        }
    }

    #[test]
    fn a_script_for_other_digests_is_an_error() {
        let before = digests(0..10);
        let script = NodeScript::between(&before, &digests(5..12));
        assert_eq!(script.apply(&before[..9]), Err(ScriptError::Run));
        let short = NodeScript {
            runs: script.runs.clone(),
            fresh: Vec::new(),
        };
        assert_eq!(short.apply(&before), Err(ScriptError::Run));
        let long = NodeScript {
            runs: Vec::new(),
            ..script
        };
        assert_eq!(long.apply(&before), Err(ScriptError::Run));
        let run = Run {
            start: 0,
            count: 10,
            fresh: 0,
        };
        let bomb = NodeScript {
            runs: vec![run; CAR_BLOCKS_MAX / 10 + 1],
            fresh: Vec::new(),
        };
        assert_eq!(bomb.apply(&before), Err(ScriptError::Count));
    }

    #[test]
    fn a_cut_page_is_an_error() {
        let page = NodeScript::full(digests(0..4)).pages().unwrap().remove(0);
        let words = message::words(&page);
        let bytes = Word::words_to_bytes(&words);
        let mut script = NodeScript::default();
        assert!(script.read_page(&bytes[..64]).is_err());
        assert!(script.read_page(bytes).is_ok());
    }
}
