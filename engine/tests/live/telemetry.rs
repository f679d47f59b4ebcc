//! The trace, the rights.
