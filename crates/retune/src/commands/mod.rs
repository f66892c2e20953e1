//! The commands: each has its arguments and a function `run`.

pub(crate) mod env;
