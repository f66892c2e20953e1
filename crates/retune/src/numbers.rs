//! Numbers on the command line, refused in the words of all other errors.

use std::any::TypeId;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;

/// A parser of whole numbers of a range.
pub(crate) fn within<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| {
                let (least, most) = (range.start(), range.end());
                format!("expected a whole number from {least} to {most}")
            })
    }
}

/// A parser of numbers that are finite.
pub(crate) fn finite(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    number
        .filter(|number: &f64| number.is_finite())
        .ok_or_else(|| "expected a number".to_owned())
}

/// Takes what begins with a hyphen for the value of an option that wants a number, which
/// may be refused as such, and not for another option.
pub(crate) fn with_negative_ones(command: clap::Command) -> clap::Command {
    let numbers = [
        TypeId::of::<f64>(),
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
        TypeId::of::<NonZeroU32>(),
    ];
    command
        .mut_args(|arg| {
            let kind = arg.get_value_parser().type_id();
            let is_number = numbers.iter().any(|number| kind == *number);
            match is_number && arg.get_action().takes_values() {
                true => arg.allow_hyphen_values(true),
                false => arg,
            }
        })
        .mut_subcommands(with_negative_ones)
}
