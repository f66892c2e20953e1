//! Serving: a model and its adapters behind OpenAI's HTTP API.
//!
//! One thread, the [`Engine`], owns the model and answers all requests together,
//! token by token; requests join and leave between its steps. The routes in `api/` turn
//! HTTP into jobs of the engine and its pieces into answers or streams. A [`Server`] binds
//! the two to an address. Beside that it tells of trainings (`runs.rs`) and looks at data
//! files (`desk.rs`), which the engine knows nothing of.

#![forbid(unsafe_code)]

mod adapters;
mod api;
mod desk;
mod engine;
mod error;
mod meters;
mod models;
mod readers;
mod runs;
mod server;
mod tls;

pub use adapters::{AdapterFolder, OpenAdapter};
pub use engine::{Engine, EngineOptions};
pub use error::Error;
pub use models::{Models, Served};
pub use server::{Server, ServerOptions, bind};
pub use tls::TlsFiles;
