//! What is told from a text alone.

mod damage;
mod language;
mod markers;
mod minhash;
mod ngrams;
mod normal;
mod personal;
mod properties;
