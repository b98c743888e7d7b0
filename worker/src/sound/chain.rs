//! Effect chains: the content of `data-fx-chain`.

use hyperfarm_proto::plan::{EffectChain, Warning};
use serde_json::Value;

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
    for node in nodes {
        let kind = node.get("type").and_then(Value::as_str).unwrap_or_default();
        if node.get("enabled") == Some(&Value::Bool(false)) {
            continue;
        }
        if EFFECTS.contains(&kind) {
            kept.push(node);
        } else {
            warn("EFFECT_UNKNOWN", format!("{owner} has an effect {kind:?} that is unknown and was left out"));
        }
    }
    if kept.is_empty() {
        return None;
    }
    let chain = serde_json::json!({ "version": 1, "nodes": kept }).to_string();
    Some(EffectChain { chain, automation: automation.to_owned() })
}

fn nodes_of(text: &str) -> Result<Vec<Value>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if value.get("version") != Some(&Value::from(1)) {
        return Err("its version is not 1".to_owned());
    }
    match value.get("nodes") {
        Some(Value::Array(nodes)) => Ok(nodes.clone()),
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
        assert!(warnings[0].message.contains("warp") && warnings[0].message.contains("\"a\""));
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
