//! What a ledger and a receipt are that say no more of themselves than they must.

use std::sync::Arc;

use flyball_core::chain::Head;
use flyball_core::id::Revision;
use flyball_core::ports::{Answer, AppendError, Ledger, PortError, Receipted, Tail, Write};

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

/// A receipt that tells with which durability it was acknowledged.
struct Slip(std::sync::mpsc::Sender<bool>);

impl Receipted for Slip {
    fn acknowledge(self: Box<Self>, durable: bool) -> Answer<'static, ()> {
        self.0.send(durable).unwrap();
        Box::pin(std::future::ready(()))
    }

    fn refuse(self: Box<Self>, _: &str, _: &str) -> Answer<'static, Result<(), PortError>> {
        Box::pin(std::future::pending())
    }
}

#[test]
fn what_cannot_settle_at_once_is_to_be_waited_for() {
    let (slip, told) = std::sync::mpsc::channel();
    assert!(Box::new(Slip(slip)).settle().is_some());
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [false], "without a wait for the bus");
}
