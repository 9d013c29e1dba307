//! The session in `docs/debugger.md` is what the debugger answers.

use std::path::Path;

use qnnsim_assembler::assemble;
use qnnsim_inspect::{Debugger, Recordings};
use qnnsim_simulator::Start;
use qnnsim_tests::programs;

#[test]
fn the_session_in_the_documents_is_true() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let document = folder.join("docs/debugger.md");
    let text = std::fs::read_to_string(&document).expect("docs/debugger.md");
    let path = programs().join("hello.qnn");
    // The mistake that the document looks for.
    let (right, wrong) =
        (".word 0xffffff, 0x00ff00, 0xffffff", ".word 0xffffff, 0x0000ff, 0xffffff");
    assert!(text.contains(right) && text.contains(wrong), "the document says what was spoilt");
    let source = std::fs::read_to_string(path).expect("text");
    assert!(source.contains(right));
    let program = assemble("hello", &source.replacen(right, wrong, 1))
        .unwrap_or_else(|e| panic!("{}", e.render(false)));
    let recordings = Recordings::new(&program).expect("no proof fails");
    let input = program.sample.clone().expect("a sample");
    let mut debugger = Debugger::new(&recordings, &input, Start::Cold);

    let mut said = String::new();
    let mut answered = String::new();
    let mut again = String::new();
    let mut inside = false;
    for line in text.lines() {
        match line {
            "```text" => inside = true,
            "```" => {
                inside = false;
                again += "```\n";
                continue;
            }
            _ => {}
        }
        if !inside {
            again += &format!("{line}\n");
            continue;
        }
        if let Some(command) = line.strip_prefix("> ") {
            let answer = debugger.execute(command).unwrap_or_else(|why| panic!("{command}: {why}"));
            let both = format!("> {command}\n{}", answer.text);
            answered += &both;
            again += &both;
            said += &format!("{line}\n");
        } else if line == "```text" {
            again += "```text\n";
        } else {
            said += &format!("{line}\n");
        }
    }
    assert!(answered.lines().count() > 20, "a session");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&document, again).expect("written");
        return;
    }
    assert_eq!(said, answered, "run with UPDATE=1 to write what it answers");
}
