#![no_main]

use libfuzzer_sys::fuzz_target;
use retune_data::source::Format;

fuzz_target!(|bytes: &[u8]| retune_fuzz::read(bytes, &[Format::Csv, Format::Tsv]));
