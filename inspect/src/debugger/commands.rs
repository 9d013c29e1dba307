//! The commands, a row each: name, short name, arguments, what it does, and the function.

use std::fmt::Write as _;

use qnnsim_simulator::Start;
use serde_json::{Value, json};

use super::{Answer, Debugger, Result, number, refuse, table};
use crate::limits::STEPS_MAX;
use crate::machine::{Grain, Machine, Position};

/// A command.
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// A shorter name; empty if there is none.
    pub short: &'static str,
    /// What follows it.
    pub arguments: &'static str,
    /// What it does.
    pub help: &'static str,
    pub(super) run: for<'d, 'r, 'w> fn(&'d mut Debugger<'r>, &'w [&'w str]) -> Result,
}

macro_rules! commands {
    ($($name:literal $short:literal $arguments:literal $help:literal $run:expr;)*) => {
        /// All commands.
        pub const COMMANDS: &[Command] = &[$(Command {
            name: $name, short: $short, arguments: $arguments, help: $help, run: $run,
        },)*];
    };
}

commands! {
    "help" "h" "[COMMAND]" "Lists the commands, or explains one." help;
    "where" "w" "" "Tells the cycle and what each unit is at." |d, _| Ok(d.where_is());
    "step" "s" "[cycle|issue|instruction|layer] [N]"
        "Goes on by N steps, 1 if it is not said. `cycle` goes to the begin of the next cycle, `issue` \
         behind the next issue of any stage, `instruction` behind the begin of the next instruction \
         (this one if nothing is said), `layer` behind the write that completes the next map."
        |d, words| steps(d, words, true);
    "back" "b" "[cycle|issue|instruction|layer] [N]"
        "Goes back by N steps: to the places where `step` would have stopped, the last first."
        |d, words| steps(d, words, false);
    "goto" "g" "start|end|cycle N|issue N"
        "Goes to the start or the end of the image, to the begin of cycle N, or right before issue N." goto;
    "run" "r" "[cycle N]"
        "Goes on to the next breakpoint or watchpoint, to the begin of cycle N, to the trap, or to the \
         end of the image, whatever comes first." |d, words| run(d, words);
    "reverse" "rr" "" "Goes back to the last breakpoint or watchpoint before here, or to the start."
        |d, words| { none(words)?; d.reverse() };
    "break" "" "cycle N|instruction N|layer NAME|unit UNIT|semaphore NAME [N]"
        "Stops at the begin of a cycle; where an instruction, the first of a layer or any of a unit \
         begins; or where a semaphore changes, to N if it is said." |d, words| d.add_break(words);
    "watch" "" "map LAYER C Y X|SPACE BANK ADDRESS|acc BANK [ROW COLUMN] [read|write|above N]"
        "Stops behind the issue that reads or writes a value of a map, a word of act, wgt, thr or dram, \
         or an accumulator; with `above N` where the value becomes more than N. Without a last word, \
         at reads and writes." |d, words| d.add_watch(words);
    "stops" "" "" "Lists breakpoints and watchpoints." |d, words| { none(words)?; Ok(d.list_stops()) };
    "delete" "" "N|all" "Deletes a breakpoint or watchpoint by its number, or all." |d, words| d.delete(words);
    "code" "l" "[FROM [COUNT]]"
        "Lists instructions with their layers; marks the heads of the units and what their queues hold."
        |d, words| d.code(words);
    "layers" "" "" "Lists the layers: what they do, their maps, and when those are complete."
        |d, words| { none(words)?; Ok(d.layers()) };
    "queues" "q" "" "Shows the code queue, the units' queues and the buffers in use."
        |d, words| { none(words)?; Ok(d.queues()) };
    "semaphores" "" "" "Shows the semaphores." |d, words| { none(words)?; Ok(d.semaphores()) };
    "registers" "" "UNIT" "Shows the register groups of a unit, as its CFG words wrote them." |d, words| d.registers(words);
    "stages" "" "" "Shows what holds each stage, and until when." |d, words| { none(words)?; Ok(d.stages()) };
    "word" "x" "SPACE BANK ADDRESS [COUNT]"
        "Shows words of a memory (act, wgt), entries (thr) or bytes of DRAM's output (dram, with bank 0)."
        |d, words| d.word(words);
    "map" "p" "LAYER [CHANNEL] [int|real|picture]"
        "Prints a layer's map, or one channel of it, as the memories hold it now: as integers, as what \
         they stand for in the model, or as a picture." |d, words| d.map(words);
    "value" "v" "LAYER C Y X" "Shows one value of a map, and where its words lie." |d, words| d.value(words);
    "acc" "" "BANK [ROW COLUMN]" "Shows an accumulator bank, or one accumulator." |d, words| d.acc(words);
    "output" "" "" "Shows the output's integers as DRAM holds them now." |d, words| { none(words)?; Ok(d.output()) };
    "who" "" "map LAYER C Y X|SPACE BANK ADDRESS|acc BANK"
        "Searches back for the issue that wrote a value, a word or an accumulator bank last." |d, words| d.who(words);
    "why" "" "LAYER C Y X"
        "Follows a value of a map back: the write, the THR steps that drained its column, the \
         accumulators that they met, and the MAC steps that filled them." |d, words| d.why(words);
    "issue" "i" "N" "Shows an issue: its instruction, its step, what it belongs to, and what it accesses." |d, words| d.issue(words);
    "terms" "" "N ROW COLUMN"
        "Shows what a MAC step adds to one accumulator: of each word of the kernel the codes, the \
         weights, where they lie, and the sum of their products." |d, words| d.terms(words);
    "timeline" "t" "[CYCLES]" "Draws what holds each stage in the cycles around now." |d, words| d.timeline(words);
    "image" "" "cold|warm" "Goes to the start of the other image." image;
    "quit" "exit" "" "Ends the session." |_, words| { none(words)?; Ok(Answer { ends: true, ..Answer::new("", Value::Null) }) };
}

/// A command by its name, its short name, or how its name begins, if no other begins so.
pub(super) fn find(name: &str) -> Result<&'static Command> {
    let exact = COMMANDS.iter().find(|c| c.name == name || !c.short.is_empty() && c.short == name);
    if let Some(command) = exact {
        return Ok(command);
    }
    let begun: Vec<&Command> = COMMANDS.iter().filter(|c| c.name.starts_with(name)).collect();
    match begun[..] {
        [one] => Ok(one),
        [] => refuse(format_args!("there is no command `{name}`; `help` lists the commands")),
        _ => {
            let names: Vec<&str> = begun.iter().map(|c| c.name).collect();
            refuse(format_args!("`{name}` may be {}", names.join(" or ")))
        }
    }
}

fn none(words: &[&str]) -> Result<()> {
    match words.first() {
        None => Ok(()),
        Some(word) => refuse(format_args!("nothing follows this command, but `{word}` does")),
    }
}

fn help(_: &mut Debugger, words: &[&str]) -> Result {
    let entry = |c: &Command| json!({"name": c.name, "short": c.short, "arguments": c.arguments, "help": c.help});
    if let [name] = words {
        let command = find(name)?;
        let mut text = format!("{} {}", command.name, command.arguments).trim_end().to_owned();
        if !command.short.is_empty() {
            write!(text, "    (or {})", command.short).expect("a String");
        }
        return Ok(Answer::new(format!("{text}\n{}", wrapped(command.help)), entry(command)));
    }
    none(words)?;
    let rows: Vec<Vec<String>> =
        COMMANDS.iter().map(|c| vec![c.name.into(), c.short.into(), c.arguments.into()]).collect();
    let text = table(&["command", "short", "arguments"], &rows)
        + "`help COMMAND` explains one. Names may be shortened as far as they stay apart.\n";
    Ok(Answer::new(text, COMMANDS.iter().map(entry).collect()))
}

/// A text in lines of at most 100 characters.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is one");
        if last.len() + word.len() >= 100 {
            lines.push(word.into());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines.join("\n")
}

fn steps(d: &mut Debugger, words: &[&str], forwards: bool) -> Result {
    let named = |word: &str| Grain::ALL.into_iter().find(|grain| grain.name() == word);
    let (grain, rest) = match words {
        [word, rest @ ..] if named(word).is_some() => (named(word).expect("found"), rest),
        all => (Grain::Instruction, all),
    };
    let count: u64 = match rest {
        [] => 1,
        [word] => number(word, "a number of steps, or one of cycle, issue, instruction and layer")?,
        [_, other, ..] => return refuse(format_args!("`{other}` is one word too many")),
    };
    for _ in 0..count.min(STEPS_MAX) {
        let moved = if forwards { d.machine.step(grain) } else { d.machine.back(grain) };
        if !moved {
            break;
        }
    }
    Ok(d.where_is())
}

fn goto(d: &mut Debugger, words: &[&str]) -> Result {
    let to = match words {
        ["start"] => Position { events: 0, cycle: 0 },
        ["end"] => d.machine.end(),
        ["cycle", cycle] => d.machine.begin_of(number(cycle, "a cycle")?),
        ["issue", word] => d.before_issue(d.issue_number(word)?),
        _ => return refuse("say where to: start, end, cycle N or issue N"),
    };
    d.machine.seek(to);
    Ok(d.where_is())
}

fn run(d: &mut Debugger, words: &[&str]) -> Result {
    match words {
        [] => d.run(None),
        ["cycle", cycle] => d.run(Some(number(cycle, "a cycle")?)),
        _ => refuse("nothing follows, or `cycle N`"),
    }
}

fn image(d: &mut Debugger, words: &[&str]) -> Result {
    let start = match words {
        ["cold"] => Start::Cold,
        ["warm"] if d.recordings.warm.is_none() => {
            return refuse("there is no warm image, for the cold one traps");
        }
        ["warm"] => Start::Warm,
        _ => return refuse("say which image: cold or warm"),
    };
    d.machine = Machine::new(d.recordings.of(start), d.input);
    Ok(d.where_is())
}
