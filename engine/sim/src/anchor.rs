//! The high-water mark, in memory.

use std::sync::Mutex;

use flyball_core::mark::Mark;
use flyball_core::ports::{Anchor, Answer, PortError};

use crate::wake::lock;

/// Keeps the mark for as long as it lives.
#[derive(Default)]
pub struct MemoryAnchor(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    mark: Option<Mark>,
    out_of_reach: bool,
}

impl MemoryAnchor {
    /// Nobody gets through to it while it is `out_of_reach`.
    pub fn set_out_of_reach(&self, out_of_reach: bool) {
        lock(&self.0).out_of_reach = out_of_reach;
    }

    /// The mark as it is.
    pub fn mark(&self) -> Option<Mark> {
        lock(&self.0).mark.clone()
    }

    /// Somebody puts another mark there.
    pub fn put(&self, mark: Option<Mark>) {
        lock(&self.0).mark = mark;
    }

    fn reach<T>(&self, look: impl FnOnce(&mut Kept) -> T) -> Result<T, PortError> {
        let mut kept = lock(&self.0);
        if kept.out_of_reach {
            return Err(PortError::Unavailable("the mark cannot be reached".into()));
        }
        Ok(look(&mut kept))
    }
}

impl Anchor for MemoryAnchor {
    fn read(&self) -> Answer<'_, Result<Option<Mark>, PortError>> {
        Box::pin(async { self.reach(|kept| kept.mark.clone()) })
    }

    fn write(&self, before: Option<Mark>, mark: Mark) -> Answer<'_, Result<bool, PortError>> {
        Box::pin(async move {
            self.reach(|kept| {
                let same = kept.mark == before;
                if same {
                    kept.mark = Some(mark);
                }
                same
            })
        })
    }
}
