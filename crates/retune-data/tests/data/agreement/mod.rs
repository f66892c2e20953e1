//! Agreement of annotators: figures against other programs, properties, readers.

mod figures;
mod properties;
mod readers;

use std::path::Path;

use retune_data::Error;
use retune_data::agreement::{Annotations, Export, ExportOptions, Ratings, SpanRatings, read};
use retune_data::source::{Place, Row};
use serde_json::Value;

/// Ratings of a table items × annotators, with `null` for a missing one.
fn table(rows: &[Vec<Option<String>>], order: &[String]) -> Ratings {
    let mut ratings = Ratings::builder();
    for (item, row) in rows.iter().enumerate() {
        for (annotator, label) in row.iter().enumerate() {
            if let Some(label) = label {
                ratings.rate(&item.to_string(), &annotator.to_string(), label);
            }
        }
    }
    ratings.build(order).unwrap()
}

/// Which index an annotator has.
fn annotator(ratings: &Ratings, name: &str) -> usize {
    let place = ratings.annotators().iter().position(|other| other == name);
    place.unwrap()
}

/// Reads rows given as JSON.
fn read_rows(rows: &[Value], options: &ExportOptions) -> Result<Export, Error> {
    let rows = rows.iter().zip(1..).map(|(row, number)| {
        let place = Place {
            file: Path::new("rows").into(),
            row: number,
            line: None,
        };
        let fields = row.as_object().unwrap().clone();
        Ok(Row { place, fields })
    });
    read(rows, options)
}

fn labels(export: &Export) -> &Ratings {
    match &export.annotations {
        Annotations::Labels(ratings) => ratings,
        Annotations::Spans(_) => panic!("labels are expected"),
    }
}

fn spans(export: &Export) -> &SpanRatings {
    match &export.annotations {
        Annotations::Spans(spans) => spans,
        Annotations::Labels(_) => panic!("spans are expected"),
    }
}
