//! The only memory: the fold that everything is decided on, and the two places where its entries are kept.

mod book;

pub use book::{Book, Halt};
