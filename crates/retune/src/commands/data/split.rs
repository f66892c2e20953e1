//! `retune data split`: a training and a validation file.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::input::ReadArgs;
