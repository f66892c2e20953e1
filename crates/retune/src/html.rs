//! Pages that stand on their own: one file, no script, nothing fetched.

use std::path::Path;

use anyhow::Result;

const STYLE: &str = "\
:root { color-scheme: light dark; --line: #8884; --good: #15803d; --bad: #b91c1c; --warn: #b45309; --grey: #6b7280 }
@media (prefers-color-scheme: dark) { :root { --good: #4ade80; --bad: #f87171; --warn: #fbbf24; --grey: #9ca3af } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; margin: .5rem 0 } td, th { padding: .15rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
pre, code { font-family: ui-monospace, monospace; font-size: .9em; white-space: pre-wrap; overflow-wrap: anywhere }
pre { padding: .7rem; border: 1px solid var(--line); border-radius: 6px }
.learned, .good { color: var(--good) } .masked, .note { color: var(--grey) } .error { color: var(--bad) } .warning { color: var(--warn) }
";

/// Text as it stands in a page.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Writes a page with `body` to the file `path`.
pub(crate) fn write(path: &Path, title: &str, body: &str, overwrite: bool) -> Result<()> {
    let title = escape(title);
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title><style>\n{STYLE}</style></head>\n<body><h1>{title}</h1>\n{body}</body></html>\n"
    );
    crate::output::write_report(path, &page, overwrite)
}
