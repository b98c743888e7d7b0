//! Effect chains: the content of `data-fx-chain`.

use std::collections::BTreeSet;

use hyperfarm_proto::plan::{EffectChain, Warning};
use serde_json::Value;

use super::lane::MAX_TEXT;

/// Most effects of a chain.
const MAX_EFFECTS: usize = 256;

/// Effects of the embedded HyperFrames package.
const EFFECTS: &[&str] = &[
    "gain",
    "peaking",
    "lowshelf",
    "highshelf",
    "highpass",
    "lowpass",
    "compressor",
    "limiter",
    "truepeak",
    "gate",
    "saturate",
    "bitcrush",
    "pitchshift",
    "delay",
    "chorus",
    "phaser",
    "reverb",
];

/// Reads the attribute of `owner`. Unknown effects are omitted, and an attribute that cannot be read is ignored, each
/// with a warning. `None` where no effect remains.
pub(crate) fn parse(text: &str, automation: &str, owner: &str, warnings: &mut Vec<Warning>) -> Option<EffectChain> {
    let mut warn = |code: &str, message: String| warnings.push(Warning { code: code.to_owned(), message });
    let nodes = match nodes_of(text) {
        Ok(nodes) => nodes,
        Err(reason) => {
            let message = format!("data-fx-chain of {owner} cannot be read, so it sounds without effects: {reason}");
            warn("EFFECTS_INVALID", message);
            return None;
        }
    };
    let mut kept = Vec::new();
    let mut unknown = BTreeSet::new();
    for node in nodes {
        let kind = node.get("type").and_then(Value::as_str).unwrap_or_default();
        if node.get("enabled") == Some(&Value::Bool(false)) {
            continue;
        }
        if EFFECTS.contains(&kind) {
            kept.push(node);
        } else {
            unknown.insert(format!("{kind:?}"));
        }
    }
    if !unknown.is_empty() {
        let names: Vec<String> = unknown.into_iter().collect();
        let names = names.join(", ");
        warn("EFFECT_UNKNOWN", format!("{owner} has effects that are unknown and were left out: {names}"));
    }
    if kept.is_empty() {
        return None;
    }
    let chain = serde_json::json!({ "version": 1, "nodes": kept }).to_string();
    Some(EffectChain { chain, automation: automation.to_owned() })
}

fn nodes_of(text: &str) -> Result<Vec<Value>, String> {
    if text.len() > MAX_TEXT {
        return Err(format!("it has {} bytes, and may have {MAX_TEXT}", text.len()));
    }
    let mut value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if value.get("version") != Some(&Value::from(1)) {
        return Err("its version is not 1".to_owned());
    }
    match value.get_mut("nodes").map(Value::take) {
        Some(Value::Array(nodes)) if nodes.len() > MAX_EFFECTS => {
            Err(format!("it has {} effects, and may have {MAX_EFFECTS}", nodes.len()))
        }
        Some(Value::Array(nodes)) => Ok(nodes),
        _ => Err("it has no list of nodes".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_effects_are_named_and_left_out() {
        let mut warnings = Vec::new();
        let text = r#"{"version":1,"nodes":[{"type":"lowpass","params":{}},{"type":"warp"},{"type":"delay","enabled":false}]}"#;
        let chain = parse(text, "", "audio \"a\"", &mut warnings).unwrap();
        assert!(chain.chain.contains("lowpass") && !chain.chain.contains("warp") && !chain.chain.contains("delay"));
        assert_eq!(warnings.len(), 1);
        assert_eq!(warnings[0].code, "EFFECT_UNKNOWN");
        assert!(warnings[0].message.contains("warp") && warnings[0].message.contains("\"a\""));
    }

    #[test]
    fn chains_and_their_warnings_are_bounded() {
        let chain = |count: usize| format!(r#"{{"version":1,"nodes":[{}]}}"#, vec![r#"{"type":"x"}"#; count].join(","));
        let mut warnings = Vec::new();
        for (text, code) in [
            (chain(MAX_EFFECTS), "EFFECT_UNKNOWN"),
            (chain(MAX_EFFECTS + 1), "EFFECTS_INVALID"),
            (" ".repeat(MAX_TEXT + 1), "EFFECTS_INVALID"),
        ] {
            assert!(parse(&text, "", "a", &mut warnings).is_none());
            assert_eq!(warnings.drain(..).map(|warning| warning.code).collect::<Vec<_>>(), [code]);
        }
    }

    #[test]
    fn a_chain_without_effects_is_none() {
        let mut warnings = Vec::new();
        assert!(parse(r#"{"version":1,"nodes":[]}"#, "", "a", &mut warnings).is_none());
        assert!(warnings.is_empty());
        assert!(parse("{", "", "a", &mut warnings).is_none());
        assert_eq!(warnings[0].code, "EFFECTS_INVALID");
    }
}
