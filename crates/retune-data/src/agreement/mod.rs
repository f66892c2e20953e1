//! How far annotators agree: the figures, how sure they are, and what to look
//! at next.
//!
//! [`read`](read()) turns rows of an annotation tool's export into [`Ratings`]
//! or [`SpanRatings`]; [`Report::of`] computes everything there is to say. The
//! figures can be had one by one: [`cohen_kappa`], [`fleiss_kappa`],
//! [`krippendorff_alpha`], [`span_f1`].
//!
//! A figure that the data does not define, such as a kappa of two annotators
//! who share no item, is an [`Undefined`] with its reason, and never NaN.

mod alpha;
mod confusion;
mod kappa;
mod ratings;
mod read;
mod relabel;
mod report;
mod spans;

pub use crate::bootstrap::{Bootstrap, Interval};
pub use alpha::{Level, Reliability, krippendorff_alpha};
pub use confusion::Confusion;
pub use kappa::{Fleiss, Weights, cohen_kappa, fleiss_kappa};
pub use ratings::{Item, Ratings, RatingsBuilder, Vote};
pub use read::{Annotations, Export, ExportOptions, Format, read};
pub use relabel::{Candidate, Carefulness, carefulness, relabel_first};
pub use report::{AnnotatorRow, Estimate, Options, PairRow, RelabelRow, Report};
pub use spans::{Span, SpanRatings, SpanRatingsBuilder, span_f1};

/// A figure of agreement, or why there is none.
pub type Figure = std::result::Result<f64, Undefined>;

/// Why the data does not define a figure. This is something to report, not a
/// fault of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Undefined {
    /// No item has ratings by both annotators, or by any two.
    NoOverlap,
    /// Only one label was ever used, so that agreement by chance is certain.
    OneLabel,
    /// Neither annotator marked a span.
    NoSpans,
}

impl std::fmt::Display for Undefined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoOverlap => "no item was rated by both",
            Self::OneLabel => "only one label was used",
            Self::NoSpans => "nobody marked a span",
        })
    }
}

impl serde::Serialize for Undefined {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
