//! Exports as the tools write them, and what is not one.

use proptest::prelude::*;
use retune_data::Error;
use retune_data::agreement::{
    ExportOptions, Format, Level, Options, Report, Weights, cohen_kappa, span_f1,
};
use serde_json::{Map, Value, json};

use super::{labels, read_rows, spans};

fn asked(label: &str) -> ExportOptions {
    ExportOptions {
        label: Some(label.to_owned()),
        ..ExportOptions::default()
    }
}

/// A task of Label Studio with annotations of its two usual kinds.
fn task(id: u64, annotations: &[(Value, Value)]) -> Value {
    let annotations = annotations.iter().zip(1000..).map(|((by, result), annotation)| {
        json!({
            "id": annotation, "completed_by": by, "result": result, "was_cancelled": false,
            "ground_truth": false, "created_at": "2024-03-09T22:16:08.728353Z", "lead_time": 4.288,
            "result_count": 1, "task": id,
        })
    });
    json!({
        "id": id, "data": {"text": format!("Anna met Ben in Rome. {id}")}, "project": 83,
        "annotations": annotations.collect::<Vec<_>>(), "predictions": [], "total_annotations": 2,
    })
}

fn choice(label: &str) -> Value {
    json!({"id": "Dx_aB91ISN", "from_name": "sentiment", "to_name": "text", "type": "choices",
           "origin": "manual", "value": {"choices": [label]}})
}

fn entity(start: u32, end: u32, label: &str) -> Value {
    json!({"id": "t5sp3TyXPo", "from_name": "label", "to_name": "text", "type": "labels",
           "value": {"start": start, "end": end, "text": "…", "labels": [label]}})
}

#[test]
fn label_studio_with_choices() {
    let skipped = json!({"completed_by": 3, "result": [], "was_cancelled": true});
    let mut rows = vec![
        task(
            1,
            &[
                (json!(1), json!([choice("pos")])),
                (json!(2), json!([choice("pos")])),
            ],
        ),
        task(
            2,
            &[
                (json!(1), json!([choice("neg")])),
                (
                    json!({"id": 2, "email": "b@example.org"}),
                    json!([choice("pos")]),
                ),
            ],
        ),
        task(3, &[]),
    ];
    rows[2]["annotations"] = json!([skipped]);
    let export = read_rows(&rows, &ExportOptions::default()).unwrap();
    assert_eq!(
        (export.format, export.question.as_deref()),
        (Format::LabelStudio, Some("sentiment"))
    );
    let ratings = labels(&export);
    assert_eq!(ratings.annotators(), ["1", "2", "b@example.org"]);
    assert_eq!(ratings.labels(), ["neg", "pos"]);
    assert_eq!(ratings.items()[0].text, "Anna met Ben in Rome. 1");
    assert_eq!((ratings.len(), ratings.items().len()), (4, 2));
    assert_eq!(export.left_out["annotations that were skipped"], 1);
}

#[test]
fn label_studio_with_spans_counts_texts_without_any() {
    let rows = [
        task(
            1,
            &[
                (json!(1), json!([entity(0, 4, "PER"), entity(9, 12, "PER")])),
                (
                    json!(2),
                    json!([entity(0, 4, "PER"), entity(16, 20, "LOC")]),
                ),
            ],
        ),
        task(
            2,
            &[
                (json!(1), json!([entity(0, 4, "PER")])),
                (json!(2), json!([])),
            ],
        ),
        task(3, &[(json!(1), json!([])), (json!(2), json!([]))]),
    ];
    let export = read_rows(&rows, &ExportOptions::default()).unwrap();
    let spans = spans(&export);
    assert_eq!((spans.items().len(), spans.spans()), (3, 5));
    // One of five spans is shared by both: 2·1/5.
    assert_eq!(span_f1(spans, 0, 1), Ok(0.4));
    let characters = spans.characters().unwrap();
    assert_eq!(characters.labels(), ["O", "LOC", "PER"]);
    let report = Report::of(&export.annotations, &Options::default()).unwrap();
    assert_eq!(report.pairs[0].shared_items, 3);
    assert_eq!(report.span_f1.unwrap().value, Some(0.4));
    // 23 characters in each text, of which 3 + 4 + 4 differ.
    assert!((report.pairs[0].agreement.unwrap() - (69.0 - 11.0) / 69.0).abs() < 1e-12);
    let options = Options {
        level: Level::Ordinal,
        ..Options::default()
    };
    let error = Report::of(&export.annotations, &options).unwrap_err();
    assert!(matches!(error, Error::LabelScale { .. }), "{error}");
}

#[test]
fn of_several_questions_one_has_to_be_named() {
    let rows = [task(
        1,
        &[
            (json!(1), json!([choice("pos"), entity(0, 4, "PER")])),
            (json!(2), json!([choice("neg"), entity(0, 4, "PER")])),
        ],
    )];
    let error = read_rows(&rows, &ExportOptions::default()).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("2 questions") && message.contains("--label: label, sentiment"),
        "{message}"
    );
    assert_eq!(
        labels(&read_rows(&rows, &asked("sentiment")).unwrap()).labels(),
        ["neg", "pos"]
    );
    assert_eq!(
        spans(&read_rows(&rows, &asked("label")).unwrap()).spans(),
        2
    );
    let message = read_rows(&rows, &asked("topic")).unwrap_err().to_string();
    assert!(
        message.contains("\"topic\"") && message.contains("sentiment"),
        "{message}"
    );
}

#[test]
fn label_studio_json_min() {
    let row = |id: u64, annotator: u64, sentiment: Value| {
        json!({"text": "To have faith", "source": "blog", "id": id, "sentiment": sentiment, "annotator": annotator,
               "annotation_id": id * 10 + annotator, "created_at": "2024-03-09T22:16:08Z",
               "updated_at": "2024-03-09T22:16:08Z", "lead_time": 4.2})
    };
    let rows = [
        row(1, 1, json!("Positive")),
        row(1, 2, json!("Positive")),
        row(2, 1, json!({"choices": ["Positive", "Neutral"]})),
        row(2, 2, json!({"choices": ["Neutral", "Positive"]})),
    ];
    let export = read_rows(&rows, &ExportOptions::default()).unwrap();
    assert_eq!(
        (export.format, export.question.as_deref()),
        (Format::LabelStudio, Some("sentiment"))
    );
    let ratings = labels(&export);
    assert_eq!(ratings.labels(), ["Neutral + Positive", "Positive"]);
    assert_eq!(cohen_kappa(ratings, 0, 1, Weights::None), Ok(1.0));
    let named = json!([{"start": 0, "end": 2, "text": "To", "labels": ["X"]}]);
    let export = read_rows(
        &[row(1, 1, named.clone()), row(1, 2, named)],
        &ExportOptions::default(),
    )
    .unwrap();
    assert_eq!(span_f1(spans(&export), 0, 1), Ok(1.0));
}

#[test]
fn prodigy_choice_and_binary() {
    let row = |hash: i64, who: &str, accept: Value, answer: &str| {
        json!({"text": "Facebook is down", "options": [{"id": "tech", "text": "Tech"}, {"id": "news", "text": "News"}],
               "_input_hash": hash, "_task_hash": hash + 1, "_is_binary": false, "_view_id": "choice",
               "config": {"choice_style": "multiple"}, "accept": accept, "answer": answer,
               "_timestamp": 1_707_211_049, "_annotator_id": format!("news-{who}"), "_session_id": format!("news-{who}")})
    };
    let rows = [
        row(-5, "ann", json!(["tech"]), "accept"),
        row(-5, "bob", json!(["tech"]), "accept"),
        row(6, "ann", json!(["news", "tech"]), "accept"),
        row(6, "bob", json!(["tech", "news"]), "accept"),
        row(7, "ann", json!([]), "accept"),
        row(7, "bob", json!([]), "reject"),
        row(8, "bob", json!([]), "ignore"),
        row(6, "bob", json!(["news"]), "accept"),
    ];
    let export = read_rows(&rows, &ExportOptions::default()).unwrap();
    assert_eq!(
        (export.format, export.question.as_deref()),
        (Format::Prodigy, Some("choice"))
    );
    let ratings = labels(&export);
    assert_eq!(ratings.annotators(), ["news-ann", "news-bob"]);
    assert_eq!(ratings.labels(), ["(none)", "news", "news + tech", "tech"]);
    assert_eq!((ratings.items().len(), ratings.len()), (3, 5));
    assert_eq!(
        export.left_out.values().sum::<u64>(),
        3,
        "{:?}",
        export.left_out
    );

    let row = |hash: i64, who: &str, label: &str, answer: &str| {
        json!({"text": "Facebook is down", "label": label, "_input_hash": 1, "_task_hash": hash,
               "_view_id": "classification", "answer": answer, "_session_id": who})
    };
    let rows = [
        row(1, "a", "TECH", "accept"),
        row(1, "b", "TECH", "reject"),
        row(2, "a", "NEWS", "reject"),
        row(2, "b", "NEWS", "reject"),
    ];
    let export = read_rows(&rows, &ExportOptions::default()).unwrap();
    assert_eq!(labels(&export).items().len(), 2);
    assert_eq!(labels(&export).labels(), ["accept", "reject"]);
}

#[test]
fn prodigy_spans() {
    let row = |hash: i64, who: &str, spans: Value| {
        json!({"text": "My name is Freya.", "_input_hash": hash, "_task_hash": hash, "_view_id": "ner_manual",
               "tokens": [{"text": "My", "start": 0, "end": 2, "id": 0, "ws": true}], "spans": spans,
               "answer": "accept", "_annotator_id": who})
    };
    let freya =
        json!([{"start": 11, "end": 16, "token_start": 3, "token_end": 3, "label": "PERSON"}]);
    let mut silent = row(2, "b", json!([]));
    silent.as_object_mut().unwrap().remove("spans");
    let rows = [
        row(1, "a", freya.clone()),
        row(1, "b", freya.clone()),
        row(2, "a", freya),
        silent,
    ];
    let export = read_rows(&rows, &ExportOptions::default()).unwrap();
    assert_eq!(export.question.as_deref(), Some("spans"));
    assert_eq!(span_f1(spans(&export), 0, 1), Ok(2.0 / 3.0));
}

#[test]
fn mturk_results() {
    let row = |hit: &str, worker: &str, status: &str, more: Value| {
        let mut row = json!({"HITId": hit, "HITTypeId": "3T", "Title": "Sentiment", "AssignmentId": "37",
            "WorkerId": worker, "AssignmentStatus": status, "WorkTimeInSeconds": "41",
            "Input.id": "9", "Input.text": "great film"});
        row.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        row
    };
    let answer =
        |label: &str| json!({"Answer.sentiment.label": label, "Approve": "", "Reject": ""});
    let rows = [
        row("H1", "A1", "Approved", answer("Positive")),
        row("H1", "A2", "Submitted", answer("Negative")),
        row("H1", "A3", "Rejected", answer("Negative")),
        row("H2", "A1", "Approved", answer("")),
    ];
    for options in [
        ExportOptions::default(),
        asked("sentiment.label"),
        asked("Answer.sentiment.label"),
    ] {
        let export = read_rows(&rows, &options).unwrap();
        assert_eq!(export.format, Format::Mturk);
        let ratings = labels(&export);
        assert_eq!((ratings.annotators().len(), ratings.len()), (2, 2));
        assert_eq!(ratings.items()[0].text, "great film");
        assert_eq!(export.left_out.values().sum::<u64>(), 2);
    }
    // Radio buttons come as a column for each.
    let radio = |yes: &str, no: &str| json!({"Answer.good.yes": yes, "Answer.good.no": no});
    let rows = [
        row("H1", "A1", "Approved", radio("true", "false")),
        row("H1", "A2", "Approved", radio("FALSE", "TRUE")),
    ];
    let export = read_rows(&rows, &ExportOptions::default()).unwrap();
    assert_eq!(labels(&export).labels(), ["no", "yes"]);
    // The widget for entities writes JSON.
    let entities = |end: u32| {
        json!({"Answer.annotatedResult.entities":
        format!("[{{\"endOffset\":{end},\"label\":\"film\",\"startOffset\":6}}]")})
    };
    let rows = [
        row("H1", "A1", "Approved", entities(10)),
        row("H1", "A2", "Approved", entities(9)),
    ];
    let export = read_rows(&rows, &ExportOptions::default()).unwrap();
    assert_eq!(span_f1(spans(&export), 0, 1), Ok(0.0));
}

#[test]
fn plain_columns_long_and_wide() {
    let long: Vec<Value> = [
        ("1", "ann", "3"),
        ("1", "bob", "3.0"),
        ("2", "ann", "10"),
        ("2", "bob", ""),
    ]
    .iter()
    .map(|(item, who, label)| json!({"Item_ID": item, "rater": who, "rating": label, "text": "t"}))
    .collect();
    let export = read_rows(&long, &ExportOptions::default()).unwrap();
    assert_eq!(export.format, Format::Columns);
    assert_eq!(
        (labels(&export).labels(), labels(&export).len()),
        (["3".to_owned(), "10".to_owned()].as_slice(), 3)
    );
    assert_eq!(labels(&export).items()[0].text, "t");

    let wide = [
        json!({"id": 1, "annotator_1": "a", "annotator_2": "b"}),
        json!({"id": 2, "annotator_1": "a", "annotator_2": null}),
    ];
    let export = read_rows(&wide, &ExportOptions::default()).unwrap();
    assert_eq!(labels(&export).annotators(), ["annotator_1", "annotator_2"]);
    assert_eq!(labels(&export).len(), 3);

    let wide = [
        json!({"x": "low", "y": "high"}),
        json!({"x": "mid", "y": "low"}),
    ];
    let mut options = ExportOptions {
        annotators: vec!["x".into(), "y".into()],
        order: vec!["low".into(), "mid".into(), "high".into()],
        ..ExportOptions::default()
    };
    let export = read_rows(&wide, &options).unwrap();
    assert_eq!(labels(&export).labels(), options.order);
    assert_eq!(labels(&export).items()[1].id, "row 2");
    options.order.pop();
    let error = read_rows(&wide, &options).unwrap_err();
    assert!(
        error.to_string().contains("lacks the label \"high\""),
        "{error}"
    );
    options.order = ["low", "mid", "high", "low"].map(Into::into).to_vec();
    let error = read_rows(&wide, &options).unwrap_err();
    assert!(error.to_string().contains("\"low\" twice"), "{error}");
    options.annotators.push("z".into());
    let error = read_rows(&wide, &options).unwrap_err();
    assert!(error.to_string().contains("column \"z\""), "{error}");
}

#[test]
fn rows_and_files_that_are_not_what_they_seem_are_named() {
    let message = |rows: &[Value], format: Option<Format>| {
        let options = ExportOptions {
            format,
            ..ExportOptions::default()
        };
        read_rows(rows, &options).unwrap_err().to_string()
    };
    let unclear = message(&[json!({"instruction": "a", "output": "b"})], None);
    assert!(
        unclear.contains("instruction, output") && unclear.contains("--annotators"),
        "{unclear}"
    );
    let no_label = message(&[json!({"id": 1, "annotator": "a"})], None);
    assert!(no_label.contains("no column of labels"), "{no_label}");
    assert!(message(&[], None).contains("there is no row"));
    let rows = [
        json!({"id": 1, "annotator": "a", "label": "x"}),
        json!({"id": 1, "label": "x"}),
    ];
    assert_eq!(message(&rows, None), "rows, row 2: has no `annotator`");
    let rows = [json!({"id": 1, "annotator": "a", "label": {"x": [1, 2]}})];
    assert_eq!(
        message(&rows, None),
        "rows, row 1: an object with x is no label"
    );
    let not_a_task = message(&rows, Some(Format::LabelStudio));
    assert!(not_a_task.contains("neither `annotations`"), "{not_a_task}");
    let nobody = message(&[json!({"_input_hash": 1, "answer": "accept"})], None);
    assert!(nobody.contains("neither `_annotator_id`"), "{nobody}");
    let span = |start: Value, end: Value| {
        let rows = [
            json!({"id": 1, "annotator": "a", "spans": [{"start": start, "end": end, "label": "x"}]}),
        ];
        message(&rows, None)
    };
    for (start, end) in [
        (json!(5), json!(4)),
        (json!(0), json!(u64::MAX)),
        (json!(-1), json!(4)),
        (json!(0.5), json!(4)),
        (json!("a"), json!(4)),
        (json!(null), json!(null)),
        (json!(0), json!(1e300)),
    ] {
        assert!(span(start, end).contains("rows, row 1: a span"));
    }
}

/// Names and values that exports use, in any combination.
fn rows() -> impl Strategy<Value = Vec<Map<String, Value>>> {
    let name = prop::sample::select(vec![
        "id",
        "annotations",
        "completions",
        "data",
        "annotator",
        "annotation_id",
        "_input_hash",
        "_session_id",
        "answer",
        "accept",
        "spans",
        "_view_id",
        "HITId",
        "WorkerId",
        "Answer.a.b",
        "Answer.c",
        "label",
        "result",
        "from_name",
        "type",
        "value",
        "choices",
        "labels",
        "start",
        "end",
        "text",
        "completed_by",
        "annotator_1",
        "annotator_2",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..9u32).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,3}".prop_map(Value::from),
        prop::sample::select(vec![
            "accept",
            "choices",
            "labels",
            "ner_manual",
            "true",
            "[]",
            "[{\"start\":1,\"end\":2}]"
        ])
        .prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(4, 24, 4, move |inner| {
        let named = prop::collection::vec((name.clone(), inner.clone()), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            named.prop_map(|fields| fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()),
        ]
    });
    let object = value.prop_filter_map("an object", |value| value.as_object().cloned());
    prop::collection::vec(object, 0..6)
}

proptest! {
    #[test]
    fn whatever_is_read_gives_a_report_or_an_error(rows in rows(), format in 0..5usize) {
        let formats = [None, Some(Format::LabelStudio), Some(Format::Prodigy), Some(Format::Mturk), Some(Format::Columns)];
        let rows: Vec<Value> = rows.into_iter().map(Value::Object).collect();
        let options = ExportOptions { format: formats[format], ..ExportOptions::default() };
        if let Ok(export) = read_rows(&rows, &options)
            && let Ok(report) = Report::of(&export.annotations, &Options::default())
        {
            prop_assert!(!serde_json::to_string(&report).unwrap().contains("NaN"));
        }
    }
}

#[test]
fn many_annotators_spans_and_labels_are_bounded() {
    let rows: Vec<Value> = (0..400)
        .map(|who| json!({"id": who % 2, "annotator": who, "label": format!("free text {who}")}))
        .collect();
    let export = read_rows(&rows, &ExportOptions::default()).unwrap();
    let report = Report::of(&export.annotations, &Options::default()).unwrap();
    assert_eq!(
        (report.annotators.len(), report.annotators_not_paired),
        (400, 352)
    );
    assert_eq!(
        (
            report.confusion.labels.len(),
            report.confusion.labels_left_out
        ),
        (64, 336)
    );
    // Every span overlaps every other, each with a label of its own.
    let nested: Vec<Value> = (0..3000)
        .map(|at| json!({"start": at, "end": 9000 - at, "label": at.to_string()}))
        .collect();
    let rows = ["a", "b"].map(|who| json!({"id": 1, "annotator": who, "spans": nested}));
    let export = read_rows(&rows, &ExportOptions::default()).unwrap();
    let report = Report::of(&export.annotations, &Options::default()).unwrap();
    assert_eq!(report.krippendorff_alpha.value, Some(1.0));
    // Many annotators of many spans.
    let rows: Vec<Value> = (0..16_000u32)
        .map(|who| json!({"id": 1, "annotator": who, "spans": [{"start": who, "end": who + 1, "label": "x"}]}))
        .collect();
    let export = read_rows(&rows, &ExportOptions::default()).unwrap();
    let error = Report::of(&export.annotations, &Options::default()).unwrap_err();
    assert!(matches!(error, Error::TooMuch { .. }), "{error}");
}
