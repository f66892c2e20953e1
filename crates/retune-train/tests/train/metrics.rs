//! `metrics.jsonl`.

use std::fs;
use std::path::Path;

use retune_train::events::{
    EvalRecord, FinishReason, FinishRecord, MetricRecord, MetricsWriter, SampleRecord, StartRecord,
    TrainRecord, read_metrics,
};

fn train(step: u64, loss: f64) -> MetricRecord {
    MetricRecord::Train(TrainRecord {
        step,
        epoch: step as f64 / 8.0,
        loss,
        learning_rate: 1e-4,
        grad_norm: 0.1 + 0.2,
        tokens: 1000 * step,
        tokens_per_s: 512.25,
        seconds: 3.5,
    })
}

fn eval(eval_loss: f64) -> MetricRecord {
    MetricRecord::Eval(EvalRecord {
        step: 2,
        epoch: 0.25,
        eval_loss,
        eval_perplexity: eval_loss.exp(),
        eval_token_accuracy: 0.5,
        eval_samples: 40,
        eval_tokens: 900,
        seconds: 1.0,
    })
}

fn sample(answer: &str) -> MetricRecord {
    MetricRecord::Sample(SampleRecord {
        step: 2,
        prompt: "你是谁?".to_owned(),
        answer: answer.to_owned(),
    })
}

fn run() -> Vec<MetricRecord> {
    vec![
        MetricRecord::Start(StartRecord {
            step: 0,
            max_steps: 3,
            num_train_epochs: 3.0,
            train_samples: 8,
            eval_samples: 40,
            trainable_parameters: 1024,
            time: 1.7e9,
        }),
        train(1, 2.5),
        train(2, 1.0 / 3.0),
        eval(0.0),
        sample("two\nlines\u{2028}and \"quotes\" \u{0}"),
        MetricRecord::Finish(FinishRecord {
            step: 3,
            epoch: 0.375,
            reason: FinishReason::EarlyStopping,
            tokens: 3000,
            seconds: 9.0,
            time: 1.7e9 + 9.0,
        }),
    ]
}

fn write(path: &Path, records: &[MetricRecord]) {
    let mut writer = MetricsWriter::create(path).expect("a file");
    for record in records {
        writer.write(record).expect("a line");
    }
    let end = writer.sync().expect("synced");
    assert_eq!(end, fs::metadata(path).expect("the file").len());
}

#[test]
fn a_run_line_by_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("output/metrics.jsonl");
    write(&path, &run());
    let expected = concat!(
        r#"{"type":"start","step":0,"max_steps":3,"num_train_epochs":3.0,"train_samples":8,"eval_samples":40,"trainable_parameters":1024,"time":1700000000.0}"#,
        "\n",
        r#"{"type":"train","step":1,"epoch":0.125,"loss":2.5,"learning_rate":0.0001,"grad_norm":0.30000000000000004,"tokens":1000,"tokens_per_s":512.25,"seconds":3.5}"#,
        "\n",
        r#"{"type":"train","step":2,"epoch":0.25,"loss":0.3333333333333333,"learning_rate":0.0001,"grad_norm":0.30000000000000004,"tokens":2000,"tokens_per_s":512.25,"seconds":3.5}"#,
        "\n",
        r#"{"type":"eval","step":2,"epoch":0.25,"eval_loss":0.0,"eval_perplexity":1.0,"eval_token_accuracy":0.5,"eval_samples":40,"eval_tokens":900,"seconds":1.0}"#,
        "\n",
        r#"{"type":"sample","step":2,"prompt":"你是谁?","answer":"two\nlines"#,
        "\u{2028}",
        r#"and \"quotes\" \u0000"}"#,
        "\n",
        r#"{"type":"finish","step":3,"epoch":0.375,"reason":"early_stopping","tokens":3000,"seconds":9.0,"time":1700000009.0}"#,
        "\n",
    );
    assert_eq!(fs::read_to_string(&path).expect("the file"), expected);
    assert_eq!(read_metrics(&path).expect("records"), run());
}

#[test]
fn figures_that_are_not_finite_are_valid_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("metrics.jsonl");
    write(
        &path,
        &[
            train(1, f64::NAN),
            train(2, f64::NEG_INFINITY),
            eval(1000.0),
        ],
    );
    let text = fs::read_to_string(&path).expect("the file");
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let figure = if value["type"] == "eval" {
            "eval_perplexity"
        } else {
            "loss"
        };
        assert!(
            value[figure].is_null() && value.get(figure).is_some(),
            "{line}"
        );
    }
    let read = read_metrics(&path).expect("records");
    let [
        MetricRecord::Train(one),
        MetricRecord::Train(two),
        MetricRecord::Eval(three),
    ] = &read[..]
    else {
        panic!("{read:?}")
    };
    assert!(one.loss.is_nan() && two.loss.is_nan() && three.eval_perplexity.is_nan());
    assert_eq!(
        (one.step, two.grad_norm, three.eval_loss),
        (1, 0.1 + 0.2, 1000.0)
    );
}

#[test]
fn wherever_a_run_is_killed_its_whole_lines_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("metrics.jsonl");
    write(&path, &run());
    let bytes = fs::read(&path).expect("the file");
    for cut in 0..=bytes.len() {
        fs::write(&path, &bytes[..cut]).expect("written");
        // A last line is whole once its closing brace is there.
        let whole = (0..cut)
            .filter(|at| bytes.get(at + 1) == Some(&b'\n'))
            .count();
        let read = read_metrics(&path).expect("records");
        assert_eq!(read, run()[..whole], "cut at byte {cut}");
    }
    // A power cut may leave a file with its length and without its content.
    let mut zeros = bytes.clone();
    zeros.extend([0; 100]);
    fs::write(&path, zeros).expect("written");
    assert_eq!(read_metrics(&path).expect("records"), run());
}

#[test]
fn a_line_that_was_changed_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("metrics.jsonl");
    write(&path, &run());
    let good = fs::read_to_string(&path).expect("the file");
    for (what, by, said) in [
        (
            "\"loss\":2.5",
            "\"loss\":2.5.1",
            "line 2 is not a record of a run: expected",
        ),
        (
            "\"step\":1,",
            "",
            "line 2 is not a record of a run: missing field `step`",
        ),
        (
            "\"finish\"",
            "\"end\"",
            "line 6 is not a record of a run: unknown variant `end`",
        ),
    ] {
        fs::write(&path, good.replacen(what, by, 1)).expect("written");
        let error = read_metrics(&path).expect_err("a fault").to_string();
        assert!(error.contains(said), "{error}");
        assert!(
            error.contains("metrics.jsonl ") && !error.contains("at line"),
            "{error}"
        );
    }
}

#[test]
fn a_resumed_file_is_the_uninterrupted_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("metrics.jsonl");
    write(&path, &run());
    let expected = fs::read(&path).expect("the file");
    for (done, _) in run().iter().enumerate() {
        fs::remove_file(&path).expect("removed");
        let mut first = MetricsWriter::create(&path).expect("a file");
        for record in &run()[..done] {
            first.write(record).expect("a line");
        }
        let position = first.sync().expect("synced");
        first.write(&train(99, 99.0)).expect("a line");
        drop(first);
        let mut torn = fs::read(&path).expect("the file");
        torn.truncate(torn.len() - 3);
        fs::write(&path, torn).expect("torn");

        let mut second = MetricsWriter::resume(&path, position).expect("resumed");
        assert_eq!(second.position(), position);
        for record in &run()[done..] {
            second.write(record).expect("a line");
        }
        second.flush().expect("flushed");
        assert!(
            fs::read(&path).expect("the file") == expected,
            "after {done} lines"
        );
    }
}

#[test]
fn only_the_ends_of_lines_can_be_gone_back_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("metrics.jsonl");
    write(&path, &run());
    let bytes = fs::read(&path).expect("the file");
    for position in 0..=bytes.len() + 1 {
        fs::write(&path, &bytes).expect("written");
        let resumed = MetricsWriter::resume(&path, position as u64);
        let ends = position == 0 || bytes.get(position - 1) == Some(&b'\n');
        assert_eq!(resumed.is_ok(), ends, "byte {position}");
        if let Err(error) = resumed {
            assert!(error.to_string().contains("hint: "), "{error}");
            assert!(
                fs::read(&path).expect("the file") == bytes,
                "it was left as it is"
            );
        }
    }
}

#[test]
fn the_file_of_another_run_is_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("metrics.jsonl");
    write(&path, &run());
    let error = MetricsWriter::create(&path)
        .expect_err("it is there")
        .to_string();
    assert!(
        error.contains("is there already") && error.contains("hint: "),
        "{error}"
    );
    assert_eq!(read_metrics(&path).expect("records"), run());
}
