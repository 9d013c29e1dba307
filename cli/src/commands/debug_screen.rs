//! The debugger's screen: code, units, queues, memories and the timeline side by side, and a line
//! for commands.

use qnnsim_inspect::Debugger;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Paragraph};

use crate::failure::Failure;

/// What the pane of memories shows, by Tab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pane {
    Map,
    Picture,
    Accumulators,
    Registers,
    Words,
}

const PANES: [Pane; 5] =
    [Pane::Map, Pane::Picture, Pane::Accumulators, Pane::Registers, Pane::Words];

/// The state of the screen beside the machine's.
pub struct Screen<'d, 'r> {
    debugger: &'d mut Debugger<'r>,
    line: String,
    /// Commands that were given, and the one that is being looked at.
    given: Vec<String>,
    answer: String,
    pane: Pane,
    /// The layer whose map is shown.
    layer: usize,
    bank: u32,
    over: bool,
}

impl<'d, 'r> Screen<'d, 'r> {
    /// Over a session.
    pub fn new(debugger: &'d mut Debugger<'r>) -> Self {
        let answer = debugger.greeting().text + HELP;
        Screen {
            debugger,
            line: String::new(),
            given: Vec::new(),
            answer,
            pane: Pane::Map,
            layer: 0,
            bank: 0,
            over: false,
        }
    }

    fn answer_of(&mut self, command: &str) -> String {
        match self.debugger.execute(command) {
            Ok(answer) => answer.text,
            Err(why) => why.to_string(),
        }
    }

    /// Does a command, as typed or as a key stands for it.
    fn does(&mut self, command: &str) {
        match self.debugger.execute(command) {
            Ok(answer) => {
                self.over |= answer.ends;
                self.answer = format!("> {command}\n{}", answer.text);
            }
            Err(why) => self.answer = format!("> {command}\n{why}\n"),
        }
    }

    /// A key was pressed.
    pub fn key(&mut self, key: KeyEvent) {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if control => self.over = true,
            KeyCode::Char(c) => self.line.push(c),
            KeyCode::Backspace => {
                self.line.pop();
            }
            KeyCode::Esc => self.line.clear(),
            KeyCode::Enter => {
                let line = match self.line.trim() {
                    "" => self.given.last().cloned().unwrap_or_default(),
                    line => line.to_owned(),
                };
                self.line.clear();
                if !line.is_empty() {
                    self.does(&line);
                    self.given.push(line);
                }
            }
            KeyCode::Right => self.does("step instruction"),
            KeyCode::Left => self.does("back instruction"),
            KeyCode::Down => self.does("step cycle"),
            KeyCode::Up => self.does("back cycle"),
            KeyCode::PageDown => self.does("step layer"),
            KeyCode::PageUp => self.does("back layer"),
            KeyCode::Home => self.does("goto start"),
            KeyCode::End => self.does("goto end"),
            KeyCode::Tab => {
                let at = PANES.iter().position(|pane| *pane == self.pane).unwrap_or(0);
                self.pane = PANES[(at + 1) % PANES.len()];
            }
            KeyCode::BackTab => {
                let layers = self.debugger.machine().recording().program().layers.len().max(1);
                let banks = self.debugger.machine().recording().hardware().acc_banks;
                self.layer = (self.layer + 1) % layers;
                self.bank = (self.bank + 1) % banks;
            }
            _ => {}
        }
    }

    /// Draws everything.
    pub fn draw(&mut self, frame: &mut Frame) {
        let [top, middle, time, bottom, prompt] = Layout::vertical([
            Constraint::Length(8),
            Constraint::Min(10),
            Constraint::Length(13),
            Constraint::Length(10),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let [left, right] =
            Layout::horizontal([Constraint::Percentage(55), Constraint::Percentage(45)])
                .areas(middle);
        let [queues, memories] =
            Layout::horizontal([Constraint::Percentage(40), Constraint::Percentage(60)])
                .areas(right);

        let wide = u64::from(time.width.saturating_sub(14)).max(8);
        let place = self.answer_of("where");
        let code = self.code(left);
        let semaphores = self.answer_of("semaphores") + "\n" + &self.answer_of("queues");
        let (title, memory) = self.memory();
        let timeline = self.answer_of(&format!("timeline {wide}"));
        pane(frame, top, "where", &place);
        frame.render_widget(Paragraph::new(code).block(Block::bordered().title(" code ")), left);
        pane(frame, queues, "semaphores, queues", &semaphores);
        pane(frame, memories, &title, &memory);
        pane(frame, time, "time", &timeline);
        pane(frame, bottom, "answer", &self.answer);
        frame.render_widget(Paragraph::new(format!("> {}", self.line)), prompt);
        let at = prompt.x + 2 + self.line.chars().count() as u16;
        frame.set_cursor_position((at.min(prompt.right().saturating_sub(1)), prompt.y));
    }

    /// The code around the units, those lines in bold where a unit is.
    fn code(&mut self, area: Rect) -> Text<'static> {
        let rows = u32::from(area.height.saturating_sub(3)).max(4);
        let heads = self.debugger.units().into_iter().filter_map(|u| u.instruction).min();
        let from = heads.unwrap_or(0).saturating_sub(rows / 4);
        let text = self.answer_of(&format!("code {from} {rows}"));
        let line = |line: &str| {
            let here = line.contains(" > ") || line.contains(" >");
            let style = if here { Style::new().add_modifier(Modifier::BOLD) } else { Style::new() };
            Line::styled(line.to_owned(), style)
        };
        Text::from(text.lines().map(line).collect::<Vec<_>>())
    }

    fn memory(&mut self) -> (String, String) {
        let layers = &self.debugger.machine().recording().program().layers;
        let name = layers.get(self.layer).map_or(String::new(), |layer| layer.name.clone());
        match self.pane {
            Pane::Map => (format!("map {name}"), self.answer_of(&format!("map {}", self.layer))),
            Pane::Picture => {
                (format!("picture {name}"), self.answer_of(&format!("map {} picture", self.layer)))
            }
            Pane::Accumulators => (
                format!("accumulators {}", self.bank),
                self.answer_of(&format!("acc {}", self.bank)),
            ),
            Pane::Registers => {
                let all = ["ld", "mac", "thr", "st"];
                let texts = all.map(|unit| self.answer_of(&format!("registers {unit}")));
                ("registers".into(), texts.concat())
            }
            Pane::Words => ("act, bank 0".into(), self.answer_of("word act 0 0 64")),
        }
    }
}

/// What the keys do.
const HELP: &str = "\
Right, Left: an instruction forwards, back.  Down, Up: a cycle.  PageDown, PageUp: a layer.  Home, End.
Tab: what the memory pane shows.  Shift+Tab: the next layer, the next bank.  Enter: the command; again
the last one if there is none.  Ctrl+C: the end.";

fn pane(frame: &mut Frame, area: Rect, title: &str, text: &str) {
    let block = Block::bordered().title(format!(" {title} "));
    frame.render_widget(Paragraph::new(text.to_owned()).block(block), area);
}

/// Shows a session on the terminal until it ends.
///
/// # Errors
/// The terminal cannot be read or drawn on.
pub fn show(debugger: &mut Debugger) -> Result<(), Failure> {
    let refuse = |error: std::io::Error| {
        Failure::misuse(format_args!("cannot use the terminal: {error}"))
            .help("give commands with --script FILE, or through a pipe")
    };
    let mut terminal = ratatui::try_init().map_err(refuse)?;
    let mut screen = Screen::new(debugger);
    let result = loop {
        if let Err(error) = terminal.draw(|frame| screen.draw(frame)) {
            break Err(refuse(error));
        }
        match event::read() {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => screen.key(key),
            Ok(_) => {}
            Err(error) => break Err(refuse(error)),
        }
        if screen.over {
            break Ok(());
        }
    };
    ratatui::restore();
    result
}

#[cfg(test)]
mod tests {
    use qnnsim_inspect::Recordings;
    use qnnsim_isa::Program;
    use qnnsim_simulator::Start;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn drawn(screen: &mut Screen) -> String {
        let mut terminal = Terminal::new(TestBackend::new(150, 60)).expect("no device");
        terminal.draw(|frame| screen.draw(frame)).expect("no device");
        let buffer = terminal.backend().buffer().clone();
        let rows = (0..buffer.area.height).map(|y| {
            let cells = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol().to_owned());
            cells.collect::<String>().trim_end().to_owned() + "\n"
        });
        rows.collect()
    }

    #[test]
    fn keys_step_both_ways_and_everything_is_on_the_screen() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../programs/tcv_w1a1.bin");
        let program = Program::from_bytes(&std::fs::read(file).expect("the program")).expect("one");
        let recordings = Recordings::new(&program).expect("no proof fails");
        let input = program.sample.clone().expect("a sample");
        let mut debugger = Debugger::new(&recordings, &input, Start::Warm);
        let mut screen = Screen::new(&mut debugger);
        let first = drawn(&mut screen);
        for part in [
            " code ",
            " where ",
            " semaphores, queues ",
            " map conv1 ",
            " time ",
            "cycle 0 of 1,800",
        ] {
            assert!(first.contains(part), "{part} is not on:\n{first}");
        }
        let press = |screen: &mut Screen, code: KeyCode| {
            screen.key(KeyEvent::new(code, KeyModifiers::NONE));
        };
        for _ in 0..3 {
            press(&mut screen, KeyCode::PageDown);
        }
        for _ in 0..3 {
            press(&mut screen, KeyCode::PageUp);
        }
        assert!(drawn(&mut screen).contains("cycle 0 of 1,800"));
        for c in "run cycle 113".chars() {
            press(&mut screen, KeyCode::Char(c));
        }
        press(&mut screen, KeyCode::Enter);
        let there = drawn(&mut screen);
        // README's timeline: mac x16 holds the array from 106 to 167, thr x208 begins in 113.
        assert!(there.contains("cycle 113 of 1,800") && there.contains("mac x16"), "{there}");
        press(&mut screen, KeyCode::Tab);
        assert!(drawn(&mut screen).contains(" picture conv1 "));
        screen.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(screen.over);
    }
}
