//! What is heard.

use std::path::Path;

use hyperfarm_proto::keys;
use hyperfarm_proto::spec::RenderSpec;
use hyperfarm_proto::task::Step;

use crate::farm::{Farm, ranges, zip_folder};

/// A WAV file of samples between −1 and 1 at 48 kHz.
fn wav(samples: &[f64]) -> Vec<u8> {
    hyperfarm_testing::wav(48_000, samples.iter().map(|level| (level * 32767.0).round() as i16))
}

#[tokio::test(flavor = "multi_thread")]
async fn effects_groups_and_scripts_are_heard() {
    let folder = tempfile::tempdir().unwrap();
    let tone: Vec<f64> =
        (0..48_000).map(|at| (f64::from(at) / 48_000.0 * 4000.0 * std::f64::consts::TAU).sin() * 0.3).collect();
    let mut click = vec![0.0; 4800];
    click[..24].fill(0.6);
    std::fs::write(folder.path().join("tone.wav"), wav(&tone)).unwrap();
    std::fs::write(folder.path().join("click.wav"), wav(&click)).unwrap();
    let gsap = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/node_modules/gsap/dist/gsap.min.js");
    std::fs::copy(gsap, folder.path().join("gsap.min.js")).unwrap();
    let chain = |nodes: &str| format!(r#"data-fx-chain='{{"version":1,"nodes":[{nodes}]}}'"#);
    let low = chain(r#"{"type":"lowpass","params":{"frequency":400}},{"type":"warp"}"#);
    let echo = chain(r#"{"type":"delay","params":{"time":250,"mix":0.5,"feedback":0.01}}"#);
    let louder = chain(r#"{"type":"peaking","params":{"frequency":4000,"gain":6,"q":1}}"#);
    let html = format!(
        "<!doctype html><body><div data-composition-id=\"main\" data-start=\"0\" data-duration=\"4\" data-width=\"320\" \
         data-height=\"180\">x\
         <hf-audio-group id=\"g\" data-volume=\"0.25\" {louder}></hf-audio-group>\
         <audio id=\"low\" src=\"tone.wav\" data-start=\"0\" data-duration=\"1\" {low}></audio>\
         <audio id=\"echo\" src=\"click.wav\" data-start=\"1\" data-duration=\"0.1\" {echo}></audio>\
         <audio id=\"moved\" src=\"tone.wav\" data-start=\"2\" data-duration=\"1\"></audio>\
         <audio id=\"member\" src=\"tone.wav\" data-start=\"3\" data-duration=\"1\" data-audio-group=\"g\"></audio>\
         </div><script src=\"gsap.min.js\"></script><script>const tl = gsap.timeline({{ paused: true }}); tl.set('#moved', {{ volume: 0.1 }}, 2.5); \
         tl.to({{}}, {{ duration: 4 }}, 0); window.__timelines = {{ main: tl }};</script></body>"
    );
    std::fs::write(folder.path().join("index.html"), html).unwrap();
    let farm = Farm::start(1).await;
    let render = farm.submit("sound", zip_folder(folder.path()), RenderSpec::default()).await;
    let draft = farm.draft(&render).await;
    let unknown: Vec<_> = draft.warnings.iter().filter(|warning| warning.code == "EFFECT_UNKNOWN").collect();
    assert!(unknown.len() == 1 && unknown[0].message.contains("warp"), "{:?}", draft.warnings);
    let plan = farm.shard(draft, ranges(&[0, 120])).await;
    let task = farm.run(&render, Step::Audio).await;
    assert!(task.failures.is_empty(), "{:?}", task.failures);
    let key = keys::audio(&render, plan.content.encoder.audio_codec);
    let file = folder.path().join("mix.m4a");
    std::fs::write(&file, farm.backplane.objects.get(&key).await.unwrap()).unwrap();
    let heard = hyperfarm_media::decode_audio(&file).unwrap();
    assert_eq!(heard.len(), 4 * 48_000);
    let level = |from: f64, to: f64| {
        let part = &heard[(from * 48_000.0) as usize..(to * 48_000.0) as usize];
        (part.iter().map(|sample| f64::from(sample[0]).powi(2)).sum::<f64>() / part.len() as f64).sqrt()
    };
    let decibels = |level: f64| 20.0 * (level / (0.3 / 2.0_f64.sqrt())).log10();
    // Two poles at a tenth of the frequency take 40 dB away.
    assert!((decibels(level(0.2, 0.8)) + 40.0).abs() < 2.0, "{}", decibels(level(0.2, 0.8)));
    // The echo comes after the element's end.
    for place in [48_000_usize, 60_000] {
        let from = place - 2400;
        let at = from + heard[from..].iter().position(|sample| sample[0] > 0.15).unwrap();
        assert!(at.abs_diff(place) <= 48, "{at}");
    }
    assert!(decibels(level(2.1, 2.4)).abs() < 0.5, "{}", decibels(level(2.1, 2.4)));
    assert!((decibels(level(2.6, 2.9)) + 20.0).abs() < 0.5, "{}", decibels(level(2.6, 2.9)));
    // A quarter, and 6 dB more by the group's equaliser.
    assert!((decibels(level(3.2, 3.8)) + 6.04).abs() < 0.5, "{}", decibels(level(3.2, 3.8)));
    farm.stop().await;
}
