//! Names of tensors, chosen by pattern.

/// Whether `pattern` stands in the tensor's name `name`, part by part: `embed_tokens`,
/// `layers.0`, `model.layers.*.mlp`, `lora_B`. `*` stands for any characters
/// within a part.
pub fn name_matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('.').collect();
    let name: Vec<&str> = name.split('.').collect();
    name.windows(pattern.len()).any(|window| {
        let mut pairs = pattern.iter().zip(window);
        pairs.all(|(pattern, part)| part_matches(pattern, part))
    })
}

fn part_matches(pattern: &str, part: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == part;
    };
    let Some(part) = part.strip_prefix(head) else {
        return false;
    };
    let ends = part.char_indices().map(|(at, _)| at).chain([part.len()]);
    let mut ends = ends.map(|at| &part[at..]);
    ends.any(|behind| part_matches(rest, behind))
}

#[cfg(test)]
mod tests {
    use super::name_matches;

    #[test]
    fn patterns_match_whole_parts() {
        let name = "model.layers.10.mlp.up_proj.weight";
        for pattern in [
            "mlp",
            "up_proj",
            "layers.10",
            "layers.*.mlp",
            "*_proj",
            "model.layers.1*",
            name,
        ] {
            assert!(name_matches(pattern, name), "{pattern}");
        }
        for pattern in [
            "layers.1",
            "proj",
            "up_proj.mlp",
            "",
            "mlp.weight",
            "*_projs",
        ] {
            assert!(!name_matches(pattern, name), "{pattern}");
        }
    }
}
