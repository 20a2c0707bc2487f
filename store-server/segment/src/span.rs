//! A part of a file, kept without borrowing it.

/// Bytes of a file, counted from its start. Made only of parts that lie inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    pub(crate) const EMPTY: Self = Self { start: 0, end: 0 };

    /// Returns where `part` lies in `file`, if it was borrowed from it; nothing lies at the start.
    pub(crate) fn within(file: &[u8], part: &[u8]) -> Option<Self> {
        if part.is_empty() {
            // An absent list has no address in the file.
            return Some(Self::EMPTY);
        }
        let start = part.as_ptr().addr().checked_sub(file.as_ptr().addr())?;
        let end = start.checked_add(part.len())?;
        (end <= file.len()).then_some(Self { start, end })
    }

    pub(crate) fn len(self) -> usize {
        self.end.saturating_sub(self.start)
    }

    #[inline]
    pub(crate) fn of(self, file: &[u8]) -> &[u8] {
        file.get(self.start..self.end).unwrap_or_default()
    }
}
