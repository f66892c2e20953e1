//! The operations at their public edge: against PyTorch's numbers, against the
//! plain reference, against finite differences, across threads, and with
//! arguments that do not fit.

mod cases;
mod compressed;
mod determinism;
mod devices;
mod errors;
mod extremes;
mod finite_differences;
mod goldens;
mod gpu;
mod masks;
mod memory;
mod products;
mod profile;
mod reference;
mod tolerance;
