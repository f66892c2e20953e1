//! What is found in a folder.

use std::fs;
use std::path::Path;

use retune_generate::{Error, Source};

use crate::answers::model;

#[test]
fn models_adapters_and_runs_are_found_with_what_they_were_trained_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = model(folder.path());
    let found = Source::find(&base, None).expect("a model");
    assert_eq!(
        (&found.model, &found.adapter, &found.system),
        (&base, &None, &None)
    );
    assert_eq!(found.trained_from, None);
    fs::write(base.join("retune.json"), r#"{"base_model": "first"}"#).expect("a file");
    let whole = Source::find(&base, None).expect("a model");
    assert_eq!(whole.trained_from.as_deref(), Some(Path::new("first")));
    let run = folder.path().join("run");
    let adapter = run.join("checkpoint-3");
    fs::create_dir_all(&adapter).expect("a folder");
    let write = |name: &str, text: &str| fs::write(adapter.join(name), text).expect("a file");
    write(
        "adapter_config.json",
        r#"{"base_model_name_or_path": "far/away"}"#,
    );
    let error = Source::find(&adapter, None).expect_err("no base");
    assert!(
        matches!(&error, Error::NoBase { path, base } if *path == adapter && base == Path::new("far/away")),
        "{error:?}"
    );
    let said = error.to_string();
    assert!(
        said.contains("is an adapter of the model \"far/away\", which is no folder here"),
        "{said}"
    );
    let found = Source::find(&adapter, Some(&base)).expect("an adapter");
    assert_eq!(
        (&found.model, found.adapter.as_ref()),
        (&base, Some(&adapter))
    );
    let about = serde_json::json!({"base_model": base, "system": "Be brief.", "chat_template": "{{ messages }}"});
    write("retune.json", &about.to_string());
    let said = Source::find(&run, None)
        .expect_err("no pointer")
        .to_string();
    assert!(
        said.contains("no run with checkpoints; it holds checkpoint-3"),
        "{said}"
    );
    fs::write(run.join("last"), "checkpoint-3").expect("a file");
    let found = Source::find(&run, None).expect("a run");
    assert_eq!(found.adapter.as_ref(), Some(&adapter));
    let by_pointer = Source::find(&run.join("last"), None).expect("a run");
    assert_eq!(by_pointer, found);
    assert_eq!(found.system.as_deref(), Some("Be brief."));
    assert_eq!(found.chat_template.as_deref(), Some("{{ messages }}"));
    let said = Source::find(&base, Some(&base))
        .expect_err("no adapter")
        .to_string();
    assert!(
        said.contains("is a whole model, which needs no base"),
        "{said}"
    );
    let said = Source::find(&folder.path().join("none"), None)
        .expect_err("nothing")
        .to_string();
    assert!(said.contains("is not there"), "{said}");
    let said = Source::find(&run.join("checkpoint-4"), None)
        .expect_err("no such checkpoint")
        .to_string();
    assert!(said.ends_with("hint: the run holds checkpoint-3"), "{said}");
}
