//! The device that generates is chosen, shown, and refused where the program was built without it.

use anyhow::Result;
use autodidact_tests::{Home, tiny_model};

#[test]
fn the_processor_generates_unless_another_device_is_set_that_is_built_in() -> Result<()> {
    let home = Home::new()?;
    let model = tiny_model().to_string_lossy().into_owned();
    let bench = |device: &[&str]| {
        let work = [
            "bench",
            "generate",
            "--model",
            &model,
            "--threads",
            "1",
            "--batch",
            "1",
            "--prompt",
            "8",
            "--new",
            "2",
            "--runs",
            "1",
            "--json",
        ];
        home.run(&[&work[..], device].concat())
    };
    let output = bench(&["--device", "cpu"])?;
    let text = String::from_utf8(output.stdout)?;
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap_or_default())?;
    assert_eq!(first["compute"], "fast", "{text}");
    for (arguments, code, part) in [
        (["--device", "cuda"], 1, "build-cuda.sh"),
        (["--device", "gpu"], 2, "cpu, cuda or cuda:N"),
    ] {
        let output = bench(&arguments)?;
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(part), "{part:?} is missing of: {text}");
    }
    let output = home.run(&["serve", "--device", "cuda:1"])?;
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in [
        "--device: device: expected \"cpu\"",
        "build-cuda.sh",
        "\"cuda:1\"",
    ] {
        assert!(text.contains(part), "{part:?} is missing of: {text}");
    }
    Ok(())
}
