//! Sampling alone, without a model.

use std::collections::BTreeMap;

use super::*;

fn history<'a>(all: &'a [u32], prompt: usize, stop_ids: &'a [u32]) -> History<'a> {
    History {
        all,
        prompt,
        stop_ids,
    }
}

fn sampled() -> Sampling {
    Sampling {
        do_sample: true,
        top_k: 0,
        ..Sampling::default()
    }
}

fn tokens(sampling: &Sampling, logits: &[f32]) -> Vec<u32> {
    let kept = sampling.candidates(logits);
    kept.into_iter().map(|(token, _)| token).collect()
}

/// Of softmax, 0.5, 0.25, 0.15, 0.1 in some order.
fn logits() -> Vec<f32> {
    [0.15_f32, 0.5, 0.1, 0.25].map(f32::ln).to_vec()
}

#[test]
fn what_is_drawn_from_is_cut_as_in_hugging_face() {
    let base = sampled();
    assert_eq!(tokens(&base, &logits()), [0, 1, 2, 3]);
    assert_eq!(
        tokens(
            &Sampling {
                top_k: 2,
                ..base.clone()
            },
            &logits()
        ),
        [1, 3]
    );
    // Equal to the last one of k, a token stays.
    assert_eq!(
        tokens(
            &Sampling {
                top_k: 1,
                ..base.clone()
            },
            &[1.0, 0.0, 1.0]
        ),
        [0, 2]
    );
    assert_eq!(
        tokens(
            &Sampling {
                top_p: 0.6,
                ..base.clone()
            },
            &logits()
        ),
        [1, 3]
    );
    assert_eq!(
        tokens(
            &Sampling {
                top_p: 0.01,
                ..base.clone()
            },
            &logits()
        ),
        [1]
    );
    assert_eq!(
        tokens(
            &Sampling {
                min_p: 0.4,
                ..base.clone()
            },
            &logits()
        ),
        [1, 3]
    );
    // After temperature: 0.5² and 0.25² are 0.735 and 0.184 of all.
    assert_eq!(
        tokens(
            &Sampling {
                temperature: 0.5,
                top_p: 0.7,
                ..base
            },
            &logits()
        ),
        [1]
    );
}

#[test]
fn draws_have_the_frequencies_of_the_softmax_and_depend_on_the_seed() {
    let mut counts = [0_u32; 4];
    for seed in 0..4000 {
        let sampling = Sampling { seed, ..sampled() };
        let token = sampling.choose(&mut logits(), history(&[], 0, &[]));
        counts[token.expect("a token") as usize] += 1;
    }
    for (count, share) in counts.iter().zip([0.15, 0.5, 0.1, 0.25]) {
        let found = f64::from(*count) / 4000.0;
        assert!((found - share).abs() < 0.03, "{counts:?}");
    }
    let again = Sampling {
        seed: 7,
        ..sampled()
    };
    let choose = || again.choose(&mut logits(), history(&[], 0, &[]));
    assert_eq!(choose(), choose());
}

#[test]
fn penalties_bans_and_biases_change_logits() {
    let changed = |sampling: Sampling, all: &[u32], prompt: usize| {
        let mut logits = vec![2.0, -2.0, 1.0, 0.0];
        sampling.process(&mut logits, history(all, prompt, &[3]));
        logits
    };
    let base = Sampling::default();
    assert_eq!(changed(base.clone(), &[0, 1], 1), [2.0, -2.0, 1.0, 0.0]);
    let repetition = Sampling {
        repetition_penalty: 2.0,
        ..base.clone()
    };
    assert_eq!(changed(repetition, &[0, 0, 1], 1), [1.0, -4.0, 1.0, 0.0]);
    let counted = Sampling {
        frequency_penalty: 0.5,
        presence_penalty: 0.25,
        ..base.clone()
    };
    // The prompt does not count.
    assert_eq!(changed(counted, &[1, 0, 0], 1), [0.75, -2.0, 1.0, 0.0]);
    let ngram = Sampling {
        no_repeat_ngram_size: 2,
        ..base.clone()
    };
    assert_eq!(
        changed(ngram, &[1, 2, 1], 1),
        [2.0, -2.0, f32::NEG_INFINITY, 0.0]
    );
    let unending = Sampling {
        min_new_tokens: 3,
        ..base.clone()
    };
    assert_eq!(
        changed(unending.clone(), &[1, 2, 1], 1)[3],
        f32::NEG_INFINITY
    );
    assert_eq!(changed(unending, &[1, 2, 1], 0)[3], 0.0);
    let bias = Sampling {
        logit_bias: BTreeMap::from([(3, 5.0), (9, 1.0)]),
        ..base
    };
    assert_eq!(changed(bias, &[], 0)[3], 5.0);
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let base = Sampling::default();
    base.check(10).expect("the defaults");
    for (wrong, name) in [
        (
            Sampling {
                temperature: -1.0,
                ..base.clone()
            },
            "temperature",
        ),
        (
            Sampling {
                top_p: 0.0,
                ..base.clone()
            },
            "top_p",
        ),
        (
            Sampling {
                min_p: f64::NAN,
                ..base.clone()
            },
            "min_p",
        ),
        (
            Sampling {
                repetition_penalty: 0.0,
                ..base.clone()
            },
            "repetition_penalty",
        ),
        (
            Sampling {
                max_new_tokens: 0,
                ..base.clone()
            },
            "max_new_tokens",
        ),
        (
            Sampling {
                stop: vec![String::new()],
                ..base.clone()
            },
            "stop",
        ),
    ] {
        let said = wrong.check(10).expect_err(name).to_string();
        assert!(said.starts_with(name), "{said}");
    }
}

#[test]
fn settings_are_changed_by_their_names() {
    let base = Sampling::default();
    let with = |name: &str, text: &str| {
        base.with(&Sampling::named_text(name, text))
            .map_err(|error| error.to_string())
    };
    let changed = with("temperature", "0.5").expect("a number");
    assert_eq!((changed.temperature, changed.do_sample), (0.5, true));
    assert_eq!(with("top_k", "7").expect("a number").top_k, 7);
    assert_eq!(with("stop", "完").expect("a text").stop, ["完"]);
    assert!(!with("seed", "3").expect("a number").do_sample);
    assert_eq!(with("logprobs", "2").expect("a number").logprobs, Some(2));
    assert_eq!(
        with("logit_bias", "{\"3\": -1.5}")
            .expect("a number")
            .logit_bias,
        BTreeMap::from([(3, -1.5)])
    );
    for (name, text, said) in [
        (
            "temperature",
            "warm",
            "temperature: expected a number, found \"warm\"",
        ),
        (
            "temperature",
            "-1",
            "temperature: expected a number of at least 0, found -1",
        ),
        (
            "top_k",
            "1.5",
            "top_k: expected a whole number of at least 0, found 1.5",
        ),
        (
            "do_sample",
            "1",
            "do_sample: expected true or false, found 1",
        ),
    ] {
        assert_eq!(with(name, text).expect_err(text), said);
    }
    assert!(
        with("heat", "1")
            .expect_err("no such")
            .contains("temperature")
    );
}
