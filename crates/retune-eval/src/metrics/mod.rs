//! Figures over texts, as the field counts them.
//!
//! [`tokenize`] and [`words`] cut texts into tokens. [`bleu`], [`chrf`] and
//! [`rouge`] compare an answer with its references, [`labels`] compare classes.
//! [`diversity`] and [`repetition`] look at answers alone. [`statistics`] says
//! how figures of rows become one of a corpus, and [`bootstrap`] how sure that
//! one is.
//!
//! Each figure is that of the tool that the field cites for it; where a module
//! names one, its tests hold the figures against it.

pub mod bleu;
pub use retune_data::bootstrap;
pub mod chrf;
pub mod diversity;
pub mod labels;
mod lcs;
mod ngrams;
pub mod porter;
pub mod repetition;
pub mod rouge;
pub mod statistics;
mod suffixes;
pub mod tokenize;
mod whitespace;
pub mod words;
