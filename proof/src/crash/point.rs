//! The places at which an engine is killed. Each is a place on the wire: the product has no switch for it.

use super::action::Action;

/// What passes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The delivery of the signal.
    Delivery,
    /// A read of the target from the API server.
    Read,
    /// A read of the target after the effect is on the ledger: verification.
    VerifyingRead,
    /// The append of an entry with this name to the ledger.
    Append(&'static str),
    /// The append of an undo's admission.
    UndoAdmission,
    /// The acknowledgement of the signal.
    Acknowledgement,
    /// A piece of a checkpoint of the fold.
    Checkpoint,
    /// What says that a checkpoint is whole.
    Label,
    /// The removal of entries that nothing needs any more.
    Removal,
    /// The PATCH with the intent's stamp.
    Patch,
    /// The PATCH with the stamp of the undo.
    UndoPatch,
    /// The POST of the eviction, after the stamp.
    Eviction,
    /// The PATCH of a fence.
    Fence,
    /// The PATCH of the fence that a cancel asks for.
    CancelFence,
}

/// How far it has come when the engine dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Sent or about to arrive; it goes no further.
    Seen,
    /// Sent; it arrives after the engine's death.
    Flying,
    /// Sent; it arrives when an heir has finished the work.
    Held,
    /// Carried out by the server; the engine never hears of it.
    Done,
    /// The engine was answered, and dies at once.
    Answered,
}

/// One crash point.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Its name, for `--point`.
    pub name: &'static str,
    /// What passes.
    pub what: What,
    /// How far it comes.
    pub how: How,
    /// The point of the reference list that it stands for.
    pub stands_for: &'static str,
}

impl Point {
    /// Whether the engine that takes over from one that died with an unsettled send dies as well.
    pub fn is_second(&self) -> bool {
        matches!(self.what, What::Fence | What::Append("TakenOver"))
    }

    /// Whether the action has to fail its verification to come here.
    pub fn needs_undo(&self) -> bool {
        matches!(self.what, What::UndoAdmission | What::UndoPatch | What::Append("Undoing"))
    }

    /// Whether a person cancels the intent while its send has no answer: it has to end without an effect.
    pub fn is_cancelled(&self) -> bool {
        self.what == What::CancelFence || self.name.starts_with("cancel-")
    }

    /// Whether it lies in what keeps the ledger short: it comes at a start on a ledger with a long past.
    pub fn is_upkeep(&self) -> bool {
        matches!(self.what, What::Checkpoint | What::Label | What::Removal | What::Append("Purged"))
    }

    /// Why this point does not exist for an action.
    pub fn missing_for(&self, action: Action) -> Option<&'static str> {
        match (self.what, action) {
            (What::Eviction, other) if other != Action::DeletePod => Some("only deletePod evicts"),
            (_, Action::Restart | Action::DeletePod) if self.needs_undo() => {
                Some("it has no inverse: a failed verification escalates, so there is no undo to crash in")
            }
            (_, other) if self.is_upkeep() && other != Action::Restart => {
                Some("what keeps the ledger short knows of no action; one shows that work goes on")
            }
            _ => None,
        }
    }
}

const fn point(name: &'static str, what: What, how: How, stands_for: &'static str) -> Point {
    Point { name, what, how, stands_for }
}

/// All of them, in the order of an intent's life.
pub const POINTS: &[Point] = {
    use {How as H, What as W};
    &[
        point("delivered", W::Delivery, H::Answered, "CP0, CP1"),
        point("read", W::Read, H::Seen, "CP1"),
        point("read-done", W::Read, H::Done, "CP1"),
        point("admission-seen", W::Append("Admitted"), H::Seen, "CP2, CP5"),
        point("admission-flying", W::Append("Admitted"), H::Flying, "CP2, CP5"),
        point("admission-stored", W::Append("Admitted"), H::Done, "CP2, CP5"),
        point("admission-answered", W::Append("Admitted"), H::Answered, "CP3, CP6"),
        point("ack-seen", W::Acknowledgement, H::Seen, "CP3"),
        point("ack-passed", W::Acknowledgement, H::Flying, "CP4"),
        point("attempt-seen", W::Append("Attempted"), H::Seen, "CP7"),
        point("attempt-flying", W::Append("Attempted"), H::Flying, "CP7"),
        point("attempt-stored", W::Append("Attempted"), H::Done, "CP8"),
        point("attempt-answered", W::Append("Attempted"), H::Answered, "CP8"),
        point("patch-seen", W::Patch, H::Seen, "CP9"),
        point("patch-flying", W::Patch, H::Flying, "CP9"),
        point("patch-held", W::Patch, H::Held, "CP9"),
        point("patch-applied", W::Patch, H::Done, "CP9"),
        point("eviction-seen", W::Eviction, H::Seen, "CP9"),
        point("eviction-flying", W::Eviction, H::Flying, "CP9"),
        point("eviction-held", W::Eviction, H::Held, "CP9"),
        point("eviction-applied", W::Eviction, H::Done, "CP9"),
        point("applied-seen", W::Append("Applied"), H::Seen, "CP10"),
        point("applied-stored", W::Append("Applied"), H::Done, "CP10"),
        point("verifying", W::VerifyingRead, H::Seen, "CP11"),
        point("rolledout-seen", W::Append("RolledOut"), H::Seen, "CP11"),
        point("rolledout-stored", W::Append("RolledOut"), H::Done, "CP11"),
        point("closed-seen", W::Append("Closed"), H::Seen, "CP12"),
        point("closed-stored", W::Append("Closed"), H::Done, "CP12"),
        point("undoing-seen", W::Append("Undoing"), H::Seen, "CP13"),
        point("undoing-stored", W::Append("Undoing"), H::Done, "CP13"),
        point("undo-admission-seen", W::UndoAdmission, H::Seen, "CP13"),
        point("undo-admission-stored", W::UndoAdmission, H::Done, "CP13"),
        point("undo-patch-seen", W::UndoPatch, H::Seen, "CP13"),
        point("undo-patch-flying", W::UndoPatch, H::Flying, "CP13"),
        point("undo-patch-applied", W::UndoPatch, H::Done, "CP13"),
        point("takeover-seen", W::Append("TakenOver"), H::Seen, "CP7, second crash"),
        point("takeover-stored", W::Append("TakenOver"), H::Done, "CP7, second crash"),
        point("fence-seen", W::Fence, H::Seen, "CP7, second crash"),
        point("fence-flying", W::Fence, H::Flying, "CP7, second crash"),
        point("fence-applied", W::Fence, H::Done, "CP7, second crash"),
        point("cancel-stored", W::Append("CancelAsked"), H::Done, "a cancel"),
        point("cancel-fence-seen", W::CancelFence, H::Seen, "a cancel"),
        point("cancel-fence-flying", W::CancelFence, H::Flying, "a cancel"),
        point("cancel-fence-applied", W::CancelFence, H::Done, "a cancel"),
        point("checkpoint-stored", W::Checkpoint, H::Done, "CP14"),
        point("label-seen", W::Label, H::Seen, "CP14"),
        point("label-stored", W::Label, H::Done, "CP14"),
        point("purged-seen", W::Append("Purged"), H::Seen, "CP14"),
        point("purged-stored", W::Append("Purged"), H::Done, "CP14"),
        point("removal-seen", W::Removal, H::Seen, "CP14"),
        point("removal-flying", W::Removal, H::Flying, "CP14"),
        point("removal-done", W::Removal, H::Done, "CP14"),
    ]
};
