//! What a ledger is that says no more of itself than it must.

use std::sync::Arc;

use flyball_core::chain::Head;
use flyball_core::id::Revision;
use flyball_core::ports::{Answer, AppendError, Ledger, PortError, Tail, Write};

/// A ledger of that name, and nothing in it.
struct Named(&'static str);

impl Ledger for Named {
    fn append(&self, _: Write) -> Answer<'_, Result<Head, AppendError>> {
        Box::pin(std::future::pending())
    }

    fn follow(&self, _: Revision) -> Answer<'_, Result<Box<dyn Tail>, PortError>> {
        Box::pin(std::future::pending())
    }

    fn newest(&self) -> Answer<'_, Result<Revision, PortError>> {
        Box::pin(std::future::pending())
    }

    fn identity(&self) -> Arc<str> {
        self.0.into()
    }
}

#[test]
fn it_goes_on_from_itself_alone_and_keeps_no_checkpoints() {
    let ledger = Named("one");
    assert!(ledger.goes_on_from(&"one".into()));
    assert!(!ledger.goes_on_from(&"two".into()));
    assert!(ledger.shelf().is_none());
}
