//! The page in a real browser: Chromium, driven by chromedriver. Where these are not
//! installed, the tests say that they are skipped.

use std::future::Future;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use thirtyfour::error::WebDriverResult;
use thirtyfour::extensions::query::ElementQueryable as _;
use thirtyfour::{
    By, ChromiumLikeCapabilities as _, DesiredCapabilities, Key, WebDriver, WebElement,
};

use super::adapters::trained;
use super::server::Server;
use crate::program::{Folder, lines, row};

/// A driver of browsers, which ends with the test.
struct Driver {
    child: Child,
    url: String,
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It closes the browser of a test that failed before it ends.
        if let Ok(mut stream) = TcpStream::connect(self.url.trim_start_matches("http://")) {
            let _ = stream.write_all(b"GET /shutdown HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(10) {
                if let Ok(Some(_)) = self.child.try_wait() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Driver {
    fn start() -> Option<Self> {
        let mut command = Command::new("chromedriver");
        let child = command.arg("--port=0").stdout(Stdio::piped()).spawn();
        let Ok(mut child) = child else {
            // Not by println, which is shown of failed tests alone.
            let said = writeln!(std::io::stderr(), "skipped: chromedriver is not installed");
            said.expect("standard error");
            return None;
        };
        let out = BufReader::new(child.stdout.take().expect("its output"));
        let port = out.lines().map_while(Result::ok).find_map(|line| {
            let port = line.split("started successfully on port ").nth(1)?;
            Some(port.trim_end_matches('.').to_owned())
        });
        let port = port.expect("chromedriver says where it listens");
        Some(Self {
            url: format!("http://127.0.0.1:{port}"),
            child,
        })
    }
}

/// Does `test` on the page of `server`, in a browser that speaks English; returned is
/// whether there is one.
fn in_browser<F>(server: &Server, test: impl FnOnce(WebDriver) -> F) -> bool
where
    F: Future<Output = WebDriverResult<()>>,
{
    let Some(driver) = Driver::start() else {
        return false;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let mut wants = DesiredCapabilities::chrome();
        for argument in [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--lang=en-US",
            "--window-size=1280,900",
        ] {
            wants.add_arg(argument).expect("an argument");
        }
        let browser = WebDriver::new(&driver.url, wants).await.expect("a browser");
        browser.goto(&server.url).await.expect("the page");
        let outcome = test(browser.clone()).await;
        let _ = browser.quit().await;
        outcome.expect("the page does as asked");
    });
    true
}

/// The element with a test id, as soon as it is there and can be seen.
async fn find(browser: &WebDriver, id: &str) -> WebDriverResult<WebElement> {
    let query = browser
        .query(By::Testid(id))
        .wait(Duration::from_secs(30), Duration::from_millis(50));
    query.and_displayed().first().await
}

/// Waits until `holds` says so of what a script returns.
async fn until(
    browser: &WebDriver,
    script: &str,
    holds: impl Fn(&Value) -> bool,
) -> WebDriverResult<Value> {
    let mut found = Value::Null;
    for _ in 0..600 {
        found = browser.execute(script, Vec::new()).await?.json().clone();
        if holds(&found) {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{script}: {found}");
}

async fn ask(browser: &WebDriver, question: &str) -> WebDriverResult<()> {
    let input = find(browser, "input").await?;
    input.send_keys(question).await?;
    input.send_keys(Key::Enter + "").await
}

const LAST_ANSWER: &str =
    "return [...document.querySelectorAll('[data-testid=answer]')].at(-1)?.innerText ?? ''";
const IS_IDLE: &str = "return document.querySelector('[data-testid=stop]').hidden";

#[test]
fn a_question_is_answered_by_the_model_that_is_chosen() {
    let options = ["--adapter", "one=adapters/one"];
    let server = Server::start_in(trained(), &options);
    in_browser(&server, |browser| async move {
        ask(&browser, "你好1").await?;
        let is_there = |text: &Value| text.as_str().is_some_and(|text| text.len() > 1);
        until(&browser, LAST_ANSWER, is_there).await?;
        until(&browser, IS_IDLE, |idle| *idle == true).await?;
        let choice = find(&browser, "model").await?;
        choice
            .query(By::Css("option[value=one]"))
            .first()
            .await?
            .click()
            .await?;
        ask(&browser, "你好2").await?;
        let speaks = |text: &Value| {
            text.as_str()
                .is_some_and(|text| text.contains("臣妾记下了。"))
        };
        until(&browser, LAST_ANSWER, speaks).await?;
        // What was said is there again behind a reload.
        browser.refresh().await?;
        until(&browser, LAST_ANSWER, speaks).await?;
        Ok(())
    });
}

#[test]
fn an_answer_that_is_stopped_ends_and_frees_its_place() {
    let folder = Folder::new();
    folder.stdout(&["builtin", "model"]);
    // A model that does not know how to end.
    for name in [
        "model/generation_config.json",
        "model/tokenizer_config.json",
    ] {
        let text = folder.read(name);
        let mut config: Value = serde_json::from_str(&text).expect("JSON");
        config["eos_token_id"] = Value::Null;
        config["eos_token"] = json!("<|endoftext|>");
        folder.write(name, &config.to_string());
    }
    let server = Server::start_with(folder, "model", &[]);
    let stopped = in_browser(&server, |browser| async move {
        let browser = &browser;
        if let Ok(toggle) = find(browser, "settings-toggle").await {
            toggle.click().await?;
        }
        let most = find(browser, "max_tokens").await?;
        most.send_keys(Key::Control + "a").await?;
        most.send_keys("1000").await?;
        ask(browser, "讲个故事").await?;
        let is_long = |text: &Value| text.as_str().is_some_and(|text| text.chars().count() > 20);
        until(browser, LAST_ANSWER, is_long).await?;
        find(browser, "stop").await?.click().await?;
        until(browser, IS_IDLE, |idle| *idle == true).await?;
        Ok(())
    });
    server.wait_for(0);
    let ended = (server.ended("left"), server.ended("length"));
    assert!(!stopped || ended == (1, 0), "{ended:?}");
}

#[test]
fn a_run_is_followed_while_it_grows() {
    let folder = Folder::new();
    let path = folder.path("output/zhenhuan");
    std::fs::create_dir_all(&path).expect("a folder");
    let step = |step: u64| {
        let loss = 5.0 - step as f64 / 100.0;
        json!({"type": "train", "step": step, "epoch": 0.1, "loss": loss, "learning_rate": 1e-4,
            "grad_norm": 1.0, "tokens": step * 100, "tokens_per_s": 1000.0, "seconds": step})
    };
    let start = json!({"type": "start", "step": 0, "max_steps": 100, "num_train_epochs": 1.0,
        "train_samples": 10, "eval_samples": 0, "trainable_parameters": 1, "time": 1.0});
    let file = path.join("metrics.jsonl");
    let add = |events: &[Value]| {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .create(true)
            .append(true)
            .open(&file)
            .expect("a file");
        file.write_all(lines(events).as_bytes()).expect("lines");
    };
    add(&[start, step(10), step(20)]);
    let server = Server::start_in(folder, &[]);
    in_browser(&server, |browser| async move {
        find(&browser, "nav-training").await?.click().await?;
        find(&browser, "run-open").await?.click().await?;
        let points =
            "return document.querySelector('[data-testid=plot-loss] .curve')?.outerHTML ?? ''";
        let drawn = |curve: &Value| curve.as_str().is_some_and(|curve| curve.contains(" d=\"M"));
        let before = until(&browser, points, drawn).await?;
        add(&[step(30), step(40), step(50)]);
        until(&browser, points, |after| drawn(after) && *after != before).await?;
        let progress = find(&browser, "progress-bar").await?;
        assert_eq!(progress.attr("value").await?.as_deref(), Some("50"));
        Ok(())
    });
}

#[test]
fn a_data_file_is_looked_at() {
    let folder = Folder::new();
    let rows = [row("你是谁?", "我是甄嬛。"), row("天气如何?", "")];
    folder.write("train.jsonl", &lines(&rows));
    let file = folder.path("train.jsonl");
    let server = Server::start_in(folder, &[]);
    in_browser(&server, |browser| async move {
        find(&browser, "nav-data").await?.click().await?;
        let input = browser.query(By::Testid("data-file")).first().await?;
        input.send_keys(file.to_str().expect("a path")).await?;
        let findings = "return document.querySelector('[data-rule=empty-answer]')?.innerText ?? ''";
        until(&browser, findings, |text| {
            text.as_str().is_some_and(|text| !text.is_empty())
        })
        .await?;
        let learned = "return [...document.querySelectorAll('[data-testid=tokens] .token.learned')].map(token => token.innerText).join('')";
        let number = find(&browser, "row-number").await?;
        number.send_keys(Key::Control + "a").await?;
        number.send_keys("1" + Key::Enter).await?;
        until(&browser, learned, |text| {
            text.as_str().is_some_and(|text| text.contains("甄"))
        })
        .await?;
        Ok(())
    });
}
