//! `--batch`: one project rendered once for each row of variables.
//!
//! Flags, file and result are those of HyperFrames' own renderer; `manifest.json` beside the outputs has the same.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use hyperfarm_coordinator::clock::iso8601;
use hyperfarm_proto::bounded::Text;
use hyperfarm_proto::plan::Warning;
use hyperfarm_proto::record::unix_ms;
use hyperfarm_proto::spec::RenderSpec;
use hyperfarm_worker::PageFacts;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::task::JoinSet;

use super::project::Bundle;
use super::summary::{Report, distinct, print_warnings};
use super::{default_target, project, render, spec};
use crate::args::RenderArgs;
use crate::exit::{self, CliError};
use crate::machine;
use crate::stdout::print_line;

type Variables = Map<String, Value>;

/// A row's result.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    index: usize,
    output_path: PathBuf,
    status: Status,
    duration_ms: Option<u64>,
    render_time_ms: Option<u64>,
    error: Option<String>,
    started_at: Option<String>,
    completed_at: Option<String>,
    variables: Variables,
    warnings: Vec<Warning>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Pending,
    Running,
    Completed,
    Failed,
    Skipped,
}

/// The result of a batch: what `--json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Batch {
    #[serde(rename = "type")]
    kind: &'static str,
    manifest_path: PathBuf,
    total: usize,
    completed: usize,
    failed: usize,
    skipped: usize,
    rows: Vec<Row>,
}

/// Renders the project once for each row of `file`.
pub(super) async fn run(
    args: &RenderArgs,
    file: &Path,
    whole: RenderSpec,
    facts: Option<PageFacts>,
) -> Result<(), CliError> {
    let rows = rows(file, facts.as_ref())?;
    let template = args.output.clone().unwrap_or_else(|| default_target(args, whole.format, "-{index}"));
    let targets = targets(&template, &rows)?;
    let manifest_path = common_folder(&targets).join("manifest.json");
    if targets.contains(&manifest_path) {
        return Err(CliError::usage(format!("a row's output is {}, the batch's manifest", manifest_path.display())));
    }
    let (project, warnings) = project(args, &whole, &template)?;
    print_warnings(&warnings);
    let rows = rows.into_iter().zip(targets).enumerate().map(|(index, (variables, output_path))| Row {
        index,
        output_path,
        status: Status::Pending,
        duration_ms: None,
        render_time_ms: None,
        error: None,
        started_at: None,
        completed_at: None,
        variables,
        warnings: Vec::new(),
    });
    let rows: Vec<Row> = rows.collect();
    let (kind, total) = ("batch-complete", rows.len());
    let mut batch = Batch { kind, manifest_path, total, completed: 0, failed: 0, skipped: 0, rows };
    let code = batch.render(args, &whole, &Arc::new(facts), &Arc::new(project)).await?;
    if args.json {
        print_line(&serde_json::to_string(&batch).map_err(CliError::system)?);
    } else if !args.quiet {
        eprintln!("{}: {} of {} rows rendered", batch.manifest_path.display(), batch.completed, batch.total);
    }
    match code {
        0 => Ok(()),
        code @ exit::INTERRUPTED => {
            let (manifest, completed) = (batch.manifest_path.display(), batch.completed);
            let message = format!("interrupted; {completed} of {total} rows are rendered, and {manifest} lists them");
            Err(CliError::new(code, message))
        }
        code => {
            let message = format!("{} of {} rows failed, {} were skipped", batch.failed, batch.total, batch.skipped);
            Err(CliError::new(code, message))
        }
    }
}

impl Batch {
    /// Renders the rows, and returns the greatest exit code of them.
    async fn render(
        &mut self,
        args: &RenderArgs,
        whole: &RenderSpec,
        facts: &Arc<Option<PageFacts>>,
        project: &Arc<Bundle>,
    ) -> Result<u8, CliError> {
        let at_once = args.batch_concurrency.get() as usize;
        let slots = slots_of_a_row(args);
        let (mut running, mut next, mut code) = (JoinSet::new(), 0, 0);
        self.write()?;
        loop {
            let goes_on = code != exit::INTERRUPTED && !(args.batch_fail_fast && code != 0);
            while goes_on && running.len() < at_once && next < self.rows.len() {
                let row = &mut self.rows[next];
                next += 1;
                (row.status, row.started_at) = (Status::Running, Some(iso8601(unix_ms() as u64)));
                let (index, facts, project) = (row.index, facts.clone(), project.clone());
                let args = row_args(args, whole, row, slots);
                running.spawn(async move {
                    let started = Instant::now();
                    let outcome = render_row(&args, (*facts).as_ref(), &project).await;
                    (index, started.elapsed().as_millis() as u64, outcome)
                });
            }
            let Some(ended) = running.join_next().await else { break };
            let (index, took_ms, outcome) = ended.map_err(CliError::system)?;
            let row = &mut self.rows[index];
            row.completed_at = Some(iso8601(unix_ms() as u64));
            match outcome {
                Ok(report) => row.complete(&report, took_ms),
                Err(error) => {
                    code = code.max(error.code);
                    (row.status, row.error) = (Status::Failed, Some(error.message));
                    row.warnings = distinct(&error.warnings).cloned().collect();
                }
            }
            if !args.json {
                row.print(args.quiet);
            }
            self.write()?;
        }
        for row in self.rows.iter_mut().filter(|row| row.status == Status::Pending) {
            (row.status, row.error) = (Status::Skipped, Some("Skipped after the failure of another row.".to_owned()));
        }
        self.write()?;
        Ok(code)
    }

    /// Counts the rows and writes the manifest.
    fn write(&mut self) -> Result<(), CliError> {
        let count = |status| self.rows.iter().filter(|row| row.status == status).count();
        (self.completed, self.failed, self.skipped) =
            (count(Status::Completed), count(Status::Failed), count(Status::Skipped));
        let text = serde_json::to_vec_pretty(self).map_err(CliError::system)?;
        std::fs::create_dir_all(project::folder_of(&self.manifest_path))
            .and_then(|()| std::fs::write(&self.manifest_path, text))
            .map_err(|error| CliError::usage(format!("{}: {error}", self.manifest_path.display())))
    }
}

impl Row {
    fn complete(&mut self, report: &Report, took_ms: u64) {
        self.status = Status::Completed;
        self.duration_ms = report.duration().map(|seconds| (seconds * 1000.0).round() as u64);
        self.render_time_ms = Some(took_ms);
        self.warnings = report.warnings().to_vec();
    }

    /// Prints how it ended; without its file where `is_quiet`.
    fn print(&self, is_quiet: bool) {
        print_warnings(&self.warnings);
        let (index, output) = (self.index, self.output_path.display());
        match &self.error {
            None if is_quiet => {}
            None => eprintln!("row {index}: {output}"),
            Some(error) => eprintln!("row {index} failed: {error}"),
        }
    }
}

async fn render_row(args: &RenderArgs, facts: Option<&PageFacts>, project: &Bundle) -> Result<Report, CliError> {
    let spec = spec(args, facts)?;
    let target = super::target(args, spec.format);
    render(args, spec, facts, project, &target, Vec::new()).await
}

/// The arguments of a row's render.
fn row_args(args: &RenderArgs, whole: &RenderSpec, row: &Row, slots: Option<NonZeroU32>) -> RenderArgs {
    let title = whole.title.as_ref().and_then(|title| Text::new(format!("{title} (row {})", row.index)));
    let mut args = RenderArgs { batch: None, output: Some(row.output_path.clone()), title, slots, ..args.clone() };
    args.format = Some(whole.format);
    args.project.variables = Some(Value::Object(row.variables.clone()).to_string());
    // One bar for each of several renders at once would be a flicker.
    args.quiet = true;
    args
}

/// Rows at once share the slots.
fn slots_of_a_row(args: &RenderArgs) -> Option<NonZeroU32> {
    let slots = args.slots.or(args.workers.and_then(|workers| workers.0)).unwrap_or_else(machine::default_slots);
    NonZeroU32::new((slots.get() / args.batch_concurrency.get()).max(1))
}

/// The rows of a JSON or CSV file. Where no page was read, every cell is text.
fn rows(file: &Path, facts: Option<&PageFacts>) -> Result<Vec<Variables>, CliError> {
    let refused = |reason: &dyn std::fmt::Display| CliError::usage(format!("--batch {}: {reason}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| refused(&error))?;
    let rows = match file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
        true => {
            let types = facts.map(|facts| facts.variable_types.iter().cloned().collect()).unwrap_or_default();
            csv_rows(&text, &types)
        }
        false => json_rows(&text),
    };
    let rows = rows.map_err(|reason| refused(&reason))?;
    if rows.is_empty() { Err(refused(&"there is no row in it")) } else { Ok(rows) }
}

fn json_rows(text: &str) -> Result<Vec<Variables>, String> {
    let mut value: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    let list = if value.is_array() { value } else { value["rows"].take() };
    let Value::Array(rows) = list else {
        return Err("give a JSON list of objects, or an object with a list named `rows`".to_owned());
    };
    let object = |(index, row)| match row {
        Value::Object(variables) => Ok(variables),
        _ => Err(format!("row {index} is no JSON object of variables")),
    };
    rows.into_iter().enumerate().map(object).collect()
}

fn csv_rows(text: &str, types: &HashMap<String, String>) -> Result<Vec<Variables>, String> {
    let text = text.trim_start_matches('\u{feff}');
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter(text)).trim(csv::Trim::All).from_reader(text.as_bytes());
    let names = reader.headers().map_err(|error| error.to_string())?.clone();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        // An empty cell leaves the variable at its default.
        let filled = names.iter().zip(&record).filter(|(_, cell)| !cell.is_empty());
        let row = filled.map(|(name, cell)| (name.to_owned(), typed(cell, types.get(name).map(String::as_str))));
        rows.push(row.collect());
    }
    Ok(rows)
}

/// What stands between the cells of a CSV file, by its line of names: commas, or what spreadsheets write where a comma is
/// part of a number. Names in quotes may have any of them.
fn delimiter(text: &str) -> u8 {
    let names = text.lines().next().unwrap_or_default();
    let outside: String = names.split('"').step_by(2).collect();
    match [',', ';', '\t'].into_iter().find(|candidate| outside.contains(*candidate)) {
        Some(';') => b';',
        Some('\t') => b'\t',
        _ => b',',
    }
}

/// A cell as a value of its variable's type. One that is not of the type stays text, and the render says so.
fn typed(cell: &str, kind: Option<&str>) -> Value {
    let parsed = match kind {
        Some("number" | "boolean") => serde_json::from_str(cell).ok(),
        _ => None,
    };
    parsed.unwrap_or_else(|| Value::from(cell))
}

/// The output of each row: the template with the row's number and variables in it.
fn targets(template: &Path, rows: &[Variables]) -> Result<Vec<PathBuf>, CliError> {
    let template = template.to_string_lossy();
    let mut seen = HashSet::new();
    let mut targets = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let target = PathBuf::from(
            fill(&template, index, row).map_err(|reason| CliError::usage(format!("--output: {reason}")))?,
        );
        if !seen.insert(target.clone()) {
            return Err(CliError::usage(format!(
                "--output: row {index} and another one would both be {}; put {{index}} or a variable into the name",
                target.display()
            )));
        }
        targets.push(target);
    }
    Ok(targets)
}

/// The template with `{index}` and `{NAME}` replaced. A value's slash makes no folder.
fn fill(template: &str, index: usize, row: &Variables) -> Result<String, String> {
    let (mut filled, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once('{') {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        filled.push_str(before);
        let Some((name, after)) =
            after.split_once('}').filter(|(name, _)| !name.is_empty() && name.chars().all(is_name))
        else {
            filled.push('{');
            rest = after;
            continue;
        };
        let value = match (name, row.get(name)) {
            ("index", _) => index.to_string(),
            (_, Some(Value::String(text))) => text.clone(),
            (_, Some(value @ (Value::Number(_) | Value::Bool(_)))) => value.to_string(),
            (_, Some(_)) => return Err(format!("{{{name}}} of row {index} is no text, number or boolean")),
            (_, None) => return Err(format!("row {index} has no {name} for {{{name}}}")),
        };
        filled.push_str(&value.replace('/', "-"));
        rest = after;
    }
    Ok(filled + rest)
}

/// The innermost folder that all outputs are in.
fn common_folder(targets: &[PathBuf]) -> PathBuf {
    let mut folders = targets.iter().map(|target| project::folder_of(target));
    let first = folders.next().unwrap_or(Path::new("."));
    folders.fold(first.to_owned(), |common, folder| {
        let inner = common.ancestors().find(|ancestor| folder.starts_with(ancestor));
        inner.map_or_else(|| PathBuf::from("."), Path::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(value: Value) -> Variables {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn rows_are_read_from_json_and_csv() {
        let expected = [row(json!({"title": "A, B", "count": 7})), row(json!({"title": "2024"}))];
        assert_eq!(json_rows(r#"[{"title":"A, B","count":7},{"title":"2024"}]"#).unwrap(), expected);
        assert_eq!(json_rows(r#"{"rows":[{"title":"A, B","count":7},{"title":"2024"}]}"#).unwrap(), expected);
        let types = HashMap::from([("count".to_owned(), "number".to_owned())]);
        assert_eq!(csv_rows("\u{feff}title,count\n\"A, B\",7\n2024,\n", &types).unwrap(), expected);
        for other in ["title;count\n\"A, B\";7\n2024;\n", "title\tcount\nA, B\t7\n2024\t\n"] {
            assert_eq!(csv_rows(other, &types).unwrap(), expected, "{other}");
        }
        assert_eq!(csv_rows("\"a;b\",c\n1,2\n", &types).unwrap(), [row(json!({"a;b": "1", "c": "2"}))]);
        for (bad, named) in [("{", "no JSON"), ("{}", "`rows`"), ("[1]", "row 0")] {
            assert!(json_rows(bad).unwrap_err().contains(named), "{bad}");
        }
        assert!(csv_rows("a,b\n1\n", &types).is_err(), "a row of another length");
    }

    #[test]
    fn names_of_outputs_come_from_the_rows() {
        let rows = [row(json!({"name": "a/b", "size": 2})), row(json!({"name": "c", "size": 3}))];
        let of = |template: &str| targets(Path::new(template), &rows);
        let expected = ["out/0-a-b-2.mp4", "out/1-c-3.mp4"].map(PathBuf::from);
        assert_eq!(of("out/{index}-{name}-{size}.mp4").unwrap(), expected);
        assert_eq!(common_folder(&expected), Path::new("out"));
        assert_eq!(common_folder(&of("{name}/x.mp4").unwrap()), Path::new(""));
        assert!(of("out/{other}.mp4").unwrap_err().message.contains("{other}"));
        assert!(of("out/x.mp4").unwrap_err().message.contains("{index}"));
    }
}
