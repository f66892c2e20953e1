//! What is found in a folder.

use std::fs;

use retune_generate::Source;

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
    let run = folder.path().join("run");
    let adapter = run.join("checkpoint-3");
    fs::create_dir_all(&adapter).expect("a folder");
    let write = |name: &str, text: &str| fs::write(adapter.join(name), text).expect("a file");
    write(
        "adapter_config.json",
        r#"{"base_model_name_or_path": "far/away"}"#,
    );
    let said = Source::find(&adapter, None)
        .expect_err("no base")
        .to_string();
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
}
