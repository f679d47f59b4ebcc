//! A file that is read, and never written: what redb would write to it (it repairs while it opens and while it checks) is kept
//! in memory. Whoever is to say what is wrong with a file must leave it as it is.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// What is kept at once: a page of redb's.
const PAGE: u64 = 4096;
/// The same, as a length in memory.
const PAGE_BYTES: usize = 4096;

/// The file as it is, with what was written over it.
#[derive(Debug)]
pub(super) struct Overlay {
    file: File,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// How long the file would be.
    len: u64,
    /// How much of the file itself shows through: what was cut off and grown again is zero.
    shows: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE_BYTES]>>,
}

impl Overlay {
    /// Opens the file for reading, and holds the lock that keeps every writer away.
    ///
    /// # Errors
    /// `WouldBlock`: it is in use. Any other: the file system's.
    pub(super) fn over(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        file.try_lock_shared().map_err(|error| match error {
            TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
            TryLockError::Error(error) => error,
        })?;
        let len = file.metadata()?.len();
        Ok(Self { file, state: Mutex::new(State { len, shows: len, pages: BTreeMap::new() }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page at `offset`, a multiple of its size.
    fn page(&self, state: &State, offset: u64) -> io::Result<Box<[u8; PAGE_BYTES]>> {
        if let Some(page) = state.pages.get(&offset) {
            return Ok(page.clone());
        }
        let mut page = Box::new([0; PAGE_BYTES]);
        let there = usize::try_from(state.shows.saturating_sub(offset).min(PAGE)).unwrap_or(PAGE_BYTES);
        self.file.read_exact_at(&mut page[..there], offset)?;
        Ok(page)
    }
}

/// The pieces of `length` bytes from `offset` on: the page, where in it, and where in the bytes.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = usize::try_from(at % PAGE).unwrap_or_default();
        let size = (PAGE_BYTES - within).min(length - done);
        let piece = (at - at % PAGE, within..within + size, done..done + size);
        done += size;
        (size > 0).then_some(piece)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        if offset.saturating_add(out.len() as u64) > state.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (page, within, here) in pieces(offset, out.len()) {
            out[here].copy_from_slice(&self.page(&state, page)?[within]);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        if len < state.len {
            state.shows = state.shows.min(len);
            let cut = len - len % PAGE;
            let mut last = self.page(&state, cut)?;
            last[usize::try_from(len % PAGE).unwrap_or_default()..].fill(0);
            state.pages.retain(|page, _| *page < cut);
            state.pages.insert(cut, last);
        }
        state.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        for (page, within, here) in pieces(offset, data.len()) {
            let mut changed = self.page(&state, page)?;
            changed[within].copy_from_slice(&data[here]);
            state.pages.insert(page, changed);
        }
        state.len = state.len.max(offset.saturating_add(data.len() as u64));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_never_reaches_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let before: Vec<u8> = (0..10_000_u32).map(|it| it.to_le_bytes()[0]).collect();
        std::fs::write(&path, &before).unwrap();
        let overlay = Overlay::over(&path).unwrap();
        let read = |offset: u64, length: usize| {
            let mut out = vec![0; length];
            overlay.read(offset, &mut out).map(|()| out)
        };
        assert_eq!(read(4090, 20).unwrap(), before[4090..4110]);
        overlay.write(4090, &[7; 20]).unwrap();
        assert_eq!(read(4085, 30).unwrap(), [&before[4085..4090], &[7; 20], &before[4110..4115]].concat());
        assert!(read(9_999, 2).is_err());
        overlay.set_len(5_000).unwrap();
        overlay.set_len(12_000).unwrap();
        assert_eq!(read(4_999, 3).unwrap(), [before[4_999], 0, 0]);
        assert_eq!(read(11_000, 1).unwrap(), [0]);
        overlay.write(11_999, &[1, 2]).unwrap();
        assert_eq!((overlay.len().unwrap(), read(11_998, 3).unwrap()), (12_001, vec![0, 1, 2]));
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
