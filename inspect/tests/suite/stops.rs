//! Breakpoints, watchpoints, and what a command that is wrong is told. `programs/hello.qnn` says
//! in its comments when what happens, and `tests/tests/suite/hello.rs` derives its cycles by hand.

use qnnsim_assembler::assemble;
use qnnsim_inspect::{Debugger, Recordings};
use qnnsim_isa::Program;
use qnnsim_simulator::Start;
use qnnsim_tests::programs;
use serde_json::Value;

fn hello() -> Program {
    let path = programs().join("hello.qnn");
    let source = std::fs::read_to_string(path).expect("text");
    assemble("hello", &source).unwrap_or_else(|e| panic!("{}", e.render(false)))
}

fn with(source: &Program, test: impl FnOnce(&mut Debugger)) {
    let recordings = Recordings::new(source).expect("no proof fails");
    let input = source.sample.clone().expect("it carries a sample");
    test(&mut Debugger::new(&recordings, &input, Start::Warm));
}

fn ask(debugger: &mut Debugger, command: &str) -> Value {
    debugger.execute(command).unwrap_or_else(|why| panic!("{command}: {why}")).value
}

#[test]
fn a_run_stops_where_it_is_told() {
    let program = hello();
    with(&program, |d| {
        // Row 0 comes from the DRAM in cycle 56 and is packed then (hello.rs).
        ask(d, "watch act 0 0 write");
        assert_eq!(ask(d, "run")["cycle"], 56);
        ask(d, "delete all");
        // It posts 2 + 2 cycles later, and is taken at once.
        ask(d, "break semaphore rows 1");
        let at = ask(d, "run");
        assert_eq!((&at["cycle"], &at["stop"]), (&60.into(), &2.into()));
        // Back before it, only the start is left.
        assert_eq!(ask(d, "reverse")["cycle"], 0);
        assert_eq!(ask(d, "run cycle 33")["cycle"], 33);
        assert_eq!(ask(d, "run")["cycle"], 60);
        ask(d, "delete 2");
        ask(d, "break layer where");
        ask(d, "goto start");
        let at = ask(d, "run");
        assert_eq!(at["stop"], 3);
        ask(d, "delete all");
        // The largest v of the first place of the windows is that of the horizontal kernel at (0,
        // 0): twice 220 less 220; acc is (v + row sum) / 2 = (220 + 220) / 2, for bright is the row
        // sum.
        ask(d, "goto start");
        ask(d, "watch acc 0 0 0 above 219");
        ask(d, "run");
        let acc = ask(d, "acc 0 0 0");
        assert_eq!((&acc["value"], &acc["row_sum"]), (&220.into(), &220.into()));
    });
}

#[test]
fn a_map_is_printed_as_the_comments_of_the_program_say() {
    let program = hello();
    with(&program, |d| {
        ask(d, "step layer");
        let map = ask(d, "map stroke");
        let rows: Vec<&Value> =
            map["channels"].as_array().expect("channels").iter().map(|c| &c["rows"]).collect();
        // Pooled: horizontal 3 2 / 0 0, vertical 0 2 / 0 1, dark 0 0 / 2 2.
        let expected = [[[3, 2], [0, 0]], [[0, 2], [0, 1]], [[0, 0], [2, 2]]];
        assert_eq!(rows, expected.map(Value::from).each_ref());
        let picture = d.execute("map stroke 0 picture").expect("a picture").text;
        assert_eq!(picture, "channel 0\n  @@**\n\n");
        ask(d, "goto end");
        assert_eq!(ask(d, "output"), Value::from(vec![5, -14, -8, 1]));
    });
}

#[test]
fn words_are_traced_to_who_wrote_them() {
    let program = hello();
    with(&program, |d| {
        ask(d, "goto end");
        // The weights were loaded in the image before.
        assert_eq!(ask(d, "who wgt 1 0"), Value::Null);
        ask(d, "image cold");
        ask(d, "goto end");
        // Word 4 of `stroke_weights`, four bytes each, goes to column 1, address 1.
        let who = d.execute("who wgt 1 1").expect("the load");
        assert_eq!(who.value["stage"], "ld write");
        assert!(who.text.contains("byte 16 of `stroke_weights`"), "{}", who.text);
        assert_eq!(ask(d, "word wgt 1 1")[0]["value"], "0x0000ff00");
        let packed = d.execute("who act 0 0").expect("the packer");
        assert!(packed.text.contains("row 0 of the image"), "{}", packed.text);
    });
}

#[test]
fn every_command_is_explained_and_what_is_wrong_is_told() {
    let program = hello();
    with(&program, |d| {
        for command in qnnsim_inspect::debugger::COMMANDS {
            let answer = d.execute(&format!("help {}", command.name)).expect("an explanation");
            assert!(answer.text.starts_with(command.name), "{}", answer.text);
            assert!(!command.help.is_empty());
        }
        for (wrong, why) in [
            ("jump", "there is no command `jump`"),
            ("re", "`re` may be reverse or registers"),
            ("map sroke", "there is no layer `sroke`"),
            ("value stroke 3 0 0", "channel 3: the map has 0 to 2"),
            ("map where", "no map of layer where"),
            ("word act 4 0", "act has banks 0 to 3 of 512 words"),
            ("break semaphore nothing", "there is no semaphore `nothing`"),
            ("break instruction 99999", "this image has instructions 0 to 34"),
            ("terms 99999 0 0", "there is no issue #99999"),
            ("acc 0 9 0", "row 9: there are 0 to 3"),
            ("watch act 0 0 above 3", "`above` is for values"),
            ("map stroke real", "--model"),
            ("step sideways", "`sideways` is not a number of steps"),
        ] {
            let told = d.execute(wrong).expect_err(wrong).to_string();
            assert!(told.contains(why), "{wrong}: {told}");
        }
        assert!(d.execute("quit").expect("the end").ends);
    });
}

#[test]
fn it_stops_at_a_trap_with_the_machine_as_it_is_then() {
    // Nobody posts `map` any more, so the array waits for ever: a deadlock.
    let path = programs().join("hello.qnn");
    let source = std::fs::read_to_string(path).expect("text").replace("sync thr post=map", "");
    let program = assemble("hello", &source).unwrap_or_else(|e| panic!("{}", e.render(false)));
    with(&program, |d| {
        let at = ask(d, "run");
        let trap = at["trap"].as_str().expect("a trap");
        assert!(trap.contains("deadlock: mac waits for semaphore map"), "{trap}");
        let mac = &at["units"][1];
        assert_eq!((&mac["state"], &mac["reason"]), (&"waits".into(), &"map".into()));
        // The hidden map is there all the same.
        assert_eq!(ask(d, "value stroke 0 0 0")["value"], 3);
        // It is the cold image that traps, so there is no other.
        assert_eq!(at["image"], "cold");
        let told = d.execute("image warm").expect_err("none").to_string();
        assert!(told.contains("the cold one traps"), "{told}");
    });
}
