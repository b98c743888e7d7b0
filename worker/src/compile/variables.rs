//! Variables: an object, declared, of the declared type.

use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::plan::Warning;
use hyperfarm_proto::spec::RenderSpec;
use serde::Deserialize;
use serde_json::Value;

/// One entry of `data-composition-variables`.
#[derive(Debug, Deserialize)]
struct Declared {
    id: String,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    options: Vec<Value>,
}

/// The variables of the request as the text of one JSON object, checked against what the composition declares.
pub(super) fn check(spec: &RenderSpec, declared: Option<&str>, warnings: &mut Vec<Warning>) -> Result<String, Failure> {
    let Some(text) = spec.variables.as_deref() else { return Ok("{}".to_owned()) };
    let given: Value =
        serde_json::from_str(text).map_err(|error| invalid(format!("the variables are no JSON: {error}")))?;
    let Value::Object(given) = given else {
        return Err(invalid(format!(
            "the variables must be one JSON object such as {{\"title\":\"Hello\"}}, not {given}"
        )));
    };
    let declared: Vec<Declared> = match declared.map(serde_json::from_str) {
        None => Vec::new(),
        Some(Ok(declared)) => declared,
        Some(Err(error)) => {
            warnings.push(Warning {
                code: "VARIABLES_DECLARATION_INVALID".to_owned(),
                message: format!("data-composition-variables is no list of variables: {error}"),
            });
            Vec::new()
        }
    };
    for (name, value) in &given {
        let problem = match declared.iter().find(|variable| &variable.id == name) {
            None => Some(("VARIABLE_UNDECLARED", format!("the composition declares no variable `{name}`"))),
            Some(variable) => mistyped(variable, value).map(|expected| {
                ("VARIABLE_MISTYPED", format!("variable `{name}` should be {expected}, and {value} was given"))
            }),
        };
        match problem {
            Some((_, message)) if spec.strict_variables => return Err(invalid(message)),
            Some((code, message)) => warnings.push(Warning { code: code.to_owned(), message }),
            None => {}
        }
    }
    Ok(Value::Object(given).to_string())
}

/// What the value should have been, if it is not.
fn mistyped(variable: &Declared, value: &Value) -> Option<String> {
    let fits = match variable.kind.as_str() {
        "string" | "color" => value.is_string(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "enum" => {
            let allowed = |option: &Value| option == value || option.get("value") == Some(value);
            if !variable.options.is_empty() && !variable.options.iter().any(allowed) {
                return Some(format!("one of {}", Value::Array(variable.options.clone())));
            }
            true
        }
        _ => true,
    };
    (!fits).then(|| format!("a {}", variable.kind))
}

fn invalid(message: String) -> Failure {
    Failure::new(FailureCode::VariablesInvalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECLARED: &str = r#"[{"id":"title","type":"string"},{"id":"n","type":"number"},
        {"id":"mood","type":"enum","options":["calm",{"value":"loud","label":"Loud"}]}]"#;

    fn run(variables: &str, strict: bool) -> Result<(String, Vec<Warning>), Failure> {
        let spec =
            RenderSpec { variables: Some(variables.to_owned()), strict_variables: strict, ..RenderSpec::default() };
        let mut warnings = Vec::new();
        check(&spec, Some(DECLARED), &mut warnings).map(|text| (text, warnings))
    }

    #[test]
    fn what_fits_passes_in_silence() {
        let (text, warnings) = run(r#"{"title":"x","n":1.5,"mood":"loud"}"#, true).unwrap();
        assert_eq!(text, r#"{"mood":"loud","n":1.5,"title":"x"}"#);
        assert!(warnings.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_a_warning_or_strictly_an_error() {
        for (variables, named) in
            [(r#"{"other":1}"#, "other"), (r#"{"n":"1"}"#, "a number"), (r#"{"mood":"sad"}"#, "calm")]
        {
            assert!(run(variables, false).unwrap().1[0].message.contains(named));
            assert!(run(variables, true).unwrap_err().message.contains(named));
        }
        assert!(run("{broken", false).unwrap_err().message.contains("no JSON"));
        assert!(run("[1]", false).unwrap_err().message.contains("one JSON object"));
    }
}
