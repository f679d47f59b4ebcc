//! The door to the checkpoints, and to what removes entries.

use flyball_core::id::Revision;
use flyball_core::ports::{Answer, Checkpoint, PortError, Shelf};

use super::chronicle::Phase;
use super::doors::Doors;
use super::process::Way;

impl Doors {
    /// The shelf behind the door.
    fn far_shelf(&self) -> &dyn Shelf {
        &*self.world.ledger
    }

    /// Something that changes what is kept.
    async fn keeps(&self, point: &'static str, change: Answer<'_, Result<(), PortError>>) -> Result<(), PortError> {
        self.process.cross(point, Phase::Before).await;
        if self.swallowed(Way::Ledger).await {
            return Err(PortError::Unavailable("cut off".into()));
        }
        self.process.travel().await;
        let answer = change.await;
        if answer.is_ok() {
            self.process.chronicle.log().mark(point);
        }
        self.process.cross(point, Phase::After).await;
        answer
    }
}

impl Shelf for Doors {
    fn first(&self) -> Answer<'_, Result<Revision, PortError>> {
        self.read_boxed(Way::Ledger, "first", self.far_shelf().first())
    }

    fn kept(&self) -> Answer<'_, Result<Revision, PortError>> {
        self.read_boxed(Way::Ledger, "kept", self.far_shelf().kept())
    }

    fn read(&self) -> Answer<'_, Result<Option<Checkpoint>, PortError>> {
        Box::pin(async move {
            let found = self.read_boxed(Way::Ledger, "read checkpoint", self.far_shelf().read()).await?;
            if found.is_some() {
                self.process.chronicle.log().mark("a checkpoint was read");
            }
            Ok(found.map(|it| self.understood(it)))
        })
    }

    fn keep(&self, checkpoint: Checkpoint) -> Answer<'_, Result<(), PortError>> {
        self.may_keep(checkpoint.revision);
        Box::pin(self.keeps("keep checkpoint", self.far_shelf().keep(self.written(checkpoint))))
    }

    fn purge(&self, before: Revision) -> Answer<'_, Result<(), PortError>> {
        self.may_purge(before);
        Box::pin(self.keeps("purge", self.far_shelf().purge(before)))
    }
}
