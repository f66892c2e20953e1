//! Near-duplicates.

use proptest::prelude::*;
use retune_data::text::minhash::{Index, PERMUTATIONS, Signature, jaccard};

/// Another text of `len` letters for each seed.
fn random_text(seed: u64, len: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letters = (0..len).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from_u32(0x4e00 + (state >> 40) as u32 % 3000).unwrap()
    });
    letters.collect()
}

/// `text` with its beginning up to `share` replaced.
fn changed(text: &str, share: f64, seed: u64) -> String {
    let chars: Vec<char> = text.chars().collect();
    let kept = (chars.len() as f64 * share) as usize;
    let other = random_text(seed, kept);
    other.chars().chain(chars[kept..].iter().copied()).collect()
}

#[test]
fn similarity_is_estimated_without_bias() {
    for share in [0.05, 0.1, 0.3, 0.6] {
        let mut bias = 0.0;
        let pairs = 200;
        for seed in 0..pairs {
            let a = random_text(seed, 200);
            let b = changed(&a, share, seed + 1000);
            let exact = jaccard(&a, &b);
            let estimate = Signature::of(&a).similarity(&Signature::of(&b));
            let error = (exact * (1.0 - exact) / PERMUTATIONS as f64).sqrt();
            // Five standard errors: once in two million pairs.
            assert!(
                (estimate - exact).abs() < 5.0 * error + 1e-9,
                "{estimate} {exact}"
            );
            bias += (estimate - exact) / error;
        }
        // The mean of the normed errors is normal with deviation 1 / sqrt(200).
        let bias = bias / (pairs as f64).sqrt();
        assert!(bias.abs() < 4.0, "share {share}: {bias} standard errors");
    }
}

#[test]
fn similarity_ignores_looks() {
    let a = "臣妾恭请皇上圣安，愿皇上龙体康健。";
    let b = "臣妾　恭请皇上圣安——愿皇上龙体康健！";
    assert_eq!(jaccard(a, b), 1.0);
    assert_eq!(Signature::of(a), Signature::of(b));
    assert_eq!(jaccard("Hello, World", "hello world"), 1.0);
}

#[test]
fn clusters_are_found() {
    let base = random_text(1, 100);
    let near = changed(&base, 0.05, 2);
    let far = changed(&base, 0.5, 3);
    let mut index = Index::new(0.8);
    for (id, text) in [
        (7, &base),
        (3, &far),
        (5, &near),
        (9, &base),
        (1, &random_text(4, 80)),
    ] {
        index.add(id, text);
    }
    let clusters = index.clusters();
    assert_eq!(clusters.len(), 1);
    assert_eq!(clusters[0].members, [5, 7, 9]);
    assert!((0.8..1.0).contains(&clusters[0].similarity));
    let matches = index.query(&Signature::of(&near));
    assert_eq!(matches.iter().map(|m| m.id).collect::<Vec<_>>(), [5, 7]);
    assert_eq!(matches[0].similarity, 1.0);
    assert!(index.query(&Signature::of(&random_text(5, 50))).is_empty());
}

#[test]
fn short_texts_must_be_equal() {
    let mut index = Index::new(0.8);
    let texts = ["是。", "是", "不是", "", "……", "！", "臣妾在", "臣妾 在!"];
    for (id, text) in texts.iter().enumerate() {
        index.add(id as u32, text);
    }
    let members: Vec<Vec<u32>> = index.clusters().into_iter().map(|c| c.members).collect();
    assert_eq!(members, [vec![0, 1], vec![6, 7]]);
    assert_eq!(index.query(&Signature::of("是！"))[0].id, 0);
    assert!(index.query(&Signature::of("？")).is_empty());
    assert_eq!(Signature::of("").similarity(&Signature::of("")), 0.0);
    assert_eq!(jaccard("是", "是!"), 1.0);
    assert_eq!(jaccard("", ""), 0.0);
}

#[test]
fn pairs_at_the_threshold_are_found() {
    // Shares for which the exact similarity lies just above the threshold.
    for (threshold, share) in [(0.5, 0.31), (0.8, 0.09), (0.9, 0.03)] {
        let (mut there, mut found) = (0, 0);
        for seed in 0..300 {
            let a = random_text(seed, 300);
            let b = changed(&a, share, seed + 5000);
            let signature = Signature::of(&b);
            // What the index promises is on the estimate.
            if Signature::of(&a).similarity(&signature) < threshold {
                continue;
            }
            let mut index = Index::new(threshold);
            index.add(0, &a);
            there += 1;
            found += index.query(&signature).len();
        }
        assert!(there > 100, "{threshold}: {there}");
        assert!(
            f64::from(found as u32) >= 0.95 * f64::from(there),
            "{threshold}: {found} of {there}"
        );
    }
}

#[test]
fn many_rows_of_one_template_do_not_take_quadratic_time() {
    let template = random_text(9, 60);
    let mut index = Index::new(0.8);
    for id in 0..20_000 {
        index.add(id, &format!("{template}{id}"));
    }
    assert_eq!(index.clusters().len(), 1);
    assert_eq!(index.clusters()[0].members.len(), 20_000);
}

proptest! {
    #[test]
    fn copies_are_always_found(texts in prop::collection::vec("[a-c一二三]{0,20}", 1..20), threshold in 0.0..1.2f64) {
        let mut index = Index::new(threshold);
        for (id, text) in texts.iter().chain(&texts).enumerate() {
            index.add(id as u32, text);
        }
        let clusters = index.clusters();
        for (id, text) in texts.iter().enumerate().filter(|(_, text)| !text.is_empty()) {
            let (one, other) = (id as u32, (id + texts.len()) as u32);
            let both = clusters.iter().any(|c| c.members.contains(&one) && c.members.contains(&other));
            prop_assert!(both, "{}", text);
        }
        let mut again = Index::new(threshold);
        for (id, text) in texts.iter().chain(&texts).enumerate() {
            again.add_signature(id as u32, &Signature::of(text));
        }
        prop_assert_eq!(again.clusters(), clusters);
    }
}

#[test]
fn a_threshold_that_is_no_number_is_taken_for_one() {
    for threshold in [f64::NAN, -1.0, 0.0, 1.0, f64::INFINITY] {
        let mut index = Index::new(threshold);
        index.add(0, "臣妾恭请皇上圣安");
        index.add(1, "臣妾恭请皇上圣安");
        assert_eq!(index.clusters().len(), 1);
    }
}
