//! What holds of any file and any sample.

mod encoding;
mod packing;
mod preparing;
mod reading;

use std::path::Path;
use std::sync::Arc;

use retune_data::{Encoder, LabelOptions, OverLong, Tokenizer};

/// An encoder whose tokens are bytes, and the two marks of ChatML.
fn encoder(max_length: usize, over_long: OverLong) -> Encoder {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/bytes");
    Encoder {
        tokenizer: Arc::new(Tokenizer::open(&folder).unwrap()),
        labels: LabelOptions::default(),
        max_length,
        over_long,
    }
}
